//! Any text is a model or an error.
#![no_main]

use byoc_graph::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(model) = onnx::from_text(text, None) {
        model.graph.check();
        onnx::to_bytes(&model).expect("a model can be written");
    }
});
