//! One call of a kernel: the node, its inputs, and typed access to both.

use byoc_graph::schema::{self, AttrDefault};
use byoc_graph::{Attr, DType, Datum, Graph, Node, Tensor};
use bytes::Bytes;

use super::fault::{Fault, invalid};
use super::numbers::{self, Numbers};

pub type Outputs = Result<Vec<Datum>, Fault>;

/// Computes a node: one datum for each output of the operator, in order; trailing ones that the node does
/// not ask for may be left off.
pub type Kernel = fn(&Call<'_>) -> Outputs;

/// Runs the bodies of the node at hand.
pub trait Bodies {
    fn run(&self, body: &Graph, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault>;
}

/// For nodes without bodies.
pub struct NoBodies;

impl Bodies for NoBodies {
    fn run(&self, _: &Graph, _: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        Err(Fault::Unsupported("running a body here".into()))
    }
}

pub struct Call<'a> {
    pub node: &'a Node,
    /// `None` where an optional input is left out.
    pub inputs: &'a [Option<&'a Datum>],
    pub bodies: &'a dyn Bodies,
}

impl<'a> Call<'a> {
    // ---- inputs

    pub fn datum_opt(&self, i: usize) -> Option<&'a Datum> {
        self.inputs.get(i).copied().flatten()
    }

    pub fn datum(&self, i: usize) -> Result<&'a Datum, Fault> {
        self.datum_opt(i).ok_or(Fault::Missing(i))
    }

    pub fn tensor(&self, i: usize) -> Result<&'a Tensor, Fault> {
        let datum = self.datum(i)?;
        let got = datum.kind();
        datum.as_tensor().ok_or(Fault::Kind { input: i, got, expected: "tensor" })
    }

    pub fn tensor_opt(&self, i: usize) -> Result<Option<&'a Tensor>, Fault> {
        self.datum_opt(i).map(|_| self.tensor(i)).transpose()
    }

    /// All inputs as tensors; none may be left out.
    pub fn tensors(&self) -> Result<Vec<&'a Tensor>, Fault> {
        (0..self.inputs.len()).map(|i| self.tensor(i)).collect()
    }

    /// The items of a sequence.
    pub fn sequence(&self, i: usize) -> Result<&'a [Datum], Fault> {
        match self.datum(i)? {
            Datum::Sequence { items, .. } => Ok(items),
            other => Err(Fault::Kind { input: i, got: other.kind(), expected: "sequence" }),
        }
    }

    /// Elements of any number type.
    pub fn numbers(&self, i: usize) -> Result<Numbers, Fault> {
        numbers::numbers(self.tensor(i)?)
    }

    /// Elements of any number type, as floating-point numbers.
    pub fn floats(&self, i: usize) -> Result<Vec<f64>, Fault> {
        numbers::floats(self.tensor(i)?)
    }

    pub fn floats_opt(&self, i: usize) -> Result<Option<Vec<f64>>, Fault> {
        self.tensor_opt(i)?.map(numbers::floats).transpose()
    }

    /// Elements of an integer or bool type.
    pub fn whole(&self, i: usize) -> Result<Vec<i64>, Fault> {
        numbers::whole(self.tensor(i)?)
    }

    pub fn whole_opt(&self, i: usize) -> Result<Option<Vec<i64>>, Fault> {
        self.tensor_opt(i)?.map(numbers::whole).transpose()
    }

    /// The one element of an integer or bool tensor.
    pub fn whole_scalar(&self, i: usize) -> Result<i64, Fault> {
        match self.whole(i)?[..] {
            [value] => Ok(value),
            ref other => Err(invalid!("input {i} has {} elements, where one is needed", other.len())),
        }
    }

    /// The one element of a number tensor.
    pub fn float_scalar(&self, i: usize) -> Result<f64, Fault> {
        match self.floats(i)?[..] {
            [value] => Ok(value),
            ref other => Err(invalid!("input {i} has {} elements, where one is needed", other.len())),
        }
    }

    // ---- outputs

    /// Whether somebody uses output `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.node.output(i).is_some()
    }

    // ---- attributes

    fn wrong(&self, name: &str, why: &str) -> Fault {
        Fault::Attribute { name: name.into(), why: why.into() }
    }

    fn default(&self, name: &str) -> Option<AttrDefault> {
        let op = &self.node.op;
        schema::lookup(&op.domain, &op.name, self.node.opset)?.attribute(name)?.default
    }

    pub fn attr(&self, name: &str) -> Option<&'a Attr> {
        self.node.attrs.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.node.attrs.contains_key(name)
    }

    pub fn int_opt(&self, name: &str) -> Result<Option<i64>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(Attr::Int(value)), _) => Ok(Some(*value)),
            (Some(_), _) => Err(self.wrong(name, "has to be an integer")),
            (None, Some(AttrDefault::Int(value))) => Ok(Some(value)),
            (None, _) => Ok(None),
        }
    }

    pub fn int(&self, name: &str) -> Result<i64, Fault> {
        self.int_opt(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.int_opt(name)?.unwrap_or(0) != 0)
    }

    pub fn float_opt(&self, name: &str) -> Result<Option<f64>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(Attr::Float(value)), _) => Ok(Some(f64::from(*value))),
            (Some(_), _) => Err(self.wrong(name, "has to be a float")),
            (None, Some(AttrDefault::Float(value))) => Ok(Some(f64::from(value))),
            (None, _) => Ok(None),
        }
    }

    pub fn float(&self, name: &str) -> Result<f64, Fault> {
        self.float_opt(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn text_opt(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(attr), _) => match attr.as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(self.wrong(name, "has to be a string")),
            },
            (None, Some(AttrDefault::String(text))) => Ok(Some(text)),
            (None, _) => Ok(None),
        }
    }

    pub fn text(&self, name: &str) -> Result<&'a str, Fault> {
        self.text_opt(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn ints_opt(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(Attr::Ints(values)), _) => Ok(Some(values.clone())),
            (Some(_), _) => Err(self.wrong(name, "has to be a list of integers")),
            (None, Some(AttrDefault::Ints(values))) => Ok(Some(values.to_vec())),
            (None, _) => Ok(None),
        }
    }

    pub fn ints(&self, name: &str) -> Result<Vec<i64>, Fault> {
        self.ints_opt(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn floats_attr(&self, name: &str) -> Result<Option<Vec<f64>>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(Attr::Floats(values)), _) => Ok(Some(values.iter().map(|&v| v.into()).collect())),
            (Some(_), _) => Err(self.wrong(name, "has to be a list of floats")),
            (None, Some(AttrDefault::Floats(values))) => Ok(Some(values.iter().map(|&v| v.into()).collect())),
            (None, _) => Ok(None),
        }
    }

    pub fn texts_opt(&self, name: &str) -> Result<Option<Vec<Bytes>>, Fault> {
        match (self.attr(name), self.default(name)) {
            (Some(Attr::Strs(values)), _) => Ok(Some(values.clone())),
            (Some(_), _) => Err(self.wrong(name, "has to be a list of strings")),
            (None, Some(AttrDefault::Strings(values))) => {
                Ok(Some(values.iter().map(|v| Bytes::from_static(v.as_bytes())).collect()))
            }
            (None, _) => Ok(None),
        }
    }

    pub fn tensor_attr(&self, name: &str) -> Result<Option<&'a Tensor>, Fault> {
        match self.attr(name) {
            Some(Attr::Tensor(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(self.wrong(name, "has to be a tensor")),
            None => Ok(None),
        }
    }

    pub fn body(&self, name: &str) -> Result<&'a Graph, Fault> {
        match self.attr(name) {
            Some(Attr::Graph(graph)) => Ok(graph),
            _ => Err(self.wrong(name, "has to be a graph")),
        }
    }

    /// The element type that an attribute names by its number; 0 is none.
    pub fn dtype_opt(&self, name: &str) -> Result<Option<DType>, Fault> {
        let Some(code) = self.int_opt(name)?.filter(|&code| code != 0) else { return Ok(None) };
        let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
        dtype.map(Some).ok_or_else(|| self.wrong(name, "is not the number of an element type"))
    }

    pub fn opset(&self) -> i64 {
        self.node.opset
    }
}
