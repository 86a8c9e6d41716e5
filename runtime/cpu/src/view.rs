//! What a kernel sees of its inputs.

use byoc_graph::{DType, Datum, Element, StaticDims, Tensor, element_count};
use bytes::Bytes;

use crate::kernel::KernelError;

/// A value that a kernel reads.
#[derive(Clone, Copy)]
pub enum View<'a> {
    Tensor(TensorView<'a>),
    /// A sequence, an optional, a map or a sparse tensor.
    Other(&'a Datum),
}

/// A dense tensor, aligned for its elements.
///
/// An input whose memory the kernel's output has taken over has no bytes here, see [`crate::Outputs`].
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    pub dtype: DType,
    pub dims: &'a [usize],
    bytes: &'a [u8],
    /// The shared tensor that holds the content, if one does. Strings are always in one.
    tensor: Option<&'a Tensor>,
}

impl<'a> View<'a> {
    pub fn of(datum: &'a Datum) -> View<'a> {
        match datum {
            Datum::Tensor(tensor) => View::Tensor(TensorView::of(tensor)),
            other => View::Other(other),
        }
    }

    pub fn tensor(self) -> Option<TensorView<'a>> {
        match self {
            View::Tensor(tensor) => Some(tensor),
            View::Other(_) => None,
        }
    }

    /// What this is, in a word for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            View::Tensor(_) => "tensor",
            View::Other(datum) => datum.kind(),
        }
    }

    /// An owned copy; shared content is not copied.
    pub fn to_datum(&self) -> Datum {
        match self {
            View::Tensor(tensor) => Datum::Tensor(tensor.to_tensor()),
            View::Other(datum) => (*datum).clone(),
        }
    }
}

impl<'a> TensorView<'a> {
    pub fn new(dtype: DType, dims: &'a [usize], bytes: &'a [u8]) -> TensorView<'a> {
        TensorView { dtype, dims, bytes, tensor: None }
    }

    pub fn of(tensor: &'a Tensor) -> TensorView<'a> {
        TensorView { dtype: tensor.dtype(), dims: tensor.dims(), bytes: tensor.bytes(), tensor: Some(tensor) }
    }

    /// The same content under other dimensions of the same element count.
    pub fn with_dims(self, dims: &'a [usize]) -> TensorView<'a> {
        TensorView { dims, ..self }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        element_count(self.dims).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// The content, empty for strings.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn strings(&self) -> Option<&'a [Bytes]> {
        self.tensor?.strings()
    }

    /// The elements as `T`.
    pub fn slice<T: Element>(&self) -> Result<&'a [T], KernelError> {
        if self.dtype != T::DTYPE {
            return Err(KernelError::DType { expected: T::DTYPE, got: self.dtype });
        }
        bytemuck::try_cast_slice(self.bytes).map_err(|_| KernelError::Misaligned)
    }

    /// Whether the bytes lie where elements of this type may lie.
    pub fn is_aligned(&self) -> bool {
        is_aligned(self.dtype, self.bytes)
    }

    /// An owned tensor; shared content is not copied.
    pub fn to_tensor(&self) -> Tensor {
        if let Some(tensor) = self.tensor {
            if tensor.dims() == self.dims {
                return tensor.clone();
            }
            return tensor.reshaped(self.dims).expect("a view has as many elements as its tensor");
        }
        let bytes = Bytes::copy_from_slice(self.bytes);
        Tensor::from_bytes(self.dtype, self.dims, bytes).expect("a view has as many bytes as its type takes")
    }

    /// Whole numbers, as shapes and axes are given.
    pub fn to_i64s(&self) -> Option<smallvec::SmallVec<[i64; 8]>> {
        match self.dtype {
            DType::I64 => Some(self.slice::<i64>().ok()?.iter().copied().collect()),
            DType::I32 => Some(self.slice::<i32>().ok()?.iter().map(|&x| x.into()).collect()),
            _ => None,
        }
    }

    pub fn static_dims(&self) -> StaticDims {
        self.dims.into()
    }
}

/// Whether bytes lie where elements of this type may lie.
pub fn is_aligned(dtype: DType, bytes: &[u8]) -> bool {
    let align = match dtype {
        DType::C64 => 4,
        DType::C128 => 8,
        other => (other.bits() / 8).max(1),
    };
    bytes.as_ptr().addr().is_multiple_of(align)
}
