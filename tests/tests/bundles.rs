//! Compiled models: made in one process and run in others, whatever becomes of the file or the plugins.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use byoc_graph::onnx;
use byoc_tests::{Finished, plugin, run};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The demo's network, compiled for the reference accelerator, with inputs and the host's outputs.
struct Setup {
    folder: tempfile::TempDir,
    npu: PathBuf,
}

impl Setup {
    fn new() -> Setup {
        let setup =
            Setup { folder: tempfile::tempdir().expect("a temporary folder"), npu: plugin("byoc-refnpu") };
        let network = byoc::demo::network(7).expect("the demo's network can be built");
        onnx::save(&network, setup.path("model.onnx")).expect("the model can be written");
        setup.run(&["model.onnx", "--output", "{}/host"]).expect(0);
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Words with `{}` for the folder; the first is a file in it.
    fn words(&self, command: &str, words: &[&str]) -> Finished {
        let folder = text(self.folder.path());
        let rest = words[1..].iter().map(|word| word.replace("{}", folder));
        let file = self.path(words[0]).display().to_string();
        run([command.to_owned(), file].into_iter().chain(rest))
    }

    fn run(&self, words: &[&str]) -> Finished {
        self.words("run", &[words, &["--random", "5"]].concat())
    }

    fn compile(&self, words: &[&str]) -> Finished {
        let npu = text(&self.npu);
        self.words("compile", &[&["model.onnx", "--plugin", npu, "-o", "{}/m.byoc"], words].concat())
    }

    /// Runs a bundle, and compares with the host.
    fn same(&self, bundle: &str, words: &[&str]) -> Finished {
        let npu = text(&self.npu);
        let call = [bundle, "--plugin", npu, "--output", "{}/got"];
        let done = self.run(&[&call, words].concat()).expect(0);
        let output = |folder: &str| fs::read(self.path(folder).join("output_0.pb")).expect("written");
        assert!(output("got") == output("host"), "another answer: {done:?}");
        done
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_bundle_gives_the_answer_of_the_model() {
    let setup = Setup::new();
    let done = setup.compile(&[]).expect(0);
    assert!(done.stdout.contains("refnpu_0"), "{}", done.stdout);
    fs::remove_file(setup.path("model.onnx")).expect("the model is there");
    let done = setup.same("m.byoc", &[]);
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    let bench = setup.words("bench", &["m.byoc", "--plugin", text(&setup.npu), "--seconds", "0.1"]);
    assert!(bench.expect(0).stdout.contains("device time of refnpu"));
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let setup = Setup::new();
    setup.compile(&[]).expect(0);
    let first = fs::read(setup.path("m.byoc")).expect("written");
    setup.compile(&["--threads", "1"]).expect(0);
    assert!(fs::read(setup.path("m.byoc")).expect("written") == first);
}

#[test]
fn an_artefact_that_does_not_fit_is_compiled_anew() {
    let setup = Setup::new();
    setup.compile(&[]).expect(0);
    // Another build of the vendor's compiler, as far as the vendor can tell.
    let bytes = fs::read(setup.path("m.byoc")).expect("written");
    let other = rewritten(&bytes, &|manifest| {
        let field = "\"compatibility\": \"";
        manifest.replace(field, &format!("{field}another "))
    });
    fs::write(setup.path("other.byoc"), other).expect("written");
    let done = setup.same("other.byoc", &[]);
    assert!(done.stderr.contains("region refnpu_0 is compiled anew"), "{}", done.stderr);
}

/// The bundle with another manifest.
fn rewritten(bundle: &[u8], change: &dyn Fn(&str) -> String) -> Vec<u8> {
    let mut from = ZipArchive::new(Cursor::new(bundle)).expect("an archive");
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    let names: Vec<String> = from.file_names().map(|name| name.expect("a name").into_owned()).collect();
    for name in names {
        let mut content = Vec::new();
        from.by_name(&name).expect("an entry").read_to_end(&mut content).expect("its content");
        if name == "bundle.json" {
            content = change(std::str::from_utf8(&content).expect("text")).into_bytes();
        }
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        to.start_file(&name, stored).expect("an entry");
        to.write_all(&content).expect("written");
    }
    to.finish().expect("an archive").into_inner()
}

#[test]
fn damage_is_an_error() {
    let setup = Setup::new();
    setup.compile(&[]).expect(0);
    let whole = fs::read(setup.path("m.byoc")).expect("written");
    let npu = text(&setup.npu);
    let refused = |bytes: &[u8], what: &str| {
        fs::write(setup.path("bad.byoc"), bytes).expect("written");
        let done = setup.run(&["bad.byoc", "--plugin", npu]);
        assert!(matches!(done.status, Some(0 | 1)), "{what}: {done:?}");
        assert!(!done.stderr.contains("panicked"), "{what}: {done:?}");
        done
    };
    for part in 1..32 {
        let done = refused(&whole[..whole.len() * part / 32], &format!("cut at {part}/32")).expect(1);
        assert!(done.stderr.contains("error"), "{}", done.stderr);
    }
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for _ in 0..200 {
        let mut bytes = whole.clone();
        let (at, bit) = (next() % bytes.len(), next() % 8);
        bytes[at] ^= 1 << bit;
        refused(&bytes, &format!("bit {bit} of byte {at} flipped"));
    }
    // Within an artefact, it does not reach the vendor.
    let mut reader = ZipArchive::new(Cursor::new(&whole)).expect("an archive");
    let entry = reader.by_name("regions/refnpu_0").expect("the artefact");
    let at = (entry.data_start().expect("a place") + entry.size() / 2) as usize;
    let mut bytes = whole.clone();
    bytes[at] ^= 1;
    let done = refused(&bytes, "the artefact").expect(1);
    assert!(done.stderr.contains("`regions/refnpu_0` is damaged"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_done_is_said() {
    let setup = Setup::new();
    setup.compile(&[]).expect(0);
    let npu = text(&setup.npu);
    let probe = plugin("byoc-probe");
    let whole = fs::read(setup.path("m.byoc")).expect("written");
    let path = rewritten(&whole, &|manifest| manifest.replace("\"refnpu\"", "\"./libevil.so\""));
    fs::write(setup.path("path.byoc"), path).expect("written");
    for (command, words, message) in [
        ("partition", &["m.byoc"][..], "is compiled already"),
        ("compile", &["m.byoc", "-o", "{}/again.byoc"], "is compiled already"),
        ("run", &["m.byoc", "--plugin", npu, "--dim", "batch=2"], "were settled by `compile`"),
        ("run", &["m.byoc", "--plugin", npu, "--exclude", "Conv"], "was settled by `compile`"),
        ("run", &["m.byoc", "--plugin", text(&probe)], "was compiled for `refnpu`"),
        ("run", &["path.byoc"], "is not a name to look up"),
    ] {
        let done = setup.words(command, words).expect(1);
        assert!(done.stderr.contains(message), "{command} {words:?}: {}", done.stderr);
    }
    // By name, the plugin is found beside the command.
    setup.run(&["m.byoc"]).expect(0);
    assert!(!setup.path("again.byoc").exists());
}

#[test]
fn a_vendor_without_artefacts_compiles_again() {
    let setup = Setup::new();
    let model = setup.path("small.onnxtxt");
    let text_of = r#"<ir_version: 8, opset_import: ["": 17]>
        g (float[4] x, float[4] y) => (float[4] r) { s = Add(x, y)  r = Relu(s) }"#;
    fs::write(&model, text_of).expect("written");
    let probe = plugin("byoc-probe");
    let words = ["small.onnxtxt", "--plugin", text(&probe), "-o", "{}/small.byoc"];
    let done = setup.words("compile", &words).expect(0);
    assert!(done.stdout.contains("probe_0"), "{}", done.stdout);
    setup.run(&["small.byoc", "--plugin", text(&probe), "--strict"]).expect(0);
}
