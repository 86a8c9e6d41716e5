//! Plugins from the templates: written outside the repository, built by their own tools, run against the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use byoc_tests::{new_plugin, run, run_command, written};

/// All that the templates take, in two regions of several composites each.
const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[2,2,6,5] x, float[3,4] a) => (float[2,3,3,3] z, float[3,2] m)
<float[3,2,3,2] w = {1,-2,3,-4,5,-6,7,-8,9,1,-2,3,-4,5,-6,7,-8,9,1,-2,3,-4,5,-6,7,-8,9,1,-2,3,-4,5,-6,7,-8,9},
 float[3] bias = {0.5,-1,2}, float[4,2] b = {1,2,3,4,5,6,7,8}, float[2] c = {1,2}> {
    k = Conv<strides = [2, 2], dilations = [1, 2], pads = [1, 1, 1, 1]>(x, w, bias)
    y = Relu(k)
    z = Add(y, y)
    p = MatMul(a, b)
    s = Add(c, p)
    m = Add(s, s)
}"#;

/// Verifies a plugin, and runs the model with it, which it takes all of, and compares with the host.
fn check(library: &Path) {
    run(["verify", library.to_str().unwrap(), "--cases", "100", "--rounds", "300"]).expect(0);
    let (folder, model) = written(MODEL);
    let output = |name: &str, words: &[&str]| {
        let out = folder.path().join(name);
        let call = ["run", model.to_str().unwrap(), "--random", "5", "--output", out.to_str().unwrap()];
        let done = run(call.iter().chain(words)).expect(0);
        ([0, 1].map(|k| floats(&out.join(format!("output_{k}.pb")))), done)
    };
    let (host, _) = output("host", &[]);
    let (vendor, done) = output("vendor", &["--strict", "--plugin", library.to_str().unwrap()]);
    assert!(done.stderr.contains("6 of 6 nodes"), "{}", done.stderr);
    for (host, vendor) in host.iter().flatten().zip(vendor.iter().flatten()) {
        assert!(
            (host - vendor).abs() <= 1e-4 * host.abs().max(1.0),
            "{host} on the host, {vendor} of the plugin"
        );
    }
}

fn floats(path: &Path) -> Vec<f32> {
    let datum = byoc::onnx::read_datum(path, None).unwrap();
    datum.as_tensor().unwrap().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn a_rust_plugin_builds_with_cargo_and_runs() {
    let project = new_plugin("acme-npu", "rust");
    project.build_with(&["cargo build --offline", "cargo test --offline"]);
    check(&project.library());
}

#[test]
fn a_c_plugin_builds_with_make_and_runs() {
    let project = new_plugin("tiny", "c");
    project.build_with(&["make", "make test"]);
    check(&project.library());
}

#[test]
fn a_cpp_plugin_builds_and_runs() {
    let project = new_plugin("acme_2", "cpp");
    project.build();
    check(&project.library());
}

#[test]
fn what_cannot_be_a_name_is_bad_usage_and_what_is_there_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        let mut command = Command::new(byoc_tests::byoc());
        let command = command.args(["new", name, "--lang", "c"]).current_dir(folder.path());
        run_command(command, Duration::from_secs(10))
    };
    new("no good").expect(2);
    let done = new("good").expect(0);
    assert!(done.stdout.contains("src/plugin.c") && done.stdout.contains("make test"), "{}", done.stdout);
    let done = new("good").expect(1);
    assert!(done.stderr.contains("holds something already"), "{}", done.stderr);
    let left: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [folder.path().join("good")]);
}
