//! Every partition case, of the project and of the shared data, each one model with what must come out.

mod case;
mod support;

use std::path::{Path, PathBuf};

use case::{Case, bless, carry_out, check};

/// Where it is `1`, what comes out of the project's own cases is written into them.
const BLESS: &str = "BYOC_BLESS";

fn is_blessing() -> bool {
    std::env::var(BLESS).is_ok_and(|value| value == "1")
}

/// Runs a case; with `blessing`, a failing one is written anew and run again.
fn run(file: &Path, blessing: bool) -> Result<(), String> {
    let folder = file.parent().expect("a file is in a folder");
    let text = std::fs::read_to_string(file).expect("the case can be read");
    let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let outcome = carry_out(&case, folder)?;
    let Err(why) = check(&case, &outcome) else { return Ok(()) };
    let blessed = bless(&text, &case, &outcome);
    if !blessing || blessed == text {
        return Err(format!("== {}: {}\n{why}", case.name, case.about));
    }
    std::fs::write(file, blessed).expect("the case can be written");
    println!("blessed {}", file.display());
    run(file, false)
}

fn run_folder(folder: &Path, blessing: bool) -> (usize, Vec<String>) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let failures = files.iter().filter_map(|file| run(file, blessing).err()).collect();
    (files.len(), failures)
}

fn assert_all_pass(folder: &Path, at_least: usize, blessing: bool) {
    let (count, failures) = run_folder(folder, blessing);
    assert!(failures.is_empty(), "{} of {count} cases fail\n{}", failures.len(), failures.join("\n"));
    assert!(count >= at_least, "{} holds {count} cases only", folder.display());
}

#[test]
fn own_cases() {
    assert_all_pass(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/partition"), 30, is_blessing());
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
    assert_all_pass(&folder, 1, false);
}

/// What a person has written around the expectations stays, and what comes out takes their place.
#[test]
fn a_case_is_blessed_in_its_place() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bless");
    let folder = tempfile::tempdir().expect("there is room");
    for name in ["regions", "reasons", "open", "error", "no_error"] {
        let file = folder.path().join(format!("{name}.toml"));
        std::fs::copy(cases.join(format!("{name}.before.toml")), &file).expect("it can be copied");
        assert!(run(&file, false).is_err(), "{name} holds already");
        run(&file, true).unwrap_or_else(|why| panic!("{name}: {why}"));
        let blessed = std::fs::read_to_string(&file).expect("it has been written");
        let wanted = cases.join(format!("{name}.after.toml"));
        if is_blessing() {
            std::fs::write(&wanted, &blessed).expect("it can be written");
        }
        assert_eq!(blessed, std::fs::read_to_string(&wanted).unwrap_or_default(), "{name}");
    }
}
