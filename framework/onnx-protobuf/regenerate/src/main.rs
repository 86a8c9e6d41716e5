//! Regenerates the ONNX messages: no protoc, and `bytes` fields as `bytes::Bytes`, so that a message
//! parsed from a memory map borrows its weights instead of copying them.

use protobuf_codegen::{Codegen, Customize};

fn main() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    Codegen::new()
        .pure()
        .customize(Customize::default().tokio_bytes(true).lite_runtime(true).gen_mod_rs(false))
        .include(format!("{root}/proto"))
        .input(format!("{root}/proto/onnx/onnx-ml.proto"))
        .input(format!("{root}/proto/onnx/onnx-data.proto"))
        .out_dir(format!("{root}/src"))
        .run()
        .unwrap_or_else(|error| panic!("the messages could not be generated: {error:#}"));
}
