//! From a draft to a model: a graph with its types inferred, as it would come out of a file.

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Dim, Graph, Model, NodeSpec, TensorType, Type, ValueId};

use super::draft::{Draft, Node, Source, Unmade};

/// The whole model.
pub fn model(draft: &Draft) -> Result<Model, Unmade> {
    let mut graph = Graph::new("generated");
    let values = draft.values.iter().map(|_| None).collect();
    let mut builder = Builder { draft, graph: &mut graph, values };
    for value in 0..draft.values.len() {
        if is_used(draft, value) {
            builder.value(value, false)?;
        }
    }
    for (position, node) in draft.nodes.iter().enumerate() {
        builder.node(node, position as u32)?;
    }
    let consumed = |value: usize| draft.nodes.iter().any(|n| n.inputs.contains(&Some(value)));
    let outputs = draft.nodes.iter().flat_map(|n| &n.outputs).filter(|v| !consumed(**v));
    let outputs: Vec<ValueId> = outputs.filter_map(|v| builder.values[*v]).collect();
    graph.set_outputs(outputs);
    graph.assign_labels();
    let opset = |domain: &str| draft.opsets.get(domain).copied();
    let domains = draft.nodes.iter().map(|n| n.schema.domain).chain([""]);
    let mut opsets: Vec<(String, i64)> = domains.filter_map(|d| Some((d.to_owned(), opset(d)?))).collect();
    opsets.sort();
    opsets.dedup();
    let mut model = Model {
        graph,
        opsets: opsets.into_iter().map(|(d, v)| (d.into(), v)).collect(),
        // The least that knows all element types of these versions.
        ir_version: if draft.opsets[""] > 20 { 10 } else { 8 },
        producer_name: "byoc".into(),
        ..Model::default()
    };
    type_all(&mut model).ok_or(Unmade::Clash)?;
    Ok(model)
}

/// The size of dimensions that have a name from a clause.
const NAMED: i64 = 2;

/// The same model with a symbol for the first dimension of the inputs that have the size of the first one there; `None`
/// where the operators want to know it.
pub fn opened(model: &Model, symbol: Option<&str>) -> Option<Model> {
    let mut open = model.clone();
    let graph = &mut open.graph;
    let tensor = |graph: &Graph, input: ValueId| graph.value(input).ty.as_ref()?.as_tensor().cloned();
    let first = |ty: &TensorType| ty.shape.as_ref()?.first()?.value();
    let size = tensor(graph, *graph.inputs().first()?).as_ref().and_then(first)?;
    for input in graph.inputs().to_vec() {
        let Some(mut ty) = tensor(graph, input).filter(|ty| first(ty) == Some(size)) else { continue };
        if let Some(dim) = ty.shape.as_mut().and_then(|shape| shape.first_mut()) {
            // Parts of one graph with one symbol have one size.
            *dim = match symbol {
                None => Dim::symbol(format!("n{size}")),
                Some(name) if size == NAMED => Dim::symbol(name),
                Some(_) => return None,
            };
        }
        graph.value_mut(input).ty = Some(Type::Tensor(ty));
    }
    retype(&mut open)?;
    Some(open)
}

/// The same model with no rank for the inputs that are `hidden`; `None` where there are none, or operators want to know.
pub fn unranked(model: &Model, hidden: impl Fn(&str) -> bool) -> Option<Model> {
    let mut open = model.clone();
    let graph = &mut open.graph;
    let inputs: Vec<ValueId> =
        graph.inputs().iter().copied().filter(|v| hidden(&graph.value(*v).name)).collect();
    for input in &inputs {
        let ty = graph.value(*input).ty.as_ref()?.as_tensor()?.clone();
        graph.value_mut(*input).ty = Some(Type::Tensor(TensorType { shape: None, ..ty }));
    }
    retype(&mut open).filter(|()| !inputs.is_empty())?;
    Some(open)
}

/// Types of what one node makes, from what is known of its inputs.
pub fn infer_node(draft: &Draft, node: usize) -> Option<Vec<Option<Type>>> {
    let mut graph = Graph::new("node");
    let values = draft.values.iter().map(|_| None).collect();
    let mut builder = Builder { draft, graph: &mut graph, values };
    let node = &draft.nodes[node];
    for value in node.inputs.iter().flatten() {
        builder.value(*value, true).ok()?;
    }
    for value in &node.outputs {
        builder.value(*value, true).ok()?;
    }
    builder.node(node, 0).ok()?;
    let outputs: Vec<ValueId> = node.outputs.iter().filter_map(|v| builder.values[*v]).collect();
    let opsets = draft.opsets.iter().map(|(d, v)| (d.as_str().into(), *v)).collect();
    let mut model = Model { graph, opsets, ir_version: 10, ..Model::default() };
    type_all(&mut model)?;
    Some(outputs.iter().map(|v| model.graph.value(*v).ty.clone()).collect())
}

/// Infers the types of all that nodes make anew.
fn retype(model: &mut Model) -> Option<()> {
    let graph = &mut model.graph;
    let made = graph.node_ids().flat_map(|node| graph.node(node).outputs().to_vec()).flatten();
    for value in made.collect::<Vec<_>>() {
        graph.value_mut(value).ty = None;
    }
    type_all(model)
}

/// Infers all types; `None` where a node is not as the standard has it.
fn type_all(model: &mut Model) -> Option<()> {
    infer(model, &InferOptions::default()).ok().filter(Vec::is_empty).map(drop)
}

fn is_used(draft: &Draft, value: usize) -> bool {
    draft.nodes.iter().any(|n| n.inputs.contains(&Some(value)) || n.outputs.contains(&value))
}

struct Builder<'a> {
    draft: &'a Draft,
    graph: &'a mut Graph,
    values: Vec<Option<ValueId>>,
}

impl Builder<'_> {
    /// Adds a value; in a `scratch` graph whatever a node of the draft makes is an input.
    fn value(&mut self, at: usize, scratch: bool) -> Result<(), Unmade> {
        if self.values[at].is_some() {
            return Ok(());
        }
        let it = &self.draft.values[at];
        let ty = || {
            let known = it.dims.as_ref().zip(it.dtype);
            known.map(|(dims, dtype)| Type::Tensor(TensorType::of_static(dtype, dims)))
        };
        let name = it.name.as_str();
        let made = match (it.source, &it.content) {
            (Source::Constant, Some(content)) => self.graph.add_constant(name, content.clone()),
            (Source::Made, _) if !scratch || it.dims.is_none() => self.graph.add_value(name, None),
            _ => self.graph.add_input(name, ty()),
        };
        self.values[at] = Some(made.map_err(|_| Unmade::Clash)?);
        Ok(())
    }

    fn node(&mut self, node: &Node, position: u32) -> Result<(), Unmade> {
        let spec = NodeSpec {
            name: node.name.as_str().into(),
            domain: node.schema.domain.into(),
            op: node.schema.name.into(),
            opset: node.opset,
            inputs: node.inputs.iter().map(|v| v.and_then(|v| self.values[v])).collect(),
            outputs: node.outputs.iter().map(|v| self.values[*v]).collect(),
            attrs: node.attrs.clone(),
            position,
            ..NodeSpec::default()
        };
        self.graph.add_node(spec).map(drop).map_err(|_| Unmade::Clash)
    }
}
