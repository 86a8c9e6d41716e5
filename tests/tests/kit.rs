//! `byoc doctor` and `byoc coverage`: what there is, and what it takes.

use byoc_tests::{plugin, run};

#[test]
fn the_doctor_tells_why_a_plugin_cannot_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let good = plugin("byoc-refnpu").display().to_string();
    let done = run(["doctor", &good]).expect(0);
    assert!(done.stdout.contains("pass") && done.stdout.contains("threads"), "{}", done.stdout);
    let mut foreign = std::fs::read(&good).unwrap();
    // The machine of the header: AArch64.
    foreign[18] = 183;
    let path = folder.path().join("libforeign.so");
    std::fs::write(&path, foreign).unwrap();
    let path = path.display().to_string();
    let done = run(["doctor", &good, &path, "nowhere", "--json"]).expect(1);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let verdicts: Vec<&str> =
        report["plugins"].as_array().unwrap().iter().map(|p| p["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["pass", "fail", "fail"]);
    assert!(report["plugins"][1]["detail"].as_str().unwrap().contains("is built for"));
}

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[2,8] a, float[2,8] b) => (float[2,8] y) {
    s = Add(a, b)
    r = Relu(s)
    y = Softmax(r)
}"#;

#[test]
fn what_is_missing_is_ranked_over_models() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    for name in ["a.onnxtxt", "more/b.onnxtxt"] {
        std::fs::write(folder.path().join(name), MODEL).unwrap();
    }
    std::fs::write(folder.path().join("broken.onnx"), "nonsense").unwrap();
    let (json, html) = (folder.path().join("out.json"), folder.path().join("out.html"));
    let library = plugin("byoc-probe").display().to_string();
    let words = ["coverage", folder.path().to_str().unwrap(), "--plugin", &library];
    let done =
        run(words.into_iter().chain(["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()]));
    let done = done.expect(0);
    assert!(
        done.stdout.contains("4 of 6 nodes") && done.stdout.contains("not read: broken.onnx"),
        "{}",
        done.stdout
    );
    let found: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(found["missing"][0]["op"], "Softmax");
    assert_eq!((&found["missing"][0]["nodes"], &found["missing"][0]["models"]), (&2.into(), &2.into()));
    assert!(std::fs::read_to_string(html).unwrap().contains("Softmax"));
}
