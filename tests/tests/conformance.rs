//! The ONNX backend suite through `byoc conformance`: every test passes but for the listed exceptions. And what a
//! suite may do to the command: crash it, keep it waiting, lack what a test needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc_tests::{byoc, data, on_fake_cuda, on_onednn, on_openvino, onnx_suite, root, run, run_command};
use serde::Deserialize;

#[derive(Deserialize)]
struct Exceptions {
    exception: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    tests: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
struct Results {
    passed: usize,
    failed: usize,
    skipped: usize,
    tests: Vec<TestResult>,
}

#[derive(Deserialize)]
struct TestResult {
    kind: String,
    name: String,
    outcome: String,
    reason: Option<String>,
}

fn read_results(path: &Path) -> Results {
    serde_json::from_str(&std::fs::read_to_string(path).expect("results")).expect("results are JSON")
}

/// The tests that are listed in a file as exceptions.
fn exceptions(file: &str) -> BTreeSet<String> {
    let path = root().join("tests/conformance").join(file);
    let list: Exceptions = toml::from_str(&std::fs::read_to_string(path).expect("the list")).expect("TOML");
    assert!(list.exception.iter().all(|e| !e.reason.is_empty()));
    list.exception.into_iter().flat_map(|e| e.tests).collect()
}

#[test]
fn the_onnx_suite_passes_but_for_the_exceptions() {
    run_suite(&[], &exceptions("exceptions.toml"));
}

#[test]
fn the_onnx_suite_passes_on_openvino_but_for_more_exceptions() {
    let Some(words) = on_openvino() else { return };
    let mut excepted = exceptions("exceptions.toml");
    excepted.extend(exceptions("openvino.toml"));
    run_suite(&words, &excepted);
}

#[test]
fn the_onnx_suite_passes_on_onednn_as_on_the_host() {
    let Some(library) = on_onednn() else { return };
    run_suite(&["--plugin".into(), library.display().to_string()], &exceptions("exceptions.toml"));
}

/// All but the large networks, which would take minutes there.
#[test]
fn the_onnx_suite_passes_on_the_pretended_gpu_but_for_more_exceptions() {
    let mut excepted = exceptions("exceptions.toml");
    excepted.extend(exceptions("cuda.toml"));
    let mut words = on_fake_cuda();
    words.extend(["--filter", "^(node|simple|pytorch)"].map(str::to_owned));
    run_suite(&words, &excepted);
}

fn run_suite(words: &[String], excepted: &BTreeSet<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(suite) = onnx_suite(folder.path()) else { return };
    let json = folder.path().join("results.json");
    let mut command = Command::new(byoc());
    command.arg("conformance").arg(&suite).arg("--check-types").arg("--json").arg(&json).args(words);
    let done = run_command(&mut command, Duration::from_secs(600));
    println!("{}", done.stdout);
    let results = read_results(&json);
    assert!(results.tests.len() >= 2000 && results.skipped == 0, "{}", done.stdout);
    let failed: BTreeSet<String> = results
        .tests
        .iter()
        .filter(|t| t.outcome != "passed")
        .map(|t| format!("{}/{}", t.kind, t.name))
        .collect();
    let surprises: Vec<_> = failed.difference(excepted).collect();
    assert!(surprises.is_empty(), "not on the list of exceptions: {surprises:?}");
    let passing: Vec<_> = excepted.difference(&failed).collect();
    assert!(passing.is_empty(), "pass, and have to leave the list of exceptions: {passing:?}");
}

#[derive(Deserialize)]
struct PeerResults {
    tests: Vec<PeerResult>,
}

#[derive(Deserialize)]
struct PeerResult {
    kind: String,
    name: String,
    verdict: String,
}

#[test]
fn no_exception_is_a_test_that_onnx_runtime_passes() {
    let Some(folder) = data("conformance") else { return };
    let file = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path());
    let file = file.into_iter().find(|p| p.to_string_lossy().ends_with("_results.json")).expect("results");
    let text = std::fs::read_to_string(file).expect("results");
    let peer: PeerResults = serde_json::from_str(&text).expect("results are JSON");
    let passed: BTreeSet<String> = peer
        .tests
        .into_iter()
        .filter(|t| t.verdict == "pass")
        .map(|t| format!("{}/{}", t.kind, t.name))
        .collect();
    assert!(passed.len() > 1800, "only {}", passed.len());
    let both: Vec<_> = exceptions("exceptions.toml").intersection(&passed).cloned().collect();
    assert!(both.is_empty(), "{both:?}");
}

const RELU: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[N] x) => (float[N] y) { y = Relu(x) }"#;

/// A suite of one kind whose tests are Relu on `[-1, 2]`, each with its own expected output.
fn relu_suite(root: &Path, tests: &[(&str, Option<[f32; 2]>)]) {
    let model = byoc_graph::onnx::from_text(RELU, None).expect("a model");
    for (name, expected) in tests {
        let folder = root.join("node").join(name);
        let set = folder.join("test_data_set_0");
        std::fs::create_dir_all(&set).expect("a folder");
        byoc_graph::onnx::save(&model, folder.join("model.onnx")).expect("saved");
        let tensor =
            |values: [f32; 2]| byoc::Tensor::from_vec(&[2], values.to_vec()).expect("a tensor").into();
        byoc_graph::onnx::write_datum(set.join("input_0.pb"), "x", &tensor([-1.0, 2.0])).expect("written");
        if let Some(expected) = expected {
            byoc_graph::onnx::write_datum(set.join("output_0.pb"), "y", &tensor(*expected)).expect("written");
        }
    }
}

#[test]
fn differences_and_gaps_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let tests = [("good", Some([0.0, 2.0])), ("off", Some([0.0, 3.0])), ("unknown", None)];
    relu_suite(folder.path(), &tests);
    std::fs::create_dir_all(folder.path().join("node/empty")).expect("a folder");
    let (json, junit) = (folder.path().join("out.json"), folder.path().join("out.xml"));
    let done = run(["conformance", folder.path().to_str().expect("UTF-8")]
        .map(str::to_owned)
        .into_iter()
        .chain(["--json".into(), json.display().to_string()])
        .chain(["--junit".into(), junit.display().to_string()]))
    .expect(1);
    assert_eq!(done.stdout.lines().last(), Some("1 passed, 1 failed, 2 skipped"));
    assert!(done.stdout.contains("FAILED  node/off"), "{}", done.stdout);
    let results = read_results(&json);
    assert_eq!((results.passed, results.failed, results.skipped), (1, 1, 2));
    let skipped = results.tests.iter().filter(|t| t.outcome == "skipped");
    assert!(skipped.clone().count() == 2 && skipped.clone().all(|t| t.reason.is_some()));
    let xml = std::fs::read_to_string(junit).expect("XML");
    assert!(xml.contains("failures=\"1\" skipped=\"2\""), "{xml}");
}

#[test]
fn a_filter_picks_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    relu_suite(folder.path(), &[("good", Some([0.0, 2.0])), ("off", Some([0.0, 3.0]))]);
    let suite = folder.path().display().to_string();
    let done = run(["conformance", &suite, "--filter", "^node/good$"]).expect(0);
    assert_eq!(done.stdout.lines().last(), Some("1 passed, 0 failed, 0 skipped"));
    run(["conformance", &suite, "--filter", "nothing"]).expect(1);
    run(["conformance", &suite, "--filter", "("]).expect(2);
}

/// A shell script stands in for the command: it answers what it is told to, or not.
fn run_with_child(script: &str, limit: Duration) -> byoc::conformance::Results {
    let folder = tempfile::tempdir().expect("a folder");
    relu_suite(folder.path(), &[("a", Some([0.0, 2.0])), ("b", Some([0.0, 2.0])), ("c", Some([0.0, 2.0]))]);
    let suite = byoc::conformance::Suite::find(folder.path(), &byoc::Tolerance::default()).expect("a suite");
    let command = ["sh", "-c", script].map(Into::into).to_vec();
    let options = byoc::conformance::Options { command, jobs: 1, limit };
    byoc::conformance::run(&suite, &options, &|_| {}).expect("children start")
}

const ANSWER: &str =
    r#"echo '@byoc-answer {"outcome":"passed","offloaded":0,"nodes":1,"ms":1,"peak_rss_mb":1}'"#;

#[test]
fn a_child_that_crashes_costs_one_test() {
    let script = format!(
        r#"while read -r test; do case "$test" in *'"name":"b"'*) echo boom >&2; kill -ABRT $$;; esac; {ANSWER}; done"#
    );
    let results = run_with_child(&script, Duration::from_secs(30));
    assert_eq!(results.to_string(), "2 passed, 1 failed, 0 skipped");
    let reason = format!("{:?}", results.tests[1].outcome);
    assert!(reason.contains("crashed") && reason.contains("boom"), "{reason}");
}

#[test]
fn a_child_that_hangs_costs_one_test() {
    let script = format!(
        r#"while read -r test; do case "$test" in *'"name":"b"'*) exec sleep 600;; esac; echo noise; {ANSWER}; done"#
    );
    let results = run_with_child(&script, Duration::from_secs(2));
    assert_eq!(results.to_string(), "2 passed, 1 failed, 0 skipped");
    let reason = format!("{:?}", results.tests[1].outcome);
    assert!(reason.contains("longer than 2 s"), "{reason}");
}
