//! Reading constants: scales, zero points, biases, weights. Their bytes may lie at any alignment.

use byoc_plugin::{DType, Error, Result, Value};

use super::Match;
use crate::quant::Quant;

/// The bytes of a constant of this type.
pub fn bytes<'a>(value: &Value<'a>, dtype: DType) -> Result<&'a [u8]> {
    match value.constant {
        Some(constant) if constant.dtype == Some(dtype) => Ok(constant.bytes),
        _ => Err(Error::unsupported(format!("`{}` is no constant of {dtype}", value.name))),
    }
}

pub fn floats(value: &Value<'_>) -> Result<Vec<f32>> {
    Ok(bytes(value, DType::F32)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

pub fn int32s(value: &Value<'_>) -> Result<Vec<i32>> {
    Ok(bytes(value, DType::I32)?.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
}

/// 8-bit numbers, as the device has them.
pub fn int8s(value: &Value<'_>) -> Result<Vec<i8>> {
    if value.dtype == Some(DType::U8) {
        Ok(bytes(value, DType::U8)?.iter().map(|byte| (byte ^ 0x80) as i8).collect())
    } else {
        Ok(bytes(value, DType::I8)?.iter().map(|byte| *byte as i8).collect())
    }
}

/// A single float.
pub fn float(value: &Value<'_>) -> Result<f32> {
    match *floats(value)? {
        [number] => Ok(number),
        _ => Err(Error::unsupported(format!("`{}` has more than one element", value.name))),
    }
}

/// Scales, all of them finite and above zero.
pub fn scales(value: &Value<'_>) -> Result<Vec<f32>> {
    let scales = floats(value)?;
    if !scales.is_empty() && scales.iter().all(|scale| *scale > 0.0 && scale.is_finite()) {
        return Ok(scales);
    }
    Err(Error::unsupported(format!("`{}` has a scale that is not above zero", value.name)))
}

/// The one zero point of a tensor; a missing one is zero, in the type of what it belongs to.
pub fn zero(zero: Option<&Value<'_>>, unsigned: bool) -> Result<i8> {
    let Some(value) = zero else { return Ok(if unsigned { i8::MIN } else { 0 }) };
    let zeros = int8s(value)?;
    match zeros.first() {
        Some(first) if zeros.iter().all(|zero| zero == first) => Ok(*first),
        _ => Err(Error::unsupported(format!("`{}`: the device has one zero point a tensor", value.name))),
    }
}

/// Scale and zero point bound to two names of the pattern, for a tensor of this signedness.
pub fn quant(found: &Match<'_, '_>, scale: &str, zero_point: &str, unsigned: bool) -> Result<Quant> {
    pair(found.required(scale)?, found.value(zero_point), unsigned)
}

pub fn pair(scale: &Value<'_>, zero_point: Option<&Value<'_>>, unsigned: bool) -> Result<Quant> {
    match *scales(scale)? {
        [scale] => Ok(Quant { scale, zero: zero(zero_point, unsigned)? }),
        _ => Err(Error::unsupported(format!("`{}`: activations have one scale a tensor", scale.name))),
    }
}
