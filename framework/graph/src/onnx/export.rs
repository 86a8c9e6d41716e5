//! From the graph IR to messages.

use std::collections::{HashMap, HashSet};
use std::mem;

use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, ValueInfoProto,
};
use protobuf::MessageField;

use super::error::Result;
use super::external::Storage;
use super::tensor::{self, Place};
use super::types::non_empty;
use super::{attribute, leftover, value_info};
use crate::{
    Attributes, Function, FunctionId, Graph, Model, Node, Opsets, Origin, SparseTensor, Tensor, ValueId,
};

/// Below this IR version every initializer has to be a graph input.
const FREE_INITIALIZERS: i64 = 4;

pub(super) fn export(model: &Model, sparse: Sparse, place: &mut Place<'_>) -> Result<ModelProto> {
    let mut exporter = Exporter { ir_version: model.ir_version, sparse, place };
    let mut proto: ModelProto = leftover::unpack(&model.opaque)?;
    proto.ir_version = Some(model.ir_version);
    proto.opset_import = opsets(&model.opsets);
    proto.producer_name = non_empty(&model.producer_name);
    proto.producer_version = non_empty(&model.producer_version);
    proto.domain = non_empty(&model.domain);
    proto.model_version = (model.model_version != 0).then_some(model.model_version);
    proto.doc_string = non_empty(&model.doc);
    proto.metadata_props = leftover::entries(&model.metadata);
    proto.graph = MessageField::some(exporter.graph(&model.graph)?);
    for (id, f) in &model.functions {
        proto.functions.push(exporter.function(id, f)?);
    }
    Ok(proto)
}

fn opsets(opsets: &Opsets) -> Vec<OperatorSetIdProto> {
    let import = |(domain, version): (&std::sync::Arc<str>, &i64)| OperatorSetIdProto {
        domain: Some(domain.to_string()),
        version: Some(*version),
        ..Default::default()
    };
    opsets.iter().map(import).collect()
}

/// How sparse initializers are written: as the file had them, or in full.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sparse {
    Keep,
    Fill,
}

struct Exporter<'a, 'p> {
    ir_version: i64,
    sparse: Sparse,
    place: &'a mut Place<'p>,
}

/// What import left of a graph, by the names of what it belongs to.
struct Rest {
    infos: HashMap<String, ValueInfoProto>,
    tensors: HashMap<String, TensorProto>,
    input_order: Vec<String>,
}

impl Rest {
    fn take(proto: &mut GraphProto) -> Rest {
        let infos = mem::take(&mut proto.value_info).into_iter();
        let tensors = mem::take(&mut proto.initializer).into_iter();
        Rest {
            infos: infos.map(|info| (info.name().to_owned(), info)).collect(),
            tensors: tensors.map(|tensor| (tensor.name().to_owned(), tensor)).collect(),
            input_order: mem::take(&mut proto.input).into_iter().map(|mut info| info.take_name()).collect(),
        }
    }

    /// All that is known about a value.
    fn info(&self, graph: &Graph, id: ValueId) -> ValueInfoProto {
        let value = graph.value(id);
        match self.infos.get(&*value.name) {
            Some(info) if value_info::still_holds(info, value) => info.clone(),
            _ => value_info::export(value),
        }
    }
}

impl Exporter<'_, '_> {
    fn graph(&mut self, graph: &Graph) -> Result<GraphProto> {
        let mut proto: GraphProto = leftover::unpack(&graph.opaque)?;
        let mut rest = Rest::take(&mut proto);
        proto.name = Some(graph.name.clone());
        proto.doc_string = non_empty(&graph.doc);
        proto.metadata_props = leftover::entries(&graph.metadata);
        let keep = self.sparse == Sparse::Keep;
        proto.sparse_initializer.retain(|sparse| keep && holds_sparse(graph, sparse));
        let sparse: HashSet<String> =
            proto.sparse_initializer.iter().map(|s| s.values.name().to_owned()).collect();

        proto.input =
            input_ids(graph, self.ir_version, &rest.input_order).map(|id| rest.info(graph, id)).collect();
        proto.output = graph.outputs().iter().map(|&id| rest.info(graph, id)).collect();
        let defaults = graph.inputs().iter().filter_map(|&id| Some((id, graph.default_of(id)?)));
        let constants = graph.values().filter_map(|(id, value)| match value.origin() {
            Origin::Constant(tensor) => Some((id, tensor)),
            _ => None,
        });
        for (id, content) in defaults.chain(constants) {
            let name = &graph.value(id).name;
            if !sparse.contains(&**name) {
                let written = tensor::export(name, content, self.place);
                let left = rest.tensors.remove(&**name).unwrap_or_default();
                proto.initializer.push(leftover::merge_tensor(left, written));
            }
        }
        for id in graph.model_order() {
            proto.node.push(self.node(graph, graph.node(id))?);
        }
        proto.value_info = value_infos(graph, &rest);
        Ok(proto)
    }

    fn node(&mut self, in_graph: &Graph, node: &Node) -> Result<NodeProto> {
        let name_of =
            |id: &Option<ValueId>| id.map_or(String::new(), |id| in_graph.value(id).name.to_string());
        let mut proto: NodeProto = leftover::unpack(&node.opaque)?;
        proto.name = non_empty(&node.name);
        proto.op_type = Some(node.op.name.to_string());
        proto.domain = non_empty(&node.op.domain);
        proto.overload = non_empty(&node.op.overload);
        proto.doc_string = non_empty(&node.doc);
        proto.metadata_props = leftover::entries(&node.metadata);
        proto.input = node.inputs().iter().map(name_of).collect();
        proto.output = node.outputs().iter().map(name_of).collect();
        self.attributes(&mut proto.attribute, &node.attrs)?;
        Ok(proto)
    }

    /// Writes attributes into `protos`, which holds what import left of them.
    fn attributes(&mut self, protos: &mut Vec<AttributeProto>, attributes: &Attributes) -> Result<()> {
        let rest = mem::take(protos).into_iter();
        let mut rest: HashMap<String, AttributeProto> = rest.map(|a| (a.name().to_owned(), a)).collect();
        for (name, attr) in attributes {
            let mut proto = rest.remove(&**name).unwrap_or_default();
            proto.name = Some(name.to_string());
            attribute::export(&mut proto, attr, self)?;
            protos.push(proto);
        }
        Ok(())
    }

    fn function(&mut self, id: &FunctionId, of: &Function) -> Result<FunctionProto> {
        let mut proto: FunctionProto = leftover::unpack(&of.opaque)?;
        let body = self.graph(&of.body)?;
        let names = |infos: &[ValueInfoProto]| infos.iter().map(|info| info.name().to_owned()).collect();
        proto.domain = Some(id.domain.to_string());
        proto.name = Some(id.name.to_string());
        proto.overload = non_empty(&id.overload);
        proto.doc_string = non_empty(&of.doc);
        proto.metadata_props = leftover::entries(&of.metadata);
        proto.opset_import = opsets(&of.opsets);
        proto.input = names(&body.input);
        proto.output = names(&body.output);
        proto.attribute = of.attributes.iter().map(|name| name.to_string()).collect();
        self.attributes(&mut proto.attribute_proto, &of.attribute_defaults)?;
        // Functions have no initializers: constants become nodes again.
        proto.node = body.initializer.into_iter().map(constant_node).chain(body.node).collect();
        let typed = body.input.into_iter().chain(body.output).filter(|info| info.type_.is_some());
        proto.value_info = typed.chain(body.value_info).collect();
        Ok(proto)
    }
}

impl attribute::Sink for Exporter<'_, '_> {
    fn tensor(&mut self, name: &str, tensor: &Tensor) -> TensorProto {
        tensor::export(name, tensor, self.place)
    }

    fn sparse(&mut self, tensor: &SparseTensor) -> SparseTensorProto {
        tensor::export_sparse(tensor, self.place)
    }

    fn graph(&mut self, body: &Graph) -> Result<GraphProto> {
        Exporter::graph(self, body)
    }
}

/// The inputs, and where the IR version wants it the constants among them.
fn input_ids<'g>(
    graph: &'g Graph,
    ir_version: i64,
    order: &[String],
) -> impl Iterator<Item = ValueId> + use<'g> {
    let mut ids = Vec::with_capacity(graph.inputs().len());
    let is_constant = |id| matches!(graph.value(id).origin(), Origin::Constant(_));
    let with_constants = ir_version < FREE_INITIALIZERS;
    if with_constants {
        let ordered = order.iter().filter_map(|name| graph.value_by_name(name));
        ids.extend(ordered.filter(|&id| is_constant(id) || graph.inputs().contains(&id)));
    }
    let listed: HashSet<ValueId> = ids.iter().copied().collect();
    let constants = graph.values().map(|(id, _)| id).filter(|&id| with_constants && is_constant(id));
    let others = graph.inputs().iter().copied().chain(constants);
    ids.extend(others.filter(|id| !listed.contains(id)));
    ids.into_iter()
}

/// Whether the graph still holds what a sparse initializer says.
fn holds_sparse(graph: &Graph, sparse: &SparseTensorProto) -> bool {
    let name = sparse.values.name();
    let Some(id) = graph.value_by_name(name) else { return false };
    let constant = match graph.value(id).origin() {
        Origin::Constant(tensor) => Some(tensor),
        _ => graph.default_of(id),
    };
    let content = tensor::import_sparse(&mut sparse.clone(), &mut Storage::new(None));
    let dense: Option<Tensor> = content.and_then(|content| tensor::densify(name, &content)).ok();
    constant.is_some_and(|constant| dense.is_some_and(|dense| dense.same(constant)))
}

/// Infos of values that are neither inputs, nor outputs, nor constants; and those that the file had of other
/// names, which are captured from around the graph or nobody's.
fn value_infos(graph: &Graph, rest: &Rest) -> Vec<ValueInfoProto> {
    let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
    let made = graph.model_order().into_iter().flat_map(|node| graph.node(node).outputs().iter().flatten());
    let inner = made.copied().filter(|id| {
        let value = graph.value(*id);
        let says_something = value.ty.is_some() || !value.doc.is_empty() || !value.metadata.is_empty();
        says_something && !outputs.contains(id)
    });
    let mut infos: Vec<ValueInfoProto> = inner.map(|id| rest.info(graph, id)).collect();
    let is_foreign = |name: &str| match graph.value_by_name(name) {
        Some(id) => matches!(graph.value(id).origin(), Origin::Captured) && !outputs.contains(&id),
        None => true,
    };
    let mut foreign: Vec<_> = rest.infos.values().filter(|info| is_foreign(info.name())).collect();
    foreign.sort_by_key(|info| info.name());
    infos.extend(foreign.into_iter().cloned());
    infos
}

fn constant_node(mut tensor: TensorProto) -> NodeProto {
    let name = tensor.take_name();
    let mut value = AttributeProto::new();
    value.set_name("value".to_owned());
    value.set_type(onnx_protobuf::attribute_proto::AttributeType::TENSOR);
    value.t = MessageField::some(tensor);
    NodeProto {
        op_type: Some("Constant".to_owned()),
        output: vec![name],
        attribute: vec![value],
        ..Default::default()
    }
}
