//! Element types.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::abi;

/// The element types of ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    F6E2M3,
    F6E3M2,
    I2,
    I4,
    I8,
    I16,
    I32,
    I64,
    U2,
    U4,
    U8,
    U16,
    U32,
    U64,
    Bool,
    C64,
    C128,
    String,
}

/// Each type with its name (numpy's), DLPack code and bits.
const TABLE: [(DType, &str, u32, u32); 28] = [
    (DType::F32, "float32", abi::DTYPE_FLOAT, 32),
    (DType::F64, "float64", abi::DTYPE_FLOAT, 64),
    (DType::F16, "float16", abi::DTYPE_FLOAT, 16),
    (DType::BF16, "bfloat16", abi::DTYPE_BFLOAT, 16),
    (DType::F8E4M3FN, "float8e4m3fn", abi::DTYPE_FLOAT8_E4M3FN, 8),
    (DType::F8E4M3FNUZ, "float8e4m3fnuz", abi::DTYPE_FLOAT8_E4M3FNUZ, 8),
    (DType::F8E5M2, "float8e5m2", abi::DTYPE_FLOAT8_E5M2, 8),
    (DType::F8E5M2FNUZ, "float8e5m2fnuz", abi::DTYPE_FLOAT8_E5M2FNUZ, 8),
    (DType::F8E8M0, "float8e8m0", abi::DTYPE_FLOAT8_E8M0FNU, 8),
    (DType::F4E2M1, "float4e2m1", abi::DTYPE_FLOAT4_E2M1FN, 4),
    (DType::F6E2M3, "float6e2m3", abi::DTYPE_FLOAT6_E2M3FN, 6),
    (DType::F6E3M2, "float6e3m2", abi::DTYPE_FLOAT6_E3M2FN, 6),
    (DType::I2, "int2", abi::DTYPE_INT, 2),
    (DType::I4, "int4", abi::DTYPE_INT, 4),
    (DType::I8, "int8", abi::DTYPE_INT, 8),
    (DType::I16, "int16", abi::DTYPE_INT, 16),
    (DType::I32, "int32", abi::DTYPE_INT, 32),
    (DType::I64, "int64", abi::DTYPE_INT, 64),
    (DType::U2, "uint2", abi::DTYPE_UINT, 2),
    (DType::U4, "uint4", abi::DTYPE_UINT, 4),
    (DType::U8, "uint8", abi::DTYPE_UINT, 8),
    (DType::U16, "uint16", abi::DTYPE_UINT, 16),
    (DType::U32, "uint32", abi::DTYPE_UINT, 32),
    (DType::U64, "uint64", abi::DTYPE_UINT, 64),
    (DType::Bool, "bool", abi::DTYPE_BOOL, 8),
    (DType::C64, "complex64", abi::DTYPE_COMPLEX, 64),
    (DType::C128, "complex128", abi::DTYPE_COMPLEX, 128),
    (DType::String, "string", abi::DTYPE_NONE, 0),
];

impl DType {
    fn row(self) -> (&'static str, u32, u32) {
        // The table is in the order of the declaration; a test holds it to that.
        let (_, name, code, bits) = TABLE[self as usize];
        (name, code, bits)
    }

    /// The name that numpy gives it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bits of one element; 0 for strings.
    pub fn bits(self) -> u32 {
        self.row().2
    }

    /// Bytes of so many elements, the last byte padded; `None` on overflow and for strings.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        let bits = self.bits() as usize;
        (bits > 0).then_some(())?;
        if bits >= 8 {
            return elements.checked_mul(bits / 8);
        }
        // Whole groups of eight elements first, so that the count of bits cannot overflow.
        Some(elements / 8 * bits + (elements % 8 * bits).div_ceil(8))
    }

    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn to_abi(self) -> abi::DType {
        let (_, code, bits) = self.row();
        abi::DType { code, bits, lanes: 1, reserved: 0 }
    }

    /// `None` for a type that ONNX does not have.
    pub fn from_abi(dtype: abi::DType) -> Option<Self> {
        TABLE.iter().find(|row| (row.2, row.3, 1) == (dtype.code, dtype.bits, dtype.lanes)).map(|row| row.0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that a tensor's elements can be read as.
pub trait Element: Copy + Send + Sync + sealed::Sealed + 'static {
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),*) => {
        $(
            impl sealed::Sealed for $ty {}
            impl Element for $ty {
                const DTYPE: DType = DType::$dtype;
            }
        )*
    };
}

// No `bool`: a byte that is neither 0 nor 1 would be undefined behaviour. `as_bytes` reads such tensors.
elements!(f32 => F32, f64 => F64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

/// Bytes as elements; `None` where type, length or alignment does not allow it.
pub(crate) fn cast<T: Element>(dtype: DType, bytes: &[u8]) -> Option<&[T]> {
    let fits = dtype == T::DTYPE && bytes.len().is_multiple_of(size_of::<T>());
    if bytes.is_empty() {
        return fits.then_some(&[]);
    }
    // SAFETY: an element is a number, for which all bytes are valid; the ends that do not fit are checked to be empty.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (fits && before.is_empty() && after.is_empty()).then_some(elements)
}

/// As [`cast`], to write to.
pub(crate) fn cast_mut<T: Element>(dtype: DType, bytes: &mut [u8]) -> Option<&mut [T]> {
    let fits = dtype == T::DTYPE && bytes.len().is_multiple_of(size_of::<T>());
    if bytes.is_empty() {
        return fits.then_some(&mut []);
    }
    // SAFETY: as in `cast`.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    (fits && before.is_empty() && after.is_empty()).then_some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_goes_to_the_interface_and_back() {
        for (index, (dtype, name, ..)) in TABLE.into_iter().enumerate() {
            assert_eq!(dtype as usize, index);
            assert_eq!(DType::from_name(name), Some(dtype));
            assert_eq!(DType::from_abi(dtype.to_abi()), Some(dtype));
        }
        assert_eq!(DType::I4.byte_len(3), Some(2));
        assert_eq!(DType::F6E2M3.byte_len(5), Some(4));
        assert_eq!(DType::F64.byte_len(usize::MAX), None);
    }

    #[test]
    fn bytes_are_cast_only_where_they_fit() {
        let numbers = [1.0f32, 2.0];
        // SAFETY: floats are bytes.
        let bytes = unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), 8) };
        assert_eq!(cast::<f32>(DType::F32, bytes), Some(&numbers[..]));
        assert_eq!(cast::<i32>(DType::F32, bytes), None);
        assert_eq!(cast::<f32>(DType::F32, &bytes[..7]), None);
        assert_eq!(cast::<f32>(DType::F32, &bytes[1..5]), None);
        assert_eq!(cast::<f32>(DType::F32, &[]), Some(&[][..]));
    }
}
