//! Outputs that are drawn at random. The standard leaves the numbers to the implementation, even for a given seed,
//! so that expected and computed ones can only be compared as two samples of one distribution.

use std::collections::HashSet;

use byoc_graph::{Datum, Graph, Tensor, ValueId};

const RANDOM: &[&str] =
    &["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// How many standard errors the means of two samples may be apart.
const MAX_ERRORS: f64 = 3.0;

/// The names of the outputs that depend on what a node draws.
pub(super) fn drawn_outputs(graph: &Graph) -> HashSet<&str> {
    let mut drawn: HashSet<ValueId> = HashSet::new();
    for node in graph.try_model_order().into_iter().flatten().map(|id| graph.node(id)) {
        let draws = node.op.domain.is_empty() && RANDOM.contains(&&*node.op.name);
        if draws || node.dependencies().into_iter().any(|value| drawn.contains(&value)) {
            drawn.extend(node.outputs().iter().flatten());
        }
    }
    graph.outputs().iter().filter(|id| drawn.contains(id)).map(|&id| &*graph.value(id).name).collect()
}

/// Whether two samples have the same type and shape, whole numbers of the same range where one has them, and
/// means as near as chance allows.
pub(super) fn compare_samples(got: &Datum, want: &Datum) -> Result<(), String> {
    let (Some(got), Some(want)) = (got.as_tensor(), want.as_tensor()) else {
        return Err("what is drawn is not a tensor".into());
    };
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        return Err(format!("got {}, want {}", got.ty(), want.ty()));
    }
    let (a, b) = (values(got)?, values(want)?);
    let (low, high) = b.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let whole = |x: &f64| x.fract() == 0.0;
    if b.iter().all(whole)
        && let Some(odd) = a.iter().find(|x| !whole(x) || !(low..=high).contains(x))
    {
        return Err(format!("drew {odd}, want whole numbers from {low} to {high}"));
    }
    let ((mean, spread), (wanted, other)) = (moments(&a), moments(&b));
    let error = ((spread + other) / a.len().max(1) as f64).sqrt();
    if (mean - wanted).abs() > MAX_ERRORS * error {
        return Err(format!("the mean of what is drawn is {mean}, want {wanted} ± {}", MAX_ERRORS * error));
    }
    Ok(())
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, String> {
    tensor.to_f64s().ok_or_else(|| format!("{} holds no numbers", tensor.ty()))
}

/// Mean and variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: Vec<f32>) -> Datum {
        Tensor::from_vec(&[values.len()], values).unwrap().into()
    }

    #[test]
    fn what_depends_on_a_draw_is_found() {
        let text = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4] x) => (float[4] a, float[4] b) { p = Sigmoid(x) a = Bernoulli(p) b = Relu(p) }"#;
        let model = byoc_graph::onnx::from_text(text, None).unwrap();
        assert_eq!(drawn_outputs(&model.graph), HashSet::from(["a"]));
    }

    #[test]
    fn samples_of_one_distribution_pass_and_others_fail() {
        let coin = |share: usize| sample((0..100).map(|i| f32::from(u8::from(i % 100 < share))).collect());
        assert!(compare_samples(&coin(50), &coin(58)).is_ok());
        assert!(compare_samples(&coin(20), &coin(58)).is_err());
        assert!(compare_samples(&sample(vec![0.5; 100]), &coin(50)).is_err());
        assert!(compare_samples(&sample(vec![0.0; 99]), &coin(50)).is_err());
    }
}
