//! Conv → BatchNormalization: the scale goes into the weights, the shift into the bias.

use byoc_graph::{Attr, Graph, Node, NodeId, Tensor};

use super::{Pass, Product, absorb, add_constant, f32s, float, only_output, product, set_input, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "fold_batch_normalization",
    about: "folds BatchNormalization into the weights of the convolution before it",
    run,
};

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(folded) = fold(graph, id) {
            let weights = add_constant(graph, "folded_weights", folded.weights);
            let bias = add_constant(graph, "folded_bias", folded.bias);
            absorb(graph, id, folded.user, |spec| {
                set_input(spec, 1, weights);
                set_input(spec, 2, bias);
            });
        }
    }
}

struct Folded {
    user: NodeId,
    weights: Tensor,
    bias: Tensor,
}

fn fold(graph: &Graph, id: NodeId) -> Option<Folded> {
    if product(graph, id)? != Product::Conv || graph.node(id).input(3).is_some() {
        return None;
    }
    let conv = graph.node(id);
    let (user, 0) = sole_use(graph, only_output(conv)?)? else { return None };
    let weights = graph.constant(conv.input(1)?)?;
    let data = weights.as_slice::<f32>().ok()?;
    let channels = *weights.dims().first()?;
    let (factor, shift) = scaling(graph, graph.node(user), channels)?;
    let bias = match conv.input(2) {
        Some(bias) => f32s(graph, bias).filter(|b| b.len() == channels)?,
        None => vec![0.0; channels],
    };
    let each = data.chunks(data.len().div_ceil(channels.max(1)).max(1)).zip(&factor);
    let scaled = each.flat_map(|(part, factor)| part.iter().map(move |&w| (f64::from(w) * factor) as f32));
    let moved = (0..channels).map(|c| (f64::from(bias[c]) * factor[c] + shift[c]) as f32);
    Some(Folded {
        user,
        weights: Tensor::from_vec(weights.dims(), scaled.collect()).ok()?,
        bias: Tensor::from_vec(&[channels], moved.collect()).ok()?,
    })
}

/// What a BatchNormalization with constant parameters multiplies each channel by, and then adds.
pub(super) fn scaling(graph: &Graph, norm: &Node, channels: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let training = norm.attrs.get("training_mode").and_then(Attr::as_int).unwrap_or(0) != 0;
    if !norm.is("BatchNormalization") || norm.opset < 7 || training {
        return None;
    }
    only_output(norm)?;
    let parameter = |i: usize| f32s(graph, norm.input(i)?).filter(|p| p.len() == channels);
    let (scale, shift) = (parameter(1)?, parameter(2)?);
    let (mean, variance) = (parameter(3)?, parameter(4)?);
    let epsilon = f64::from(float(norm, "epsilon", 1e-5));
    let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + epsilon).sqrt();
    let factors: Vec<f64> = (0..channels).map(factor).collect();
    let shifts = factors.iter().enumerate().map(|(c, f)| f64::from(shift[c]) - f64::from(mean[c]) * f);
    let shifts = shifts.collect();
    Some((factors, shifts))
}
