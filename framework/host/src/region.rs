//! A region in neutral form: what a plugin is shown. Built from a graph by whoever has one.

use std::sync::Arc;

use byoc_plugin::{DType, Dim};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A region; nodes in topological order, indices as in `byoc_plugin::Region`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RegionData {
    pub name: String,
    pub nodes: Vec<NodeData>,
    pub values: Vec<ValueData>,
    /// Values, in the order of `execute`.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub composites: Vec<CompositeData>,
    pub symbols: Vec<SymbolData>,
    /// Where the region goes to another process, they and the ONNX form go beside it.
    #[serde(skip)]
    pub constants: Vec<ConstantData>,
    /// Makes the ONNX form, where there is one.
    #[serde(skip)]
    pub onnx: Option<OnnxSource>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeData {
    pub name: String,
    pub op: String,
    pub domain: String,
    pub since_version: i64,
    pub inputs: Vec<Option<usize>>,
    pub outputs: Vec<Option<usize>>,
    /// Defaults of the operator included.
    pub attributes: Vec<AttributeData>,
    pub composite: Option<usize>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttributeData {
    pub name: String,
    pub content: AttributeContent,
    pub is_default: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AttributeContent {
    Int(i64),
    Float(f32),
    String(Bytes),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<Bytes>),
    Tensor {
        dtype: DType,
        dims: Vec<i64>,
        bytes: Bytes,
    },
    /// What only the ONNX form can show.
    Other,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ValueData {
    pub name: String,
    pub dtype: Option<DType>,
    pub dims: Option<Vec<Dim>>,
    /// The node that makes it, and as which output.
    pub producer: Option<(usize, usize)>,
    /// Index in `RegionData::constants`.
    pub constant: Option<usize>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CompositeData {
    pub pattern: String,
    pub nodes: Vec<usize>,
    pub bindings: Vec<(String, usize)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SymbolData {
    pub name: String,
    pub min: i64,
    pub likely: i64,
    pub max: i64,
}

impl SymbolData {
    /// A symbol without bounds.
    pub fn unbounded(name: impl Into<String>) -> Self {
        SymbolData { name: name.into(), min: 0, likely: 1, max: i64::MAX }
    }
}

/// A constant's content; cheap to clone.
#[derive(Debug, Clone)]
pub struct ConstantData {
    pub dtype: DType,
    pub bytes: Bytes,
}

/// Makes the ONNX form of a region when a plugin asks for it.
#[derive(Clone)]
pub struct OnnxSource(pub Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>);

impl std::fmt::Debug for OnnxSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnnxSource")
    }
}
