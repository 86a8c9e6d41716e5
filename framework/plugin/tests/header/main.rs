//! The C header says what the Rust definitions say, C and C++ compilers agree, and nothing moves unnoticed.
//!
//! `BYOC_BLESS=1` writes the header anew, and the folder of a version that is not released yet.

mod emit;

use std::path::{Path, PathBuf};
use std::process::Command;

use byoc_plugin::abi::{EPOCH, MINOR, layout_text};

/// Versions that were given out, and what their folders hold. They stay as they are: a change of the interface begins
/// a version, in a folder of its own, and it comes here with the release that has it.
const RELEASED: &[(&str, u64)] = &[("1.0", 0xcbeb_37fe_58ae_fc3a)];

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

/// A change here is a change of the interface: appended fields raise `MINOR`, everything else raises `EPOCH`.
#[test]
fn this_version_is_the_committed_one() {
    let version = format!("{EPOCH}.{MINOR}");
    let folder = manifest_dir().join("versions").join(&version);
    if RELEASED.iter().any(|(released, _)| *released == version) {
        // The headers may get better comments and more helpers; the layout is what it was.
        let committed = std::fs::read_to_string(folder.join("layout.txt")).unwrap();
        assert!(
            committed == layout_text(),
            "{version} is released: what changes the interface begins another"
        );
        return;
    }
    assert_committed(&folder.join("layout.txt"), &layout_text());
    for header in ["byoc.h", "byoc_abi.h", "byoc.hpp"] {
        let content = std::fs::read_to_string(manifest_dir().join("include").join(header)).unwrap();
        assert_committed(&folder.join(header), &content);
    }
}

/// FNV-1a over the names and contents of a folder's files, in the order of their names.
fn fingerprint(folder: &Path) -> u64 {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.file_name().unwrap().as_encoded_bytes().to_vec();
        for byte in name.into_iter().chain(std::fs::read(&file).unwrap()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn released_versions_stay_as_they_are() {
    let versions = manifest_dir().join("versions");
    for (version, expected) in RELEASED {
        let found = fingerprint(&versions.join(version));
        assert!(found == *expected, "{version} is released, and was {expected:#x}; now it is {found:#x}");
    }
    // Nothing else is kept but what is about to be released.
    let current = format!("{EPOCH}.{MINOR}");
    for entry in std::fs::read_dir(&versions).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == current || RELEASED.iter().any(|(version, _)| *version == name), "{name}");
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
