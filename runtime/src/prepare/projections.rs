//! Queries, keys and values that are projections of one matrix become one product, whose parts the attention reads
//! where they lie.

use byoc_graph::{Attr, DType, Dim, Graph, Node, NodeId, NodeSpec, Tensor, Type, ValueId};

use super::attention::remove_unused;
use super::{Pass, add_constant, is_f32, only_output, rank, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "merge_projections", about: "computes queries, keys and values by one product", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            replace(graph, id, found);
        }
    }
}

/// One projection, seen as heads: `Reshape(x · weights + bias)`.
struct Projection {
    x: ValueId,
    weights: ValueId,
    bias: Option<ValueId>,
    /// Heads and their size.
    heads: [i64; 2],
}

struct Found {
    parts: Vec<Projection>,
    /// Batches and rows of x.
    rows: [Dim; 2],
}

fn find(graph: &Graph, id: NodeId) -> Option<Found> {
    let node = graph.node(id);
    let ints = |name: &str| node.attrs.get(name).and_then(Attr::as_ints);
    let host = &*node.op.domain == "host" && &*node.op.name == "Attention";
    (host && ints("orders")?[..3] == [1; 3] && ints("parts")? == [-1; 3]).then_some(())?;
    let parts = (0..3).map(|i| projection(graph, node.input(i)?)).collect::<Option<Vec<_>>>()?;
    let first = &parts[0];
    let dims = |p: &Projection| graph.constant(p.weights).map(|w| w.dims().to_vec());
    let alike = parts.iter().all(|p| p.x == first.x && p.heads == first.heads && dims(p) == dims(first));
    let shape = graph.value(first.x).ty.as_ref()?.shape().filter(|shape| shape.len() == 3)?;
    let rows = [shape[0].clone(), shape[1].clone()];
    (alike && is_f32(graph, first.x)).then_some(Found { parts, rows })
}

/// The projection behind heads that nobody else uses.
fn projection(graph: &Graph, value: ValueId) -> Option<Projection> {
    let maker = |value: ValueId, op: &str| -> Option<&Node> {
        sole_use(graph, value)?;
        let node = graph.node(graph.value(value).producer()?.0);
        (node.is(op) && only_output(node).is_some()).then_some(node)
    };
    let shape = graph.value(value).ty.as_ref()?.shape().filter(|shape| shape.len() == 4)?;
    let heads = [shape[2].value()?, shape[3].value()?];
    let flat = maker(value, "Reshape")?.input(0)?;
    let constant = |value: ValueId, rank: usize| {
        graph.constant(value).is_some_and(|c| c.dtype() == DType::F32 && c.rank() == rank)
    };
    let (product, bias) = match maker(flat, "Add") {
        Some(add) => {
            let i = (0..2).find(|&i| add.input(i).is_some_and(|b| constant(b, 1)))?;
            (maker(add.input(1 - i)?, "MatMul")?, Some(add.input(i)?))
        }
        None => (maker(flat, "MatMul")?, None),
    };
    let (x, weights) = (product.input(0)?, product.input(1)?);
    let columns = heads[0].checked_mul(heads[1])?;
    let sound = constant(weights, 2)
        && graph.constant(weights)?.dims()[1] as i64 == columns
        && bias.is_none_or(|b| graph.constant(b).is_some_and(|b| b.len() as i64 == columns))
        && rank(graph, x) == Some(3);
    sound.then_some(Projection { x, weights, bias, heads })
}

fn replace(graph: &mut Graph, id: NodeId, found: Found) {
    let Found { parts, rows: [batch, rows] } = found;
    let (count, [heads, size]) = (parts.len() as i64, parts[0].heads);
    let position = graph.node(id).position;
    let add = |graph: &mut Graph, spec: NodeSpec, dims: Vec<Dim>| {
        let name = graph.fresh_name("projections");
        let output =
            graph.add_value(name.clone(), Some(Type::tensor(DType::F32, dims))).expect("a fresh name");
        let id = graph
            .add_node(NodeSpec { outputs: vec![Some(output)], position, ..spec })
            .expect("its output is new");
        graph.node_mut(id).label = name.into();
        output
    };
    let inputs = [Some(parts[0].x)].into_iter();
    let inputs = inputs.chain(parts.iter().map(|p| Some(p.weights))).chain(parts.iter().map(|p| p.bias));
    let product = NodeSpec {
        domain: "host".into(),
        op: "Projections".into(),
        opset: 1,
        inputs: inputs.collect(),
        attrs: [("count".into(), Attr::Int(count))].into_iter().collect(),
        ..NodeSpec::default()
    };
    let width = Dim::from(count * heads * size);
    let flat = add(graph, product, vec![batch.clone(), rows.clone(), width]);
    let shape = Tensor::from_vec(&[5], vec![0i64, 0, count, heads, size]).expect("sized");
    let shape = add_constant(graph, "parts", shape);
    let reshape = NodeSpec {
        op: "Reshape".into(),
        opset: 13,
        inputs: vec![Some(flat), Some(shape)],
        ..NodeSpec::default()
    };
    let split = add(graph, reshape, vec![batch, rows, count.into(), heads.into(), size.into()]);
    let old: Vec<_> = (0..3).filter_map(|i| graph.node(id).input(i)).collect();
    (0..3).for_each(|i| graph.set_input(id, i, Some(split)));
    graph.node_mut(id).attrs.insert("parts".into(), Attr::Ints((0..count).collect()));
    old.into_iter().for_each(|value| remove_unused(graph, value));
}
