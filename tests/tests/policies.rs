//! Policies compared on three vendors of different speeds, whatever their order: predicted and measured.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc_tests::{Finished, byoc, plugin, run_command, written};
use serde_json::Value;

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[16384] x, float[16384] y) => (float[16384] z) {
    a = Add(x, y)
    b = Mul(a, y)
    c = Mul(b, x)
    d = Relu(c)
    e = Add(d, a)
    f = Add(e, b)
    g = Relu(f)
    h = Mul(g, d)
    z = Add(h, e)
}"#;

/// What each vendor is good at; all else takes it two hundred times as long.
const GOOD_AT: [(&str, &str); 3] = [("a", "add"), ("b", "mul"), ("c", "relu")];
const FAST: u32 = 100;
const SLOW: u32 = 20_000;

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Runs a command of `byoc` with the vendors in an order, and with a home of its own.
fn byoc_with(home: &Path, command: &str, order: [usize; 3], words: &[&str]) -> Finished {
    let mut call = Command::new(byoc());
    call.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_CACHE_HOME", home.join("cache")).arg(command);
    for (vendor, good) in order.map(|v| GOOD_AT[v]) {
        call.arg("--plugin").arg(plugin(&format!("byoc-paced-{vendor}")));
        for op in ["add", "mul", "relu"] {
            let pace = if op == good { FAST } else { SLOW };
            call.arg("--plugin-option").arg(format!("paced-{vendor}.{op}={pace}"));
        }
    }
    run_command(call.args(words), Duration::from_secs(120)).expect(0)
}

fn compare(home: &Path, order: [usize; 3], model: &Path, words: &[&str]) -> Value {
    let model = model.to_str().expect("UTF-8");
    let done = byoc_with(home, "partition", order, &[&[model, "--compare", "--json"], words].concat());
    serde_json::from_str(&done.stdout).expect("the comparison is JSON")
}

/// Regions of the placement that these words ask for.
fn regions(home: &Path, model: &Path, words: &[&str]) -> Vec<byoc_partitioner::RegionReport> {
    let model = model.to_str().expect("UTF-8");
    let done = byoc_with(home, "partition", ORDERS[0], &[&[model, "--json"], words].concat());
    serde_json::from_str::<byoc::Report>(&done.stdout).expect("the report is JSON").regions
}

#[test]
fn cost_is_the_default_where_the_host_was_measured() {
    let (home, model) = written(MODEL);
    let with = |words: &[&str]| regions(home.path(), &model, words);
    assert_eq!(with(&[]), with(&["--policy", "greedy"]));
    byoc_with(home.path(), "calibrate", ORDERS[0], &[model.to_str().expect("UTF-8")]);
    assert_eq!(with(&[]), with(&["--policy", "cost"]));
    assert_ne!(with(&[]), with(&["--policy", "greedy"]));
    assert_eq!(with(&["--no-calibration"]), with(&["--policy", "greedy", "--no-calibration"]));
}

fn us(compared: &Value, policy: &str, which: &str) -> f64 {
    compared[policy][which].as_f64().unwrap_or_else(|| panic!("{policy} has no {which}: {compared}"))
}

#[test]
fn cost_beats_greedy_in_every_order() {
    let (home, model) = written(MODEL);
    byoc_with(home.path(), "calibrate", ORDERS[0], &[model.to_str().expect("UTF-8")]);
    for order in ORDERS {
        let compared = compare(home.path(), order, &model, &[]);
        let told = |which| ["greedy", "cost", "measured"].map(|policy| us(&compared, policy, which));
        let [greedy, cost, measured] = told("measured_us");
        println!("{order:?}: greedy {greedy:.1} µs, cost {cost:.1} µs, measured {measured:.1} µs");
        assert!(cost < greedy / 2.0 && measured < greedy / 2.0, "{order:?}: {compared}");
        let [greedy, cost, measured] = told("predicted_us");
        assert!(cost < greedy / 2.0 && measured < greedy / 2.0, "{order:?}: {compared}");
    }
}

#[test]
fn measuring_needs_no_profile_and_keeps_what_it_has_measured() {
    let (home, model) = written(MODEL);
    let compared = compare(home.path(), ORDERS[0], &model, &["--no-calibration"]);
    assert_eq!(us(&compared, "cost", "regions"), us(&compared, "greedy", "regions"));
    let (greedy, measured) =
        (us(&compared, "greedy", "measured_us"), us(&compared, "measured", "measured_us"));
    assert!(measured < greedy / 2.0, "{compared}");

    let model = model.to_str().expect("UTF-8");
    let words = [model, "--policy", "measured", "--no-calibration", "--json"];
    let place = || byoc_with(home.path(), "partition", ORDERS[0], &words).stdout;
    let (kept, before) = (home.path().join("cache/byoc"), place());
    let entries = || std::fs::read_dir(&kept).expect("a cache").map(|e| e.expect("an entry").path());
    let written = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).expect("a time");
    let times: Vec<_> = entries().map(|path| (written(&path), path)).collect();
    assert_eq!(place(), before);
    assert!(times.iter().all(|(time, path)| written(path) == *time), "something was measured again");
    for (_, path) in &times {
        std::fs::write(path, "{").expect("written");
    }
    // New times may lead elsewhere, so that not every entry is needed again.
    let mended = place();
    assert!(mended.contains("\"predicted_us\""));
    assert!(entries().any(|path| std::fs::read(path).expect("an entry") != b"{"), "nothing was measured");
    assert_eq!(place(), mended);
}

/// What a vendor without code would take can only be predicted, whatever the host has measured of itself.
#[test]
fn a_table_without_code_has_no_measured_time() {
    let (home, model) = written(MODEL);
    let table = home.path().join("npu.toml");
    let text = "[vendor]\nname = \"npu\"\n[[pattern]]\nname = \"relu\"\nmatch = \"y = Relu(x)\"\n";
    std::fs::write(&table, text).expect("written");
    let mut call = Command::new(byoc());
    call.env("XDG_CONFIG_HOME", home.path().join("config")).env("XDG_CACHE_HOME", home.path().join("cache"));
    call.arg("partition").arg(&model).arg("--compare").arg("--json").arg("--table").arg(&table);
    let done = run_command(&mut call, Duration::from_secs(120)).expect(0);
    let compared: Value = serde_json::from_str(&done.stdout).expect("the comparison is JSON");
    assert_eq!(compared["greedy"]["regions"], 2, "{compared}");
    assert!(compared["greedy"]["measured_us"].is_null(), "{compared}");
}
