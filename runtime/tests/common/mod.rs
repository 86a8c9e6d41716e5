//! Models from ONNX text.

use byoc_graph::Model;

pub fn model(text: &str) -> Model {
    byoc_graph::onnx::from_text(text, None).expect("the text is a model")
}
