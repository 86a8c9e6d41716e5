//! Operators on strings.

use super::Family;
use super::activation::same_as_input;
use super::arithmetic::broadcast_all;
use crate::Dim;
use crate::infer::call::{Call, Outcome, Stop, invalid};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["RegexFullMatch"], same_as_input),
        (&["StringConcat"], broadcast_all),
        (&["StringNormalizer"], normalize),
        (&["StringSplit"], split),
        (&["TfIdfVectorizer"], tf_idf),
    ],
};

fn normalize(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    // Stop words are dropped from the last axis.
    if call.strings_len("stopwords").is_some_and(|n| n > 0)
        && let Some(last) = dims.last_mut()
    {
        *last = Dim::Unknown;
    }
    call.set_shape(0, dims)
}

fn split(call: &mut Call<'_, '_>) -> Outcome {
    let dims = call.shape(0)?;
    call.set_shape(0, dims.iter().cloned().chain([Dim::Unknown]))?;
    call.set_shape(1, dims)
}

fn tf_idf(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let indices = call.ints("ngram_indexes").ok_or(Stop::Unknown)?;
    let Some(width) = indices.iter().max().and_then(|max| max.checked_add(1)) else {
        return invalid("`ngram_indexes` is empty");
    };
    dims.pop();
    call.set_shape(0, dims.into_iter().chain([Dim::Static(width)]))
}
