//! The ONNX protobuf messages, generated from onnx.proto with zero-copy byte fields.
