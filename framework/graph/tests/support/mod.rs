//! What several tests need: where the test data lies, and Python's `onnx` as the other opinion.

#![allow(dead_code, reason = "no test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of the test data; `None`, and a line that says so, where there is none. In CI it must be there.
pub fn test_data(folder: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let root = std::env::var_os("BYOC_TEST_DATA").map_or_else(|| default.into(), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "test data is missing: {}", path.display());
    println!("skipped: no test data at {}", path.display());
    None
}

/// Files with this extension in `folder` and below, in order of path.
pub fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Runs a Python script that needs `onnx`; `None`, and a line that says so, where that is not installed.
pub fn python(script: &str, arguments: &[&Path]) -> Option<String> {
    let has_onnx = Command::new("python3").args(["-c", "import onnx"]).output();
    if !has_onnx.is_ok_and(|output| output.status.success()) {
        println!("skipped: Python's onnx is not installed");
        return None;
    }
    let output =
        Command::new("python3").arg("-c").arg(script).args(arguments).output().expect("python3 runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the script failed:\n{out}\n{err}");
    Some(out.into_owned())
}
