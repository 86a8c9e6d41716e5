//! `byoc abi`, and plugins that were built with the headers of versions before.

use std::path::{Path, PathBuf};
use std::process::Command;

use byoc_tests::{plugin, root, run};

/// The versions that are kept, each a folder with its headers.
fn versions() -> Vec<PathBuf> {
    let kept = std::fs::read_dir(root().join("framework/plugin/versions")).expect("versions are kept");
    let mut folders: Vec<PathBuf> = kept.map(|entry| entry.expect("readable").path()).collect();
    folders.sort();
    folders
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The two plugins that every version keeps: compiler, source and how it is compiled.
const C: [&str; 3] = ["cc", "plugin.c", "-std=c11"];
const CPP: [&str; 3] = ["c++", "plugin.cc", "-std=c++17"];

/// Builds a plugin of a version with the headers of a folder.
fn built_with(headers: &Path, version: &Path, [compiler, source, standard]: [&str; 3], to: &Path) -> PathBuf {
    let library = to.join(format!("lib{compiler}.so"));
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", standard]);
    if compiler == "c++" {
        command.arg("-fno-gnu-unique").arg("-Wl,-Bsymbolic");
    }
    // A copy, so that the headers beside the source are not found first.
    for file in ["plugin.c", "plugin.cc", "compile.h", "execute.h", "devices.h"] {
        std::fs::copy(version.join(file), to.join(file)).expect("every version keeps its plugins");
    }
    command.arg("-I").arg(headers).arg(to.join(source)).arg("-o").arg(&library);
    let done = command.output().unwrap_or_else(|e| panic!("{compiler} is needed for this test: {e}"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    library
}

/// Calls `check` with every plugin of every version, built with the headers that it had, and with those of now.
fn with_every_plugin(mut check: impl FnMut(&Path, &str, [&str; 3])) {
    for version in versions() {
        let number = version.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        let now = root().join("framework/plugin/include");
        for (headers, number) in [(&version, number), (&now, byoc_now().as_str())] {
            for kind in [C, CPP] {
                let folder = tempfile::tempdir().expect("a temporary folder");
                check(&built_with(headers, &version, kind, folder.path()), number, kind);
            }
        }
    }
}

/// The version of this host.
fn byoc_now() -> String {
    format!("{}.{}", byoc_plugin::abi::EPOCH, byoc_plugin::abi::MINOR)
}

#[test]
fn plugins_of_every_version_are_verified() {
    with_every_plugin(|library, number, kind| {
        let version = root().join("framework/plugin/versions").join(number);
        let files = ["byoc.h", "byoc_abi.h", "layout.txt"].map(|file| version.join(file));
        for against in files.iter().map(|file| text(file)).chain([number]) {
            let done = run(["abi", "check", text(library), "--against", against]).expect(0);
            assert!(done.stdout.contains(&format!("of interface {number} are as on this host")), "{done:?}");
        }
        let save = library.with_file_name("saved");
        let words = ["verify", text(library), "--cases", "6", "--rounds", "60", "--save", text(&save)];
        let devices: &[&str] = if kind == C { &["near", "far 0", "far 1"] } else { &["host"] };
        for device in devices {
            let done = run(words.iter().chain(&["--device", device])).expect(0);
            assert!(done.stdout.contains(" 0 failed, "), "{device}: {done:?}");
        }
    });
}

const MODEL: &str = "<ir_version: 8, opset_import: [\"\" : 17]>
m (float[N,3] x, float[N,3] w) => (float[N,3] y, int64[2,K] places)
<float[3,3] k = {1, -2, 3, 0, 5, -6, 7, 8, -9}>
{
    a = Add(x, w)
    b = LeakyRelu<alpha = 0.25>(a)
    c = Add(b, k)
    [no_match] d = Relu(c)
    [no_region] e = Mul(d, c)
    y = Mul(e, x)
    places = NonZero(d)
}";

/// The outputs of the model, with more words.
fn outputs(model: &Path, words: &[&str]) -> (Vec<Vec<u8>>, String) {
    let to = tempfile::tempdir().expect("a temporary folder");
    let call = ["run", text(model), "--random", "7", "--dim", "N=3", "--output", text(to.path())];
    let done = run(call.iter().chain(words)).expect(0);
    let read = |name: &str| std::fs::read(to.path().join(name)).expect("written");
    (vec![read("output_0.pb"), read("output_1.pb")], done.stderr)
}

#[test]
fn plugins_of_every_version_run_in_this_process_and_isolated() {
    let (_folder, model) = byoc_tests::written(MODEL);
    let (host, _) = outputs(&model, &[]);
    with_every_plugin(|library, _, kind| {
        let (taken, devices): (_, &[&str]) = match kind == C {
            true => ("kept-c: 5 of 7 nodes", &["kept-c=near", "kept-c=far 0"]),
            false => ("cpp-elementwise: 5 of 7 nodes", &["cpp-elementwise=host"]),
        };
        for device in devices {
            for isolate in [&[][..], &["--isolate"]] {
                let words = [&["--plugin", text(library), "--device", device], isolate].concat();
                let (found, said) = outputs(&model, &words);
                assert!(said.contains(taken) && !said.contains("warning"), "{said}");
                assert!(found == host, "{words:?}");
            }
        }
    });
}

#[test]
fn what_a_plugin_of_every_version_refuses_and_saves_is_heeded() {
    let (folder, model) = byoc_tests::written(MODEL);
    with_every_plugin(|library, _, kind| {
        if kind == CPP {
            return;
        }
        let plugin = ["--plugin", text(library)];
        let words = plugin.iter().chain(&["--dim", "N=3"]).map(|w| (*w).to_owned()).collect();
        let report = byoc_tests::partition_report(&model, words);
        let mut refused: Vec<&str> = report.nodes.iter().map(|node| node.name.as_str()).collect();
        refused.sort_unstable();
        assert_eq!(refused, ["no_match", "no_region"]);
        assert!(report.nodes.iter().all(|node| node.reasons[0].detail.contains("it is called so")));
        let bundle = folder.path().join("m.byoc");
        let compile = ["compile", text(&model), "--dim", "N=3", "-o", text(&bundle)];
        run(compile.iter().chain(&plugin)).expect(0);
        let done = run(["run", text(&bundle), "--random", "7"].iter().chain(&plugin)).expect(0);
        assert!(!done.stderr.contains("compiled anew"), "{done:?}");
    });
}

#[test]
fn devices_of_a_plugin_of_every_version_copy_from_each_other() {
    use byoc_host::{CopyEnd, Freed, Library, Plugin};
    with_every_plugin(|library, _, kind| {
        if kind == CPP {
            return;
        }
        let library = Library::load(library).expect("it loads");
        let options = library.complete_options(&[]).expect("it has its defaults");
        let plugin = Plugin::open(&library, options).expect("it opens");
        let [near, far, other] = plugin.devices() else { panic!("three devices") };
        assert!(plugin.memory(near.id).is_none());
        let memories = [far, other].map(|device| plugin.memory(device.id).expect("memory of its own"));
        let [from, to] = [&memories[0], &memories[1]].map(|memory| memory.alloc(64, 64).expect("memory"));
        let content: Vec<u8> = (0..64).collect();
        memories[0].copy_in(&content, from, 0).expect("a copy in");
        let (stream, event) = (memories[1].new_stream().unwrap(), memories[1].new_event().unwrap());
        let peer = CopyEnd::Peer { device: far.id, address: from, offset: 8 };
        // SAFETY: no end of the copy is host memory.
        unsafe { memories[1].copy(peer, CopyEnd::Device { address: to, offset: 16 }, 32, Some(&stream)) }
            .expect("a copy across");
        stream.record(&event).expect("an event is recorded");
        event.wait().expect("it comes");
        assert!(event.is_done().expect("it can be asked"));
        let mut back = [0; 32];
        memories[1].copy_out(to, 16, &mut back).expect("a copy out");
        assert_eq!(back, content[8..40]);
        let (free, total) = memories[1].memory_info().expect("it knows").expect("it knows");
        assert_eq!(total - free, 64);
        assert_eq!((memories[0].free(from), memories[1].free(to)), (Freed::Done, Freed::Done));
    });
}

#[test]
fn a_header_that_moves_something_is_told_of() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let header = std::fs::read_to_string(root().join("framework/plugin/include/byoc_abi.h")).expect("there");
    let changes = [
        ("EPOCH 1u", "EPOCH 7u", "epoch 7 is not 1"),
        (
            "offsetof(byoc_host, log) == 40",
            "offsetof(byoc_host, log) == 48",
            "Host.log has moved from 48 to 40",
        ),
        ("BYOC_DIM_SYMBOL UINT32_C(2)", "BYOC_DIM_SYMBOL UINT32_C(9)", "DIM_SYMBOL was 9 and is 2"),
        ("offsetof(byoc_region_node_args, op)", "offsetof(byoc_region_node_args, word)", "word is gone"),
    ];
    for (from, to, what) in changes {
        assert!(header.contains(from), "{from}");
        let changed = folder.path().join("byoc_abi.h");
        std::fs::write(&changed, header.replace(from, to)).expect("written");
        let npu = plugin("byoc-refnpu");
        let done = run(["abi", "check", text(&npu), "--against", text(&changed)]).expect(1);
        assert!(done.stdout.contains(what), "{done:?}");
        assert!(done.stderr.contains("does not fit interface"), "{done:?}");
    }
}

#[test]
fn a_plugin_is_looked_at_by_itself() {
    let npu = plugin("byoc-refnpu");
    let done = run(["abi", "check", text(&npu)]).expect(0);
    assert!(done.stdout.contains("with open, close") && done.stdout.contains("fits: "), "{done:?}");
    for (against, what) in [("3.9", "neither a file nor a version"), (text(&npu), "stream did not contain")] {
        let done = run(["abi", "check", text(&npu), "--against", against]).expect(1);
        assert!(done.stderr.contains(what), "{done:?}");
    }
    let done = run(["abi", "check", "/no/such.so"]).expect(1);
    assert!(done.stderr.contains("/no/such.so"), "{done:?}");
    let layout = run(["abi", "layout"]).expect(0).stdout;
    let newest = versions().pop().expect("at least one").join("layout.txt");
    assert_eq!(layout, std::fs::read_to_string(newest).expect("there"));
}
