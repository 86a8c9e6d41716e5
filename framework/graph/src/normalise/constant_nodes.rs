//! Constant nodes become initializers: a pattern's `: const` and every later pass then know one kind of
//! constant. A Constant whose value is an attribute of the calling function stays.

use std::sync::Arc;

use crate::{Attr, Graph, Node, NodeId, Tensor};

use super::{Context, Pass, Why};

pub(super) const PASS: Pass =
    Pass { name: "constant-nodes", about: "Constant nodes become initializers", run };

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    for id in graph.model_order() {
        if graph.node(id).is("Constant") {
            convert(graph, id, context);
        }
    }
}

fn convert(graph: &mut Graph, id: NodeId, context: &mut Context<'_>) -> Option<()> {
    let node = graph.node(id);
    let output = node.output(0)?;
    let tensor = match content(node) {
        Some(tensor) => tensor,
        None => Arc::new(context.evaluate.evaluate(node, &[])?.into_iter().next()?),
    };
    graph.set_constant(output, tensor);
    context.remove(graph, id, Why::Constant);
    Some(())
}

/// The constant's content, where it is given densely.
fn content(node: &Node) -> Option<Arc<Tensor>> {
    let (name, attr) = node.attrs.first()?;
    let tensor = match (&**name, attr) {
        ("value", Attr::Tensor(t)) => return Some(t.clone()),
        ("value_float", Attr::Float(x)) => Tensor::scalar(*x),
        ("value_int", Attr::Int(i)) => Tensor::scalar(*i),
        ("value_floats", Attr::Floats(v)) => Tensor::from_vec(&[v.len()], v.clone()).ok()?,
        ("value_ints", Attr::Ints(v)) => Tensor::from_vec(&[v.len()], v.clone()).ok()?,
        ("value_string", Attr::Str(s)) => Tensor::from_strings(&[], vec![s.clone()]).ok()?,
        ("value_strings", Attr::Strs(v)) => Tensor::from_strings(&[v.len()], v.clone()).ok()?,
        _ => return None,
    };
    Some(Arc::new(tensor))
}
