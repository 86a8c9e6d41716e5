//! Which kernels models come to on the pretended GPU, and that results are the host's.

mod cuda_cases;
mod cuda_launches;

use cuda_cases::{Case, run_all};

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
    run_all(CASES, &[]);
}

#[test]
fn convolutions_go_where_they_are_done_best() {
    run_all(CONVOLUTIONS, &[]);
}

#[test]
fn codes_are_multiplied_as_they_are() {
    run_all(CODES, &[]);
}
