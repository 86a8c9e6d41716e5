//! Operators written out as others, against their reference kernels.

mod common;

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{DType, Datum, Model, Tensor};
use byoc_runtime::{NoRegions, Options, Program, prepare};

/// Inputs and one node each, and whether it is written out.
const CASES: &[(&str, bool)] = &[
    ("(float[3, 40] x) => (float[] y) { y = com.microsoft.Gelu(x) }", true),
    ("(float[3, 40] x, float[40] b) => (float[] y) { y = com.microsoft.BiasGelu(x, b) }", true),
    ("(float[3, 40] x) => (float[] y) { y = com.microsoft.FastGelu(x) }", true),
    ("(float[3, 40] x, float[40] b) => (float[] y) { y = com.microsoft.FastGelu(x, b) }", true),
    ("(float[3, 40] x) => (float[] y) { y = com.microsoft.QuickGelu(x) }", true),
    ("(float[3, 40] x) => (float[] y) { y = com.microsoft.QuickGelu <alpha = 0.5> (x) }", true),
    ("(float[2, 3, 40] x, float[40] b) => (float[] y) { y = com.microsoft.BiasSplitGelu(x, b) }", true),
    (
        "(float[2, 3, 8] x, float[8] b, float[2, 3, 8] s) => (float[] y) { y = com.microsoft.BiasAdd(x, b, s) }",
        true,
    ),
    (
        "(float[5, 9] x, uint8[9, 7] w, float s) => (float[] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }",
        true,
    ),
    (
        "(float[5, 9] x, int8[9, 7] w, float[7] s, int8[7] z) => (float[] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s, z) }",
        true,
    ),
    (
        "(float[2, 5, 9] x, uint8[9, 7] w, float s, uint8 z, float[7] b) => (float[] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s, z, b) }",
        true,
    ),
    // What is left out in between has no rule.
    (
        "(float[5, 9] x, uint8[9, 7] w, float s, float[7] b) => (float[] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s, , b) }",
        false,
    ),
    (
        "(uint8[5, 9] x, uint8[9, 7] w, float s, float t) => (float[] y) { y = com.microsoft.MatMulIntegerToFloat(x, w, s, t) }",
        true,
    ),
    (
        "(int8[5, 9] x, int8[9, 7] w, float s, float[7] t, int8 a, int8[7] b) => (float[] y) { y = com.microsoft.MatMulIntegerToFloat(x, w, s, t, a, b) }",
        true,
    ),
    (
        "(uint8[5, 9] x, int8[9, 7] w, float s, float t, uint8 a, int8 b, float[7] c) => (float[] y) { y = com.microsoft.MatMulIntegerToFloat(x, w, s, t, a, b, c) }",
        true,
    ),
    (
        "(uint8[5, 9] x, uint8[9] z) => (uint8[] y) <float s = {0.03}, uint8 o = {100}, float t = {0.05}, uint8 p = {3}> { y = com.microsoft.QLinearAdd(x, s, o, z, t, p, t, o) }",
        true,
    ),
    (
        "(int8[5, 9] x, int8[5, 9] z) => (int8[] y) <float s = {0.03}, int8 o = {10}, float t = {0.05}, int8 p = {-3}> { y = com.microsoft.QLinearMul(x, s, o, z, t, p, t, o) }",
        true,
    ),
    (
        "(uint8[5, 9] x) => (uint8[] y) <float s = {0.03}, uint8 o = {100}, float t = {0.004}, uint8 p = {0}> { y = com.microsoft.QLinearSigmoid(x, s, o, t, p) }",
        true,
    ),
    (
        "(uint8[5, 9] x) => (uint8[] y) <float s = {0.03}, uint8 o = {100}> { y = com.microsoft.QLinearLeakyRelu <alpha = 0.2> (x, s, o, s, o) }",
        true,
    ),
    (
        "(uint8[1, 3, 8, 9] x) => (uint8[] y) <float s = {0.03}, uint8 o = {100}> { y = com.microsoft.QLinearAveragePool <kernel_shape = [2, 3], strides = [2, 1], pads = [0, 1, 0, 1]> (x, s, o, s, o) }",
        true,
    ),
    (
        "(uint8[1, 8, 9, 3] x) => (uint8[] y) <float s = {0.03}, uint8 o = {100}> { y = com.microsoft.QLinearAveragePool <kernel_shape = [2, 3], channels_last = 1> (x, s, o, s, o) }",
        false,
    ),
    ("(float[2, 3, 5, 7] x) => (float[] y) { y = MeanVarianceNormalization(x) }", true),
    ("(float[4, 5, 7] x) => (float[] y) { y = MeanVarianceNormalization <axes = [1, -1]> (x) }", true),
    (
        "(uint8[2, 5, 16] x, uint8[16, 48] w, float[48] b, float s, float t, uint8 z, uint8 v) => (float[] y) { y = com.microsoft.QAttention <num_heads = 2> (x, w, b, s, t, , z, v) }",
        true,
    ),
    (
        "(uint8[2, 5, 16] x, int8[16, 48] w, float[48] b, float s, float t, uint8 z, int8 v) => (float[] y) <int32[2] m = {5, 3}> { y = com.microsoft.QAttention <num_heads = 2> (x, w, b, s, t, m, z, v) }",
        true,
    ),
    (
        "(float[9, 16] w, float[7, 16] p, float[2, 16] t, float[16] s, float[16] b) => (float[] y, int32[] m) <int32[2, 3] i = {1, 8, 0, 3, 3, 2}, int32[2, 3] k = {0, 1, 1, 0, 0, 1}> { y, m = com.microsoft.EmbedLayerNormalization <epsilon = 0.001> (i, k, w, p, t, s, b) }",
        true,
    ),
    (
        "(float[9, 16] w, float[7, 16] p, float[2, 16] t, float[16] s, float[16] b) => (float[] y, float[] e) <int32[2, 3] i = {1, 8, 0, 3, 3, 2}, int32[2, 3] k = {0, 1, 1, 0, 0, 1}> { y, m, e = com.microsoft.EmbedLayerNormalization (i, k, w, p, t, s, b) }",
        true,
    ),
    (
        "(float[3, 40] x, float[40] s) => (float[] y) { y = SimplifiedLayerNormalization <epsilon = 0.01> (x, s) }",
        true,
    ),
];

fn run(model: &Model, registry: &Registry, inputs: &[Datum]) -> Vec<f64> {
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
    let Datum::Tensor(y) = &outputs[0] else { panic!("not a tensor") };
    y.to_f64s().expect("numbers")
}

/// The same in every run.
fn input(dtype: DType, dims: &[usize], salt: usize) -> Datum {
    let count = dims.iter().product::<usize>();
    let number = |i: usize| ((i * 7919 + salt * 104_729) % 199) as f32 / 70.0 - 1.4;
    let tensor = match dtype {
        DType::F32 => Tensor::from_vec(dims, (0..count).map(number).collect::<Vec<f32>>()),
        DType::U8 => Tensor::from_vec(dims, (0..count).map(|i| (number(i) * 60.0 + 128.0) as u8).collect()),
        DType::I8 => Tensor::from_vec(dims, (0..count).map(|i| (number(i) * 60.0) as i8).collect()),
        other => panic!("{other}"),
    };
    Datum::Tensor(tensor.expect("sized"))
}

#[test]
fn parts_agree_with_the_whole() {
    for &(case, written_out) in CASES {
        let text = format!("<ir_version: 10, opset_import: [\"\": 21, \"com.microsoft\": 1]> g {case}");
        let mut model = common::model(&text);
        infer(&mut model, &InferOptions::default()).expect("types follow");
        let types = model.graph.inputs().iter().map(|&v| model.graph.value(v).ty.clone());
        let types = types.map(|t| t.and_then(|t| t.as_tensor().cloned()).expect("a tensor"));
        let inputs: Vec<Datum> =
            types.enumerate().map(|(i, t)| input(t.dtype.unwrap(), &t.static_dims().unwrap(), i)).collect();
        let mut parts = model.clone();
        prepare::prepare(&mut parts, &|_| true);
        let of_standard = ["MeanVarianceNormalization", "SimplifiedLayerNormalization"];
        let whole = |model: &Model| {
            let nodes = model.graph.model_order();
            let mut ops = nodes.iter().map(|&id| &model.graph.node(id).op);
            ops.any(|op| {
                &*op.domain == "com.microsoft" && &*op.name != "MultiHeadAttention"
                    || of_standard.contains(&&*op.name)
            })
        };
        assert_eq!(!whole(&parts), written_out, "{case}");
        let want = run(&model, &Registry::reference(), &inputs);
        let got = run(&parts, &Registry::default(), &inputs);
        assert_eq!(got.len(), want.len(), "{case}");
        // Halves between two codes may be rounded to either.
        let step = if case.contains("=> (float") { 0.0 } else { 1.0 };
        for (got, want) in got.iter().zip(&want) {
            let most = (2e-5 * (1.0 + want.abs())).max(step);
            assert!((got - want).abs() <= most, "{case}: {got} and {want}");
        }
    }
}
