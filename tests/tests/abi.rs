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

/// Builds the plugin in C with the headers of a folder.
fn built_with(headers: &Path, folder: &Path) -> PathBuf {
    let library = folder.join("libplugin.so");
    let source = root().join("tests/plugins/c_elementwise/plugin.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-std=c11", "-I"]).arg(headers);
    assert!(cc.arg(&source).arg("-o").arg(&library).status().expect("cc runs").success());
    library
}

#[test]
fn a_plugin_that_was_built_with_any_version_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let save = folder.path().join("saved");
    for version in versions() {
        let library = built_with(&version, folder.path());
        let number = version.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        for against in [number, text(&version.join("byoc_abi.h")), text(&version.join("layout.txt"))] {
            let done = run(["abi", "check", text(&library), "--against", against]).expect(0);
            assert!(done.stdout.contains(&format!("of interface {number} are as on this host")), "{done:?}");
        }
        let words = ["--filter", "file|interface|numerics", "--cases", "4", "--save", text(&save)];
        run(["verify", text(&library)].iter().chain(&words)).expect(0);
    }
}

#[test]
fn a_header_that_moves_something_is_told_of() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let header = std::fs::read_to_string(root().join("framework/plugin/include/byoc_abi.h")).expect("there");
    let changes = [
        ("EPOCH 0u", "EPOCH 7u", "epoch 7 is not 0"),
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
