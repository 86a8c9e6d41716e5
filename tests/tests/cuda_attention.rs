//! Attention on the pretended GPU: one kernel, whose results are the host's.

mod cuda_cases;
mod cuda_compile;
mod cuda_launches;

use byoc_tests::{on_fake_cuda, partition_report, run, written};
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

/// MultiHeadAttention in all its forms.
const MULTI_HEAD: &[Case] = &[
    Case {
        name: "a bias of projections, a mask of keys, a bias of scores",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,9,32] q, float[2,11,32] k, float[2,11,32] v, float[1,2,9,11] scores) => (float[2,9,32] y)
        <float[96] b = ramp(96), int32[2,11] mask = bits(22)> {
            y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b, mask, scores) }"#,
        words: &[],
        kernels: &["heads_bias", "heads_bias", "heads_bias", "attention64"],
    },
    Case {
        name: "packed queries, keys and values on tensor cores, the ends of the keys",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float16[2,37,2,3,16] x, float16[96] b) => (float16[2,37,32] y)
        <int32[2] ends = {30, 0}> {
            y = com.microsoft.MultiHeadAttention<num_heads = 2>(x, , , b, ends) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["heads_bias", "heads_bias", "heads_bias", "attention_cores64"],
    },
    Case {
        name: "packed keys and values, a mask by rows",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (bfloat16[2,5,34] q, bfloat16[2,11,2,2,17] kv) => (bfloat16[2,5,34] y)
        <int32[2,5,11] mask = bits(110)> {
            y = com.microsoft.MultiHeadAttention<num_heads = 2, scale = 0.5>(q, kv, , , mask) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["attention64"],
    },
    Case {
        name: "ends and starts of keys behind a past",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,5,32] q, float[2,5,32] k, float[2,5,32] v, float[2,2,6,16] pk, float[2,2,6,16] pv) => (float[2,5,32] y, float[2,2,11,16] nk, float[2,2,11,16] nv)
        <float[96] b = ramp(96), int32[4] ends = {11, 8, 0, 3}> {
            y, nk, nv = com.microsoft.MultiHeadAttention<num_heads = 2, unidirectional = 1>(q, k, v, b, ends, , pk, pv) }"#,
        words: &[],
        kernels: &["heads_bias", "heads_bias", "heads_bias", "cache", "cache", "attention64"],
    },
    Case {
        name: "keys and values by heads, which have had their bias; a mask that leaves nothing",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[3,1,30] q, float[3,2,7,15] k, float[3,2,7,15] v) => (float[3,1,30] y)
        <float[90] b = ramp(90), int32[3,7] mask = {0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0}> {
            y = com.microsoft.MultiHeadAttention<num_heads = 2, mask_filter_value = -3.4028235e38>(q, k, v, b, mask) }"#,
        words: &[],
        kernels: &["heads_bias", "attention64"],
    },
    Case {
        name: "a bias of keys and values that go out",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[1,1,8] q, float[1,1,8] k, float[1,1,8] v) => (float[1,1,8] y, float[1,2,1,4] nk, float[1,2,1,4] nv)
        <float[24] b = ramp(24)> {
            y, nk, nv = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b) }"#,
        words: &[],
        kernels: &["heads_bias", "heads_bias", "heads_bias", "attention64"],
    },
];

/// GroupQueryAttention: what sequences have of a cache.
const GROUP_QUERY: &[Case] = &[
    Case {
        name: "a step of decoding in a cache that stays",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float16[2,1,96] q, float16[2,1,32] k, float16[2,1,32] v, float16[2,2,16,16] pk, float16[2,2,16,16] pv, float16[20,8] c, float16[20,8] s)
            => (float16[2,1,96] y, float16[2,2,16,16] nk, float16[2,2,16,16] nv)
        <int32[2] last = {9, 6}, int32 total = {10}> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 6, kv_num_heads = 2, do_rotary = 1>(q, k, v, pk, pv, last, total, c, s) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["heads_turn", "heads_turn", "cache", "cache", "attention64"],
    },
    Case {
        name: "beginnings of several lengths, packed, pairs side by side",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[2,7,80] x, float[2,1,0,16] pk, float[2,1,0,16] pv) => (float[2,7,48] y, float[2,1,7,16] nk, float[2,1,7,16] nv)
        <int32[2] last = {6, 3}, int32[1] total = {7}, float[9,5] c = ramp(45), float[9,5] s = ramp(45)> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 3, kv_num_heads = 1, do_rotary = 1, rotary_interleaved = 1>(x, , , pk, pv, last, total, c, s) }"#,
        words: &[],
        kernels: &["heads_turn", "heads_turn", "cache", "cache", "attention64"],
    },
    Case {
        name: "a beginning in a cache that has room",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[1,3,16] q, float[1,3,16] k, float[1,3,16] v, float[1,1,8,16] pk, float[1,1,8,16] pv) => (float[1,3,16] y, float[1,1,8,16] nk, float[1,1,8,16] nv)
        <int32[1] last = {7}, int32 total = {3}> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 1, kv_num_heads = 1>(q, k, v, pk, pv, last, total) }"#,
        words: &[],
        kernels: &["cache", "cache", "attention64"],
    },
    Case {
        name: "rows behind the past on tensor cores, a window and a cap",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float16[2,29,96] q, float16[2,29,32] k, float16[2,29,32] v, float16[2,2,40,16] pk, float16[2,2,40,16] pv)
            => (float16[2,29,96] y, float16[2,2,69,16] nk, float16[2,2,69,16] nv)
        <int32[2] last = {68, 50}, int32 total = {69}> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 6, kv_num_heads = 2, local_window_size = 11, softcap = 2.0, scale = 0.3>(q, k, v, pk, pv, last, total) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["cache", "cache", "attention_cores64"],
    },
    Case {
        name: "a bias wider than the keys, sinks, nothing causal",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (bfloat16[2,3,68] q, bfloat16[2,3,34] k, bfloat16[2,3,34] v, bfloat16[2,2,9,17] pk, bfloat16[2,2,9,17] pv, bfloat16[1,1,3,23] bias, bfloat16[4] sinks)
            => (bfloat16[2,3,68] y, bfloat16[2,2,11,17] nk, bfloat16[2,2,11,17] nv)
        <int32[2,1] last = {10, 4}, int32 total = {11}> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 4, kv_num_heads = 2, causal = 0>(q, k, v, pk, pv, last, total, , , , bias, sinks) }"#,
        words: &["--rtol", "2e-2"],
        kernels: &["cache", "cache", "attention64"],
    },
    Case {
        name: "parts of a long cache, joined with sinks",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float[1,1,260] q, float[1,1,130] k, float[1,1,130] v, float[1,1,701,130] pk, float[1,1,701,130] pv) => (float[1,1,260] y)
        <int32[1] last = {650}, int32 total = {651}, float[2] sinks = {3, -1}> {
            y = com.microsoft.GroupQueryAttention<num_heads = 2, kv_num_heads = 1>(q, k, v, pk, pv, last, total, , , , , sinks) }"#,
        words: &[],
        kernels: &["attention256", "attention_join"],
    },
    Case {
        name: "smooth weights on tensor cores, positions that are given",
        model: r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
        g (float16[1,40,32] q, float16[1,40,16] k, float16[1,40,16] v, float16[64,4] c, float16[64,4] s) => (float16[1,40,32] y, float16[1,1,40,16] nk, float16[1,1,40,16] nv)
        <int32[1] last = {39}, int32 total = {40}, int64[1,40] at = codes(40)> {
            y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 2, kv_num_heads = 1, do_rotary = 1, smooth_softmax = 1>(q, k, v, , , last, total, c, s, at) }"#,
        words: &["--rtol", "1e-2"],
        kernels: &["heads_turn", "heads_turn", "cache", "cache", "attention_cores64"],
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

#[test]
fn multi_head_attention_has_its_biases_masks_and_packings() {
    run_and_compile(MULTI_HEAD);
}

#[test]
fn group_query_attention_reads_what_each_sequence_has() {
    run_and_compile(GROUP_QUERY);
}

/// Shapes of outputs come from those of inputs: where only a number that is computed says how long a cache becomes, the host
/// has it, unless its length is declared.
#[test]
fn a_cache_grows_where_its_length_is_known() {
    let model = |length: &str| {
        format!(
            r#"<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>
            g (float[1,1,16] q, float[1,1,16] k, float[1,1,16] v, float[1,1,5,16] pk, float[1,1,5,16] pv, float[1] x)
                => (float[1,1,16] y, float[1,1,{length},16] nk, float[1,1,{length},16] nv)
            <float high = {{4}}, float low = {{4}}, int32[1] last = {{3}}> {{
                f = Clip(x, low, high)  total = Cast<to = 6>(f)
                y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = 1, kv_num_heads = 1>(q, k, v, pk, pv, last, total) }}"#
        )
    };
    for (length, offloaded) in [("5", 1), ("N", 0)] {
        let (_folder, model) = written(&model(length));
        let report = partition_report(&model, on_fake_cuda());
        let has =
            |name: &str| report.regions.iter().any(|region| region.outputs.iter().any(|out| out == name));
        assert_eq!(usize::from(has("nk")), offloaded, "{length}");
        let mut words = vec!["run".into(), model.display().to_string(), "--random".into(), "1".into()];
        words.push("--compare-layers".into());
        run(words.into_iter().chain(on_fake_cuda())).expect(0);
    }
}

/// How long a past is, and that a mask is as long as all keys, only running tells.
#[test]
fn the_length_of_a_past_need_not_be_known() {
    let text = r#"<ir_version: 10, opset_import: ["": 17]>
        g (float[B,2,S,16] q, float[B,2,S,16] k, float[B,2,S,16] v, float[B,2,P,16] pk, float[B,2,P,16] pv, float[B,1,S,T] mask)
            => (float[B,2,S,16] y)
        <float d = {4}> {
            nk = Concat<axis = 2>(pk, k)  nv = Concat<axis = 2>(pv, v)
            kt = Transpose<perm = [0,1,3,2]>(nk)  s = MatMul(q, kt)  t = Div(s, d)  m = Add(t, mask)
            p = Softmax<axis = -1>(m)  y = MatMul(p, nv) }"#;
    let (folder, model) = written(text);
    let (sources, bundle) = (folder.path().join("sources"), folder.path().join("m.byoc"));
    let words = ["compile".into(), model.display().to_string(), "-o".into(), bundle.display().to_string()];
    let more = ["--plugin-option".into(), format!("cuda.sources={}", sources.display())];
    run(words.into_iter().chain(on_fake_cuda()).chain(more)).expect(0);
    let files = std::fs::read_dir(&sources).expect("sources");
    let mut names: Vec<String> =
        files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with("attention"));
    assert!(names.is_empty(), "{names:?}");
}

/// Forms that no kernel is there for, and what is said of them.
const REFUSED: &[(&str, &str)] = &[
    (
        "g (float[2,3,8] q, float[2,3,8] k, float[2,3,8] v, int32[8] mask) => (float[2,3,8] y) {
            y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, , mask) }",
        "a mask of shape [8] for 3 keys",
    ),
    (
        "g (float[2,3,8] q, float[2,3,8] k, float[2,3,8] v, int32[2,3] mask) => (float[2,3,8] y) {
            y = com.microsoft.MultiHeadAttention<num_heads = 2, unidirectional = 1, mask_filter_value = -3.4e38>(q, k, v, , mask) }",
        "as low a mask_filter_value",
    ),
    (
        "g (float[2,3,2,2,4] q) => (float[2,3,8] y) { y = com.microsoft.MultiHeadAttention<num_heads = 2>(q) }",
        "nor 3 packed parts",
    ),
    (
        "g (float[1,3,8] q, float[1,3,8] k, float[1,3,8] v, int32[1] last, int32[1] total) => (float[1,3,8] y) {
            y = com.microsoft.GroupQueryAttention<num_heads = 2, kv_num_heads = 2, local_window_size = 2, causal = 0>(q, k, v, , , last, total) }",
        "a window and nothing causal",
    ),
    (
        "g (float[1,3,8] q, float[1,3,8] k, float[1,3,8] v, int32[1] last, int32[1] total, float[4] norm) => (float[1,3,8] y) {
            y = com.microsoft.GroupQueryAttention<num_heads = 2, kv_num_heads = 2>(q, k, v, , , last, total, , , , , , , , norm) }",
        "with its input `q_norm_weight`",
    ),
    (
        "g (float[1,3,8] q, float[1,3,8] k, float[1,3,8] v, int32[1] last, int32[1] total) => (float[1,3,8] y) {
            y = com.microsoft.GroupQueryAttention<num_heads = 9223372036854775807, kv_num_heads = 2>(q, k, v, , , last, total) }",
        "without its numbers of heads",
    ),
];

#[test]
fn what_is_left_to_the_host_is_told() {
    for (graph, said) in REFUSED {
        let text = format!("<ir_version: 10, opset_import: [\"\": 21, \"com.microsoft\": 1]>\n{graph}");
        let (_folder, model) = written(&text);
        let words = ["partition".to_owned(), model.display().to_string(), "--json".into()];
        let done = run(words.into_iter().chain(on_fake_cuda())).expect(0);
        assert!(done.stdout.contains(said), "{graph}\n{}", done.stdout);
    }
}
