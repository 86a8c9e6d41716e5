//! What tensors of a model hold for some inputs, computed by the runtime.

use byoc_graph::{Datum, Graph, Model, ValueId};

use super::samples::Samples;
use crate::{Error, Session};

/// Elements that may be kept at a time: what does not fit is computed in another round.
const ELEMENTS: usize = 1 << 26;
/// What a tensor of unknown size is taken for.
const GUESS: usize = 1 << 20;

/// Calls `see` with each float tensor of each sample, by its place in `wanted`.
pub fn observe(
    model: &Model,
    wanted: &[ValueId],
    samples: &Samples,
    threads: Option<usize>,
    see: &mut dyn FnMut(usize, &[f32]),
) -> Result<(), Error> {
    for round in rounds(&model.graph, wanted) {
        let watch = Watch::new(model, &wanted[round.clone()], threads)?;
        for at in 0..samples.len() {
            let inputs = samples.get(at, &model.graph)?;
            watch.see(&inputs, &mut |at, values| see(round.start + at, values))?;
        }
    }
    Ok(())
}

/// Parts of a list of tensors that can be kept at a time.
pub fn rounds(graph: &Graph, wanted: &[ValueId]) -> Vec<std::ops::Range<usize>> {
    let mut rounds: Vec<std::ops::Range<usize>> = Vec::new();
    let mut sum = 0;
    for (at, &value) in wanted.iter().enumerate() {
        let ty = graph.value(value).ty.as_ref().and_then(|t| t.as_tensor());
        let size = ty.and_then(|t| t.elements()).unwrap_or(GUESS);
        match rounds.last_mut() {
            Some(round) if sum + size <= ELEMENTS => (round.end, sum) = (at + 1, sum + size),
            _ => {
                rounds.push(at..at + 1);
                sum = size;
            }
        }
    }
    rounds
}

/// A model whose outputs are the tensors that somebody wants to see.
pub struct Watch {
    session: Session,
    names: Vec<String>,
}

impl Watch {
    pub fn new(model: &Model, wanted: &[ValueId], threads: Option<usize>) -> Result<Watch, Error> {
        let graph = &model.graph;
        let made = wanted.iter().copied().filter(|v| graph.value(*v).producer().is_some());
        let mut watched = model.clone();
        watched.graph.set_outputs(made.collect());
        let mut builder = Session::builder("calibration.onnx").model(watched);
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        let names = wanted.iter().map(|v| graph.value(*v).name.to_string()).collect();
        Ok(Watch { session: builder.build()?, names })
    }

    /// Runs on one sample.
    pub fn see(&self, inputs: &[(String, Datum)], see: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        let outputs = self.session.run(inputs)?;
        for (place, name) in self.names.iter().enumerate() {
            let named = outputs.iter().chain(inputs).find(|(n, _)| n == name);
            let tensor = named.and_then(|(_, datum)| datum.as_tensor());
            let tensor = tensor.ok_or_else(|| Error::input(name, "is not among the data"))?;
            see(place, &tensor.as_slice::<f32>()?);
        }
        Ok(())
    }
}
