//! Types of values: tensors and what ONNX builds from them.

use std::fmt;
use std::sync::Arc;

use crate::{DType, Dim};

/// The dimensions of a tensor whose rank is known.
pub type Dims = smallvec::SmallVec<[Dim; 4]>;

/// Element type and shape of a tensor; either may be unknown.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TensorType {
    pub dtype: Option<DType>,
    /// `None`: not even the rank is known.
    pub shape: Option<Dims>,
}

/// The type of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Type {
    Tensor(TensorType),
    SparseTensor(TensorType),
    /// `None`: the element type is unknown.
    Sequence(Option<Arc<Type>>),
    Optional(Option<Arc<Type>>),
    Map(DType, Option<Arc<Type>>),
    /// An opaque type of some domain.
    Opaque {
        domain: Arc<str>,
        name: Arc<str>,
    },
}

impl TensorType {
    pub fn new(dtype: DType, dims: impl IntoIterator<Item = Dim>) -> TensorType {
        TensorType { dtype: Some(dtype), shape: Some(dims.into_iter().collect()) }
    }

    pub fn of_static(dtype: DType, dims: &[usize]) -> TensorType {
        TensorType::new(dtype, dims.iter().map(|&d| Dim::Static(d as i64)))
    }

    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(|s| s.len())
    }

    /// The shape, where every dimension is static.
    pub fn static_dims(&self) -> Option<Vec<usize>> {
        let dims = self.shape.as_ref()?;
        dims.iter().map(|d| d.value().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// Number of elements, where the shape is static and the number is representable.
    pub fn elements(&self) -> Option<usize> {
        self.static_dims()?.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Size in bytes, where known.
    pub fn byte_len(&self) -> Option<usize> {
        self.dtype?.byte_len(self.elements()?)
    }
}

impl Type {
    pub fn tensor(dtype: DType, dims: impl IntoIterator<Item = Dim>) -> Type {
        Type::Tensor(TensorType::new(dtype, dims))
    }

    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    pub fn dtype(&self) -> Option<DType> {
        match self {
            Type::Tensor(t) | Type::SparseTensor(t) => t.dtype,
            _ => None,
        }
    }

    pub fn shape(&self) -> Option<&Dims> {
        match self {
            Type::Tensor(t) | Type::SparseTensor(t) => t.shape.as_ref(),
            _ => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(t)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype.map_or("?", DType::name))?;
        match &self.shape {
            None => f.write_str("[..]"),
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                write!(f, "[{}]", dims.join(","))
            }
        }
    }
}

fn inner(f: &mut fmt::Formatter<'_>, name: &str, element: &Option<Arc<Type>>) -> fmt::Result {
    match element {
        Some(t) => write!(f, "{name}({t})"),
        None => write!(f, "{name}(?)"),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::SparseTensor(t) => write!(f, "sparse({t})"),
            Type::Sequence(t) => inner(f, "seq", t),
            Type::Optional(t) => inner(f, "optional", t),
            Type::Map(key, t) => inner(f, &format!("map({key})"), t),
            Type::Opaque { domain, name } => write!(f, "opaque({domain}.{name})"),
        }
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
