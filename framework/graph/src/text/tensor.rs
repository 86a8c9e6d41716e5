//! Contents of tensors: values in braces, or a reference to a file.

use bytes::Bytes;
use onnx_protobuf::{StringStringEntryProto, TensorProto, TypeProto, tensor_proto};

use super::cursor::{Cursor, Result};
use crate::DType;

/// The contents of a tensor whose type has been read.
pub(super) fn tensor(cursor: &mut Cursor<'_>, name: String, of: &TypeProto) -> Result<TensorProto> {
    if !of.has_tensor_type() || of.tensor_type().shape.is_none() {
        return cursor.error("a constant needs a tensor type with a shape");
    }
    let mut tensor = TensorProto::new();
    tensor.set_name(name);
    tensor.set_data_type(of.tensor_type().elem_type());
    for dim in &of.tensor_type().shape.dim {
        if !dim.has_dim_value() {
            return cursor.error("a constant's dimensions have to be numbers");
        }
        tensor.dims.push(dim.dim_value());
    }
    match cursor.peek() {
        Some('{') => {
            cursor.list('{', '}', |cursor| element(cursor, &mut tensor))?;
        }
        Some('[') => {
            tensor.set_data_location(tensor_proto::DataLocation::EXTERNAL);
            tensor.external_data = entries(cursor)?;
        }
        _ => {}
    }
    Ok(tensor)
}

/// One element, into the field that ONNX keeps elements of that type in. Of the small floating-point
/// types, as in ONNX's own parser, the bits are written.
fn element(cursor: &mut Cursor<'_>, tensor: &mut TensorProto) -> Result<()> {
    let Some(dtype) = DType::from_onnx(tensor.data_type()) else {
        return cursor.error("unknown element type");
    };
    match dtype {
        DType::I64 => tensor.int64_data.push(cursor.int()?),
        DType::U32 | DType::U64 => tensor.uint64_data.push(cursor.int()?),
        DType::F32 | DType::C64 => tensor.float_data.push(cursor.float()?),
        DType::F64 | DType::C128 => tensor.double_data.push(cursor.float()?),
        DType::Str => tensor.string_data.push(Bytes::from(cursor.quoted()?)),
        _ => tensor.int32_data.push(cursor.int()?),
    }
    Ok(())
}

/// `["key": "value", …]`.
pub(super) fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<StringStringEntryProto>> {
    cursor.list('[', ']', |cursor| {
        let mut entry = StringStringEntryProto::new();
        entry.set_key(cursor.quoted()?);
        cursor.expect(':')?;
        entry.set_value(cursor.quoted()?);
        Ok(entry)
    })
}
