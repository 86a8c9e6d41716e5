//! Experiments of the standard's first releases that files of the time still hold: Crop, GivenTensorFill, GRUUnit.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::numbers::{self, from_floats};
use super::registry::{Entry, onnx};
use super::slice_concat::part;
use super::special::sigmoid;

pub(super) const OPS: &[Entry] =
    &[onnx("Crop", 1, crop), onnx("GivenTensorFill", 1, given_tensor_fill), onnx("GRUUnit", 1, gru_unit)];

/// An image without its border: left, top, right and bottom. With `scale`, height and width are that instead.
fn crop(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let &[n, c, height, width] = tensor.dims() else {
        return Err(invalid!("an image of four axes is needed, not {:?}", tensor.dims()));
    };
    let border = layout::sizes(&call.ints("border")?)?;
    let [left, top, right, bottom] = border[..] else {
        return Err(Fault::Attribute { name: "border".into(), why: "has to be four numbers".into() });
    };
    let scale = call.ints_opt("scale")?.map(|s| layout::sizes(&s)).transpose()?;
    let left_over = |size: usize, before: usize, behind: usize| {
        let rest = before.checked_add(behind).and_then(|border| size.checked_sub(border));
        rest.ok_or_else(|| invalid!("a border of {border:?} around {height}×{width}"))
    };
    let (rows, columns) = match scale.as_deref() {
        None => (left_over(height, top, bottom)?, left_over(width, left, right)?),
        Some(&[rows, columns]) => (rows, columns),
        Some(other) => return Err(invalid!("a scale of {other:?}, where height and width are needed")),
    };
    let inside =
        |start: usize, len: usize, size: usize| start.checked_add(len).is_some_and(|end| end <= size);
    let fits = inside(top, rows, height) && inside(left, columns, width);
    ensure!(fits, "{rows}×{columns} behind a border of {border:?} in {height}×{width}");
    Ok(vec![part(tensor, &[0, 0, top, left], &[n, c, rows, columns])?.into()])
}

/// The values of an attribute in a shape: that of an attribute, or of the input, which may instead list it.
fn given_tensor_fill(call: &Call<'_>) -> Outputs {
    let mut dims = match call.tensor_opt(0)? {
        // The schema has it in the element type of the result.
        Some(_) if call.flag("input_as_shape")? => {
            layout::sizes(&call.floats(0)?.into_iter().map(|n| n as i64).collect::<Vec<_>>())?
        }
        Some(like) => like.dims().to_vec(),
        None => layout::sizes(&call.ints_opt("shape")?.unwrap_or_default())?,
    };
    dims.extend(layout::sizes(&call.ints_opt("extra_shape")?.unwrap_or_default())?);
    let values = call.floats_attr("values")?.unwrap_or_default();
    ensure!(layout::count(&dims)? == values.len(), "{} values for a tensor of {dims:?}", values.len());
    Ok(vec![Tensor::from_vec(&dims, values.iter().map(|&v| v as f32).collect::<Vec<_>>())?.into()])
}

/// One step of a gated unit from its gates before activation: reset, update, output. Rows whose sequence has
/// ended keep their state, or lose it.
fn gru_unit(call: &Call<'_>) -> Outputs {
    let (hidden, gates) = (call.tensor(0)?, call.tensor(1)?);
    let width = hidden.dims().last().copied().unwrap_or(0);
    let (state, steps) = (call.floats(0)?, call.floats(1)?);
    let lengths = call.whole(2)?;
    let step = call.whole_scalar(3)?;
    let rows = state.len().checked_div(width).unwrap_or(0);
    ensure!(
        steps.len() == state.len().saturating_mul(3) && (rows == 0 || lengths.len() == rows),
        "gates of {:?} and {} lengths for states of {:?}",
        gates.dims(),
        lengths.len(),
        hidden.dims()
    );
    let drop = call.flag("drop_states")?;
    let mut next = numbers::filled(0.0, hidden.dims())?;
    for (i, next) in next.iter_mut().enumerate() {
        let (row, at) = (i / width, i % width);
        *next = match lengths[row] > step {
            true => {
                let (update, output) = (steps[(row * 3 + 1) * width + at], steps[(row * 3 + 2) * width + at]);
                let keep = sigmoid(update);
                state[i] * keep + output.tanh() * (1.0 - keep)
            }
            false if drop => 0.0,
            false => state[i],
        };
    }
    Ok(vec![from_floats(hidden.dtype(), hidden.dims(), &next)?.into()])
}
