//! Every package that the workspace builds from has a licence that this project may use.

use std::process::Command;

/// SPDX identifiers that are accepted by themselves.
const ACCEPTED: [&str; 10] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
];

/// Packages with another licence, and why that is fine.
const EXCEPTIONS: [(&str, &str); 1] = [
    // File-level copyleft: the generated messages keep it in a folder of their own.
    ("onnx-protobuf", "MPL-2.0 AND Apache-2.0"),
];

#[test]
fn every_licence_is_accepted() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 50, "the list of packages is whole");
    let refused: Vec<String> = packages.iter().filter_map(refusal).collect();
    assert!(refused.is_empty(), "licences that are not accepted:\n{}", refused.join("\n"));
}

/// The platform that this is built on: packages of others are not even downloaded.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn refusal(package: &serde_json::Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let licence = package["license"].as_str().unwrap_or("none given");
    let exempt = EXCEPTIONS.contains(&(name, licence));
    (!exempt && !is_accepted(licence)).then(|| format!("{name}: {licence}"))
}

/// One alternative of every conjunct has to be accepted; an exception to a licence only widens it.
fn is_accepted(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|conjunct| {
        conjunct.split(" OR ").any(|term| {
            let licence = term.split(" WITH ").next().unwrap_or(term).trim();
            ACCEPTED.contains(&licence)
        })
    })
}

#[test]
fn expressions_are_read() {
    assert!(is_accepted("MIT OR Apache-2.0"));
    assert!(is_accepted("MIT/GPL-3.0"));
    assert!(is_accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(is_accepted("Apache-2.0 WITH LLVM-exception"));
    assert!(!is_accepted("GPL-3.0"));
    assert!(!is_accepted("MIT AND GPL-3.0"));
}
