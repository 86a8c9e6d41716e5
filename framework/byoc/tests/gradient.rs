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
    ("t = Identity(a) u = Mul(t, a) v = Exp(u) w = Add(u, v) y = Mul(w, b)", &[&[2], &[2]]),
    ("t = Cast<to = 1>(a) u = Cast<to = 11>(t) f = Floor(b) y = Mul(u, f)", &[&[2], &[2]]),
    ("t = Exp(a) s = Shape(t) u = Expand(b, s) y = Mul(t, u)", &[&[2, 3], &[3]]),
    ("y = Identity(a)", &[&[2], &[2]]),
];

const NAMES: [&str; 3] = ["a", "b", "c"];

fn session(text: &str) -> Session {
    let text = format!("<ir_version: 8, opset_import: [\"\": 17, \"ai.onnx.preview.training\": 1]>\n{text}");
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
fn an_operator_without_a_rule_is_named() {
    let text = "<ir_version: 8, opset_import: [\"\": 17, \"ai.onnx.preview.training\": 1]>
        g (float[1, 4] a) => (da) {
            y = Hardmax(a)
            da = ai.onnx.preview.training.Gradient<xs = [\"a\"], y = \"y\">(a)
        }";
    let model = onnx::from_text(text, None).unwrap();
    let error = Session::builder("").model(model).threads(1).build().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("Gradient"), "{error}");
}
