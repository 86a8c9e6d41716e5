//! Each recogniser finds what exporters write, and nothing that only looks alike.

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::onnx;
use byoc_graph::recognise::{Form, RECOGNISERS, recognise};

fn forms(inputs: &str, constants: &str, nodes: &str) -> Vec<Form> {
    let text = format!(
        "<ir_version: 10, opset_import: [\"\": 17]>\ng ({inputs}) => (float[2,3,8] y) <{constants}> {{\n{nodes}\n}}"
    );
    let mut model = onnx::from_text(&text, None).unwrap_or_else(|e| panic!("{e}\n{text}"));
    infer(&mut model, &InferOptions::default()).unwrap();
    recognise(&model.graph, &|_| true)
}

/// The operator and the number of nodes of the one form in `nodes`.
fn only(inputs: &str, constants: &str, nodes: &str) -> (String, usize) {
    let forms = forms(inputs, constants, nodes);
    assert_eq!(forms.len(), 1, "{forms:?}");
    (forms[0].op.to_string(), forms[0].nodes.len())
}

const X: &str = "float[2,3,8] x";

#[test]
fn gelu_by_erf() {
    let nodes = "d = Div(x, r)\n e = Erf(d)\n a = Add(e, one)\n m = Mul(x, a)\n y = Mul(m, half)";
    let constants = "float r = {1.4142135}, float one = {1.0}, float half = {0.5}";
    assert_eq!(only(X, constants, nodes), ("Gelu".into(), 5));
    let wrong = "float r = {1.5}, float one = {1.0}, float half = {0.5}";
    assert!(forms(X, wrong, nodes).is_empty());
}

#[test]
fn gelu_by_tanh() {
    let nodes = "c = Pow(x, three)\n k = Mul(c, k1)\n s = Add(x, k)\n t = Mul(s, k2)\n h = Tanh(t)
        a = Add(h, one)\n m = Mul(x, half)\n y = Mul(m, a)";
    let constants = "float three = {3.0}, float k1 = {0.044715}, float k2 = {0.7978846}, float one = {1.0}, float half = {0.5}";
    let found = forms(X, constants, nodes);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attrs["approximate"].as_str(), Some("tanh"));
    // The cube as factors one by one, as JAX writes it, and a one that has axes.
    let nodes =
        "c = Mul(k1, x)\n c2 = Mul(x, c)\n c3 = Mul(x, c2)\n s = Add(x, c3)\n t = Mul(k2, s)\n h = Tanh(t)
        a = Add(one, h)\n m = Mul(half, a)\n y = Mul(x, m)";
    let constants =
        "float k1 = {0.044715}, float k2 = {0.7978846}, float[1, 1, 1] one = {1.0}, float half = {0.5}";
    assert_eq!(only(X, constants, nodes), ("Gelu".into(), 9));
}

#[test]
fn layer_normalization_with_one_or_two_differences() {
    let constants =
        "float[8] w = {1,1,1,1,1,1,1,1}, float[8] b = {0,0,0,0,0,0,0,0}, float e = {1e-5}, float two = {2.0}";
    let tail = "v = ReduceMean<axes = [-1]>(p)\n s = Add(v, e)\n r = Sqrt(s)\n q = Div(d, r)\n m = Mul(q, w)\n y = Add(m, b)";
    let one = format!("u = ReduceMean<axes = [-1]>(x)\n d = Sub(x, u)\n p = Pow(d, two)\n{tail}");
    assert_eq!(only(X, constants, &one), ("LayerNormalization".into(), 9));
    let both =
        format!("u = ReduceMean<axes = [-1]>(x)\n d = Sub(x, u)\n d2 = Sub(x, u)\n p = Pow(d2, two)\n{tail}");
    assert_eq!(only(X, constants, &both).1, 10);
    let middle = one.replace("-1", "1");
    assert!(forms(X, constants, &middle).is_empty(), "the middle axis alone is no layer");
}

#[test]
fn rms_normalization() {
    let constants = "float[8] w = {1,1,1,1,1,1,1,1}, float e = {1e-5}, float two = {2.0}";
    let nodes = "p = Pow(x, two)\n v = ReduceMean<axes = [2]>(p)\n s = Add(v, e)\n r = Sqrt(s)\n i = Reciprocal(r)\n n = Mul(x, i)\n y = Mul(n, w)";
    assert_eq!(only(X, constants, nodes), ("RMSNormalization".into(), 7));
}

#[test]
fn activations() {
    assert_eq!(only(X, "", "s = Sigmoid(x)\n y = Mul(x, s)"), ("Swish".into(), 2));
    assert_eq!(only(X, "", "s = Softplus(x)\n t = Tanh(s)\n y = Mul(t, x)"), ("Mish".into(), 3));
    let hard = "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)\n y = Mul(x, h)";
    assert_eq!(only(X, "", hard), ("HardSwish".into(), 2));
    assert!(forms(X, "", "h = HardSigmoid(x)\n y = Mul(x, h)").is_empty(), "the default slope is another");
}

#[test]
fn attention_over_heads() {
    let inputs = "float[1,2,3,8] q, float[1,2,3,8] k, float[1,2,3,8] v, float[1,1,3,3] mask";
    let nodes = "t = Transpose<perm = [0,1,3,2]>(k)\n m = MatMul(q, t)\n d = Div(m, s)\n a = Add(d, mask)
        p = Softmax(a)\n o = MatMul(p, v)\n y = Squeeze(o, zero)";
    let found = forms(inputs, "float s = {2.0}, int64[1] zero = {0}", nodes);
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].op, found[0].inputs.len()), ("Attention", 4));
    assert_eq!(found[0].attrs["scale"].as_float(), Some(0.5));
}

#[test]
fn a_value_used_outside_keeps_the_nodes_apart() {
    let text = "s = Sigmoid(x)\n m = Mul(x, s)\n y = Add(m, s)";
    assert!(forms(X, "", text).is_empty());
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = RECOGNISERS.iter().map(|r| r.name).collect();
    names.dedup();
    assert_eq!(names.len(), RECOGNISERS.len());
}
