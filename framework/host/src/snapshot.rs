//! A region laid out as the interface shows it; what a `Region` pointer points at.

use std::sync::OnceLock;

use byoc_plugin::abi::{self, Indices, NONE, Str};
use byoc_plugin::{DType, Dim, Error};

use crate::region::{AttributeContent, AttributeData, RegionData};

/// Arrays that outlive the call, over a region that does.
pub(crate) struct Snapshot<'a> {
    region: &'a RegionData,
    nodes: Vec<NodeArrays>,
    dims: Vec<Vec<abi::Dim>>,
    composites: Vec<CompositeArrays>,
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    onnx: OnceLock<Result<Vec<u8>, String>>,
}

struct NodeArrays {
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    /// By attribute: its strings, where it is a list of strings.
    strings: Vec<Vec<Str>>,
}

struct CompositeArrays {
    nodes: Vec<u64>,
    bindings: Vec<abi::Binding>,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(region: &'a RegionData) -> Self {
        let nodes = region.nodes.iter().map(|node| NodeArrays {
            inputs: node.inputs.iter().map(|value| index(*value)).collect(),
            outputs: node.outputs.iter().map(|value| index(*value)).collect(),
            strings: node.attributes.iter().map(strings).collect(),
        });
        let composites = region.composites.iter().map(|composite| CompositeArrays {
            nodes: indices(&composite.nodes),
            bindings: composite
                .bindings
                .iter()
                .map(|(name, value)| abi::Binding { name: Str::new(name), value: *value as u64 })
                .collect(),
        });
        Snapshot {
            region,
            nodes: nodes.collect(),
            dims: region.values.iter().map(|value| value.dims.iter().flatten().map(dim).collect()).collect(),
            composites: composites.collect(),
            inputs: indices(&region.inputs),
            outputs: indices(&region.outputs),
            onnx: OnceLock::new(),
        }
    }

    pub(crate) fn as_region(&self) -> *const abi::Region {
        (&raw const *self).cast()
    }

    /// # Safety
    /// The pointer is null, or one that the host gave to the present call.
    pub(crate) unsafe fn from_region<'s>(region: *const abi::Region) -> Result<&'s Snapshot<'s>, Error> {
        // SAFETY: the caller's promise.
        unsafe { region.cast::<Snapshot<'s>>().as_ref() }.ok_or_else(|| Error::invalid("the region is null"))
    }

    pub(crate) fn info(&self, args: &mut abi::RegionInfoArgs) -> Result<(), Error> {
        args.name = Str::new(&self.region.name);
        args.nodes = self.region.nodes.len() as u64;
        args.values = self.region.values.len() as u64;
        args.composites = self.region.composites.len() as u64;
        args.symbols = self.region.symbols.len() as u64;
        args.constants = self.region.constants.len() as u64;
        args.inputs = Indices::new(&self.inputs);
        args.outputs = Indices::new(&self.outputs);
        Ok(())
    }

    pub(crate) fn node(&self, args: &mut abi::RegionNodeArgs) -> Result<(), Error> {
        let node = at(&self.region.nodes, args.index, "node")?;
        let arrays = at(&self.nodes, args.index, "node")?;
        args.name = Str::new(&node.name);
        args.op = Str::new(&node.op);
        args.domain = Str::new(&node.domain);
        args.since_version = node.since_version;
        args.inputs = Indices::new(&arrays.inputs);
        args.outputs = Indices::new(&arrays.outputs);
        args.attributes = node.attributes.len() as u64;
        args.composite = index(node.composite);
        Ok(())
    }

    pub(crate) fn attr(&self, args: &mut abi::RegionAttrArgs) -> Result<(), Error> {
        let node = at(&self.region.nodes, args.node, "node")?;
        let attribute = at(&node.attributes, args.index, "attribute")?;
        args.name = Str::new(&attribute.name);
        args.is_default = u32::from(attribute.is_default);
        let mut list = |len: usize| args.len = len as u64;
        match &attribute.content {
            AttributeContent::Int(value) => (args.kind, args.int_value) = (abi::ATTR_INT, *value),
            AttributeContent::Float(value) => (args.kind, args.float_value) = (abi::ATTR_FLOAT, *value),
            AttributeContent::String(bytes) => {
                (args.kind, args.string) = (abi::ATTR_STRING, Str::bytes(bytes))
            }
            AttributeContent::Ints(values) => {
                list(values.len());
                (args.kind, args.ints) = (abi::ATTR_INTS, values.as_ptr());
            }
            AttributeContent::Floats(values) => {
                list(values.len());
                (args.kind, args.floats) = (abi::ATTR_FLOATS, values.as_ptr());
            }
            AttributeContent::Strings(values) => {
                list(values.len());
                let strings = at(&at(&self.nodes, args.node, "node")?.strings, args.index, "attribute")?;
                (args.kind, args.strings) = (abi::ATTR_STRINGS, strings.as_ptr());
            }
            AttributeContent::Tensor { dtype, dims, bytes } => {
                list(dims.len());
                (args.kind, args.tensor_dtype, args.tensor_dims) =
                    (abi::ATTR_TENSOR, dtype.to_abi(), dims.as_ptr());
                args.string = Str::bytes(bytes);
            }
            AttributeContent::Other => args.kind = abi::ATTR_OTHER,
        }
        Ok(())
    }

    pub(crate) fn value(&self, args: &mut abi::RegionValueArgs) -> Result<(), Error> {
        let value = at(&self.region.values, args.index, "value")?;
        let dims = at(&self.dims, args.index, "value")?;
        args.name = Str::new(&value.name);
        args.dtype = value.dtype.map_or(UNKNOWN_DTYPE, DType::to_abi);
        args.rank = if value.dims.is_some() { dims.len() as i64 } else { -1 };
        args.dims = dims.as_ptr();
        args.producer = index(value.producer.map(|(node, _)| node));
        args.producer_output = index(value.producer.map(|(_, output)| output));
        args.constant = index(value.constant);
        Ok(())
    }

    pub(crate) fn composite(&self, args: &mut abi::RegionCompositeArgs) -> Result<(), Error> {
        let composite = at(&self.region.composites, args.index, "composite")?;
        let arrays = at(&self.composites, args.index, "composite")?;
        args.pattern = Str::new(&composite.pattern);
        args.nodes = Indices::new(&arrays.nodes);
        args.bindings = arrays.bindings.as_ptr();
        args.bindings_len = arrays.bindings.len() as u64;
        Ok(())
    }

    pub(crate) fn symbol(&self, args: &mut abi::RegionSymbolArgs) -> Result<(), Error> {
        let symbol = at(&self.region.symbols, args.index, "symbol")?;
        args.name = Str::new(&symbol.name);
        (args.min, args.likely, args.max) = (symbol.min, symbol.likely, symbol.max);
        Ok(())
    }

    pub(crate) fn onnx(&self, args: &mut abi::RegionOnnxArgs) -> Result<(), Error> {
        let source = self.region.onnx.as_ref();
        let source = source.ok_or_else(|| Error::unsupported("this region has no ONNX form"))?;
        match self.onnx.get_or_init(|| (source.0)()) {
            Ok(bytes) => {
                args.bytes = Str::bytes(bytes);
                Ok(())
            }
            Err(message) => Err(Error::internal(message.clone())),
        }
    }
}

/// The type of a value that is not a tensor, or of one that nobody knows.
const UNKNOWN_DTYPE: abi::DType = abi::DType { code: abi::DTYPE_NONE, bits: 0, lanes: 0, reserved: 0 };

fn at<'s, T>(items: &'s [T], index: u64, what: &str) -> Result<&'s T, Error> {
    let item = usize::try_from(index).ok().and_then(|index| items.get(index));
    item.ok_or_else(|| Error::invalid(format!("there is no {what} {index}")))
}

fn index(index: Option<usize>) -> u64 {
    index.map_or(NONE, |index| index as u64)
}

fn indices(indices: &[usize]) -> Vec<u64> {
    indices.iter().map(|index| *index as u64).collect()
}

fn strings(attribute: &AttributeData) -> Vec<Str> {
    match &attribute.content {
        AttributeContent::Strings(values) => values.iter().map(|value| Str::bytes(value)).collect(),
        _ => Vec::new(),
    }
}

fn dim(dim: &Dim) -> abi::Dim {
    let (kind, size, symbol) = match dim {
        Dim::Known(size) => (abi::DIM_KNOWN, *size as i64, NONE),
        Dim::Symbol(symbol) => (abi::DIM_SYMBOL, -1, *symbol as u64),
        Dim::Unknown => (abi::DIM_UNKNOWN, -1, NONE),
    };
    abi::Dim { kind, reserved: 0, size, symbol }
}
