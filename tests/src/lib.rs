//! What tests that cross crates share: where things are, and how the command is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use byoc::isolate::WorkerCommand;
use byoc::{Isolation, PluginOption, PluginOptions, Session, Tensor};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// A file or folder of the test data, which a clone of the repository does not have. Where it is missing the
/// test says so; where `CI` is set, that is a failure.
pub fn data(path: &str) -> Option<PathBuf> {
    let base = std::env::var_os("BYOC_TEST_DATA").map_or_else(|| root().join("../shared"), PathBuf::from);
    let found = base.join(path);
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", found.display());
    println!("skipped: {} is not there", found.display());
    None
}

/// A model in a folder of its own, which goes away with the first of the two.
pub fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model.onnxtxt");
    std::fs::write(&model, text).expect("written");
    (folder, model)
}

/// Quantised models among the test data, with the dimension that their own data binds.
pub const QUANTISED: [(&str, Option<(&str, i64)>); 4] = [
    ("mobilenetv2_qdq_int8", Some(("batch", 1))),
    ("unet_sed_qdq_s8s8_perchannel", Some(("N", 1))),
    ("ultraface_rfb320_qop_u8s8", None),
    ("cifar_cnn_qop_u8u8", Some(("batch_size", 4))),
];

/// Words of the command line that place a model on the reference accelerator.
pub fn on_refnpu(dim: Option<(&str, i64)>) -> Vec<String> {
    let mut words = vec!["--plugin".to_owned(), plugin("byoc-refnpu").display().to_string()];
    words.extend(dim.iter().flat_map(|(name, size)| ["--dim".to_owned(), format!("{name}={size}")]));
    words
}

/// What `byoc partition` reports of a model.
pub fn partition_report(model: &Path, words: Vec<String>) -> byoc::Report {
    let call = ["partition".to_owned(), model.display().to_string(), "--json".to_owned()];
    let done = run(call.into_iter().chain(words)).expect(0);
    serde_json::from_str(&done.stdout).expect("the report is JSON")
}

/// A Python that has these modules.
pub fn python(modules: &str) -> Option<PathBuf> {
    let python = std::env::var_os("BYOC_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "{} lacks {modules}", python.display());
    println!("skipped: {} lacks {modules}", python.display());
    None
}

/// The ONNX backend suite below `to`: unpacked, or made from the `onnx` package where there is no test data.
pub fn onnx_suite(to: &Path) -> Option<PathBuf> {
    unpacked(to).or_else(|| made(to))
}

fn made(to: &Path) -> Option<PathBuf> {
    let python = python("onnx, numpy, ml_dtypes")?;
    let (script, suite) = (root().join("tests/python/make_conformance_suite.py"), to.join("suite"));
    let done = Command::new(python).arg(script).arg(&suite).output().expect("Python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(suite)
}

fn unpacked(to: &Path) -> Option<PathBuf> {
    let folder = data("conformance")?;
    let entries = std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path());
    let archive = entries.into_iter().find(|p| p.to_string_lossy().ends_with(".tar.gz")).expect("an archive");
    let tar = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(to).status().expect("tar runs");
    assert!(tar.success(), "{} cannot be unpacked", archive.display());
    let name = archive.file_name().expect("a name").to_string_lossy().replace(".tar.gz", "");
    Some(to.join(name))
}

/// Where OpenVINO's libraries lie, in the Python of the tests.
pub fn openvino_folder() -> Option<PathBuf> {
    let python = python("openvino")?;
    let code = "import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent / 'libs')";
    let output = Command::new(python).args(["-c", code]).output().expect("Python runs");
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Words of the command line that place a model on OpenVINO.
pub fn on_openvino() -> Option<Vec<String>> {
    let library = format!("openvino.library={}", openvino_folder()?.display());
    let plugin = plugin("byoc-openvino").display().to_string();
    Some(["--plugin".into(), plugin, "--plugin-option".into(), library].into())
}

/// Where NVRTC lies, in the Python of the tests.
pub fn nvrtc_folder() -> Option<PathBuf> {
    let python = python("nvidia.cu13")?;
    let code = "import nvidia.cu13; print(list(nvidia.cu13.__path__)[0] + '/lib')";
    let output = Command::new(python).args(["-c", code]).output().expect("Python runs");
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Words of the command line that place a model on the pretended GPU. Compiled kernels are kept in one folder.
pub fn on_fake_cuda() -> Vec<String> {
    let fake = plugin("byoc-fake-cuda").display().to_string();
    let cache = built().join("fake_cuda_cache").display().to_string();
    let libraries = ["driver", "nvrtc", "cublaslt", "cudnn"].map(|name| (name, &fake));
    let options = libraries.into_iter().chain([("cache", &cache)]);
    let options = options.flat_map(|(name, path)| ["--plugin-option".into(), format!("cuda.{name}={path}")]);
    ["--plugin".to_owned(), plugin("byoc-cuda").display().to_string()].into_iter().chain(options).collect()
}

/// The oneDNN plugin, where it was built with oneDNN.
pub fn on_onednn() -> Option<PathBuf> {
    let library = plugin("byoc-onednn");
    let (_folder, model) =
        written("<ir_version: 10, opset_import: [\"\": 20]>\ng (float[4] x) => (float[4] y) { y = Relu(x) }");
    let report = partition_report(&model, vec!["--plugin".into(), library.display().to_string()]);
    if report.summary.offloaded == 1 {
        return Some(library);
    }
    println!("skipped: {} is built without oneDNN, see plugins/onednn/fetch.sh", library.display());
    None
}

/// Where cargo puts what it builds, for the profile that this test was built with.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").to_owned()
}

fn expect_built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// The `byoc` command.
pub fn byoc() -> PathBuf {
    expect_built(built().join("byoc"))
}

/// A plugin of this workspace, by its package's name.
pub fn plugin(package: &str) -> PathBuf {
    expect_built(built().join(format!("lib{}.so", package.replace('-', "_"))))
}

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Finished {
    /// `None`: ended by a signal.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Finished {
    /// Panics unless the command ended with this status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Finished {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs `byoc` with words of the command line.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    run_command(Command::new(byoc()).args(arguments), Duration::from_secs(120))
}

/// Runs a command, and ends it where it takes longer than `limit`.
pub fn run_command(command: &mut Command, limit: Duration) -> Finished {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let id = child.id();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waiting.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
    });
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the child can be waited for");
    drop(done);
    watchdog.join().expect("the watchdog does not panic");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { status: status.code(), stdout: text(stdout), stderr: text(stderr), took: start.elapsed() }
}

/// A plugin from a template, in a temporary folder.
pub struct Project {
    folder: tempfile::TempDir,
    name: String,
    language: String,
}

/// Has `byoc new` write a plugin.
pub fn new_plugin(name: &str, language: &str) -> Project {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("UTF-8");
    run(["new", name, "--lang", language, "--path", path]).expect(0);
    Project { folder, name: name.to_owned(), language: language.to_owned() }
}

impl Project {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Builds it as its README says.
    pub fn build(&self) {
        let has_cmake = Command::new("cmake").arg("--version").output().is_ok();
        self.build_with(match self.language.as_str() {
            "rust" => &["cargo build --offline"],
            "c" => &["make"],
            _ if has_cmake => &["cmake -B build", "cmake --build build", "ctest --test-dir build"],
            // What CMake would call.
            _ => &[
                "mkdir -p build",
                "c++ -std=c++17 -O2 -Wall -Wextra -Iinclude tests/kernels.cpp -o build/kernels",
                "./build/kernels",
                "c++ -std=c++17 -O2 -Wall -Wextra -Iinclude -shared -fPIC -fvisibility=hidden -fno-gnu-unique \
                 -Wl,--version-script=exports.map src/plugin.cpp -o build/LIBRARY",
            ],
        });
    }

    /// Runs commands in its folder, which must succeed.
    pub fn build_with(&self, commands: &[&str]) {
        if self.language == "rust" {
            // The same versions as here, so that nothing has to be fetched.
            std::fs::copy(root().join("Cargo.lock"), self.path().join("Cargo.lock")).expect("copied");
        }
        for command in commands {
            let command = command.replace("LIBRARY", &self.library_name());
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).current_dir(self.path()).env_remove("RUSTFLAGS");
            shell.env("CARGO_TARGET_DIR", self.path().join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
            run_command(&mut shell, Duration::from_secs(300)).expect(0);
        }
    }

    fn library_name(&self) -> String {
        format!("lib{}.so", self.name.replace('-', "_"))
    }

    /// What the build makes.
    pub fn library(&self) -> PathBuf {
        let folder = if self.language == "rust" { "target/debug" } else { "build" };
        self.path().join(folder).join(self.library_name())
    }
}

/// What `faulty` takes: a region, a node that stays on the host, and a region behind it.
pub const FAULTY_MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[64] x) => (float[64] y) <float[64] k = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
  1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}> {
    a = Add(x, k)
    b = Neg(a)
    c = Tanh(b)
    d = Add(c, x)
    y = Neg(d)
}"#;

/// A session with `faulty` in a worker, and another vendor behind it.
pub fn failing(model: &Path, options: &[(&str, &str)], next: Option<&str>) -> Session {
    let option = |(key, value): &(&str, &str)| PluginOption {
        vendor: "faulty".into(),
        key: (*key).into(),
        value: (*value).into(),
    };
    let isolation = Some(Isolation::all(WorkerCommand::new(byoc()).argument("plugin-worker")));
    let values = options.iter().map(option).collect();
    let mut builder = Session::builder(model).plugin(plugin("byoc-faulty").display().to_string()).threads(2);
    if let Some(next) = next {
        builder = builder.plugin(plugin(next).display().to_string());
    }
    builder.plugin_options(PluginOptions { values, isolation }).build().expect("it can be built")
}

/// What a run of it gets.
pub fn faulty_input(run: usize) -> [(String, byoc::Datum); 1] {
    let values = (0..64).map(|i| (run * 64 + i) as f32 / 1000.0).collect();
    [("x".to_owned(), Tensor::from_vec(&[64], values).expect("so many").into())]
}
