//! The elements of a tensor's bytes, one text each.

use onnx_protobuf::TensorProto;

use super::print::float;
use crate::{DType, packed};

/// Of the small floating-point types the bits are written, as the parser reads them.
pub(super) fn elements(tensor: &TensorProto, dtype: DType) -> Vec<String> {
    use DType::*;
    let raw = tensor.raw_data();
    match dtype {
        F32 | C64 => each(raw, |b| float(f32::from_le_bytes(b))),
        F64 | C128 => each(raw, |b| float(f64::from_le_bytes(b))),
        I8 => each(raw, |b| i8::from_le_bytes(b).to_string()),
        I16 => each(raw, |b| i16::from_le_bytes(b).to_string()),
        I32 => each(raw, |b| i32::from_le_bytes(b).to_string()),
        I64 => each(raw, |b| i64::from_le_bytes(b).to_string()),
        U16 | F16 | BF16 => each(raw, |b| u16::from_le_bytes(b).to_string()),
        U32 => each(raw, |b| u32::from_le_bytes(b).to_string()),
        U64 => each(raw, |b| u64::from_le_bytes(b).to_string()),
        U4 | I4 | U2 | I2 | F4E2M1 | F6E2M3 | F6E3M2 => sub_byte(tensor, dtype),
        U8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => each(raw, |[b]| b.to_string()),
        Str => Vec::new(),
    }
}

fn each<const SIZE: usize>(raw: &[u8], print: impl Fn([u8; SIZE]) -> String) -> Vec<String> {
    raw.as_chunks::<SIZE>().0.iter().map(|bytes| print(*bytes)).collect()
}

fn sub_byte(tensor: &TensorProto, dtype: DType) -> Vec<String> {
    let raw = tensor.raw_data();
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let count = dims.and_then(|dims| crate::element_count(&dims)).unwrap_or(0);
    let bits = dtype.bits();
    let sign = 1i32 << (bits - 1);
    let element = |code: u8| {
        let code = i32::from(code);
        if dtype.is_integer() && dtype.is_signed() { (code ^ sign) - sign } else { code }
    };
    let codes = packed::unpack_bytes(raw, bits, count.min(raw.len().saturating_mul(8) / bits));
    codes.into_iter().map(|code| element(code).to_string()).collect()
}
