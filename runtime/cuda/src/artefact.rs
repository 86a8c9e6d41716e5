//! Compiled regions as bytes: the region as it came, and the code of its kernels. What weighs much stays with the host,
//! which gives it when the region is run.

use std::collections::BTreeMap;

use byoc_plugin::{
    Attribute, AttributeValue, Constant, DType, Dim, Error, Node, Region, Result, Symbol, Value,
};
use serde::{Deserialize, Serialize};

/// What compatibility strings begin with; the architecture and NVRTC's version follow.
pub const FAMILY: &str = "cuda-1 ";
/// Constants up to this many bytes may be part of what kernels and plans are made of: shapes, axes, numbers.
const SMALL: usize = 4096;

/// A region that owns what it is made of.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    name: String,
    nodes: Vec<StoredNode>,
    values: Vec<StoredValue>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    symbols: Vec<(String, [i64; 3])>,
    constants: Vec<usize>,
    /// Code by the digest of its source.
    pub images: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredNode {
    words: [String; 3],
    since_version: i64,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    attributes: Vec<(String, bool, StoredAttribute)>,
}

#[derive(Clone, Serialize, Deserialize)]
enum StoredAttribute {
    Int(i64),
    Float(f32),
    String(Vec<u8>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Other,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredValue {
    name: String,
    dtype: Option<DType>,
    dims: Option<Vec<Dim>>,
    producer: Option<(usize, usize)>,
    constant: Option<StoredConstant>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredConstant {
    index: usize,
    dtype: Option<DType>,
    /// In words, so that elements of any type are aligned; none where it weighs much.
    words: Vec<u64>,
    bytes: usize,
}

impl StoredConstant {
    fn new(constant: &Constant<'_>) -> StoredConstant {
        let kept = if constant.bytes.len() <= SMALL { constant.bytes } else { &[] };
        let word = |part: &[u8]| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_ne_bytes(word)
        };
        let words = kept.chunks(8).map(word).collect();
        StoredConstant { index: constant.index, dtype: constant.dtype, words, bytes: kept.len() }
    }

    fn lent(&self) -> Constant<'_> {
        let len = self.bytes.min(self.words.len() * 8);
        // SAFETY: words are bytes, and there are as many.
        let bytes = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), len) };
        Constant { index: self.index, dtype: self.dtype, bytes }
    }
}

impl StoredAttribute {
    /// Kernels ask for no others.
    fn new(value: &AttributeValue<'_>) -> StoredAttribute {
        match value {
            AttributeValue::Int(value) => StoredAttribute::Int(*value),
            AttributeValue::Float(value) => StoredAttribute::Float(*value),
            AttributeValue::String(value) => StoredAttribute::String(value.to_vec()),
            AttributeValue::Ints(values) => StoredAttribute::Ints(values.to_vec()),
            AttributeValue::Floats(values) => StoredAttribute::Floats(values.to_vec()),
            _ => StoredAttribute::Other,
        }
    }

    fn lent(&self) -> AttributeValue<'_> {
        match self {
            StoredAttribute::Int(value) => AttributeValue::Int(*value),
            StoredAttribute::Float(value) => AttributeValue::Float(*value),
            StoredAttribute::String(value) => AttributeValue::String(value),
            StoredAttribute::Ints(values) => AttributeValue::Ints(values),
            StoredAttribute::Floats(values) => AttributeValue::Floats(values),
            StoredAttribute::Other => AttributeValue::Other,
        }
    }
}

impl StoredNode {
    fn lent((name, is_default, value): &(String, bool, StoredAttribute)) -> Attribute<'_> {
        Attribute { name, value: value.lent(), is_default: *is_default }
    }
}

impl Stored {
    pub fn new(region: &Region<'_>) -> Stored {
        let node = |node: &Node<'_>| StoredNode {
            words: [node.name, node.op, node.domain].map(str::to_owned),
            since_version: node.since_version,
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            attributes: node
                .attributes
                .iter()
                .map(|a| (a.name.to_owned(), a.is_default, StoredAttribute::new(&a.value)))
                .collect(),
        };
        let value = |value: &Value<'_>| StoredValue {
            name: value.name.to_owned(),
            dtype: value.dtype,
            dims: value.dims.clone(),
            producer: value.producer,
            constant: value.constant.as_ref().map(StoredConstant::new),
        };
        Stored {
            name: region.name.to_owned(),
            nodes: region.nodes.iter().map(node).collect(),
            values: region.values.iter().map(value).collect(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            symbols: region.symbols.iter().map(|s| (s.name.to_owned(), [s.min, s.likely, s.max])).collect(),
            constants: region.constants.clone(),
            images: BTreeMap::new(),
        }
    }

    /// The region again. It came through a file: nothing in it is taken for granted.
    pub fn region(&self) -> Result<Region<'_>> {
        let nodes: Vec<Node<'_>> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Node {
                index,
                name: &node.words[0],
                op: &node.words[1],
                domain: &node.words[2],
                since_version: node.since_version,
                inputs: node.inputs.clone(),
                outputs: node.outputs.clone(),
                attributes: node.attributes.iter().map(StoredNode::lent).collect(),
                composite: None,
            })
            .collect();
        let values: Vec<Value<'_>> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| Value {
                index,
                name: &value.name,
                dtype: value.dtype,
                dims: value.dims.clone(),
                producer: value.producer,
                constant: value.constant.as_ref().map(StoredConstant::lent),
            })
            .collect();
        let symbols: Vec<Symbol<'_>> = self
            .symbols
            .iter()
            .map(|(name, [min, likely, max])| Symbol { name, min: *min, likely: *likely, max: *max })
            .collect();
        let region = Region {
            name: &self.name,
            nodes,
            values,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            composites: Vec::new(),
            symbols,
            constants: self.constants.clone(),
        };
        if is_sound(&region) { Ok(region) } else { Err(Error::invalid("a damaged artefact")) }
    }
}

/// Whether every number that names something names something.
fn is_sound(region: &Region<'_>) -> bool {
    let (values, nodes) = (region.values.len(), region.nodes.len());
    let used = region.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs)).flatten();
    let listed = region.inputs.iter().chain(&region.outputs).chain(&region.constants);
    let made = region.values.iter().filter_map(|value| value.producer);
    let symbols = region.values.iter().flat_map(|value| value.dims.iter().flatten());
    used.chain(listed).all(|value| *value < values)
        && made.into_iter().all(|(node, _)| node < nodes)
        && symbols.into_iter().all(|dim| !matches!(dim, Dim::Symbol(at) if *at >= region.symbols.len()))
}
