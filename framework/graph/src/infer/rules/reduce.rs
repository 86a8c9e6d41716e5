//! Reductions along axes.

use super::Family;
use crate::infer::call::{Call, Outcome, Stop, axes, axis};
use crate::infer::content::{Content, Scalar};
use crate::{Dim, Dims, schema};

pub const FAMILY: Family =
    Family { domain: "", rules: &[(schema::REDUCTIONS, reduce), (&["ArgMax", "ArgMin"], arg)] };

/// Takes axes out of a shape, or makes them 1.
fn without(shape: &Dims, axes: &[usize], keep: bool) -> Dims {
    let dims = shape.iter().enumerate().filter_map(|(i, dim)| match (axes.contains(&i), keep) {
        (true, true) => Some(Dim::Static(1)),
        (true, false) => None,
        (false, _) => Some(dim.clone()),
    });
    dims.collect()
}

fn reduce(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let keep = call.int_or("keepdims", 1) != 0;
    // Axes were an attribute first, then became an input.
    let given = match (call.ints("axes"), call.has(1)) {
        (Some(list), _) => Some(list.into_owned()),
        (None, false) => Some(Vec::new()),
        (None, true) => match call.length(1) {
            Ok(0) => Some(Vec::new()),
            _ => call.ints_in(1).ok(),
        },
    };
    let Some(given) = given else {
        // Which axes is unknown, so only the rank can follow.
        return match keep {
            true => call.set_shape(0, shape.iter().map(|_| Dim::Unknown)),
            false => Err(Stop::Unknown),
        };
    };
    let reduced = match given.is_empty() {
        true if call.flag("noop_with_empty_axes") => Default::default(),
        true => (0..shape.len()).collect(),
        false => axes(&given, shape.len())?,
    };
    call.set_shape(0, without(&shape, &reduced, keep))?;
    reduce_content(call, &reduced)
}

/// Follows the reduction of a vector to one number.
fn reduce_content(call: &mut Call<'_, '_>, axes: &[usize]) -> Outcome {
    let combine: fn(&Dim, &Dim) -> Dim = match &*call.node.op.name {
        "ReduceProd" => Dim::mul,
        "ReduceSum" => Dim::add,
        "ReduceMax" => Dim::larger,
        "ReduceMin" => Dim::smaller,
        _ => return Ok(()),
    };
    let Some(content) = call.content(0).filter(|c| c.dims().len() == 1 && axes == [0]) else { return Ok(()) };
    let whole = |element: &Scalar| matches!(element, Scalar::Int(_));
    if !content.elements().iter().all(whole) {
        return Ok(());
    }
    let Some(result) = content.elements().iter().map(Scalar::dim).reduce(|a, b| combine(&a, &b)) else {
        return Ok(());
    };
    let content = call.static_shape_out(0).and_then(|dims| Content::new(&dims, vec![Scalar::Int(result)]));
    call.set_content(0, content)
}

fn arg(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let axis = axis(call.int_or("axis", 0), shape.len())?;
    call.set_shape(0, without(&shape, &[axis], call.int_or("keepdims", 1) != 0))
}
