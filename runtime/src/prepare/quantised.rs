//! Conv, Gemm and MatMul between DequantizeLinear and QuantizeLinear: computed on the integers themselves.
//!
//! QLinearConv, QLinearMatMul and `host.QLinearGemm` sum in int32, multiply by one float32 a channel, round half to even and
//! saturate; an activation that does no more than the saturation goes away.

use byoc_graph::{Attr, Attributes, DType, Graph, Node, NodeId, NodeSpec, Tensor, ValueId};
use bytes::Bytes;

use super::{Pass, activation, add_constant, dtype, f32s, float, is_f32, only_output, rank, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "quantise",
    about: "computes convolutions and products of dequantised tensors on their integers",
    run,
};

/// How far the scale of a bias may be from that of the sums, as a share of it.
const BIAS_SCALE: f32 = 1e-4;

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            replace(graph, found);
        }
    }
}

/// Integers, and what they mean.
pub(super) struct Quantised {
    pub integers: ValueId,
    pub dtype: DType,
    pub scale: ValueId,
    /// `None`: all zero.
    pub zero: Option<ValueId>,
}

impl Quantised {
    /// The scale and the zero point, where there is one of each.
    pub fn scalar(&self, graph: &Graph) -> Option<(f32, i64)> {
        let &[scale] = f32s(graph, self.scale)?.as_slice() else { return None };
        let zero = match self.zero {
            None => 0,
            Some(zero) => *graph.constant(zero)?.to_i64s()?.first()?,
        };
        Some((scale, zero))
    }
}

struct Found {
    op: &'static str,
    x: Quantised,
    w: Quantised,
    y: Quantised,
    bias: Option<ValueId>,
    attrs: Attributes,
    /// From QuantizeLinear back to the product.
    nodes: Vec<NodeId>,
    /// The nodes that the product takes its inputs from.
    dequantize: Vec<NodeId>,
}

/// What ends in this QuantizeLinear.
fn find(graph: &Graph, last: NodeId) -> Option<Found> {
    if !graph.contains_node(last) || !graph.node(last).is("QuantizeLinear") {
        return None;
    }
    let quantize = graph.node(last);
    let y = quantised(graph, quantize, only_output(quantize)?)?;
    is_scalar(graph, &y).then_some(())?;
    let mut nodes = vec![last, only_producer(graph, quantize.input(0)?)?];
    if saturates(graph, graph.node(nodes[1]), &y) {
        nodes.push(only_producer(graph, graph.node(nodes[1]).input(0)?)?);
    }
    let product = graph.node(*nodes.last()?);
    let op = match &*product.op.name {
        "Conv" => "QLinearConv",
        "MatMul" => "QLinearMatMul",
        "Gemm" if is_plain(product) => "QLinearGemm",
        _ => return None,
    };
    let (from_x, from_w) = (dequantize(graph, product.input(0)?)?, dequantize(graph, product.input(1)?)?);
    let integers = |id: NodeId| quantised(graph, graph.node(id), graph.node(id).input(0)?);
    let (x, w) = (integers(from_x)?, integers(from_w)?);
    let channels = channels(graph, product, graph.node(from_w), &w)?;
    let fits = product.op.domain.is_empty() && is_f32(graph, only_output(product)?) && is_scalar(graph, &x);
    let mut sources = vec![from_x, from_w];
    let bias = match product.input(2) {
        None => None,
        Some(bias) => {
            let from = dequantize(graph, bias)?;
            sources.push(from);
            Some(bias_of(graph, graph.node(from), (&x, &w), channels)?)
        }
    };
    let attrs = product.attrs.clone();
    fits.then_some(Found { op, x, w, y, bias, attrs, nodes, dequantize: sources })
}

/// Whether a Gemm is the product by the rows of its right operand.
fn is_plain(gemm: &Node) -> bool {
    let int = |name| gemm.attrs.get(name).and_then(Attr::as_int).unwrap_or(0);
    float(gemm, "alpha", 1.0) == 1.0
        && float(gemm, "beta", 1.0) == 1.0
        && (int("transA"), int("transB")) == (0, 1)
}

/// The node that makes a value and nothing else, where one node uses it.
pub(super) fn only_producer(graph: &Graph, value: ValueId) -> Option<NodeId> {
    sole_use(graph, value)?;
    let (id, _) = graph.value(value).producer()?;
    only_output(graph.node(id)).map(|_| id)
}

/// The DequantizeLinear to float32 behind a value.
pub(super) fn dequantize(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let (id, _) = graph.value(value).producer()?;
    (graph.node(id).is("DequantizeLinear") && is_f32(graph, value)).then_some(id)
}

/// What the parameters of a QuantizeLinear or DequantizeLinear say of its 8-bit integers.
pub(super) fn quantised(graph: &Graph, node: &Node, integers: ValueId) -> Option<Quantised> {
    let dtype = dtype(graph, integers)?;
    let blocked = node.attrs.get("block_size").and_then(Attr::as_int).unwrap_or(0) != 0;
    let (scale, zero) = (node.input(1)?, node.input(2));
    let scales = f32s(graph, scale)?;
    let usable = scales.iter().all(|s| s.is_finite() && *s > 0.0) && rank(graph, scale)? <= 1;
    if let Some(zero) = zero {
        let zero = graph.constant(zero)?;
        (zero.dtype() == dtype && zero.len() == scales.len()).then_some(())?;
    }
    let byte = matches!(dtype, DType::U8 | DType::I8);
    (byte && usable && !blocked).then_some(Quantised { integers, dtype, scale, zero })
}

fn is_scalar(graph: &Graph, quantised: &Quantised) -> bool {
    graph.constant(quantised.scale).is_some_and(|s| s.len() == 1)
}

/// The number of output channels or columns, where the weights are constant and their scales go along those.
fn channels(graph: &Graph, product: &Node, dequantize: &Node, w: &Quantised) -> Option<usize> {
    let dims = graph.constant(w.integers)?.dims();
    let along = match &*product.op.name {
        "Conv" => 0,
        "Gemm" if dims.len() == 2 => 0,
        "MatMul" if dims.len() == 2 => 1,
        _ => return None,
    };
    let channels = *dims.get(along)?;
    let axis = dequantize.attrs.get("axis").and_then(Attr::as_int).unwrap_or(1);
    let axis = if axis < 0 { axis.checked_add_unsigned(dims.len() as u64)? } else { axis };
    let each = usize::try_from(axis) == Ok(along) && graph.constant(w.scale)?.len() == channels;
    (each || is_scalar(graph, w)).then_some(channels)
}

/// The integers of a bias, where one of them is worth as much as one of the sums.
fn bias_of(graph: &Graph, node: &Node, (x, w): (&Quantised, &Quantised), channels: usize) -> Option<ValueId> {
    let bias = node.input(0)?;
    let tensor = graph.constant(bias).filter(|b| b.dtype() == DType::I32 && b.dims() == [channels])?;
    let (x, w, b) = (f32s(graph, x.scale)?[0], f32s(graph, w.scale)?, f32s(graph, node.input(1)?)?);
    let known = [1, tensor.len()].contains(&b.len());
    let same = |i: usize| {
        let sums = x * w[i % w.len()];
        (b[i % b.len()] - sums).abs() <= BIAS_SCALE * sums
    };
    let centred = match node.input(2) {
        None => true,
        Some(zero) => graph.constant(zero)?.to_i64s()?.iter().all(|&z| z == 0),
    };
    (known && centred && (0..channels).all(same)).then_some(bias)
}

/// Whether a node is an activation that cuts off nothing but what lies beyond the integers of `y` anyway.
fn saturates(graph: &Graph, node: &Node, y: &Quantised) -> bool {
    let (Some([low, high]), Some((scale, zero))) = (bounds(graph, node), y.scalar(graph)) else {
        return false;
    };
    let (least, most) = if y.dtype == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let step = |bound: f32| (bound / scale).round_ties_even() + zero as f32;
    step(low) <= least && step(high) >= most
}

/// What an activation that only cuts off leaves.
pub(super) fn bounds(graph: &Graph, node: &Node) -> Option<[f32; 2]> {
    match &*node.op.name {
        _ if !node.op.domain.is_empty() => None,
        "Relu" => Some([0.0, f32::MAX]),
        "Clip" => activation::clip(graph, node)?.try_into().ok(),
        _ => None,
    }
}

fn replace(graph: &mut Graph, found: Found) {
    let inputs = [&found.x, &found.w, &found.y].map(|q| (q.integers, q.scale, zero_point(graph, q)));
    let [(x, x_scale, x_zero), (w, w_scale, w_zero), (_, y_scale, y_zero)] = inputs;
    let removed: Vec<Node> = found.nodes.iter().map(|&id| graph.remove_node(id)).collect();
    let last = &removed[0];
    let inputs = [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero];
    let spec = NodeSpec {
        name: last.name.clone(),
        domain: if found.op == "QLinearGemm" { "host".into() } else { "".into() },
        op: found.op.into(),
        opset: 10,
        inputs: inputs.into_iter().chain(found.bias).map(Some).collect(),
        outputs: last.outputs().to_vec(),
        attrs: if found.op == "QLinearGemm" { Attributes::default() } else { found.attrs },
        position: last.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = last.label.clone();
    for id in found.dequantize {
        remove_unused(graph, id);
    }
}

/// The zero points of a tensor, as many as its scales.
fn zero_point(graph: &mut Graph, quantised: &Quantised) -> ValueId {
    quantised.zero.unwrap_or_else(|| {
        let dims = graph.constant(quantised.scale).expect("found as a constant").dims();
        let zeros = Bytes::from(vec![0; dims.iter().product()]);
        let zeros = Tensor::from_bytes(quantised.dtype, dims, zeros).expect("one byte each");
        add_constant(graph, "zero_point", zeros)
    })
}

pub(super) fn remove_unused(graph: &mut Graph, id: NodeId) {
    let unused = |value: &ValueId| graph.value(*value).uses().is_empty() && !graph.is_output(*value);
    if graph.contains_node(id) && graph.node(id).outputs().iter().flatten().all(unused) {
        graph.remove_node(id);
    }
}
