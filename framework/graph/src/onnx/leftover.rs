//! What import does not understand is not lost: it takes the fields that it knows out of each message, and
//! the rest travels along as bytes (`opaque`) until export fills the known fields in again.

use bytes::Bytes;
use onnx_protobuf::{StringStringEntryProto, TensorProto};
use protobuf::Message;

use super::error::Result;
use super::tensor::entry;
use crate::Metadata;

/// The rest of a message; empty if nothing is left.
pub(super) fn pack<M: Message + PartialEq>(rest: &M) -> Result<Bytes> {
    if *rest == M::new() {
        return Ok(Bytes::new());
    }
    Ok(Bytes::from(rest.write_to_bytes()?))
}

pub(super) fn unpack<M: Message>(opaque: &Bytes) -> Result<M> {
    Ok(onnx_protobuf::parse(opaque)?)
}

/// The rest of a tensor's message together with its content.
pub(super) fn merge_tensor(mut rest: TensorProto, content: TensorProto) -> TensorProto {
    rest.name = content.name;
    rest.dims = content.dims;
    rest.data_type = content.data_type;
    rest.raw_data = content.raw_data;
    rest.string_data = content.string_data;
    rest.data_location = content.data_location;
    rest.external_data = content.external_data;
    rest
}

pub(super) fn metadata(entries: Vec<StringStringEntryProto>) -> Metadata {
    entries.into_iter().map(|mut e| (e.take_key(), e.take_value())).collect()
}

pub(super) fn entries(metadata: &Metadata) -> Vec<StringStringEntryProto> {
    metadata.iter().map(|(key, value)| entry(key, value.clone())).collect()
}
