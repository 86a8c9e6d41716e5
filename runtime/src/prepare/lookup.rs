//! Functions of one number between DequantizeLinear and QuantizeLinear become a table with an entry for each code.

use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::normalise::Evaluate;
use byoc_graph::{Graph, Node, NodeId, NodeSpec, Tensor, ValueId};

use super::quantised::{dequantize, only_producer, quantised, remove_unused};
use super::{Pass, add_constant, is_f32, only_output};

pub(super) const PASS: Pass =
    Pass { name: "lookup", about: "computes functions of dequantised numbers by tables of their codes", run };

const FUNCTIONS: &[&str] = &[
    "Abs",
    "Atan",
    "Celu",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Softsign",
    "Tanh",
];

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            replace(graph, found);
        }
    }
}

struct Found {
    codes: ValueId,
    table: Tensor,
    /// From QuantizeLinear back to the first function.
    nodes: Vec<NodeId>,
    dequantize: NodeId,
}

/// The functions before this QuantizeLinear.
fn find(graph: &Graph, last: NodeId) -> Option<Found> {
    if !graph.contains_node(last) || !graph.node(last).is("QuantizeLinear") {
        return None;
    }
    let quantize = graph.node(last);
    quantised(graph, quantize, only_output(quantize)?)?.scalar(graph)?;
    let (mut nodes, mut x) = (vec![last], quantize.input(0)?);
    while dequantize(graph, x).is_none() {
        let id = only_producer(graph, x)?;
        let node = graph.node(id);
        let is_function = node.op.domain.is_empty() && FUNCTIONS.contains(&&*node.op.name);
        (is_function && node.inputs().len() == 1 && is_f32(graph, x)).then_some(())?;
        nodes.push(id);
        x = node.input(0)?;
    }
    let source = dequantize(graph, x).filter(|_| nodes.len() > 1)?;
    let from = quantised(graph, graph.node(source), graph.node(source).input(0)?)?;
    from.scalar(graph)?;
    let codes: Vec<u8> = (0..=u8::MAX).collect();
    let codes = Tensor::from_bytes(from.dtype, &[codes.len()], codes.into()).ok()?;
    let of = |values: &Tensor, id: NodeId| {
        let node = graph.node(id);
        let others = node.inputs().iter().skip(1).map(|input| input.and_then(|value| graph.constant(value)));
        let inputs: Vec<_> = std::iter::once(Some(values)).chain(others.map(|t| t.map(|t| &**t))).collect();
        ReferenceEvaluator.evaluate(node, &inputs)?.into_iter().next()
    };
    let all = std::iter::once(&source).chain(nodes.iter().rev());
    let table = all.copied().try_fold(codes, |values, id| of(&values, id))?;
    (table.dtype().bits() == 8 && table.len() == 256).then_some(())?;
    Some(Found { codes: from.integers, table, nodes, dequantize: source })
}

fn replace(graph: &mut Graph, found: Found) {
    let removed: Vec<Node> = found.nodes.iter().map(|&id| graph.remove_node(id)).collect();
    let last = &removed[0];
    let table = add_constant(graph, "table", found.table);
    let spec = NodeSpec {
        name: last.name.clone(),
        domain: "host".into(),
        op: "Lookup".into(),
        opset: 1,
        inputs: vec![Some(found.codes), Some(table)],
        outputs: last.outputs().to_vec(),
        position: last.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = last.label.clone();
    remove_unused(graph, found.dequantize);
}
