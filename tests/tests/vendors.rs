//! Vendors of every kind through the whole pipeline: in Rust, C and C++, with memory of their own or none, and
//! with faults at every call. Whatever a plugin does, the answer is the host's, or there is an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use byoc::{PluginOption, PluginOptions, Report, Session};
use byoc_plugin::abi::{self, section};
use byoc_tests::{Finished, plugin, root, run, written};

/// Element-wise operators that every plugin here has, and one whose output only running can size.
const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4] x, float[4] y) => (float[4] r, int64[1,n] where) <float[4] k = {1, -2, 0.5, 4}> {
    s = Add(x, y)
    p = Mul(s, k)
    r = Relu(p)
    where = NonZero(r)
}"#;

/// A function that is called with two shapes, and that calls another.
const FUNCTIONS: &str = r#"<ir_version: 10, opset_import: ["": 21, "local": 1]>
g (float[4] x, float[2,3] z) => (float[4] r, float[2,3] w) {
    r = local.outer(x)
    w = local.outer(z)
}
<domain: "local", opset_import: ["": 21, "local": 1]>
outer (p) => (q) {
    s = Add(p, p)
    q = local.inner(s)
}
<domain: "local", opset_import: ["": 21]>
inner (p) => (q) { q = Relu(p) }"#;

struct Setup {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Setup {
    fn new() -> Setup {
        Setup::of(MODEL)
    }

    fn of(model: &str) -> Setup {
        let (folder, model) = written(model);
        Setup { folder, model }
    }

    /// Runs the model on the same inputs every time; its outputs as they were written, if they were.
    fn run(&self, words: &[&str]) -> (Finished, Option<[Vec<u8>; 2]>) {
        let out = tempfile::tempdir_in(&self.folder).expect("a temporary folder");
        let (model, written) = (text(&self.model), text(out.path()));
        let call = ["run", model, "--random", "3", "--threads", "2", "--output", written];
        let done = run(call.iter().chain(words));
        let output = |k: usize| fs::read(out.path().join(format!("output_{k}.pb"))).ok();
        (done, output(0).zip(output(1)).map(<[_; 2]>::from))
    }

    /// The answer of the host alone.
    fn host(&self) -> [Vec<u8>; 2] {
        let (done, outputs) = self.run(&[]);
        done.expect(0);
        outputs.expect("the outputs are written")
    }

    /// Compiles a plugin in C or C++.
    fn build(&self, compiler: &str, source: &str, words: &[&str]) -> PathBuf {
        let library = self.folder.path().join(format!("lib{compiler}.so"));
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden"]).args(words);
        command.arg("-I").arg(root().join("framework/plugin/include"));
        command.arg(root().join("tests/plugins").join(source)).arg("-o").arg(&library);
        let output = command.output().unwrap_or_else(|e| panic!("{compiler} is needed for this test: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What the probe does wrong, as a word of the command line.
fn fault(how: &str, call: &str) -> String {
    format!("probe.fault={how}:{call}")
}

#[test]
fn every_kind_of_plugin_gives_the_answer_of_the_host() {
    let setup = Setup::new();
    let host = setup.host();
    let plugins = [
        ("probe", 4, plugin("byoc-probe")),
        ("onnx-bytes", 4, plugin("byoc-onnx-bytes")),
        ("far-device", 3, plugin("byoc-far-device")),
        ("c-elementwise", 3, setup.build("gcc", "c_elementwise/plugin.c", &["-std=c11"])),
        (
            "cpp-elementwise",
            3,
            setup.build("g++", "cpp_elementwise/plugin.cc", &["-std=c++17", "-fno-gnu-unique"]),
        ),
        ("cpp-class", 3, setup.build("c++", "cpp_class/plugin.cc", &["-std=c++17", "-fno-gnu-unique"])),
    ];
    for (name, taken, path) in plugins {
        let (done, outputs) = setup.run(&["--plugin", text(&path)]);
        let done = done.expect(0);
        let summary = format!("{name}: {taken} of 4 nodes in 1 region");
        assert!(done.stderr.contains(&summary), "{name}: {}", done.stderr);
        assert!(!done.stderr.contains("warning"), "{name}: {}", done.stderr);
        assert!(outputs.as_ref() == Some(&host), "{name}: another answer\n{}", done.stdout);
    }
}

#[test]
fn functions_run_on_a_vendor_by_their_calls() {
    let setup = Setup::of(FUNCTIONS);
    let host = setup.host();
    for (name, path) in [("probe", plugin("byoc-probe")), ("onnx-bytes", plugin("byoc-onnx-bytes"))] {
        let (done, outputs) = setup.run(&["--plugin", text(&path)]);
        let done = done.expect(0);
        assert!(done.stderr.contains(&format!("{name}: 4 of 8 nodes in 4 regions")), "{}", done.stderr);
        assert_eq!(outputs.expect("the outputs are written"), host, "{name}");
    }
    // With shapes that are known only when it runs.
    let (folder, model) = written(&FUNCTIONS.replace("float[4]", "float[N]"));
    let setup = Setup { folder, model };
    let (done, outputs) = setup.run(&["--dim", "N=4", "--plugin", text(&plugin("byoc-onnx-bytes"))]);
    done.expect(0);
    assert_eq!(outputs.expect("the outputs are written"), host);
}

#[test]
fn two_plugins_share_a_model() {
    let setup = Setup::new();
    let (far, probe) = (plugin("byoc-far-device"), plugin("byoc-probe"));
    let words = ["--plugin", text(&far), "--plugin", text(&probe), "--strict", "--force", "p=probe"];
    let (done, outputs) = setup.run(&words);
    let done = done.expect(0);
    assert!(done.stderr.contains("far-device: 2 of 4") && done.stderr.contains("probe: 2 of 4"), "{done:?}");
    assert!(outputs == Some(setup.host()));
}

/// What the device makes goes to the host twice, and what the host makes goes to two regions of the device.
const BORDERS: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[64] x) => (float[64] y, float[64] z) {
    a = Add(x, x)
    n = Neg(a)
    b = Mul(x, n)
    c = Add(a, n)
    m = Neg(b)
    y = Sub(b, m)
    z = Mul(c, a)
}"#;

#[test]
fn what_crosses_a_border_is_copied_once() {
    let setup = Setup::of(BORDERS);
    let (far, json) = (plugin("byoc-far-device"), setup.folder.path().join("bench.json"));
    let call = ["bench", text(&setup.model), "--plugin", text(&far), "--policy", "greedy", "--seconds", "0"];
    run(call.iter().chain(&["--profile", "--by-step", "--json", text(&json)])).expect(0);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON");
    let steps = report["profile"]["steps"].as_array().expect("the steps");
    let of = |target: &str| -> Vec<&str> {
        let steps = steps.iter().filter(|step| step["target"] == target);
        steps.map(|step| step["what"].as_str().expect("a name")).collect()
    };
    assert!(of("far-device").len() > 1, "{steps:?}");
    let mut copied = of("transfer");
    copied.sort_unstable();
    assert_eq!(copied, ["a", "b", "n", "x", "z"], "{steps:?}");
    // And the answer is the host's.
    let (done, outputs) = setup.run(&["--plugin", text(&far)]);
    done.expect(0);
    assert!(outputs == Some(setup.host()));
}

#[test]
fn an_option_reaches_the_code_that_computes() {
    let setup = Setup::new();
    let probe = plugin("byoc-probe");
    let answer = |option: &str| {
        let (done, outputs) = setup.run(&["--plugin", text(&probe), "--plugin-option", option]);
        done.expect(0);
        outputs
    };
    assert!(answer("probe.own=true") == Some(setup.host()));
    assert!(answer("probe.scale=2") != Some(setup.host()), "the products are not the plugin's");
}

#[test]
fn a_panic_leaves_the_work_to_the_host() {
    let setup = Setup::new();
    let (probe, host) = (plugin("byoc-probe"), setup.host());
    for call in ["check_match", "check_region", "compile", "new_context", "execute", "loop", "execute_end"] {
        let fault = fault("panic", call);
        let words = ["--plugin", text(&probe), "--plugin-option", &fault];
        let (done, outputs) = setup.run(&words);
        let done = done.expect(0);
        let warned =
            done.stderr.lines().any(|l| l.starts_with("warning: probe") && l.contains("told to panic"));
        assert!(warned, "{call}: {}", done.stderr);
        assert!(outputs.as_ref() == Some(&host), "{call}: another answer\n{}", done.stdout);

        let (done, outputs) = setup.run(&[&words[..], &["--strict"]].concat());
        let done = done.expect(1);
        let refused = done.stderr.lines().any(|l| l.starts_with("error: ") && l.contains("told to panic"));
        assert!(refused && outputs.is_none(), "{call}: {}", done.stderr);
    }
}

#[test]
fn a_failure_of_a_run_is_an_error() {
    let setup = Setup::new();
    let probe = plugin("byoc-probe");
    for call in ["new_context", "execute", "execute_end"] {
        let (done, outputs) = setup.run(&["--plugin", text(&probe), "--plugin-option", &fault("fail", call)]);
        let done = done.expect(1);
        let told = format!("told to fail in {call}");
        assert!(done.stderr.contains("`probe`") && done.stderr.contains(&told), "{call}: {}", done.stderr);
        assert!(outputs.is_none(), "{call}: an answer of a failed run");
    }
}

#[test]
fn a_plugin_that_does_not_open_is_an_error() {
    let setup = Setup::new();
    let probe = plugin("byoc-probe");
    for how in ["fail", "panic"] {
        let (done, _) = setup.run(&["--plugin", text(&probe), "--plugin-option", &fault(how, "open")]);
        let done = done.expect(1);
        assert!(done.stderr.contains(&format!("told to {how} in open")), "{}", done.stderr);
    }
}

#[test]
fn a_region_that_does_not_compile_goes_back_to_the_host() {
    let setup = Setup::new();
    let probe = plugin("byoc-probe");
    let (done, outputs) =
        setup.run(&["--plugin", text(&probe), "--plugin-option", &fault("fail", "compile")]);
    let done = done.expect(0);
    assert!(done.stderr.contains("probe: 0 of 4 nodes"), "{}", done.stderr);
    assert!(done.stderr.contains("warning: probe keeps region"), "{}", done.stderr);
    assert!(outputs == Some(setup.host()));

    let option = PluginOption { vendor: "probe".into(), key: "fault".into(), value: "fail:compile".into() };
    let builder = Session::builder(&setup.model).plugin(text(&probe));
    let session =
        builder.plugin_options(PluginOptions::from(vec![option])).build().expect("the host can run it");
    let report: &Report = session.report();
    assert!(report.regions.is_empty() && report.nodes.len() == 4, "{report:?}");
    for node in &report.nodes {
        let reason = serde_json::to_value(&node.reasons[0]).expect("a reason is plain data");
        assert_eq!(reason["kind"], "compile", "{}: {reason}", node.name);
        assert!(node.reasons[0].detail.contains("told to fail in compile"), "{}: {reason}", node.name);
    }
}

#[test]
fn options_are_checked() {
    let setup = Setup::new();
    let probe = plugin("byoc-probe");
    for (option, message) in [
        (
            "probe.nonsense=1",
            "plugin `probe` has no option `nonsense`; it has `fault`, `own`, `picky`, `scale`",
        ),
        ("probe.scale=big", "option `scale` of plugin `probe` must be a number, not `big`"),
        ("prob.scale=1", "no vendor is named `prob`"),
    ] {
        let (done, _) = setup.run(&["--plugin", text(&probe), "--plugin-option", option]);
        let done = done.expect(1);
        assert!(done.stderr.contains(message), "{option}: {}", done.stderr);
    }
}

#[test]
fn a_device_is_chosen_by_name_or_number() {
    let setup = Setup::new();
    let (far, host) = (plugin("byoc-far-device"), setup.host());
    let report = setup.folder.path().join("report.json");
    let target = |words: &[&str]| {
        let several = ["--plugin", text(&far), "--plugin-option", "far-device.devices=2"];
        let words = [&several, words].concat();
        let (done, outputs) = setup.run(&words);
        assert!(done.status != Some(0) || outputs.as_ref() == Some(&host), "{words:?}: another answer");
        let written = ["partition", text(&setup.model), "--report", text(&report)];
        let _ = run(written.iter().chain(&words));
        let text = fs::read_to_string(&report).expect("the report is written");
        let read: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
        (done, read["regions"][0]["target"].as_str().expect("a target").to_owned())
    };
    assert_eq!(target(&[]).1, "far-device");
    assert_eq!(target(&["--device", "far-device=1"]).1, "far-device:far 1");
    let forced = ["--device", "far-device=far 1", "--force", "p=far-device:far 1"];
    assert_eq!(target(&forced).1, "far-device:far 1");
    let unknown = target(&["--device", "far-device=2"]).0.expect(1);
    let message = "far-device has no device `2`; it has 0: far 0, 1: far 1";
    assert!(unknown.stderr.contains(message), "{}", unknown.stderr);
}

#[test]
fn a_newer_interface_is_refused_with_both_epochs() {
    let setup = Setup::new();
    let mut bytes = fs::read(plugin("byoc-probe")).expect("the plugin can be read");
    // The mark stands before the epoch in the section, and perhaps in code that compares it.
    let marks = bytes.windows(section::MAGIC.len()).enumerate();
    let places: Vec<usize> = marks.filter(|(_, w)| *w == section::MAGIC).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for place in places {
        let at = place + section::MAGIC.len();
        bytes[at..at + 4].copy_from_slice(&(abi::EPOCH + 7).to_le_bytes());
    }
    let newer = setup.folder.path().join("newer.so");
    fs::write(&newer, bytes).expect("written");
    let (done, _) = setup.run(&["--plugin", text(&newer)]);
    let done = done.expect(1);
    for epoch in [abi::EPOCH, abi::EPOCH + 7] {
        assert!(done.stderr.contains(&format!("epoch {epoch}")), "{}", done.stderr);
    }
}
