//! Moving elements of any type without looking at them.

use byoc_graph::{DType, Tensor, packed};
use bytes::Bytes;

use super::fault::{Fault, ensure};
use super::numbers;

/// A tensor of `dims` whose elements are picked from `sources`, laid end to end, by `picks`.
///
/// All sources have the same element type. Picks that lie outside are refused.
pub fn take(sources: &[&Tensor], dims: &[usize], picks: &[usize]) -> Result<Tensor, Fault> {
    let Some(first) = sources.first() else {
        return Err(Fault::Missing(0));
    };
    let dtype = first.dtype();
    if let Some(other) = sources.iter().find(|t| t.dtype() != dtype) {
        ensure!(false, "inputs are of {dtype} and {}, and have to agree", other.dtype());
    }
    match dtype {
        DType::Str => {
            let all: Vec<Bytes> =
                sources.iter().flat_map(|t| t.strings().unwrap_or_default()).cloned().collect();
            Ok(Tensor::from_strings(dims, pick(&all, picks)?)?)
        }
        _ if dtype.bits() <= 8 => {
            let all: Vec<u8> = sources.iter().flat_map(|t| packed::unpack(t)).collect();
            numbers::from_codes(dtype, dims, &pick(&all, picks)?)
        }
        _ => match dtype.bits() {
            16 => wide::<u16>(sources, dims, picks),
            32 => wide::<u32>(sources, dims, picks),
            64 => wide::<u64>(sources, dims, picks),
            _ => wide::<u128>(sources, dims, picks),
        },
    }
}

fn wide<T: bytemuck::Pod + Send + Sync>(
    sources: &[&Tensor],
    dims: &[usize],
    picks: &[usize],
) -> Result<Tensor, Fault> {
    let elements = |t: &&Tensor| -> Vec<T> {
        t.bytes().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    };
    let picked = match sources {
        [only] => pick(&elements(only), picks)?,
        several => pick(&several.iter().flat_map(elements).collect::<Vec<T>>(), picks)?,
    };
    let bytes: &[u8] = bytemuck::cast_slice(&picked);
    Ok(Tensor::from_bytes(sources[0].dtype(), dims, Bytes::copy_from_slice(bytes))?)
}

fn pick<T: Clone>(from: &[T], picks: &[usize]) -> Result<Vec<T>, Fault> {
    if let Some(bad) = picks.iter().find(|&&i| i >= from.len()) {
        ensure!(false, "element {bad} lies outside a tensor of {} elements", from.len());
    }
    Ok(picks.iter().map(|&i| from[i].clone()).collect())
}

/// A tensor of `dims`, all of whose elements are the one of `value`.
pub fn fill(value: &Tensor, dims: &[usize]) -> Result<Tensor, Fault> {
    ensure!(value.len() == 1, "a value to fill with has {} elements", value.len());
    take(&[value], dims, &numbers::filled(0usize, dims)?)
}

/// The zero of a type; an empty string for strings.
pub fn zero(dtype: DType) -> Result<Tensor, Fault> {
    Ok(match dtype {
        DType::Str => Tensor::from_strings(&[], vec![Bytes::new()])?,
        _ => Tensor::from_bytes(dtype, &[], vec![0; dtype.byte_len(1).unwrap_or(0)].into())?,
    })
}
