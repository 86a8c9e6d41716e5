//! `byoc verify`: what is good passes, what is wrong is found, and what is broken breaks nothing.

use std::path::{Path, PathBuf};

use byoc::verify::{Results, Verdict};
use byoc_tests::{Finished, plugin, run};

/// A run of `verify` that keeps to what a test has time for.
struct Verified {
    done: Finished,
    results: Results,
    folder: tempfile::TempDir,
}

fn verify(library: &Path, words: &[&str]) -> Verified {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (json, save) = (path("results.json"), path("saved"));
    let library = library.display().to_string();
    let usual = ["verify", &library, "--json", &json, "--save", &save, "--rounds", "300"];
    let done = run(usual.iter().chain(words));
    let results = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("{}", done.stderr));
    Verified { results: serde_json::from_str(&results).unwrap(), done, folder }
}

impl Verified {
    fn verdict(&self, label: &str) -> Verdict {
        let check = self.results.checks.iter().find(|c| c.label() == label);
        check.unwrap_or_else(|| panic!("no check {label} in\n{}", self.done.stdout)).verdict
    }

    /// Labels of what is wrong.
    fn bad(&self) -> Vec<String> {
        let bad = self.results.checks.iter().filter(|c| c.verdict.is_bad());
        bad.map(byoc::verify::Check::label).collect()
    }

    fn saved(&self, pattern: &str) -> PathBuf {
        self.folder.path().join("saved").join(pattern)
    }
}

#[test]
fn the_reference_accelerator_passes() {
    let verified = verify(&plugin("byoc-refnpu"), &["--cases", "16"]);
    assert_eq!(verified.bad(), [""; 0], "{}", verified.done.stdout);
    verified.done.expect(0);
}

#[test]
fn a_plugin_that_is_a_cpp_class_passes() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libclass.so");
    let mut compile = std::process::Command::new("c++");
    compile.args(["-shared", "-fPIC", "-O1", "-std=c++17", "-fvisibility=hidden", "-fno-gnu-unique"]);
    compile.arg("-Wl,-Bsymbolic").arg("-I").arg(byoc_tests::root().join("framework/plugin/include"));
    compile.arg(byoc_tests::root().join("tests/plugins/cpp_class/plugin.cc")).arg("-o").arg(&library);
    assert!(compile.status().expect("a C++ compiler is needed for this test").success());
    let verified = verify(&library, &["--cases", "8"]);
    assert_eq!(verified.bad(), [""; 0], "{}", verified.done.stdout);
    for label in ["life/artefact", "life/threads", "numerics/binary"] {
        assert_eq!(verified.verdict(label), Verdict::Pass);
    }
}

#[test]
fn a_device_is_chosen() {
    let words = ["--plugin-option", "far-device.devices=2", "--filter", "load|numerics", "--cases", "4"];
    for (device, status, what) in
        [("1", 0, "of which far 1 is used"), ("far 0", 0, "far 0 is used"), ("7", 1, "no device `7`")]
    {
        let verified = verify(&plugin("byoc-far-device"), &[&words[..], &["--device", device]].concat());
        assert!(verified.done.stdout.contains(what), "{}", verified.done.stdout);
        verified.done.expect(status);
    }
}

#[test]
fn a_rounding_mode_and_a_clause_too_wide_are_found_and_shrunk() {
    let library = plugin("byoc-wrong");
    let verified = verify(&library, &[]);
    assert_eq!(verified.bad(), ["numerics/quantise", "numerics/add"], "{}", verified.done.stdout);
    for pattern in ["quantise", "add"] {
        let folder = verified.saved(pattern);
        let model = byoc::onnx::load(folder.join("model.onnx")).unwrap();
        assert!(model.graph.node_count() <= 3, "{pattern}");
        let elements = |v: &byoc::Graph| {
            let types = v.inputs().iter().filter_map(|i| v.value(*i).ty.as_ref()?.as_tensor()?.elements());
            types.sum::<usize>()
        };
        assert!(elements(&model.graph) <= 12, "{pattern}: {} elements", elements(&model.graph));
        // The command that was printed shows it again.
        let printed =
            verified.results.checks.iter().find(|c| c.name == pattern && c.group == "numerics").unwrap();
        let words: Vec<&str> = printed.repeat.as_ref().unwrap().split(' ').skip(1).collect();
        let again = run(&words).expect(1);
        assert!(again.stdout.contains("DIFFERS"), "{}", again.stdout);
    }
    verified.done.expect(1);
}

/// Ways to fail, what is found, and how. What an accelerator does wrong is in `faults.rs`.
const FAULTS: [(&str, &str, Verdict); 5] = [
    ("exit", "numerics/neg", Verdict::Crash),
    ("overflow", "numerics/neg", Verdict::Crash),
    ("hang", "numerics/neg", Verdict::Hang),
    ("panic", "numerics/neg", Verdict::Fail),
    ("drift", "life/determinism", Verdict::Fail),
];

#[test]
fn every_way_to_fail_has_its_verdict() {
    for (how, label, verdict) in FAULTS {
        let option = format!("faulty.how={how}");
        let words = ["--plugin-option", &option, "--filter", "file|load|neg|determinism", "--timeout", "4"];
        let verified = verify(&plugin("byoc-faulty"), &words);
        assert_eq!(verified.verdict(label), verdict, "{how}:\n{}", verified.done.stdout);
        verified.done.expect(1);
    }
}

#[test]
fn broken_files_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(plugin("byoc-wrong")).unwrap();
    let mut foreign = bytes.clone();
    // The machine of the header: AArch64.
    foreign[18] = 183;
    let source = folder.path().join("abort.c");
    std::fs::write(&source, ABORTS).unwrap();
    let built = |name: &str, flags: &[&str]| {
        let library = folder.path().join(name);
        let mut cc = std::process::Command::new("cc");
        let done = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).args(flags).status();
        assert!(done.unwrap().success());
        std::fs::read(library).unwrap()
    };
    let include = byoc_tests::root().join("framework/plugin/include").display().to_string();
    let cases = [
        ("truncated", bytes[..bytes.len() / 2].to_vec(), "file/library", Verdict::Fail, "ends too early"),
        ("foreign", foreign, "file/library", Verdict::Fail, "is built for"),
        ("empty", built("empty.so", &["-DEMPTY"]), "file/library", Verdict::Fail, "exports no"),
        ("aborts", built("a.so", &["-I", &include]), "interface/load", Verdict::Crash, "SIGABRT"),
        (
            "needing",
            built("b.so", &["-I", &include, "-DMISSING"]),
            "interface/load",
            Verdict::Fail,
            "undefined symbol: nowhere_to_be_found",
        ),
    ];
    let (_folder, model) = byoc_tests::written(LONGER);
    let model = model.to_str().unwrap();
    for (name, content, label, verdict, words) in cases {
        let library = folder.path().join(format!("lib{name}.so"));
        std::fs::write(&library, content).unwrap();
        let verified = verify(&library, &[]);
        assert_eq!(verified.verdict(label), verdict, "{name}:\n{}", verified.done.stdout);
        assert!(verified.done.stdout.contains(words), "{name}:\n{}", verified.done.stdout);
        verified.done.expect(1);
        // One error that names the file, and no other end.
        let library = library.to_str().unwrap();
        let done = run(["run", model, "--random", "1", "--plugin", library]).expect(1);
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains(library), "{name}: {done:?}");
        assert!(done.stderr.contains(words), "{name}: {done:?}");
        run(["doctor", library]).expect(1);
    }
}

/// Ends the process when it is loaded; with `EMPTY` it exports nothing at all, with `MISSING` it lacks a function.
const ABORTS: &str = r#"
#ifdef EMPTY
static int nothing;
int *hidden(void) __attribute__((visibility("hidden")));
int *hidden(void) { return &nothing; }
#else
#include <byoc.h>
#include <stdlib.h>
void nowhere_to_be_found(void);
#ifdef MISSING
__attribute__((constructor)) static void start(void) { nowhere_to_be_found(); }
#else
__attribute__((constructor)) static void start(void) { abort(); }
#endif
static byoc_error *compile(byoc_compile_args *args) { (void)args; return NULL; }
static byoc_error *execute(byoc_execute_args *args) { (void)args; return NULL; }
static void destroy(void *executable) { (void)executable; }
BYOC_PLUGIN("aborts", "1", "[vendor]\nname = \"aborts\"\n", compile, execute, destroy);
#endif
"#;

/// A wrong QuantizeLinear (three channels) between good ones (two channels, then four).
const LONGER: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[1,2,4] a, float[1,3,4] b) => (int8[1,2,4] p, int8[1,3,4] q, float[1,3,4] t)
<float s = {0.3}, int8 z = {0}> {
    r = Relu(a)
    p = QuantizeLinear(r, s, z)
    e = Exp(b)
    n = Neg(e)
    q = QuantizeLinear(n, s, z)
    t = Add(n, e)
}"#;

#[test]
fn bisecting_finds_the_node_that_is_wrong() {
    let (folder, model) = byoc_tests::written(LONGER);
    let out = folder.path().join("out");
    let library = plugin("byoc-wrong").display().to_string();
    let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
    let done = run(["bisect", model, "--plugin", &library, "-o", out]).expect(1);
    assert!(done.stdout.contains("quantise of wrong_") && done.stdout.contains("nodes q"), "{}", done.stdout);
    let written = byoc::onnx::load(Path::new(out).join("model.onnx")).unwrap();
    assert_eq!(written.graph.node_count(), 1);
    assert!(Path::new(out).join("vendor/output_0.pb").exists());
    run(["run", &format!("{out}/model.onnx"), "--plugin", &library, "--data", out]).expect(1);
    let layers = run(["run", model, "--plugin", &library, "--random", "1", "--compare-layers"]).expect(0);
    assert!(layers.stdout.contains("beyond tolerance"), "{}", layers.stdout);
    run(["bisect", model, "--plugin", plugin("byoc-probe").to_str().unwrap(), "-o", out]).expect(0);
}

#[test]
fn fuzzing_passes_what_is_good_and_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().join("saved").display().to_string();
    let fuzz = |package: &str| {
        let library = plugin(package).display().to_string();
        run(["fuzz", &library, "--seconds", "4", "--seed", "3", "--save", &save])
    };
    let good = fuzz("byoc-refnpu").expect(0);
    assert!(good.stdout.contains("all as on the host"), "{}", good.stdout);
    let bad = fuzz("byoc-wrong").expect(1);
    let model = byoc::onnx::load(folder.path().join("saved/model.onnx")).unwrap();
    assert!(model.graph.node_count() <= 3, "{}", bad.stdout);
}
