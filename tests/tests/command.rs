//! The command as a person or a script uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use byoc_tests::{byoc, plugin, run, run_command, written};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn refnpu() -> String {
    text(&plugin("byoc-refnpu")).to_owned()
}

/// The demo's model in a folder of its own.
fn demo_model(folder: &Path) -> PathBuf {
    let path = folder.join("model.onnx");
    byoc::onnx::save(&byoc::demo::network(7).expect("the network"), &path).expect("written");
    path
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file")).expect("JSON")
}

#[test]
fn the_demo_ends_with_its_comparison_passed() {
    let refnpu = refnpu();
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("out");
    let done = run(["demo", "--output", text(&out), "--plugin", &refnpu]).expect(0);
    assert!(done.stdout.contains("the accelerator and the host agree"), "{}", done.stdout);
    assert!(done.stdout.contains("cycles a run"), "{}", done.stdout);
    for file in ["model.onnx", "partitioned.onnx", "report.json"] {
        assert!(out.join(file).exists(), "{file} was not written");
    }
    let report = json(&out.join("report.json"));
    assert_eq!(report["schema"], "byoc.partition/1");
    assert!(report["summary"]["offloaded_flops"].as_f64().expect("a share") > 0.99);
}

#[test]
fn strict_makes_the_host_an_error() {
    let refnpu = refnpu();
    let folder = tempfile::tempdir().expect("folder");
    let model = demo_model(folder.path());
    for command in ["partition", "run"] {
        let words = [command, text(&model), "--plugin", &refnpu, "--strict"];
        let rest: &[&str] = if command == "run" { &["--random", "1"] } else { &[] };
        let done = run(words.iter().chain(rest)).expect(1);
        assert!(done.stderr.contains("Softmax") || done.stderr.contains("QuantizeLinear"), "{}", done.stderr);
    }
}

#[test]
fn exclude_and_force_are_obeyed() {
    let refnpu = refnpu();
    let folder = tempfile::tempdir().expect("folder");
    let model = demo_model(folder.path());
    let report = folder.path().join("report.json");
    let words = ["partition", text(&model), "--quiet", "--plugin", &refnpu, "--report", text(&report)];
    run(words.iter().copied().chain(["--exclude", "MaxPool", "--force", "residual=host"])).expect(0);
    let report = json(&report);
    let host: Vec<&str> =
        report["host"].as_array().expect("host").iter().filter_map(|n| n.as_str()).collect();
    assert!(host.contains(&"pool") && host.contains(&"residual"), "{host:?}");
    let nodes = report["nodes"].as_array().expect("nodes");
    let pool = nodes.iter().find(|n| n["name"] == "pool").expect("pool is explained");
    assert_eq!(pool["reasons"][0]["kind"], "user");
}

#[test]
fn one_node_can_be_explained() {
    let refnpu = refnpu();
    let folder = tempfile::tempdir().expect("folder");
    let model = demo_model(folder.path());
    let words = ["partition", text(&model), "--plugin", &refnpu, "--explain"];
    let softmax = run(words.iter().copied().chain(["probabilities"])).expect(0);
    assert!(softmax.stdout.contains("stays on the host"), "{}", softmax.stdout);
    let conv = run(words.iter().copied().chain(["block_a"])).expect(0);
    assert!(conv.stdout.contains("matched by `conv"), "{}", conv.stdout);
    run(words.iter().copied().chain(["nobody"])).expect(1);
}

#[test]
fn plugins_are_described_without_being_loaded() {
    let refnpu = refnpu();
    let info = run(["plugin", "info", &refnpu, "--json"]).expect(0);
    let info: serde_json::Value = serde_json::from_str(&info.stdout).expect("JSON");
    assert_eq!(info["name"], "refnpu");
    assert!(info["patterns"].as_array().expect("patterns").len() > 5);
    let mut command = Command::new(byoc());
    command.args(["plugin", "list"]).env("BYOC_PLUGIN_PATH", Path::new(&refnpu).parent().expect("a folder"));
    let list = run_command(&mut command, Duration::from_secs(30)).expect(0);
    assert!(list.stdout.contains("refnpu"), "{}", list.stdout);
}

#[test]
fn bench_writes_its_figures() {
    let refnpu = refnpu();
    let folder = tempfile::tempdir().expect("folder");
    let (model, out) = (demo_model(folder.path()), folder.path().join("bench.json"));
    let words = ["bench", text(&model), "--plugin", &refnpu, "--seconds", "0.1", "--threads", "2"];
    run(words.iter().copied().chain(["--profile", "--json", text(&out)])).expect(0);
    let figures = json(&out);
    for key in ["median_ms", "p90_ms", "min_ms", "load_ms", "peak_rss_mb"] {
        assert!(figures[key].as_f64().expect(key) > 0.0, "{key}");
    }
    assert_eq!(figures["threads"], 2);
    for target in ["host", "refnpu", "transfer"] {
        assert!(figures["by_target"][target].is_number(), "{target}");
    }
}

#[test]
fn a_profile_stands_beside_the_peak_of_the_machine() {
    let (folder, model) = written(
        "<ir_version: 10, opset_import: [\"\": 21]>
         g (float[n, 64] x, float[64, 32] w) => (float[n, 32] y) { a = MatMul(x, w) y = Softmax(a) }",
    );
    let out = folder.path().join("bench.json");
    let words = ["bench", text(&model), "--input-shape", "x=8x64", "--seconds", "0.05", "--threads", "1"];
    let done = run(words.iter().copied().chain(["--profile", "--by-step", "--json", text(&out)])).expect(0);
    for word in ["GFLOP/s", "GB/s", "of peak", "measured peak of 1 thread"] {
        assert!(done.stdout.contains(word), "{word} is not in\n{}", done.stdout);
    }
    let profile = &json(&out)["profile"];
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let (gflops, gbps) = (number(&profile["peak_gflops"]), number(&profile["peak_gbps"]));
    assert!(gflops > 0.1 && gbps > 0.1, "{profile}");
    let product = &profile["steps"][0];
    assert_eq!((&product["op"], &product["calls"]), (&"MatMul".into(), &1.into()));
    assert_eq!(
        (&product["flops"], &product["bytes"]),
        (&(2 * 8 * 32 * 64).into(), &(4 * (512 + 2048 + 256)).into())
    );
    let (ms, share) = (number(&product["ms"]), number(&product["of_peak"]));
    let least = (2.0 * 8.0 * 32.0 * 64.0 / gflops).max(4.0 * 2816.0 / gbps) / 1e6;
    assert!((share * ms / least - 1.0).abs() < 1e-6, "{product}");
    assert_eq!(profile["steps"][1]["op"], "Softmax");
}

#[test]
fn outputs_and_timings_are_written_and_passes_verified() {
    let folder = tempfile::tempdir().expect("folder");
    let model = demo_model(folder.path());
    let (out, timings) = (folder.path().join("out"), folder.path().join("timings.json"));
    let words = ["run", text(&model), "--random", "3", "--output", text(&out), "--timings", text(&timings)];
    run(words).expect(0);
    assert!(out.join("output_0.pb").exists());
    for stage in ["load", "infer", "normalise", "partition", "prepare", "run"] {
        assert!(json(&timings)[stage].is_number(), "{stage}");
    }
    run(["run", text(&model), "--verify-passes"]).expect(0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().expect("folder");
    let model = demo_model(folder.path());
    let mut command = Command::new(byoc());
    command.args(["partition", text(&model), "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    drop(child.stdout.take());
    let done = child.wait_with_output().expect("ended");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
