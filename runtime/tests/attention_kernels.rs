//! The operators of attention by their fast kernels and by the reference, on every instruction set of this machine.

mod common;

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{DType, Datum, Model, Tensor};
use byoc_runtime::{NoRegions, Options, Program};

/// Inputs and one node each.
const CASES: &[&str] = &[
    // The standard's operator: heads first, and in rows; grouped; causal; masks of either kind, too short, of one batch.
    "(float[2, 3, 5, 8] q, float[2, 3, 7, 8] k, float[2, 3, 7, 4] v) => (float[] y) { y = Attention(q, k, v) }",
    "(float[1, 17, 48] q, float[1, 17, 24] k, float[1, 17, 24] v) => (float[] y) { y = Attention <q_num_heads = 6, kv_num_heads = 3, is_causal = 1, scale = 0.3> (q, k, v) }",
    "(float[2, 1, 16] q, float[2, 1, 8] k, float[2, 1, 8] v, float[2, 1, 6, 8] pk, float[2, 1, 6, 8] pv) => (float[] y, float[] nk, float[] nv) { y, nk, nv = Attention <q_num_heads = 2, kv_num_heads = 1, is_causal = 1> (q, k, v, , pk, pv) }",
    "(float[2, 2, 9, 8] q, float[2, 2, 9, 8] k, float[2, 2, 9, 8] v, float[2, 2, 4, 8] pk, float[2, 2, 4, 8] pv) => (float[] y) { y = Attention <is_causal = 1> (q, k, v, , pk, pv) }",
    "(float[2, 2, 70, 8] q, float[2, 2, 70, 8] k, float[2, 2, 70, 8] v) => (float[] y, float[] nk, float[] nv) { y, nk, nv = Attention <is_causal = 1> (q, k, v) }",
    "(float[2, 2, 5, 8] q, float[2, 2, 7, 8] k, float[2, 2, 7, 8] v, float[5, 7] m) => (float[] y) { y = Attention(q, k, v, m) }",
    "(float[2, 2, 5, 8] q, float[2, 2, 7, 8] k, float[2, 2, 7, 8] v, bool[2, 1, 5, 7] m) => (float[] y) { y = Attention <is_causal = 1> (q, k, v, m) }",
    "(float[2, 2, 5, 8] q, float[2, 2, 7, 8] k, float[2, 2, 7, 8] v) => (float[] y) <bool[1, 1, 1, 7] m = {0, 0, 0, 0, 0, 0, 0}> { y = Attention(q, k, v, m) }",
    "(float[1, 2, 5, 8] q, float[1, 2, 7, 8] k, float[1, 2, 7, 8] v, float[5, 4] m) => (float[] y) { y = Attention(q, k, v, m) }",
    "(float[1, 2, 0, 8] q, float[1, 2, 7, 8] k, float[1, 2, 7, 8] v) => (float[] y) { y = Attention(q, k, v) }",
    "(float[1, 2, 3, 8] q, float[1, 2, 0, 8] k, float[1, 2, 0, 8] v) => (float[] y) { y = Attention(q, k, v) }",
    "(float[2, 2, 3, 8] q, float[2, 2, 9, 8] k, float[2, 2, 9, 8] v) => (float[] y) <int64[2] n = {4, 9}> { y = Attention <is_causal = 1> (q, k, v, , , , n) }",
    "(float[2, 2, 5, 8] q, float[2, 2, 9, 8] k, float[2, 2, 9, 8] v) => (float[] y) <int64[2] n = {2, 0}> { y = Attention <is_causal = 1> (q, k, v, , , , n) }",
    "(float[1, 2, 30, 8] q, float[1, 2, 30, 8] k, float[1, 2, 30, 8] v) => (float[] y) { y = Attention <is_causal = 1, left_window_size = 5> (q, k, v) }",
    // ONNX Runtime's: masks of every form, addends, biases, packed heads, and the past.
    "(float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 8] v) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v) }",
    "(float[2, 5, 16] q, float[2, 5, 16] k, float[2, 5, 16] v, float[48] b) => (float[] y, float[] pk, float[] pv) { y, pk, pv = com.microsoft.MultiHeadAttention <num_heads = 4, unidirectional = 1> (q, k, v, b) }",
    "(float[2, 5, 2, 3, 8] q) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q) }",
    "(float[2, 5, 2, 3, 8] q, float[48] b) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, , , b) }",
    "(float[2, 5, 16] q, float[2, 7, 2, 2, 8] k) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k) }",
    "(float[2, 5, 16] q, float[2, 2, 7, 8] k, float[2, 2, 7, 8] v, float[48] b) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, b) }",
    "(float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 16] v, int32[2, 7] m) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, , m) }",
    "(float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 16] v, int32[2, 5, 7] m, float[1, 2, 5, 7] a) => (float[] y) { y = com.microsoft.MultiHeadAttention <num_heads = 2, scale = 0.2> (q, k, v, , m, a) }",
    "(float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 16] v, float[2, 1, 5, 7] a) => (float[] y) <int32[2] m = {3, 7}> { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, , m, a) }",
    "(float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 16] v) => (float[] y) <int32[4] m = {3, 7, 1, 2}> { y = com.microsoft.MultiHeadAttention <num_heads = 2, mask_filter_value = -5.0> (q, k, v, , m) }",
    "(float[2, 1, 16] q, float[2, 1, 16] k, float[2, 1, 16] v, float[2, 2, 4, 8] pk, float[2, 2, 4, 8] pv) => (float[] y, float[] nk, float[] nv) { y, nk, nv = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, , , , pk, pv) }",
    "(float[2, 7, 12] x, float[12, 48] w, float[48] b) => (float[] y) { y = com.microsoft.Attention <num_heads = 2> (x, w, b) }",
    "(float[2, 7, 12] x, float[12, 40] w, float[40] b, int32[2, 7] m) => (float[] y) { y = com.microsoft.Attention <num_heads = 2, unidirectional = 1, qkv_hidden_sizes = [16, 16, 8]> (x, w, b, m) }",
    // Grouped queries: a beginning, a next token into room that is there and into none, windows, rotary embeddings.
    "(float[2, 5, 32] q, float[2, 5, 16] k, float[2, 5, 16] v) => (float[] y, float[] nk, float[] nv) <int32[2] last = {4, 2}, int32 total = {5}> { y, nk, nv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q, k, v, , , last, total) }",
    "(float[2, 1, 32] q, float[2, 1, 16] k, float[2, 1, 16] v, float[2, 2, 9, 8] pk, float[2, 2, 9, 8] pv) => (float[] y, float[] nk, float[] nv) <int32[2] last = {4, 8}, int32 total = {9}> { y, nk, nv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q, k, v, pk, pv, last, total) }",
    "(float[1, 1, 64] q, float[1, 2, 6, 8] pk, float[1, 2, 6, 8] pv, float[9, 4] c, float[9, 4] s) => (float[] y, float[] nk, float[] nv) <int32[1] last = {6}, int32 total = {7}> { y, nk, nv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, do_rotary = 1> (q, , , pk, pv, last, total, c, s) }",
    "(float[2, 6, 32] q, float[2, 6, 16] k, float[2, 6, 16] v, float[9, 3] c, float[9, 3] s) => (float[] y) <int32[2] last = {5, 5}, int32 total = {6}> { y = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, do_rotary = 1, rotary_interleaved = 1, local_window_size = 3, scale = 0.4> (q, k, v, , , last, total, c, s) }",
];

fn model(case: &str) -> Model {
    let text = format!("<ir_version: 10, opset_import: [\"\": 24, \"com.microsoft\": 1]> g {case}");
    let mut model = common::model(&text);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    model
}

fn run(model: &Model, registry: &Registry, isa: Isa, inputs: &[Datum]) -> Vec<Datum> {
    let pool = Arc::new(ThreadPool::new(2));
    let options = Options { registry, regions: &NoRegions, pool, isa, check_types: true, together: true };
    Program::build(model, &options).expect("builds").run_data(inputs).expect("runs")
}

/// The same in every run.
fn input(dtype: DType, dims: &[usize], salt: usize) -> Datum {
    let count = dims.iter().product::<usize>();
    let number = |i: usize| ((i * 7919 + salt * 104_729) % 199) as f32 / 70.0 - 1.4;
    let tensor = match dtype {
        DType::F32 => Tensor::from_vec(dims, (0..count).map(number).collect::<Vec<f32>>()),
        DType::I32 => Tensor::from_vec(dims, (0..count).map(|i| i32::from(number(i) > -0.5)).collect()),
        DType::Bool => Tensor::from_bools(dims, (0..count).map(|i| number(i) > -0.5).collect()),
        other => panic!("{other}"),
    };
    Datum::Tensor(tensor.expect("sized"))
}

fn assert_close(case: &str, got: &[Datum], want: &[Datum]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        let (Datum::Tensor(got), Datum::Tensor(want)) = (got, want) else { panic!("{case}: not tensors") };
        assert_eq!(got.dims(), want.dims(), "{case}");
        for (a, b) in got.to_f64s().unwrap().iter().zip(want.to_f64s().unwrap()) {
            assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{case}: {a} and {b}");
        }
    }
}

#[test]
fn fast_attention_agrees_with_the_reference() {
    for case in CASES {
        let model = model(case);
        let types = model.graph.inputs().iter().map(|&v| model.graph.value(v).ty.clone());
        let types = types.map(|t| t.and_then(|t| t.as_tensor().cloned()).expect("a tensor"));
        let inputs: Vec<Datum> =
            types.enumerate().map(|(i, t)| input(t.dtype.unwrap(), &t.static_dims().unwrap(), i)).collect();
        let want = run(&model, &Registry::reference(), Isa::Portable, &inputs);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            assert_close(case, &run(&model, &Registry::default(), isa, &inputs), &want);
            // What lies in constants is prepared for.
            let mut constant = model.clone();
            let graph = &mut constant.graph;
            for (&id, datum) in graph.inputs().to_vec().iter().zip(&inputs).skip(1) {
                let Datum::Tensor(tensor) = datum else { panic!("not a tensor") };
                let name = graph.fresh_name("constant");
                let value = graph.add_constant(name, Arc::new(tensor.clone())).expect("a fresh name");
                graph.replace_uses(id, value);
            }
            assert_close(case, &run(&constant, &Registry::default(), isa, &inputs), &want);
        }
    }
}

/// Sizes that do not go together are an error, not a panic.
#[test]
fn attention_of_sizes_that_do_not_fit() {
    let run = |case: &str, dims: &[&[usize]]| {
        let model = common::model(&format!(
            "<ir_version: 10, opset_import: [\"\": 24, \"com.microsoft\": 1]> g {case}"
        ));
        let pool = Arc::new(ThreadPool::new(1));
        let registry = &Registry::default();
        let options = Options {
            registry,
            regions: &NoRegions,
            pool,
            isa: Isa::detect(),
            check_types: false,
            together: true,
        };
        let inputs: Vec<Datum> = dims.iter().map(|dims| input(DType::F32, dims, 0)).collect();
        Program::build(&model, &options).expect("builds").run_data(&inputs).err().map(|e| e.to_string())
    };
    let standard = "(float[a, b, c, d] q, float[e, f, g, h] k, float[i, j, l, m] v) => (float[] y) { y = Attention(q, k, v) }";
    for dims in [
        [&[1, 2, 3, 4][..], &[1, 2, 5, 8], &[1, 2, 5, 4]],
        [&[1, 2, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 4]],
        [&[1, 3, 3, 4], &[1, 2, 5, 4], &[1, 2, 5, 4]],
        [&[1, 2, 3, 4], &[1, 2, 5, 4], &[1, 2, 6, 4]],
    ] {
        assert!(run(standard, &dims).is_some(), "{dims:?}");
    }
    let group = "(float[a, b, c] q, float[d, e, f] k, float[g, h, i] v, float[j, l, m, n] pk, float[o, p, r, s] pv) => (float[] y)
         <int32[1] last = {100}, int32 total = {3}> {
            y = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1> (q, k, v, pk, pv, last, total)
         }";
    let dims: [&[usize]; 5] = [&[1, 1, 8], &[1, 1, 4], &[1, 1, 4], &[1, 1, 2, 4], &[1, 1, 2, 4]];
    assert!(run(group, &dims).is_some_and(|error| error.contains("keys")), "a cache that is too short");
}
