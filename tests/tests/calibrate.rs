//! `byoc calibrate` on a plugin whose pace is set by option: what it measures, where it keeps it, and who finds it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc_partitioner::{Profile, Rates};
use byoc_tests::{Finished, byoc, plugin, run_command};

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[65536] x, float[65536] y) => (float[65536] r) {
    s = Add(x, y)
    p = Mul(s, y)
    r = Relu(p)
}"#;

/// Runs `byoc` with a configuration of its own, on the plugin with multiplications that take so many picoseconds an element.
fn byoc_with(config: &Path, command: &str, mul: u32, words: &[&str]) -> Finished {
    let model = config.join("model.onnxtxt");
    fs::write(&model, MODEL).expect("written");
    let mut call = Command::new(byoc());
    call.env("XDG_CONFIG_HOME", config).arg(command).arg(model).arg("--plugin").arg(plugin("byoc-paced-a"));
    call.args(["--plugin-option", &format!("paced-a.mul={mul}")]).args(words);
    run_command(&mut call, Duration::from_secs(120)).expect(0)
}

fn rates(profile: &Path, target: &str, of: &str) -> Rates {
    let profile = Profile::from_toml(&fs::read_to_string(profile).expect("a profile")).expect("valid");
    profile.targets.iter().find(|t| t.name == target).expect(target).rates[of]
}

fn time(rates: Rates) -> f64 {
    let work = byoc_partitioner::cost::Work { flops: Some(65_536), bytes: Some(3 * 4 * 65_536) };
    rates.time(work).expect("a time")
}

#[test]
fn what_is_slow_is_measured_as_slow_and_kept() {
    let config = tempfile::tempdir().expect("a temporary folder");
    let done = byoc_with(config.path(), "calibrate", 30_000, &["--threads", "1"]);
    let profile = config.path().join("byoc/profile.toml");
    assert!(done.stdout.contains(profile.to_str().expect("UTF-8")), "{}", done.stdout);
    let us = |of| time(rates(&profile, "paced-a", of));
    assert!(us("mul") > 10.0 * us("add"), "mul {} µs, add {} µs", us("mul"), us("add"));
    assert!(time(rates(&profile, "host", "Mul")) < us("mul"));
}

#[test]
fn a_placement_finds_the_profile_unless_told_otherwise() {
    let config = tempfile::tempdir().expect("a temporary folder");
    byoc_with(config.path(), "calibrate", 30_000, &[]);
    let predicted = |words: &[&str]| {
        let report = byoc_with(config.path(), "partition", 30_000, &[&["--json"], words].concat()).stdout;
        let report: byoc::Report = serde_json::from_str(&report).expect("the report is JSON");
        report.summary.predicted_us
    };
    assert!(predicted(&[]).is_some_and(|us| us > 0.0));
    assert_eq!(predicted(&["--no-calibration"]), None);
}

#[test]
fn a_damaged_profile_stays_as_it_is() {
    let config = tempfile::tempdir().expect("a temporary folder");
    let profile = config.path().join("profile.toml");
    fs::write(&profile, "schema = 3").expect("written");
    let model = config.path().join("model.onnxtxt");
    fs::write(&model, MODEL).expect("written");
    let mut call = Command::new(byoc());
    call.arg("calibrate").arg(model).arg("--output").arg(&profile);
    let done = run_command(&mut call, Duration::from_secs(120)).expect(1);
    assert!(done.stderr.contains("profile.toml"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(&profile).expect("still there"), "schema = 3");
}
