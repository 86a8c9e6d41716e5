//! Walks the host's region once and builds the plain one.

use std::borrow::Cow;

use super::dtype::DType;
use super::error::{Error, Result};
use super::host::HostRef;
use super::region::{Attribute, AttributeValue, Composite, Constant, Dim, Node, Region, Symbol, Value};
use crate::abi::{self, AbiStruct};

/// A region has no more nodes, values, … than this; a host that claims more is broken.
const MOST: u64 = 1 << 24;

/// Reads the region; what it borrows lives as long as the call.
///
/// # Safety
/// `region` and `constants` are what the host passed to the present call, which lasts for `'a`.
pub(crate) unsafe fn read<'a>(
    host: HostRef,
    region: *const abi::Region,
    constants: *mut abi::Constants,
) -> Result<Region<'a>> {
    let walk = Walk { host, region, constants, lifetime: std::marker::PhantomData };
    let mut info = abi::RegionInfoArgs { region, ..AbiStruct::empty() };
    host.invoke(host.table().region_info, &mut info)?;
    if [info.nodes, info.values, info.composites, info.symbols, info.constants]
        .iter()
        .any(|count| *count > MOST)
    {
        return Err(Error::invalid("the host's region has an impossible size"));
    }
    let values = (0..info.values).map(|index| walk.value(index)).collect::<Result<Vec<_>>>()?;
    let limit = Limits { nodes: info.nodes, values: info.values, symbols: info.symbols };
    let mut by_constant = vec![None; info.constants as usize];
    for value in &values {
        if let Some(slot) = value.constant.and_then(|constant| by_constant.get_mut(constant.index)) {
            *slot = Some(value.index);
        }
    }
    let region = Region {
        name: text(info.name),
        nodes: (0..info.nodes).map(|index| walk.node(index)).collect::<Result<_>>()?,
        values,
        inputs: present(info.inputs),
        outputs: present(info.outputs),
        composites: (0..info.composites).map(|index| walk.composite(index)).collect::<Result<_>>()?,
        symbols: (0..info.symbols).map(|index| walk.symbol(index)).collect::<Result<_>>()?,
        constants: by_constant.into_iter().collect::<Option<_>>().unwrap_or_default(),
    };
    limit.check(&region)?;
    Ok(region)
}

struct Walk<'a> {
    host: HostRef,
    region: *const abi::Region,
    constants: *mut abi::Constants,
    lifetime: std::marker::PhantomData<&'a ()>,
}

impl<'a> Walk<'a> {
    fn node(&self, index: u64) -> Result<Node<'a>> {
        let mut args = abi::RegionNodeArgs { region: self.region, index, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_node, &mut args)?;
        if args.attributes > MOST {
            return Err(Error::invalid("a node of the host's has an impossible number of attributes"));
        }
        Ok(Node {
            index: index as usize,
            name: text(args.name),
            op: text(args.op),
            domain: text(args.domain),
            since_version: args.since_version,
            inputs: indices(args.inputs).collect(),
            outputs: indices(args.outputs).collect(),
            attributes: (0..args.attributes)
                .map(|number| self.attribute(index, number))
                .collect::<Result<_>>()?,
            composite: some(args.composite),
        })
    }

    fn attribute(&self, node: u64, index: u64) -> Result<Attribute<'a>> {
        let mut args = abi::RegionAttrArgs { region: self.region, node, index, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_attr, &mut args)?;
        // SAFETY: the host keeps all of these for the call.
        let value = unsafe {
            match args.kind {
                abi::ATTR_INT => AttributeValue::Int(args.int_value),
                abi::ATTR_FLOAT => AttributeValue::Float(args.float_value),
                abi::ATTR_STRING => AttributeValue::String(args.string.as_bytes()),
                abi::ATTR_INTS => AttributeValue::Ints(abi::slice(args.ints, args.len)),
                abi::ATTR_FLOATS => AttributeValue::Floats(abi::slice(args.floats, args.len)),
                abi::ATTR_STRINGS => {
                    let strings: &[abi::Str] = abi::slice(args.strings, args.len);
                    AttributeValue::Strings(strings.iter().map(|string| string.as_bytes()).collect())
                }
                abi::ATTR_TENSOR => AttributeValue::Tensor {
                    dtype: DType::from_abi(args.tensor_dtype),
                    dims: abi::slice(args.tensor_dims, args.len),
                    bytes: args.string.as_bytes(),
                },
                _ => AttributeValue::Other,
            }
        };
        Ok(Attribute { name: text(args.name), value, is_default: args.is_default != 0 })
    }

    fn value(&self, index: u64) -> Result<Value<'a>> {
        let mut args = abi::RegionValueArgs { region: self.region, index, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_value, &mut args)?;
        let dtype = DType::from_abi(args.dtype);
        let dims = u64::try_from(args.rank).ok().map(|rank| {
            // SAFETY: the host keeps the dimensions for the call.
            let dims: &[abi::Dim] = unsafe { abi::slice(args.dims, rank) };
            dims.iter().map(dim).collect()
        });
        let constant = match some(args.constant) {
            Some(index) => Some(self.constant(index, dtype)?),
            None => None,
        };
        Ok(Value {
            index: index as usize,
            name: text(args.name),
            dtype,
            dims,
            producer: some(args.producer).zip(some(args.producer_output)),
            constant,
        })
    }

    fn constant(&self, index: usize, dtype: Option<DType>) -> Result<Constant<'a>> {
        let mut args =
            abi::ConstantArgs { constants: self.constants, index: index as u64, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().constant, &mut args)?;
        // SAFETY: the host keeps constants longer than the call.
        Ok(Constant { index, dtype, bytes: unsafe { args.data.as_bytes() } })
    }

    fn composite(&self, index: u64) -> Result<Composite<'a>> {
        let mut args = abi::RegionCompositeArgs { region: self.region, index, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_composite, &mut args)?;
        // SAFETY: the host keeps the bindings for the call.
        let bindings: &[abi::Binding] = unsafe { abi::slice(args.bindings, args.bindings_len) };
        let bindings = bindings.iter().filter_map(|binding| Some((text(binding.name), some(binding.value)?)));
        Ok(Composite {
            pattern: text(args.pattern),
            nodes: present(args.nodes),
            bindings: bindings.collect(),
        })
    }

    fn symbol(&self, index: u64) -> Result<Symbol<'a>> {
        let mut args = abi::RegionSymbolArgs { region: self.region, index, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_symbol, &mut args)?;
        Ok(Symbol { name: text(args.name), min: args.min, likely: args.likely, max: args.max })
    }
}

/// Every index of the region must be one, since plugins use them without a further look.
struct Limits {
    nodes: u64,
    values: u64,
    symbols: u64,
}

impl Limits {
    fn check(&self, region: &Region<'_>) -> Result<()> {
        let value = |index: &usize| (*index as u64) < self.values;
        let node = |index: &usize| (*index as u64) < self.nodes;
        let symbol =
            |dim: &Dim| if let Dim::Symbol(index) = dim { (*index as u64) < self.symbols } else { true };
        let node_ok = |checked: &Node<'_>| {
            checked.inputs.iter().chain(&checked.outputs).flatten().all(value)
                && checked.composite.is_none_or(|composite| composite < region.composites.len())
        };
        let value_ok = |checked: &Value<'_>| {
            checked.producer.is_none_or(|(producer, _)| node(&producer))
                && checked.dims.iter().flatten().all(symbol)
        };
        let composite_ok = |checked: &Composite<'_>| {
            checked.nodes.iter().all(node) && checked.bindings.iter().all(|(_, bound)| value(bound))
        };
        let ok = region.nodes.iter().all(node_ok)
            && region.values.iter().all(value_ok)
            && region.composites.iter().all(composite_ok)
            && region.inputs.iter().chain(&region.outputs).all(value);
        if ok { Ok(()) } else { Err(Error::invalid("the host's region has an index out of range")) }
    }
}

fn some(index: u64) -> Option<usize> {
    if index == abi::NONE { None } else { usize::try_from(index).ok() }
}

fn indices(indices: abi::Indices) -> impl Iterator<Item = Option<usize>> {
    // SAFETY: the host keeps the indices for the call.
    unsafe { indices.as_slice() }.iter().map(|index| some(*index))
}

fn present(list: abi::Indices) -> Vec<usize> {
    indices(list).flatten().collect()
}

/// Names are text; in the place of one that is not UTF-8 stands a replacement character.
fn text<'a>(text: abi::Str) -> &'a str {
    // SAFETY: the host keeps names for the call.
    match unsafe { text.to_text() } {
        Cow::Borrowed(text) => text,
        Cow::Owned(_) => "\u{fffd}",
    }
}

fn dim(dim: &abi::Dim) -> Dim {
    match dim.kind {
        abi::DIM_KNOWN => usize::try_from(dim.size).map_or(Dim::Unknown, Dim::Known),
        abi::DIM_SYMBOL => some(dim.symbol).map_or(Dim::Unknown, Dim::Symbol),
        _ => Dim::Unknown,
    }
}
