//! Graph IR, operator schemas, shape inference, ONNX in and out, and normalisation.
