//! Runs folders of tests on the reference kernels: `suite [--only TEXT] [--verbose] FOLDER...`.
//!
//! Each folder holds tests `<test>/model.onnx` with `test_data_set_*`, or is one such test.

use std::path::{Path, PathBuf};
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

fn tests_in(folder: &Path) -> Vec<PathBuf> {
    if folder.join("model.onnx").exists() {
        return vec![folder.to_owned()];
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.join("model.onnx").exists()).collect();
    found.sort();
    found
}

fn main() {
    let mut only = String::new();
    let mut verbose = false;
    let mut tests = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--only" => only = arguments.next().unwrap_or_default(),
            "--verbose" => verbose = true,
            folder => tests.extend(tests_in(Path::new(folder))),
        }
    }
    let tolerance = support::Tolerance { rtol: 1e-3, atol: 1e-5, atol_scale: 1e-4 };
    let (mut passed, mut failed) = (0, 0);
    for test in tests.iter().filter(|t| t.to_string_lossy().contains(&only)) {
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(|| support::run(test, &tolerance))
            .unwrap_or_else(|_| Err("it panicked".into()));
        let name = test.file_name().unwrap_or_default().to_string_lossy();
        match outcome {
            Ok(()) => {
                passed += 1;
                if verbose {
                    println!("pass {name} ({:.0?})", start.elapsed());
                }
            }
            Err(why) => {
                failed += 1;
                println!("FAIL {name} ({:.0?}): {why}", start.elapsed());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
}
