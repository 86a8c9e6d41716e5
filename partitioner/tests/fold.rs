//! Normalisations that a vendor folds into weights: what it and the functions get computes the same.

mod support;

use std::collections::HashMap;

use byoc_graph::{Attr, FunctionId, Graph, Model, Node, Tensor, ValueId, onnx};
use byoc_partitioner::{NoCheck, Options, Partition, partition};
use support::{Ready, tables};

const TABLE: &str = r#"
[vendor]
name = "a"
fold = ["batchnorm"]
[[pattern]]
name = "product"
match = "y = (Conv|ConvTranspose|Gemm|MatMul)(x, w: const, b?)"
"#;

/// The values of a graph's outputs. All images are of one pixel, so that each product is one of matrices.
fn evaluate(model: &Model, graph: &Graph, inputs: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut values: HashMap<ValueId, Vec<f64>> = graph.inputs().iter().copied().zip(inputs).collect();
    for (id, _) in graph.values() {
        if let Some(tensor) = graph.constant(id) {
            values.insert(id, tensor.to_f64s().expect("numbers"));
        }
    }
    for id in graph.model_order() {
        let node = graph.node(id);
        let given: Vec<Vec<f64>> = node.inputs().iter().flatten().map(|v| values[v].clone()).collect();
        let (domain, name, overload) =
            (node.op.domain.clone(), node.op.name.clone(), node.op.overload.clone());
        let made = match model.functions.get(&FunctionId { domain, name, overload }) {
            Some(function) => evaluate(model, &function.body, given),
            None => vec![compute(node, &given)],
        };
        values.extend(node.outputs().iter().flatten().copied().zip(made));
    }
    graph.outputs().iter().map(|v| values[v].clone()).collect()
}

fn compute(node: &Node, given: &[Vec<f64>]) -> Vec<f64> {
    let int = |name: &str, default| node.attrs.get(name).and_then(Attr::as_int).unwrap_or(default) as usize;
    let float = |name: &str| f64::from(node.attrs.get(name).and_then(Attr::as_float).unwrap_or(1.0));
    let x = &given[0];
    if &*node.op.name == "BatchNormalization" {
        let epsilon = f64::from(node.attrs.get("epsilon").and_then(Attr::as_float).unwrap_or(1e-5));
        let channel = |(i, x): (usize, &f64)| {
            let c = i % given[1].len();
            (x - given[3][c]) / (given[4][c] + epsilon).sqrt() * given[1][c] + given[2][c]
        };
        return x.iter().enumerate().map(channel).collect();
    }
    let w = &given[1];
    let groups = int("group", 1);
    // Inputs and outputs of one group.
    let ins = x.len() / groups;
    let outs = w.len() / ins / groups;
    let rows_are_outputs = &*node.op.name == "Conv" || int("transB", 0) == 1;
    let bias = |c: usize| given.get(2).map_or(0.0, |b| float("beta") * b[c % b.len()]);
    let at = |c: usize| {
        let (group, own) = (c / outs, c % outs);
        let weight = |i: usize| match rows_are_outputs {
            true => w[c * ins + i],
            false => w[(group * ins + i) * outs + own],
        };
        float("alpha") * (0..ins).map(|i| x[group * ins + i] * weight(i)).sum::<f64>() + bias(c)
    };
    (0..groups * outs).map(at).collect()
}

/// The text has no fractions of `float16`: such constants are made of those of `float`.
fn ready(body: &str, ty: &str, x: &str, weights: &str, further: &str) -> (Ready, Partition) {
    let halves = ty == "float16";
    let ty = if halves { "float" } else { ty };
    let text = format!(
        r#"<ir_version: 8, opset_import: ["" : 17]>
        g ({ty}{x} x) => ({ty} y) <{ty}{weights}, {ty}[4] s = {{1, -2, 0.5, 3}}, {ty}[4] t = {{0.25, 1, -1, 2}},
          {ty}[4] m = {{0.5, -1, 2, 0}}, {ty}[4] v = {{1, 4, 0.25, 2}}{further}> {{
          {body}
        }}"#
    );
    let mut ready = Ready::from_text(&text);
    if halves {
        let graph = &mut ready.model.graph;
        let constants: Vec<_> =
            graph.values().filter_map(|(id, _)| Some((id, graph.constant(id)?.clone()))).collect();
        for (id, tensor) in constants {
            let narrow = tensor.to_f64s().expect("numbers").into_iter().map(half::f16::from_f64).collect();
            let tensor = Tensor::from_vec::<half::f16>(tensor.dims(), narrow).expect("as many elements");
            graph.set_constant(id, tensor.into());
        }
    }
    let tables = tables(&[TABLE.to_owned()]).expect("the table is valid");
    let result = partition(&ready.model, &tables, &Options::default(), &mut NoCheck).expect("valid");
    (ready, result)
}

fn close(a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * (1.0 + b.abs());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(near))
}

#[test]
fn folding_keeps_what_is_computed() {
    let numbers = "{1, 2, -1, 0.5, 3, -2, 0.25, 1}";
    let norm = "y = BatchNormalization<epsilon = 0.001>(c, s, t, m, v)";
    let cases = [
        ("c = Conv(x, w)", "[1,2,1,1]", "[4,2,1,1]", ""),
        ("c = Conv(x, w, b)", "[1,2,1,1]", "[4,2,1,1]", "[4] b = {1, 2, 3, 4}"),
        ("c = Conv<group = 2>(x, w)", "[1,4,1,1]", "[4,2,1,1]", ""),
        ("c = ConvTranspose(x, w, b)", "[1,2,1,1]", "[2,4,1,1]", "[4] b = {1, 2, 3, 4}"),
        ("c = ConvTranspose<group = 2>(x, w)", "[1,4,1,1]", "[4,2,1,1]", ""),
        ("c = Gemm<alpha = 0.5, beta = 2.0>(x, w, b)", "[1,2]", "[2,4]", "[1,4] b = {1, 2, 3, 4}"),
        ("c = Gemm<transB = 1>(x, w, b)", "[1,2]", "[4,2]", "[1] b = {3}"),
        ("c = MatMul(x, w)", "[1,2]", "[2,4]", ""),
    ];
    for (product, x, w, bias) in cases {
        for (ty, tolerance) in [("float16", 4e-3), ("float", 1e-6), ("double", 1e-12)] {
            let further = if bias.is_empty() { String::new() } else { format!(", {ty}{bias}") };
            let (ready, result) =
                ready(&format!("{product}\n{norm}"), ty, x, &format!("{w} w = {numbers}"), &further);
            let input: Vec<f64> = [0.5, -1.0, 2.0, 3.0][..if x.contains('4') { 4 } else { 2 }].to_vec();
            let wanted = evaluate(&ready.model, &ready.model.graph, vec![input.clone()]);
            let outlined = result.outline(&ready.model).expect("valid");
            let found = evaluate(&outlined, &outlined.graph, vec![input.clone()]);
            assert!(close(&found, &wanted, tolerance), "{product} {ty}: {found:?}, not {wanted:?}");
            let subgraph = result.regions[0].subgraph(&ready.model.graph).expect("valid");
            assert_eq!(subgraph.graph.node_count(), 1, "{product}: the normalisation is still there");
            assert_eq!(subgraph.nodes[0], subgraph.nodes[1]);
            let found = evaluate(&ready.model, &subgraph.graph, vec![input]);
            assert!(
                close(&found, &wanted, tolerance),
                "{product} {ty} for vendors: {found:?}, not {wanted:?}"
            );
            let bound: Vec<&str> = subgraph.bindings[0].iter().map(|(name, _)| name.as_str()).collect();
            assert!(["x", "w", "b", "y"].iter().all(|name| bound.contains(name)), "{product}: {bound:?}");
        }
    }
}

#[test]
fn shared_constants_are_folded_once() {
    let body = "c = Conv(x, w)\nn = BatchNormalization(c, s, t, m, v)\nr = Relu(n)\nd = Conv(r, w)\n\
                y = BatchNormalization(d, s, t, m, v)";
    let weights = "[4,4,1,1] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}";
    let (ready, result) = ready(body, "float", "[1,4,1,1]", weights, "");
    assert_eq!(result.regions.len(), 2);
    let outlined = result.outline(&ready.model).expect("valid");
    let constants = outlined.graph.values().filter(|(id, _)| outlined.graph.is_constant(*id)).count();
    assert_eq!(
        constants, 2,
        "one weight and one bias for both products, and nothing of what they are made of"
    );
    onnx::to_bytes(&outlined).expect("the model can be written");
}

#[test]
fn what_a_type_cannot_hold_is_left_unfolded() {
    let body = "c = Conv(x, w)\ny = BatchNormalization(c, s, t, m, v)";
    let weights = "[4,2,1,1] w = {60000, 1, 60000, 1, 60000, 1, 60000, 1}";
    let (ready, result) = ready(body, "float16", "[1,2,1,1]", weights, "");
    let subgraph = result.regions[0].subgraph(&ready.model.graph).expect("valid");
    assert_eq!(subgraph.graph.node_count(), 2);
}
