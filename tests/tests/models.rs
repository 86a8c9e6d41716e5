//! Real models by others, with reference outputs of another runtime: all of them run on the host, with
//! normalisation on and off, and on OpenVINO; the quantised ones on the reference accelerator as well.

use std::path::Path;

use byoc_graph::normalise::PASSES;
use byoc_tests::{
    QUANTISED, data, on_fake_cuda, on_onednn, on_openvino, on_refnpu, partition_report, plugin, run,
};
use serde::Deserialize;

/// Where more is allowed than [`Entry::tolerance`], with reasons.
const WIDER: &str = include_str!("../tolerances.toml");

#[derive(Deserialize)]
struct Tolerances {
    wider: Vec<Wider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wider {
    model: String,
    who: String,
    #[serde(default)]
    quanta: u64,
    #[serde(default)]
    scale: f64,
    #[serde(rename = "why")]
    _why: String,
}

impl Wider {
    fn holds(&self, model: &str, words: &[&str]) -> bool {
        let several = words.iter().filter(|word| **word == "--plugin").count() > 1;
        let runs = words.iter().any(|word| word.contains(&self.who));
        self.model == model && (runs || several && self.who == "several vendors")
    }
}

#[derive(Deserialize)]
struct Manifest {
    model: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    family: String,
}

impl Entry {
    fn is_quantised(&self) -> bool {
        self.family.starts_with("quant-")
    }

    /// A thousandth of each element and a ten-thousandth of the largest one; quantised models two steps as well.
    fn tolerance(&self, words: &[&str]) -> Vec<String> {
        let Tolerances { wider } = toml::from_str(WIDER).expect("the tolerances are TOML");
        let mut allowed = (if self.is_quantised() { 2 } else { 0 }, 1e-4f64);
        for more in wider.iter().filter(|more| more.holds(&self.name, words)) {
            allowed = (allowed.0.max(more.quanta), allowed.1.max(more.scale));
        }
        let (quanta, scale) = (allowed.0.to_string(), allowed.1.to_string());
        ["--rtol", "1e-3", "--atol", "1e-6", "--atol-scale", &scale, "--quanta", &quanta]
            .map(str::to_owned)
            .into()
    }
}

fn manifest(folder: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(folder.join("MANIFEST.toml")).expect("the manifest can be read");
    let manifest: Manifest = toml::from_str(&text).expect("the manifest is TOML");
    assert!(manifest.model.len() >= 38, "only {} models", manifest.model.len());
    manifest.model
}

/// Runs every model that `wanted` picks, and lists the ones that fail.
fn run_all(wanted: impl Fn(&Entry) -> bool, words: &[&str]) {
    let Some(folder) = data("models") else { return };
    let mut failed = Vec::new();
    let mut ran = 0;
    for entry in manifest(&folder).into_iter().filter(wanted) {
        let dir = folder.join(&entry.name);
        let mut call = vec!["run".to_owned(), dir.join("model.onnx").display().to_string()];
        call.extend(["--data".into(), dir.display().to_string(), "--quiet".into()]);
        call.push("--check-types".into());
        call.extend(entry.tolerance(words));
        call.extend(words.iter().map(|w| (*w).to_owned()));
        let done = run(call);
        ran += 1;
        if done.status != Some(0) {
            failed.push(format!("{}: {:?} {}{}", entry.name, done.status, done.stdout, done.stderr));
        }
    }
    assert!(failed.is_empty(), "{} of {ran} models failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn on_the_host() {
    run_all(|_| true, &[]);
}

#[test]
fn without_normalisation() {
    let off: Vec<String> = PASSES.iter().map(|pass| format!("--disable-pass={}", pass.name)).collect();
    run_all(|_| true, &off.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn without_any_pass() {
    run_all(|_| true, &["--disable-pass=all"]);
}

#[test]
fn by_the_reference_interpreter() {
    run_all(|_| true, &["--reference"]);
}

#[test]
fn quantised_on_the_accelerator() {
    let refnpu = plugin("byoc-refnpu");
    run_all(Entry::is_quantised, &["--plugin", refnpu.to_str().expect("UTF-8")]);
}

#[test]
fn on_openvino_through_its_plugin() {
    let Some(words) = on_openvino() else { return };
    run_all(|_| true, &words.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn on_onednn_through_its_plugin() {
    let Some(library) = on_onednn() else { return };
    run_all(|_| true, &["--plugin", library.to_str().expect("UTF-8")]);
}

/// Models that are small enough for a GPU that is none.
const FOR_A_PRETENDED_GPU: [&str; 9] = [
    "acasxu_1_2",
    "attention_past_state",
    "bert_toy",
    "cifar_base_kw",
    "go1_policy",
    "mnist_burn_bn",
    "mnist_cntk",
    "prelu_bn_small_112",
    "t5_random_decoder",
];

#[test]
fn on_the_pretended_gpu() {
    let words = on_fake_cuda();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run_all(|entry| FOR_A_PRETENDED_GPU.contains(&entry.name.as_str()), &words);
}

#[test]
fn on_every_vendor_at_once() {
    let (Some(mut words), Some(library)) = (on_openvino(), on_onednn()) else { return };
    let refnpu = plugin("byoc-refnpu").display().to_string();
    let others = ["--plugin".to_owned(), refnpu, "--plugin".to_owned(), library.display().to_string()];
    // The order breaks ties: the broadest comes last.
    words.splice(0..0, others);
    run_all(|_| true, &words.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn most_of_the_arithmetic_is_on_the_accelerator() {
    let Some(folder) = data("models") else { return };
    for (name, dim) in QUANTISED {
        let report = partition_report(&folder.join(name).join("model.onnx"), on_refnpu(dim));
        let share = report.summary.offloaded_flops.expect("a share");
        assert!(share >= 0.9, "{name}: only {share} of the arithmetic is on the accelerator");
    }
}
