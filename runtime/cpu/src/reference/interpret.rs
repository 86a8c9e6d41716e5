//! Runs whole models on the reference kernels, node by node in model order.

use std::sync::Arc;

use byoc_graph::normalise::Evaluate;
use byoc_graph::{Attr, Attributes, Datum, Graph, GraphError, Model, Node, NodeId, Origin, Tensor, ValueId};
use indexmap::IndexMap;
use thiserror::Error;

use super::call::{Bodies, Call, NoBodies};
use super::fault::{Fault, KernelError};
use super::registry;

/// Bodies and functions nest no deeper than this.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Error)]
pub enum RunError {
    #[error("input `{0}` is not given")]
    MissingInput(Arc<str>),
    #[error("the model has no input `{0}`")]
    UnknownInput(Arc<str>),
    #[error("node `{node}` is a {domain}.{op} of opset {opset}, for which there is no kernel")]
    NoKernel { node: Arc<str>, domain: Arc<str>, op: Arc<str>, opset: i64 },
    #[error("node `{node}` needs value `{value}`, which nothing made")]
    MissingValue { node: Arc<str>, value: Arc<str> },
    #[error("output `{0}` was not made by anything")]
    MissingOutput(Arc<str>),
    #[error("a body takes {expected} inputs, but gets {got}")]
    BodyInputs { expected: usize, got: usize },
    #[error("bodies and functions nest more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Kernel(#[from] Box<KernelError>),
}

/// Values by name.
pub type Values = IndexMap<Arc<str>, Datum>;

/// Called with each node and its outputs as they are made.
pub type Watch<'a> = &'a dyn Fn(&Graph, NodeId, &[Datum]);

pub struct Interpreter<'m> {
    model: &'m Model,
    watch: Option<Watch<'m>>,
}

impl<'m> Interpreter<'m> {
    pub fn new(model: &'m Model) -> Interpreter<'m> {
        Interpreter { model, watch: None }
    }

    /// Shows every node's outputs to `watch` as the model runs.
    pub fn watched(model: &'m Model, watch: Watch<'m>) -> Interpreter<'m> {
        Interpreter { model, watch: Some(watch) }
    }

    /// Runs the model. Inputs that have a default may be left out.
    pub fn run(&self, inputs: &Values) -> Result<Values, RunError> {
        let graph = &self.model.graph;
        let names = || graph.inputs().iter().map(|&id| &graph.value(id).name);
        // An initializer may be given too, as its own graph input or, in new files, by its name alone.
        if let Some(unknown) = inputs.keys().find(|name| !names().any(|n| n == *name)) {
            return Err(RunError::UnknownInput(unknown.clone()));
        }
        let given = names().map(|name| inputs.get(name).cloned()).collect();
        let frame = Frame { interpreter: self, graph, outer: None, attributes: None, depth: 0 };
        let outputs = frame.run(given)?;
        let names = graph.outputs().iter().map(|&id| graph.value(id).name.clone());
        Ok(names.zip(outputs).collect())
    }
}

/// One graph at work: the main graph, a body, or a function.
#[derive(Clone, Copy)]
struct Frame<'r> {
    interpreter: &'r Interpreter<'r>,
    graph: &'r Graph,
    outer: Option<&'r Scope<'r>>,
    /// Inside a function, what its caller's attributes are.
    attributes: Option<&'r Attributes>,
    depth: usize,
}

/// A frame and the values it has made so far.
struct Scope<'r> {
    frame: Frame<'r>,
    values: Vec<Option<Datum>>,
}

impl<'r> Frame<'r> {
    fn run(self, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, RunError> {
        let graph = self.graph;
        if self.depth > MAX_DEPTH {
            return Err(RunError::TooDeep);
        }
        let mut scope = Scope { frame: self, values: vec![None; graph.value_bound()] };
        for (i, &id) in graph.inputs().iter().enumerate() {
            let default = || graph.default_of(id).map(|t| Datum::Tensor(Tensor::clone(t)));
            scope.values[id.index()] = inputs.get(i).cloned().flatten().or_else(default);
            let optional = self.attributes.is_some();
            if scope.values[id.index()].is_none() && !optional {
                return Err(RunError::MissingInput(graph.value(id).name.clone()));
            }
        }
        let mut left: Vec<usize> = vec![0; graph.value_bound()];
        for (id, value) in graph.values() {
            left[id.index()] = value.uses().len() + usize::from(graph.is_output(id));
        }
        for node in graph.try_model_order()? {
            scope.step(node)?;
            scope.free(node, &mut left);
        }
        let output = |&id: &ValueId| {
            scope.get(id).ok_or_else(|| RunError::MissingOutput(graph.value(id).name.clone()))
        };
        graph.outputs().iter().map(output).collect()
    }
}

impl Scope<'_> {
    /// The value of this scope, a constant, or a value of the scopes around.
    fn get(&self, id: ValueId) -> Option<Datum> {
        if let Some(datum) = &self.values[id.index()] {
            return Some(datum.clone());
        }
        let value = self.frame.graph.value(id);
        match value.origin() {
            Origin::Constant(tensor) => Some(Tensor::clone(tensor).into()),
            Origin::Captured => self.frame.outer?.by_name(&value.name),
            _ => None,
        }
    }

    fn by_name(&self, name: &str) -> Option<Datum> {
        match self.frame.graph.value_by_name(name) {
            Some(id) => self.get(id),
            None => self.frame.outer?.by_name(name),
        }
    }

    fn step(&mut self, id: NodeId) -> Result<(), RunError> {
        let graph = self.frame.graph;
        let node = graph.node(id);
        let input = |v: &Option<ValueId>| match v {
            None => Ok(None),
            Some(v) => match self.get(*v) {
                // An input of a function may be left out by its caller.
                None if self.frame.attributes.is_some() => Ok(None),
                None => Err(RunError::MissingValue {
                    node: node.label.clone(),
                    value: graph.value(*v).name.clone(),
                }),
                some => Ok(some),
            },
        };
        let inputs: Vec<Option<Datum>> = node.inputs().iter().map(input).collect::<Result<_, _>>()?;
        let outputs = self.compute(node, inputs)?;
        if let Some(watch) = self.frame.interpreter.watch {
            watch(graph, id, &outputs);
        }
        let mut outputs = outputs.into_iter();
        for &slot in node.outputs() {
            let datum = outputs.next();
            if let Some(output) = slot {
                self.values[output.index()] = datum;
            }
        }
        Ok(())
    }

    fn compute(&self, node: &Node, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, RunError> {
        let resolved;
        let node = match resolve_references(node, self.frame.attributes) {
            Some(new) => {
                resolved = new;
                &resolved
            }
            None => node,
        };
        let op = &node.op;
        if let Some(function) = self.frame.interpreter.model.function_of(node) {
            let attributes = function.with_defaults(node.attrs.clone());
            let frame = Frame {
                graph: &function.body,
                outer: None,
                attributes: Some(&attributes),
                depth: self.frame.depth + 1,
                ..self.frame
            };
            return frame.run(inputs);
        }
        let kernel =
            registry::lookup(&op.domain, &op.name, node.opset).ok_or_else(|| RunError::NoKernel {
                node: node.label.clone(),
                domain: op.domain.clone(),
                op: op.name.clone(),
                opset: node.opset,
            })?;
        let inputs: Vec<Option<&Datum>> = inputs.iter().map(Option::as_ref).collect();
        Ok(super::execute(kernel, &Call { node, inputs: &inputs, bodies: self }).map_err(Box::new)?)
    }

    /// Drops what this node was the last to use.
    fn free(&mut self, id: NodeId, left: &mut [usize]) {
        let graph = self.frame.graph;
        let node = graph.node(id);
        for value in node.dependencies() {
            let left = &mut left[value.index()];
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.values[value.index()] = None;
            }
        }
        for output in node.outputs().iter().flatten() {
            if left[output.index()] == 0 {
                self.values[output.index()] = None;
            }
        }
    }
}

/// The node with references to the caller's attributes resolved; `None` where it has none.
fn resolve_references(node: &Node, attributes: Option<&Attributes>) -> Option<Node> {
    if !node.attrs.values().any(|a| matches!(a, Attr::Ref { .. })) {
        return None;
    }
    let mut node = node.clone();
    let resolve = |(key, attr): (Arc<str>, Attr)| match attr {
        Attr::Ref { name, .. } => attributes?.get(&name).map(|given| (key, given.clone())),
        attr => Some((key, attr)),
    };
    node.attrs = std::mem::take(&mut node.attrs).into_iter().filter_map(resolve).collect();
    Some(node)
}

impl Bodies for Scope<'_> {
    fn run(&self, body: &Graph, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        let expected = body.inputs().len();
        if inputs.len() != expected {
            let error = RunError::BodyInputs { expected, got: inputs.len() };
            return Err(Fault::Body(Box::new(error)));
        }
        let frame = Frame { graph: body, outer: Some(self), depth: self.frame.depth + 1, ..self.frame };
        frame.run(inputs.into_iter().map(Some).collect()).map_err(|error| Fault::Body(Box::new(error)))
    }
}

/// Computes single nodes from constants, for constant folding.
pub struct ReferenceEvaluator;

impl Evaluate for ReferenceEvaluator {
    fn evaluate(&self, node: &Node, inputs: &[Option<&Tensor>]) -> Option<Vec<Tensor>> {
        let kernel = registry::lookup(&node.op.domain, &node.op.name, node.opset)?;
        let inputs: Vec<Option<Datum>> = inputs.iter().map(|t| t.map(|t| t.clone().into())).collect();
        let inputs: Vec<Option<&Datum>> = inputs.iter().map(Option::as_ref).collect();
        let outputs = kernel(&Call { node, inputs: &inputs, bodies: &NoBodies }).ok()?;
        let tensors = outputs.into_iter().map(|d| d.as_tensor().cloned());
        tensors.collect()
    }
}
