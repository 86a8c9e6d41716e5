//! Inputs for a generated model.

use std::collections::HashMap;

use byoc_graph::{DType, Datum, Graph};

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
        let drawn: Vec<f64> = (0..dims.iter().product()).map(|_| draw(numbers, dtype, &mut rng)).collect();
        if let Some(made) = tensor(dtype, &dims, &drawn) {
            given.insert(value.name.to_string(), Datum::from(made));
        }
    }
    let rest = random::fill(graph, &given, &mut HashMap::new(), seed).ok()?;
    given.extend(rest);
    let named = graph.inputs().iter().filter_map(|v| given.remove_entry(&*graph.value(*v).name));
    Some(named.collect())
}
