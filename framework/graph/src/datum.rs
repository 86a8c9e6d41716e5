//! Values at run time: what goes into a model and comes out of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{DType, SparseTensor, Tensor, Type};

#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Tensor(Tensor),
    SparseTensor(Arc<SparseTensor>),
    Sequence { element: Option<Type>, items: Vec<Datum> },
    Optional { element: Option<Type>, value: Option<Box<Datum>> },
    Map { keys: MapKeys, values: Vec<Datum> },
}

/// The keys of a map, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum MapKeys {
    /// Of an integer type.
    Ints(DType, Vec<i64>),
    Strings(Vec<Bytes>),
}

impl Datum {
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Datum::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// What this is, in a word for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Datum::Tensor(_) => "tensor",
            Datum::SparseTensor(_) => "sparse tensor",
            Datum::Sequence { .. } => "sequence",
            Datum::Optional { .. } => "optional",
            Datum::Map { .. } => "map",
        }
    }
}

impl From<Tensor> for Datum {
    fn from(tensor: Tensor) -> Datum {
        Datum::Tensor(tensor)
    }
}
