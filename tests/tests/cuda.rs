//! CUDA without a GPU: what the plugin does where nothing of it is here, and its kernels on a pretended GPU and in the real
//! compiler.

mod cuda_compile;

use std::path::{Path, PathBuf};
use std::time::Duration;

use byoc_tests::{byoc, on_fake_cuda, partition_report, plugin, run, run_command, written};
use cuda_compile::compile_all;

/// A network with something of every family, and a batch that is not known.
const MODEL: &str = r#"<ir_version: 10, opset_import: ["": 21]>
g (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[4] b, float[64,5] m = {0}, float[5] c = {0.5, -1, 0, 2, 1}, int64[2] flat = {0, -1}> {
    p = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(p)
    s = Add(r, p)
    q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
    t = Transpose<perm=[0,2,3,1]>(q)
    f = Reshape(t, flat)
    d = MatMul(f, m)
    e = Add(d, c)
    y = Softmax(e)
}"#;

/// The model with weights that are not all the same.
fn model() -> (tempfile::TempDir, PathBuf) {
    let list = |count: usize| {
        let numbers = (0..count).map(|i| format!("{:.2}", ((i * 37) % 41) as f64 / 41.0 - 0.45));
        format!("= {{{}}}", numbers.collect::<Vec<_>>().join(", "))
    };
    let text = MODEL.replace("float[4,3,3,3] w", &format!("float[4,3,3,3] w {}", list(108)));
    let text = text.replace("float[4] b", &format!("float[4] b {}", list(4)));
    written(&text.replace("m = {0}", &format!("m {}", list(320))))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn words<'a>(first: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

#[test]
fn without_a_driver_the_host_runs_everything_and_says_why() {
    let (_folder, model) = model();
    let library = plugin("byoc-cuda").display().to_string();
    let missing = ["--plugin-option", "cuda.driver=/no/such/libcuda.so.1"];
    let call = ["run", text(&model), "--random", "1", "--dim", "N=2", "--plugin", &library];
    let done = run(call.iter().chain(&missing)).expect(0);
    let said = "the CUDA driver is not here";
    assert!(done.stderr.contains("0 of 9 nodes") && done.stderr.contains(said), "{}", done.stderr);
    assert!(done.stderr.contains("/no/such/libcuda.so.1"), "{}", done.stderr);
    let done = run(call.iter().chain(&missing).chain(&["--strict"])).expect(1);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[test]
fn doctor_says_what_is_missing_and_where_it_was_looked_for() {
    let library = plugin("byoc-cuda").display().to_string();
    let mut command = std::process::Command::new(byoc());
    command.args(["doctor", &library]).env("BYOC_CUDA_DRIVER", "/no/such/libcuda.so.1");
    let done = run_command(&mut command, Duration::from_secs(60)).expect(0);
    assert!(done.stdout.contains("the CUDA driver is not here"), "{}", done.stdout);
    let fake = plugin("byoc-fake-cuda");
    let mut command = std::process::Command::new(byoc());
    command
        .args(["doctor", &library])
        .env("BYOC_CUDA_DRIVER", &fake)
        .env("BYOC_CUDA_NVRTC", "/no/such/lib.so");
    let done = run_command(&mut command, Duration::from_secs(60)).expect(0);
    assert!(
        done.stdout.contains("NVRTC is not here") && done.stdout.contains("/no/such/lib.so"),
        "{}",
        done.stdout
    );
    let mut command = std::process::Command::new(byoc());
    command.args(["doctor", &library]).env("BYOC_CUDA_DRIVER", &fake).env("BYOC_CUDA_NVRTC", &fake);
    let done = run_command(&mut command, Duration::from_secs(60)).expect(0);
    assert!(done.stdout.contains("devices fake GPU without cuBLASLt"), "{}", done.stdout);
}

#[test]
fn a_network_is_one_region_of_few_kernels() {
    let (folder, model) = model();
    let sources = folder.path().join("sources");
    let mut on = on_fake_cuda();
    on.extend(["--plugin-option".into(), format!("cuda.sources={}", sources.display())]);
    // Convolutions by kernels of our own; the library has its turn in the ONNX suite.
    on.extend(["--plugin-option".into(), "cuda.cudnn=off".into()]);
    let first = ["run", text(&model), "--random", "1", "--dim", "N=3", "--compare-layers"];
    let done = run(words(&first, &on)).expect(0);
    assert!(done.stderr.contains("9 of 9 nodes"), "{}", done.stderr);
    let mut files: Vec<_> = std::fs::read_dir(&sources).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let shown: Vec<String> = files.iter().map(|file| kernel_of(file)).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("cuda_sources", shown.join("\n"));
    });
    let report = partition_report(&model, on_fake_cuda());
    assert_eq!((report.summary.offloaded, report.regions.len()), (9, 1));
}

/// What stands behind the prelude.
fn kernel_of(file: &Path) -> String {
    let whole = std::fs::read_to_string(file).expect("a source");
    whole.replace(byoc_cuda::kernel::PRELUDE, "")
}

/// Every pattern in random shapes and types, networks, and the life of the plugin; then the real compiler is shown all
/// the kernels that came up.
#[test]
fn the_plugin_passes_on_the_pretended_gpu_and_its_kernels_compile() {
    let folder = tempfile::tempdir().expect("a folder");
    let sources = folder.path().join("sources");
    let mut on = on_fake_cuda();
    on.extend(["--plugin-option".into(), format!("cuda.sources={}", sources.display())]);
    let save = folder.path().join("saved");
    let library = on.remove(1);
    on.remove(0);
    let first =
        ["verify", &library, "--cases", "12", "--rounds", "40", "--timeout", "60", "--save", text(&save)];
    let mut command = std::process::Command::new(byoc());
    let done = run_command(command.args(words(&first, &on)), Duration::from_secs(900));
    assert_eq!(done.status, Some(0), "{}{}", done.stdout, done.stderr);
    compile_all(&sources, 60);
}

#[test]
fn the_second_gpu_runs_what_is_asked_of_it() {
    let (_folder, model) = model();
    let on = on_fake_cuda();
    let first =
        ["run", text(&model), "--random", "1", "--dim", "N=2", "--compare-layers", "--device", "cuda=1"];
    // Memory of one device is none for kernels of the other: the pretended driver would say so.
    let done = run(words(&first, &on)).expect(0);
    assert!(done.stderr.contains("9 of 9 nodes") && !done.stderr.contains("warning"), "{}", done.stderr);
    let report = partition_report(&model, [on, vec!["--device".into(), "cuda=1".into()]].concat());
    assert_eq!(report.regions[0].target, "cuda:fake GPU");
}

#[test]
fn a_region_without_room_is_the_hosts() {
    let (folder, model) = model();
    let on = on_fake_cuda();
    let call = |strict: &[&str]| {
        let first = ["run", text(&model), "--random", "1", "--dim", "N=2", "--output", text(folder.path())];
        let mut command = std::process::Command::new(byoc());
        command.args(words(&first, &on)).args(strict).env("FAKE_CUDA_FAIL", "cuMemAllocAsync:0:2");
        run_command(&mut command, Duration::from_secs(120))
    };
    let done = call(&[]).expect(0);
    assert!(done.stderr.contains("has no room on its device, the host runs it"), "{}", done.stderr);
    assert!(done.stderr.contains("bytes: cuMemAllocAsync"), "{}", done.stderr);
    let done = call(&["--strict"]).expect(1);
    assert!(done.stderr.contains("out of memory"), "{}", done.stderr);
}

#[test]
fn bundles_hold_what_was_compiled() {
    let (folder, model) = model();
    let (on, bundle) = (on_fake_cuda(), folder.path().join("m.byoc"));
    let first = ["compile", text(&model), "--dim", "N=2", "-o", text(&bundle)];
    let done = run(words(&first, &on)).expect(0);
    assert!(!done.stderr.contains("no artefact"), "{}", done.stderr);
    // Nothing is compiled any more: the compiler is told to fail, and no cache is there.
    let first = ["run", text(&bundle), "--random", "1", "--strict", "--plugin-option", "cuda.cache=off"];
    let without_cache: Vec<String> = on
        .into_iter()
        .map(|word| if word.starts_with("cuda.cache") { "cuda.graphs=true".into() } else { word })
        .collect();
    let mut command = std::process::Command::new(byoc());
    command.args(words(&first, &without_cache)).env("FAKE_CUDA_FAIL", "nvrtcCompileProgram:0:6");
    let done = run_command(&mut command, Duration::from_secs(120)).expect(0);
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
}

#[test]
fn a_steady_run_is_one_launch_without_allocations() {
    let (folder, model) = model();
    let (mut on, trace) = (on_fake_cuda(), folder.path().join("trace"));
    on.extend(["--plugin-option".into(), format!("cuda.trace={}", trace.display())]);
    let first = ["bench", text(&model), "--dim", "N=2", "--seconds", "0.1", "--warmup", "3"];
    run(words(&first, &on)).expect(0);
    let lines = std::fs::read_to_string(trace).expect("a trace");
    let steady = lines.lines().skip(2).all(|line| line.ends_with(": launches 1, allocations 0, waits 0"));
    assert!(steady && lines.lines().count() > 3, "{lines}");
}

/// What becomes of a run where a call of the driver fails.
#[test]
fn failures_of_the_driver_are_told_and_end_nothing() {
    let (_folder, model) = model();
    let on = on_fake_cuda();
    for (rule, said) in [
        ("cuInit:0:3", "cuInit"),
        ("cuMemAlloc_v2:0:2", "out of memory"),
        ("cuMemAllocAsync:0:2", "has no room on its device"),
        ("cuLaunchKernel:2:719", "cuLaunchKernel"),
        ("cuStreamCreate:0:2", "cuStreamCreate"),
    ] {
        let first = ["run", text(&model), "--random", "1", "--dim", "N=2"];
        let mut command = std::process::Command::new(byoc());
        command.args(words(&first, &on)).env("FAKE_CUDA_FAIL", rule);
        let done = run_command(&mut command, Duration::from_secs(120));
        assert!(matches!(done.status, Some(0 | 1)), "{rule}: {:?} {}", done.status, done.stderr);
        assert!(done.stderr.contains(said), "{rule}: {}", done.stderr);
    }
}
