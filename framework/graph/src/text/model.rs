//! Models and functions.

use onnx_protobuf::{FunctionProto, ModelProto, OperatorSetIdProto, ValueInfoProto};
use protobuf::MessageField;

use super::cursor::{Cursor, ParseError, Result};
use super::{attribute, graph, tensor, types};

/// Parses a model in ONNX's textual syntax.
pub fn parse_model(text: &str) -> std::result::Result<ModelProto, ParseError> {
    let mut cursor = Cursor::new(text);
    let mut model = ModelProto::new();
    if cursor.peek() == Some('<') {
        cursor.list('<', '>', |cursor| model_field(cursor, &mut model))?;
    }
    model.graph = MessageField::some(graph::graph(&mut cursor)?);
    while !cursor.at_end() {
        model.functions.push(function(&mut cursor)?);
    }
    Ok(model)
}

fn model_field(cursor: &mut Cursor<'_>, model: &mut ModelProto) -> Result<()> {
    let key = key(cursor)?;
    match key {
        "ir_version" => model.set_ir_version(cursor.int()?),
        "opset_import" => model.opset_import = opsets(cursor)?,
        "producer_name" => model.set_producer_name(cursor.quoted()?),
        "producer_version" => model.set_producer_version(cursor.quoted()?),
        "domain" => model.set_domain(cursor.quoted()?),
        "model_version" => model.set_model_version(cursor.int()?),
        "doc_string" => model.set_doc_string(cursor.quoted()?),
        "metadata_props" => model.metadata_props = tensor::entries(cursor)?,
        _ => return cursor.error(format!("a model has no field `{key}`")),
    }
    Ok(())
}

fn function_field(cursor: &mut Cursor<'_>, function: &mut FunctionProto) -> Result<()> {
    let key = key(cursor)?;
    match key {
        "opset_import" => function.opset_import = opsets(cursor)?,
        "domain" => function.set_domain(cursor.quoted()?),
        "overload" => function.set_overload(cursor.quoted()?),
        "doc_string" => function.set_doc_string(cursor.quoted()?),
        _ => return cursor.error(format!("a function has no field `{key}`")),
    }
    Ok(())
}

fn key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str> {
    let key = cursor.identifier()?;
    cursor.expect(':')?;
    Ok(key)
}

fn opsets(cursor: &mut Cursor<'_>) -> Result<Vec<OperatorSetIdProto>> {
    cursor.list('[', ']', |cursor| {
        let mut opset = OperatorSetIdProto::new();
        opset.set_domain(cursor.quoted()?);
        cursor.expect(':')?;
        opset.set_version(cursor.int()?);
        Ok(opset)
    })
}

fn function(cursor: &mut Cursor<'_>) -> Result<FunctionProto> {
    let mut function = FunctionProto::new();
    if cursor.peek() == Some('<') {
        cursor.list('<', '>', |cursor| function_field(cursor, &mut function))?;
    }
    function.set_name(cursor.name()?);
    if cursor.peek() == Some('<') {
        cursor.list('<', '>', |cursor| function_attribute(cursor, &mut function))?;
    }
    function.input = signature(cursor, &mut function.value_info)?;
    cursor.expect_arrow()?;
    function.output = signature(cursor, &mut function.value_info)?;
    if cursor.peek() == Some('<') {
        function.value_info.extend(cursor.list('<', '>', types::value_info)?);
    }
    function.node = graph::nodes(cursor)?;
    Ok(function)
}

/// A name alone is an attribute that a call has to give, one with a value has that as its default.
fn function_attribute(cursor: &mut Cursor<'_>, function: &mut FunctionProto) -> Result<()> {
    let name = cursor.name()?;
    match cursor.peek() {
        Some(':' | '=') => function.attribute_proto.push(attribute::attribute(cursor, name)?),
        _ => function.attribute.push(name),
    }
    Ok(())
}

/// Names of a function's inputs or outputs; those with a type are noted in `typed` as well.
fn signature(cursor: &mut Cursor<'_>, typed: &mut Vec<ValueInfoProto>) -> Result<Vec<String>> {
    cursor.list('(', ')', |cursor| {
        let info = types::value_info(cursor)?;
        let name = info.name().to_owned();
        if info.type_.is_some() {
            typed.push(info);
        }
        Ok(name)
    })
}
