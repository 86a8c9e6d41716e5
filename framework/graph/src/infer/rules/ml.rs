//! Classical machine learning: the domain `ai.onnx.ml`.

use std::sync::Arc;

use super::Family;
use super::activation::same_as_input;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::{Attr, DType, Dim, TensorType, Type};

pub const FAMILY: Family = Family {
    domain: "ai.onnx.ml",
    rules: &[
        (&["Binarizer", "Imputer", "Normalizer", "Scaler"], same_as_input),
        (&["ArrayFeatureExtractor"], array_feature_extractor),
        (&["CastMap"], cast_map),
        (&["CategoryMapper"], category_mapper),
        (&["DictVectorizer"], dict_vectorizer),
        (&["FeatureVectorizer"], feature_vectorizer),
        (&["LabelEncoder"], label_encoder),
        (&["LinearClassifier"], linear_classifier),
        (&["SVMClassifier"], svm_classifier),
        (&["TreeEnsembleClassifier"], tree_classifier),
        (&["LinearRegressor"], linear_regressor),
        (&["SVMRegressor"], svm_regressor),
        (&["TreeEnsemble", "TreeEnsembleRegressor"], tree_regressor),
        (&["OneHotEncoder"], one_hot_encoder),
        (&["ZipMap"], zip_map),
    ],
};

/// One result a row; a vector is one row.
fn rows(call: &Call<'_, '_>) -> Dim {
    match call.shape_of(0).map(|dims| &dims[..]) {
        Some([] | [_]) => Dim::Static(1),
        Some([rows, ..]) => rows.clone(),
        None => Dim::Unknown,
    }
}

/// The length of the first of these list attributes that is there.
fn list_len(call: &Call<'_, '_>, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| match call.attr(name)? {
        Attr::Ints(list) => Some(list.len()),
        Attr::Floats(list) => Some(list.len()),
        Attr::Strs(list) => Some(list.len()),
        _ => None,
    })
}

fn array_feature_extractor(call: &mut Call<'_, '_>) -> Outcome {
    let count = super::layout::product(call.shape(1)?.iter());
    let mut dims = call.shape(0)?;
    match dims.len() {
        0 => return invalid("there is no axis to pick from"),
        1 => dims[0] = Dim::Static(1),
        _ => drop(dims.pop()),
    }
    call.set_shape(0, dims.into_iter().chain([count]))
}

fn cast_map(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(
        0,
        match call.text("cast_to") {
            Some("TO_STRING") => DType::Str,
            Some("TO_INT64") => DType::I64,
            _ => DType::F32,
        },
    );
    let width = match (call.text("map_form"), call.int("max_map")) {
        (Some("SPARSE"), Some(max)) => Dim::Static(max),
        _ => Dim::Unknown,
    };
    call.set_shape(0, [Dim::Static(1), width])
}

fn category_mapper(call: &mut Call<'_, '_>) -> Outcome {
    match call.dtype(0) {
        Some(DType::Str) => call.set_dtype(0, DType::I64),
        Some(DType::I64) => call.set_dtype(0, DType::Str),
        _ => {}
    }
    call.same_shape(0, 0)
}

fn dict_vectorizer(call: &mut Call<'_, '_>) -> Outcome {
    if let Some(Type::Map(_, Some(value))) = call.ty(0)
        && let Some(dtype) = value.dtype()
    {
        call.set_dtype(0, dtype);
    }
    let width = list_len(call, &["int64_vocabulary", "string_vocabulary"]).ok_or(Stop::Unknown)?;
    call.set_shape(0, [Dim::Static(1), Dim::Static(width as i64)])
}

fn feature_vectorizer(call: &mut Call<'_, '_>) -> Outcome {
    let widths = call.ints("inputdimensions").ok_or(Stop::Unknown)?;
    let width = widths.iter().fold(Dim::Static(0), |sum, &n| sum.add(&Dim::Static(n)));
    call.set_shape(0, [rows(call), width])
}

fn label_encoder(call: &mut Call<'_, '_>) -> Outcome {
    let values =
        [("values_strings", DType::Str), ("values_int64s", DType::I64), ("values_floats", DType::F32)];
    let listed = values.iter().find(|(name, _)| call.attr(name).is_some()).map(|(_, dtype)| *dtype);
    let dtype = call.tensor("values_tensor").map(|tensor| tensor.dtype()).or(listed);
    // Version 1 maps between the strings of `classes_strings` and their places.
    let swapped = || match call.dtype(0)? {
        DType::Str => Some(DType::I64),
        DType::I64 => Some(DType::Str),
        _ => None,
    };
    if let Some(dtype) = dtype.or_else(swapped) {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}

/// Labels are strings where the model has strings for them.
fn set_label_dtype(call: &mut Call<'_, '_>, names: &str) {
    let text = call.strings_len(names).is_some_and(|n| n > 0);
    call.set_dtype(0, if text { DType::Str } else { DType::I64 });
}

fn linear_classifier(call: &mut Call<'_, '_>) -> Outcome {
    set_label_dtype(call, "classlabels_strings");
    let labels = list_len(call, &["classlabels_ints", "classlabels_strings"]);
    let scores = match (labels, list_len(call, &["intercepts"])) {
        (Some(2), Some(1)) => Dim::Static(2),
        (Some(labels), Some(scores)) if labels == scores => Dim::Static(labels as i64),
        _ => Dim::Unknown,
    };
    let rows = rows(call);
    call.set_shape(0, [rows.clone()])?;
    call.set_shape(1, [rows, scores])
}

fn svm_classifier(call: &mut Call<'_, '_>) -> Outcome {
    set_label_dtype(call, "classlabels_strings");
    let rows = rows(call);
    call.set_shape(0, [rows.clone()])?;
    call.set_shape(1, [rows, Dim::Unknown])
}

fn tree_classifier(call: &mut Call<'_, '_>) -> Outcome {
    set_label_dtype(call, "classlabels_strings");
    let labels = list_len(call, &["classlabels_int64s", "classlabels_strings"]).filter(|&n| n > 1);
    let rows = rows(call);
    call.set_shape(0, [rows.clone()])?;
    call.set_shape(1, [rows, labels.map_or(Dim::Unknown, |n| Dim::Static(n as i64))])
}

fn linear_regressor(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [rows(call), Dim::Static(call.int_or("targets", 1))])
}

fn svm_regressor(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [rows(call), Dim::Static(1)])
}

fn tree_regressor(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [rows(call), Dim::Static(call.int_or("n_targets", 1))])
}

fn one_hot_encoder(call: &mut Call<'_, '_>) -> Outcome {
    let classes = list_len(call, &["cats_int64s", "cats_strings"]).ok_or(Stop::Unknown)?;
    let dims = call.shape(0)?;
    call.set_shape(0, dims.into_iter().chain([Dim::Static(classes as i64)]))
}

fn zip_map(call: &mut Call<'_, '_>) -> Outcome {
    let text = call.strings_len("classlabels_strings").is_some_and(|n| n > 0);
    let value = TensorType { dtype: Some(DType::F32), shape: None };
    let map = Type::Map(if text { DType::Str } else { DType::I64 }, Some(Arc::new(value.into())));
    call.set_type(0, Type::Sequence(Some(Arc::new(map))));
    Ok(())
}
