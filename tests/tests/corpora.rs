//! Small models from other projects' tests, with outputs of another runtime: all run on the host, with
//! normalisation on and off.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc_tests::{byoc, data, run_command};

/// Models that compute in half precision. Where operators are fused, fewer results on the way are rounded to it,
/// and runtimes do not fuse the same ones.
const HALF: &str = "^ort_transform/(fusion__conv_add_fp16|fusion__skip_layer_norm_.*_with_cast|\
    fusion__transpose_cast_matmul_4d_fusion[35]|\
    propagate_cast__matmul_add_transpose_product_cast_inputs_cast_product_cast_input2)$";

/// Files that declare a shape which their own data does not have: the sizes come from an input.
const DECLARED_OTHERWISE: &str = "^(burn_onnx/(constant_of_shape__constant_of_shape|expand__expand_tensor|\
    slice__slice_1d_tensor|slice__slice_shape_start_tensor_end)|\
    ort_testdata/(issue4829|ort_minimal_test_models__tensor_attribute|trt_reshape))$";

#[derive(serde::Deserialize)]
struct Results {
    tests: Vec<TestResult>,
}

#[derive(serde::Deserialize)]
struct TestResult {
    kind: String,
    name: String,
    outcome: String,
}

/// The tests that do not pass, and how many there are in all.
fn failing(folder: &Path, words: &[&str]) -> (Vec<String>, usize) {
    let out = tempfile::tempdir().expect("a folder");
    let json = out.path().join("results.json");
    let mut command = Command::new(byoc());
    command.arg("conformance").arg(folder).args(words).arg("--json").arg(&json);
    let done = run_command(&mut command, Duration::from_secs(300));
    let text = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("no results: {}", done.stderr));
    let results: Results = serde_json::from_str(&text).expect("results are JSON");
    let failed = results.tests.iter().filter(|t| t.outcome != "passed");
    (failed.map(|t| format!("{}/{}", t.kind, t.name)).collect(), results.tests.len())
}

fn all_run(words: &[&str]) {
    let Some(folder) = data("corpora") else { return };
    let (failed, count) = failing(&folder, &[&["--check-types"], words].concat());
    assert!(count >= 543, "only {count} fixtures");
    let loose = [&["--filter", HALF, "--rtol", "4e-3", "--atol-scale", "4e-3"], words].concat();
    let (off, halves) = failing(&folder, &loose);
    assert!(off.is_empty() && halves > 0, "half precision: {off:?} of {halves}");
    let (off, declared) = failing(&folder, &[&["--filter", DECLARED_OTHERWISE], words].concat());
    assert!(off.is_empty(), "{off:?}");
    let [half, otherwise] = [HALF, DECLARED_OTHERWISE].map(|e| regex::Regex::new(e).expect("an expression"));
    let (wrongly, failed): (Vec<_>, Vec<_>) = failed.into_iter().partition(|name| otherwise.is_match(name));
    assert_eq!(wrongly.len(), declared, "have to leave the list: all but {wrongly:?}");
    let failed: Vec<_> = failed.into_iter().filter(|name| !half.is_match(name)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn with_normalisation() {
    all_run(&[]);
}

#[test]
fn without_normalisation() {
    all_run(&["--disable-pass", "all"]);
}
