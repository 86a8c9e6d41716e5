//! Messages as text.
//!
//! The syntax has no place for documentation and metadata below the model, sparse tensors, annotations
//! and denotations: they are left out. Tensors are expected as export writes them, in `raw_data`.

use std::fmt::Write;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
};
use protobuf::MessageField;

use super::attribute::name_of;
use super::cursor::is_float_word;
use super::elements::elements;
use super::types::is_type_word;
use crate::DType;

/// The model in ONNX's textual syntax.
pub(crate) fn print_model(model: &ModelProto) -> String {
    let mut fields = vec![
        format!("ir_version: {}", model.ir_version()),
        format!("opset_import: {}", opsets(&model.opset_import)),
    ];
    let texts = [
        ("producer_name", &model.producer_name),
        ("producer_version", &model.producer_version),
        ("domain", &model.domain),
        ("doc_string", &model.doc_string),
    ];
    let given = texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    fields.extend(given.map(|(key, text)| format!("{key}: {}", quoted(text))));
    fields.extend(model.model_version.map(|version| format!("model_version: {version}")));
    if !model.metadata_props.is_empty() {
        fields.push(format!("metadata_props: {}", entries(&model.metadata_props)));
    }
    let mut text = header(&fields);
    text += &graph(&model.graph, &name(model.graph.name()), 0);
    text.push('\n');
    for f in &model.functions {
        text += &function(f);
    }
    text
}

fn header(fields: &[String]) -> String {
    format!("<\n  {}\n>\n", fields.join(",\n  "))
}

fn function(function: &FunctionProto) -> String {
    let mut fields = vec![
        format!("domain: {}", quoted(function.domain())),
        format!("opset_import: {}", opsets(&function.opset_import)),
    ];
    let texts = [("overload", &function.overload), ("doc_string", &function.doc_string)];
    let given = texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    fields.extend(given.map(|(key, text)| format!("{key}: {}", quoted(text))));
    let required = function.attribute.iter().map(|attribute| name(attribute));
    let defaults = function.attribute_proto.iter().map(|default| attribute(default, 0));
    let attributes: Vec<String> = required.chain(defaults).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!("<{}> ", attributes.join(", ")) };
    let infos = match function.value_info.is_empty() {
        true => String::new(),
        false => format!("<{}> ", list(&function.value_info, value_info)),
    };
    format!(
        "{}{} {attributes}({}) => ({}) {infos}{}\n",
        header(&fields),
        name(function.name()),
        list(&function.input, |input| name(input)),
        list(&function.output, |output| name(output)),
        nodes(&function.node, 0)
    )
}

fn graph(graph: &GraphProto, name: &str, depth: usize) -> String {
    // Defaults of inputs as well: in the list of inputs they would have to have the input's type.
    let constants = graph.initializer.iter().map(initializer);
    let inner: Vec<String> = constants.chain(graph.value_info.iter().map(value_info)).collect();
    let indent = "  ".repeat(depth);
    let inner = match inner.is_empty() {
        true => String::new(),
        false => format!("<\n{indent}  {}\n{indent}> ", inner.join(&format!(",\n{indent}  "))),
    };
    format!(
        "{name} ({}) => ({}) {inner}{}",
        list(&graph.input, value_info),
        list(&graph.output, value_info),
        nodes(&graph.node, depth)
    )
}

fn nodes(nodes: &[NodeProto], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let lines: String = nodes.iter().map(|n| format!("{indent}  {}\n", node(n, depth + 1))).collect();
    format!("{{\n{lines}{indent}}}")
}

fn node(node: &NodeProto, depth: usize) -> String {
    let mut text = String::new();
    if !node.name().is_empty() {
        let _ = write!(text, "[{}] ", name(node.name()));
    }
    let _ = write!(text, "{} = ", list(&node.output, |output| name(output)));
    if !node.domain().is_empty() {
        let _ = write!(text, "{}.", node.domain());
    }
    text += node.op_type();
    if !node.overload().is_empty() {
        let _ = write!(text, ":{}", node.overload());
    }
    let _ = write!(text, " ({})", list(&node.input, |input| name(input)));
    if !node.attribute.is_empty() {
        let _ = write!(text, " <{}>", list(&node.attribute, |a| attribute(a, depth)));
    }
    text
}

fn attribute(of: &AttributeProto, depth: usize) -> String {
    let head = format!("{}: {} = ", name(of.name()), name_of(of.type_()));
    if of.has_ref_attr_name() {
        return format!("{head}@{}", name(of.ref_attr_name()));
    }
    let body = |body: &GraphProto| graph(body, &body_name(body.name()), depth);
    let text = |text: &bytes::Bytes| quoted(&String::from_utf8_lossy(text));
    let many = |elements: String| format!("[{elements}]");
    let value = match of.type_() {
        AttributeType::FLOAT => float(of.f()),
        AttributeType::INT => of.i().to_string(),
        AttributeType::STRING => quoted(&String::from_utf8_lossy(of.s())),
        AttributeType::TENSOR => unquoted(&of.t),
        AttributeType::GRAPH => body(&of.g),
        AttributeType::TYPE_PROTO => type_proto(&of.tp),
        AttributeType::FLOATS => many(list(&of.floats, |&x| float(x))),
        AttributeType::INTS => many(list(&of.ints, i64::to_string)),
        AttributeType::STRINGS => many(list(&of.strings, text)),
        AttributeType::TENSORS => many(list(&of.tensors, unquoted)),
        AttributeType::GRAPHS => many(list(&of.graphs, body)),
        AttributeType::TYPE_PROTOS => many(list(&of.type_protos, type_proto)),
        AttributeType::UNDEFINED | AttributeType::SPARSE_TENSOR | AttributeType::SPARSE_TENSORS => {
            many(String::new())
        }
    };
    head + &value
}

/// A tensor that is not an initializer: ONNX's parser knows no quoted names there, and the name says nothing.
fn unquoted(of: &TensorProto) -> String {
    let name = Some(of.name()).filter(|name| is_identifier(name));
    tensor(of, name.unwrap_or_default())
}

fn initializer(of: &TensorProto) -> String {
    tensor(of, &name(of.name()))
}

/// Type, name and content.
fn tensor(tensor: &TensorProto, name: &str) -> String {
    let dtype = DType::from_onnx(tensor.data_type());
    let mut text = dtype.map_or("undefined", DType::onnx_name).to_owned();
    if !tensor.dims.is_empty() {
        let _ = write!(text, "[{}]", list(&tensor.dims, i64::to_string));
    }
    if !name.is_empty() {
        let _ = write!(text, " {name}");
    }
    let content = match tensor.external_data.is_empty() {
        false => entries(&tensor.external_data),
        true if dtype == Some(DType::Str) => {
            format!("{{{}}}", list(&tensor.string_data, |s| quoted(&String::from_utf8_lossy(s))))
        }
        true => format!("{{{}}}", dtype.map_or(String::new(), |dtype| elements(tensor, dtype).join(", "))),
    };
    format!("{text} = {content}")
}

fn value_info(info: &ValueInfoProto) -> String {
    match info.type_.as_ref().map(type_proto).filter(|text| !text.is_empty()) {
        Some(text) => format!("{text} {}", name(info.name())),
        None => name(info.name()),
    }
}

/// Empty where the syntax has no words for a type.
fn type_proto(of: &TypeProto) -> String {
    let inner = |of: &MessageField<TypeProto>| of.as_ref().map_or(String::new(), type_proto);
    match &of.value {
        Some(Value::TensorType(t)) => tensor_type(t.elem_type(), &t.shape),
        Some(Value::SequenceType(t)) => format!("seq({})", inner(&t.elem_type)),
        Some(Value::OptionalType(t)) => format!("optional({})", inner(&t.elem_type)),
        Some(Value::SparseTensorType(t)) => {
            format!("sparse_tensor({})", tensor_type(t.elem_type(), &t.shape))
        }
        Some(Value::MapType(t)) => {
            let key = DType::from_onnx(t.key_type()).map_or("undefined", DType::onnx_name);
            format!("map({key}, {})", inner(&t.value_type))
        }
        Some(Value::OpaqueType(t)) if t.domain().is_empty() => format!("opaque({})", t.name()),
        Some(Value::OpaqueType(t)) => format!("opaque({}, {})", t.domain(), t.name()),
        _ => String::new(),
    }
}

fn tensor_type(element: i32, shape: &MessageField<TensorShapeProto>) -> String {
    let Some(dtype) = DType::from_onnx(element) else { return String::new() };
    let shape = match shape.as_ref() {
        None => "[]".to_owned(),
        Some(shape) if shape.dim.is_empty() => String::new(),
        Some(shape) => format!("[{}]", list(&shape.dim, dimension)),
    };
    format!("{}{shape}", dtype.onnx_name())
}

fn dimension(dim: &tensor_shape_proto::Dimension) -> String {
    if dim.has_dim_value() {
        return dim.dim_value().to_string();
    }
    match dim.dim_param() {
        "" => "?".to_owned(),
        symbol => name(symbol),
    }
}

fn opsets(opsets: &[OperatorSetIdProto]) -> String {
    format!("[{}]", list(opsets, |opset| format!("{} : {}", quoted(opset.domain()), opset.version())))
}

fn entries(entries: &[StringStringEntryProto]) -> String {
    format!("[{}]", list(entries, |entry| format!("{}: {}", quoted(entry.key()), quoted(entry.value()))))
}

fn list<T>(items: &[T], print: impl FnMut(&T) -> String) -> String {
    items.iter().map(print).collect::<Vec<_>>().join(", ")
}

fn is_identifier(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An identifier as it stands, everything else, and what would be read as a type, in quotes.
fn name(text: &str) -> String {
    match is_identifier(text) && !is_type_word(text) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// The name of a body has to be an identifier that is not taken for a type or a number.
fn body_name(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match is_identifier(&plain) && !is_type_word(&plain) && !is_float_word(&plain) {
        true => plain,
        false => format!("_{plain}"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The shortest text that reads back as the same number.
pub(super) fn float(value: impl Into<f64> + Copy + std::fmt::Debug) -> String {
    match value.into().is_nan() {
        true => "nan".to_owned(),
        false => format!("{value:?}"),
    }
}
