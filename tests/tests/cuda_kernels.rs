//! Which kernels models come to on the pretended GPU, and that results are the host's.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use byoc_tests::{byoc, on_fake_cuda, run_command, written};

/// A model, words of the command line, and the kernels of one run in their order: those named, and no others. A name stands
/// for all that begin with it.
struct Case {
    name: &'static str,
    model: &'static str,
    words: &'static [&'static str],
    kernels: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "bias, addend and activation are the library's",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float16[2,9,32] x, float16[2,9,24] r, float16[32,24] w, float16[24] b) => (float16[2,9,24] y) {
            p = MatMul(x, w)  s = Add(p, b)  t = Add(s, r)  y = Relu(t) }"#,
        words: &[],
        kernels: &["cublasLtMatmul"],
    },
    Case {
        name: "the hyperbolic Gelu is the library's, with a factor",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[12,32] x, float[24,32] w, float[24] b) => (float[12,24] y) {
            p = Gemm<transB = 1, alpha = 0.5>(x, w, b)  y = Gelu<approximate = "tanh">(p) }"#,
        words: &[],
        kernels: &["cublasLtMatmul"],
    },
    Case {
        name: "another end is a kernel of its own",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float16[12,32] x, float16[32,24] w, float16[24] b) => (float[12,24] z) {
            p = MatMul(x, w)  s = Add(p, b)  y = Gelu(s)  z = Cast<to = 1>(y) }"#,
        words: &[],
        kernels: &["cublasLtMatmul", "tail_add_gelu"],
    },
    Case {
        name: "the library has no epilogue for doubles",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (double[3,12,32] x, double[3,32,24] w, double[24] b) => (double[3,12,24] y) {
            p = MatMul(x, w)  y = Add(p, b) }"#,
        words: &[],
        kernels: &["cublasLtMatmul", "tail_add"],
    },
    Case {
        name: "batches of transposed factors",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[12,32] x, float[5,24,12] w) => (float[5,32,24] y) {
            t = Transpose<perm = [1, 0]>(x)  u = Transpose<perm = [0, 2, 1]>(w)  y = MatMul(t, u) }"#,
        words: &[],
        kernels: &["transpose4", "transpose4", "cublasLtMatmul"],
    },
    Case {
        name: "without the library",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (bfloat16[70,32] x, bfloat16[32,24] w, bfloat16[24] b) => (bfloat16[70,24] y) {
            p = MatMul(x, w)  y = Add(p, b) }"#,
        words: &["--plugin-option", "cuda.cublaslt=off"],
        kernels: &["matmul_add"],
    },
    Case {
        name: "float32 that tensor cores hold exactly",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[12,32] x) => (float[12,24] y) <float[32,24] w = codes(768), float half = {0.5}> {
            r = Mul(x, half)  f = Floor(r)  y = MatMul(f, w) }"#,
        words: &["--plugin-option", "cuda.tf32=true"],
        kernels: &["map_mul_floor", "cublasLtMatmul"],
    },
    Case {
        name: "one row, split",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float16[1,1,1200] x, float16[1200,72] w, float16[72] b) => (float16[1,1,72] y) {
            p = MatMul(x, w)  y = Add(p, b) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["matvec1_add", "join_add"],
    },
    Case {
        name: "a few rows, whole",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[5,40] x, float[40,72] w) => (float[5,72] y) { p = MatMul(x, w)  y = Relu(p) }"#,
        words: &[],
        kernels: &["matvec8_relu"],
    },
    Case {
        name: "a few rows, weights by rows",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (bfloat16[3,520] x, bfloat16[21,520] w) => (bfloat16[3,21] y) { y = Gemm<transB = 1>(x, w) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["matvec8"],
    },
    Case {
        name: "a convolution of pixels is a product",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[2,16,5,5] x, float[2,24,5,5] r) => (float[2,24,5,5] y) <float[24,16,1,1] w = ramp(384), float[24] b = ramp(24)> {
            c = Conv(x, w, b)  s = Add(c, r)  y = Relu(s) }"#,
        words: &[],
        kernels: &["cublasLtMatmul", "tail_add_add_relu"],
    },
];

/// Convolutions, and what is done by whom.
const CONVOLUTIONS: &[Case] = &[
    Case {
        name: "bias, residual and activation are the library's",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[2,6,9,8] x, float[2,12,9,8] r) => (float[2,12,9,8] y) <float[12,6,3,3] w = ramp(648), float[12] b = ramp(12)> {
            c = Conv<pads = [1,1,1,1]>(x, w, b)  s = Add(c, r)  y = Relu(s) }"#,
        words: &[],
        kernels: &["cudnnConvolutionBiasActivationForward"],
    },
    Case {
        name: "a bias alone, strides",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float16[1,6,9,9] x, float16[12,6,3,3] w, float16[12] b) => (float16[1,12,5,5] y) {
            y = Conv<pads = [1,1,1,1], strides = [2,2]>(x, w, b) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["cudnnConvolutionBiasActivationForward"],
    },
    Case {
        name: "another end is a kernel of its own",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (bfloat16[1,6,9,9] x, bfloat16[12,6,3,3] w, bfloat16[12] b) => (bfloat16[1,12,7,7] y) {
            c = Conv(x, w, b)  y = Sigmoid(c) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["cudnnConvolutionForward", "tail_add_sigmoid"],
    },
    Case {
        name: "lines in groups, zeros that differ but are not seen",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[2,6,10] x) => (float[2,12,5] y) <float[12,3,3] w = ramp(108)> {
            y = Conv<group = 2, pads = [1,0], strides = [2]>(x, w) }"#,
        words: &[],
        kernels: &["cudnnConvolutionForward"],
    },
    Case {
        name: "three axes, dilated, of doubles",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (double[1,2,5,6,7] x) => (double[1,3,3,4,5] y) <double[3,2,2,2,2] w = ramp(48)> {
            y = Conv<dilations = [2,2,2]>(x, w) }"#,
        words: &[],
        kernels: &["cudnnConvolutionForward"],
    },
    Case {
        name: "zeros on one side alone",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[1,6,8,8] x) => (float[1,12,7,7] y) <float[12,6,3,3] w = ramp(648)> {
            y = Conv<pads = [0,0,1,1]>(x, w) }"#,
        words: &[],
        kernels: &["conv"],
    },
    Case {
        name: "without the library",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (float[1,6,8,8] x) => (float[1,12,8,8] y) <float[12,6,3,3] w = ramp(648), float[12] b = ramp(12)> {
            c = Conv<pads = [1,1,1,1]>(x, w, b)  y = Relu(c) }"#,
        words: &["--plugin-option", "cuda.cudnn=off"],
        kernels: &["conv_add_relu"],
    },
];

/// Attention in the ways that exporters write it.
const ATTENTIONS: &[Case] = &[
    Case {
        name: "heads of projections, an added mask",
        model: r#"<ir_version: 10, opset_import: ["": 17]>
        g (float[2,7,64] a, float[2,7,64] b, float[2,7,64] c, float[2,1,1,7] mask) => (float[2,7,64] y)
        <int64[4] heads = {0, 0, 4, 16}, int64[3] flat = {0, 0, 64}, float d = {4}> {
            qr = Reshape(a, heads)  q = Transpose<perm = [0,2,1,3]>(qr)
            kr = Reshape(b, heads)  k = Transpose<perm = [0,2,3,1]>(kr)
            vr = Reshape(c, heads)  v = Transpose<perm = [0,2,1,3]>(vr)
            s = MatMul(q, k)  t = Div(s, d)  m = Add(t, mask)  p = Softmax<axis = -1>(m)  o = MatMul(p, v)
            z = Transpose<perm = [0,2,1,3]>(o)  y = Reshape(z, flat) }"#,
        words: &[],
        kernels: &["attention64"],
    },
    Case {
        name: "parts of one projection on tensor cores",
        model: r#"<ir_version: 10, opset_import: ["": 17]>
        g (float16[2,37,96] x) => (float16[2,37,32] y)
        <int64[5] parts = {0, 0, 3, 2, 16}, int64[3] flat = {0, 0, 32}, float16 d = {4}, int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
            r = Reshape(x, parts)  t = Transpose<perm = [2,0,3,1,4]>(r)
            q = Gather<axis = 0>(t, zero)  k = Gather<axis = 0>(t, one)  v = Gather<axis = 0>(t, two)
            kt = Transpose<perm = [0,1,3,2]>(k)  s = MatMul(q, kt)  n = Div(s, d)  p = Softmax<axis = -1>(n)
            o = MatMul(p, v)  z = Transpose<perm = [0,2,1,3]>(o)  y = Reshape(z, flat) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["attention_cores64"],
    },
    Case {
        name: "a mask that chooses, keys of the past",
        model: r#"<ir_version: 10, opset_import: ["": 17]>
        g (float[1,2,3,80] q, float[1,2,3,80] k, float[1,2,3,80] v, float[1,2,300,80] pk, float[1,2,300,80] pv, bool[1,1,3,303] mask)
            => (float[1,2,3,80] y, float[1,2,303,80] nk, float[1,2,303,80] nv)
        <float d = {8}, float neg = {-3.4028235e38}> {
            nk = Concat<axis = 2>(pk, k)  nv = Concat<axis = 2>(pv, v)
            kt = Transpose<perm = [0,1,3,2]>(nk)  s = MatMul(q, kt)  t = Div(s, d)  w = Where(mask, t, neg)
            p = Softmax<axis = -1>(w)  y = MatMul(p, nv) }"#,
        words: &[],
        kernels: &["move4", "move4", "move4", "move4", "attention128", "attention_join"],
    },
    Case {
        name: "heads repeated for a group",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (bfloat16[2,6,1,24] q, bfloat16[2,2,40,24] k, bfloat16[2,2,40,24] v, bfloat16[2,1,1,40] mask) => (bfloat16[2,6,1,24] y)
        <int64[1] axis = {2}, int64[5] wide = {2, 2, 3, 40, 24}, int64[4] heads = {2, 6, 40, 24}, bfloat16 d = {5}> {
            ku = Unsqueeze(k, axis)  ke = Expand(ku, wide)  kr = Reshape(ke, heads)
            vu = Unsqueeze(v, axis)  ve = Expand(vu, wide)  vr = Reshape(ve, heads)
            kt = Transpose<perm = [0,1,3,2]>(kr)  s = MatMul(q, kt)  t = Div(s, d)  m = Add(t, mask)
            p = Softmax<axis = -1>(m)  y = MatMul(p, vr) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["attention64"],
    },
    Case {
        name: "the operator: grouped, causal, with a past and a cap",
        model: r#"<ir_version: 10, opset_import: ["": 24]>
        g (float16[2,20,96] q, float16[2,20,32] k, float16[2,20,32] v, float16[2,2,9,16] pk, float16[2,2,9,16] pv)
            => (float16[2,20,96] y, float16[2,2,29,16] nk, float16[2,2,29,16] nv) {
            y, nk, nv = Attention<q_num_heads = 6, kv_num_heads = 2, is_causal = 1, softcap = 3.0>(q, k, v, , pk, pv) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["move2", "move2", "move2", "move2", "move2", "move2", "attention_cores64"],
    },
    Case {
        name: "MultiHeadAttention with a bias of the scores",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,9,32] q, float[2,11,32] k, float[2,11,32] v, float[1,2,9,11] bias) => (float[2,9,32] y) {
            y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, , , bias) }"#,
        words: &[],
        kernels: &["attention64"],
    },
];

/// Codes.
const CODES: &[Case] = &[
    Case {
        name: "a product of codes between QDQ",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (uint8[20,48] x) => (uint8[20,24] y)
        <float xs = {0.5}, uint8 xz = {128}, int8[48,24] w = codes(1152), float[24] ws = ramp(24), int8[24] wz = codes(24), float[24] b = ramp(24), float ys = {2}, uint8 yz = {7}> {
            p = DequantizeLinear(x, xs, xz)  v = DequantizeLinear<axis = 1>(w, ws, wz)
            m = MatMul(p, v)  s = Add(m, b)  r = Relu(s)  y = QuantizeLinear(r, ys, yz) }"#,
        words: &[],
        kernels: &["matmul_"],
    },
    Case {
        name: "products of codes behind each other",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (uint8[20,48] x) => (uint8[20,16] y)
        <float xs = {0.5}, uint8 xz = {128}, int8[48,24] w = codes(1152), float ws = {0.25}, int8 wz = {0}, float hs = {4}, uint8 hz = {100},
         int8[16,24] u = codes(384), float[16] us = ramp(16), int8[16] uz = codes(16), float ys = {300}, uint8 yz = {7}> {
            p = DequantizeLinear(x, xs, xz)  v = DequantizeLinear(w, ws, wz)  m = MatMul(p, v)
            h = QuantizeLinear(m, hs, hz)  d = DequantizeLinear(h, hs, hz)  n = DequantizeLinear<axis = 0>(u, us, uz)
            g = Gemm<transB = 1>(d, n)  y = QuantizeLinear(g, ys, yz) }"#,
        words: &[],
        kernels: &["matmul_", "matmul_"],
    },
    Case {
        name: "a convolution of codes with padding",
        model: r#"<ir_version: 10, opset_import: ["": 21]>
        g (uint8[2,6,7,7] x) => (uint8[2,8,7,7] y)
        <float xs = {0.5}, uint8 xz = {3}, int8[8,3,3,3] w = codes(216), float[8] ws = ramp(8), int8 wz = {1}, float ys = {2}, uint8 yz = {7}, int32[8] b = codes(8)> {
            y = QLinearConv<group = 2, pads = [1,1,1,1]>(x, xs, xz, w, ws, wz, ys, yz, b) }"#,
        words: &[],
        kernels: &["conv_"],
    },
];

#[test]
fn products_go_where_they_are_done_best() {
    run_all(CASES);
}

#[test]
fn convolutions_go_where_they_are_done_best() {
    run_all(CONVOLUTIONS);
}

#[test]
fn attention_is_one_kernel_however_it_is_written() {
    run_all(ATTENTIONS);
}

#[test]
fn codes_are_multiplied_as_they_are() {
    run_all(CODES);
}

fn run_all(cases: &[Case]) {
    let failed: BTreeMap<&str, String> =
        cases.iter().filter_map(|case| Some((case.name, failure(case)?))).collect();
    let told: Vec<_> = failed.iter().map(|(name, why)| format!("--- {name}\n{why}")).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The text with lists of numbers in the place of `ramp(N)`, and of whole ones in that of `codes(N)`.
fn expanded(text: &str) -> String {
    let mut parts = text.split("= ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| {
        let list = |name: &str, number: &dyn Fn(usize) -> String| {
            let (count, rest) = part.strip_prefix(name)?.split_once(')')?;
            let numbers: Vec<String> = (0..count.parse().expect("a count")).map(number).collect();
            Some(format!("= {{{}}}{rest}", numbers.join(", ")))
        };
        let fraction = |i: usize| format!("{:.2}", ((i * 37) % 41) as f64 / 41.0 + 0.05);
        let code = |i: usize| ((i * 29) % 23).to_string();
        let written = list("ramp(", &fraction).or_else(|| list("codes(", &code));
        whole + &written.unwrap_or_else(|| format!("= {part}"))
    })
}

/// What is wrong with a case.
fn failure(case: &Case) -> Option<String> {
    let (folder, model) = written(&expanded(case.model));
    let trace = folder.path().join("trace");
    let mut command = Command::new(byoc());
    command.args(["run", model.to_str().expect("UTF-8"), "--random", "1", "--compare-layers", "--strict"]);
    command.args(on_fake_cuda()).args(case.words).env("FAKE_CUDA_TRACE", &trace);
    let done = run_command(&mut command, Duration::from_secs(240));
    if done.status != Some(0) {
        return Some(format!("{:?}\n{}{}", done.status, done.stdout, done.stderr));
    }
    let trace = std::fs::read_to_string(trace).unwrap_or_default();
    let launched: Vec<&str> = trace.lines().collect();
    // Comparing runs regions once more; every run is the same.
    let is_whole = !launched.is_empty() && launched.len().is_multiple_of(case.kernels.len());
    let fits = launched.iter().zip(case.kernels.iter().cycle()).all(|(name, own)| name.starts_with(own));
    (!is_whole || !fits).then(|| format!("launched {launched:?}\n{}", done.stderr))
}
