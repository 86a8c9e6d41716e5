//! Plugins in worker processes: whatever they do to their process, the answer is the host's, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use byoc::isolate::WorkerCommand;
use byoc::{Isolation, PluginOptions, Session};
use byoc_tests::{FAULTY_MODEL, Finished, byoc, failing, faulty_input, plugin, run, run_command, written};

/// Every way to fail, and a part of what is said of it.
const FAULTS: [(&str, &str); 6] = [
    ("abort", "signal: 6 (SIGABRT)"),
    ("segv", "signal: 11 (SIGSEGV)"),
    ("exit", "exit status: 3"),
    ("overflow", "signal: 6 (SIGABRT)"),
    ("panic", "it panicked: "),
    ("hang", "its worker took longer than 2 s"),
];

struct Setup {
    folder: tempfile::TempDir,
    model: String,
}

impl Setup {
    fn new() -> Setup {
        let (folder, model) = written(FAULTY_MODEL);
        Setup { folder, model: text(&model) }
    }

    /// Runs the model on the same inputs every time; its output, where there is one.
    fn run(&self, words: &[&str]) -> (Finished, Option<Vec<u8>>) {
        let out = tempfile::tempdir_in(&self.folder).expect("a temporary folder");
        let written = text(out.path());
        let call = ["run", &self.model, "--random", "3", "--threads", "2", "--output", &written];
        let done = run(call.iter().chain(words));
        (done, fs::read(out.path().join("output_0.pb")).ok())
    }

    fn host(&self) -> Vec<u8> {
        self.run(&[]).1.expect("the host computes it")
    }

    /// As [`Setup::run`] with the plugin that fails in this way.
    fn faulty(&self, how: &str, at: &str, words: &[&str]) -> (Finished, Option<Vec<u8>>) {
        let plugin = text(&plugin("byoc-faulty"));
        let (how, at) = (format!("faulty.how={how}"), format!("faulty.at={at}"));
        let call = ["--plugin", &plugin, "--plugin-option", &how, "--plugin-option", &at, "--isolate"];
        self.run(&[&call, words].concat())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn an_isolated_plugin_computes_what_others_do() {
    let setup = Setup::new();
    let (done, output) = setup.faulty("none", "execute", &["--strict", "--exclude", "Tanh"]);
    assert_eq!(done.status, Some(1), "Tanh stays on the host: {done:?}");
    assert!(output.is_none());
    let (done, output) = setup.faulty("none", "execute", &[]);
    assert!(done.clone().expect(0).stderr.contains("faulty: 4 of 5 nodes in 2 regions"), "{done:?}");
    assert!(!done.stderr.contains("warning"), "{done:?}");
    assert_eq!(output, Some(setup.host()));
}

#[test]
fn a_fault_in_a_run_goes_to_the_host() {
    let setup = Setup::new();
    let host = setup.host();
    for (how, what) in FAULTS {
        let (done, output) = setup.faulty(how, "execute", &["--vendor-timeout", "2"]);
        assert_eq!(output, Some(host.clone()), "{how}: {done:?}");
        let done = done.expect(0);
        assert!(
            done.stderr
                .contains("warning: faulty failed in execute of faulty_0, the host runs its regions: "),
            "{how}: {done:?}"
        );
        assert!(done.stderr.contains(what), "{how}: {done:?}");
        let (done, output) =
            setup.faulty(how, "execute", &["--vendor-timeout", "2", "--only-op", "Add", "--strict"]);
        assert_eq!((done.status, output), (Some(1), None), "{how} under --strict");
    }
}

#[test]
fn memory_without_end_goes_to_the_host() {
    let setup = Setup::new();
    let (done, output) = setup.faulty("eat", "execute", &["--vendor-memory", "512"]);
    assert_eq!(output, Some(setup.host()), "{done:?}");
    assert!(done.expect(0).stderr.contains("signal: 6 (SIGABRT)"));
}

#[test]
fn a_fault_while_placing_goes_to_the_host() {
    let setup = Setup::new();
    let host = setup.host();
    for at in ["check", "compile"] {
        for (how, what) in [FAULTS[1], FAULTS[2], FAULTS[5]] {
            let (done, output) = setup.faulty(how, at, &["--vendor-timeout", "2"]);
            assert_eq!(output, Some(host.clone()), "{how} in {at}: {done:?}");
            let done = done.expect(0);
            assert!(done.stderr.contains("faulty: 0 of 5 nodes in 0 regions"), "{how} in {at}: {done:?}");
            assert!(done.stderr.contains(what), "{how} in {at}: {done:?}");
        }
    }
    let (done, output) = setup.faulty("segv", "compile", &["--strict", "--exclude", "Tanh"]);
    assert_eq!((done.status, output), (Some(1), None));
}

#[test]
fn bisect_finds_the_operator_that_ends_the_worker() {
    let setup = Setup::new();
    let (plugin, out) = (text(&plugin("byoc-faulty")), text(&setup.folder.path().join("found")));
    let call = ["bisect", &setup.model, "--plugin", &plugin, "--isolate", "-o", &out];
    let done = run(call.iter().chain(&["--plugin-option", "faulty.how=segv"])).expect(1);
    assert!(done.stdout.contains("signal: 11 (SIGSEGV)") && done.stdout.contains("  as Add\n"), "{done:?}");
    run(["run", &format!("{out}/model.onnx"), "--data", &out]).expect(0);
    let fine = run(call).expect(0);
    assert!(fine.stdout.contains("none is beyond tolerance"), "{fine:?}");
}

#[test]
fn a_fault_at_the_end_harms_nobody() {
    let setup = Setup::new();
    let (done, _) = setup.faulty("speak", "close", &[]);
    assert!(done.expect(0).stderr.contains("told to speak"), "the plugin is closed");
    for (how, _) in FAULTS {
        let (done, output) = setup.faulty(how, "close", &[]);
        assert_eq!(output, Some(setup.host()), "{how}: {done:?}");
        done.expect(0);
    }
}

#[test]
fn a_plugin_that_ends_its_process_when_loaded_is_an_error() {
    let setup = Setup::new();
    let plugin = text(&plugin("byoc-faulty"));
    for (how, what) in [FAULTS[0], FAULTS[1], FAULTS[2], FAULTS[5]] {
        let byoc = |words: &[&str]| {
            let mut command = Command::new(byoc());
            command.args(words).env("BYOC_FAULTY_LOAD", how);
            run_command(&mut command, Duration::from_secs(60))
        };
        let call = ["run", &setup.model, "--random", "1", "--plugin", &plugin];
        let done = byoc(&[&call[..], &["--isolate", "--vendor-timeout", "2"]].concat()).expect(1);
        assert!(done.stderr.contains(what) && done.stderr.contains("while it was loaded"), "{done:?}");
        assert!(done.stderr.contains(&plugin), "{done:?}");
        byoc(&["plugin", "list"]).expect(0);
        byoc(&["plugin", "info", &plugin]).expect(0);
        if how != "hang" {
            let done = byoc(&["doctor", &plugin]).expect(1);
            assert!(done.stdout.contains("crash"), "{done:?}");
        }
    }
}

#[test]
fn plugins_are_isolated_by_name() {
    let setup = Setup::new();
    let (faulty, npu) = (text(&plugin("byoc-faulty")), text(&plugin("byoc-refnpu")));
    let aborts = ["--plugin-option", "faulty.how=abort", "--plugin", &npu, "--plugin", &faulty];
    for isolate in ["--isolate=faulty", &format!("--isolate={faulty}")] {
        let (done, output) = setup.run(&[&aborts[..], &[isolate]].concat());
        assert_eq!(output, Some(setup.host()), "{done:?}");
    }
    let (done, output) = setup.run(&[&aborts[..], &["--isolate=refnpu"]].concat());
    assert_eq!((done.status, output), (None, None), "faulty was in the host's process");
    let (done, _) = setup.run(&[&aborts[..], &["--isolate=other"]].concat());
    assert!(done.expect(1).stderr.contains("`other` is to be isolated, but there is no such plugin"));
}

/// Element-wise operators, with an output whose shape only the plugin can tell, for plugins of every kind: with memory
/// of their own, with regions as ONNX, in C.
#[test]
fn plugins_of_every_kind_are_the_same_when_isolated() {
    const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
        g (float[4] x, float[4] y) => (int64[1,n] where, float[4] r) <float[4] k = {1, -2, 0.5, 4}> {
            s = Add(x, y)
            p = Mul(s, k)
            r = Relu(p)
            where = NonZero(r)
        }"#;
    let (folder, model) = written(MODEL);
    let setup = Setup { folder, model: text(&model) };
    for package in ["byoc-probe", "byoc-far-device", "byoc-onnx-bytes"] {
        let plugin = text(&plugin(package));
        let (here, expected) = setup.run(&["--plugin", &plugin]);
        let (isolated, output) = setup.run(&["--plugin", &plugin, "--isolate"]);
        assert_eq!(isolated.stderr, here.stderr, "{package}");
        assert!(!here.stderr.contains(": 0 of 4") && expected.is_some(), "{package}: {here:?}");
        assert_eq!(output, expected, "{package}");
    }
}

#[test]
fn artefacts_are_saved_by_one_worker_and_loaded_by_another() {
    let (folder, _) = written("");
    let path = |name: &str| text(&folder.path().join(name));
    let network = byoc::demo::network(7).expect("the demo's network can be built");
    byoc_graph::onnx::save(&network, folder.path().join("model.onnx")).expect("written");
    let npu = text(&plugin("byoc-refnpu"));
    let (model, bundle, got, host) = (path("model.onnx"), path("m.byoc"), path("got"), path("host"));
    run(["compile", &model, "--plugin", &npu, "--isolate", "-o", &bundle]).expect(0);
    let done =
        run(["run", &bundle, "--plugin", &npu, "--isolate", "--random", "5", "--output", &got]).expect(0);
    assert!(!done.stderr.contains("warning"), "{done:?}");
    run(["run", &model, "--random", "5", "--output", &host]).expect(0);
    let output = |folder: &str| fs::read(Path::new(folder).join("output_0.pb")).expect("written");
    assert!(output(&got) == output(&host));
}

/// What the filter denies: without it each of these is done, with it each is an error of the call.
#[test]
fn a_filtered_worker_reaches_nothing() {
    let setup = Setup::new();
    let file = setup.folder.path().join("written");
    for how in ["write", "connect", "start"] {
        for filtered in [false, true] {
            let _ = fs::remove_file(&file);
            let plugin = text(&plugin("byoc-faulty"));
            let option = format!("faulty.how={how}");
            let mut command = Command::new(byoc());
            command.args(["run", &setup.model, "--random", "3", "--plugin", &plugin, "--isolate"]);
            command.args(["--plugin-option", &option]).env("BYOC_FAULTY_FILE", &file);
            command.args(filtered.then_some("--vendor-seccomp"));
            let done = run_command(&mut command, Duration::from_secs(60)).expect(0);
            assert_eq!(done.stderr.contains("Operation not permitted"), filtered, "{how}: {done:?}");
            assert_eq!(file.exists(), how == "write" && !filtered, "{how}");
        }
    }
}

#[test]
fn plugins_of_every_kind_compute_in_filtered_workers() {
    let setup = Setup::new();
    for package in ["byoc-faulty", "byoc-probe", "byoc-onnx-bytes"] {
        let plugin = text(&plugin(package));
        let expected = setup.run(&["--plugin", &plugin]).1.expect("it computes without a worker");
        let (done, output) = setup.run(&["--plugin", &plugin, "--isolate", "--vendor-seccomp"]);
        assert!(output == Some(expected) && !done.stderr.contains("warning"), "{package}: {done:?}");
        assert!(!done.stderr.contains(": 0 of 5"), "{package}: {done:?}");
    }
}

#[test]
fn a_vendor_that_is_given_up_leaves_its_nodes_to_the_next() {
    let (_folder, model) = written(FAULTY_MODEL);
    let session = failing(&model, &[("how", "exit")], Some("byoc-probe"));
    assert!(session.report().regions.iter().all(|region| region.vendor == "faulty"));
    let host = Session::builder(&model).threads(1).build().expect("it can be built");
    let end = Instant::now() + Duration::from_secs(60);
    for run in 0.. {
        let (got, want) = (session.run(&faulty_input(run)), host.run(&faulty_input(run)));
        assert_eq!(got.expect("an answer"), want.expect("an answer"));
        let told = session.fallbacks();
        // The probe has Add, and nobody else has Neg.
        if told.iter().any(|t| t.contains("probe and the host run its regions: it is given up")) {
            let first = told.iter().find(|t| t.starts_with("faulty failed in execute of faulty_0"));
            assert!(first.is_some_and(|t| t.contains("the host runs its regions: ")), "{told:?}");
            return;
        }
        assert!(Instant::now() < end, "{told:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the workers of this process that serve a plugin whose library is mapped there.
fn end_workers(library: &str) {
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let me = format!(" {} ", std::process::id());
    for process in processes.map(|entry| entry.path()) {
        let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
        let is_ours =
            read("stat").rsplit(')').next().is_some_and(|s| s.get(2..).is_some_and(|s| s.starts_with(&me)));
        if is_ours && read("maps").contains(library) {
            let id = process.file_name().expect("a number").to_owned();
            Command::new("kill").arg("-9").arg(id).status().expect("kill runs");
        }
    }
}

/// A session of the demo's network on the reference accelerator in a worker, and what it says of workers that replace the
/// first.
fn told_of_replacement(path: &Path, first: impl Fn(&Session)) -> String {
    let isolation = Some(Isolation::all(WorkerCommand::new(byoc()).argument("plugin-worker")));
    let builder = Session::builder(path).plugin(text(&plugin("byoc-refnpu"))).threads(1);
    let options = PluginOptions { values: Vec::new(), isolation };
    let session = builder.plugin_options(options).build().expect("it can be built");
    first(&session);
    end_workers("libbyoc_refnpu.so");
    let inputs = byoc::random::fill(session.graph(), &Default::default(), &mut Default::default(), 1);
    let inputs: Vec<_> = inputs.expect("inputs").into_iter().collect();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        session.run(&inputs).expect("an answer");
        if let Some(told) = session.fallbacks().into_iter().find(|t| t.starts_with("the worker of refnpu")) {
            return told;
        }
        assert!(Instant::now() < end, "{:?}", session.fallbacks());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_new_worker_loads_artefacts_where_there_are_some() {
    let (folder, _) = written("");
    let (model, bundle) = (folder.path().join("model.onnx"), folder.path().join("m.byoc"));
    let network = byoc::demo::network(7).expect("the demo's network can be built");
    byoc_graph::onnx::save(&network, &model).expect("written");
    let told = told_of_replacement(&model, |_| ());
    assert!(
        told.ends_with("replaced once: 0 regions loaded from artefacts, 1 region compiled anew"),
        "{told}"
    );
    let asked = |session: &Session| {
        byoc::bundle::write(session, &model, &byoc::ModelOptions::default(), &bundle).expect("written");
    };
    let loaded = "replaced once: 1 region loaded from artefacts, 0 regions compiled anew";
    let told = told_of_replacement(&model, asked);
    assert!(told.ends_with(loaded), "{told}");
    let told = told_of_replacement(&bundle, |_| ());
    assert!(told.ends_with(loaded), "{told}");
}

#[test]
fn a_plugin_that_fails_again_and_again_is_given_up() {
    let (_folder, model) = written(FAULTY_MODEL);
    let session = failing(&model, &[("how", "exit")], None);
    let host = Session::builder(&model).threads(1).build().expect("it can be built");
    let end = Instant::now() + Duration::from_secs(60);
    let is_given_up = || session.fallbacks().iter().any(|f| f.contains("given up after 3 losses in a row"));
    for run in 0.. {
        let (got, want) = (session.run(&faulty_input(run)), host.run(&faulty_input(run)));
        assert_eq!(got.expect("an answer"), want.expect("an answer"));
        if is_given_up() {
            break;
        }
        assert!(Instant::now() < end, "{:?}", session.fallbacks());
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = session.fallbacks();
    assert!(told.iter().any(|f| f.contains("exit status: 3)") && f.ends_with("(3 times)")), "{told:?}");
}

#[test]
fn a_worker_ends_with_its_host() {
    let setup = Setup::new();
    let faulty = text(&plugin("byoc-faulty"));
    let options = ["--plugin-option", "faulty.how=hang", "--vendor-timeout", "600", "--isolate"];
    let mut host = Command::new(byoc())
        .args(["run", &setup.model, "--random", "1", "--plugin", &faulty])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let workers = || {
        let all = fs::read_dir("/proc").expect("Linux").flatten();
        let parent = format!(" {} ", host.id());
        let is_ours = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("stat")).is_ok_and(|s| {
                s.rsplit(')').next().is_some_and(|rest| rest.get(2..).is_some_and(|r| r.starts_with(&parent)))
            })
        };
        all.filter(is_ours).map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_secs(30);
    let worker = loop {
        if let Some(worker) = workers().pop() {
            break worker;
        }
        assert!(Instant::now() < end, "no worker was started");
        std::thread::sleep(Duration::from_millis(5));
    };
    // Long enough for it to hang in the plugin.
    std::thread::sleep(Duration::from_millis(500));
    host.kill().expect("it runs");
    host.wait().expect("it ends");
    while fs::read_to_string(worker.join("cmdline")).is_ok_and(|line| line.contains("plugin-worker")) {
        assert!(Instant::now() < end, "{} is left behind", worker.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_that_is_no_worker_is_an_error() {
    let (_folder, model) = written(FAULTY_MODEL);
    for (program, what) in
        [("/bin/true", "ended (exit status: 0)"), ("/bin/echo", "ended"), ("/no/such", "No such file")]
    {
        let mut isolation = Isolation::all(WorkerCommand::new(program));
        isolation.timeout = Duration::from_secs(5);
        let built = Session::builder(&model).plugin(text(&plugin("byoc-faulty"))).isolate(isolation).build();
        let error = built.err().expect("no worker").to_string();
        assert!(error.contains(what), "{program}: {error}");
    }
}
