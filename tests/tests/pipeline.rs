//! A stream of requests over several vendors: while one works on a request, the others work on others.

use std::fs;

use byoc_tests::{plugin, run, written};

/// Three stages, one for each vendor.
const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[20000] x) => (float[20000] y) {
    a = Add(x, x)
    b = Mul(a, x)
    y = Relu(b)
}"#;

#[test]
fn vendors_work_on_different_requests_at_the_same_time() {
    let (folder, model) = written(MODEL);
    let json = folder.path().join("bench.json");
    let mut words: Vec<String> = vec!["bench".into(), model.display().to_string()];
    for (vendor, op, node) in [("paced-a", "add", "a"), ("paced-b", "mul", "b"), ("paced-c", "relu", "y")] {
        words.extend(["--plugin".into(), plugin(&format!("byoc-{vendor}")).display().to_string()]);
        // Twenty milliseconds each, asleep: however busy the machine is, they can be so at the same time.
        words.extend(["--plugin-option".into(), format!("{vendor}.{op}=1000000")]);
        words.extend(["--force".into(), format!("{node}={vendor}")]);
    }
    let rest = ["--policy", "greedy", "--warmup", "1", "--seconds", "0.6", "--pipeline", "4", "--json"];
    words.extend(rest.map(str::to_owned));
    words.push(json.display().to_string());
    let done = run(words).expect(0);
    assert!(done.stdout.contains("pipeline of 4"), "{}", done.stdout);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("written")).expect("JSON");
    let figure = |name: &str| report["pipeline"][name].as_f64().expect("a number");
    // Three stages of equal length: three times, but for filling and emptying.
    let ratio = figure("per_second") / figure("alone_per_second");
    assert!(ratio > 1.6 && ratio < 3.2, "{ratio}: {}", done.stdout);
    // One request takes no less than it does alone.
    assert!(figure("median_ms") >= 60.0, "{}", done.stdout);
}
