//! Operators that no suite and no other runtime tries: experiments of old releases, and maps.

use std::sync::Arc;

use byoc_cpu::reference::{Interpreter, Values};
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::onnx::from_text;
use byoc_graph::{DType, Datum, MapKeys, Tensor};

/// Runs a model and gives its only output, whose type inference must have foreseen.
fn run(text: &str, inputs: Vec<(&str, Datum)>) -> Tensor {
    let mut model = from_text(text, None).expect("a model");
    infer(&mut model, &InferOptions::default()).expect("types follow");
    let inputs: Values = inputs.into_iter().map(|(name, datum)| (Arc::from(name), datum)).collect();
    let outputs = Interpreter::new(&model).run(&inputs).expect("it runs");
    let (_, datum) = outputs.into_iter().next().expect("an output");
    let tensor = datum.as_tensor().expect("a tensor").clone();
    let output = model.graph.value(model.graph.outputs()[0]).ty.clone().expect("a type");
    let ty = output.as_tensor().expect("a tensor's");
    assert!(ty.dtype.is_none_or(|dtype| dtype == tensor.dtype()), "{text}");
    assert!(ty.static_dims().is_none_or(|dims| dims == tensor.dims()), "{text}");
    tensor
}

fn floats(dims: &[usize], values: &[f32]) -> Datum {
    Tensor::from_vec(dims, values.to_vec()).expect("sized").into()
}

fn ints(values: &[i64]) -> Datum {
    Tensor::from_vec(&[values.len()], values.to_vec()).expect("sized").into()
}

fn old(body: &str) -> String {
    format!("<ir_version: 3, opset_import: [\"\": 1]> g {body}")
}

#[test]
fn crop_takes_the_border_away() {
    let image: Vec<f32> = (0..20).map(|i| i as f32).collect();
    let input = || vec![("x", floats(&[1, 1, 4, 5], &image))];
    let text = old("(float[1, 1, 4, 5] x) => (float[] y) { y = Crop <border = [1, 2, 1, 0]> (x) }");
    assert_eq!(run(&text, input()).to_f64s().unwrap(), [11.0, 12.0, 13.0, 16.0, 17.0, 18.0]);
    let text =
        old("(float[1, 1, 4, 5] x) => (float[] y) { y = Crop <border = [1, 2, 0, 0], scale = [1, 2]> (x) }");
    assert_eq!(run(&text, input()).to_f64s().unwrap(), [11.0, 12.0]);
}

#[test]
fn scale_multiplies() {
    let text = old("(float[2] x) => (float[] y) { y = Scale <scale = 2.5> (x) }");
    assert_eq!(run(&text, vec![("x", floats(&[2], &[1.0, -2.0]))]).to_f64s().unwrap(), [2.5, -5.0]);
}

#[test]
fn a_dynamic_slice_has_its_ends_as_inputs() {
    let text = old(
        "(float[2, 3] x, int64[1] s, int64[1] e, int64[1] a) => (float[] y) { y = DynamicSlice(x, s, e, a) }",
    );
    let inputs = vec![
        ("x", floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])),
        ("s", ints(&[1])),
        ("e", ints(&[1000])),
        ("a", ints(&[1])),
    ];
    let y = run(&text, inputs);
    assert_eq!((y.dims(), y.to_f64s().unwrap()), (&[2, 2][..], vec![1.0, 2.0, 4.0, 5.0]));
}

#[test]
fn a_tensor_is_filled_as_given() {
    let text = old(
        "() => (float[] y) { y = GivenTensorFill <values = [1.0, 2.0], shape = [2], extra_shape = [1]> () }",
    );
    assert_eq!(run(&text, vec![]).dims(), [2, 1]);
    let text = old(
        "(float[2] x) => (float[] y) { y = GivenTensorFill <values = [1.0, 2.0], input_as_shape = 1> (x) }",
    );
    assert_eq!(run(&text, vec![("x", floats(&[2], &[1.0, 2.0]))]).dims(), [1, 2]);
}

#[test]
fn a_gated_unit_stops_with_its_sequence() {
    let text = old(
        "(float[1, 2, 1] h, float[1, 2, 3] g, int64[2] n, int64[1] t) => (float[] y) { y = GRUUnit(h, g, n, t) }",
    );
    let inputs = vec![
        ("h", floats(&[1, 2, 1], &[0.5, 0.25])),
        ("g", floats(&[1, 2, 3], &[9.0, 0.0, 1.0, 9.0, 0.0, 1.0])),
        ("n", ints(&[3, 2])),
        ("t", ints(&[2])),
    ];
    let y = run(&text, inputs).to_f64s().unwrap();
    assert!((y[0] - (0.25 + 0.5 * 1f64.tanh())).abs() < 1e-6, "{y:?}");
    assert_eq!(y[1], 0.25);
}

/// A map from whole numbers or words to floats.
fn map(keys: MapKeys, values: &[f32]) -> Datum {
    Datum::Map { keys, values: values.iter().map(|&v| Tensor::scalar(v).into()).collect() }
}

fn maps(input: &str, call: &str) -> String {
    format!(
        "<ir_version: 8, opset_import: [\"\": 17, \"ai.onnx.ml\": 3]> g ({input} x) => (float[] y) {{ y = ai.onnx.ml.{call} (x) }}"
    )
}

#[test]
fn a_map_is_cast_to_a_row() {
    let x = || vec![("x", map(MapKeys::Ints(DType::I64, vec![3, 0]), &[1.5, 2.5]))];
    let dense = maps("map(int64, float)", "CastMap");
    assert_eq!(run(&dense, x()).to_f64s().unwrap(), [2.5, 1.5]);
    let sparse = maps("map(int64, float)", "CastMap <map_form = \"SPARSE\", max_map = 5>");
    let y = run(&sparse, x());
    assert_eq!((y.dims(), y.to_f64s().unwrap()), (&[1, 5][..], vec![2.5, 0.0, 0.0, 1.5, 0.0]));
}

#[test]
fn a_map_becomes_a_row_in_the_order_of_a_vocabulary() {
    let words = MapKeys::Strings(["b", "x"].map(bytes::Bytes::from).into());
    let text = maps("map(string, float)", "DictVectorizer <string_vocabulary = [\"a\", \"b\"]>");
    let y = run(&text, vec![("x", map(words, &[1.0, 2.0]))]);
    assert_eq!(y.to_f64s().unwrap(), [0.0, 1.0]);
}

/// Pairs of ways to compute `y` and `z`, which have to be the same, of an image `x` with its channels last.
const SAME: &[&str] = &[
    "y = com.microsoft.GroupNorm<groups = 2, epsilon = 0.1, activation = 0>(x, s, b)
     t = Transpose<perm = [0, 3, 1, 2]>(x) u = GroupNormalization<num_groups = 2, epsilon = 0.1>(t, s, b)
     z = Transpose<perm = [0, 2, 3, 1]>(u)",
    "y = com.microsoft.GroupNorm<groups = 1, activation = 1, channels_last = 0>(x, c, c)
     u = GroupNormalization<num_groups = 1>(x, c, c) g = Sigmoid(u) z = Mul(u, g)",
    "y, p = com.microsoft.SkipGroupNorm<groups = 2, activation = 1>(x, s, b, k, s)
     r = Constant<value = int64[4] {2, 1, 1, 4}>() m = Reshape(k, r) n = Add(x, m) q = Add(n, s)
     w = com.microsoft.GroupNorm<groups = 2, activation = 1>(q, s, b) z = Add(w, q) o = Identity(y) y2 = Add(o, p)",
    "f = Constant<value = float[2, 2, 1, 1] {1.0, 2.0, 3.0, -4.0}>() y = com.microsoft.NhwcConv<group = 2>(x, f)
     t = Transpose<perm = [0, 3, 1, 2]>(x) u = Conv<group = 2>(t, f) z = Transpose<perm = [0, 2, 3, 1]>(u)",
    "f = Constant<value = float[2, 2, 1, 1] {1.0, 2.0, 3.0, -4.0}>()
     y = com.microsoft.NhwcFusedConv<group = 2, activation = \"Relu\">(x, f)
     t = Transpose<perm = [0, 3, 1, 2]>(x) u = Conv<group = 2>(t, f) v = Relu(u) z = Transpose<perm = [0, 2, 3, 1]>(v)",
    "y = com.microsoft.BiasSplitGelu(x, s) t = Add(x, s) l, r = Split<axis = -1, num_outputs = 2>(t)
     g = Gelu(r) z = Mul(l, g)",
    "f = Constant<value = float[4, 2] {1.0, 2.0, 3.0, -4.0, 0.5, 1.5, -2.0, 0.25}>()
     c2 = Constant<value = float[2] {0.5, -0.5}>() y = com.microsoft.GemmFastGelu(x, f, c2)
     t = MatMul(x, f) u = Add(t, c2) z = Gelu<approximate = \"tanh\">(u)",
];

#[test]
fn operators_that_fuse_others_compute_what_these_do() {
    for way in SAME {
        let y = if way.contains("y2 =") { "y2" } else { "y" };
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 21, \"com.microsoft\": 1]>
             g (float[2, 3, 5, 4] x, float[4] s, float[4] b, float[3] c, float[2, 4] k) => (float[] d)
             {{ {way} d = Sub({y}, z) }}"
        );
        let mut random = 1u32;
        let mut values = |dims: &[usize]| {
            let next = |_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            floats(dims, &(0..dims.iter().product()).map(next).collect::<Vec<f32>>())
        };
        let inputs = vec![
            ("x", values(&[2, 3, 5, 4])),
            ("s", values(&[4])),
            ("b", values(&[4])),
            ("c", values(&[3])),
            ("k", values(&[2, 4])),
        ];
        let difference = run(&text, inputs).to_f64s().unwrap();
        assert!(!difference.is_empty() && difference.iter().all(|d| d.abs() < 1e-5), "{way}: {difference:?}");
    }
}
