//! Any text is a model or an error; a model can be printed, and read again.
#![no_main]

use byoc_graph::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(model) = onnx::from_text(text, None) {
        model.graph.check();
        let printed = onnx::to_text(&model).expect("a model can be printed");
        onnx::from_text(&printed, None).expect("what was printed can be read");
    }
});
