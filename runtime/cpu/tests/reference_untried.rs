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
