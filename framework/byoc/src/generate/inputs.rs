//! Inputs for a generated model.

use std::collections::HashMap;

use byoc_graph::{DType, Datum, Graph, Slot, ValueId, schema};

use super::choices::Chooser;
use super::content::{NUMBERS, draw, tensor};
use crate::random::{self, Rng, fnv};

/// A value for every input, drawn as the choices say.
pub fn draw_inputs(graph: &Graph, chooser: &mut Chooser<'_>) -> Option<Vec<(String, Datum)>> {
    let seed = chooser.pick("data.seed", 1 << 16) as u64;
    let numbers = *chooser.of("data.numbers", &NUMBERS)?;
    let mut given = HashMap::new();
    for &input in graph.inputs() {
        let value = graph.value(input);
        let ty = value.ty.as_ref()?.as_tensor()?;
        let (Some(dtype), Some(dims)) = (ty.dtype, ty.static_dims()) else { continue };
        // Wider integers may be indices or lengths, whose bounds the operators tell.
        if matches!(dtype, DType::I32 | DType::I64) {
            continue;
        }
        let mut rng = Rng::new(seed ^ fnv(&value.name));
        let mut drawn: Vec<f64> =
            (0..dims.iter().product()).map(|_| draw(numbers, dtype, &mut rng)).collect();
        match demand(graph, input) {
            Demand::None => {}
            Demand::Positive => drawn.iter_mut().for_each(|x| *x = x.abs() + 0.5),
            Demand::Boxes => drawn.chunks_mut(4).for_each(in_order),
        }
        if let Some(made) = tensor(dtype, &dims, &drawn) {
            given.insert(value.name.to_string(), Datum::from(made));
        }
    }
    let rest = random::fill(graph, &given, &mut HashMap::new(), seed).ok()?;
    given.extend(rest);
    let named = graph.inputs().iter().filter_map(|v| given.remove_entry(&*graph.value(*v).name));
    Some(named.collect())
}

/// What operators demand of the numbers that they take.
enum Demand {
    None,
    /// Scales and variances.
    Positive,
    /// Rows of two corners, the lesser one first.
    Boxes,
}

fn demand(graph: &Graph, input: ValueId) -> Demand {
    for use_ in graph.value(input).uses() {
        let Slot::Input(slot) = use_.slot else { continue };
        let node = graph.node(use_.node);
        let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
        match schema.and_then(|s| s.input(slot as usize)).map(|formal| formal.name) {
            Some("rois") => return Demand::Boxes,
            Some("var" | "input_var") => return Demand::Positive,
            Some(name) if name.ends_with("_scale") => return Demand::Positive,
            _ => {}
        }
    }
    Demand::None
}

/// Corners `x, y, x, y` that are at least one apart.
fn in_order(corners: &mut [f64]) {
    if let [left, top, right, bottom] = corners {
        (*left, *right) = (left.min(*right), left.max(*right) + 1.0);
        (*top, *bottom) = (top.min(*bottom), top.max(*bottom) + 1.0);
    }
}
