//! The reference accelerator as its user sees it: what a region takes of the device, and how well it is used.

use std::path::Path;

use byoc_tests::{Finished, plugin, run, written};

/// A quantised convolution, 3×3, of as many channels as it makes, on a square image.
fn convolution(channels: usize, size: usize) -> String {
    let codes: Vec<String> = (0..channels * channels * 9).map(|i| (i * 37 % 255).to_string()).collect();
    format!(
        r#"<ir_version: 8, opset_import: ["": 17]>
g (uint8[1,{channels},{size},{size}] x) => (uint8[1,{channels},{size},{size}] y)
<float s = {{0.05}}, float t = {{0.01}}, float u = {{1.5}}, uint8 z = {{128}}, uint8 m = {{127}},
 uint8[{channels},{channels},3,3] k = {{{}}}> {{
    a = DequantizeLinear(x, s, z)
    w = DequantizeLinear(k, t, m)
    c = Conv<pads=[1,1,1,1]>(a, w)
    y = QuantizeLinear(c, u, z)
}}"#,
        codes.join(",")
    )
}

fn reported(model: &Path, more: &[&str]) -> Finished {
    let (model, npu) = (model.display().to_string(), plugin("byoc-refnpu").display().to_string());
    let call = ["run", &model, "--random", "1", "--strict", "--plugin", &npu];
    let report = ["--plugin-option", "refnpu.report=true"];
    run(call.iter().chain(&report).chain(more)).expect(0)
}

/// The number before these words of a report.
fn before(report: &str, words: &str) -> f64 {
    let (front, _) = report.split_once(words).unwrap_or_else(|| panic!("no `{words}`: {report}"));
    let number = front.rsplit([' ', '(', ',']).find(|word| !word.is_empty()).expect("a number");
    number.parse().unwrap_or_else(|_| panic!("`{number}` before `{words}`: {report}"))
}

/// The whole of the layer counts: transfers under the DMA's bandwidth and latency, filling and draining of the array.
#[test]
fn large_convolutions_use_six_tenths_of_the_array() {
    for (channels, size) in [(64, 56), (128, 28)] {
        let (_folder, model) = written(&convolution(channels, size));
        let report = reported(&model, &[]).stderr;
        let (cycles, used) = (before(&report, " cycles an image"), before(&report, " % of the array"));
        assert!(used >= 60.0, "{report}");
        // 1,024 products a cycle.
        let products = (channels * channels * 9 * size * size) as f64;
        assert!((used - 100.0 * products / (cycles * 1024.0)).abs() < 0.1, "{report}");
        assert!((before(&report, " a multiply-accumulate") - cycles / products).abs() < 1e-6, "{report}");
        // Each byte of the image and of the weights is loaded at least once, and each of the result stored once.
        let image = (channels * size * size) as f64;
        assert!(before(&report, " bytes loaded") >= image + (channels * channels * 9) as f64, "{report}");
        assert!((before(&report, " stored") - image).abs() < 0.5, "{report}");
        assert!(before(&report, " bytes of scratchpad") <= 512.0 * 1024.0, "{report}");
    }
}

/// What it answers when it is asked for a cost is what running takes.
#[test]
fn the_predicted_time_of_a_region_is_that_of_its_run() {
    let (folder, model) = written(&convolution(64, 56));
    let bench = folder.path().join("bench.json").display().to_string();
    let npu = plugin("byoc-refnpu").display().to_string();
    let (path, words) = (model.display().to_string(), ["--plugin", &npu, "--policy", "greedy"]);
    run(["bench", &path, "--seconds", "0", "--json", &bench].iter().chain(&words)).expect(0);
    let text = std::fs::read_to_string(&bench).expect("written");
    let measured: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let report = byoc_tests::partition_report(&model, words.iter().map(ToString::to_string).collect());
    let predicted = report.regions[0].predicted_us.expect("the vendor has answered");
    let took = 1000.0 * measured["device_ms"]["refnpu"].as_f64().expect("the device's own time");
    assert!((predicted - took).abs() < 1e-3, "{predicted} µs predicted, {took} µs taken");
}

#[test]
fn more_cores_and_a_smaller_scratchpad_show_in_the_report() {
    let (_folder, model) = written(&convolution(64, 56));
    let one = reported(&model, &[]);
    let option = |words: &[&str]| reported(&model, &[&["--plugin-option"], words].concat());
    let four = option(&["refnpu.cores=4"]);
    let small = option(&["refnpu.scratchpad_kib=128"]);
    let cycles = |done: &Finished| before(&done.stderr, " cycles an image");
    assert!(cycles(&four) < cycles(&one) / 3.0, "{}\n{}", one.stderr, four.stderr);
    assert!(before(&small.stderr, " bytes of scratchpad") <= 128.0 * 1024.0, "{}", small.stderr);
    // The same numbers, whatever computes them.
    assert!(one.stdout == four.stdout && one.stdout == small.stdout);
}
