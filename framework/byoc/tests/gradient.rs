//! Gradient nodes against central differences, in double precision, on the host.

use byoc::{Datum, Session, Tensor};
use byoc_graph::onnx;

/// Statements that make `y` of `a`, `b` and `c`, and the shapes of those that they have.
const CASES: &[(&str, &[&[usize]])] = &[
    ("y = Add(a, b)", &[&[2, 3], &[2, 3]]),
    ("y = Add(a, b)", &[&[2, 3], &[3]]),
    ("y = Add(a, b)", &[&[], &[]]),
    ("y = Sub(a, b)", &[&[2, 1], &[1, 3]]),
    ("y = Mul(a, b)", &[&[2, 3], &[4, 1, 3]]),
    ("y = Div(a, b)", &[&[2, 3], &[]]),
    ("y = Pow(a, b)", &[&[2, 3], &[3]]),
    ("y = Max(a, b)", &[&[2, 3], &[3]]),
    ("y = Min(a, b)", &[&[5], &[5]]),
    ("y = Sum(a, b, c)", &[&[2, 3], &[3], &[1, 1]]),
    ("y = Mean(a, b, c)", &[&[2, 3], &[2, 3], &[1, 1]]),
    ("t = Greater(a, b) y = Where(t, a, b)", &[&[2, 3], &[3]]),
    ("y = MatMul(a, b)", &[&[2, 3], &[3, 4]]),
    ("y = MatMul(a, b)", &[&[5, 2, 3], &[3, 1]]),
    ("y = Gemm<alpha = 0.5, beta = 2.0>(a, b, c)", &[&[2, 3], &[3, 4], &[4]]),
    ("y = Gemm<transA = 1>(a, b)", &[&[3, 2], &[3, 4]]),
    ("y = Gemm<transB = 1, alpha = 1.5>(a, b, c)", &[&[2, 3], &[4, 3], &[2, 1]]),
    ("y = Gemm<transA = 1, transB = 1>(a, b)", &[&[3, 2], &[4, 3]]),
    ("y = Neg(a)", &[&[3]]),
    ("y = Abs(a)", &[&[3]]),
    ("y = Exp(a)", &[&[3]]),
    ("y = Log(a)", &[&[3]]),
    ("y = Sqrt(a)", &[&[3]]),
    ("y = Reciprocal(a)", &[&[3]]),
    ("y = Sin(a)", &[&[3]]),
    ("y = Cos(a)", &[&[3]]),
    ("y = Tan(a)", &[&[3]]),
    ("y = Sinh(a)", &[&[3]]),
    ("y = Cosh(a)", &[&[3]]),
    ("y = Tanh(a)", &[&[3]]),
    ("y = Asin(a)", &[&[3]]),
    ("y = Acos(a)", &[&[3]]),
    ("y = Atan(a)", &[&[3]]),
    ("y = Asinh(a)", &[&[3]]),
    ("one = Constant<value = double {1.0}>() t = Add(a, one) y = Acosh(t)", &[&[3]]),
    ("y = Atanh(a)", &[&[3]]),
    ("y = Erf(a)", &[&[3]]),
    ("y = Sigmoid(a)", &[&[3]]),
    ("y = Softplus(a)", &[&[3]]),
    ("y = Softsign(a)", &[&[3]]),
    ("d = Sub(a, b) y = Relu(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = LeakyRelu<alpha = 0.3>(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = Elu(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = HardSigmoid<alpha = 0.4>(d)", &[&[2, 3], &[3]]),
    ("t = Transpose<perm = [1, 2, 0]>(a) y = Mul(t, b)", &[&[2, 3, 4], &[3, 4, 2]]),
    ("t = Transpose(a) y = Mul(t, b)", &[&[2, 3], &[3, 2]]),
    ("s = Constant<value = int64[2] {3, 2}>() t = Reshape(a, s) y = Mul(t, b)", &[&[6], &[3, 2]]),
    ("t = Flatten(a) y = Mul(t, b)", &[&[2, 3, 2], &[2, 6]]),
    ("s = Constant<value = int64[1] {1}>() t = Squeeze(a, s) y = Mul(t, b)", &[&[2, 1, 3], &[2, 3]]),
    ("s = Constant<value = int64[1] {0}>() t = Unsqueeze(a, s) y = Mul(t, b)", &[&[3], &[2, 3]]),
    ("s = Constant<value = int64[2] {4, 3}>() t = Expand(a, s) y = Mul(t, b)", &[&[3], &[4, 3]]),
    ("t = ReduceSum(a) y = Mul(t, b)", &[&[2, 3], &[2]]),
    (
        "s = Constant<value = int64[1] {1}>() t = ReduceSum<keepdims = 0>(a, s) y = Mul(t, b)",
        &[&[2, 3], &[2]],
    ),
    ("t = ReduceMean<axes = [0], keepdims = 0>(a) y = Mul(t, b)", &[&[2, 3], &[3]]),
    ("t = ReduceMean(a) y = Mul(t, a)", &[&[2, 3]]),
    ("t = Softmax(a) y = Mul(t, b)", &[&[2, 3], &[2, 3]]),
    ("t = LogSoftmax<axis = 0>(a) y = Mul(t, b)", &[&[2, 3], &[2, 3]]),
    ("y = Clip(a, b, c)", &[&[2, 3], &[], &[]]),
    ("y = Clip(a, b)", &[&[2, 3], &[]]),
    ("t = Clip(a, , b) y = Mul(t, t)", &[&[2, 3], &[]]),
    ("d = Sub(a, b) y = PRelu(d, c)", &[&[2, 3], &[3], &[3]]),
    ("y = Max(a, b, c)", &[&[2, 3], &[3], &[2, 1]]),
    ("y = Min(a, b, c)", &[&[2, 3], &[3], &[2, 1]]),
    ("d = Sub(a, b) y = Celu<alpha = 0.7>(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = Selu(d)", &[&[2, 3], &[3]]),
    ("y = ThresholdedRelu<alpha = 0.5>(a)", &[&[2, 3]]),
    ("d = Sub(a, b) y = HardSwish(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = Mish(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = Gelu(d)", &[&[2, 3], &[3]]),
    ("d = Sub(a, b) y = Gelu<approximate = \"tanh\">(d)", &[&[2, 3], &[3]]),
    ("t = MatMul(a, b) y = Mul(t, t)", &[&[3], &[3]]),
    ("t = MatMul(a, b) y = Mul(t, t)", &[&[3], &[2, 3, 4]]),
    ("t = MatMul(a, b) y = Mul(t, t)", &[&[2, 4, 3], &[3]]),
    ("t = Einsum<equation = \"bij,bkj->bik\">(a, b) y = Mul(t, t)", &[&[2, 3, 4], &[2, 5, 4]]),
    ("t = Einsum<equation = \"...ij->...ji\">(a) y = Mul(t, b)", &[&[2, 3, 4], &[2, 4, 3]]),
    ("i = Constant<value = int64[2, 2] {0, -1, 2, 0}>() t = Gather(a, i) y = Mul(t, b)", &[&[3, 2], &[2, 2, 2]]),
    ("i = Constant<value = int64[2] {1, 1}>() t = Gather<axis = -1>(a, i) y = Mul(t, b)", &[&[2, 3], &[2, 2]]),
    (
        "i = Constant<value = int64[2, 2] {0, -1, 1, 1}>() t = GatherElements<axis = 1>(a, i) y = Mul(t, b)",
        &[&[2, 3], &[2, 2]],
    ),
    (
        "i = Constant<value = int64[2, 1] {0, -1}>() t = GatherND<batch_dims = 1>(a, i) y = Mul(t, b)",
        &[&[2, 3, 2], &[2, 2]],
    ),
    (
        "s = Constant<value = int64[2] {3, 0}>() e = Constant<value = int64[2] {-9, 2}>()
         x = Constant<value = int64[2] {1, 0}>() p = Constant<value = int64[2] {-2, 1}>()
         t = Slice(a, s, e, x, p) y = Mul(t, b)",
        &[&[3, 4], &[2, 2]],
    ),
    (
        "s = Constant<value = int64[1] {1}>() e = Constant<value = int64[1] {3}>() t = Slice(a, s, e) y = Mul(t, b)",
        &[&[3, 2], &[2, 2]],
    ),
    ("t = Concat<axis = 1>(a, b, c) y = Mul(t, t)", &[&[2, 1], &[2, 3], &[2, 2]]),
    ("t = Concat<axis = -1>(a, b, a) u = Exp(t) y = Mul(t, u)", &[&[2, 1], &[2, 3]]),
    (
        "s = Constant<value = int64[3] {1, 2, 1}>() t, u, v = Split<axis = 1>(a, s) w = Mul(t, u) y = Mul(w, b)",
        &[&[2, 4], &[2, 2]],
    ),
    (
        "p = Constant<value = int64[4] {1, 0, -1, 2}>() n = Constant<value = double {0.5}>() t = Pad(a, p, n) y = Mul(t, b)",
        &[&[3, 2], &[3, 4]],
    ),
    ("p = Constant<value = int64[4] {1, 0, 0, 2}>() t = Pad(a, p, c) y = Mul(t, b)", &[&[3, 2], &[4, 4], &[]]),
    (
        "p = Constant<value = int64[2] {2, 1}>() t = Pad<mode = \"reflect\">(a, p) y = Mul(t, b)",
        &[&[4], &[7]],
    ),
    ("p = Constant<value = int64[2] {2, 1}>() t = Pad<mode = \"edge\">(a, p) y = Mul(t, b)", &[&[4], &[7]]),
    (
        "p = Constant<value = int64[2] {2, -1}>() x = Constant<value = int64[1] {1}>() t = Pad(a, p, , x) u = CumSum(t, x)
         y = Mul(u, b)",
        &[&[2, 4], &[2, 5]],
    ),
    (
        "s = Constant<value = float[4] {1.0, 1.0, 2.0, 1.7}>() t = Resize<mode = \"linear\">(a, , s) y = Mul(t, b)",
        &[&[1, 2, 2, 4], &[1, 2, 4, 6]],
    ),
    (
        "r = Constant<value = float[0] {}>() s = Constant<value = float[3] {1.0, 1.0, 2.0}>() t = Resize(a, r, s) y = Mul(t, b)",
        &[&[2, 1, 3], &[2, 1, 6]],
    ),
    (
        "s = Constant<value = int64[3] {2, 5, 4}>()
         t = Resize<mode = \"cubic\", coordinate_transformation_mode = \"align_corners\">(a, , , s) y = Mul(t, b)",
        &[&[2, 3, 2], &[2, 5, 4]],
    ),
    (
        "s = Constant<value = int64[2] {3, 2}>()
         t = Resize<mode = \"linear\", antialias = 1, axes = [2, 1], exclude_outside = 1>(a, , , s) y = Mul(t, b)",
        &[&[2, 5, 7], &[2, 2, 3]],
    ),
    ("s = Constant<value = float[3] {1.0, 2.0, 1.5}>() t = Upsample<mode = \"linear\">(a, s) y = Mul(t, b)", &[&[1, 2, 3], &[1, 4, 4]]),
    ("s = Constant<value = float[2] {2.0, 1.0}>() t = Upsample(a, s) y = Mul(t, b)", &[&[2, 3], &[4, 3]]),
    ("r = Constant<value = int64[2] {2, 3}>() t = Tile(a, r) y = Mul(t, b)", &[&[2, 1], &[4, 3]]),
    ("t = DepthToSpace<blocksize = 2, mode = \"CRD\">(a) y = Mul(t, b)", &[&[1, 4, 1, 2], &[1, 1, 2, 4]]),
    ("t = SpaceToDepth<blocksize = 2>(a) y = Mul(t, b)", &[&[1, 1, 2, 4], &[1, 4, 1, 2]]),
    ("k = Constant<value = int64[1] {2}>() t, i = TopK<axis = 0>(a, k) y = Mul(t, b)", &[&[4, 2], &[2, 2]]),
    (
        "i = Constant<value = int64[2, 1] {0, 2}>() t = ScatterElements<axis = 1>(a, i, b) y = Mul(t, t)",
        &[&[2, 3], &[2, 1]],
    ),
    (
        "i = Constant<value = int64[2, 1] {1, 1}>() t = ScatterND<reduction = \"add\">(a, i, b) y = Mul(t, t)",
        &[&[3, 2], &[2, 2]],
    ),
    ("t = Trilu<upper = 0>(a) y = Mul(t, b)", &[&[3, 3], &[3, 3]]),
    ("x = Constant<value = int64 {1}>() t = CumSum<exclusive = 1>(a, x) y = Mul(t, b)", &[&[2, 3], &[2, 3]]),
    ("t = Dropout(a) y = Mul(t, b)", &[&[2, 3], &[2, 3]]),
    ("t = ReduceMax<axes = [1]>(a) y = Mul(t, b)", &[&[2, 3], &[2, 1]]),
    ("t = ReduceMin(a) y = Mul(t, b)", &[&[2, 3], &[2]]),
    ("t = ReduceL1<axes = [1], keepdims = 0>(a) y = Mul(t, b)", &[&[2, 3], &[2]]),
    ("t = ReduceL2<axes = [0], keepdims = 0>(a) y = Mul(t, b)", &[&[2, 3], &[3]]),
    ("t = ReduceLogSum<axes = [0]>(a) y = Mul(t, b)", &[&[2, 3], &[3]]),
    ("t = ReduceLogSumExp<axes = [0], keepdims = 0>(a) y = Mul(t, b)", &[&[2, 3], &[3]]),
    ("t = ReduceSumSquare(a) y = Mul(t, b)", &[&[2, 3], &[2]]),
    ("t = Conv(a, b) y = Mul(t, t)", &[&[2, 3, 5], &[2, 3, 2]]),
    (
        "t = Conv<pads = [1, 0, 2, 1], strides = [2, 1], dilations = [1, 2], group = 2>(a, b, c) y = Mul(t, t)",
        &[&[2, 4, 5, 6], &[2, 2, 2, 3], &[2]],
    ),
    ("t = Conv<auto_pad = \"SAME_UPPER\", strides = [2, 2]>(a, b, c) y = Mul(t, t)", &[&[1, 1, 4, 5], &[2, 1, 3, 2], &[2]]),
    ("t = Conv<auto_pad = \"SAME_LOWER\">(a, b) y = Mul(t, t)", &[&[1, 1, 4, 5], &[2, 1, 2, 3]]),
    ("t = Conv<auto_pad = \"VALID\", strides = [2]>(a, b) y = Mul(t, t)", &[&[1, 1, 6], &[1, 1, 3]]),
    ("t = ConvTranspose(a, b) y = Mul(t, t)", &[&[2, 3, 4], &[3, 2, 2]]),
    (
        "t = ConvTranspose<strides = [2, 1], pads = [1, 0, 0, 1], dilations = [1, 2], output_padding = [1, 0], group = 2>(a, b, c)
         y = Mul(t, t)",
        &[&[1, 4, 3, 4], &[4, 1, 3, 2], &[2]],
    ),
    ("t = ConvTranspose<strides = [2], output_shape = [7]>(a, b) y = Mul(t, t)", &[&[1, 1, 4], &[1, 2, 2]]),
    ("t = ConvTranspose<strides = [2], auto_pad = \"SAME_UPPER\">(a, b) y = Mul(t, t)", &[&[1, 1, 4], &[1, 2, 3]]),
    ("t = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 0, 1]>(a) y = Mul(t, t)", &[&[1, 2, 3, 4]]),
    ("t = MaxPool<kernel_shape = [2], strides = [2], auto_pad = \"SAME_UPPER\">(a) y = Mul(t, t)", &[&[1, 2, 5]]),
    ("t = AveragePool<kernel_shape = [2, 3], pads = [1, 0, 0, 1], strides = [1, 2]>(a) y = Mul(t, t)", &[&[2, 2, 3, 5]]),
    (
        "t = AveragePool<kernel_shape = [3], pads = [1, 1], strides = [2], count_include_pad = 1, ceil_mode = 1>(a)
         y = Mul(t, t)",
        &[&[1, 2, 6]],
    ),
    ("t = AveragePool<kernel_shape = [3], auto_pad = \"SAME_LOWER\", strides = [2]>(a) y = Mul(t, t)", &[&[1, 2, 6]]),
    ("t = GlobalAveragePool(a) y = Mul(t, t)", &[&[2, 2, 3, 2]]),
    ("t = GlobalMaxPool(a) y = Mul(t, t)", &[&[2, 2, 3]]),
    (
        "m = Constant<value = double[2] {0.1, 0.2}>() v = Constant<value = double[2] {0.5, 2.0}>()
         t = BatchNormalization<epsilon = 0.1>(a, b, c, m, v) y = Mul(t, t)",
        &[&[2, 2, 3], &[2], &[2]],
    ),
    ("t = InstanceNormalization<epsilon = 0.1>(a, b, c) y = Mul(t, t)", &[&[2, 2, 3], &[2], &[2]]),
    ("t = LayerNormalization<epsilon = 0.1>(a, b, c) y = Mul(t, t)", &[&[2, 2, 3], &[3], &[3]]),
    ("t = LayerNormalization<epsilon = 0.1, axis = 1>(a, b) y = Mul(t, t)", &[&[2, 2, 3], &[2, 3]]),
    ("t = GroupNormalization<epsilon = 0.1, num_groups = 2>(a, b, c) y = Mul(t, t)", &[&[2, 4, 3], &[4], &[4]]),
    ("t = RMSNormalization<epsilon = 0.1>(a, b) y = Mul(t, t)", &[&[2, 2, 3], &[3]]),
    ("t = MeanVarianceNormalization<axes = [0, 2]>(a) u = Mul(t, t) y = Mul(u, t)", &[&[2, 2, 3]]),
    (
        "t = Constant<value = int64[3] {1, 0, 3}>() y = NegativeLogLikelihoodLoss(a, t, b)",
        &[&[3, 4], &[4]],
    ),
    (
        "t = Constant<value = int64[3] {1, 0, 3}>()
         y = SoftmaxCrossEntropyLoss<ignore_index = 0, reduction = \"sum\">(a, t)",
        &[&[3, 4]],
    ),
    (
        "t = Constant<value = int32[2, 2] {1, 0, 2, 2}>()
         y, p = SoftmaxCrossEntropyLoss<reduction = \"none\">(a, t, b)",
        &[&[2, 3, 2], &[3]],
    ),
    ("t = Identity(a) u = Mul(t, a) v = Exp(u) w = Add(u, v) y = Mul(w, b)", &[&[2], &[2]]),
    ("t = Cast<to = 1>(a) u = Cast<to = 11>(t) f = Floor(b) y = Mul(u, f)", &[&[2], &[2]]),
    ("t = Exp(a) s = Shape(t) u = Expand(b, s) y = Mul(t, u)", &[&[2, 3], &[3]]),
    ("y = Identity(a)", &[&[2], &[2]]),
];

const NAMES: [&str; 3] = ["a", "b", "c"];

fn session(text: &str) -> Session {
    // Some are younger than the axes attributes of reductions, one is gone by then.
    let has = |ops: &[&str]| ops.iter().any(|op| text.contains(op));
    let opset = match () {
        () if has(&[
            "Gelu",
            "GroupNormalization",
            "RMSNormalization",
            "Mish",
            "antialias",
            "Pad(a, p, , x)",
        ]) =>
        {
            23
        }
        () if has(&["Upsample"]) => 9,
        () => 17,
    };
    let text =
        format!("<ir_version: 8, opset_import: [\"\": {opset}, \"ai.onnx.preview.training\": 1]>\n{text}");
    let model = onnx::from_text(&text, None).unwrap_or_else(|e| panic!("{e}\n{text}"));
    Session::builder("").model(model).threads(1).build().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn run(session: &Session, inputs: &[Vec<f64>], shapes: &[&[usize]]) -> Vec<Vec<f64>> {
    let tensor = |i: usize| Tensor::from_vec(shapes[i], inputs[i].clone()).unwrap().into();
    let inputs: Vec<(String, Datum)> = (0..shapes.len()).map(|i| (NAMES[i].to_owned(), tensor(i))).collect();
    let outputs = session.run(&inputs).unwrap();
    let numbers = |datum: Datum| {
        let Datum::Tensor(tensor) = datum else { panic!("a tensor") };
        tensor.to_f64s().unwrap()
    };
    outputs.into_iter().map(|(_, datum)| numbers(datum)).collect()
}

fn values(shape: &[usize], seed: usize) -> Vec<f64> {
    let count = shape.iter().product();
    (0..count).map(|i| 0.15 + ((i * 29 + seed * 17) % 61) as f64 / 80.0).collect()
}

/// The change of the sum of `y` with each element of input `k`.
fn differences(session: &Session, inputs: &[Vec<f64>], shapes: &[&[usize]], k: usize) -> Vec<f64> {
    let step = 1e-4;
    let sum = |i: usize, by: f64| {
        let mut moved = inputs.to_vec();
        moved[k][i] += by;
        run(session, &moved, shapes)[0].iter().sum::<f64>()
    };
    (0..inputs[k].len()).map(|i| (sum(i, step) - sum(i, -step)) / (2.0 * step)).collect()
}

#[test]
fn gradients_are_those_of_central_differences() {
    for &(statements, shapes) in CASES {
        let (names, list) = (&NAMES[..shapes.len()], NAMES[..shapes.len()].join(", "));
        let typed: Vec<String> = names.iter().zip(shapes).map(|(n, s)| format!("double{s:?} {n}")).collect();
        let made: Vec<String> = names.iter().map(|n| format!("d{n}")).collect();
        let quoted: Vec<String> = names.iter().map(|n| format!("\"{n}\"")).collect();
        let typed = typed.join(", ").replace("[]", "");
        let results =
            made.iter().map(|d| format!(", double {d}")).collect::<String>().replace("double d", "d");
        let text = format!(
            "g ({typed}) => (y{results}) {{ {statements} {} =
             ai.onnx.preview.training.Gradient<xs = [{}], y = \"y\">({list}) }}",
            made.join(", "),
            quoted.join(", "),
        );
        let session = session(&text);
        let inputs: Vec<Vec<f64>> = shapes.iter().enumerate().map(|(i, s)| values(s, i)).collect();
        let got = run(&session, &inputs, shapes);
        // A cast to single precision shows no small steps.
        let allowed = if statements.contains("to = 1>") { 1e-2 } else { 1e-5 };
        for k in 0..shapes.len() {
            let want = differences(&session, &inputs, shapes, k);
            assert_eq!(got[k + 1].len(), want.len(), "{statements}: d{}", NAMES[k]);
            for (got, want) in got[k + 1].iter().zip(&want) {
                let near = (got - want).abs() <= allowed * want.abs().max(1.0);
                assert!(near, "{statements}: d{} is {got}, not {want}", NAMES[k]);
            }
        }
    }
}

#[test]
fn other_values_than_the_graphs_own_are_computed_anew() {
    let session = session(
        "g (double[2] a, double[2] b) => (y, dx, dz) {
            y = Mul(a, a)
            dx, dz = ai.onnx.preview.training.Gradient<xs = [\"a\", \"b\"], y = \"y\">(b, b)
        }",
    );
    let got = run(&session, &[vec![1.0, 2.0], vec![5.0, 7.0]], &[&[2], &[2]]);
    assert_eq!(got, [vec![1.0, 4.0], vec![10.0, 14.0], vec![0.0, 0.0]]);
}

#[test]
fn the_way_ends_at_what_is_named() {
    let session = session(
        "g (double[2] a, double[2] b) => (y, da, dt) {
            t = Exp(a)
            y = Mul(t, b)
            da, dt = ai.onnx.preview.training.Gradient<xs = [\"a\", \"t\"], zs = [\"b\"], y = \"y\">(a, t, b)
        }",
    );
    let got = run(&session, &[vec![0.0, 1.0], vec![5.0, 7.0]], &[&[2], &[2]]);
    assert_eq!(got[1..], [vec![0.0, 0.0], vec![5.0, 7.0]]);
}

#[test]
fn a_gradient_is_taken_of_a_gradient() {
    for (statements, shape) in [
        ("t = Mul(a, a) y = Mul(t, a)", vec![3]),
        ("y = Sigmoid(a)", vec![2, 2]),
        ("t = Exp(a) u = ReduceMean<axes = [1]>(t) y = Mul(t, u)", vec![2, 3]),
        (
            "w = Constant<value = double[1, 1, 2] {2.0, -1.0}>() t = Conv(a, w) u = Mul(t, t) y = Mul(u, t)",
            vec![1, 1, 4],
        ),
        (
            "s = Constant<value = float[2] {1.0, 1.7}>() t = Resize<mode = \"linear\">(a, , s) u = Mul(t, t) y = Mul(u, t)",
            vec![2, 3],
        ),
    ] {
        let session = session(&format!(
            "g (double{shape:?} a) => (da, dda) {{
                {statements}
                da = ai.onnx.preview.training.Gradient<xs = [\"a\"], y = \"y\">(a)
                dda = ai.onnx.preview.training.Gradient<xs = [\"a\"], y = \"da\">(a)
            }}"
        ));
        let (inputs, shapes) = (vec![values(&shape, 0)], [&shape[..]]);
        let got = run(&session, &inputs, &shapes);
        let want = differences(&session, &inputs, &shapes, 0);
        for (got, want) in got[1].iter().zip(&want) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{statements}: {got}, not {want}");
        }
    }
}

#[test]
fn functions_of_the_model_are_looked_into() {
    let text = "<ir_version: 10, opset_import: [\"\": 17, \"ai.onnx.preview.training\": 1, \"own\": 1]>
        g (double[2] a) => (y, da) {
            y = own.Cube<factor = 2.0>(a)
            da = ai.onnx.preview.training.Gradient<xs = [\"a\"], y = \"y\">(a)
        }
        <domain: \"own\", opset_import: [\"\": 17]>
        Cube <factor> (x) => (y) {
            f = Constant<value_float: float = @factor>()
            like = CastLike(f, x)
            s = Mul(x, x)
            c = Mul(s, x)
            y = Mul(c, like)
        }";
    let model = onnx::from_text(text, None).unwrap();
    let session = Session::builder("").model(model).threads(1).build().unwrap();
    let got = run(&session, &[vec![1.0, 2.0]], &[&[2]]);
    assert_eq!(got, [vec![2.0, 16.0], vec![6.0, 24.0]]);
}

#[test]
fn other_values_pass_operators_that_are_written_out() {
    let session = session(
        "g (double[2, 3] a, double[2, 3] b) => (y, da) {
            s = Constant<value = double[3] {1.0, 2.0, 3.0}>()
            t = LayerNormalization<epsilon = 0.1>(a, s)
            y = Mul(t, t)
            da = ai.onnx.preview.training.Gradient<xs = [\"a\"], y = \"y\">(b)
        }",
    );
    let shapes: [&[usize]; 2] = [&[2, 3], &[2, 3]];
    let inputs = [values(shapes[0], 0), values(shapes[1], 1)];
    let got = run(&session, &inputs, &shapes);
    let want = differences(&session, &[inputs[1].clone(), inputs[0].clone()], &shapes, 0);
    for (got, want) in got[1].iter().zip(&want) {
        assert!((got - want).abs() <= 1e-5, "{got}, not {want}");
    }
}

#[test]
fn what_hinders_a_gradient_is_told() {
    for (statements, gradient, told) in [
        (
            "y = Hardmax(a)",
            "<xs = [\"a\"], y = \"y\">(a)",
            "no rule for Hardmax (domain ``, opset 17) of node `y`",
        ),
        ("y = Exp(a)", "<xs = [\"b\"], y = \"y\">(a)", "no tensor `b`"),
        ("y = Exp(a)", "<xs = [\"a\"], y = \"z\">(a)", "no tensor `z`"),
        ("y = Exp(a)", "<xs = [\"a\"], y = \"y\">(a, a)", "2 inputs and 1 outputs"),
        ("y = Exp(da)", "<xs = [\"a\"], y = \"y\">(a)", "`y` depends on it"),
    ] {
        let text = format!(
            "<ir_version: 8, opset_import: [\"\": 17, \"ai.onnx.preview.training\": 1]>
            g (float[1, 4] a) => (da) {{
                {statements}
                da = ai.onnx.preview.training.Gradient{gradient}
            }}"
        );
        let model = match onnx::from_text(&text, None) {
            Ok(model) => model,
            // A cycle is found earlier.
            Err(error) => {
                assert!(error.to_string().contains("cycle"), "{error}");
                continue;
            }
        };
        let error = Session::builder("").model(model).threads(1).build().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("Gradient") && error.contains(told), "{error}");
    }
}
