//! Counts of arithmetic and traffic on models small enough to count by hand.

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{cost, onnx};

/// The cost of the last node of a graph in ONNX's textual syntax.
fn cost_of(graph: &str) -> cost::Cost {
    let text =
        format!("<ir_version: 10, opset_import: [\"\" : 21, \"com.microsoft\" : 1, \"host\" : 1]>\n{graph}");
    let mut model = onnx::from_text(&text, None).expect("a model");
    infer(&mut model, &InferOptions::default()).expect("types");
    let last = *model.graph.model_order().last().expect("a node");
    cost::of(&model.graph, last)
}

#[track_caller]
fn check(graph: &str, macs: u64, flops: u64, bytes: u64) {
    let cost = cost_of(graph);
    assert_eq!((cost.macs, cost.flops, cost.bytes), (Some(macs), Some(flops), Some(bytes)));
}

#[test]
fn convolutions() {
    // Every output element sees 3 channels of a 3x3 window.
    let g = "g (float[1,3,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { y = Conv(x, w) }";
    check(g, 144 * 27, 2 * 144 * 27, 4 * (192 + 108 + 144));
    let depthwise = "g (float[1,8,4,4] x, float[8,1,1,1] w) => (y) { y = Conv<group = 8>(x, w) }";
    check(depthwise, 128, 256, 4 * (128 + 8 + 128));
    // Every input element is spread over 2 channels of a 2x2 window.
    let grown = "g (float[1,3,4,4] x, float[3,2,2,2] w) => (y) { y = ConvTranspose<strides = [2, 2]>(x, w) }";
    check(grown, 48 * 8, 2 * 48 * 8, 4 * (48 + 24 + 128));
    let quantized = "g (uint8[1,1,2,2] x, float s, uint8 z, int8[1,1,1,1] w, float ws, int8 wz) => (y) {
        y = QLinearConv(x, s, z, w, ws, wz, s, z) }";
    assert_eq!(cost_of(quantized).macs, Some(4));
}

#[test]
fn matrix_products() {
    check("g (float[2,3,4] a, float[4,5] b) => (y) { y = MatMul(a, b) }", 120, 240, 4 * (24 + 20 + 30));
    check(
        "g (float[4,3] a, float[4,5] b) => (y) { y = Gemm<transA = 1>(a, b) }",
        60,
        120,
        4 * (12 + 20 + 15),
    );
    let einsum = "g (float[2,3] a, float[3,4] b) => (y) { y = Einsum<equation = \"ij,jk->ik\">(a, b) }";
    check(einsum, 24, 48, 4 * (6 + 12 + 8));
}

#[test]
fn attention_counts_scores_and_values() {
    // Queries of length 5 meet keys of length 6 at head size 4, then values of the same size.
    let text = "<ir_version: 10, opset_import: [\"\" : 23]>
        g (float[1,2,5,4] q, float[1,2,6,4] k, float[1,2,6,4] v) => (y) { y = Attention(q, k, v) }";
    let mut model = onnx::from_text(text, None).expect("a model");
    infer(&mut model, &InferOptions::default()).expect("types");
    let node = model.graph.model_order()[0];
    assert_eq!(cost::of(&model.graph, node).macs, Some(2 * (2 * 5 * 6 * 4)));
}

#[test]
fn operators_of_the_host_cost_what_they_were_made_of() {
    // 20 channels fill two blocks of 16, of which the last 12 channels cost nothing.
    let conv =
        "g (float[1,2,8,8,16] x, float[20,32,3,3] w) => (float[1,2,6,6,16] y) { y = host.BlockedConv(x, w) }";
    check(conv, 36 * 20 * 32 * 9, 2 * 36 * 20 * 32 * 9, 4 * (2048 + 5760 + 1152));
    let grown = "g (float[1,1,4,4,16] x, float[16,8,2,2] w) => (float[1,1,8,8,16] y) {
        y = host.BlockedConvTranspose(x, w) }";
    assert_eq!(cost_of(grown).macs, Some(16 * 16 * 8 * 4));
    // Queries of length 5 meet keys of length 6: 3 heads of size 4, whose keys' length comes second.
    let attention = "g (float[1,5,3,4] q, float[1,6,3,4] k, float[1,6,3,4] v) => (float[1,5,3,4] y) {
        y = host.Attention<orders = [1, 1, 1, 1], parts = [-1, -1, -1]>(q, k, v) }";
    assert_eq!(cost_of(attention).macs, Some(2 * 3 * 5 * 6 * 4));
    let heads_first = "g (float[1,3,5,4] q, float[1,3,6,4] k, float[1,3,6,4] v) => (float[1,3,5,4] y) {
        y = host.Attention<orders = [0, 0, 0, 0], parts = [-1, -1, -1]>(q, k, v) }";
    assert_eq!(cost_of(heads_first).macs, Some(2 * 3 * 5 * 6 * 4));
    let product = "g (float[2,3] a, float[3,4] b, float[4] c) => (float[2,4] y) { y = host.MatMul(a, b, c) }";
    check(product, 24, 48, 4 * (6 + 12 + 4 + 8));
    let pool = "g (float[1,1,4,4,16] x) => (float[1,1,2,2,16] y) { y = host.BlockedMaxPool<kernel_shape = [2, 2]>(x) }";
    check(pool, 0, 64 * 4, 4 * (256 + 64));
    let turn = "g (float[1,16,4,4] x) => (float[1,1,4,4,16] y) { y = host.ToBlocked(x) }";
    check(turn, 0, 0, 4 * (256 + 256));
}

#[test]
fn recurrent_networks_count_every_step() {
    let g =
        "g (float[7,2,3] x, float[1,16,3] w, float[1,16,4] r) => (y) { y = LSTM<hidden_size = 4>(x, w, r) }";
    assert_eq!(cost_of(g).macs, Some(7 * 2 * 16 * (3 + 4)));
}

#[test]
fn light_operators() {
    check("g (float[2,3] a, float[3] b) => (y) { y = Add(a, b) }", 0, 6, 4 * (6 + 3 + 6));
    let pool = "g (float[1,1,4,4] x) => (y) { y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }";
    check(pool, 0, 16, 4 * (16 + 4));
    check("g (float[4,6] x) => (y) { y = ReduceSum(x) }", 0, 24, 4 * (24 + 1));
    check("g (float[4,6] x) => (y) { y = Transpose(x) }", 0, 0, 4 * (24 + 24));
    check("g (float[4,6] x) => (y) { y = Flatten(x) }", 0, 0, 0);
    check("g (float[100,6] x, int64[2] i) => (y) { y = Gather(x, i) }", 0, 0, 2 * 48 + 16);
}

#[test]
fn what_is_not_known_is_not_free() {
    let symbolic = cost_of("g (float[n,3] a, float[3,4] b) => (y) { y = MatMul(a, b) }");
    assert_eq!(symbolic, cost::Cost { flops: None, macs: None, bytes: None });
    let custom = cost_of("g (float[2] a) => (y) { y = com.acme.Thing(a) }");
    assert_eq!((custom.flops, custom.bytes), (None, None));
    let branch = cost_of(
        "g (bool c, float[2] a) => (y) { y = If<then_branch = t () => (float[2] u) { u = Relu(a) },
         else_branch = e () => (float[2] v) { v = Neg(a) }>(c) }",
    );
    assert_eq!((branch.flops, branch.bytes), (None, None));
    // More operations than a count can hold.
    let huge =
        cost_of("g (float[4294967296,4294967296] a, float[4294967296,1] b) => (y) { y = MatMul(a, b) }");
    assert_eq!(huge.macs, None);
}
