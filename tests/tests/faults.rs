//! What the reference accelerator does wrong on request: `byoc verify` finds it, and `byoc run --isolate` gets over it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use byoc::isolate::WorkerCommand;
use byoc::verify::{Results, Verdict};
use byoc::{Isolation, PluginOption, PluginOptions, Session, random};
use byoc_tests::{Finished, plugin, run, written};

/// What is found where by `verify`; and what `run` says of it, where it has to say anything.
struct Fault {
    name: &'static str,
    check: &'static str,
    verdict: Verdict,
    run: Option<&'static str>,
}

const FAULTS: [Fault; 9] = [
    Fault::new("compile_error", "numerics/conv", Verdict::Fail, Some("told to compile nothing")),
    Fault::new("compile_hang", "numerics/conv", Verdict::Hang, Some("took longer than 3 s")),
    Fault::new("compile_crash", "numerics/conv", Verdict::Crash, Some("SIGABRT")),
    Fault::new("execute_crash", "numerics/conv", Verdict::Crash, Some("SIGABRT")),
    Fault::new("execute_hang", "numerics/conv", Verdict::Hang, Some("took longer than 3 s")),
    Fault::new("wrong_result", "numerics/conv", Verdict::Fail, Some("beyond tolerance")),
    Fault::new("leak", "life/rounds", Verdict::Fail, None),
    Fault::new(
        "slow_load",
        "interface/load",
        Verdict::Hang,
        Some("it cannot be opened: its worker took longer"),
    ),
    Fault::new(
        "false_claim",
        "numerics/qlinear_add",
        Verdict::Fail,
        Some("has a rank other than 2, 3 and 4"),
    ),
];

impl Fault {
    const fn new(
        name: &'static str,
        check: &'static str,
        verdict: Verdict,
        run: Option<&'static str>,
    ) -> Fault {
        Fault { name, check, verdict, run }
    }

    fn words(&self) -> [String; 2] {
        ["--plugin-option".into(), format!("refnpu.fault={}", self.name)]
    }
}

fn npu() -> String {
    plugin("byoc-refnpu").display().to_string()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn verify_finds_every_fault() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (json, save) = (path(folder.path(), "results.json"), path(folder.path(), "saved"));
    for fault in &FAULTS {
        let check = format!("^({}|interface/load)$", fault.check);
        let words = ["--filter", &check, "--timeout", "3", "--rounds", "100", "--cases", "6"];
        let call = ["verify".into(), npu(), "--json".into(), json.clone(), "--save".into(), save.clone()];
        let given = words.iter().map(ToString::to_string).chain(fault.words());
        let done = run(call.into_iter().chain(given)).expect(1);
        let results: Results =
            serde_json::from_str(&std::fs::read_to_string(&json).expect("written")).expect("results");
        let bad = results.checks.iter().filter(|c| c.verdict.is_bad());
        let bad: Vec<(String, Verdict)> = bad.map(|c| (c.label(), c.verdict)).collect();
        assert_eq!(bad, [(fault.check.to_owned(), fault.verdict)], "{}:\n{}", fault.name, done.stdout);
    }
}

/// An addition that the accelerator does; of one dimension it is one that its table takes and its code generator refuses.
const ADDITION: &str = r#"<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
g (int8[2,4] a, int8[2,4] b) => (int8[2,4] y) <float s = {0.5}, int8 z = {0}> {
    y = com.microsoft.QLinearAdd(a, s, z, b, s, z, s, z)
}"#;

struct Setup {
    folder: tempfile::TempDir,
    /// The demo's, of which some stays on the host.
    network: PathBuf,
    addition: PathBuf,
    claimed: PathBuf,
}

impl Setup {
    fn new() -> Setup {
        let (folder, addition) = written(ADDITION);
        let claimed = folder.path().join("claimed.onnxtxt");
        std::fs::write(&claimed, ADDITION.replace("[2,4]", "[4]")).expect("written");
        let network = folder.path().join("network.onnx");
        let model = byoc::demo::network(7).expect("the demo's network can be built");
        byoc_graph::onnx::save(&model, &network).expect("written");
        Setup { folder, network, addition, claimed }
    }

    /// What a fault is tried on: the whole of it is for the vendor, or a part.
    fn model(&self, fault: &Fault, whole: bool) -> &Path {
        match (fault.name, whole) {
            ("false_claim", _) => &self.claimed,
            (_, true) => &self.addition,
            (_, false) => &self.network,
        }
    }

    /// Runs on the same inputs every time; the output, where there is one.
    fn run(&self, model: &Path, words: &[String]) -> (Finished, Option<Vec<u8>>) {
        let out = tempfile::tempdir_in(&self.folder).expect("a temporary folder");
        let written = path(out.path(), "");
        let model = model.display().to_string();
        let call = ["run", &model, "--random", "5", "--threads", "2", "--output", &written];
        let done = run(call.iter().map(ToString::to_string).chain(words.iter().cloned()));
        (done, std::fs::read(out.path().join("output_0.pb")).ok())
    }

    fn isolated(&self, fault: &Fault, model: &Path, more: &[&str]) -> (Finished, Option<Vec<u8>>) {
        let plugin = ["--plugin".to_owned(), npu()];
        let isolated = ["--isolate", "--vendor-timeout", "3", "--policy", "greedy"].map(str::to_owned);
        // What is no more than wrong is seen by those who look.
        let look = (fault.name == "wrong_result").then(|| "--compare-layers".to_owned());
        let words = [&plugin[..], &isolated[..], &fault.words()[..]].concat();
        let more = more.iter().map(ToString::to_string);
        self.run(model, &words.into_iter().chain(look).chain(more).collect::<Vec<_>>())
    }
}

#[test]
fn isolated_runs_survive_every_fault() {
    let setup = Setup::new();
    for fault in &FAULTS {
        let model = setup.model(fault, false);
        let host = setup.run(model, &[]).1.expect("the host computes it");
        let (done, output) = setup.isolated(fault, model, &[]);
        assert!(output == Some(host), "{}: {done:?}", fault.name);
        let done = done.expect(0);
        assert_eq!(done.stderr.contains("warning"), fault.run.is_some(), "{}: {done:?}", fault.name);
        assert!(done.stderr.contains(fault.run.unwrap_or_default()), "{}: {done:?}", fault.name);
    }
}

#[test]
fn under_strict_every_fault_that_shows_is_an_error() {
    let setup = Setup::new();
    for fault in FAULTS.iter().filter(|fault| fault.run.is_some()) {
        let (done, output) = setup.isolated(fault, setup.model(fault, true), &["--strict"]);
        assert_eq!((done.status, output), (Some(1), None), "{}: {done:?}", fault.name);
        let what = fault.run.unwrap_or_default();
        assert!(done.stderr.contains("refnpu") && done.stderr.contains(what), "{}: {done:?}", fault.name);
    }
}

#[test]
fn bisect_names_the_operator_that_is_wrong_and_the_region_that_crashes() {
    let setup = Setup::new();
    let (network, out) = (setup.network.display().to_string(), path(setup.folder.path(), "found"));
    let bisect = |options: &[&str]| {
        let npu = npu();
        let call = ["bisect", &network, "--plugin", &npu, "--isolate", "--policy", "greedy", "-o", &out];
        run(call.iter().chain(options.iter().flat_map(|o| [&"--plugin-option", o])))
    };
    let done = bisect(&["refnpu.fault=wrong_result", "refnpu.fault_node=MaxPool"]).expect(1);
    assert!(done.stdout.contains("MaxPool") && !done.stdout.contains("Conv"), "{}", done.stdout);
    let done = bisect(&["refnpu.fault=compile_crash"]).expect(1);
    assert!(done.stdout.contains("refnpu_0: ") && done.stdout.contains("SIGABRT"), "{}", done.stdout);
    assert!(done.stderr.contains("in region refnpu_0"), "{}", done.stderr);
    bisect(&[]).expect(0);
}

#[test]
fn crashes_at_random_lose_no_run() {
    let setup = Setup::new();
    let isolation = Isolation::all(WorkerCommand::new(byoc_tests::byoc()).argument("plugin-worker"));
    let option = |key: &str, value: &str| PluginOption {
        vendor: "refnpu".into(),
        key: key.into(),
        value: value.into(),
    };
    let values = vec![option("fault", "execute_crash"), option("fault_one_in", "20")];
    let options = PluginOptions { values, isolation: Some(isolation) };
    let session = Session::builder(&setup.network).plugin(npu()).plugin_options(options).threads(2).build();
    let (session, host) = (session.expect("built"), Session::load(&setup.network).expect("built"));
    let inputs = random::fill(host.graph(), &HashMap::new(), &mut HashMap::new(), 1).expect("inputs");
    let inputs: Vec<_> = inputs.into_iter().collect();
    let alone = Session::builder(&setup.network).plugin(npu()).threads(2).build().expect("built");
    // A step of the quantisation apart, perhaps; each answer is one of them as a whole.
    let right = [&host, &alone].map(|session| session.run(&inputs).expect("an answer"));
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(right.contains(&session.run(&inputs).expect("an answer")));
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
    let end = Instant::now() + Duration::from_secs(60);
    let told = || session.fallbacks().join("\n");
    while !(told().contains("SIGABRT") && told().contains("the worker of refnpu was replaced")) {
        assert!(right.contains(&session.run(&inputs).expect("an answer")));
        assert!(Instant::now() < end, "{}", told());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_fault_that_does_not_exist_is_an_error() {
    let setup = Setup::new();
    let unknown = Fault::new("none_such", "", Verdict::Fail, None);
    let (done, _) = setup.isolated(&unknown, &setup.network, &[]);
    assert!(done.expect(1).stderr.contains("fault `none_such` is not one of none, compile_error"));
}
