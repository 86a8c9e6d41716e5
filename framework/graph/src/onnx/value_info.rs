//! What a file says about values: type, documentation, metadata.

use onnx_protobuf::ValueInfoProto;

use super::leftover;
use super::types::{self, non_empty};
use crate::{Graph, Origin, Value};

/// Notes in the graph what `info` says, where the graph does not know it yet.
pub(super) fn describe(graph: &mut Graph, info: &ValueInfoProto) {
    let Some(id) = graph.value_by_name(info.name()) else { return };
    let value = graph.value_mut(id);
    if value.ty.is_none() {
        value.ty = info.type_.as_ref().and_then(types::import);
    }
    if value.doc.is_empty() {
        value.doc = info.doc_string().to_owned();
    }
    if value.metadata.is_empty() {
        value.metadata = leftover::metadata(info.metadata_props.clone());
    }
}

pub(super) fn export(value: &Value) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(value.name.to_string()),
        type_: value.ty.as_ref().map(types::export).into(),
        doc_string: non_empty(&value.doc),
        metadata_props: leftover::entries(&value.metadata),
        ..Default::default()
    }
}

/// Whether the graph holds all that `info` says.
pub(super) fn is_covered(graph: &Graph, info: &ValueInfoProto) -> bool {
    let mut info = info.clone();
    info.doc_string = info.doc_string.filter(|doc| !doc.is_empty());
    let only_name = ValueInfoProto { name: info.name.clone(), ..Default::default() };
    if info == only_name {
        return true;
    }
    let Some(id) = graph.value_by_name(info.name()) else { return false };
    let value = graph.value(id);
    match value.origin() {
        // A constant's type is that of its content, whatever the file says about it.
        Origin::Constant(_) => true,
        Origin::Captured => false,
        _ => export(value) == info,
    }
}

/// Whether `info`, which import could not hold in full, still says of `value` what the graph says.
pub(super) fn still_holds(info: &ValueInfoProto, value: &Value) -> bool {
    info.type_.as_ref().and_then(types::import) == value.ty
        && info.doc_string() == value.doc
        && leftover::metadata(info.metadata_props.clone()) == value.metadata
}
