//! Rotary embedding as exporters write it, `x · cos + concat(−x[half:], x[:half]) · sin`, becomes one operator. It does not
//! care in which order heads and rows are: a transposition to heads in front goes behind, where an attention takes it in.

use byoc_graph::{Attr, DType, Dim, Graph, Node, NodeId, NodeSpec, Type, ValueId};

use super::attention::{SWAP_ROWS_AND_HEADS, remove_unused, transposed};
use super::{Pass, is_f32, only_output, rank, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "rotary", about: "computes a rotary embedding in one operator", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if graph.contains_node(id)
            && let Some(found) = find(graph, id)
        {
            replace(graph, id, found);
        }
    }
}

struct Found {
    x: ValueId,
    cos: ValueId,
    sin: ValueId,
}

/// The rotation whose last step is this sum.
fn find(graph: &Graph, id: NodeId) -> Option<Found> {
    let sum = graph.node(id);
    let y = only_output(sum)?;
    (sum.is("Add") && is_f32(graph, y) && rank(graph, y) == Some(4)).then_some(())?;
    let products = [inner(graph, sum.input(0)?, "Mul")?, inner(graph, sum.input(1)?, "Mul")?];
    [[0, 1], [1, 0]].into_iter().find_map(|[straight, turned]| {
        let (swapped, sin) = operands(products[turned])
            .find_map(|[swapped, sin]| Some((partners_of(graph, swapped)?, sin)))?;
        let [_, cos] = operands(products[straight]).find(|[x, _]| *x == swapped)?;
        let shape = |value: ValueId| graph.value(value).ty.as_ref()?.shape();
        let fits = shape(swapped)? == shape(y)?
            && [cos, sin].iter().all(|&table| {
                shape(table)
                    .is_some_and(|dims| dims.len() == 4 && dims[3] == shape(swapped).expect("known")[3])
            });
        fits.then_some(Found { x: swapped, cos, sin })
    })
}

/// The node that makes a value for one user alone.
fn inner<'g>(graph: &'g Graph, value: ValueId, op: &str) -> Option<&'g Node> {
    sole_use(graph, value)?;
    let node = graph.node(graph.value(value).producer()?.0);
    (node.is(op) && only_output(node).is_some()).then_some(node)
}

/// The operands of a product, in both orders.
fn operands(product: &Node) -> impl Iterator<Item = [ValueId; 2]> {
    let pair = product.input(0).zip(product.input(1));
    pair.into_iter().flat_map(|(a, b)| [[a, b], [b, a]])
}

/// `x`, where the value is `concat(−x[half:], x[:half])` over the last of four axes.
fn partners_of(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let concat = inner(graph, value, "Concat")?;
    let axis = concat.attrs.get("axis").and_then(Attr::as_int)?;
    let &[Some(negated), Some(first)] = concat.inputs() else { return None };
    ([3, -1].contains(&axis)).then_some(())?;
    let second = inner(graph, negated, "Neg")?.input(0)?;
    let (first, second) = (half(graph, first)?, half(graph, second)?);
    let size = graph.value(first.0).ty.as_ref()?.shape()?.get(3)?.value()?;
    let sound = size % 2 == 0 && first.0 == second.0 && first.1 == [0, size / 2];
    (sound && second.1[0] == size / 2 && second.1[1] >= size).then_some(first.0)
}

/// What a Slice of the last of four axes is of, and from where to where.
fn half(graph: &Graph, value: ValueId) -> Option<(ValueId, [i64; 2])> {
    let slice = inner(graph, value, "Slice")?;
    let number = |i: usize| -> Option<i64> {
        match graph.constant(slice.input(i)?)?.to_i64s()?[..] {
            [number] => Some(number),
            _ => None,
        }
    };
    let forward = slice.input(4).is_none() || number(4)? == 1;
    (slice.opset >= 10 && [3, -1].contains(&number(3)?) && forward).then_some(())?;
    Some((slice.input(0)?, [number(1)?, number(2)?]))
}

fn replace(graph: &mut Graph, id: NodeId, found: Found) {
    let sum = graph.remove_node(id);
    let rows = transposed(graph, found.x, SWAP_ROWS_AND_HEADS);
    let position = sum.position;
    let spec = |x: ValueId, rows_first: bool| NodeSpec {
        domain: "host".into(),
        op: "RotateHalves".into(),
        opset: 1,
        inputs: vec![Some(x), Some(found.cos), Some(found.sin)],
        attrs: [("rows_first".into(), Attr::Int(rows_first.into()))].into_iter().collect(),
        position,
        ..NodeSpec::default()
    };
    let last = match rows {
        None => NodeSpec { name: sum.name.clone(), outputs: sum.outputs().to_vec(), ..spec(found.x, false) },
        Some(rows) => {
            let dims: Option<Vec<Dim>> =
                graph.value(rows).ty.as_ref().and_then(|ty| Some(ty.shape()?.iter().cloned().collect()));
            let name = graph.fresh_name("rotated");
            let ty = dims.map(|dims| Type::tensor(DType::F32, dims));
            let rotated = graph.add_value(name.clone(), ty).expect("a fresh name");
            let rotation = NodeSpec { outputs: vec![Some(rotated)], ..spec(rows, true) };
            let rotation = graph.add_node(rotation).expect("its output is new");
            graph.node_mut(rotation).label = name.into();
            NodeSpec {
                name: sum.name.clone(),
                op: "Transpose".into(),
                opset: 13,
                inputs: vec![Some(rotated)],
                outputs: sum.outputs().to_vec(),
                attrs: [("perm".into(), Attr::Ints(SWAP_ROWS_AND_HEADS.to_vec()))].into_iter().collect(),
                position,
                ..NodeSpec::default()
            }
        }
    };
    let last = graph.add_node(last).expect("its output was just given up");
    graph.node_mut(last).label = sum.label.clone();
    sum.inputs().iter().flatten().for_each(|&value| remove_unused(graph, value));
}
