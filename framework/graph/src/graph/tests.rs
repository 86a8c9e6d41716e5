use super::*;

/// `x → a → b → y` with `b` also reading `x`.
fn sample() -> (Graph, [ValueId; 3], [NodeId; 2]) {
    let mut g = Graph::new("g");
    let x = g.add_input("x", None).unwrap();
    let t = g.add_value("t", None).unwrap();
    let y = g.add_value("y", None).unwrap();
    g.add_output(y);
    let relu = NodeSpec { op: "Relu".into(), inputs: vec![Some(x)], outputs: vec![Some(t)], ..spec(0) };
    let add =
        NodeSpec { op: "Add".into(), inputs: vec![Some(t), Some(x)], outputs: vec![Some(y)], ..spec(1) };
    let b = g.add_node(add).unwrap();
    let a = g.add_node(relu).unwrap();
    g.check();
    (g, [x, t, y], [a, b])
}

fn spec(position: u32) -> NodeSpec {
    NodeSpec { position, opset: 21, ..NodeSpec::default() }
}

#[test]
fn nodes_may_come_in_any_order() {
    let (g, _, [a, b]) = sample();
    assert_eq!(g.model_order(), [a, b]);
    assert_eq!(g.successors(a), [b]);
    assert_eq!(g.predecessors(b), [a]);
}

#[test]
fn replacing_uses_keeps_edges_and_outputs_in_step() {
    let (mut g, [x, t, y], [a, b]) = sample();
    g.replace_uses(t, x);
    g.check();
    assert!(g.predecessors(b).is_empty());
    g.remove_node(a);
    g.remove_value(t);
    g.replace_uses(y, x);
    g.check();
    assert_eq!(g.outputs(), [x]);
}

#[test]
fn a_constant_replaces_its_producer() {
    let (mut g, [_, t, _], [a, b]) = sample();
    g.set_constant(t, Arc::new(Tensor::scalar(1f32)));
    g.check();
    assert!(g.is_constant(t) && g.predecessors(b).is_empty() && g.node(a).output(0).is_none());
}

#[test]
fn a_cycle_is_named() {
    let mut g = Graph::new("g");
    let p = g.add_value("p", None).unwrap();
    let q = g.add_value("q", None).unwrap();
    g.add_node(NodeSpec { inputs: vec![Some(p)], outputs: vec![Some(q)], ..spec(0) }).unwrap();
    g.add_node(NodeSpec { inputs: vec![Some(q)], outputs: vec![Some(p)], ..spec(1) }).unwrap();
    let Err(GraphError::Cycle(path)) = g.try_model_order() else { panic!("a cycle") };
    assert_eq!(path.len(), 3);
    assert_eq!(path[0], path[2]);
}

#[test]
fn labels_fall_back_to_the_first_output() {
    let mut g = Graph::new("g");
    let outputs: Vec<_> = ["p", "q", "r"].map(|n| g.add_value(n, None).unwrap()).into();
    for (name, v) in ["same", "same", "own"].into_iter().zip(outputs) {
        g.add_node(NodeSpec { name: name.into(), outputs: vec![Some(v)], ..spec(0) }).unwrap();
    }
    g.assign_labels();
    let labels: Vec<_> = g.node_ids().map(|id| g.node(id).label.to_string()).collect();
    assert_eq!(labels, ["p", "q", "own"]);
}

#[test]
fn a_value_is_made_once() {
    let (mut g, [_, t, _], _) = sample();
    let again = g.add_node(NodeSpec { outputs: vec![Some(t)], ..spec(2) });
    assert_eq!(again, Err(GraphError::MadeTwice("t".into())));
    assert_eq!(g.add_value("t", None), Err(GraphError::DuplicateValue("t".into())));
}
