//! Elements as numbers: every floating-point type is computed in `f64`, every integer type in `i128`, and
//! results are rounded or wrapped to the type of the output once.

use half::{bf16, f16};

use byoc_graph::{DType, Datum, Element, Tensor, packed};
use bytes::Bytes;

use super::fault::Fault;
use super::layout;
use super::minifloat;

#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Floats(Vec<f64>),
    /// Integers of any width; `bool` is 0 or 1.
    Ints(Vec<i128>),
}

fn read<T: Element, R>(tensor: &Tensor, f: impl Fn(T) -> R) -> Result<Vec<R>, Fault> {
    Ok(tensor.as_slice::<T>()?.iter().map(|&x| f(x)).collect())
}

pub fn numbers(tensor: &Tensor) -> Result<Numbers, Fault> {
    use DType::*;
    Ok(match tensor.dtype() {
        F32 => Numbers::Floats(read(tensor, |x: f32| f64::from(x))?),
        F64 => Numbers::Floats(read(tensor, |x: f64| x)?),
        F16 => Numbers::Floats(read(tensor, f16::to_f64)?),
        BF16 => Numbers::Floats(read(tensor, bf16::to_f64)?),
        F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1 | F6E2M3 | F6E3M2 => {
            let format = minifloat::format(tensor.dtype()).expect("a small float");
            Numbers::Floats(packed::unpack(tensor).into_iter().map(|code| format.decode(code)).collect())
        }
        I8 => Numbers::Ints(read(tensor, |x: i8| x.into())?),
        I16 => Numbers::Ints(read(tensor, |x: i16| x.into())?),
        I32 => Numbers::Ints(read(tensor, |x: i32| x.into())?),
        I64 => Numbers::Ints(read(tensor, |x: i64| x.into())?),
        U8 => Numbers::Ints(read(tensor, |x: u8| x.into())?),
        U16 => Numbers::Ints(read(tensor, |x: u16| x.into())?),
        U32 => Numbers::Ints(read(tensor, |x: u32| x.into())?),
        U64 => Numbers::Ints(read(tensor, |x: u64| x.into())?),
        Bool => Numbers::Ints(tensor.bytes().iter().map(|&b| i128::from(b != 0)).collect()),
        I4 | U4 | I2 | U2 => {
            Numbers::Ints(tensor.to_i64s().unwrap_or_default().into_iter().map(i128::from).collect())
        }
        Str | C64 | C128 => return Err(Fault::DType { what: "a tensor", got: tensor.dtype() }),
    })
}

/// Elements of any number type in `f64`.
pub fn floats(tensor: &Tensor) -> Result<Vec<f64>, Fault> {
    Ok(match numbers(tensor)? {
        Numbers::Floats(values) => values,
        Numbers::Ints(values) => values.into_iter().map(|x| x as f64).collect(),
    })
}

/// Elements of an integer or bool type.
pub fn ints(tensor: &Tensor) -> Result<Vec<i128>, Fault> {
    match numbers(tensor)? {
        Numbers::Ints(values) => Ok(values),
        Numbers::Floats(_) => Err(Fault::DType { what: "a tensor of integers", got: tensor.dtype() }),
    }
}

/// Elements of an integer or bool type that fit `i64`, as indices and sizes do.
pub fn whole(tensor: &Tensor) -> Result<Vec<i64>, Fault> {
    tensor.to_i64s().ok_or(Fault::DType { what: "a tensor of integers", got: tensor.dtype() })
}

pub fn bools(tensor: &Tensor) -> Result<Vec<bool>, Fault> {
    match tensor.dtype() {
        DType::Bool => Ok(tensor.bytes().iter().map(|&b| b != 0).collect()),
        got => Err(Fault::DType { what: "a tensor of truth values", got }),
    }
}

pub fn strings(tensor: &Tensor) -> Result<&[Bytes], Fault> {
    tensor.strings().ok_or(Fault::DType { what: "a tensor of strings", got: tensor.dtype() })
}

/// A tensor of at most 8 bits an element, from one code a byte.
pub fn from_codes(dtype: DType, dims: &[usize], codes: &[u8]) -> Result<Tensor, Fault> {
    Ok(Tensor::from_bytes(dtype, dims, packed::pack(dtype, codes).into())?)
}

fn write<T: Element, S: Copy>(dims: &[usize], values: &[S], f: impl Fn(S) -> T) -> Result<Tensor, Fault> {
    Ok(Tensor::from_vec(dims, values.iter().map(|&x| f(x)).collect())?)
}

/// Rounds to a floating-point type, to nearest even.
pub fn from_floats(dtype: DType, dims: &[usize], values: &[f64]) -> Result<Tensor, Fault> {
    match dtype {
        DType::F32 => write(dims, values, |x| x as f32),
        DType::F64 => write(dims, values, |x| x),
        DType::F16 => write(dims, values, f16::from_f64),
        DType::BF16 => write(dims, values, bf16::from_f64),
        got => match minifloat::format(got) {
            Some(format) => {
                let codes: Vec<u8> = values.iter().map(|&x| format.encode(x, true)).collect();
                from_codes(got, dims, &codes)
            }
            None => Err(Fault::DType { what: "a floating-point result", got }),
        },
    }
}

/// Wraps to an integer type; anything but zero is `true`.
pub fn from_ints(dtype: DType, dims: &[usize], values: &[i128]) -> Result<Tensor, Fault> {
    use DType::*;
    match dtype {
        I8 => write(dims, values, |x| x as i8),
        I16 => write(dims, values, |x| x as i16),
        I32 => write(dims, values, |x| x as i32),
        I64 => write(dims, values, |x| x as i64),
        U8 => write(dims, values, |x| x as u8),
        U16 => write(dims, values, |x| x as u16),
        U32 => write(dims, values, |x| x as u32),
        U64 => write(dims, values, |x| x as u64),
        I4 | U4 | I2 | U2 => {
            let codes: Vec<u8> = values.iter().map(|&x| x as u8).collect();
            from_codes(dtype, dims, &codes)
        }
        Bool => Ok(Tensor::from_bools(dims, values.iter().map(|&x| x != 0).collect())?),
        got => Err(Fault::DType { what: "an integer result", got }),
    }
}

/// The values as elements of `dtype`, which has to be of their kind.
pub fn from_numbers(dtype: DType, dims: &[usize], values: &Numbers) -> Result<Tensor, Fault> {
    match values {
        Numbers::Floats(values) => from_floats(dtype, dims, values),
        Numbers::Ints(values) => from_ints(dtype, dims, values),
    }
}

/// Floating-point results, rounded as the type asks; for an integer type, cut towards zero.
pub fn from_floats_any(dtype: DType, dims: &[usize], values: &[f64]) -> Result<Tensor, Fault> {
    if dtype.is_float() {
        return from_floats(dtype, dims, values);
    }
    let whole: Vec<i128> = values.iter().map(|&x| x as i128).collect();
    from_ints(dtype, dims, &whole)
}

/// The least and greatest value of an integer type.
pub fn int_range(dtype: DType) -> Option<(i128, i128)> {
    if !dtype.is_integer() {
        return None;
    }
    let bits = dtype.bits() as u32;
    Some(if dtype.is_signed() {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    })
}

pub fn from_whole(dims: &[usize], values: Vec<i64>) -> Result<Datum, Fault> {
    Ok(Tensor::from_vec(dims, values)?.into())
}

/// A list of `int64` of rank 1.
pub fn whole_vector(values: Vec<i64>) -> Result<Datum, Fault> {
    from_whole(&[values.len()], values)
}

/// Room for a result of these dimensions, filled.
pub fn filled<T: Clone>(value: T, dims: &[usize]) -> Result<Vec<T>, Fault> {
    Ok(vec![value; layout::count(dims)?])
}
