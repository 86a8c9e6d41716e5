//! Tensors with their content: constants of a model and values at run time.
//!
//! A tensor is immutable and cheap to clone: its content is shared, and may lie in a mapped file. Elements
//! are little-endian, dense, row-major; elements below a byte are packed, the first in the low bits.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use thiserror::Error;

use crate::transposed::Transposed;
use crate::{DType, Element, TensorType, packed};

/// Static dimensions.
pub type StaticDims = SmallVec<[usize; 4]>;

#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    dims: StaticDims,
    data: Data,
    external: Option<Arc<External>>,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    Strings(Arc<[Bytes]>),
    Transposed(Arc<Transposed>),
}

/// Where a tensor's content lies outside the model file, so that writing the model need not copy it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The file, absolute.
    pub path: PathBuf,
    pub offset: u64,
    pub len: u64,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TensorError {
    #[error("a tensor of {dtype}{dims:?} has more elements than can be addressed")]
    TooLarge { dtype: DType, dims: Vec<usize> },
    #[error("a tensor of {dtype}{dims:?} takes {expected} bytes, but {got} are given")]
    Length { dtype: DType, dims: Vec<usize>, expected: usize, got: usize },
    #[error("a tensor of {got} where {expected} is needed")]
    DType { expected: DType, got: DType },
}

/// Number of elements, `None` on overflow.
pub fn element_count(dims: &[usize]) -> Option<usize> {
    // A zero anywhere makes an empty tensor, however large the other dimensions are.
    if dims.contains(&0) {
        return Some(0);
    }
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

struct Owner<T>(Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Tensor {
    /// A tensor over existing bytes, which must be as many as its type takes.
    pub fn from_bytes(dtype: DType, dims: &[usize], bytes: Bytes) -> Result<Tensor, TensorError> {
        let too_large = || TensorError::TooLarge { dtype, dims: dims.to_vec() };
        let expected = element_count(dims).and_then(|n| dtype.byte_len(n)).ok_or_else(too_large)?;
        if bytes.len() != expected {
            return Err(TensorError::Length { dtype, dims: dims.to_vec(), expected, got: bytes.len() });
        }
        Ok(Tensor { dtype, dims: dims.into(), data: Data::Bytes(bytes), external: None })
    }

    /// A tensor that owns its elements, without a copy.
    pub fn from_vec<T: Element>(dims: &[usize], elements: Vec<T>) -> Result<Tensor, TensorError> {
        Self::from_bytes(T::DTYPE, dims, Bytes::from_owner(Owner(elements)))
    }

    pub fn from_bools(dims: &[usize], elements: Vec<bool>) -> Result<Tensor, TensorError> {
        let bytes: Vec<u8> = elements.into_iter().map(u8::from).collect();
        Self::from_bytes(DType::Bool, dims, bytes.into())
    }

    pub fn from_strings(dims: &[usize], elements: Vec<Bytes>) -> Result<Tensor, TensorError> {
        let (dtype, got) = (DType::Str, elements.len());
        let too_large = || TensorError::TooLarge { dtype, dims: dims.to_vec() };
        let expected = element_count(dims).ok_or_else(too_large)?;
        if got != expected {
            return Err(TensorError::Length { dtype, dims: dims.to_vec(), expected, got });
        }
        Ok(Tensor { dtype, dims: dims.into(), data: Data::Strings(elements.into()), external: None })
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor {
            dtype: T::DTYPE,
            dims: StaticDims::new(),
            data: Data::Bytes(Bytes::copy_from_slice(bytemuck::bytes_of(&value))),
            external: None,
        }
    }

    /// Remembers the file that the content came from.
    pub fn with_external(mut self, external: External) -> Tensor {
        self.external = Some(Arc::new(external));
        self
    }

    pub fn external(&self) -> Option<&External> {
        self.external.as_deref()
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        element_count(&self.dims).expect("checked when the tensor was made")
    }

    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    pub fn ty(&self) -> TensorType {
        TensorType::of_static(self.dtype, &self.dims)
    }

    /// The content, empty for strings.
    pub fn bytes(&self) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Strings(_) => &EMPTY,
            Data::Transposed(transposed) => transposed.bytes(),
        }
    }

    /// Bytes of the content, 0 for strings.
    pub fn byte_len(&self) -> usize {
        self.dtype.byte_len(self.len()).unwrap_or(0)
    }

    /// The tensor with axis `perm[i]` as its axis `i`, whose bytes are made when they are first asked for; `None` where
    /// `perm` is no permutation of the axes or elements have no whole bytes.
    pub fn transposed(&self, perm: &[usize]) -> Option<Tensor> {
        let mut dims = StaticDims::new();
        for (i, &axis) in perm.iter().enumerate() {
            dims.push(*self.dims.get(axis).filter(|_| !perm[..i].contains(&axis))?);
        }
        let whole = matches!(self.dtype.bits(), 8 | 16 | 32 | 64 | 128) && self.strings().is_none();
        (whole && perm.len() == self.dims.len()).then(|| {
            let data = Data::Transposed(Arc::new(Transposed::new(self.clone(), perm)));
            Tensor { dtype: self.dtype, dims, data, external: None }
        })
    }

    /// What a tensor is the transposed of, and how, where it was made so.
    pub fn transposed_origin(&self) -> Option<(&Tensor, &[usize])> {
        match &self.data {
            Data::Transposed(transposed) => Some((&transposed.origin, &transposed.perm)),
            _ => None,
        }
    }

    /// The elements of a tensor of strings.
    pub fn strings(&self) -> Option<&[Bytes]> {
        match &self.data {
            Data::Strings(strings) => Some(strings),
            Data::Bytes(_) | Data::Transposed(_) => None,
        }
    }

    /// The elements; copied only where the bytes are not aligned for them.
    pub fn as_slice<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::DType { expected: T::DTYPE, got: self.dtype });
        }
        let bytes = self.bytes();
        Ok(match bytemuck::try_cast_slice(bytes) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
        })
    }

    /// The same content under other dimensions of the same element count.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Tensor, TensorError> {
        match &self.data {
            Data::Bytes(_) | Data::Transposed(_) => {
                Tensor::from_bytes(self.dtype, dims, self.bytes().clone())
            }
            Data::Strings(strings) => Tensor::from_strings(dims, strings.to_vec()),
        }
    }

    /// All elements as whole numbers, where the type holds whole numbers (or booleans) that fit.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        fn widen<T: bytemuck::Pod>(bytes: &[u8], f: impl Fn(T) -> Option<i64>) -> Option<Vec<i64>> {
            bytes.chunks_exact(size_of::<T>()).map(|c| f(bytemuck::pod_read_unaligned(c))).collect()
        }
        let bytes = self.bytes();
        match self.dtype {
            DType::I64 => widen(bytes, Some),
            DType::I32 => widen(bytes, |x: i32| Some(x.into())),
            DType::I16 => widen(bytes, |x: i16| Some(x.into())),
            DType::I8 => widen(bytes, |x: i8| Some(x.into())),
            DType::U64 => widen(bytes, |x: u64| i64::try_from(x).ok()),
            DType::U32 => widen(bytes, |x: u32| Some(x.into())),
            DType::U16 => widen(bytes, |x: u16| Some(x.into())),
            DType::U8 | DType::Bool => widen(bytes, |x: u8| Some(x.into())),
            DType::U4 | DType::I4 | DType::U2 | DType::I2 => Some(self.unpacked_ints()),
            _ => None,
        }
    }

    /// Elements of a 2- or 4-bit integer type, sign-extended where the type is signed.
    fn unpacked_ints(&self) -> Vec<i64> {
        let sign = 1i64 << (self.dtype.bits() - 1);
        let element = |code: u8| {
            let value = i64::from(code);
            if self.dtype.is_signed() { (value ^ sign) - sign } else { value }
        };
        packed::unpack(self).into_iter().map(element).collect()
    }

    /// All elements as `f64`, where the type is a number that plain hardware floats or integers cover.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        fn widen<T: bytemuck::Pod>(bytes: &[u8], f: impl Fn(T) -> f64) -> Option<Vec<f64>> {
            Some(bytes.chunks_exact(size_of::<T>()).map(|c| f(bytemuck::pod_read_unaligned(c))).collect())
        }
        let bytes = self.bytes();
        match self.dtype {
            DType::F32 => widen(bytes, |x: f32| x.into()),
            DType::F64 => widen(bytes, |x: f64| x),
            DType::F16 => widen(bytes, |x: half::f16| x.to_f64()),
            DType::BF16 => widen(bytes, |x: half::bf16| x.to_f64()),
            DType::U64 => widen(bytes, |x: u64| x as f64),
            _ => Some(self.to_i64s()?.into_iter().map(|x| x as f64).collect()),
        }
    }

    /// Same type and same content, bit for bit.
    pub fn same(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.dims == other.dims
            && self.strings() == other.strings()
            && self.bytes() == other.bytes()
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.same(other)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.dims)?;
        match &self.data {
            Data::Strings(strings) if strings.len() <= 8 => write!(f, " {strings:?}"),
            Data::Bytes(_) | Data::Transposed(_) if self.len() <= 8 => match self.to_f64s() {
                Some(values) => write!(f, " {values:?}"),
                None => write!(f, " {:02x?}", &self.bytes()[..]),
            },
            _ => f.write_str(" …"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        let huge = Tensor::from_bytes(DType::F32, &[1 << 40, 1 << 40], Bytes::new());
        assert!(matches!(huge, Err(TensorError::TooLarge { .. })));
        let short = Tensor::from_bytes(DType::F32, &[2], Bytes::from_static(&[0; 4]));
        assert!(matches!(short, Err(TensorError::Length { expected: 8, got: 4, .. })));
        assert!(Tensor::from_bytes(DType::F32, &[0, usize::MAX, 2], Bytes::new()).is_ok());
    }

    #[test]
    fn misaligned_bytes_are_copied() {
        let all = Bytes::from(vec![0u8, 1, 0, 0, 0, 2, 0, 0, 0]);
        let t = Tensor::from_bytes(DType::I32, &[2], all.slice(1..)).unwrap();
        assert_eq!(&*t.as_slice::<i32>().unwrap(), &[1, 2]);
    }

    #[test]
    fn packed_integers_are_sign_extended() {
        let t = Tensor::from_bytes(DType::I4, &[3], Bytes::from_static(&[0x7f, 0x08])).unwrap();
        assert_eq!(t.to_i64s().unwrap(), [-1, 7, -8]);
        let t = Tensor::from_bytes(DType::U2, &[4], Bytes::from_static(&[0b11_10_01_00])).unwrap();
        assert_eq!(t.to_i64s().unwrap(), [0, 1, 2, 3]);
    }
}
