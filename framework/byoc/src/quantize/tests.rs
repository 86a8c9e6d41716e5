use byoc_graph::{Model, onnx};

use super::*;

const CONV: &str = r#"<ir_version: 4, opset_import: ["": 9]>
g (float[1,2,4,4] x, float[2,1,1] k) => (float[1,3,4,4] y, float[1,2,4,4] z)
<float[3,2,1,1] w = {1, 2, 3, 4, 5, -6}, float[2,1,1] k = {1, 2},
 float[3] s = {1, 2, 1}, float[3] b = {0, 1, 0}, float[3] m = {0, 0, 1}, float[3] v = {1, 1, 1}> {
    c = Conv(x, w)
    n = BatchNormalization(c, s, b, m, v)
    y = Relu(n)
    z = Mul(x, k)
}"#;

fn quantised(text: &str, options: QuantizeOptions) -> Result<Quantized, Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.onnxtxt");
    std::fs::write(&path, text).expect("written");
    let samples = Samples::Random { seed: 3, count: 4 };
    quantize(&path, &ModelOptions::default(), &samples, &options, &mut Timings::default())
}

fn ops(model: &Model) -> Vec<String> {
    let graph = &model.graph;
    graph.model_order().iter().map(|id| graph.node(*id).op.name.to_string()).collect()
}

#[test]
fn a_product_is_folded_stored_and_read_back() {
    let done = quantised(CONV, QuantizeOptions::default()).unwrap();
    done.model.graph.check();
    let mut names = ops(&done.model);
    names.sort();
    let stored = ["QuantizeLinear"; 2];
    // The input, its weights and bias, the result.
    let read = ["DequantizeLinear"; 4];
    let rest = ["Conv", "Mul", "Relu"];
    let mut want = [&stored[..], &read, &rest].concat();
    want.sort();
    assert_eq!(names, want, "{}", onnx::to_text(&done.model).unwrap());
    assert_eq!(done.model.opset(""), Some(13));
    // Of what is stored nothing is left in float.
    let floats = done.model.graph.values().filter_map(|(id, _)| done.model.graph.constant(id));
    assert!(floats.filter(|t| t.dtype() == byoc_graph::DType::F32).all(|t| t.len() <= 3));
    let outputs: Vec<_> =
        done.model.graph.outputs().iter().map(|o| done.model.graph.value(*o).name.to_string()).collect();
    assert_eq!(outputs, ["y", "z"]);
    for output in &done.report.outputs {
        assert!(output.cosine > 0.999, "{output:?}");
    }
    // The second output is float and reads the float input.
    assert_eq!(done.report.outputs[1].sqnr_db, None);
}

#[test]
fn weights_that_could_be_overridden_are_weights() {
    let text = CONV.replace(
        "(float[1,2,4,4] x, float[2,1,1] k)",
        "(float[1,2,4,4] x, float[2,1,1] k, float[3,2,1,1] w)",
    );
    let done = quantised(&text, QuantizeOptions::default()).unwrap();
    let inputs: Vec<_> =
        done.model.graph.inputs().iter().map(|i| done.model.graph.value(*i).name.to_string()).collect();
    assert_eq!(inputs, ["x"]);
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let bytes = |threads, method| {
        let options = QuantizeOptions { threads: Some(threads), method, ..QuantizeOptions::default() };
        onnx::to_bytes(&quantised(CONV, options).unwrap().model).unwrap()
    };
    for method in [Method::MinMax, Method::Percentile(99.9), Method::Entropy] {
        assert_eq!(bytes(1, method), bytes(3, method));
    }
}

#[test]
fn what_is_excluded_stays_float() {
    let error = |exclude: &[&str], only: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        let options =
            QuantizeOptions { exclude: list(exclude), only_ops: list(only), ..QuantizeOptions::default() };
        quantised(CONV, options).unwrap_err().to_string()
    };
    assert!(error(&["Conv"], &[]).contains("nothing of it is quantised"));
    assert!(error(&["Cnov"], &[]).contains("named `Cnov`"));
    assert!(error(&[], &["Gemm"]).contains("nothing of it is quantised"));
    assert!(error(&[], &["Softmax"]).contains("`Softmax` is never quantised"));
}

#[test]
fn what_costs_most_stays_float() {
    // The second product has large weights for what is always zero, beside which the others are lost.
    let text = r#"<ir_version: 8, opset_import: ["": 13]>
g (float[8,4] x) => (float[8,2] y)
<float[4,2] w = {0, 1, 0, 1, 0, -1, 0, 0.5}, float[2,2] v = {1000, 500, 1.5, -2}> {
    h = MatMul(x, w)
    y = MatMul(h, v)
}"#;
    let cosine = |cosine| {
        let options = QuantizeOptions { cosine, per_tensor: true, ..QuantizeOptions::default() };
        let report = quantised(text, options).unwrap().report;
        (report.outputs[0].cosine, report.quantised)
    };
    let (all, kept) = (cosine(None), cosine(Some(0.99)));
    assert!(all.0 < 0.99 && all.1 == 2, "{all:?}");
    assert!(kept.0 >= 0.99 && kept.1 == 1, "{kept:?}");
}

#[test]
fn corrected_biases_bring_the_mean_back() {
    // Weights that all round down, on inputs that are all above zero.
    let text = r#"<ir_version: 8, opset_import: ["": 13]>
g (float[8,4] x) => (float[8,1] y) <float[4,1] w = {127, 0.4, 0.4, 0.4}> {
    p = Sigmoid(x)
    y = MatMul(p, w)
}"#;
    let gemm = text.replace("MatMul(p, w)", "Gemm(p, w)");
    let noise = |no_bias_correction| {
        let options = QuantizeOptions { no_bias_correction, per_tensor: true, ..QuantizeOptions::default() };
        quantised(&gemm, options).unwrap().report.outputs[0].sqnr_db.unwrap()
    };
    assert!(noise(false) > noise(true) + 0.5, "{} {}", noise(false), noise(true));
    // Without a place for a bias nothing is corrected.
    quantised(text, QuantizeOptions::default()).unwrap();
}

#[test]
fn selections_share_their_inputs_parameters() {
    let text = r#"<ir_version: 8, opset_import: ["": 13]>
g (float[1,2,4,4] x) => (float[1,8] y)
<float[2,2,1,1] w = {1, 2, 3, 4}, int64[2] shape = {1, -1}> {
    c = Conv(x, w)
    r = Clip(c)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    y = Reshape(p, shape)
}"#;
    let options = QuantizeOptions { activations: Activations::I8, ..QuantizeOptions::default() };
    let done = quantised(text, options).unwrap();
    let by_name = |name: &str| done.report.tensors.iter().find(|t| t.name == name).expect("quantised");
    assert_eq!(by_name("y").scale, by_name("r").scale);
    assert_eq!(by_name("p").zero_point, by_name("r").zero_point);
    assert!(done.report.float.is_empty(), "{:?}", done.report.float);
}
