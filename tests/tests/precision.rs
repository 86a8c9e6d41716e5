//! Weights in fewer bits, from the command line.

use std::path::Path;

use byoc_tests::{run, written};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn model() -> String {
    let weights: Vec<String> = (0..128 * 144).map(|i| format!("{:.3}", (i as f32 * 0.71).sin())).collect();
    format!(
        "<ir_version: 10, opset_import: [\"\": 21]>
         g (float[2, 128] x) => (float[2, 144] scores, float[2, 128] same) <float[128, 144] w = {{{}}}> {{
            scores = MatMul(x, w)
            same = Relu(x)
         }}",
        weights.join(", ")
    )
}

#[test]
fn the_error_of_a_precision_is_told() {
    let (folder, model) = written(&model());
    let out = folder.path().join("errors.json");
    let mut before = 0.0;
    for precision in ["f32", "bf16", "int8", "int4"] {
        let words = ["run", text(&model), "--random", "1", "--precision", precision, "--compare-precision"];
        let done = run(words.iter().copied().chain(["--json", text(&out)])).expect(0);
        assert!(done.stdout.contains(&format!("{precision} beside f32")), "{}", done.stdout);
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&out).expect("written")).expect("JSON");
        assert_eq!(json["precision"], precision);
        let outputs = &json["sets"][0]["outputs"];
        let number = |i: usize, key: &str| outputs[i][key].as_f64().expect("a number");
        assert_eq!(outputs[0]["output"], "scores");
        assert!(number(0, "cosine") > 0.99, "{outputs}");
        assert!(outputs[0]["top1"].is_number());
        // Each is coarser than the one before; what is no product does not change.
        let off = number(0, "max_abs");
        assert!(if precision == "f32" { off == 0.0 } else { off > before }, "{precision}: {off}");
        assert_eq!(number(1, "max_abs"), 0.0);
        before = off;
    }
}

#[test]
fn a_benchmark_reads_fewer_bytes() {
    let (folder, model) = written(&model());
    let out = folder.path().join("bench.json");
    let bytes = |precision: &str| {
        let words = ["bench", text(&model), "--seconds", "0.02", "--threads", "1", "--profile"];
        run(words.iter().copied().chain(["--precision", precision, "--json", text(&out)])).expect(0);
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&out).expect("written")).expect("JSON");
        let steps = json["profile"]["steps"].as_array().expect("steps").clone();
        let product = steps.iter().find(|step| step["op"] == "MatMul").expect("a product");
        product["bytes"].as_u64().expect("bytes")
    };
    let [f32, bf16, int8, int4] = ["f32", "bf16", "int8", "int4"].map(bytes);
    // 18,432 weights; the columns fill whole panels.
    assert_eq!(f32 - bf16, 2 * 18_432);
    assert_eq!(f32 - int8, 3 * 18_432 - 4 * 144);
    assert_eq!(f32 - int4, 7 * 18_432 / 2 - 4 * 4 * 144);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (_folder, model) = written(&model());
    for words in [
        &["--precision", "fp4"][..],
        &["--precision", "int8", "--reference"],
        &["--json", "out.json"],
        &["--compare-precision", "--verify-passes"],
    ] {
        run(["run", text(&model), "--random", "1"].iter().chain(words)).expect(2);
    }
}
