//! Images between convolutions are kept in blocks of 16 channels: (images, blocks, height, width, 16).
//!
//! Turning an image at the ends of a chain costs time, so nodes that hang together are turned where their arithmetic
//! outweighs it.

use byoc_cpu::fast::blocked::THIN;
use byoc_graph::{Attr, DType, Dim, Graph, Node, NodeId, NodeSpec, Tensor, Type, ValueId};
use indexmap::{IndexMap, IndexSet};
use petgraph::unionfind::UnionFind;

use super::batch_normalization::scaling;
use super::twins::{Layout, Twins};
use super::{Pass, add_constant, only_output, rank};

pub(super) const PASS: Pass =
    Pass { name: "blocked", about: "keeps images in blocks of 16 channels between convolutions", run };

const BLOCK: i64 = 16;
/// Multiply-adds that outweigh turning one element. Turned, convolutions take about a tenth less time; an element takes
/// as long as this many multiply-adds' tenth.
const WORTH: i64 = 256;

/// What a node that can work in blocks becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Conv,
    /// A convolution of an image with few channels, which stays as it is.
    Thin,
    /// ConvTranspose.
    Transposed,
    Pool,
    /// GlobalAveragePool.
    Mean,
    /// Elements are computed one by one.
    Each,
    /// Concat of channels, or `host.PickChannels`.
    Pick,
    /// Split or Slice of channels, by whole blocks.
    Cut,
    /// Resize or Upsample of height and width.
    Resize,
    /// BatchNormalization: a convolution of one pixel and one channel to each group.
    Norm,
}

/// Operators of one image that map zero to a finite number, element by element.
const UNARY: &[&str] =
    &["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Elu", "HardSigmoid", "HardSwish", "Softplus"];
/// Operators of several.
const BINARY: &[&str] = &["Add", "Sub", "Mul", "Sum"];

fn run(graph: &mut Graph) {
    let mut twins = Twins::<InBlocks>::new();
    for (id, role) in choose(graph) {
        let images: Vec<_> = images(graph, graph.node(id), role).collect();
        let counts = images.iter().filter_map(|&(_, x)| channels(graph, x)).collect();
        let places: Vec<usize> = images.into_iter().map(|(i, _)| i).collect();
        twins.turn(graph, id, &places, |graph, node, spec| change(graph, node, role, counts, spec));
    }
    twins.give_back(graph);
}

/// The nodes that are turned, in order.
fn choose(graph: &Graph) -> IndexMap<NodeId, Role> {
    let mut planned = IndexMap::new();
    let mut blocked = IndexSet::new();
    for id in graph.model_order() {
        let Some((role, starts)) = role(graph, id) else { continue };
        let continues = images(graph, graph.node(id), role).any(|(_, x)| blocked.contains(&x));
        if starts || continues {
            planned.insert(id, role);
            blocked.extend(graph.node(id).outputs().iter().copied().flatten());
        }
    }
    keep_worthwhile(graph, &mut planned);
    planned
}

/// Drops nodes that hang together where turning what comes in and goes out costs more than it saves.
fn keep_worthwhile(graph: &Graph, planned: &mut IndexMap<NodeId, Role>) {
    let mut together = UnionFind::<usize>::new(planned.len());
    let maker = |x: ValueId| planned.get_index_of(&graph.value(x).producer()?.0);
    let mut entering: IndexMap<ValueId, usize> = IndexMap::new();
    for (i, (&id, &role)) in planned.iter().enumerate() {
        for (_, x) in images(graph, graph.node(id), role) {
            // Who shares an input shares the cost of turning it.
            let other = maker(x).unwrap_or_else(|| *entering.entry(x).or_insert(i));
            together.union(i, other);
        }
    }
    let mut balance = vec![0i64; planned.len()];
    let mut add = |i: usize, n: i64| {
        let total = &mut balance[together.find(i)];
        *total = total.saturating_add(n);
    };
    entering.iter().for_each(|(&x, &i)| add(i, -WORTH.saturating_mul(elements(graph, x))));
    for (i, (&id, &role)) in planned.iter().enumerate() {
        let node = graph.node(id);
        add(i, multiply_adds(graph, node, role));
        for &y in node.outputs().iter().flatten() {
            let mut uses = graph.value(y).uses().iter().filter(|use_| !is_shape(graph, use_.node));
            let outside = uses.any(|use_| !planned.contains_key(&use_.node));
            if outside || graph.is_output(y) {
                add(i, -WORTH.saturating_mul(elements(graph, y)));
            }
        }
    }
    let mut index = 0;
    planned.retain(|_, _| {
        index += 1;
        balance[together.find(index - 1)] > 0
    });
}

/// How a node works in blocks, if it can, and whether it is a reason to begin.
fn role(graph: &Graph, id: NodeId) -> Option<(Role, bool)> {
    let node = graph.node(id);
    let host = &*node.op.domain == "host";
    if !host && ["Split", "Slice"].contains(&&*node.op.name) {
        return (is_of_blocks(graph, node) && node.op.domain.is_empty()).then_some((Role::Cut, false));
    }
    let y = only_output(node)?;
    let (role, starts) = match &*node.op.name {
        "Conv" if host || node.op.domain.is_empty() => conv_role(graph, node)?,
        "PickChannels" if host => (Role::Pick, false),
        _ if host => return None,
        "ConvTranspose" => (Role::Transposed, is_tiling(graph, node).then_some(false)?),
        "MaxPool" | "AveragePool" => (Role::Pool, is_window(node, "kernel_shape").then_some(false)?),
        "GlobalAveragePool" => (Role::Mean, false),
        "Resize" | "Upsample" => (Role::Resize, is_of_planes(graph, node).then_some(false)?),
        "BatchNormalization" => (Role::Norm, is_scaling(graph, node).then_some(false)?),
        "Concat" => (Role::Pick, is_of_channels(node).then_some(false)?),
        name if UNARY.contains(&name) => (Role::Each, false),
        name if BINARY.contains(&name) => (Role::Each, same_channels(graph, node).then_some(false)?),
        _ => return None,
    };
    if !(node.op.domain.is_empty() || host) || channels(graph, y).is_none() {
        return None;
    }
    let sound = |x: ValueId| graph.constant(x).is_none() && channels(graph, x).is_some();
    let mut images = images(graph, node, role).map(|(_, x)| sound(x));
    let first = images.next().unwrap_or(role == Role::Thin);
    (first && images.all(|sound| sound)).then_some((role, starts))
}

/// The channels of an image of f32, where they are known.
fn channels(graph: &Graph, x: ValueId) -> Option<i64> {
    let ty = graph.value(x).ty.as_ref()?.as_tensor()?;
    let shape = ty.shape.as_ref().filter(|shape| shape.len() == 4 && ty.dtype == Some(DType::F32))?;
    shape[1].value().filter(|&channels| channels > 0)
}

/// The inputs of a node that are images, and where they are.
fn images<'a>(
    graph: &'a Graph,
    node: &'a Node,
    role: Role,
) -> impl Iterator<Item = (usize, ValueId)> + use<'a> {
    let wanted = move |i: usize, x: ValueId| match role {
        Role::Conv => i == 0 || i == 3,
        Role::Thin => i == 3,
        Role::Transposed | Role::Pool | Role::Mean | Role::Resize | Role::Norm | Role::Cut => i == 0,
        Role::Pick => true,
        Role::Each => rank(graph, x) == Some(4),
    };
    let inputs = node.inputs().iter().enumerate().filter_map(|(i, x)| Some((i, (*x)?)));
    inputs.filter(move |&(i, x)| wanted(i, x))
}

/// How a convolution works in blocks, if it can, and whether it has enough channels to fill them.
fn conv_role(graph: &Graph, conv: &Node) -> Option<(Role, bool)> {
    let weights = graph.constant(conv.input(1)?)?;
    let &[output, inputs, ref kernel @ ..] = weights.dims() else { return None };
    let groups = usize::try_from(conv.attrs.get("group").map_or(Some(1), Attr::as_int)?).ok()?;
    let x = conv.input(0)?;
    let shape = graph.value(x).ty.as_ref()?.shape()?;
    let size_is_known = shape.len() == 4 && shape[2..].iter().all(|d| d.value().is_some_and(|n| n > 0));
    let consistent = channels(graph, x)? == i64::try_from(inputs.checked_mul(groups)?).ok()?;
    let sound = weights.dtype() == DType::F32
        && kernel.len() == 2
        && !weights.is_empty()
        && size_is_known
        && consistent
        && output.is_multiple_of(groups.max(1))
        && is_window(conv, "");
    let role = match inputs * groups {
        n if n >= BLOCK as usize => Role::Conv,
        n if n <= THIN && groups == 1 => Role::Thin,
        _ => return None,
    };
    sound.then_some((role, output >= BLOCK as usize))
}

/// Whether the attributes of a two-dimensional window are there and make sense, among them the one named `kernel`.
fn is_window(node: &Node, kernel: &str) -> bool {
    let positive = |name: &str, len: usize, least: i64| match node.attrs.get(name) {
        None => name != kernel,
        Some(attr) => attr.as_ints().is_some_and(|x| x.len() == len && x.iter().all(|&x| x >= least)),
    };
    let padding = node.attrs.get("auto_pad").and_then(Attr::as_str).unwrap_or("NOTSET");
    let column_major = node.attrs.get("storage_order").and_then(Attr::as_int).unwrap_or(0) != 0;
    ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&padding)
        && !column_major
        && positive("strides", 2, 1)
        && positive("dilations", 2, 1)
        && positive("pads", 4, 0)
        && (kernel.is_empty() || positive(kernel, 2, 1))
}

/// Whether the windows of a transposed convolution tile its output.
fn is_tiling(graph: &Graph, node: &Node) -> bool {
    let Some(weights) = node.input(1).and_then(|w| graph.constant(w)) else { return false };
    let &[_, outputs, height, width] = weights.dims() else { return false };
    let ints = |name: &str| node.attrs.get(name).and_then(Attr::as_ints);
    let none = |name: &str, value: i64| ints(name).is_none_or(|x| x.iter().all(|&x| x == value));
    let strides = ints("strides").unwrap_or(&[1, 1]);
    let padding = node.attrs.get("auto_pad").and_then(Attr::as_str).unwrap_or("NOTSET");
    weights.dtype() == DType::F32
        && !weights.is_empty()
        && outputs.is_multiple_of(BLOCK as usize)
        && strides == [height as i64, width as i64]
        && none("pads", 0)
        && none("output_padding", 0)
        && none("dilations", 1)
        && ints("output_shape").is_none()
        && ["NOTSET", "VALID"].contains(&padding)
        && node.attrs.get("group").and_then(Attr::as_int).unwrap_or(1) == 1
        && node.input(0).and_then(|x| channels(graph, x)) == Some(weights.dims()[0] as i64)
}

fn is_scaling(graph: &Graph, norm: &Node) -> bool {
    let channels = norm.input(0).and_then(|x| channels(graph, x)).and_then(|n| usize::try_from(n).ok());
    let x = norm.input(0).and_then(|x| graph.value(x).ty.as_ref()?.shape());
    let size_is_known =
        x.and_then(|x| x.get(2..)).is_some_and(|x| x.iter().all(|d| d.value().is_some_and(|n| n > 0)));
    size_is_known && channels.is_some_and(|n| scaling(graph, norm, n).is_some())
}

/// Whether an image is resized in height and width alone, in a way that is known beforehand.
fn is_of_planes(graph: &Graph, resize: &Node) -> bool {
    let shape = resize.input(0).and_then(|x| graph.value(x).ty.as_ref()?.shape());
    let dims = shape.map(|shape| shape.iter().map(|d| usize::try_from(d.value()?).ok()).collect::<Vec<_>>());
    let constant = |i: usize| resize.input(i).and_then(|x| graph.constant(x));
    dims.is_some_and(|dims| byoc_cpu::resize_taps(resize, &dims, &|i| constant(i).map(|x| &**x)).is_some())
}

/// Whether images are joined by their channels.
fn is_of_channels(concat: &Node) -> bool {
    matches!(concat.attrs.get("axis").and_then(Attr::as_int), Some(1 | -3))
}

/// Whether a Split or Slice takes whole blocks of channels.
fn is_of_blocks(graph: &Graph, cut: &Node) -> bool {
    let Some(all) = cut.input(0).filter(|&x| graph.constant(x).is_none()).and_then(|x| channels(graph, x))
    else {
        return false;
    };
    let parts: Option<Vec<i64>> = cut.outputs().iter().map(|&y| channels(graph, y?)).collect();
    let Some(parts) = parts else { return false };
    if cut.is("Split") {
        let axis = cut.attrs.get("axis").and_then(Attr::as_int);
        return matches!(axis, Some(1 | -3)) && parts.iter().sum::<i64>() == all && whole_blocks(&parts);
    }
    let start = slice_start(graph, cut).map(|start| if start < 0 { start + all } else { start });
    let fits = |start: i64| start % BLOCK == 0 && (parts[0] % BLOCK == 0 || start + parts[0] == all);
    start.is_some_and(|start| (0..all).contains(&start) && fits(start))
}

/// Where a Slice of channels begins, if it takes each from there on.
fn slice_start(graph: &Graph, slice: &Node) -> Option<i64> {
    let one =
        |i: usize| graph.constant(slice.input(i)?)?.to_i64s().filter(|all| all.len() == 1).map(|all| all[0]);
    let is_plain =
        slice.opset >= 10 && matches!(one(3)?, 1 | -3) && (slice.input(4).is_none() || one(4)? == 1);
    one(1).filter(|_| is_plain)
}

/// Whether images of these channels are joined by whole blocks.
fn whole_blocks(channels: &[i64]) -> bool {
    channels.iter().rev().skip(1).all(|n| n % BLOCK == 0)
}

/// Whether both operands are images of as many channels as the result.
fn same_channels(graph: &Graph, node: &Node) -> bool {
    let of = |x: Option<ValueId>| x.and_then(|x| channels(graph, x));
    let result = of(only_output(node));
    result.is_some() && node.inputs().iter().all(|&x| of(x) == result)
}

fn is_shape(graph: &Graph, id: NodeId) -> bool {
    graph.node(id).is("Shape")
}

fn elements(graph: &Graph, x: ValueId) -> i64 {
    let shape = graph.value(x).ty.as_ref().and_then(|ty| ty.shape()).cloned().unwrap_or_default();
    shape.iter().filter_map(Dim::value).fold(1, i64::saturating_mul)
}

fn multiply_adds(graph: &Graph, node: &Node, role: Role) -> i64 {
    let weights = node.input(1).and_then(|w| graph.constant(w)).map_or(0, |w| w.len() as i64);
    let pixels = |x: ValueId| elements(graph, x) / channels(graph, x).unwrap_or(1).max(1);
    match (role, node.input(0), only_output(node)) {
        (Role::Conv | Role::Thin, _, Some(y)) => weights.saturating_mul(pixels(y)),
        (Role::Transposed, Some(x), _) => weights.saturating_mul(pixels(x)),
        _ => 0,
    }
}

/// What becomes of a node; `counts` has the channels of its images.
fn change(graph: &mut Graph, node: &Node, role: Role, counts: Vec<i64>, spec: &mut NodeSpec) {
    if role == Role::Cut {
        return change_cut(graph, node, &counts, spec);
    }
    let mut become_host = |op: &str| {
        spec.domain = "host".into();
        spec.op = op.into();
        spec.opset = 1;
    };
    match role {
        Role::Each => {}
        Role::Pick if node.is("Concat") && whole_blocks(&counts) => {
            spec.attrs.insert("axis".into(), Attr::Int(1));
        }
        Role::Pick => {
            become_host("BlockedPickChannels");
            spec.attrs.swap_remove("axis");
            let all = (0..counts.iter().sum()).collect();
            spec.attrs.entry("from".into()).or_insert(Attr::Ints(all));
            spec.attrs.insert("channels".into(), Attr::Ints(counts));
        }
        Role::Norm => {
            become_host("BlockedConv");
            let channels = counts.first().copied().unwrap_or_default();
            let (weights, bias) =
                scaling(graph, node, channels as usize).expect("its parameters were looked at");
            let mut constant = |name: &str, dims: &[usize], x: Vec<f64>| {
                let floats: Vec<f32> = x.into_iter().map(|x| x as f32).collect();
                add_constant(graph, name, Tensor::from_vec(dims, floats).expect("one for each channel"))
            };
            let weights = constant("scale", &[channels as usize, 1, 1, 1], weights);
            let bias = constant("shift", &[channels as usize], bias);
            spec.inputs = vec![spec.inputs[0], Some(weights), Some(bias)];
            spec.attrs = [("group".into(), Attr::Int(channels))].into_iter().collect();
        }
        Role::Conv | Role::Thin | Role::Transposed | Role::Pool | Role::Mean => {
            become_host(&format!("Blocked{}", node.op.name));
        }
        Role::Resize => {
            become_host(&format!("Blocked{}", node.op.name));
            // What it means depends on its version.
            spec.opset = node.opset;
        }
        Role::Cut => {}
    }
}

/// A Split or Slice of channels becomes one of blocks.
fn change_cut(graph: &mut Graph, node: &Node, counts: &[i64], spec: &mut NodeSpec) {
    let blocks: Vec<i64> = node
        .outputs()
        .iter()
        .flatten()
        .filter_map(|&y| Some(channels(graph, y)?.unsigned_abs().div_ceil(BLOCK as u64) as i64))
        .collect();
    let start = slice_start(graph, node).unwrap_or_default();
    let start = if start < 0 { start + counts.iter().sum::<i64>() } else { start } / BLOCK;
    let lists = match node.is("Split") {
        true => vec![blocks],
        false => vec![vec![start], vec![start + blocks.iter().sum::<i64>()], vec![1]],
    };
    spec.opset = 13;
    spec.inputs.truncate(1);
    for list in lists {
        let tensor = Tensor::from_vec(&[list.len()], list).expect("a list");
        spec.inputs.push(Some(add_constant(graph, "blocks", tensor)));
    }
    spec.attrs.retain(|name, _| &**name == "axis");
    spec.attrs.entry("axis".into()).and_modify(|axis| *axis = Attr::Int(1));
}

struct InBlocks;

impl Layout for InBlocks {
    const NAME: &'static str = "blocked";

    fn twin(graph: &Graph, value: ValueId) -> Option<Type> {
        let shape = graph.value(value).ty.as_ref()?.shape()?;
        let blocks = Dim::from((channels(graph, value)? as u64).div_ceil(BLOCK as u64) as i64);
        let dims = [shape[0].clone(), blocks, shape[2].clone(), shape[3].clone(), Dim::from(BLOCK)];
        Some(Type::tensor(DType::F32, dims))
    }

    fn enter(_: &Graph, value: ValueId, twin: ValueId) -> NodeSpec {
        turn("ToBlocked", value, twin)
    }

    /// Only for its shape, no image has to be turned.
    fn redirect(graph: &mut Graph, value: ValueId, twin: ValueId) {
        let channels = channels(graph, value).expect("a twin's channels are known");
        for use_ in graph.value(value).uses().to_vec() {
            if !is_shape(graph, use_.node) {
                continue;
            }
            let node = graph.remove_node(use_.node);
            let mut attrs = node.attrs.clone();
            attrs.insert("channels".into(), Attr::Int(channels));
            let spec = NodeSpec {
                name: node.name.clone(),
                outputs: node.outputs().to_vec(),
                attrs,
                position: node.position,
                ..turn("BlockedShape", twin, value)
            };
            let id = graph.add_node(spec).expect("nothing makes its output any more");
            graph.node_mut(id).label = node.label;
        }
    }

    fn leave(graph: &Graph, value: ValueId, twin: ValueId) -> NodeSpec {
        let mut spec = turn("FromBlocked", twin, value);
        let channels = channels(graph, value).expect("a twin's channels are known");
        spec.attrs.insert("channels".into(), Attr::Int(channels));
        spec
    }
}

fn turn(op: &str, from: ValueId, to: ValueId) -> NodeSpec {
    NodeSpec {
        domain: "host".into(),
        op: op.into(),
        opset: 1,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        ..NodeSpec::default()
    }
}
