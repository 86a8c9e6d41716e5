//! A region as a plugin sees it: plain data, borrowed from the host for one call.
//!
//! Tests of a code generator may build one by hand.

use serde::{Deserialize, Serialize};

use super::dtype::{DType, Element, cast};

/// A part of a graph that one vendor gets in one piece. Nodes are in topological order.
#[derive(Debug, Clone, Default)]
pub struct Region<'a> {
    pub name: &'a str,
    pub nodes: Vec<Node<'a>>,
    /// Inputs, constants and everything the nodes make.
    pub values: Vec<Value<'a>>,
    /// Indices of the values that come in, in the order of `execute`.
    pub inputs: Vec<usize>,
    /// Indices of the values that go out, in the order of `execute`.
    pub outputs: Vec<usize>,
    pub composites: Vec<Composite<'a>>,
    pub symbols: Vec<Symbol<'a>>,
    /// The values that are constants, by the index that `ExecuteContext::constant` takes.
    pub constants: Vec<usize>,
}

#[derive(Debug, Clone, Default)]
pub struct Node<'a> {
    /// Its place in `Region::nodes`.
    pub index: usize,
    pub name: &'a str,
    pub op: &'a str,
    /// Empty for ONNX's own domain.
    pub domain: &'a str,
    /// The opset version in which the operator got its present meaning.
    pub since_version: i64,
    /// Values; `None` for an input that is missing.
    pub inputs: Vec<Option<usize>>,
    /// Values; `None` for an output that nobody wants.
    pub outputs: Vec<Option<usize>>,
    /// With the defaults of the operator where the model leaves one out.
    pub attributes: Vec<Attribute<'a>>,
    /// Its place in `Region::composites`.
    pub composite: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Attribute<'a> {
    pub name: &'a str,
    pub value: AttributeValue<'a>,
    /// The model leaves it out; this is the operator's default.
    pub is_default: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue<'a> {
    Int(i64),
    Float(f32),
    /// Bytes, almost always UTF-8 text.
    String(&'a [u8]),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Strings(Vec<&'a [u8]>),
    Tensor {
        dtype: Option<DType>,
        dims: &'a [i64],
        bytes: &'a [u8],
    },
    /// A kind that only the ONNX form carries (a graph, say).
    Other,
}

#[derive(Debug, Clone, Default)]
pub struct Value<'a> {
    /// Its place in `Region::values`.
    pub index: usize,
    pub name: &'a str,
    /// `None` where it is not known.
    pub dtype: Option<DType>,
    /// `None` where not even the rank is known.
    pub dims: Option<Vec<Dim>>,
    /// The node that makes it, and as which output; `None` for inputs and constants.
    pub producer: Option<(usize, usize)>,
    pub constant: Option<Constant<'a>>,
}

/// One dimension. "Unknown" is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dim {
    Known(usize),
    /// Index in `Region::symbols`.
    Symbol(usize),
    Unknown,
}

/// A constant, borrowed from the host without a copy.
#[derive(Debug, Clone, Copy)]
pub struct Constant<'a> {
    /// Its place in `Region::constants`.
    pub index: usize,
    pub dtype: Option<DType>,
    pub bytes: &'a [u8],
}

/// Nodes matched by one pattern.
#[derive(Debug, Clone, Default)]
pub struct Composite<'a> {
    pub pattern: &'a str,
    /// Indices of its nodes, in topological order.
    pub nodes: Vec<usize>,
    /// Names of the pattern and the values that they are bound to; unbound ones are left out.
    pub bindings: Vec<(&'a str, usize)>,
}

/// A dimension that the model knows by name, with the sizes to expect.
#[derive(Debug, Clone, Default)]
pub struct Symbol<'a> {
    pub name: &'a str,
    pub min: i64,
    pub likely: i64,
    pub max: i64,
}

impl<'a> Region<'a> {
    pub fn node(&self, index: usize) -> &Node<'a> {
        &self.nodes[index]
    }

    pub fn value(&self, index: usize) -> &Value<'a> {
        &self.values[index]
    }

    /// The value at a node's input; `None` where the input is missing.
    pub fn input(&self, node: &Node<'a>, position: usize) -> Option<&Value<'a>> {
        node.inputs.get(position).copied().flatten().map(|value| self.value(value))
    }

    /// Whole numbers that are an attribute in some versions of an operator, and a constant input in others.
    pub fn ints(&self, node: &Node<'a>, attribute: &str, input: usize) -> Option<Vec<i64>> {
        let given = self.input(node, input).and_then(|value| value.constant_as::<i64>());
        Some(given.or_else(|| node.attr_ints(attribute))?.to_vec())
    }

    /// The value that a node makes as its output `position`.
    pub fn output(&self, node: &Node<'a>, position: usize) -> Option<&Value<'a>> {
        node.outputs.get(position).copied().flatten().map(|value| self.value(value))
    }

    /// The value that a composite binds to a name of its pattern.
    pub fn binding(&self, composite: &Composite<'a>, name: &str) -> Option<&Value<'a>> {
        composite.binding(name).map(|value| self.value(value))
    }

    /// The node that makes the value bound to `name`.
    pub fn bound_node(&self, composite: &Composite<'a>, name: &str) -> Option<&Node<'a>> {
        self.producer(self.binding(composite, name)?)
    }

    /// The shape of the value that a composite binds to a name, where every dimension is known.
    pub fn bound_shape(&self, composite: &Composite<'a>, name: &str) -> Option<Vec<usize>> {
        self.binding(composite, name)?.shape()
    }

    /// The composites in an order in which each finds its operands made: by their last nodes.
    pub fn composites_in_order(&self) -> Vec<&Composite<'a>> {
        let mut ordered: Vec<_> = self.composites.iter().collect();
        ordered.sort_by_key(|composite| composite.nodes.last());
        ordered
    }

    pub fn producer(&self, value: &Value<'a>) -> Option<&Node<'a>> {
        value.producer.map(|(node, _)| self.node(node))
    }

    /// The nodes that use a value, in order; one that uses it twice is there once.
    pub fn consumers(&self, value: usize) -> impl Iterator<Item = &Node<'a>> {
        self.nodes.iter().filter(move |node| node.inputs.contains(&Some(value)))
    }

    pub fn is_input(&self, value: usize) -> bool {
        self.inputs.contains(&value)
    }

    pub fn is_output(&self, value: usize) -> bool {
        self.outputs.contains(&value)
    }
}

impl<'a> Composite<'a> {
    /// The value bound to a name of the pattern.
    pub fn binding(&self, name: &str) -> Option<usize> {
        self.bindings.iter().find(|(bound, _)| *bound == name).map(|(_, value)| *value)
    }
}

impl<'a> Node<'a> {
    pub fn attr(&self, name: &str) -> Option<&AttributeValue<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    pub fn attr_int(&self, name: &str) -> Option<i64> {
        match self.attr(name)? {
            AttributeValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn attr_float(&self, name: &str) -> Option<f32> {
        match self.attr(name)? {
            AttributeValue::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn attr_str(&self, name: &str) -> Option<&'a str> {
        match self.attr(name)? {
            AttributeValue::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn attr_ints(&self, name: &str) -> Option<&'a [i64]> {
        match self.attr(name)? {
            AttributeValue::Ints(values) => Some(values),
            _ => None,
        }
    }

    pub fn attr_floats(&self, name: &str) -> Option<&'a [f32]> {
        match self.attr(name)? {
            AttributeValue::Floats(values) => Some(values),
            _ => None,
        }
    }
}

impl<'a> Value<'a> {
    pub fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }

    /// The shape, where every dimension is known.
    pub fn shape(&self) -> Option<Vec<usize>> {
        let size = |dim: &Dim| if let Dim::Known(size) = dim { Some(*size) } else { None };
        self.dims.as_ref()?.iter().map(size).collect()
    }

    /// The number of elements, where the shape is known.
    pub fn elements(&self) -> Option<usize> {
        self.shape()?.into_iter().try_fold(1usize, usize::checked_mul)
    }

    /// A constant's elements.
    pub fn constant_as<T: Element>(&self) -> Option<&'a [T]> {
        self.constant?.as_slice()
    }
}

impl<'a> Constant<'a> {
    /// The elements, where they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        cast(self.dtype?, self.bytes)
    }
}
