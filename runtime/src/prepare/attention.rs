//! Products, scaling, mask and softmax of an attention become one operator, which reads queries, keys and values
//! where the projections have left them: transpositions to heads and back, repeated heads, and parts of a common
//! projection are taken in. See the kernel for what `host.Attention` means.

use byoc_graph::{Attr, Dim, Graph, Node, NodeId, NodeSpec, ValueId};

use super::{Pass, f32s, is_f32, only_output, rank, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "fuse_attention", about: "computes attention over heads in one operator", run };

/// Axes of `[batch, rows, heads, size]` as `[batch, heads, rows, size]`, and back.
pub(super) const SWAP_ROWS_AND_HEADS: &[i64] = &[0, 2, 1, 3];
const SWAP_LAST: &[i64] = &[0, 1, 3, 2];
/// From `[batch, rows, heads, size]` to transposed heads.
const ROWS_TO_COLUMNS: &[i64] = &[0, 2, 3, 1];
/// From `[batch, rows, parts, heads, size]` to separate parts.
const PARTS_FIRST: &[i64] = &[2, 0, 3, 1, 4];

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            replace(graph, found);
        }
    }
}

/// A tensor of heads: where it comes from, and in which order it is there.
#[derive(Clone, Copy)]
struct Heads {
    value: ValueId,
    rows_first: bool,
    part: Option<i64>,
}

impl Heads {
    /// How many there are, as far as known.
    fn count<'g>(&self, graph: &'g Graph) -> Option<&'g Dim> {
        let axis = match (self.part.is_some(), self.rows_first) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 1,
        };
        graph.value(self.value).ty.as_ref()?.shape()?.get(axis)
    }
}

struct Found {
    heads: [Heads; 3],
    mask: Option<ValueId>,
    scale: f32,
    fill: f32,
    /// The last product, and the transposition behind it, if there is one.
    last: NodeId,
    back: Option<NodeId>,
}

/// The attention that ends in this product.
fn find(graph: &Graph, last: NodeId) -> Option<Found> {
    if !graph.contains_node(last) {
        return None;
    }
    let product = graph.node(last);
    let output = only_output(product)?;
    (product.is("MatMul") && is_f32(graph, output) && rank(graph, output) == Some(4)).then_some(())?;
    let softmax = inner(graph, product.input(0)?, "Softmax")?;
    over_the_last_axis(softmax).then_some(())?;
    let mut scores = softmax.input(0)?;
    let (mut mask, mut fill) = (None, 0.0);
    if let Some(add) = inner(graph, scores, "Add") {
        let side = |i: usize| product_of(graph, add.input(i)?).map(|_| i);
        let i = side(0).or_else(|| side(1))?;
        (scores, mask) = (add.input(i)?, add.input(1 - i));
    } else if let Some(choice) = inner(graph, scores, "Where") {
        (scores, mask) = (choice.input(1)?, Some(choice.input(0)?));
        fill = scalar(graph, choice.input(2)?)?;
    }
    if mask.is_some_and(|mask| rank(graph, mask).is_none_or(|r| r > 4)) {
        return None;
    }
    let (product, scale) = product_of(graph, scores)?;
    let v = heads(graph, graph.node(last).input(1)?)?;
    let (q, k) = (heads(graph, product.input(0)?)?, keys(graph, product.input(1)?)?);
    // Repeated heads may have been found of the one and not of the other.
    (k.count(graph) == v.count(graph)).then_some(())?;
    let back = sole_use(graph, output)
        .map(|(user, _)| user)
        .filter(|&user| is_transpose(graph.node(user), SWAP_ROWS_AND_HEADS) && !graph.is_output(output));
    Some(Found { heads: [q, k, v], mask, scale, fill, last, back })
}

/// The node that makes a value which nobody else uses, where it is this operator.
fn inner<'g>(graph: &'g Graph, value: ValueId, op: &str) -> Option<&'g Node> {
    sole_use(graph, value)?;
    let (id, _) = graph.value(value).producer()?;
    Some(graph.node(id)).filter(|node| node.is(op) && only_output(node).is_some())
}

/// The product of queries and keys behind a value, and what it is multiplied by.
fn product_of(graph: &Graph, value: ValueId) -> Option<(&Node, f32)> {
    let of = |value: ValueId| {
        inner(graph, value, "MatMul").filter(|_| rank(graph, value) == Some(4) && is_f32(graph, value))
    };
    if let Some(product) = of(value) {
        return Some((product, 1.0));
    }
    if let Some(division) = inner(graph, value, "Div") {
        return Some((of(division.input(0)?)?, 1.0 / scalar(graph, division.input(1)?)?));
    }
    let multiplication = inner(graph, value, "Mul")?;
    [(0, 1), (1, 0)].into_iter().find_map(|(scores, factor)| {
        let factor = scalar(graph, multiplication.input(factor)?)?;
        Some((of(multiplication.input(scores)?)?, factor))
    })
}

fn scalar(graph: &Graph, value: ValueId) -> Option<f32> {
    let rank = graph.constant(value)?.rank();
    (graph.constant(value)?.len() == 1 && rank <= 1).then(|| f32s(graph, value))?.map(|x| x[0])
}

fn over_the_last_axis(softmax: &Node) -> bool {
    match softmax.attrs.get("axis").and_then(Attr::as_int) {
        Some(axis) => axis == -1 || axis == 3,
        None => softmax.opset >= 13,
    }
}

fn is_transpose(node: &Node, perm: &[i64]) -> bool {
    node.is("Transpose") && node.attrs.get("perm").and_then(Attr::as_ints) == Some(perm)
}

/// The input of the transposition that makes a value.
pub(super) fn transposed(graph: &Graph, value: ValueId, perm: &[i64]) -> Option<ValueId> {
    let node = graph.node(graph.value(value).producer()?.0);
    is_transpose(node, perm).then(|| node.input(0))?
}

/// Where a value `[batch, heads, rows, size]` comes from.
fn heads(graph: &Graph, value: ValueId) -> Option<Heads> {
    (rank(graph, value) == Some(4) && is_f32(graph, value)).then_some(())?;
    if let Some(rows) = transposed(graph, value, SWAP_ROWS_AND_HEADS) {
        return Some(Heads { value: rows, rows_first: true, part: None });
    }
    if let Some(one) = repeated(graph, value) {
        return heads(graph, one);
    }
    Some(part(graph, value).unwrap_or(Heads { value, rows_first: false, part: None }))
}

/// Where transposed keys `[batch, heads, size, rows]` come from.
fn keys(graph: &Graph, value: ValueId) -> Option<Heads> {
    (rank(graph, value) == Some(4) && is_f32(graph, value)).then_some(())?;
    if let Some(rows) = transposed(graph, value, ROWS_TO_COLUMNS) {
        return Some(Heads { value: rows, rows_first: true, part: None });
    }
    heads(graph, transposed(graph, value, SWAP_LAST)?)
}

/// Heads `[batch, heads, …]` of which each is repeated several times: `Unsqueeze` behind the heads, `Expand`, `Reshape`.
fn repeated(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let maker = |value: ValueId, op: &str| {
        let node = graph.node(graph.value(value).producer()?.0);
        node.is(op).then_some(node)
    };
    let expanded = maker(value, "Reshape")?.input(0)?;
    let unsqueezed = maker(expanded, "Expand")?.input(0)?;
    let unsqueeze = maker(unsqueezed, "Unsqueeze")?;
    let axes = match unsqueeze.input(1) {
        Some(axes) => graph.constant(axes)?.to_i64s()?,
        None => unsqueeze.attrs.get("axes")?.as_ints()?.to_vec(),
    };
    let one = unsqueeze.input(0)?;
    let dims = |value: ValueId| graph.value(value).ty.as_ref()?.shape().cloned();
    let (one_dims, expanded, whole) = (dims(one)?, dims(expanded)?, dims(value)?);
    let fits =
        (one_dims.len(), expanded.len(), whole.len()) == (4, 5, 4) && [vec![2], vec![-3]].contains(&axes);
    let count = |dim: &Dim| dim.value();
    // Whether the rows are repeated, too, makes no difference to the result.
    let same = fits
        && [(0, 0), (1, 1), (3, 4)]
            .iter()
            .all(|&(a, b)| one_dims[a].is_known() && one_dims[a] == expanded[b]);
    let outer = fits && whole[0] == one_dims[0] && whole[3] == one_dims[3];
    (same && outer && count(&whole[1])? == count(&one_dims[1])?.checked_mul(count(&expanded[2])?)?)
        .then_some(one)
}

/// A part of a common projection, `Gather`ed from all parts transposed.
fn part(graph: &Graph, value: ValueId) -> Option<Heads> {
    let gather = graph.node(graph.value(value).producer()?.0);
    let first_axis = gather.attrs.get("axis").and_then(Attr::as_int).unwrap_or(0) == 0;
    (gather.is("Gather") && first_axis).then_some(())?;
    let index = graph.constant(gather.input(1)?).filter(|i| i.rank() == 0)?.to_i64s()?;
    let all = transposed(graph, gather.input(0)?, PARTS_FIRST)?;
    let parts = graph.value(all).ty.as_ref()?.shape()?.get(2)?.value()?;
    let index = if index[0] < 0 { index[0] + parts } else { index[0] };
    (0..parts).contains(&index).then_some(Heads { value: all, rows_first: true, part: Some(index) })
}

fn replace(graph: &mut Graph, found: Found) {
    let end = found.back.unwrap_or(found.last);
    let (inner, end) = (graph.node(found.last).inputs().to_vec(), graph.remove_node(end));
    if found.back.is_some() {
        graph.remove_node(found.last);
    }
    let [q, k, v] = found.heads;
    let orders = found.heads.map(|h| i64::from(h.rows_first)).into_iter();
    let orders = orders.chain([i64::from(found.back.is_some())]).collect();
    let parts = found.heads.iter().map(|h| h.part.unwrap_or(-1)).collect();
    let inputs = [Some(q.value), Some(k.value), Some(v.value)].into_iter().chain(found.mask.map(Some));
    let spec = NodeSpec {
        name: end.name.clone(),
        domain: "host".into(),
        op: "Attention".into(),
        opset: 1,
        inputs: inputs.collect(),
        outputs: end.outputs().to_vec(),
        attrs: [
            ("orders".into(), Attr::Ints(orders)),
            ("parts".into(), Attr::Ints(parts)),
            ("scale".into(), Attr::Float(found.scale)),
            ("fill".into(), Attr::Float(found.fill)),
        ]
        .into(),
        position: end.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = end.label.clone();
    inner.into_iter().flatten().for_each(|value| remove_unused(graph, value));
}

/// Removes the nodes that only made a value which nobody uses any more.
pub(super) fn remove_unused(graph: &mut Graph, value: ValueId) {
    let mut values = vec![value];
    while let Some(value) = values.pop() {
        let Some((id, _)) = graph.value(value).producer() else { continue };
        let unused = |v: &ValueId| graph.value(*v).uses().is_empty() && !graph.is_output(*v);
        if graph.node(id).outputs().iter().flatten().all(unused) {
            values.extend(graph.remove_node(id).inputs().iter().flatten());
        }
    }
}
