//! Channels that are dealt out anew, by Reshape, Transpose and Reshape, become one operator.

use byoc_graph::{Attr, Graph, Node, NodeId, NodeSpec, ValueId};

use super::attention::remove_unused;
use super::{Pass, is_f32, only_output, same_shape, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "channel_shuffle", about: "shuffles channels by one operator", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if graph.contains_node(id)
            && let Some((x, from)) = find(graph, id)
        {
            replace(graph, id, x, from);
        }
    }
}

/// The image behind the last Reshape of a shuffle, and for each of its channels where it comes from.
fn find(graph: &Graph, id: NodeId) -> Option<(ValueId, Vec<i64>)> {
    let last = graph.node(id);
    let y = only_output(last)?;
    let dealt = last.is("Reshape").then(|| last.input(0))??;
    let transpose = maker(graph, dealt, "Transpose")?;
    (transpose.attrs.get("perm")?.as_ints()? == [0, 2, 1, 3, 4]).then_some(())?;
    let groups = transpose.input(0)?;
    let x = maker(graph, groups, "Reshape")?.input(0)?;
    let shape = |value: ValueId| graph.value(value).ty.as_ref()?.shape();
    let (image, parts) = (shape(x)?, shape(groups)?);
    let sound = image.len() == 4
        && parts.len() == 5
        && image[0] == parts[0]
        && image[2..] == parts[3..]
        && is_f32(graph, x)
        && same_shape(graph, x, y);
    let (count, size) = (parts.get(1)?.value()?, parts.get(2)?.value()?);
    (sound && count > 0 && image[1].value()? == count.checked_mul(size)?).then_some(())?;
    Some((x, (0..count * size).map(|c| c % count * size + c / count).collect()))
}

/// The node that makes a value for one user alone.
fn maker<'a>(graph: &'a Graph, value: ValueId, op: &str) -> Option<&'a Node> {
    sole_use(graph, value)?;
    let node = graph.node(graph.value(value).producer()?.0);
    (node.is(op) && only_output(node).is_some()).then_some(node)
}

fn replace(graph: &mut Graph, id: NodeId, x: ValueId, from: Vec<i64>) {
    let last = graph.remove_node(id);
    let channels = Attr::Ints(vec![from.len() as i64]);
    let spec = NodeSpec {
        name: last.name.clone(),
        domain: "host".into(),
        op: "PickChannels".into(),
        opset: 1,
        inputs: vec![Some(x)],
        outputs: last.outputs().to_vec(),
        attrs: [("channels".into(), channels), ("from".into(), Attr::Ints(from))].into_iter().collect(),
        position: last.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = last.label.clone();
    last.inputs().iter().flatten().for_each(|&value| remove_unused(graph, value));
}
