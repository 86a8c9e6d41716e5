//! Values of a run as files: TensorProto, SequenceProto, OptionalProto or MapProto, as the type asks.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use onnx_protobuf::{MapProto, OptionalProto, SequenceProto, SparseTensorProto, TensorProto};
use protobuf::{Message, MessageField};

use super::error::{Error, Result};
use super::external::Storage;
use super::tensor;
use crate::{DType, Datum, MapKeys, SparseTensor, Type, files};

/// What a sequence or an optional holds; the discriminant is ONNX's code for it.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tensor = 1,
    SparseTensor = 2,
    Sequence = 3,
    Map = 4,
    Optional = 5,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Tensor, Kind::SparseTensor, Kind::Sequence, Kind::Map, Kind::Optional];

    fn from_onnx(code: i32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as i32 == code)
    }

    fn of_type(ty: &Type) -> Option<Kind> {
        Some(match ty {
            Type::Tensor(_) => Kind::Tensor,
            Type::SparseTensor(_) => Kind::SparseTensor,
            Type::Sequence(_) => Kind::Sequence,
            Type::Map(..) => Kind::Map,
            Type::Optional(_) => Kind::Optional,
            Type::Opaque { .. } => return None,
        })
    }

    fn of(datum: &Datum) -> Kind {
        match datum {
            Datum::Tensor(_) => Kind::Tensor,
            Datum::SparseTensor(_) => Kind::SparseTensor,
            Datum::Sequence { .. } => Kind::Sequence,
            Datum::Map { .. } => Kind::Map,
            Datum::Optional { .. } => Kind::Optional,
        }
    }
}

/// Reads a `.pb` file that holds a value of type `ty`; a tensor where that is not known.
pub fn read_datum(path: impl AsRef<Path>, ty: Option<&Type>) -> Result<Datum> {
    let path = path.as_ref();
    let bytes = files::map(path).map_err(|error| Error::io(path, error))?;
    datum_from_bytes(&bytes, ty).map_err(|error| error.within(path))
}

/// Writes a value to a `.pb` file, all of it or nothing.
pub fn write_datum(path: impl AsRef<Path>, name: &str, datum: &Datum) -> Result<()> {
    let path = path.as_ref();
    files::write(path, &datum_to_bytes(name, datum)?).map_err(|error| Error::io(path, error))
}

/// The value of type `ty` in a message; a tensor where that is not known.
pub fn datum_from_bytes(bytes: &Bytes, ty: Option<&Type>) -> Result<Datum> {
    let parse_tensor = |bytes| Ok(Datum::Tensor(import_tensor(onnx_protobuf::parse::<TensorProto>(bytes)?)?));
    let Some(ty) = ty else { return parse_tensor(bytes) };
    match Kind::of_type(ty) {
        Some(Kind::Tensor) => parse_tensor(bytes),
        Some(Kind::SparseTensor) => import_sparse(onnx_protobuf::parse(bytes)?),
        Some(Kind::Sequence) => import_sequence(onnx_protobuf::parse(bytes)?, Some(ty)),
        Some(Kind::Map) => import_map(onnx_protobuf::parse(bytes)?, Some(ty)),
        Some(Kind::Optional) => import_optional(onnx_protobuf::parse(bytes)?, Some(ty)),
        None => Err(Error::invalid("a value", format!("of type {ty} cannot be read from a file"))),
    }
}

/// The value as a message.
pub fn datum_to_bytes(name: &str, datum: &Datum) -> Result<Vec<u8>> {
    let name = Some(name.to_owned());
    Ok(match datum {
        Datum::Tensor(t) => TensorProto { name, ..export_tensor(t) }.write_to_bytes()?,
        Datum::SparseTensor(t) => {
            let mut proto = export_sparse(t);
            proto.values.mut_or_insert_default().name = name;
            proto.write_to_bytes()?
        }
        Datum::Sequence { element, items } => {
            SequenceProto { name, ..export_sequence(element.as_ref(), items)? }.write_to_bytes()?
        }
        Datum::Map { keys, values } => MapProto { name, ..export_map(keys, values)? }.write_to_bytes()?,
        Datum::Optional { value, .. } => {
            OptionalProto { name, ..export_optional(value.as_deref())? }.write_to_bytes()?
        }
    })
}

fn import_tensor(mut proto: TensorProto) -> Result<crate::Tensor> {
    tensor::import(&mut proto, &mut Storage::new(None))
}

fn import_sparse(mut proto: SparseTensorProto) -> Result<Datum> {
    tensor::import_sparse(&mut proto, &mut Storage::new(None)).map(|t| Datum::SparseTensor(t.into()))
}

/// The type of what a sequence, optional or map of type `ty` holds.
fn element_of(ty: Option<&Type>) -> Option<Type> {
    match ty? {
        Type::Sequence(element) | Type::Optional(element) | Type::Map(_, element) => {
            element.as_deref().cloned()
        }
        _ => None,
    }
}

fn import_sequence(proto: SequenceProto, ty: Option<&Type>) -> Result<Datum> {
    let element = element_of(ty);
    let inner = element.as_ref();
    let name = proto.name().to_owned();
    let items: Vec<Datum> = match Kind::from_onnx(proto.elem_type()) {
        Some(Kind::Tensor) => {
            let tensors = proto.tensor_values.into_iter();
            tensors.map(|t| import_tensor(t).map(Datum::Tensor)).collect::<Result<_>>()?
        }
        Some(Kind::SparseTensor) => {
            proto.sparse_tensor_values.into_iter().map(import_sparse).collect::<Result<_>>()?
        }
        Some(Kind::Sequence) => {
            proto.sequence_values.into_iter().map(|s| import_sequence(s, inner)).collect::<Result<_>>()?
        }
        Some(Kind::Map) => {
            proto.map_values.into_iter().map(|m| import_map(m, inner)).collect::<Result<_>>()?
        }
        Some(Kind::Optional) => {
            proto.optional_values.into_iter().map(|o| import_optional(o, inner)).collect::<Result<_>>()?
        }
        None if proto.elem_type() == 0 => Vec::new(),
        None => return Err(unknown_kind("sequence", &name, proto.elem_type())),
    };
    Ok(Datum::Sequence { element, items })
}

fn import_optional(proto: OptionalProto, ty: Option<&Type>) -> Result<Datum> {
    let element = element_of(ty);
    let inner = element.as_ref();
    let name = proto.name().to_owned();
    let code = proto.elem_type();
    let value = match Kind::from_onnx(code) {
        Some(Kind::Tensor) => {
            proto.tensor_value.into_option().map(|t| import_tensor(t).map(Datum::Tensor)).transpose()?
        }
        Some(Kind::SparseTensor) => proto.sparse_tensor_value.into_option().map(import_sparse).transpose()?,
        Some(Kind::Sequence) => {
            proto.sequence_value.into_option().map(|s| import_sequence(s, inner)).transpose()?
        }
        Some(Kind::Map) => proto.map_value.into_option().map(|m| import_map(m, inner)).transpose()?,
        Some(Kind::Optional) => {
            proto.optional_value.into_option().map(|o| import_optional(o, inner)).transpose()?
        }
        None if code == 0 => None,
        None => return Err(unknown_kind("optional", &name, code)),
    };
    Ok(Datum::Optional { element, value: value.map(Box::new) })
}

fn import_map(proto: MapProto, ty: Option<&Type>) -> Result<Datum> {
    let name = proto.name().to_owned();
    let items = Type::Sequence(element_of(ty).map(Arc::new));
    let values = match import_sequence(proto.values.into_option().unwrap_or_default(), Some(&items))? {
        Datum::Sequence { items, .. } => items,
        _ => Vec::new(),
    };
    let key = DType::from_onnx(proto.key_type.unwrap_or_default());
    let keys = match key {
        Some(DType::Str) => MapKeys::Strings(proto.string_keys),
        Some(dtype) if dtype.is_integer() => MapKeys::Ints(dtype, proto.keys),
        _ => {
            return Err(Error::invalid(
                format!("map `{name}`"),
                "has keys that are neither integers nor strings",
            ));
        }
    };
    let count = match &keys {
        MapKeys::Ints(_, keys) => keys.len(),
        MapKeys::Strings(keys) => keys.len(),
    };
    if count != values.len() {
        let what = format!("has {count} keys, but {} values", values.len());
        return Err(Error::invalid(format!("map `{name}`"), what));
    }
    Ok(Datum::Map { keys, values })
}

fn unknown_kind(what: &str, name: &str, code: i32) -> Error {
    Error::invalid(format!("{what} `{name}`"), format!("holds elements of kind {code}, which is not known"))
}

fn export_tensor(tensor: &crate::Tensor) -> TensorProto {
    tensor::export("", tensor, &mut |_| None)
}

fn export_sparse(tensor: &SparseTensor) -> SparseTensorProto {
    tensor::export_sparse(tensor, &mut |_| None)
}

/// Of an empty sequence whose elements are not known either, ONNX's own writer says that they are tensors.
fn export_sequence(element: Option<&Type>, items: &[Datum]) -> Result<SequenceProto> {
    let declared = element.and_then(Kind::of_type);
    let kind = items.first().map(Kind::of).or(declared).unwrap_or(Kind::Tensor);
    let mut proto = SequenceProto::new();
    proto.elem_type = Some(kind as i32);
    for item in items {
        if Kind::of(item) != kind {
            let what = format!("holds a {} beside a {}", items[0].kind(), item.kind());
            return Err(Error::invalid("a sequence", what));
        }
        match item {
            Datum::Tensor(t) => proto.tensor_values.push(export_tensor(t)),
            Datum::SparseTensor(t) => proto.sparse_tensor_values.push(export_sparse(t)),
            Datum::Sequence { element, items } => {
                proto.sequence_values.push(export_sequence(element.as_ref(), items)?);
            }
            Datum::Map { keys, values } => proto.map_values.push(export_map(keys, values)?),
            Datum::Optional { value, .. } => proto.optional_values.push(export_optional(value.as_deref())?),
        }
    }
    Ok(proto)
}

fn export_map(keys: &MapKeys, values: &[Datum]) -> Result<MapProto> {
    let mut proto = MapProto::new();
    match keys {
        MapKeys::Ints(dtype, keys) => {
            proto.key_type = Some(dtype.onnx());
            proto.keys = keys.clone();
        }
        MapKeys::Strings(keys) => {
            proto.key_type = Some(DType::Str.onnx());
            proto.string_keys = keys.clone();
        }
    }
    proto.values = MessageField::some(export_sequence(None, values)?);
    Ok(proto)
}

fn export_optional(value: Option<&Datum>) -> Result<OptionalProto> {
    let mut proto = OptionalProto::new();
    proto.elem_type = Some(value.map_or(0, |value| Kind::of(value) as i32));
    match value {
        None => {}
        Some(Datum::Tensor(t)) => proto.tensor_value = MessageField::some(export_tensor(t)),
        Some(Datum::SparseTensor(t)) => proto.sparse_tensor_value = MessageField::some(export_sparse(t)),
        Some(Datum::Sequence { element, items }) => {
            proto.sequence_value = MessageField::some(export_sequence(element.as_ref(), items)?);
        }
        Some(Datum::Map { keys, values }) => proto.map_value = MessageField::some(export_map(keys, values)?),
        Some(Datum::Optional { value, .. }) => {
            proto.optional_value = MessageField::some(export_optional(value.as_deref())?);
        }
    }
    Ok(proto)
}
