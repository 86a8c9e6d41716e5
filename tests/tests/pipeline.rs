//! A stream of requests over several vendors: while one works on a request, the others work on others.

use std::fs;
use std::path::Path;

use byoc_tests::{on_onednn, on_openvino, on_refnpu, plugin, run, written};

/// Three stages, one for each vendor.
const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[20000] x) => (float[20000] y) {
    a = Add(x, x)
    b = Mul(a, x)
    y = Relu(b)
}"#;

#[test]
fn vendors_work_on_different_requests_at_the_same_time() {
    let (folder, model) = written(MODEL);
    let json = folder.path().join("bench.json");
    let mut words: Vec<String> = vec!["bench".into(), model.display().to_string()];
    for (vendor, op, node) in [("paced-a", "add", "a"), ("paced-b", "mul", "b"), ("paced-c", "relu", "y")] {
        words.extend(["--plugin".into(), plugin(&format!("byoc-{vendor}")).display().to_string()]);
        // Twenty milliseconds each, asleep: however busy the machine is, they can be so at the same time.
        words.extend(["--plugin-option".into(), format!("{vendor}.{op}=1000000")]);
        words.extend(["--force".into(), format!("{node}={vendor}")]);
    }
    let rest = ["--policy", "greedy", "--warmup", "1", "--seconds", "0.6", "--pipeline", "4", "--json"];
    words.extend(rest.map(str::to_owned));
    words.push(json.display().to_string());
    let done = run(words).expect(0);
    assert!(done.stdout.contains("pipeline of 4"), "{}", done.stdout);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON");
    let figure = |name: &str| report["pipeline"][name].as_f64().expect("a number");
    // Three stages of equal length: three times, but for filling and emptying.
    let ratio = figure("per_second") / figure("alone_per_second");
    assert!(ratio > 1.6 && ratio < 3.2, "{ratio}: {}", done.stdout);
    // One request takes no less than it does alone.
    assert!(figure("median_ms") >= 60.0, "{}", done.stdout);
}

/// Two regions that need nothing of each other, and one that needs both.
const DIAMOND: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[64] x) => (float[64] y) {
    a = Add(x, x)
    n = Neg(a)
    b = Mul(x, x)
    s = Sub(n, b)
    y = Relu(s)
}"#;

/// The figures that a run of these words writes, of its one output.
fn output_of(model: &Path, words: &[String]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let call = ["run".to_owned(), model.display().to_string(), "--random".into(), "3".into()];
    let output = ["--output".to_owned(), folder.path().display().to_string()];
    run(call.into_iter().chain(output).chain(words.iter().cloned())).expect(0);
    fs::read(folder.path().join("output_0.pb")).expect("written")
}

#[test]
fn independent_regions_of_one_request_run_at_the_same_time() {
    if std::thread::available_parallelism().is_ok_and(|n| n.get() == 1) {
        println!("skipped: with one processor the host stays with its vendor");
        return;
    }
    let (folder, model) = written(DIAMOND);
    let alone = output_of(&model, &[]);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut words = vec!["--policy".to_owned(), "greedy".to_owned()];
    // Each vendor's region waits until the other's has begun: one after the other neither would end.
    for (vendor, node, own, other) in [("paced-a", "a", "a", "b"), ("paced-b", "b", "b", "a")] {
        words.extend(["--plugin".into(), plugin(&format!("byoc-{vendor}")).display().to_string()]);
        words.extend(["--force".into(), format!("{node}={vendor}"), "--force".into(), "y=host".into()]);
        for (option, name) in [("begun", own), ("awaits", other)] {
            words.extend(["--plugin-option".into(), format!("{vendor}.{option}={}", file(name))]);
        }
    }
    assert_eq!(output_of(&model, &words), alone);
}

/// Bytes for the accelerator, floats for a library and a compiler, and an operator for the host.
const MIXED: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[1,8,16,16] x) => (float[1,4,14,14] y, float[1,4,14,14] n)
<float s = {0.05}, float u = {0.4}, uint8 z = {128}, int8 m = {3}, int64[4] of = {8,8,3,3}, int64[4] last = {4,8,3,3}> {
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    k = ConstantOfShape<value = int8[1] {17}>(of)
    w = DequantizeLinear(k, s, m)
    c = Conv<pads=[1,1,1,1]>(d, w)
    e = QuantizeLinear(c, u, z)
    f = DequantizeLinear(e, u, z)
    v = ConstantOfShape<value = float[1] {0.01}>(last)
    g = Conv(f, v)
    h = Relu(g)
    n = Neg(h)
    y = Softmax<axis=1>(h)
}"#;

#[test]
fn one_model_runs_on_three_vendors_and_the_host_without_copies_between_them() {
    let (Some(onednn), Some(openvino)) = (on_onednn(), on_openvino()) else { return };
    let (folder, model) = written(MIXED);
    let forced = ["--force", "g=onednn", "--force", "y=openvino", "--force", "n=host", "--policy", "greedy"];
    let mut words = on_refnpu(None);
    words.extend(["--plugin".to_owned(), onednn.display().to_string()]);
    words.extend(openvino.into_iter().chain(forced.map(str::to_owned)));

    let json = folder.path().join("bench.json").display().to_string();
    let call =
        ["bench", &model.display().to_string(), "--seconds", "0", "--profile", "--by-step", "--json", &json];
    run(call.iter().map(ToString::to_string).chain(words.iter().cloned())).expect(0);
    let text = fs::read_to_string(&json).expect("written");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let steps = report["profile"]["steps"].as_array().expect("the steps");
    let mut by: Vec<&str> = steps.iter().map(|step| step["target"].as_str().expect("a name")).collect();
    by.sort_unstable();
    // The input is quantised by oneDNN. All of them work in the host's memory: nothing is left to convert or to copy.
    assert_eq!(by, ["host", "onednn", "onednn", "openvino", "refnpu"], "{text}");

    let numbers = |words: &[String]| {
        let out = output_of(&model, words);
        let tensor = byoc_graph::onnx::datum_from_bytes(&out.into(), None).expect("an output");
        tensor.as_tensor().and_then(|t| t.to_f64s()).expect("numbers")
    };
    let (host, vendors) = (numbers(&[]), numbers(&words));
    assert_eq!(host.len(), 4 * 14 * 14);
    assert!(host.iter().zip(&vendors).all(|(a, b)| (a - b).abs() < 0.01), "{host:?} {vendors:?}");
}
