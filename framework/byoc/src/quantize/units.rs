//! Which nodes are computed in one step between quantised tensors: the standard set.

use std::collections::HashSet;

use byoc_graph::{Attr, DType, Graph, Node, NodeId, Slot, ValueId};

use crate::Error;

/// What a unit's result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Sums of products with weights.
    Product,
    /// Of two activations, element by element.
    Sum,
    /// Of one number each.
    Function,
    Average,
    Concat,
    /// Elements of the input, some or all of them, in some order.
    Selection,
}

/// The operators of the default domain that can be computed between quantised tensors.
const STANDARD: &[(&str, Kind)] = &[
    ("Add", Kind::Sum),
    ("AveragePool", Kind::Average),
    ("BatchNormalization", Kind::Function),
    ("Clip", Kind::Function),
    ("Concat", Kind::Concat),
    ("Conv", Kind::Product),
    ("ConvTranspose", Kind::Product),
    ("Flatten", Kind::Selection),
    ("Gemm", Kind::Product),
    ("GlobalAveragePool", Kind::Average),
    ("HardSigmoid", Kind::Function),
    ("HardSwish", Kind::Function),
    ("LeakyRelu", Kind::Function),
    ("MatMul", Kind::Product),
    ("MaxPool", Kind::Selection),
    ("Mul", Kind::Sum),
    ("Relu", Kind::Function),
    ("Reshape", Kind::Selection),
    ("Resize", Kind::Selection),
    ("Sigmoid", Kind::Function),
    ("Slice", Kind::Selection),
    ("Squeeze", Kind::Selection),
    ("Tanh", Kind::Function),
    ("Transpose", Kind::Selection),
    ("Unsqueeze", Kind::Selection),
];

/// Nodes that are computed in one step.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The node that does the work.
    pub core: NodeId,
    pub nodes: Vec<NodeId>,
    /// Where tensors are read that are to be quantised.
    pub reads: Vec<(NodeId, usize)>,
    /// The tensors that it reads there.
    pub inputs: Vec<ValueId>,
    pub weights: Option<Weights>,
    pub output: ValueId,
    kind: Kind,
}

/// The second operand of a product, where it is constant.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    pub value: ValueId,
    /// The axis along which output channels lie, where there is one.
    pub axis: Option<usize>,
    /// Where the bias is read, or could be.
    pub bias: Option<(NodeId, usize)>,
    /// The axis of channels in what the core makes, counted from the end where it is negative.
    pub channel: isize,
}

impl Unit {
    /// Its result and the tensor that this has its parameters from.
    pub fn shares(&self) -> Option<(ValueId, ValueId)> {
        (self.kind == Kind::Selection).then(|| (self.output, self.inputs[0]))
    }

    /// What only belongs to a quantised model where something quantised comes in.
    fn is_loose(&self) -> bool {
        self.kind != Kind::Product
    }
}

/// Every tensor that some unit reads or makes, once.
pub fn tensors(units: &[Unit]) -> Vec<ValueId> {
    let mut seen = HashSet::new();
    let all = units.iter().flat_map(|unit| unit.inputs.iter().copied().chain([unit.output]));
    all.filter(|value| seen.insert(*value)).collect()
}

/// Takes out units that nothing quantised comes into, and those that this leaves without.
pub fn drop_loose(units: &mut Vec<Unit>) {
    let mut made = HashSet::new();
    units.retain(|unit| {
        let keep = !unit.is_loose() || unit.inputs.iter().any(|v| made.contains(v));
        if keep {
            made.insert(unit.output);
        }
        keep
    });
}

/// The units of a graph, in model order.
pub fn find(graph: &Graph, exclude: &[String], only_ops: &[String]) -> Result<Vec<Unit>, Error> {
    check_names(graph, exclude, only_ops)?;
    let is_excluded = |id: &NodeId| {
        let node = graph.node(*id);
        exclude.iter().any(|name| **name == *node.label || **name == *node.op.name)
    };
    let (mut units, mut taken) = (Vec::new(), HashSet::new());
    for id in graph.model_order() {
        if taken.contains(&id) {
            continue;
        }
        let Some(unit) = unit(graph, id) else { continue };
        let op = &graph.node(unit.core).op.name;
        let wanted = only_ops.is_empty() || only_ops.iter().any(|only| **only == **op);
        if wanted && !unit.nodes.iter().any(is_excluded) && fits(graph, &unit) {
            taken.extend(unit.nodes.iter().copied());
            units.push(unit);
        }
    }
    drop_loose(&mut units);
    Ok(units)
}

fn check_names(graph: &Graph, exclude: &[String], only_ops: &[String]) -> Result<(), Error> {
    for name in exclude {
        let mut nodes = graph.node_ids().map(|id| graph.node(id));
        if !nodes.any(|node| **name == *node.label || **name == *node.op.name) {
            return Err(Error::Other(format!(
                "no node and no operator is named `{name}`, which is to stay float"
            )));
        }
    }
    let known = |op: &String| STANDARD.iter().any(|(name, _)| op == name);
    match only_ops.iter().find(|op| !known(op)) {
        None => Ok(()),
        Some(op) => {
            let names: Vec<&str> = STANDARD.iter().map(|(name, _)| *name).collect();
            Err(Error::Other(format!("`{op}` is never quantised; there are {}", names.join(", "))))
        }
    }
}

/// Whether all tensors of a unit are float32, and no body reads its result by name.
fn fits(graph: &Graph, unit: &Unit) -> bool {
    let float = |value: ValueId| graph.value(value).ty.as_ref().and_then(|t| t.dtype()) == Some(DType::F32);
    let captured =
        |value: ValueId| graph.value(value).uses().iter().any(|use_| matches!(use_.slot, Slot::Capture(_)));
    let inputs = unit.inputs.iter().copied();
    inputs.clone().chain([unit.output]).all(float)
        && !inputs.clone().any(|v| graph.is_constant(v))
        && !captured(unit.output)
        && !unit.inputs.is_empty()
}

/// The unit that a node begins.
fn unit(graph: &Graph, id: NodeId) -> Option<Unit> {
    let node = graph.node(id);
    if !node.op.domain.is_empty() || node.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    let (_, kind) = STANDARD.iter().find(|(name, _)| *name == &*node.op.name)?;
    match kind {
        Kind::Product => product(graph, id),
        Kind::Function => swish(graph, id).or_else(|| functions(graph, id)),
        Kind::Sum => Some(activated(graph, plain(graph, id, *kind, &[0, 1])?)),
        Kind::Concat => plain(graph, id, *kind, &(0..node.inputs().len()).collect::<Vec<_>>()),
        Kind::Average => plain(graph, id, *kind, &[0]),
        Kind::Selection => {
            let mode = node.attrs.get("mode").and_then(Attr::as_str).unwrap_or("nearest");
            (!node.is("Resize") || mode == "nearest").then(|| plain(graph, id, *kind, &[0]))?
        }
    }
}

/// A unit of one node.
fn plain(graph: &Graph, core: NodeId, kind: Kind, slots: &[usize]) -> Option<Unit> {
    let node = graph.node(core);
    let inputs = slots.iter().map(|slot| node.input(*slot)).collect::<Option<Vec<_>>>()?;
    let reads = slots.iter().map(|slot| (core, *slot)).collect();
    Some(Unit { core, nodes: vec![core], reads, inputs, weights: None, output: node.output(0)?, kind })
}

fn product(graph: &Graph, core: NodeId) -> Option<Unit> {
    let node = graph.node(core);
    let weights = node.input(1)?;
    let Some(tensor) = graph.constant(weights) else {
        // Two activations; only MatMul has a bias-free form of that which others read as such.
        return node.is("MatMul").then(|| plain(graph, core, Kind::Product, &[0, 1]))?;
    };
    let int = |name: &str, default| node.attrs.get(name).and_then(Attr::as_int).unwrap_or(default);
    let float = |name: &str| node.attrs.get(name).and_then(Attr::as_float).unwrap_or(1.0);
    let rank = tensor.rank();
    let (axis, bias, channel) = match &*node.op.name {
        "Conv" => (Some(0), Some((core, 2)), 1),
        "ConvTranspose" => ((int("group", 1) == 1).then_some(1), Some((core, 2)), 1),
        "Gemm" if int("transA", 0) != 0 || float("alpha") != 1.0 || float("beta") != 1.0 => return None,
        "Gemm" => (Some(if int("transB", 0) == 0 { 1 } else { 0 }), Some((core, 2)), -1),
        "MatMul" => ((rank == 2).then_some(1), None, -1),
        _ => return None,
    };
    if tensor.dtype() != DType::F32 || tensor.is_empty() || rank < 2 {
        return None;
    }
    let mut unit = plain(graph, core, Kind::Product, &[0])?;
    unit.weights = Some(Weights { value: weights, axis, bias, channel });
    if node.is("MatMul") && rank == 2 {
        unit = with_added_bias(graph, unit);
    }
    Some(activated(graph, unit))
}

/// MatMul with an Add of one constant for each column behind it.
fn with_added_bias(graph: &Graph, mut unit: Unit) -> Unit {
    let columns = unit.weights.and_then(|w| graph.constant(w.value).map(|t| t.dims()[1]));
    let found = alone(graph, unit.output).filter(|id| graph.node(*id).is("Add")).and_then(|add| {
        let slot = (0..2).find(|slot| graph.node(add).input(*slot) != Some(unit.output))?;
        let bias = graph.constant(graph.node(add).input(slot)?)?;
        let is_row = Some(bias.len()) == columns && bias.dims().last() == bias.dims().iter().max();
        (is_row && bias.dtype() == DType::F32).then_some((add, slot))
    });
    if let (Some((add, slot)), Some(weights)) = (found, &mut unit.weights) {
        weights.bias = Some((add, slot));
        unit.nodes.push(add);
        unit.output = graph.node(add).output(0).unwrap_or(unit.output);
    }
    unit
}

/// The unit with a Relu or Clip behind it.
fn activated(graph: &Graph, mut unit: Unit) -> Unit {
    let behind = alone(graph, unit.output).filter(|id| is_clamp(graph, graph.node(*id), unit.output));
    if let Some((id, output)) = behind.and_then(|id| Some((id, graph.node(id).output(0)?))) {
        unit.nodes.push(id);
        unit.output = output;
    }
    unit
}

/// Relu, or Clip with constant bounds, of a value.
fn is_clamp(graph: &Graph, node: &Node, of: ValueId) -> bool {
    let bounds = node.inputs().iter().skip(1).flatten();
    node.input(0) == Some(of)
        && (node.is("Relu") || node.is("Clip") && bounds.into_iter().all(|v| graph.is_constant(*v)))
}

/// Functions of one number, one behind the other.
fn functions(graph: &Graph, id: NodeId) -> Option<Unit> {
    let constant =
        |id: NodeId| graph.node(id).inputs().iter().skip(1).flatten().all(|v| graph.is_constant(*v));
    let mut unit = plain(graph, id, Kind::Function, &[0]).filter(|_| constant(id))?;
    while let Some(next) = alone(graph, unit.output) {
        let node = graph.node(next);
        let is_function = STANDARD.contains(&(&*node.op.name, Kind::Function)) && node.op.domain.is_empty();
        if !is_function || node.input(0) != Some(unit.output) || !constant(next) {
            break;
        }
        let Some(output) = node.output(0) else { break };
        unit.nodes.push(next);
        unit.output = output;
    }
    Some(unit)
}

/// x · f(x), where nothing else uses f(x).
fn swish(graph: &Graph, id: NodeId) -> Option<Unit> {
    let node = graph.node(id);
    let (x, gate) = (node.input(0)?, node.output(0)?);
    if !node.is("Sigmoid") && !node.is("HardSigmoid") {
        return None;
    }
    let mul = alone(graph, gate).filter(|id| graph.node(*id).is("Mul"))?;
    let slot = (0..2).find(|slot| graph.node(mul).input(*slot) == Some(x))?;
    Some(Unit {
        core: mul,
        nodes: vec![id, mul],
        reads: vec![(id, 0), (mul, slot)],
        inputs: vec![x, x],
        weights: None,
        output: graph.node(mul).output(0)?,
        kind: Kind::Function,
    })
}

/// The only user of a value, which is no output of the graph.
fn alone(graph: &Graph, value: ValueId) -> Option<NodeId> {
    match graph.value(value).uses() {
        [use_] if matches!(use_.slot, Slot::Input(_)) && !graph.is_output(value) => Some(use_.node),
        _ => None,
    }
}
