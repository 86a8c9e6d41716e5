//! Attributes, in both directions.

use std::mem;
use std::sync::Arc;

use onnx_protobuf::{AttributeProto, GraphProto, SparseTensorProto, TensorProto};
use protobuf::{EnumOrUnknown, MessageField};

use super::error::{Error, Result};
use super::{leftover, types};
use crate::{Attr, AttrKind, Graph, SparseTensor, Tensor};

/// What writes the values of attributes that are more than numbers and text.
pub(super) trait Sink {
    fn tensor(&mut self, name: &str, tensor: &Tensor) -> TensorProto;
    fn sparse(&mut self, tensor: &SparseTensor) -> SparseTensorProto;
    fn graph(&mut self, body: &Graph) -> Result<GraphProto>;
}

/// What the import of an attribute needs from around it.
pub(super) trait Context {
    fn tensor(&mut self, proto: &mut TensorProto) -> Result<Arc<Tensor>>;
    fn sparse(&mut self, proto: &mut SparseTensorProto) -> Result<Arc<SparseTensor>>;
    fn graph(&mut self, attribute: &str, proto: GraphProto) -> Result<Graph>;
}

/// Takes the value out of `proto`, and leaves the rest there.
pub(super) fn import(proto: &mut AttributeProto, context: &mut dyn Context) -> Result<Attr> {
    let name = proto.name().to_owned();
    let invalid = |what: &str| Error::invalid(format!("attribute `{name}`"), what);
    let kind = kind(proto).ok_or_else(|| invalid("has neither a type nor a value"))?;
    proto.type_ = None;
    if let Some(reference) = proto.ref_attr_name.take().filter(|reference| !reference.is_empty()) {
        return Ok(Attr::Ref { name: reference.into(), kind });
    }
    let missing = || invalid("has no value");
    Ok(match kind {
        AttrKind::Int => Attr::Int(proto.i.take().unwrap_or_default()),
        AttrKind::Float => Attr::Float(proto.f.take().unwrap_or_default()),
        AttrKind::Str => Attr::Str(proto.s.take().unwrap_or_default()),
        AttrKind::Ints => Attr::Ints(mem::take(&mut proto.ints)),
        AttrKind::Floats => Attr::Floats(mem::take(&mut proto.floats)),
        AttrKind::Strs => Attr::Strs(mem::take(&mut proto.strings)),
        AttrKind::Tensor => {
            let value = context.tensor(proto.t.as_mut().ok_or_else(missing)?)?;
            forget_if_empty(&mut proto.t);
            Attr::Tensor(value)
        }
        AttrKind::Tensors => {
            let tensors = mem::take(&mut proto.tensors);
            Attr::Tensors(tensors.into_iter().map(|mut t| context.tensor(&mut t)).collect::<Result<_>>()?)
        }
        AttrKind::SparseTensor => {
            Attr::SparseTensor(context.sparse(&mut proto.sparse_tensor.take().ok_or_else(missing)?)?)
        }
        AttrKind::SparseTensors => {
            let tensors = mem::take(&mut proto.sparse_tensors);
            Attr::SparseTensors(
                tensors.into_iter().map(|mut t| context.sparse(&mut t)).collect::<Result<_>>()?,
            )
        }
        AttrKind::Graph => Attr::Graph(Box::new(context.graph(&name, proto.g.take().ok_or_else(missing)?)?)),
        AttrKind::Graphs => {
            let graphs = mem::take(&mut proto.graphs).into_iter().enumerate();
            let graphs = graphs.map(|(i, graph)| context.graph(&format!("{name}[{i}]"), graph));
            Attr::Graphs(graphs.collect::<Result<_>>()?)
        }
        AttrKind::Type => {
            let value = proto.tp.take().ok_or_else(missing)?;
            Attr::Type(types::import(&value).ok_or_else(|| invalid("is not a type that ONNX defines"))?)
        }
        AttrKind::Types => {
            let list = mem::take(&mut proto.type_protos);
            let list = list.iter().map(types::import).collect::<Option<_>>();
            Attr::Types(list.ok_or_else(|| invalid("has a type that ONNX does not define"))?)
        }
    })
}

/// The declared kind; in files from before kinds were declared, that of the field that is filled.
fn kind(proto: &AttributeProto) -> Option<AttrKind> {
    let declared = proto.type_.map_or(0, |t| t.value());
    if declared != 0 {
        return AttrKind::from_onnx(declared);
    }
    let filled = [
        (proto.f.is_some(), AttrKind::Float),
        (proto.i.is_some(), AttrKind::Int),
        (proto.s.is_some(), AttrKind::Str),
        (proto.t.is_some(), AttrKind::Tensor),
        (proto.g.is_some(), AttrKind::Graph),
        (proto.sparse_tensor.is_some(), AttrKind::SparseTensor),
        (proto.tp.is_some(), AttrKind::Type),
        (!proto.floats.is_empty(), AttrKind::Floats),
        (!proto.ints.is_empty(), AttrKind::Ints),
        (!proto.strings.is_empty(), AttrKind::Strs),
        (!proto.tensors.is_empty(), AttrKind::Tensors),
        (!proto.graphs.is_empty(), AttrKind::Graphs),
        (!proto.sparse_tensors.is_empty(), AttrKind::SparseTensors),
        (!proto.type_protos.is_empty(), AttrKind::Types),
    ];
    filled.into_iter().find(|(is_filled, _)| *is_filled).map(|(_, kind)| kind)
}

fn forget_if_empty(proto: &mut MessageField<TensorProto>) {
    if proto.as_ref().is_some_and(|left| *left == TensorProto::default()) {
        *proto = MessageField::none();
    }
}

/// Writes an attribute's value into `proto`, which may hold what import left.
pub(super) fn export(proto: &mut AttributeProto, attribute: &Attr, sink: &mut dyn Sink) -> Result<()> {
    proto.type_ = Some(EnumOrUnknown::from_i32(attribute.kind() as i32));
    match attribute {
        Attr::Ref { name, .. } => proto.ref_attr_name = Some(name.to_string()),
        Attr::Int(i) => proto.i = Some(*i),
        Attr::Float(f) => proto.f = Some(*f),
        Attr::Str(s) => proto.s = Some(s.clone()),
        Attr::Ints(ints) => proto.ints = ints.clone(),
        Attr::Floats(floats) => proto.floats = floats.clone(),
        Attr::Strs(strings) => proto.strings = strings.clone(),
        Attr::Tensor(t) => {
            let left = proto.t.take().unwrap_or_default();
            let written = sink.tensor(left.name(), t);
            proto.t = MessageField::some(leftover::merge_tensor(left, written));
        }
        Attr::Tensors(list) => proto.tensors = list.iter().map(|t| sink.tensor("", t)).collect(),
        Attr::SparseTensor(t) => proto.sparse_tensor = MessageField::some(sink.sparse(t)),
        Attr::SparseTensors(list) => {
            proto.sparse_tensors = list.iter().map(|t| sink.sparse(t)).collect();
        }
        Attr::Graph(body) => proto.g = MessageField::some(sink.graph(body)?),
        Attr::Graphs(list) => proto.graphs = list.iter().map(|g| sink.graph(g)).collect::<Result<_>>()?,
        Attr::Type(t) => proto.tp = MessageField::some(types::export(t)),
        Attr::Types(list) => proto.type_protos = list.iter().map(types::export).collect(),
    }
    Ok(())
}
