//! How far tensors of the quantised model are from those of the float model.

use byoc_graph::{DType, Model, ValueId};

use super::insert::Plan;
use super::observe::{Watch, rounds};
use super::samples::Samples;
use crate::Error;

/// Sums over all elements of all samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Distance {
    signal: f64,
    got: f64,
    product: f64,
    noise: f64,
}

impl Distance {
    /// Takes in one element.
    pub(crate) fn add(&mut self, want: f64, got: f64) {
        self.signal += want * want;
        self.got += got * got;
        self.product += want * got;
        self.noise += (want - got) * (want - got);
    }

    fn add_all(&mut self, want: &[f32], got: &[f32]) {
        want.iter().zip(got).for_each(|(&want, &got)| self.add(want.into(), got.into()));
    }

    /// The cosine of the angle between both, 1 where both are zero.
    pub fn cosine(&self) -> f64 {
        let length = (self.signal * self.got).sqrt();
        if length > 0.0 { self.product / length } else { f64::from(u8::from(self.signal == self.got)) }
    }

    /// Signal to noise in decibels; `None` where there is no noise.
    pub fn sqnr_db(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }
}

/// The distance of every quantised tensor, and of every float output.
pub struct Distances {
    pub tensors: Vec<Distance>,
    pub outputs: Vec<(String, Distance)>,
}

/// Runs both models on all samples.
pub fn errors(
    float: &Model,
    quantised: &Model,
    plan: &Plan,
    samples: &Samples,
    threads: Option<usize>,
) -> Result<Distances, Error> {
    let named = |name: &str| quantised.graph.value_by_name(name).expect("the plan names values of the model");
    let is_float =
        |id: &&ValueId| float.graph.value(**id).ty.as_ref().and_then(|t| t.dtype()) == Some(DType::F32);
    let outputs: Vec<ValueId> = float.graph.outputs().iter().filter(is_float).copied().collect();
    let pairs: Vec<(ValueId, ValueId)> = plan
        .tensors
        .iter()
        .map(|(value, name)| (*value, named(name)))
        .chain(outputs.iter().map(|&o| (o, named(&float.graph.value(o).name))))
        .collect();
    let (floats, stored): (Vec<ValueId>, Vec<ValueId>) = pairs.into_iter().unzip();
    let mut distances = vec![Distance::default(); floats.len()];
    for round in rounds(&float.graph, &floats) {
        let want = Watch::new(float, &floats[round.clone()], threads)?;
        let got = Watch::new(quantised, &stored[round.clone()], threads)?;
        for at in 0..samples.len() {
            let inputs = samples.get(at, &float.graph)?;
            let mut wanted: Vec<Vec<f32>> = Vec::new();
            want.see(&inputs, &mut |_, values| wanted.push(values.to_vec()))?;
            got.see(&inputs, &mut |i, values| distances[round.start + i].add_all(&wanted[i], values))?;
        }
    }
    let names = outputs.iter().map(|&o| float.graph.value(o).name.to_string());
    let of_outputs = distances.split_off(plan.tensors.len());
    Ok(Distances { tensors: distances, outputs: names.zip(of_outputs).collect() })
}
