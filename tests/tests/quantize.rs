//! Float models made int8 by the command, and what vendors and ONNX Runtime make of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use byoc_tests::{data, on_refnpu, partition_report, python, run, written};

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] image) => (float[1,5] scores)
<float[4,3,3,3] w1, float[4] b1, float[64,5] w2, float[5] b2, int64[2] rows = {1, -1}> {
    c = Conv<pads = [1, 1, 1, 1]>(image, w1, b1)
    r = Relu(c)
    s = Sigmoid(r)
    m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s)
    f = Reshape(m, rows)
    p = MatMul(f, w2)
    t = Add(p, b2)
    scores = Softmax<axis = 1>(t)
}"#;

/// The model with seeded weights.
fn model() -> (tempfile::TempDir, std::path::PathBuf) {
    let mut text = MODEL.to_owned();
    for (name, count) in
        [("float[4,3,3,3] w1", 108), ("float[4] b1", 4), ("float[64,5] w2", 320), ("float[5] b2", 5)]
    {
        let value = |i: usize| format!("{:.3}", ((i * 7919 + count * 31) % 1009) as f64 / 1009.0 - 0.47);
        let values: Vec<String> = (0..count).map(value).collect();
        text = text.replace(name, &format!("{name} = {{{}}}", values.join(", ")));
    }
    written(&text)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_quantised_model_is_taken_whole_and_stays_close() {
    let (folder, model) = model();
    let out = folder.path().join("q.onnx");
    let json = folder.path().join("q.json");
    for activations in ["u8", "i8"] {
        let words = ["quantize", text(&model), "--random", "1", "-o", text(&out), "--json", text(&json)];
        let rest = ["--activations", activations, "--method", "percentile", "--percentile", "99.9"];
        let plugin = on_refnpu(None);
        let done = run(words.iter().chain(&rest).map(|w| w.to_string()).chain(plugin)).expect(0);
        assert!(done.stdout.contains("float: 1 Softmax"), "{}", done.stdout);
        let report: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON");
        assert_eq!(report["schema"], "byoc.quantize/1");
        assert!(report["outputs"][0]["cosine"].as_f64().expect("a number") > 0.99, "{report}");
        // All but the first QuantizeLinear, the last DequantizeLinear and Softmax.
        let placed = partition_report(&out, on_refnpu(None));
        assert_eq!(placed.host.len(), 3, "{:?}", placed.host);
        assert_eq!(placed.regions.len(), 1);
    }
}

#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = python("onnxruntime") else { return };
    let (folder, model) = model();
    let (out, got) = (folder.path().join("q.onnx"), folder.path().join("got"));
    run(["quantize", text(&model), "--random", "1", "-o", text(&out)]).expect(0);
    let input = folder.path().join("x.npy");
    let code = format!(
        "import numpy, onnx, onnxruntime\n\
         x = numpy.random.default_rng(5).uniform(-1, 1, (1, 3, 8, 8)).astype('float32')\n\
         numpy.save({input:?}, x)\n\
         onnx.checker.check_model({out:?}, full_check=True)\n\
         print(*onnxruntime.InferenceSession({out:?}).run(None, {{'image': x}})[0].ravel())"
    );
    let done = Command::new(python).args(["-c", &code]).output().expect("Python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let words = ["run", text(&out), "--input", &format!("image={}", text(&input)), "--output", text(&got)];
    run(words).expect(0);
    let tensor = byoc_graph::onnx::read_datum(got.join("output_0.pb"), None).expect("an output");
    let ours = tensor.as_tensor().and_then(|t| t.to_f64s()).expect("numbers");
    let stdout = String::from_utf8_lossy(&done.stdout);
    let theirs: Vec<f64> = stdout.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 0.02), "{ours:?} {theirs:?}");
}

#[test]
fn the_classifier_of_the_test_data_keeps_its_answer() {
    let Some(folder) = data("models/mnist_cntk") else { return };
    let out = tempfile::tempdir().expect("a temporary folder");
    let q = out.path().join("q.onnx");
    let model = folder.join("model.onnx");
    run(["quantize", text(&model), "--data", text(&folder), "-o", text(&q)]).expect(0);
    run(["run", text(&q), "--data", text(&folder), "--rtol", "0", "--atol-scale", "0.03"]).expect(0);
}

#[test]
fn what_cannot_be_quantised_is_an_error() {
    let (folder, model) = model();
    let out = folder.path().join("q.onnx");
    let bad = |words: &[&str], status, said: &str| {
        let done = run(["quantize", text(&model), "-o", text(&out)].iter().chain(words)).expect(status);
        assert!(done.stderr.contains(said), "{}", done.stderr);
        assert!(!out.exists());
    };
    bad(&[], 2, "--data");
    bad(&["--data", "/nowhere"], 1, "/nowhere");
    bad(&["--random", "1", "--exclude", "Nonesuch"], 1, "named `Nonesuch`");
    bad(&["--random", "1", "--only-op", "Softmax"], 1, "never quantised");
    bad(&["--random", "1", "--method", "percentile", "--percentile", "30"], 2, "above 50");
    bad(&["--random", "1", "--samples", "0"], 2, "0");
    let (_keep, ints) =
        written("<ir_version: 8, opset_import: [\"\": 17]>\ng (int64[4] x) => (int64[4] y) { y = Abs(x) }");
    let done = run(["quantize", text(&ints), "-o", text(&out), "--random", "1"]).expect(1);
    assert!(done.stderr.contains("nothing of it is quantised"), "{}", done.stderr);
}
