//! The C header says what the Rust definitions say, C and C++ compilers agree, and nothing moves unnoticed.
//!
//! `BYOC_BLESS=1` writes the header and the snapshot anew.

mod emit;

use std::path::{Path, PathBuf};
use std::process::Command;

use byoc_plugin::abi::{EPOCH, MINOR, layout_text};

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_committed(path: &Path, content: &str) {
    if std::env::var_os("BYOC_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let first = committed.lines().zip(content.lines()).position(|(a, b)| a != b);
    assert!(committed == content, "{} is out of date from line {first:?}: see BYOC_BLESS", path.display());
}

#[test]
fn the_committed_header_is_the_generated_one() {
    assert_committed(&manifest_dir().join("include/byoc_abi.h"), &emit::header());
}

/// A change here is a change of the interface: appended fields raise `MINOR`, everything else raises `EPOCH`. Both begin
/// a folder of their own; that of the version before stays, with the headers that plugins were built with.
#[test]
fn this_version_is_the_committed_one() {
    let folder = manifest_dir().join(format!("versions/{EPOCH}.{MINOR}"));
    assert_committed(&folder.join("layout.txt"), &layout_text());
    for header in ["byoc.h", "byoc_abi.h"] {
        let content = std::fs::read_to_string(manifest_dir().join("include").join(header)).unwrap();
        assert_committed(&folder.join(header), &content);
    }
}

#[test]
fn no_field_is_a_keyword_of_c_or_cpp() {
    const KEYWORDS: [&str; 16] = [
        "this", "int", "float", "double", "default", "new", "delete", "class", "template", "union",
        "register", "auto", "signed", "static", "export", "operator",
    ];
    for layout in byoc_plugin::abi::STRUCTS.iter().copied().flatten() {
        let keyword = layout.fields.iter().find(|field| KEYWORDS.contains(&field.name));
        assert!(keyword.is_none(), "{}: {keyword:?}", layout.name);
    }
}

/// Compilers that must be there, and those that are used where they are.
fn compilers() -> Vec<(&'static str, &'static [&'static str])> {
    const C: &[&str] = &["-std=c11", "-x", "c"];
    const CPP: &[&str] = &["-std=c++17", "-x", "c++"];
    let optional = [("clang", C), ("clang++", CPP)];
    let found = |name: &str| Command::new(name).arg("--version").output().is_ok();
    [("gcc", C), ("g++", CPP)]
        .into_iter()
        .chain(optional.into_iter().filter(|(name, _)| found(name)))
        .collect()
}

#[test]
fn the_header_compiles_as_c_and_cpp_without_a_warning() {
    let source: PathBuf = manifest_dir().join("tests/header/minimal.c");
    for (compiler, language) in compilers() {
        let output = Command::new(compiler)
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-fsyntax-only"])
            .arg("-I")
            .arg(manifest_dir().join("include"))
            .args(language)
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("{compiler} is needed for this test: {error}"));
        assert!(output.status.success(), "{compiler}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
