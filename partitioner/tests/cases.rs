//! Every partition case, of the project and of the shared data, each one model with what must come out.

mod support;

use std::path::{Path, PathBuf};

use support::{Case, run};

fn run_folder(folder: &Path) -> (usize, Vec<String>) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let mut failures = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("the case can be read");
        let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        if let Err(why) = run(&case, folder) {
            failures.push(format!("== {}: {}\n{why}", case.name, case.about));
        }
    }
    (files.len(), failures)
}

fn assert_all_pass(folder: &Path, at_least: usize) {
    let (count, failures) = run_folder(folder);
    assert!(failures.is_empty(), "{} of {count} cases fail\n{}", failures.len(), failures.join("\n"));
    assert!(count >= at_least, "{} holds {count} cases only", folder.display());
}

#[test]
fn own_cases() {
    assert_all_pass(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/partition"), 30);
}

#[test]
fn shared_cases() {
    let data = std::env::var_os("BYOC_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = data.join("partition-cases");
    if !folder.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
        println!("skipped: {} is missing", folder.display());
        return;
    }
    assert_all_pass(&folder, 1);
}
