//! Types of values.

use onnx_protobuf::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use protobuf::MessageField;

use super::cursor::{Cursor, Result};
use crate::DType;

/// Words that begin a type, besides the element types.
const COMPOUND_TYPES: [&str; 5] = ["seq", "map", "optional", "sparse_tensor", "opaque"];

fn element_type(name: &str) -> Option<i32> {
    DType::ALL.iter().find(|dtype| dtype.onnx_name() == name).map(|dtype| dtype.onnx())
}

/// Whether a type comes next.
pub(super) fn at_type(cursor: &mut Cursor<'_>) -> bool {
    is_type_word(cursor.peek_identifier())
}

pub(super) fn is_type_word(word: &str) -> bool {
    element_type(word).is_some() || COMPOUND_TYPES.contains(&word)
}

pub(super) fn type_proto(cursor: &mut Cursor<'_>) -> Result<TypeProto> {
    if !at_type(cursor) {
        return cursor.error("expected a type");
    }
    let word = cursor.identifier()?;
    let mut proto = TypeProto::new();
    if let Some(element) = element_type(word) {
        let mut tensor = type_proto::Tensor::new();
        tensor.set_elem_type(element);
        tensor.shape = shape(cursor)?;
        proto.set_tensor_type(tensor);
        return Ok(proto);
    }
    cursor.expect('(')?;
    match word {
        "seq" => {
            let mut sequence = type_proto::Sequence::new();
            sequence.elem_type = inner(cursor)?;
            proto.set_sequence_type(sequence);
        }
        "optional" => {
            let mut optional = type_proto::Optional::new();
            optional.elem_type = inner(cursor)?;
            proto.set_optional_type(optional);
        }
        "map" => {
            let mut map = type_proto::Map::new();
            map.set_key_type(element(cursor)?);
            cursor.expect(',')?;
            map.value_type = inner(cursor)?;
            proto.set_map_type(map);
        }
        "sparse_tensor" => {
            let mut sparse = type_proto::SparseTensor::new();
            sparse.set_elem_type(element(cursor)?);
            sparse.shape = shape(cursor)?;
            proto.set_sparse_tensor_type(sparse);
        }
        _ => proto.set_opaque_type(opaque(cursor)?),
    }
    cursor.expect(')')?;
    Ok(proto)
}

fn inner(cursor: &mut Cursor<'_>) -> Result<MessageField<TypeProto>> {
    cursor.nested(type_proto).map(MessageField::some)
}

fn element(cursor: &mut Cursor<'_>) -> Result<i32> {
    match element_type(cursor.peek_identifier()) {
        Some(element) => cursor.identifier().map(|_| element),
        None => cursor.error("expected an element type"),
    }
}

/// `opaque()`, `opaque(name)` or `opaque(domain, name)`.
fn opaque(cursor: &mut Cursor<'_>) -> Result<type_proto::Opaque> {
    let mut opaque = type_proto::Opaque::new();
    if cursor.peek() == Some(')') {
        return Ok(opaque);
    }
    let first = cursor.qualified()?;
    if cursor.eat(',') {
        opaque.set_domain(first);
        opaque.set_name(cursor.identifier()?.to_owned());
    } else {
        opaque.set_name(first);
    }
    Ok(opaque)
}

/// Nothing is a scalar, `[]` an unknown rank.
fn shape(cursor: &mut Cursor<'_>) -> Result<MessageField<TensorShapeProto>> {
    let mut shape = TensorShapeProto::new();
    if cursor.peek() == Some('[') {
        shape.dim = cursor.list('[', ']', dimension)?;
        if shape.dim.is_empty() {
            return Ok(MessageField::none());
        }
    }
    Ok(MessageField::some(shape))
}

fn dimension(cursor: &mut Cursor<'_>) -> Result<tensor_shape_proto::Dimension> {
    let mut dim = tensor_shape_proto::Dimension::new();
    if cursor.eat('?') {
        return Ok(dim);
    }
    if cursor.peek() == Some('"') || !cursor.peek_identifier().is_empty() {
        dim.set_dim_param(cursor.name()?);
    } else {
        dim.set_dim_value(cursor.int()?);
    }
    Ok(dim)
}

/// A name, with or without a type before it.
pub(super) fn value_info(cursor: &mut Cursor<'_>) -> Result<ValueInfoProto> {
    let mut info = ValueInfoProto::new();
    if at_type(cursor) {
        info.type_ = MessageField::some(type_proto(cursor)?);
    }
    info.set_name(cursor.name()?);
    Ok(info)
}
