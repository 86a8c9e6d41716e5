//! Recurrent networks.

use super::Family;
use crate::Dim;
use crate::infer::call::{Call, Outcome, invalid};

pub const FAMILY: Family = Family { domain: "", rules: &[(&["GRU", "LSTM", "RNN"], recurrent)] };

pub fn recurrent(call: &mut Call<'_, '_>) -> Outcome {
    let directions = match call.text("direction") {
        None | Some("forward" | "reverse") => Dim::Static(1),
        Some("bidirectional") => Dim::Static(2),
        Some(other) => return invalid(format!("`direction` cannot be {other:?}")),
    };
    let hidden = match call.size("hidden_size")? {
        Some(n) => Dim::Static(n),
        // The recurrence weights are [directions, gates * hidden, hidden].
        None => call.shape_of(2).filter(|s| s.len() == 3).map_or(Dim::Unknown, |s| s[2].clone()),
    };
    let (steps, batch) = match call.shape_of(0) {
        Some(_) => {
            let shape = call.shape_of_rank(0, 3)?;
            let batch_first = call.flag("layout");
            (shape[usize::from(batch_first)].clone(), shape[usize::from(!batch_first)].clone())
        }
        None => (Dim::Unknown, Dim::Unknown),
    };
    let (all, last) = if call.flag("layout") {
        ([batch.clone(), steps, directions.clone(), hidden.clone()], [batch, directions, hidden])
    } else {
        ([steps, directions.clone(), batch.clone(), hidden.clone()], [directions, batch, hidden])
    };
    call.set_shape(0, all)?;
    call.set_shape(1, last.clone())?;
    call.set_shape(2, last)
}
