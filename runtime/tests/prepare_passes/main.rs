//! What single preparation passes make of small models, and that results stay what they were.

#[path = "../common/mod.rs"]
mod common;
mod precision;
mod quantised;

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::normalise::normalise;
use byoc_graph::{DType, Datum, Model, Tensor};
use byoc_runtime::{NoRegions, Options, Program, prepare};

fn model(graph: &str) -> Model {
    let mut model = common::model(&format!("<ir_version: 8, opset_import: [\"\": 17]> g {graph}"));
    normalise(&mut model, &ReferenceEvaluator, &|_| true);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    model
}

fn prepared(model: &Model, pass: &str) -> Model {
    prepared_by(model, &[pass])
}

fn prepared_by(model: &Model, passes: &[&str]) -> Model {
    let mut model = model.clone();
    prepare::prepare(&mut model, &|name| passes.contains(&name));
    model.graph.check();
    model
}

fn run(model: &Model, registry: &Registry, inputs: &[Datum]) -> Vec<Tensor> {
    let pool = Arc::new(ThreadPool::new(2));
    let options = Options {
        registry,
        regions: &NoRegions,
        pool,
        isa: Isa::detect(),
        check_types: true,
        together: true,
    };
    let outputs = Program::build(model, &options).expect("builds").run_data(inputs).expect("runs");
    let tensor = |datum| match datum {
        Datum::Tensor(tensor) => tensor,
        other => panic!("{other:?}"),
    };
    outputs.into_iter().map(tensor).collect()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64s().expect("numbers")
}

/// The operators of the main graph, in model order.
fn operators(model: &Model) -> Vec<String> {
    let order = model.graph.model_order();
    order.iter().map(|&id| model.graph.node(id).op.name.to_string()).collect()
}

/// Whole numbers from `low` to below `high`, the same in every run, as ONNX text has them.
fn numbers(count: usize, low: i64, high: i64) -> String {
    let number = |i: usize| (low + (i as i64 * 7919 + 13) % (high - low)).to_string();
    (0..count).map(number).collect::<Vec<_>>().join(", ")
}

fn f32s(dims: &[usize], elements: &[f32]) -> Datum {
    Datum::Tensor(Tensor::from_vec(dims, elements.to_vec()).expect("sized"))
}

#[test]
fn float16_is_rounded_only_where_it_leaves() {
    // 2048 + 1 is no float16; 4096 - 2047 - 2048 is.
    let before = model(
        "(float[2] x) => (float16[2] y, float16[] z, float[2] w)
         <float[2] big = {2048, 4096}, int64[2] shape = {2, 1}, float[2] one = {1, 1}> {
            h = Cast <to = 10> (x)
            k = Cast <to = 10> (big)
            s = Add(h, k)
            t = Reshape(s, shape)
            z = Transpose(t)
            y = Sub(s, k)
            p = Relu(y)
            q = Cast <to = 1> (p)
            w = Mul(q, one)
         }",
    );
    let after = prepared(&before, "promote_f16");
    let input = [f32s(&[2], &[1.0, 1.5])];
    let old = run(&before, &Registry::default(), &input);
    assert_eq!(f64s(&old[0]), [0.0, 0.0], "float16 at every step");
    let new = run(&after, &Registry::default(), &input);
    assert_eq!(f64s(&new[0]), [1.0, 1.5]);
    assert_eq!(f64s(&new[1]), [2048.0, 4096.0], "rounded to even where it leaves");
    assert_eq!(f64s(&new[2]), [1.0, 1.5], "not rounded on the way to float32");
    let types = |outputs: &[Tensor]| outputs.iter().map(Tensor::dtype).collect::<Vec<_>>();
    assert_eq!(types(&new), [DType::F16, DType::F16, DType::F32]);
    let names =
        |m: &Model| m.graph.outputs().iter().map(|&v| m.graph.value(v).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    let casts = operators(&after).iter().filter(|op| *op == "Cast").count();
    assert_eq!(casts, 5, "in: x and its float32; out: y and z; the model's own: q");
}

#[test]
fn bodies_and_other_operators_still_get_float16() {
    let before = model(
        "(float[3] x, bool c) => (float16[3] y, int64[] i)
         {
            h = Cast <to = 10> (x)
            s = Exp(h)
            i = NonZero(s)
            y = If (c) <
                then_branch = then () => (float16[3] a) { a = Mul(s, s) },
                else_branch = other () => (float16[3] b) { b = Neg(h) }
            >
         }",
    );
    let after = prepared(&before, "promote_f16");
    for c in [true, false] {
        let flag = Datum::Tensor(Tensor::from_bools(&[], vec![c]).expect("sized"));
        let input = [f32s(&[3], &[0.5, -1.0, 2.0]), flag];
        let (got, want) =
            (run(&after, &Registry::default(), &input), run(&before, &Registry::default(), &input));
        assert_eq!(got[1], want[1]);
        assert_eq!(got[0].dtype(), DType::F16);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-3 * b.abs();
        assert!(f64s(&got[0]).iter().zip(&f64s(&want[0])).all(near), "{got:?} {want:?}");
    }
}

#[test]
fn values_that_are_only_moved_stay_float16() {
    let before = model(
        "(float16[2, 3] x) => (float16[] y) <int64[1] shape = {6}> {
            t = Transpose(x)
            y = Reshape(t, shape)
         }",
    );
    assert_eq!(operators(&prepared(&before, "promote_f16")), operators(&before));
}

#[test]
fn only_casts_that_change_something_or_make_a_name_stay() {
    let before = model(
        "(float[2] x) => (float[2] y, float[2] z) {
            a = Cast <to = 1> (x)
            b = Exp(a)
            c = Cast <to = 7> (b)
            d = Cast <to = 1> (c)
            y = Cast <to = 1> (d)
            z = Add(a, d)
         }",
    );
    let after = prepared(&before, "remove_casts");
    assert_eq!(operators(&after), ["Exp", "Cast", "Cast", "Cast", "Add"]);
    let input = [f32s(&[2], &[0.5, 1.5])];
    assert_eq!(run(&after, &Registry::default(), &input), run(&before, &Registry::default(), &input));
}

#[test]
fn products_read_transposed_constants_as_they_were() {
    let (rows, cols) = (130, 128);
    let graph = format!(
        "(float[2,{cols}] x) => (float[2,{rows}] y, float[2,{rows}] z) <float[{rows},{cols}] w = {{{}}}> {{ \
         t = Transpose(w) y = MatMul(x, t) z = Gemm(x, t) }}",
        numbers(rows * cols, -8, 8)
    );
    let model = model(&graph);
    assert_eq!(operators(&model), ["MatMul", "Gemm"]);
    let after = prepared(&model, "transposed_weights");
    let weights = |model: &Model| {
        let nodes = model.graph.node_ids().filter_map(|id| model.graph.node(id).input(1));
        nodes.map(|w| model.graph.constant(w).expect("a constant").dims().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!((weights(&model), weights(&after)), (vec![vec![cols, rows]; 2], vec![vec![rows, cols]; 2]));
    let x = Tensor::from_vec(&[2, cols], (0..2 * cols).map(|i| (i % 9) as f32 - 4.0).collect());
    let inputs = [Datum::Tensor(x.expect("sized"))];
    let want = run(&model, &Registry::reference(), &inputs);
    assert_eq!(run(&after, &Registry::default(), &inputs), want, "whole numbers are exact");
}

/// Numbers between -1 and 1, the same in every run.
fn waves(dims: &[usize]) -> Datum {
    let count = dims.iter().product::<usize>();
    f32s(dims, &(0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>())
}

#[test]
fn attention_is_one_operator_however_it_is_written() {
    let heads = "r = Reshape(x, rows) t = Transpose <perm = [0, 2, 1, 3]> (r)";
    let mask = Datum::Tensor(
        Tensor::from_bools(&[1, 1, 5, 5], (0..25).map(|i| i % 5 <= i / 5).collect()).expect("sized"),
    );
    let cases = [
        // Transposed keys straight from the rows, an added mask, the result back in rows.
        (
            "(float[2, 5, 12] x, float[2, 1, 1, 5] m) => (float[] y)".to_owned(),
            format!(
                "{heads} k = Transpose <perm = [0, 2, 3, 1]> (r) s = MatMul(t, k) d = Div(s, two) a = Add(d, m)
                 p = Softmax <axis = -1> (a) o = MatMul(p, t) y = Transpose <perm = [0, 2, 1, 3]> (o)"
            ),
            vec![waves(&[2, 5, 12]), waves(&[2, 1, 1, 5])],
            vec!["Reshape", "Attention"],
        ),
        // Scores replaced, keys used elsewhere.
        (
            "(float[1, 5, 12] x, bool[1, 1, 5, 5] m) => (float[] y, float[] t)".to_owned(),
            format!(
                "{heads} k = Transpose <perm = [0, 1, 3, 2]> (t) s = MatMul(t, k) d = Mul(half, s)
                 a = Where(m, d, low) p = Softmax <axis = 3> (a) y = MatMul(p, t)"
            ),
            vec![waves(&[1, 5, 12]), mask],
            vec!["Reshape", "Transpose", "Attention"],
        ),
        // Two heads of queries for each of keys.
        (
            "(float[1, 4, 5, 6] q, float[1, 2, 7, 6] x) => (float[] y)".to_owned(),
            "u = Unsqueeze(x, axis) e = Expand(u, five) w = Reshape(e, four)
             k = Transpose <perm = [0, 1, 3, 2]> (w) s = MatMul(q, k) p = Softmax <axis = -1> (s) y = MatMul(p, w)"
                .to_owned(),
            vec![waves(&[1, 4, 5, 6]), waves(&[1, 2, 7, 6])],
            vec!["Attention"],
        ),
        // Parts of one projection.
        (
            "(float[2, 5, 3, 2, 4] x) => (float[] y)".to_owned(),
            "t = Transpose <perm = [2, 0, 3, 1, 4]> (x) q = Gather <axis = 0> (t, zero) k = Gather <axis = 0> (t, one)
             v = Gather <axis = 0> (t, last) u = Transpose <perm = [0, 1, 3, 2]> (k) s = MatMul(q, u)
             p = Softmax <axis = -1> (s) y = MatMul(p, v)"
                .to_owned(),
            vec![waves(&[2, 5, 3, 2, 4])],
            vec!["Attention"],
        ),
    ];
    for (signature, nodes, inputs, expected) in cases {
        let text = format!(
            "{signature} <float two = {{2}}, float half = {{0.5}}, float low = {{-3e38}}, int64[4] rows = {{0, 5, 3, 4}},
             int64[1] axis = {{2}}, int64[5] five = {{1, 2, 2, 7, 6}}, int64[4] four = {{1, 4, 7, 6}},
             int64 zero = {{0}}, int64 one = {{1}}, int64 last = {{-1}}> {{ {nodes} }}"
        );
        let before = model(&text);
        let after = prepared(&before, "fuse_attention");
        assert_eq!(operators(&after), expected, "{text}");
        let want = run(&before, &Registry::reference(), &inputs);
        let got = run(&after, &Registry::default(), &inputs);
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.dims(), want.dims(), "{text}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5;
            assert!(f64s(got).iter().zip(&f64s(want)).all(near), "{text}");
        }
    }
}

#[test]
fn a_rotary_embedding_is_one_operator() {
    let turn = "a = Slice(h, zero, two, axis, one) b = Slice(h, two, end, axis) n = Neg(b) c = Concat <axis = -1> (n, a)";
    let cases = [
        // Heads as they are, tables for all of them.
        (
            "(float[2, 3, 5, 4] h, float[1, 1, 5, 4] cos, float[2, 1, 1, 4] sin) => (float[] y)".to_owned(),
            format!("{turn} p = Mul(h, cos) q = Mul(sin, c) y = Add(q, p)"),
            vec![waves(&[2, 3, 5, 4]), waves(&[1, 1, 5, 4]), waves(&[2, 1, 1, 4])],
            vec!["RotateHalves"],
        ),
        // Rows are transposed to heads behind it, not before.
        (
            "(float[2, 5, 3, 4] x, float[2, 1, 5, 4] cos, float[1, 3, 5, 4] sin) => (float[] y)".to_owned(),
            format!(
                "h = Transpose <perm = [0, 2, 1, 3]> (x) {turn} p = Mul(cos, h) q = Mul(c, sin) y = Add(p, q)"
            ),
            vec![waves(&[2, 5, 3, 4]), waves(&[2, 1, 5, 4]), waves(&[1, 3, 5, 4])],
            vec!["RotateHalves", "Transpose"],
        ),
    ];
    for (types, nodes, inputs, after) in cases {
        let constants = "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] axis = {3},
                         int64[1] end = {9223372036854775807}";
        let before = model(&format!("{types} <{constants}> {{ {nodes} }}"));
        let passed = prepared(&before, "rotary");
        assert_eq!(operators(&passed), after);
        let expected = run(&before, &Registry::reference(), &inputs);
        let found = run(&passed, &Registry::default(), &inputs);
        assert_eq!(f64s(&expected[0]), f64s(&found[0]));
    }
}

#[test]
fn a_rotation_that_is_no_rotary_embedding_stays() {
    // Quarters change places; a half is used elsewhere; the table makes more of the rows.
    for (types, turn) in [
        (
            "(float[1, 2, 5, 8] h, float[1, 1, 5, 8] t) => (float[] y)",
            "a = Slice(h, zero, two, axis) b = Slice(h, two, end, axis)",
        ),
        (
            "(float[1, 2, 5, 4] h, float[1, 1, 5, 4] t) => (float[] y, float[] b)",
            "a = Slice(h, zero, two, axis) b = Slice(h, two, end, axis)",
        ),
        (
            "(float[1, 2, 1, 4] h, float[1, 1, 5, 4] t) => (float[] y)",
            "a = Slice(h, zero, two, axis) b = Slice(h, two, end, axis)",
        ),
    ] {
        let before = model(&format!(
            "{types} <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] axis = {{3}}, int64[1] end = {{99}}> {{
                {turn} n = Neg(b) c = Concat <axis = -1> (n, a) p = Mul(h, t) q = Mul(c, t) y = Add(p, q)
             }}"
        ));
        assert_eq!(operators(&prepared(&before, "rotary")), operators(&before));
    }
}

#[test]
fn attention_whose_scores_somebody_wants_stays() {
    let before = model(
        "(float[1, 2, 5, 4] x) => (float[] y, float[] p) {
            k = Transpose <perm = [0, 1, 3, 2]> (x) s = MatMul(x, k) p = Softmax <axis = -1> (s) y = MatMul(p, x)
         }",
    );
    assert_eq!(operators(&prepared(&before, "fuse_attention")), operators(&before));
}

#[test]
fn projections_of_one_matrix_are_one_product() {
    let weights = |name: &str| format!("float[12, 12] {name} = {{{}}}", numbers(144, -3, 4));
    let bias = numbers(12, -5, 6);
    let network = |v: &str| {
        format!(
            "(float[2, 5, 12] x, float[2, 5, 12] other) => (float[] y)
             <{}, {}, {}, float[12] bq = {{{bias}}}, float[12] bv = {{{bias}}},
              int64[4] heads = {{0, 0, 3, 4}}, int64[3] rows = {{0, 0, 12}}, float scale = {{0.05}}> {{
                q1 = MatMul(x, wq)
                q2 = Add(q1, bq)
                q3 = Reshape(q2, heads)
                q = Transpose <perm = [0, 2, 1, 3]> (q3)
                k1 = MatMul(x, wk)
                k3 = Reshape(k1, heads)
                k = Transpose <perm = [0, 2, 3, 1]> (k3)
                v1 = MatMul({v}, wv)
                v2 = Add(bv, v1)
                v3 = Reshape(v2, heads)
                v = Transpose <perm = [0, 2, 1, 3]> (v3)
                qk = MatMul(q, k)
                scaled = Mul(qk, scale)
                weights = Softmax <axis = -1> (scaled)
                sum = MatMul(weights, v)
                back = Transpose <perm = [0, 2, 1, 3]> (sum)
                y = Reshape(back, rows)
             }}",
            weights("wq"),
            weights("wk"),
            weights("wv")
        )
    };
    for (v, products) in [("x", 1), ("other", 0)] {
        let model = model(&network(v));
        let passes = ["fuse_attention", "merge_projections"];
        let merged = prepared_by(&model, &passes);
        let count = operators(&merged).iter().filter(|op| *op == "Projections").count();
        assert_eq!(count, products, "{:?}", operators(&merged));
        let inputs = [waves(&[2, 5, 12]), waves(&[2, 5, 12])];
        let plain = prepared(&model, "fuse_attention");
        let registry = Registry::default();
        assert_eq!(run(&merged, &registry, &inputs), run(&plain, &registry, &inputs));
    }
}

#[test]
fn factors_and_addends_of_channels_are_part_of_the_normalisation() {
    let network = |dims: &str| {
        format!(
            "(float[2, 3, 4, 5] x) => (float[] y)
             <float[3] s = {{1, 2, 3}}, float[3] b = {{0.5, -1, 0}}, float[3] m = {{0.1, 0.2, 0.3}},
              float[3] v = {{1, 4, 0.25}}, float[{dims}] f = {{2, 3, 4}}, float k = {{0.5}}, float[{dims}] a = {{1, 0, -1}}> {{
                n = BatchNormalization(x, s, b, m, v)
                f1 = Mul(f, n)
                f2 = Mul(f1, k)
                y = Add(f2, a)
             }}"
        )
    };
    for (dims, left) in [("3, 1, 1", 1), ("1, 3, 1, 1", 1), ("3, 1", 4)] {
        let text = match left {
            1 => network(dims),
            // Along another axis.
            _ => network(dims).replace("float[2, 3, 4, 5] x", "float[2, 3, 3, 5] x"),
        };
        let model = model(&text);
        let merged = prepared(&model, "merge_affine");
        assert_eq!(operators(&merged).len(), left, "{dims}: {:?}", operators(&merged));
        let inputs = [waves(if left == 1 { &[2, 3, 4, 5] } else { &[2, 3, 3, 5] })];
        let registry = Registry::default();
        let (got, want) = (run(&merged, &registry, &inputs), run(&model, &registry, &inputs));
        for (got, want) in f64s(&got[0]).iter().zip(f64s(&want[0])) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{dims}: {got} and {want}");
        }
    }
}
