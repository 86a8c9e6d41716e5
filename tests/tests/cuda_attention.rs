//! Attention on the pretended GPU: one kernel, whose results are the host's.

mod cuda_cases;
mod cuda_compile;

use cuda_cases::{Case, run_all};
use cuda_compile::compile_all;

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
        kernels: &["cache", "cache", "attention_cores64"],
    },
    Case {
        name: "MultiHeadAttention with a bias of the scores",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,9,32] q, float[2,11,32] k, float[2,11,32] v, float[1,2,9,11] bias) => (float[2,9,32] y) {
            y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, , , bias) }"#,
        words: &[],
        kernels: &["attention64"],
    },
    Case {
        name: "keys of the past that nobody else wants",
        model: r#"<ir_version: 10, opset_import: ["": 17]>
        g (float[2,3,5,20] q, float[2,5,60] a, float[2,3,5,20] v, float[2,3,70,20] pk, float[2,3,70,20] pv, float[2,1,1,75] mask) => (float[2,3,5,20] y)
        <int64[4] heads = {0, 0, 3, 20}, float d = {4}> {
            kr = Reshape(a, heads)  k = Transpose<perm = [0,2,1,3]>(kr)
            nk = Concat<axis = 2>(pk, k)  nv = Concat<axis = -2>(pv, v)
            kt = Transpose<perm = [0,1,3,2]>(nk)  s = MatMul(q, kt)  t = Div(s, d)  m = Add(t, mask)
            p = Softmax<axis = -1>(m)  y = MatMul(p, nv) }"#,
        words: &[],
        kernels: &["attention64"],
    },
    Case {
        name: "a past of other strides on tensor cores, heads repeated behind it",
        model: r#"<ir_version: 10, opset_import: ["": 17]>
        g (float16[1,6,31,24] q, float16[1,31,48] a, float16[1,31,48] b, float16[1,37,2,24] ck, float16[1,2,37,24] pv, bool[31,68] mask) => (float16[1,6,31,24] y)
        <int64[4] few = {0, 0, 2, 24}, int64[1] axis = {2}, int64[5] wide = {1, 2, 3, 68, 24}, int64[4] heads = {1, 6, 68, 24}, float16 d = {5}, float16 neg = {-65504}> {
            kr = Reshape(a, few)  k = Transpose<perm = [0,2,1,3]>(kr)  vr = Reshape(b, few)  v = Transpose<perm = [0,2,1,3]>(vr)
            pk = Transpose<perm = [0,2,1,3]>(ck)
            nk = Concat<axis = 2>(pk, k)  nv = Concat<axis = 2>(pv, v)
            ku = Unsqueeze(nk, axis)  ke = Expand(ku, wide)  kk = Reshape(ke, heads)
            vu = Unsqueeze(nv, axis)  ve = Expand(vu, wide)  vv = Reshape(ve, heads)
            kt = Transpose<perm = [0,1,3,2]>(kk)  s = MatMul(q, kt)  t = Div(s, d)  w = Where(mask, t, neg)
            p = Softmax<axis = -1>(w)  y = MatMul(p, vv) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["attention_cores64"],
    },
    Case {
        name: "parts of keys of the past, without a cache that goes on",
        model: r#"<ir_version: 10, opset_import: ["": 24]>
        g (bfloat16[1,1,68] q, bfloat16[1,1,17] k, bfloat16[1,1,17] v, bfloat16[1,1,701,17] pk, bfloat16[1,1,701,17] pv) => (bfloat16[1,1,68] y) {
            y = Attention<q_num_heads = 4, kv_num_heads = 1, is_causal = 1>(q, k, v, , pk, pv) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["attention64", "attention_join"],
    },
    Case {
        name: "lengths where the past is empty",
        model: r#"<ir_version: 10, opset_import: ["": 24]>
        g (float[2,2,3,8] q, float[2,2,7,8] k, float[2,2,7,8] v, float[2,2,0,8] pk, float[2,2,0,8] pv) => (float[2,2,3,8] y, float[2,2,7,8] nk, float[2,2,7,8] nv)
        <int64[2] lengths = {5, 3}> {
            y, nk, nv = Attention<is_causal = 1>(q, k, v, , pk, pv, lengths) }"#,
        words: &[],
        kernels: &["cache", "cache", "attention64"],
    },
    Case {
        name: "doubles of a past, and a single key",
        model: r#"<ir_version: 10, opset_import: ["": 24]>
        g (double[1,1,1,130] q, double[1,1,0,130] k, double[1,1,0,130] v, double[1,1,1,130] pk, double[1,1,1,130] pv) => (double[1,1,1,130] y, double[1,1,1,130] nk, double[1,1,1,130] nv) {
            y, nk, nv = Attention<is_causal = 1>(q, k, v, , pk, pv) }"#,
        words: &[],
        kernels: &["cache", "cache", "attention256"],
    },
    Case {
        name: "MultiHeadAttention behind a past, each row with what it may see",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,5,32] q, float[2,5,32] k, float[2,5,32] v, float[2,2,6,16] pk, float[2,2,6,16] pv) => (float[2,5,32] y, float[2,2,11,16] nk, float[2,2,11,16] nv) {
            y, nk, nv = com.microsoft.MultiHeadAttention<num_heads = 2, unidirectional = 1>(q, k, v, , , , pk, pv) }"#,
        words: &[],
        kernels: &["cache", "cache", "attention64"],
    },
];

/// Runs them, and shows all their kernels to the real compiler.
fn run_and_compile(cases: &[Case]) {
    let folder = tempfile::tempdir().expect("a folder");
    let sources = folder.path().join("sources");
    run_all(cases, &["--plugin-option".into(), format!("cuda.sources={}", sources.display())]);
    compile_all(&sources, cases.len());
}

#[test]
fn attention_is_one_kernel_however_it_is_written() {
    run_and_compile(ATTENTIONS);
}
