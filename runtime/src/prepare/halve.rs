//! A blocked convolution and the MaxPool of 2 × 2 pixels behind it become one, where what lies between them is so large
//! that it would leave the cache.

use byoc_graph::{Attr, Graph, Node, NodeId};

use super::{Pass, absorb, elements_of_one, only_output, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "halve", about: "has blocked convolutions write the largest of each 2 x 2 pixels", run };

/// Elements between the two from which it pays.
const WORTH: i64 = 64 * 1024;

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(pool) = pool_behind(graph, id) {
            absorb(graph, id, pool, |spec| {
                spec.attrs.insert("halved".into(), Attr::Int(1));
            });
        }
    }
}

fn pool_behind(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.contains_node(id).then(|| graph.node(id))?;
    let between = only_output(node)?;
    let fits = is_host(node, "BlockedConv")
        && node.attrs.get("group").map_or(Some(1), Attr::as_int) == Some(1)
        && node.input(3).is_none()
        && is_increasing(node)
        && elements_of_one(graph, between)? >= WORTH;
    let (user, 0) = sole_use(graph, between).filter(|_| fits)? else { return None };
    is_halving(graph.node(user)).then_some(user)
}

fn is_host(node: &Node, op: &str) -> bool {
    &*node.op.domain == "host" && &*node.op.name == op
}

/// Whether the largest pixel stays the largest behind a convolution's activation.
fn is_increasing(conv: &Node) -> bool {
    match conv.attrs.get("activation").and_then(Attr::as_str) {
        None | Some("" | "Relu" | "Clip") => true,
        Some("LeakyRelu") => {
            let params = conv.attrs.get("activation_params").and_then(Attr::as_floats);
            params.is_some_and(|params| params.iter().all(|&slope| slope >= 0.0))
        }
        Some(_) => false,
    }
}

fn is_halving(pool: &Node) -> bool {
    let is = |name: &str, wanted: i64, default: bool| match pool.attrs.get(name) {
        None => default,
        Some(attr) => attr.as_ints().is_some_and(|ints| ints.iter().all(|&x| x == wanted)),
    };
    let padding = pool.attrs.get("auto_pad").and_then(Attr::as_str).unwrap_or("NOTSET");
    is_host(pool, "BlockedMaxPool")
        && only_output(pool).is_some()
        && is("kernel_shape", 2, false)
        && is("strides", 2, false)
        && is("pads", 0, true)
        && is("dilations", 1, true)
        && ["NOTSET", "VALID"].contains(&padding)
        && pool.attrs.get("ceil_mode").and_then(Attr::as_int).unwrap_or(0) == 0
}
