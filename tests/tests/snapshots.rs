//! Where whole models are split for the vendors here, in words that a change can be read off.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo test -p byoc-tests --test snapshots`, then read the difference.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use byoc::Report;
use byoc_tests::{QUANTISED, data, on_fake_cuda, on_onednn, on_openvino, on_refnpu, partition_report};

/// Names that a line lists before it only counts them.
const SHOWN: usize = 4;

fn snapshot(name: &str, model: &Path, words: Vec<String>) {
    let report = partition_report(model, words);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, describe(&report));
    });
}

fn describe(report: &Report) -> String {
    let summary = &report.summary;
    let mut text = format!("{} of {} nodes in regions\n", summary.offloaded, summary.nodes);
    for region in &report.regions {
        let patterns = counted(region.composites.iter().map(|c| c.pattern.clone()));
        let _ = writeln!(text, "\n{}: {} nodes in {}", region.name, region.nodes.len(), region.graph);
        let _ = writeln!(text, "  patterns: {}", patterns.join(", "));
        let _ = writeln!(text, "  inputs: {}", names(&region.inputs));
        let _ = writeln!(text, "  outputs: {}", names(&region.outputs));
    }
    let reasons = report.nodes.iter().map(|node| match node.reasons.first() {
        Some(reason) => {
            let pattern = reason.pattern.as_ref().map(|p| format!("{p}: ")).unwrap_or_default();
            format!("{}: {pattern}{}", node.op, reason.detail)
        }
        None => format!("{}: no reason", node.op),
    });
    let _ = writeln!(text, "\nhost: {} nodes", report.nodes.len());
    for reason in counted(reasons) {
        let _ = writeln!(text, "  {reason}");
    }
    text
}

/// `3 × text` for each text, in alphabetical order.
fn counted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    counts.into_iter().map(|(text, count)| format!("{count} × {text}")).collect()
}

fn names(names: &[String]) -> String {
    if names.len() > SHOWN { format!("{} values", names.len()) } else { names.join(", ") }
}

#[test]
fn demo() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("demo.onnx");
    let demo = byoc::demo::network(7).expect("the demo's network can be built");
    byoc::onnx::save(&demo, &model).expect("the model can be written");
    snapshot("demo", &model, on_refnpu(None));
}

#[test]
fn quantised_models() {
    let Some(folder) = data("models") else { return };
    for (name, dim) in QUANTISED {
        snapshot(name, &folder.join(name).join("model.onnx"), on_refnpu(dim));
    }
}

#[test]
fn models_on_openvino() {
    let (Some(folder), Some(words)) = (data("models"), on_openvino()) else { return };
    for name in ["scan_lstm", "silero_vad", "squeezenet_customvision_legacy", "yolox_nano"] {
        let model = folder.join(name).join("model.onnx");
        snapshot(&format!("openvino_{name}"), &model, words.clone());
    }
}

#[test]
fn models_on_onednn() {
    let (Some(folder), Some(library)) = (data("models"), on_onednn()) else { return };
    for name in ["bert_toy", "ppocr_v3_det", "unet_sed", "yolox_nano"] {
        let model = folder.join(name).join("model.onnx");
        snapshot(&format!("onednn_{name}"), &model, vec!["--plugin".into(), library.display().to_string()]);
    }
}

#[test]
fn models_on_cuda() {
    let Some(folder) = data("models") else { return };
    for name in ["bert_toy", "mobilenetv2_qdq_int8", "t5_random_decoder"] {
        let model = folder.join(name).join("model.onnx");
        snapshot(&format!("cuda_{name}"), &model, on_fake_cuda());
    }
}
