//! Constants as the device has them: whatever stands for 8-bit numbers is int8.

use byoc_plugin::quantised::{self, Quantity};
use byoc_plugin::{Error, Result, Value};

use super::Match;
use crate::quant::Quant;

pub fn floats(value: &Value<'_>) -> Result<Vec<f32>> {
    let no_floats = || Error::unsupported(format!("`{}` is no constant of float32", value.name));
    quantised::floats(value).ok_or_else(no_floats)
}

/// A single float.
pub fn float(value: &Value<'_>) -> Result<f32> {
    match *floats(value)? {
        [number] => Ok(number),
        _ => Err(Error::unsupported(format!("`{}` has more than one element", value.name))),
    }
}

/// A zero point of a tensor of this signedness.
pub fn zero(zero: i32, unsigned: bool) -> Result<i8> {
    let own = if unsigned { zero.checked_sub(128) } else { Some(zero) };
    let own = own.and_then(|zero| i8::try_from(zero).ok());
    own.ok_or_else(|| Error::unsupported(format!("a zero point of {zero}, which is no 8-bit number")))
}

/// Scale and zero point bound to two names of the pattern, for a tensor of this signedness.
pub fn quant(found: &Match<'_, '_>, scale: &str, zero_point: &str, unsigned: bool) -> Result<Quant> {
    pair(found.required(scale)?, found.value(zero_point), unsigned)
}

pub fn pair(scale: &Value<'_>, zero_point: Option<&Value<'_>>, unsigned: bool) -> Result<Quant> {
    let (scale, point) = Quantity::of(scale, zero_point)?.one()?;
    Ok(Quant { scale, zero: zero(point, unsigned)? })
}
