//! Products whose weights are kept in fewer bits.

use byoc_cpu::fast::gemm::Precision;

use super::*;

/// A product by a large constant, one by what is no constant, one by a small constant, and a Gemm.
fn network() -> Model {
    let text = format!(
        "(float[n, 128] x, float[128, 6] v) => (float[n, 6] y, float[n, 130] z, float[n, 130] u)
         <float[128, 130] w = {{{large}}}, float[130, 128] t = {{{large}}}, float[128, 3] s = {{{small}}},
          float[130] b = {{{bias}}}> {{
            z = MatMul(x, w)
            y1 = MatMul(x, v)
            y2 = MatMul(x, s)
            y3 = Concat<axis = 1>(y2, y2)
            y = Add(y1, y3)
            u = Gemm<transB = 1>(x, t, b)
         }}",
        large = numbers(128 * 130, -50, 51),
        small = numbers(128 * 3, -3, 4),
        bias = numbers(130, -5, 6),
    );
    model(&text)
}

fn marks(model: &Model) -> Vec<(String, Option<String>)> {
    let mark = |&id: &byoc_graph::NodeId| {
        let node = model.graph.node(id);
        let weights = node.attrs.get("weights").and_then(|attr| attr.as_str());
        (format!("{}.{}", node.op.domain, node.op.name), weights.map(str::to_owned))
    };
    model.graph.model_order().iter().map(mark).collect()
}

fn reduced(model: &Model, precision: Precision) -> Model {
    let mut model = model.clone();
    prepare::reduce(&mut model, precision);
    model.graph.check();
    model
}

#[test]
fn only_large_constants_are_kept_in_fewer_bits() {
    let plain = network();
    let of = |op: &str, weights: Option<&str>| (op.to_owned(), weights.map(str::to_owned));
    let expected = [
        of("host.MatMul", Some("int8")),
        of(".MatMul", None),
        of(".MatMul", None),
        of(".Concat", None),
        of(".Add", None),
        of("host.Gemm", Some("int8")),
    ];
    assert_eq!(marks(&reduced(&plain, Precision::Int8)), expected);
    assert_eq!(marks(&reduced(&plain, Precision::F32)), marks(&plain));
}

#[test]
fn results_are_as_close_as_the_precision_is() {
    let plain = network();
    for rows in [1, 3, 40] {
        let wave = |count: usize| (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
        let inputs = [f32s(&[rows, 128], &wave(rows * 128)), f32s(&[128, 6], &wave(128 * 6))];
        let want = run(&plain, &Registry::default(), &inputs);
        for (precision, coarse) in
            [(Precision::Bf16, 1.0 / 256.0), (Precision::Int8, 1.0 / 128.0), (Precision::Int4, 1.0 / 8.0)]
        {
            let got = run(&reduced(&plain, precision), &Registry::default(), &inputs);
            assert_eq!(got[0], want[0], "what is not kept in fewer bits has the bits it had");
            for (got, want) in got[1..].iter().zip(&want[1..]) {
                let (got, want) = (f64s(got), f64s(want));
                let off = got.iter().zip(&want).fold(0f64, |off, (a, b)| off.max((a - b).abs()));
                // Weights are 50 at most; errors of 128 terms of which each is up to 1 add up.
                assert!(off > 0.0 && off <= 128.0 * 50.0 * coarse, "{precision:?}: off by {off}");
                let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
                assert!(off <= largest * coarse * 2.0, "{precision:?}: {off} of {largest}");
            }
        }
    }
}

#[test]
fn projections_of_one_matrix_are_kept_in_fewer_bits_too() {
    let text = format!(
        "(float[2, 5, 128] x) => (float[2, 5, 384] y)
         <float[128, 128] q = {{{0}}}, float[128, 128] k = {{{0}}}, float[128, 128] v = {{{0}}}> {{
            y = host.Projections<count = 3>(x, q, k, v)
         }}",
        numbers(128 * 128, -50, 51)
    );
    let text = format!("<ir_version: 8, opset_import: [\"\": 17, \"host\": 1]> g {text}");
    let plain = common::model(&text);
    let reduced = reduced(&plain, Precision::Bf16);
    assert_eq!(marks(&reduced), [("host.Projections".to_owned(), Some("bf16".to_owned()))]);
    let x = (0..2 * 5 * 128).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
    let inputs = [f32s(&[2, 5, 128], &x)];
    let (got, want) =
        (run(&reduced, &Registry::default(), &inputs), run(&plain, &Registry::default(), &inputs));
    let (got, want) = (f64s(&got[0]), f64s(&want[0]));
    let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= largest / 100.0));
    assert_ne!(got, want);
}
