//! Attributes of nodes.

use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::{Graph, Tensor, Type};

/// Attributes by name, in the order of the file.
pub type Attributes = IndexMap<Arc<str>, Attr>;

#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f32),
    /// UTF-8 by convention, bytes in fact.
    Str(Bytes),
    Tensor(Arc<Tensor>),
    SparseTensor(Arc<SparseTensor>),
    Graph(Box<Graph>),
    Type(Type),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<Bytes>),
    Tensors(Vec<Arc<Tensor>>),
    SparseTensors(Vec<Arc<SparseTensor>>),
    Graphs(Vec<Graph>),
    Types(Vec<Type>),
    /// In a function's body: the attribute of this name of the node that calls the function.
    Ref {
        name: Arc<str>,
        kind: AttrKind,
    },
}

/// The kind of an attribute; the discriminant is ONNX's code for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttrKind {
    Float = 1,
    Int = 2,
    Str = 3,
    Tensor = 4,
    Graph = 5,
    Floats = 6,
    Ints = 7,
    Strs = 8,
    Tensors = 9,
    Graphs = 10,
    SparseTensor = 11,
    SparseTensors = 12,
    Type = 13,
    Types = 14,
}

/// A tensor given by its non-zero elements.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseTensor {
    pub dims: Vec<usize>,
    /// `[nnz]`.
    pub values: Arc<Tensor>,
    /// `[nnz]` linear or `[nnz, rank]` per-axis, `int64`.
    pub indices: Arc<Tensor>,
}

impl AttrKind {
    pub const ALL: [AttrKind; 14] = [
        AttrKind::Float,
        AttrKind::Int,
        AttrKind::Str,
        AttrKind::Tensor,
        AttrKind::Graph,
        AttrKind::Floats,
        AttrKind::Ints,
        AttrKind::Strs,
        AttrKind::Tensors,
        AttrKind::Graphs,
        AttrKind::SparseTensor,
        AttrKind::SparseTensors,
        AttrKind::Type,
        AttrKind::Types,
    ];

    /// The kind with this `AttributeProto.AttributeType` code.
    pub fn from_onnx(code: i32) -> Option<AttrKind> {
        AttrKind::ALL.into_iter().find(|k| *k as i32 == code)
    }
}

impl Attr {
    pub fn str(text: &str) -> Attr {
        Attr::Str(Bytes::copy_from_slice(text.as_bytes()))
    }

    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Int(_) => AttrKind::Int,
            Attr::Float(_) => AttrKind::Float,
            Attr::Str(_) => AttrKind::Str,
            Attr::Tensor(_) => AttrKind::Tensor,
            Attr::SparseTensor(_) => AttrKind::SparseTensor,
            Attr::Graph(_) => AttrKind::Graph,
            Attr::Type(_) => AttrKind::Type,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::Floats(_) => AttrKind::Floats,
            Attr::Strs(_) => AttrKind::Strs,
            Attr::Tensors(_) => AttrKind::Tensors,
            Attr::SparseTensors(_) => AttrKind::SparseTensors,
            Attr::Graphs(_) => AttrKind::Graphs,
            Attr::Types(_) => AttrKind::Types,
            Attr::Ref { kind, .. } => *kind,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Attr::Int(i) => Some(*i),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f32> {
        match self {
            Attr::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Attr::Str(s) => std::str::from_utf8(s).ok(),
            _ => None,
        }
    }

    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Attr::Ints(v) => Some(v),
            _ => None,
        }
    }

    pub fn as_floats(&self) -> Option<&[f32]> {
        match self {
            Attr::Floats(v) => Some(v),
            _ => None,
        }
    }

    pub fn as_tensor(&self) -> Option<&Arc<Tensor>> {
        match self {
            Attr::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The graphs in here, in order.
    pub fn graphs(&self) -> &[Graph] {
        match self {
            Attr::Graph(g) => std::slice::from_ref(g),
            Attr::Graphs(gs) => gs,
            _ => &[],
        }
    }

    pub fn graphs_mut(&mut self) -> &mut [Graph] {
        match self {
            Attr::Graph(g) => std::slice::from_mut(g),
            Attr::Graphs(gs) => gs,
            _ => &mut [],
        }
    }
}
