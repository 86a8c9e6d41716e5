//! Attributes.

use bytes::Bytes;
use onnx_protobuf::AttributeProto;
use onnx_protobuf::attribute_proto::AttributeType;
use protobuf::{EnumOrUnknown, MessageField};

use super::cursor::{Cursor, Literal, Result};
use super::{graph, tensor, types};

/// Names of attribute types, and the type of a list's elements.
const ATTRIBUTE_TYPES: [(&str, AttributeType, Option<AttributeType>); 14] = [
    ("float", AttributeType::FLOAT, None),
    ("int", AttributeType::INT, None),
    ("string", AttributeType::STRING, None),
    ("tensor", AttributeType::TENSOR, None),
    ("graph", AttributeType::GRAPH, None),
    ("sparse_tensor", AttributeType::SPARSE_TENSOR, None),
    ("type_proto", AttributeType::TYPE_PROTO, None),
    ("floats", AttributeType::FLOATS, Some(AttributeType::FLOAT)),
    ("ints", AttributeType::INTS, Some(AttributeType::INT)),
    ("strings", AttributeType::STRINGS, Some(AttributeType::STRING)),
    ("tensors", AttributeType::TENSORS, Some(AttributeType::TENSOR)),
    ("graphs", AttributeType::GRAPHS, Some(AttributeType::GRAPH)),
    ("sparse_tensors", AttributeType::SPARSE_TENSORS, Some(AttributeType::SPARSE_TENSOR)),
    ("type_protos", AttributeType::TYPE_PROTOS, Some(AttributeType::TYPE_PROTO)),
];

/// The word for a type.
pub(super) fn name_of(of: AttributeType) -> &'static str {
    ATTRIBUTE_TYPES.iter().find(|(_, t, _)| *t == of).map_or("nothing", |(name, ..)| name)
}

/// `<name = value, …>`, or nothing.
pub(super) fn attributes(cursor: &mut Cursor<'_>) -> Result<Vec<AttributeProto>> {
    match cursor.peek() {
        Some('<') => cursor.list('<', '>', |cursor| {
            let name = cursor.name()?;
            attribute(cursor, name)
        }),
        _ => Ok(Vec::new()),
    }
}

/// What follows an attribute's name.
pub(super) fn attribute(cursor: &mut Cursor<'_>, name: String) -> Result<AttributeProto> {
    let declared = match cursor.eat(':') {
        true => Some(attribute_type(cursor)?),
        false => None,
    };
    cursor.expect('=')?;
    let mut attribute = match cursor.peek() {
        Some('[') => list(cursor, declared)?,
        _ => single(cursor, declared)?,
    };
    attribute.set_name(name);
    Ok(attribute)
}

fn attribute_type(cursor: &mut Cursor<'_>) -> Result<AttributeType> {
    let word = cursor.peek_identifier();
    match ATTRIBUTE_TYPES.iter().find(|(name, ..)| *name == word) {
        Some((_, attribute_type, _)) => cursor.identifier().map(|_| *attribute_type),
        None => cursor.error("expected the type of an attribute"),
    }
}

fn list(cursor: &mut Cursor<'_>, declared: Option<AttributeType>) -> Result<AttributeProto> {
    let element_of = |list| ATTRIBUTE_TYPES.iter().find(|(_, t, _)| *t == list).and_then(|t| t.2);
    let mut element_type = match declared {
        Some(declared) => match element_of(declared) {
            Some(element) => Some(element),
            None => return cursor.error(format!("a list cannot be a {}", name_of(declared))),
        },
        None => None,
    };
    let elements = cursor.list('[', ']', |cursor| {
        let element = single(cursor, element_type)?;
        if element.has_ref_attr_name() {
            return cursor.error("a reference cannot be one of a list");
        }
        element_type = Some(element.type_());
        Ok(element)
    })?;
    let list_type = ATTRIBUTE_TYPES.iter().find(|(_, _, of)| of.is_some() && *of == element_type);
    let Some((_, list_type, _)) = list_type else {
        return cursor.error("an empty list needs a type, as in `axes: ints = []`");
    };
    let mut attribute = AttributeProto::new();
    attribute.set_type(*list_type);
    for mut element in elements {
        match element.type_() {
            AttributeType::INT => attribute.ints.push(element.i()),
            AttributeType::FLOAT => attribute.floats.push(element.f()),
            AttributeType::STRING => attribute.strings.push(element.take_s()),
            AttributeType::TENSOR => attribute.tensors.extend(element.t.take()),
            AttributeType::GRAPH => attribute.graphs.extend(element.g.take()),
            _ => attribute.type_protos.extend(element.tp.take()),
        }
    }
    Ok(attribute)
}

/// One value, without a name; an error if it is not of the `expected` type.
fn single(cursor: &mut Cursor<'_>, expected: Option<AttributeType>) -> Result<AttributeProto> {
    let start = cursor.position();
    let mut attribute = AttributeProto::new();
    attribute.type_ = expected.map(EnumOrUnknown::new);
    if cursor.eat('@') {
        attribute.set_ref_attr_name(cursor.name()?);
        return Ok(attribute);
    }
    let found = if types::at_type(cursor) {
        tensor_or_type(cursor, &mut attribute)?
    } else if !cursor.peek_identifier().is_empty() && !cursor.at_float_word() {
        attribute.g = MessageField::some(graph::graph(cursor)?);
        AttributeType::GRAPH
    } else {
        match cursor.literal()? {
            Literal::Text(text) => {
                attribute.s = Some(Bytes::from(text));
                AttributeType::STRING
            }
            Literal::Int(text) if expected != Some(AttributeType::FLOAT) => {
                attribute.i = Some(cursor.convert(start, text)?);
                AttributeType::INT
            }
            Literal::Int(text) | Literal::Float(text) => {
                attribute.f = Some(cursor.float_of(start, text)?);
                AttributeType::FLOAT
            }
        }
    };
    if expected.is_some_and(|expected| expected != found) {
        let expected = expected.map_or("nothing", name_of);
        return cursor.error(format!("expected a value of type {expected}, found a {}", name_of(found)));
    }
    attribute.set_type(found);
    Ok(attribute)
}

fn tensor_or_type(cursor: &mut Cursor<'_>, attribute: &mut AttributeProto) -> Result<AttributeType> {
    let of = types::type_proto(cursor)?;
    let named = cursor.peek() == Some('"') || !cursor.peek_identifier().is_empty();
    if !named && !matches!(cursor.peek(), Some('{' | '=')) {
        attribute.tp = MessageField::some(of);
        return Ok(AttributeType::TYPE_PROTO);
    }
    let name = if named { cursor.name()? } else { String::new() };
    cursor.eat('=');
    attribute.t = MessageField::some(tensor::tensor(cursor, name, &of)?);
    Ok(AttributeType::TENSOR)
}
