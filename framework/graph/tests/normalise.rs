//! What normalisation takes away, what it keeps, and what it never touches.

use std::sync::Arc;

use byoc_graph::normalise::{Evaluate, Removed, Why, normalise};
use byoc_graph::{Graph, Model, Node, Tensor, onnx};

/// Adds scalars; that is all that these tests fold.
struct Adder;

impl Evaluate for Adder {
    fn evaluate(&self, node: &Node, inputs: &[Option<&Tensor>]) -> Option<Vec<Tensor>> {
        let sum: f64 = inputs.iter().flatten().filter_map(|t| t.to_f64s()?.first().copied()).sum();
        node.is("Add").then(|| vec![Tensor::scalar(sum as f32)])
    }
}

fn model(body: &str) -> Model {
    let text = format!("<ir_version: 8, opset_import: [\"\": 17]>\n{body}");
    onnx::from_text(&text, None).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn run(model: &mut Model) -> Vec<(String, Why)> {
    let removed = normalise(model, &Adder, &|_| true);
    model.graph.check();
    removed.into_iter().map(|Removed { name, why, .. }| (name, why)).collect()
}

fn operators(graph: &Graph) -> Vec<String> {
    graph.model_order().into_iter().map(|id| graph.node(id).op.name.to_string()).collect()
}

fn output_names(graph: &Graph) -> Vec<Arc<str>> {
    graph.outputs().iter().map(|&v| graph.value(v).name.clone()).collect()
}

#[test]
fn constants_become_initializers_and_are_folded() {
    let mut m = model(
        "g (float[4] x) => (float[4] y) {
            a = Constant<value_float = 1.0>()
            b = Constant<value = float {2.0}>()
            c = Add(a, b)
            y = Mul(x, c)
        }",
    );
    let removed = run(&mut m);
    let expected = [("a", Why::Constant), ("b", Why::Constant), ("c", Why::Folded)];
    assert_eq!(removed, expected.map(|(n, w)| (n.to_owned(), w)));
    let c = m.graph.value_by_name("c").unwrap();
    assert_eq!(m.graph.constant(c).unwrap().to_f64s().unwrap(), [3.0]);
    assert!(m.graph.value_by_name("a").is_none(), "what nobody uses is gone");
}

#[test]
fn an_initializer_that_callers_may_override_is_no_constant() {
    let mut m = model("g (float[1] x, float[1] w) => (float[1] y) <float[1] w = {1}> { y = Add(x, w) }");
    assert!(run(&mut m).is_empty());
    assert_eq!(operators(&m.graph), ["Add"]);
}

#[test]
fn identities_are_looked_through_and_outputs_keep_their_names() {
    let mut m = model(
        "g (float[4] x) => (float[4] y, float[4] z) {
            a = Identity(x)
            r = Relu(a)
            d, mask = Dropout(r)
            f = Cast<to = 1>(d)
            y = Identity(f)
            z = Identity(x)
        }",
    );
    let removed: Vec<_> = run(&mut m).into_iter().map(|(name, _)| name).collect();
    assert_eq!(removed, ["a", "d", "y"], "f's type is unknown without inference, z names a graph input");
    assert_eq!(operators(&m.graph), ["Relu", "Cast", "Identity"]);
    assert_eq!(output_names(&m.graph), ["y".into(), "z".into()]);
}

#[test]
fn dropout_in_training_stays() {
    let mut m = model("g (float[4] x, bool t) => (float[4] y) <float r = {0.5}> { y, m = Dropout(x, r, t) }");
    assert!(run(&mut m).is_empty());
}

#[test]
fn dequantised_weights_and_random_numbers_stay() {
    let mut m = model(
        "g (float[4] x) => (float[4] y, float[2] z) <int8[4] w = {1, 2, 3, 4}, float s = {0.5}> {
            d = DequantizeLinear(w, s)
            y = Add(x, d)
            z = RandomNormal<shape = [2]>()
        }",
    );
    assert!(run(&mut m).is_empty());
}

#[test]
fn unused_chains_go_away_from_their_end() {
    let mut m = model("g (float[4] x) => (float[4] y) { a = Relu(x)\n b = Abs(a)\n y = Neg(x) }");
    let removed: Vec<_> = run(&mut m).into_iter().map(|(name, _)| name).collect();
    assert_eq!(removed, ["b", "a"]);
}

#[test]
fn bodies_are_normalised_and_keep_their_captures_in_step() {
    let mut m = model(
        "g (float[4] x, bool c) => (float[4] y) {
            a = Identity(x)
            one = Constant<value_float = 1.0>()
            y = If(c) <
                then_branch = t () => (float[4] p) { two = Add(one, one)\n p = Mul(a, two) },
                else_branch = e () => (float[4] q) { i = Identity(a)\n q = Neg(i) }
            >
        }",
    );
    let removed = run(&mut m);
    let named = |name: &str| removed.iter().any(|(n, _)| n == name);
    assert!(named("a") && named("two") && named("i"), "{removed:?}");
    let node = m.graph.model_order()[0];
    let captures: Vec<_> =
        m.graph.node(node).captures().iter().map(|&v| m.graph.value(v).name.to_string()).collect();
    assert_eq!(captures, ["x"], "`one` was folded into the body, `a` was looked through");
    m.graph.bodies(node).for_each(|(_, body)| body.check());
}

#[test]
fn a_pass_can_be_left_out() {
    let mut m = model("g (float[4] x) => (float[4] y) { a = Identity(x)\n y = Relu(a) }");
    normalise(&mut m, &Adder, &|pass| pass != "look-through");
    assert_eq!(operators(&m.graph), ["Identity", "Relu"]);
}
