//! From messages to the graph IR.

use std::mem;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, ValueInfoProto,
};

use super::error::{Error, Result};
use super::external::Storage;
use super::leftover;
use super::pool::Pool;
use super::{attribute, calls, tensor, types, value_info};
use crate::{
    Attr, Attributes, Function, FunctionId, Graph, GraphError, Model, NodeSpec, Opsets, SparseTensor, Tensor,
    Type, ValueId,
};

/// IR versions that can be read.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
/// The first IR version in which an initializer need not be a graph input, and is overridable if it is.
const OVERRIDABLE_INITIALIZERS: i64 = 4;

/// The model in `proto`, with its external data from `storage`.
pub(super) fn import(mut proto: ModelProto, storage: Storage) -> Result<Model> {
    let ir_version = proto.ir_version.take().unwrap_or(0);
    let graph = proto
        .graph
        .take()
        .ok_or_else(|| Error::invalid("the file", "holds no graph; is it an ONNX model?"))?;
    if !IR_VERSIONS.contains(&ir_version) {
        return Err(Error::IrVersion(ir_version));
    }
    let opsets = import_opsets(mem::take(&mut proto.opset_import))?;
    let mut importer = Importer { storage, pool: Pool::default(), ir_version };
    let mut functions = IndexMap::new();
    for function in mem::take(&mut proto.functions) {
        let (id, function) = importer.function(function, &opsets)?;
        let place = id.to_string();
        if functions.insert(id, function).is_some() {
            return Err(Error::invalid(place, "is defined twice"));
        }
    }
    calls::check_acyclic(&functions)?;
    let graph = importer.graph(graph, &Surroundings { opsets: &opsets, outer: None, place: "main" })?;
    Ok(Model {
        graph,
        functions,
        opsets,
        ir_version,
        producer_name: proto.producer_name.take().unwrap_or_default(),
        producer_version: proto.producer_version.take().unwrap_or_default(),
        domain: proto.domain.take().unwrap_or_default(),
        model_version: proto.model_version.take().unwrap_or_default(),
        doc: proto.doc_string.take().unwrap_or_default(),
        metadata: leftover::metadata(mem::take(&mut proto.metadata_props)),
        opaque: leftover::pack(&proto)?,
        files: importer.storage.into_files(),
    })
}

/// `ai.onnx` is the long name of the default domain.
fn domain(name: &str) -> Arc<str> {
    if name == "ai.onnx" { "".into() } else { name.into() }
}

fn import_opsets(imports: Vec<OperatorSetIdProto>) -> Result<Opsets> {
    let mut opsets = Opsets::new();
    for import in imports {
        let (domain, version) = (domain(import.domain()), import.version());
        if opsets.insert(domain.clone(), version).is_some_and(|other| other != version) {
            return Err(Error::invalid("the opset imports", format!("give domain `{domain}` two versions")));
        }
    }
    Ok(opsets)
}

struct Importer {
    storage: Storage,
    pool: Pool,
    ir_version: i64,
}

/// What the import of a graph needs to know about where it stands.
struct Surroundings<'a> {
    opsets: &'a Opsets,
    outer: Option<&'a Scope<'a>>,
    /// The graph's name in messages, as in reports.
    place: &'a str,
}

impl Surroundings<'_> {
    /// The opset version of a domain. Only the default domain has to be imported: for what no target knows
    /// anyway, the version says nothing.
    fn opset(&self, domain: &str) -> Option<i64> {
        let imported = self.opsets.get(domain).copied();
        imported.or((!domain.is_empty()).then_some(1))
    }
}

/// The graphs around a body, from the inside out.
struct Scope<'a> {
    graph: &'a Graph,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Type of the value that a body sees under `name`, and its content if it is constant.
    fn find(&self, name: &str) -> Option<(Option<Type>, Option<Arc<Tensor>>)> {
        match self.graph.value_by_name(name) {
            Some(id) => Some((self.graph.value(id).ty.clone(), self.graph.constant(id).cloned())),
            None => self.outer?.find(name),
        }
    }
}

impl Importer {
    fn function(
        &mut self,
        mut proto: FunctionProto,
        model_opsets: &Opsets,
    ) -> Result<(FunctionId, Function)> {
        let id = FunctionId {
            domain: domain(&proto.domain.take().unwrap_or_default()),
            name: proto.name.take().unwrap_or_default().into(),
            overload: proto.overload.take().unwrap_or_default().into(),
        };
        let place = id.to_string();
        let opsets = import_opsets(mem::take(&mut proto.opset_import))?;
        let mut all_opsets = opsets.clone();
        for (domain, version) in model_opsets {
            all_opsets.entry(domain.clone()).or_insert(*version);
        }
        let named = |name: String| ValueInfoProto { name: Some(name), ..Default::default() };
        let body = GraphProto {
            name: Some(id.name.to_string()),
            input: mem::take(&mut proto.input).into_iter().map(named).collect(),
            output: mem::take(&mut proto.output).into_iter().map(named).collect(),
            value_info: mem::take(&mut proto.value_info),
            node: mem::take(&mut proto.node),
            ..Default::default()
        };
        let surroundings = Surroundings { opsets: &all_opsets, outer: None, place: &place };
        let function = Function {
            body: self.graph(body, &surroundings)?,
            opsets,
            attributes: mem::take(&mut proto.attribute).into_iter().map(Arc::from).collect(),
            attribute_defaults: self.defaults(&mut proto, &surroundings)?,
            doc: proto.doc_string.take().unwrap_or_default(),
            metadata: leftover::metadata(mem::take(&mut proto.metadata_props)),
            opaque: leftover::pack(&proto)?,
        };
        Ok((id, function))
    }

    fn defaults(&mut self, proto: &mut FunctionProto, around: &Surroundings<'_>) -> Result<Attributes> {
        let protos = mem::take(&mut proto.attribute_proto);
        self.attributes(protos, &mut proto.attribute_proto, &Graph::default(), "", around)
    }

    fn graph(&mut self, mut proto: GraphProto, around: &Surroundings<'_>) -> Result<Graph> {
        let at = |source| Error::Graph { place: around.place.to_owned(), source };
        let mut graph = Graph::new(proto.name.take().unwrap_or_default());
        graph.doc = proto.doc_string.take().unwrap_or_default();
        graph.metadata = leftover::metadata(mem::take(&mut proto.metadata_props));
        let inputs = mem::take(&mut proto.input);
        let outputs = mem::take(&mut proto.output);
        let infos = mem::take(&mut proto.value_info);
        let nodes = mem::take(&mut proto.node);

        if inputs.iter().any(|input| input.name().is_empty()) {
            return Err(Error::invalid(around.place, "has an input without a name"));
        }
        let constants = self.constants(&mut proto, around.place)?;
        add_sources(&mut graph, &inputs, constants, self.ir_version).map_err(at)?;
        for output in nodes.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()) {
            graph.add_value(output.as_str(), None).map_err(at)?;
        }
        for info in outputs.iter().chain(&infos).chain(&inputs) {
            value_info::describe(&mut graph, info);
        }
        for (position, node) in nodes.into_iter().enumerate() {
            self.node(&mut graph, node, position, around)?;
        }
        graph.assign_labels();
        graph.try_model_order().map_err(at)?;
        for output in &outputs {
            let id = resolve(&mut graph, around.outer, output.name()).map_err(at)?;
            let missing =
                || Error::invalid(around.place, format!("nothing makes its output `{}`", output.name()));
            graph.add_output(id.ok_or_else(missing)?);
        }

        if self.ir_version < OVERRIDABLE_INITIALIZERS && graph.inputs().len() < inputs.len() {
            // Constants of these versions are inputs as well; their place among the others is kept.
            let name_only =
                |i: &ValueInfoProto| ValueInfoProto { name: i.name.clone(), ..Default::default() };
            proto.input = inputs.iter().map(name_only).collect();
        }
        let described = inputs.into_iter().chain(outputs).chain(infos);
        proto.value_info = described.filter(|info| !value_info::is_covered(&graph, info)).collect();
        graph.opaque = leftover::pack(&proto)?;
        Ok(graph)
    }

    /// The initializers by name. What is left of them stays in `proto`, and so do the sparse ones, because
    /// the graph holds them written out in full.
    fn constants(&mut self, proto: &mut GraphProto, place: &str) -> Result<IndexMap<Arc<str>, Arc<Tensor>>> {
        let mut constants = IndexMap::new();
        let mut add = |name: Arc<str>, tensor| match constants.insert(name.clone(), tensor) {
            None if !name.is_empty() => Ok(()),
            None => Err(Error::invalid(place, "has an initializer without a name")),
            Some(_) => Err(Error::invalid(place, format!("has two initializers `{name}`"))),
        };
        for mut initializer in mem::take(&mut proto.initializer) {
            let tensor = self.pool.share(tensor::import(&mut initializer, &mut self.storage)?);
            add(initializer.name().into(), tensor)?;
            let named = TensorProto { name: initializer.name.clone(), ..Default::default() };
            initializer.doc_string = initializer.doc_string.take().filter(|doc| !doc.is_empty());
            if initializer != named {
                proto.initializer.push(initializer);
            }
        }
        for sparse in &proto.sparse_initializer {
            let name = sparse.values.name();
            let content = tensor::import_sparse(&mut sparse.clone(), &mut self.storage)?;
            add(name.into(), self.pool.share(tensor::densify(name, &content)?))?;
        }
        Ok(constants)
    }

    fn node(
        &mut self,
        graph: &mut Graph,
        mut proto: NodeProto,
        position: usize,
        around: &Surroundings<'_>,
    ) -> Result<()> {
        let first_output = proto.output.iter().find(|name| !name.is_empty());
        let label = if proto.name().is_empty() { first_output.cloned() } else { proto.name.clone() };
        let label = label.unwrap_or_else(|| format!("node {position}"));
        let place = || format!("{}: node `{label}`", around.place);
        let op = proto.op_type.take().filter(|op| !op.is_empty());
        let op = op.ok_or_else(|| Error::invalid(place(), "has no operator"))?;
        let domain = domain(&proto.domain.take().unwrap_or_default());
        let opset = around.opset(&domain).ok_or_else(|| {
            Error::invalid(place(), "the model does not say which opset of the default domain it uses")
        })?;

        let value = |graph: &mut Graph, name: &str| {
            let found = resolve(graph, around.outer, name);
            let found = found.map_err(|source| Error::Graph { place: place(), source })?;
            found.ok_or_else(|| Error::invalid(place(), format!("uses `{name}`, but nothing makes that")))
        };
        let mut inputs = Vec::with_capacity(proto.input.len());
        for name in mem::take(&mut proto.input) {
            inputs.push(if name.is_empty() { None } else { Some(value(graph, &name)?) });
        }
        let outputs = mem::take(&mut proto.output).iter().map(|name| graph.value_by_name(name)).collect();
        let attributes = mem::take(&mut proto.attribute);
        let attrs = self.attributes(attributes, &mut proto.attribute, graph, &label, around)?;
        let bodies = attrs.values().flat_map(Attr::graphs);
        let captured: IndexSet<Arc<str>> =
            bodies.flat_map(|body| body.captured().map(|id| body.value(id).name.clone())).collect();
        let captures = captured.iter().map(|name| value(graph, name)).collect::<Result<_>>()?;
        let position =
            u32::try_from(position).map_err(|_| Error::invalid(around.place, "has too many nodes"))?;
        let spec = NodeSpec {
            name: proto.name.take().unwrap_or_default().into(),
            domain,
            op: op.into(),
            overload: proto.overload.take().unwrap_or_default().into(),
            opset,
            inputs,
            outputs,
            captures,
            attrs,
            doc: proto.doc_string.take().unwrap_or_default(),
            metadata: leftover::metadata(mem::take(&mut proto.metadata_props)),
            position,
            opaque: leftover::pack(&proto)?,
        };
        graph.add_node(spec).map_err(|source| Error::Graph { place: place(), source })?;
        Ok(())
    }

    /// The attributes of a node of `graph`; what is left of them goes to `rest`.
    fn attributes(
        &mut self,
        protos: Vec<AttributeProto>,
        rest: &mut Vec<AttributeProto>,
        graph: &Graph,
        node: &str,
        around: &Surroundings<'_>,
    ) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        for mut proto in protos {
            let name: Arc<str> = proto.name().into();
            let mut context = Body { importer: self, surroundings: around, around: graph, node };
            let value = attribute::import(&mut proto, &mut context)?;
            if attributes.insert(name.clone(), value).is_some() {
                let place = format!("{}: node `{node}`", around.place);
                return Err(Error::invalid(place, format!("has two attributes `{name}`")));
            }
            let named = AttributeProto { name: proto.name.clone(), ..Default::default() };
            if proto != named {
                rest.push(proto);
            }
        }
        Ok(attributes)
    }
}

/// Adds what a graph begins with: inputs and constants.
fn add_sources(
    graph: &mut Graph,
    inputs: &[ValueInfoProto],
    mut constants: IndexMap<Arc<str>, Arc<Tensor>>,
    ir_version: i64,
) -> Result<(), GraphError> {
    for info in inputs {
        let is_constant = ir_version < OVERRIDABLE_INITIALIZERS && constants.contains_key(info.name());
        if is_constant {
            continue;
        }
        let id = graph.add_input(info.name(), info.type_.as_ref().and_then(types::import))?;
        if let Some(tensor) = constants.shift_remove(info.name()) {
            graph.set_default(id, tensor);
        }
    }
    for (name, tensor) in constants {
        graph.add_constant(name, tensor)?;
    }
    Ok(())
}

/// The value that a node of `graph` means by `name`; one of the graphs around becomes a captured one.
fn resolve(graph: &mut Graph, outer: Option<&Scope<'_>>, name: &str) -> Result<Option<ValueId>, GraphError> {
    if let Some(id) = graph.value_by_name(name) {
        return Ok(Some(id));
    }
    match outer.and_then(|scope| scope.find(name)) {
        Some((ty, constant)) => graph.add_capture(name, ty, constant).map(Some),
        None => Ok(None),
    }
}

/// Where the attributes of one node are imported: bodies see the graph around the node.
struct Body<'a> {
    importer: &'a mut Importer,
    surroundings: &'a Surroundings<'a>,
    around: &'a Graph,
    node: &'a str,
}

impl attribute::Context for Body<'_> {
    fn tensor(&mut self, proto: &mut TensorProto) -> Result<Arc<Tensor>> {
        let tensor = tensor::import(proto, &mut self.importer.storage)?;
        Ok(self.importer.pool.share(tensor))
    }

    fn sparse(&mut self, proto: &mut SparseTensorProto) -> Result<Arc<SparseTensor>> {
        tensor::import_sparse(proto, &mut self.importer.storage).map(Arc::new)
    }

    fn graph(&mut self, attribute: &str, proto: GraphProto) -> Result<Graph> {
        let place = format!("{}/{}.{attribute}", self.surroundings.place, self.node);
        let scope = Scope { graph: self.around, outer: self.surroundings.outer };
        let surroundings =
            Surroundings { opsets: self.surroundings.opsets, outer: Some(&scope), place: &place };
        self.importer.graph(proto, &surroundings)
    }
}
