//! What single preparation passes make of small models, and that results stay what they were.

mod common;

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
    let options = Options { registry, regions: &NoRegions, pool, isa: Isa::detect(), check_types: true };
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

fn u8_input(dims: &[usize]) -> Datum {
    let count = dims.iter().product::<usize>();
    let elements = (0..count).map(|i| (i * 37 % 256) as u8).collect();
    Datum::Tensor(Tensor::from_vec::<u8>(dims, elements).expect("sized"))
}

/// A convolution of 3 to 4 channels whose nodes are `middle`, from `dx`, `dw` and `db` to `r`.
fn conv(middle: &str, y_type: &str, y_zero: i64, bias_scale: &str) -> String {
    format!(
        "(uint8[1, 3, 6, 5] x) => ({y_type}[] y)
         <float xs = {{0.02}}, uint8 xz = {{120}}, float ys = {{0.0235294}}, {y_type} yz = {{{y_zero}}},
          int8[4, 3, 3, 3] w = {{{weights}}}, float[4] ws = {{0.01, 0.02, 0.005, 0.015}},
          int8[4] wz = {{0, 0, 0, 0}}, int32[4] b = {{500, -300, 0, 12000}}, float[4] bs = {{{bias_scale}}},
          float zero = {{0}}, float six = {{6}}, int32[4] bz = {{0, 0, 0, 0}}> {{
            dx = DequantizeLinear(x, xs, xz)
            dw = DequantizeLinear <axis = 0> (w, ws, wz)
            db = DequantizeLinear <axis = 0> (b, bs, bz)
            {middle}
            y = QuantizeLinear(r, ys, yz)
         }}",
        weights = numbers(108, -127, 128),
    )
}

fn product(w_type: &str, zeros: bool) -> String {
    let (xz, wz, yz) = if zeros { (", xz", ", wz", ", yz") } else { ("", "", "") };
    format!(
        "(uint8[2, 5, 9] x) => (uint8[] y)
         <float xs = {{0.02}}, uint8 xz = {{7}}, float ys = {{0.05}}, uint8 yz = {{100}},
          {w_type}[9, 3] w = {{{weights}}}, float[3] ws = {{0.01, 0.02, 0.005}}, {w_type}[3] wz = {{0, 3, 1}}> {{
            dx = DequantizeLinear(x, xs{xz})
            dw = DequantizeLinear <axis = -1> (w, ws{wz})
            r = MatMul(dx, dw)
            y = QuantizeLinear(r, ys{yz})
         }}",
        weights = numbers(27, 0, 100),
    )
}

/// Scales of a bias as they should be: those of the weights times 0.02.
const BIAS: &str = "0.0002, 0.0004, 0.0001, 0.0003";

#[test]
fn what_lies_between_dequantisation_and_quantisation_is_computed_on_integers() {
    let image: &[usize] = &[1, 3, 6, 5];
    let cases = [
        ("QLinearConv", image, conv("r = Conv <pads = [1, 1, 1, 1]> (dx, dw, db)", "uint8", 110, BIAS)),
        ("QLinearConv", image, conv("r = Conv <strides = [2, 1]> (dx, dw)", "int8", -20, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw, db) r = Relu(c)", "uint8", 0, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw) r = Relu(c)", "int8", -128, BIAS)),
        ("QLinearConv", image, conv("c = Conv(dx, dw, db) r = Clip(c, zero, six)", "uint8", 0, BIAS)),
        ("QLinearMatMul", &[2, 5, 9], product("int8", true)),
        ("QLinearMatMul", &[2, 5, 9], product("uint8", true)),
        ("QLinearMatMul", &[2, 5, 9], product("int8", false)),
    ];
    for (op, dims, text) in cases {
        let before = model(&text);
        let after = prepared(&before, "quantise");
        assert_eq!(operators(&after), [op], "{text}");
        let input = [u8_input(dims)];
        let want = run(&before, &Registry::reference(), &input);
        assert!(
            f64s(&want[0]).iter().any(|y| *y != f64s(&want[0])[0]),
            "a constant result shows nothing: {text}"
        );
        for registry in [Registry::reference(), Registry::default()] {
            let got = run(&after, &registry, &input);
            assert_eq!((got[0].dtype(), got[0].dims()), (want[0].dtype(), want[0].dims()));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1.0;
            assert!(f64s(&got[0]).iter().zip(&f64s(&want[0])).all(near), "{text}");
        }
    }
}

#[test]
fn what_would_change_more_than_a_rounding_is_left_alone() {
    let cases = [
        // The zero point is not the least integer: Relu does more than saturate.
        conv("c = Conv(dx, dw, db) r = Relu(c)", "uint8", 3, BIAS),
        // 6 is less than the greatest integer stands for.
        conv("c = Conv(dx, dw, db) r = Clip(c, zero, six)", "uint8", 0, BIAS).replace("0.0235294", "0.03"),
        // The bias counts in other steps than the sums.
        conv("r = Conv(dx, dw, db)", "uint8", 110, "0.0002, 0.0004, 0.0001, 0.0004"),
        // Its zero point is not zero.
        conv("r = Conv(dx, dw, db)", "uint8", 110, BIAS).replace("bz = {0,", "bz = {1,"),
        // Something else needs the sums.
        conv("c = Conv(dx, dw, db) z = Exp(c) r = Add(c, z)", "uint8", 110, BIAS),
        conv("r = Conv(dx, dw, db)", "uint8", 110, BIAS).replace("(uint8[] y)", "(uint8[] y, float[] r)"),
        // Scales go along the rows.
        product("int8", true)
            .replace("axis = -1", "axis = 0")
            .replace("[9, 3]", "[3, 9]")
            .replace("5, 9]", "5, 3]"),
    ];
    for text in cases {
        let before = model(&text);
        assert_eq!(operators(&prepared(&before, "quantise")), operators(&before), "{text}");
    }
}

/// A quantised network: two convolutions, what comes between their codes, and `rest`.
fn network(rest: &str, outputs: &str) -> String {
    format!(
        "(float[1, 3, 9, 8] x) => ({outputs})
         <float s1 = {{0.02}}, uint8 z1 = {{120}}, float s2 = {{0.05}}, uint8 z2 = {{101}}, float s3 = {{0.03}},
          uint8 z3 = {{4}}, int8[20, 3, 3, 3] w = {{{w}}}, int8[20, 1, 3, 3] v = {{{v}}}, float ws = {{0.01}},
          int8 wz = {{0}}, float[20] one = {{{one}}}, float[20] other = {{{other}}},
          int8[5, 20] u = {{{u}}}, int32[5] b = {{5, -800, 300, 0, 1}}, float bs = {{0.0003}}, int32 bz = {{0}}> {{
            q = QuantizeLinear(x, s1, z1)
            c = QLinearConv <pads = [1, 1, 1, 1]> (q, s1, z1, w, ws, wz, s2, z2)
            d = DequantizeLinear(c, s2, z2)
            n = BatchNormalization(d, one, other, other, one)
            r = Relu(n)
            e = QuantizeLinear(r, s3, z3)
            ed = DequantizeLinear(e, s3, z3)
            k = QLinearConv <group = 20, pads = [1, 1, 1, 1]> (e, s3, z3, v, ws, wz, s2, z2)
            kd = DequantizeLinear(k, s2, z2)
            {rest}
         }}",
        w = numbers(540, -127, 128),
        v = numbers(180, -127, 128),
        u = numbers(100, -127, 128),
        one = numbers(20, 1, 3),
        other = numbers(20, -1, 2),
    )
}

const QUANTISED: &[&str] = &["quantise", "quantise_codes", "fuse_requantisation", "channels_last"];

#[test]
fn quantised_images_stay_codes_with_their_channels_last() {
    let parts = [
        // What follows the two convolutions, the operators that are left, and how far codes may be off.
        (
            "a = Add(ed, kd) ar = Relu(a) aq = QuantizeLinear(ar, s2, z2) ad = DequantizeLinear(aq, s2, z2)
             y = Exp(ad)",
            &["QLinearAdd", "DequantizeLinear", "Exp"][..],
        ),
        (
            "m = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1]> (kd)
             mq = QuantizeLinear(m, s3, z3) y = DequantizeLinear(mq, s3, z3)",
            &["QLinearMaxPool", "DequantizeLinear"],
        ),
        (
            "j = Concat <axis = 1> (ed, kd) jq = QuantizeLinear(j, s3, z3) jd = DequantizeLinear(jq, s3, z3)
             t = Transpose <perm = [0, 2, 3, 1]> (jd) y = Exp(t)",
            &["QLinearConcat", "DequantizeLinear", "Exp"],
        ),
        (
            "t = Transpose <perm = [0, 1, 3, 2]> (kd) y = QuantizeLinear(t, s2, z2)",
            &["Transpose", "Transpose"],
        ),
        (
            "h = Relu(ed) i = Mul(h, kd) y = Exp(i)",
            &["DequantizeLinear", "DequantizeLinear", "Relu", "Mul", "Exp"],
        ),
    ];
    let input =
        [f32s(&[1, 3, 9, 8], &(0..216).map(|i| (i * 37 % 101) as f32 * 0.02 - 1.0).collect::<Vec<_>>())];
    for (rest, operators_left) in parts {
        let ty = if rest.contains("y = QuantizeLinear") { "uint8[] y" } else { "float[] y" };
        let before = model(&network(rest, ty));
        let want = run(&before, &Registry::default(), &input);
        for passes in [QUANTISED, &QUANTISED[..2], &QUANTISED[..3]] {
            let after = prepared_by(&before, passes);
            assert_eq!(run(&after, &Registry::default(), &input), want, "{rest}");
        }
        let mut left = operators(&prepared_by(&before, QUANTISED));
        let mut wanted = [&["QuantizeLinear", "QLinearConv", "QLinearConv"][..], operators_left].concat();
        left.sort();
        wanted.sort_unstable();
        assert_eq!(left, wanted, "{rest}");
    }
}

#[test]
fn means_and_products_of_codes_are_off_by_a_rounding_at_most() {
    let rest = "g = GlobalAveragePool(kd) gq = QuantizeLinear(g, s3, z3) gd = DequantizeLinear(gq, s3, z3)
         f = Flatten(gd) fq = QuantizeLinear(f, s3, z3) fd = DequantizeLinear(fq, s3, z3)
         ud = DequantizeLinear(u, ws, wz) bd = DequantizeLinear(b, bs, bz)
         p = Gemm <transB = 1> (fd, ud, bd) y = QuantizeLinear(p, s2, z2)";
    let before = model(&network(rest, "uint8[] y, uint8[] gq"));
    let input = [f32s(&[1, 3, 9, 8], &[0.7; 216])];
    let want = run(&before, &Registry::default(), &input);
    for passes in [QUANTISED, &QUANTISED[..2]] {
        let after = prepared_by(&before, passes);
        assert!(operators(&after).contains(&"QLinearGemm".to_owned()));
        for (got, want) in run(&after, &Registry::default(), &input).iter().zip(&want) {
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1.0;
            assert!(f64s(got).iter().zip(&f64s(want)).all(near) && got.dims() == want.dims());
        }
    }
}

#[test]
fn a_dequantised_value_with_other_users_stays() {
    let text = conv("r = Conv(dx, dw, db) z = Exp(dx)", "uint8", 110, BIAS);
    let before = model(&text.replace("(uint8[] y)", "(uint8[] y, float[] z)"));
    let after = prepared(&before, "quantise");
    let mut found = operators(&after);
    found.sort();
    assert_eq!(found, ["DequantizeLinear", "Exp", "QLinearConv"]);
    let input = [u8_input(&[1, 3, 6, 5])];
    let (got, want) = (run(&after, &Registry::default(), &input), run(&before, &Registry::default(), &input));
    assert_eq!(got[1], want[1]);
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
