//! What is done to every model before patterns are matched, and nothing else.
//!
//! Gradient nodes are written out; Constant nodes become initializers; nodes that only pass a value on, nodes that
//! can be computed from constants, and nodes whose results nobody uses go away. Each pass works on one graph; the driver runs it
//! on the main graph, on every body inside and on every local function. Names, order and types of graph
//! inputs and outputs never change. What went away is reported.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::{Function, FunctionId, Graph, Model, Node, NodeId, Opsets, Tensor, ValueId};

mod captures;
mod constant_nodes;
mod fold_constants;
mod gradient;
mod look_through;
mod unused;

pub use gradient::operators as gradient_operators;

/// Under which a node that no host or vendor may know has in its metadata why it has not been written out.
pub const STAYS: &str = "byoc.stays";

/// Computes a node from constants. Supplied by whoever has kernels.
pub trait Evaluate {
    /// The node's outputs, one for each of its output slots; `None` where it cannot be computed, which
    /// leaves the node as it is.
    fn evaluate(&self, node: &Node, inputs: &[Option<&Tensor>]) -> Option<Vec<Tensor>>;
}

/// An evaluator that computes nothing.
pub struct NoEvaluate;

impl Evaluate for NoEvaluate {
    fn evaluate(&self, _: &Node, _: &[Option<&Tensor>]) -> Option<Vec<Tensor>> {
        None
    }
}

/// A node that normalisation took away.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Removed {
    pub name: String,
    pub op: String,
    /// The graph it was in, as reports name graphs.
    pub graph: String,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Was a Constant node, is an initializer.
    Constant,
    /// Passed its input on.
    Identity,
    /// Was computed from constants.
    Folded,
    /// Nobody used its results.
    Unused,
    /// Was a Gradient, whose nodes stand in its place.
    Differentiated,
}

/// What a pass needs and reports.
pub struct Context<'a> {
    pub evaluate: &'a dyn Evaluate,
    /// Name of the graph at hand.
    path: String,
    removed: &'a mut Vec<Removed>,
    /// The model's functions, where there are Gradients.
    functions: Arc<IndexMap<FunctionId, Function>>,
    /// Functions of [`gradient`] that the graph at hand calls.
    called: BTreeSet<FunctionId>,
}

impl Context<'_> {
    fn remove(&mut self, graph: &mut Graph, id: NodeId, why: Why) {
        let node = graph.remove_node(id);
        let (name, op) = (node.label.to_string(), node.op.name.to_string());
        self.removed.push(Removed { name, op, graph: self.path.clone(), why });
    }
}

/// One rewriting of a graph.
pub struct Pass {
    /// As `--disable-pass` takes it.
    pub name: &'static str,
    pub about: &'static str,
    run: fn(&mut Graph, &mut Context<'_>),
}

/// All passes, in the order in which they run.
pub const PASSES: &[Pass] =
    &[gradient::PASS, constant_nodes::PASS, look_through::PASS, fold_constants::PASS, unused::PASS];

/// Runs the passes that `enabled` lets through, and calls `after` with the model behind each.
pub fn normalise_watched(
    model: &mut Model,
    evaluate: &dyn Evaluate,
    enabled: &dyn Fn(&str) -> bool,
    after: &mut dyn FnMut(&Pass, &Model),
) -> Vec<Removed> {
    let mut removed = Vec::new();
    let functions = gradient::functions_of(model);
    for pass in PASSES.iter().filter(|p| enabled(p.name)) {
        let mut all = BTreeSet::new();
        let mut run = |path: String, graph: &mut Graph, opsets: &mut Opsets| {
            let called = BTreeSet::new();
            let functions = functions.clone();
            let mut context = Context { evaluate, path, removed: &mut removed, functions, called };
            run_deep(pass, graph, &mut context);
            if !context.called.is_empty() {
                opsets.entry(gradient::DOMAIN.into()).or_insert(1);
                all.append(&mut context.called);
            }
        };
        run("main".into(), &mut model.graph, &mut model.opsets);
        for (id, function) in &mut model.functions {
            run(id.to_string(), &mut function.body, &mut function.opsets);
        }
        if !all.is_empty() {
            // Files of this version may hold functions with overloads.
            model.ir_version = model.ir_version.max(10);
            model.functions.extend(gradient::functions(&all));
        }
        after(pass, model);
    }
    removed
}

/// Runs the passes that `enabled` lets through.
pub fn normalise(model: &mut Model, evaluate: &dyn Evaluate, enabled: &dyn Fn(&str) -> bool) -> Vec<Removed> {
    normalise_watched(model, evaluate, enabled, &mut |_, _| {})
}

/// Runs a pass on a graph, then on the bodies of its nodes, which see the constants it has made.
fn run_deep(pass: &Pass, graph: &mut Graph, context: &mut Context<'_>) {
    (pass.run)(graph, context);
    let path = context.path.clone();
    for id in graph.model_order() {
        if graph.bodies(id).next().is_none() {
            continue;
        }
        let constants = captures::constants(graph, id);
        let label = graph.node(id).label.clone();
        for (name, attr) in &mut graph.node_mut(id).attrs {
            let bodies = attr.graphs_mut();
            let several = bodies.len() > 1;
            for (i, body) in bodies.iter_mut().enumerate() {
                let index = if several { format!("[{i}]") } else { String::new() };
                context.path = format!("{path}/{label}.{name}{index}");
                captures::tell(body, &constants);
                run_deep(pass, body, context);
            }
        }
        captures::recount(graph, id);
    }
    context.path = path;
}

/// Values that are constant, by the name that bodies know them by.
type Constants = HashMap<Arc<str>, Arc<Tensor>>;

/// Puts `new` wherever `old` is used: by nodes, by bodies (which know it by name) and as a graph output.
/// Changes nothing and returns false where a name would clash or a graph output would lose its name.
fn substitute(graph: &mut Graph, old: ValueId, new: ValueId) -> bool {
    if !graph.is_output(old) {
        let (from, to) = (graph.value(old).name.clone(), graph.value(new).name.clone());
        if !captures::rename(graph, old, &from, &to) {
            return false;
        }
        graph.replace_uses(old, new);
        return true;
    }
    // The graph output keeps its name: the value before the node takes it over.
    let takes_over = graph.value(new).producer().is_some() && !graph.is_output(new);
    let (from, to) = (graph.value(new).name.clone(), graph.value(old).name.clone());
    if !takes_over || !captures::rename(graph, new, &from, &to) {
        return false;
    }
    let spare = graph.fresh_name(&format!("{to}_passed_on"));
    graph.rename(old, spare).expect("the name is fresh");
    graph.rename(new, to).expect("the name was just given up");
    let (ty, doc) = (graph.value(old).ty.clone(), graph.value(old).doc.clone());
    let value = graph.value_mut(new);
    value.ty = ty.or(value.ty.take());
    value.doc = doc;
    graph.replace_uses(old, new);
    true
}
