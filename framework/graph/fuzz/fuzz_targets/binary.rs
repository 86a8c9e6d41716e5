//! Any bytes are a model or an error; a model can be written, and read again.
#![no_main]

use byoc_graph::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(model) = onnx::from_bytes(data.to_vec(), None) {
        model.graph.check();
        let written = onnx::to_bytes(&model).expect("a model can be written");
        onnx::from_bytes(written, None).expect("what was written can be read");
    }
});
