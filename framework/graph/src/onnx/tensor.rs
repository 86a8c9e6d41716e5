//! Contents of tensors. Whatever field a file keeps them in, they become little-endian bytes; those that
//! are such bytes already, in the file or outside, are shared and not copied.

use std::mem;

use bytes::Bytes;
use onnx_protobuf::{SparseTensorProto, StringStringEntryProto, TensorProto, tensor_proto};
use protobuf::MessageField;

use super::error::{Error, Result};
use super::external::Storage;
use super::types::non_empty;
use crate::{DType, SparseTensor, Tensor, TensorError, element_count, packed};

/// Most elements that a sparse initializer may have when it is written out in full.
const MAX_DENSE_ELEMENTS: usize = 1 << 26;

/// Takes type and content out of `proto`, and leaves the rest there.
pub(super) fn import(proto: &mut TensorProto, storage: &mut Storage) -> Result<Tensor> {
    let name = proto.name().to_owned();
    let fail = |source| Error::Tensor { name: name.clone(), source };
    let code = proto.data_type.take().unwrap_or_default();
    let dtype = DType::from_onnx(code)
        .ok_or_else(|| Error::content(&name, format!("element type {code} is not known")))?;
    let dims = mem::take(&mut proto.dims).into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| Error::content(&name, "has a negative dimension"))?;
    let too_large = || fail(TensorError::TooLarge { dtype, dims: dims.clone() });
    let count = element_count(&dims).ok_or_else(too_large)?;

    if proto.data_location.take().map(|l| l.value()) == Some(tensor_proto::DataLocation::EXTERNAL as i32) {
        let expected = dtype
            .byte_len(count)
            .ok_or_else(|| Error::content(&name, "strings cannot be external data, or there are too many"))?;
        let entries = mem::take(&mut proto.external_data);
        let (bytes, external) =
            storage.read(&entries, expected).map_err(|what| Error::content(&name, what))?;
        return Ok(Tensor::from_bytes(dtype, &dims, bytes).map_err(fail)?.with_external(external));
    }
    if let Some(raw) = proto.raw_data.take().filter(|raw| !raw.is_empty()) {
        if dtype == DType::Str {
            return Err(Error::content(&name, "strings cannot be raw data"));
        }
        return Tensor::from_bytes(dtype, &dims, raw).map_err(fail);
    }
    typed(proto, dtype, &dims, count).map_err(fail)
}

/// Content from the field that ONNX prescribes for elements of `dtype`.
fn typed(proto: &mut TensorProto, dtype: DType, dims: &[usize], count: usize) -> Result<Tensor, TensorError> {
    use DType::*;
    match dtype {
        F32 => Tensor::from_vec(dims, mem::take(&mut proto.float_data)),
        F64 => Tensor::from_vec(dims, mem::take(&mut proto.double_data)),
        I32 => Tensor::from_vec(dims, mem::take(&mut proto.int32_data)),
        I64 => Tensor::from_vec(dims, mem::take(&mut proto.int64_data)),
        U64 => Tensor::from_vec(dims, mem::take(&mut proto.uint64_data)),
        Str => Tensor::from_strings(dims, mem::take(&mut proto.string_data)),
        C64 => {
            let parts = mem::take(&mut proto.float_data);
            Tensor::from_bytes(dtype, dims, Bytes::copy_from_slice(bytemuck::cast_slice(&parts)))
        }
        C128 => {
            let parts = mem::take(&mut proto.double_data);
            Tensor::from_bytes(dtype, dims, Bytes::copy_from_slice(bytemuck::cast_slice(&parts)))
        }
        U32 => {
            let elements = mem::take(&mut proto.uint64_data);
            Tensor::from_vec(dims, elements.into_iter().map(|x| x as u32).collect())
        }
        U16 | I16 | F16 | BF16 => {
            let elements = mem::take(&mut proto.int32_data);
            let bytes = elements.into_iter().flat_map(|x| (x as u16).to_le_bytes()).collect::<Vec<u8>>();
            Tensor::from_bytes(dtype, dims, bytes.into())
        }
        U4 | I4 | F4E2M1 | U2 | I2 => {
            Tensor::from_bytes(dtype, dims, sub_byte(mem::take(&mut proto.int32_data), dtype, count))
        }
        // Of six bits, the field keeps one element a number.
        F6E2M3 | F6E3M2 => {
            let codes: Vec<u8> = mem::take(&mut proto.int32_data).into_iter().map(|x| x as u8).collect();
            ensure_count(dtype, dims, count, codes.len())?;
            Tensor::from_bytes(dtype, dims, packed::pack(dtype, &codes).into())
        }
        U8 | I8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => {
            let elements = mem::take(&mut proto.int32_data);
            Tensor::from_bytes(dtype, dims, elements.into_iter().map(|x| x as u8).collect())
        }
    }
}

/// The standard packs elements below a byte into the low byte of each number. ONNX's text parser writes
/// one element a number; the two differ in how many numbers there are.
fn sub_byte(numbers: Vec<i32>, dtype: DType, count: usize) -> Bytes {
    let low: Vec<u8> = numbers.iter().map(|&x| x as u8).collect();
    if low.len() != count || count <= 1 { low.into() } else { packed::pack(dtype, &low).into() }
}

fn ensure_count(dtype: DType, dims: &[usize], expected: usize, got: usize) -> Result<(), TensorError> {
    match expected == got {
        true => Ok(()),
        false => Err(TensorError::Length { dtype, dims: dims.to_vec(), expected, got }),
    }
}

pub(super) fn import_sparse(proto: &mut SparseTensorProto, storage: &mut Storage) -> Result<SparseTensor> {
    let name = proto.values.name().to_owned();
    let dims = mem::take(&mut proto.dims).into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| Error::content(&name, "has a negative dimension"))?;
    let values = import(proto.values.mut_or_insert_default(), storage)?;
    let indices = match proto.indices.as_mut() {
        Some(indices) => import(indices, storage)?,
        None => Tensor::from_vec(&[0], Vec::<i64>::new()).map_err(|source| Error::Tensor { name, source })?,
    };
    Ok(SparseTensor { dims, values: values.into(), indices: indices.into() })
}

/// All elements of a sparse tensor, zero where it has none.
pub(super) fn densify(name: &str, sparse: &SparseTensor) -> Result<Tensor> {
    let SparseTensor { dims, values, indices } = sparse;
    let count = element_count(dims).filter(|&count| count <= MAX_DENSE_ELEMENTS);
    let count = count
        .ok_or_else(|| Error::content(name, format!("a sparse initializer of {dims:?} is too large")))?;
    let width = match values.dtype().bits() {
        bits if bits >= 8 => bits / 8,
        _ => return Err(Error::content(name, format!("{} cannot be sparse", values.dtype()))),
    };
    let positions = sparse_positions(sparse).ok_or_else(|| {
        Error::content(name, format!("indices {indices:?} do not fit values {values:?} in {dims:?}"))
    })?;
    let mut dense = vec![0u8; count * width];
    for (value, at) in values.bytes().chunks_exact(width).zip(positions) {
        dense[at * width..][..width].copy_from_slice(value);
    }
    Tensor::from_bytes(values.dtype(), dims, dense.into())
        .map_err(|source| Error::Tensor { name: name.to_owned(), source })
}

/// Row-major positions of the values; `None` if the indices are not as many, or one is out of range.
fn sparse_positions(sparse: &SparseTensor) -> Option<Vec<usize>> {
    let SparseTensor { dims, values, indices } = sparse;
    let flat = indices.as_slice::<i64>().ok()?;
    let (nnz, rank, count) = (values.len(), dims.len(), element_count(dims)?);
    let position = |coordinates: &[i64]| {
        let mut coordinates = coordinates.iter().zip(dims);
        coordinates.try_fold(0usize, |at, (&i, &dim)| {
            usize::try_from(i).ok().filter(|&i| i < dim).map(|i| at * dim + i)
        })
    };
    if indices.dims() == [nnz] {
        flat.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i < count)).collect()
    } else if indices.dims() == [nnz, rank] && rank > 0 {
        flat.chunks_exact(rank).map(position).collect()
    } else {
        None
    }
}

/// Where the content of a tensor goes that is not written into the message.
pub(super) struct Location {
    pub file: String,
    pub offset: u64,
    pub len: u64,
}

/// Decides for each tensor whether its content is written into the message (`None`) or is elsewhere.
pub(super) type Place<'a> = dyn FnMut(&Tensor) -> Option<Location> + 'a;

pub(super) fn export(name: &str, tensor: &Tensor, place: &mut Place<'_>) -> TensorProto {
    let mut proto = TensorProto::new();
    proto.name = non_empty(name);
    proto.dims = tensor.dims().iter().map(|&d| d as i64).collect();
    proto.set_data_type(tensor.dtype().onnx());
    if let Some(strings) = tensor.strings() {
        proto.string_data = strings.to_vec();
    } else if let Some(location) = place(tensor) {
        proto.set_data_location(tensor_proto::DataLocation::EXTERNAL);
        let entries = [
            ("location", location.file),
            ("offset", location.offset.to_string()),
            ("length", location.len.to_string()),
        ];
        proto.external_data = entries.into_iter().map(|(key, value)| entry(key, value)).collect();
    } else {
        proto.set_raw_data(tensor.bytes().clone());
    }
    proto
}

pub(super) fn export_sparse(sparse: &SparseTensor, place: &mut Place<'_>) -> SparseTensorProto {
    SparseTensorProto {
        values: MessageField::some(export("", &sparse.values, place)),
        indices: MessageField::some(export("", &sparse.indices, place)),
        dims: sparse.dims.iter().map(|&d| d as i64).collect(),
        ..Default::default()
    }
}

pub(super) fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value), ..Default::default() }
}
