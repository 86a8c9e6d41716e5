//! Types of values, in both directions.

use std::sync::Arc;

use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{TensorShapeProto, TypeProto, tensor_shape_proto};
use protobuf::MessageField;

use crate::{DType, Dim, Dims, TensorType, Type};

/// `None` where the type is not given, or is not one that ONNX defines.
pub(super) fn import(proto: &TypeProto) -> Option<Type> {
    let inner = |proto: &MessageField<TypeProto>| proto.as_ref().and_then(import).map(Arc::new);
    Some(match proto.value.as_ref()? {
        Value::TensorType(t) => Type::Tensor(tensor(t.elem_type(), &t.shape)),
        Value::SparseTensorType(t) => Type::SparseTensor(tensor(t.elem_type(), &t.shape)),
        Value::SequenceType(t) => Type::Sequence(inner(&t.elem_type)),
        Value::OptionalType(t) => Type::Optional(inner(&t.elem_type)),
        Value::MapType(t) => Type::Map(DType::from_onnx(t.key_type())?, inner(&t.value_type)),
        Value::OpaqueType(t) => Type::Opaque { domain: t.domain().into(), name: t.name().into() },
        _ => return None,
    })
}

fn tensor(element: i32, shape: &MessageField<TensorShapeProto>) -> TensorType {
    let dims = |shape: &TensorShapeProto| shape.dim.iter().map(dim).collect::<Dims>();
    TensorType { dtype: DType::from_onnx(element), shape: shape.as_ref().map(dims) }
}

fn dim(proto: &tensor_shape_proto::Dimension) -> Dim {
    if proto.has_dim_value() {
        // Some exporters write -1 for a dimension that they do not know.
        return if proto.dim_value() >= 0 { Dim::Static(proto.dim_value()) } else { Dim::Unknown };
    }
    match proto.dim_param() {
        "" => Dim::Unknown,
        name => Dim::symbol(name),
    }
}

pub(super) fn export(of: &Type) -> TypeProto {
    let inner = |t: &Option<Arc<Type>>| t.as_deref().map(export).into();
    let value = match of {
        Type::Tensor(t) => {
            let (elem_type, shape) = export_tensor(t);
            Value::TensorType(type_proto::Tensor { elem_type, shape, ..Default::default() })
        }
        Type::SparseTensor(t) => {
            let (elem_type, shape) = export_tensor(t);
            Value::SparseTensorType(type_proto::SparseTensor { elem_type, shape, ..Default::default() })
        }
        Type::Sequence(t) => {
            Value::SequenceType(type_proto::Sequence { elem_type: inner(t), ..Default::default() })
        }
        Type::Optional(t) => {
            Value::OptionalType(type_proto::Optional { elem_type: inner(t), ..Default::default() })
        }
        Type::Map(key, t) => Value::MapType(type_proto::Map {
            key_type: Some(key.onnx()),
            value_type: inner(t),
            ..Default::default()
        }),
        Type::Opaque { domain, name } => Value::OpaqueType(type_proto::Opaque {
            domain: non_empty(domain),
            name: non_empty(name),
            ..Default::default()
        }),
    };
    TypeProto { value: Some(value), ..Default::default() }
}

/// A string field, which is left out where there is nothing to say.
pub(super) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn export_tensor(of: &TensorType) -> (Option<i32>, MessageField<TensorShapeProto>) {
    let shape = of
        .shape
        .as_ref()
        .map(|dims| TensorShapeProto { dim: dims.iter().map(export_dim).collect(), ..Default::default() });
    (of.dtype.map(DType::onnx), shape.into())
}

fn export_dim(dim: &Dim) -> tensor_shape_proto::Dimension {
    let mut proto = tensor_shape_proto::Dimension::new();
    match dim {
        Dim::Static(n) => proto.set_dim_value(*n),
        Dim::Symbolic(expr) => proto.set_dim_param(expr.to_string()),
        Dim::Unknown => {}
    }
    proto
}
