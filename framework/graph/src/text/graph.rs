//! Graphs and nodes.

use onnx_protobuf::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::cursor::{Cursor, Result};
use super::{attribute, tensor, types};

pub(super) fn graph(cursor: &mut Cursor<'_>) -> Result<GraphProto> {
    cursor.nested(|cursor| {
        let mut graph = GraphProto::new();
        graph.set_name(cursor.name()?);
        if cursor.peek() == Some('(') {
            for (input, default) in cursor.list('(', ')', value_or_initializer)? {
                graph.input.push(input);
                graph.initializer.extend(default);
            }
        }
        cursor.expect_arrow()?;
        graph.output = cursor.list('(', ')', types::value_info)?;
        if cursor.peek() == Some('<') {
            for (info, initializer) in cursor.list('<', '>', value_or_initializer)? {
                match initializer {
                    Some(initializer) => graph.initializer.push(initializer),
                    None => graph.value_info.push(info),
                }
            }
        }
        graph.node = nodes(cursor)?;
        Ok(graph)
    })
}

fn value_or_initializer(cursor: &mut Cursor<'_>) -> Result<(ValueInfoProto, Option<TensorProto>)> {
    let info = types::value_info(cursor)?;
    let initializer = match cursor.eat('=') {
        true => Some(tensor::tensor(cursor, info.name().to_owned(), &info.type_)?),
        false => None,
    };
    Ok((info, initializer))
}

pub(super) fn nodes(cursor: &mut Cursor<'_>) -> Result<Vec<NodeProto>> {
    cursor.expect('{')?;
    let mut nodes = Vec::new();
    while !cursor.eat('}') {
        nodes.push(node(cursor)?);
    }
    Ok(nodes)
}

fn node(cursor: &mut Cursor<'_>) -> Result<NodeProto> {
    let mut node = NodeProto::new();
    if cursor.eat('[') {
        let unnamed = cursor.peek() == Some(']');
        node.set_name(if unnamed { String::new() } else { cursor.name()? });
        cursor.expect(']')?;
    }
    node.output = cursor.names()?;
    cursor.expect('=')?;
    let operator = cursor.qualified()?;
    let (domain, name) = operator.rsplit_once('.').unwrap_or(("", &operator));
    node.set_domain(domain.to_owned());
    node.set_op_type(name.to_owned());
    if cursor.eat(':') {
        node.set_overload(cursor.identifier()?.to_owned());
    }
    node.attribute = attribute::attributes(cursor)?;
    cursor.expect('(')?;
    node.input = cursor.names()?;
    cursor.expect(')')?;
    if node.attribute.is_empty() {
        node.attribute = attribute::attributes(cursor)?;
    }
    Ok(node)
}
