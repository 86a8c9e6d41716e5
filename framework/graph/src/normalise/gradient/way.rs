//! What lies between the tensors that a Gradient names and its `y`.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;
use thiserror::Error;

use crate::{Attr, Function, FunctionId, Graph, Node, NodeId, ValueId};

use super::place::Place;
use super::rules::{Rules, is_flat};

/// More nodes than this are not written out of functions for one Gradient.
const MOST: usize = 1 << 20;

/// Why a Gradient cannot be written out.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Obstacle {
    #[error("it has no attribute `{0}` that lists tensors")]
    Attribute(&'static str),
    #[error("the graph around it has no tensor `{0}`")]
    NoTensor(String),
    #[error(
        "it has {inputs} inputs and {outputs} outputs, where `xs` and `zs` name {names} tensors, {wanted} of them in `xs`"
    )]
    Count { inputs: usize, outputs: usize, names: usize, wanted: usize },
    #[error("its `y` depends on it")]
    Cycle,
    #[error(
        "there is no rule for {op} (domain `{domain}`, opset {opset}) of node `{node}`, which lies between its `xs` \
         and its `y`; compute that node by operators that docs/operators.md lists under Gradient"
    )]
    NoRule { node: Arc<str>, op: Arc<str>, domain: Arc<str>, opset: i64 },
    #[error("the functions between its `xs` and its `y` have more than {MOST} nodes")]
    TooLarge,
}

/// What has rules, and what can be written out.
pub(super) struct Library<'a> {
    pub rules: &'a Rules,
    /// The model's own functions.
    pub functions: &'a IndexMap<FunctionId, Function>,
}

impl Library<'_> {
    /// By what other nodes a node can be computed, its attributes filled in.
    fn body(&self, graph: &Graph, node: &Node) -> Option<Graph> {
        let id = FunctionId::of(&node.op);
        let named = || self.functions.get(&id).or_else(|| self.rules.function(&id));
        let (function, attrs) = match named() {
            Some(function) => (function, node.attrs.clone()),
            None => (self.rules.form(graph, node)?, super::derived::attributes(graph, node)),
        };
        let body = function.with_attributes(&function.with_defaults(attrs));
        let plain = body.node_ids().all(|id| body.bodies(id).next().is_none());
        plain.then_some(body)
    }
}

/// A part of the way.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// One of the graph's own, and the one that stands for it now; whether it is asked to pass a gradient on.
    Node { own: NodeId, now: NodeId, asked: bool },
    /// The first value is what the second is: the node that makes it has been written out.
    Same(ValueId, ValueId),
}

pub(super) struct Way {
    /// The graph's tensors named in `xs`, then those in `zs`.
    pub leaves: Vec<ValueId>,
    /// What the node is given for them.
    pub given: Vec<ValueId>,
    /// How many of them are asked for.
    pub wanted: usize,
    pub y: ValueId,
    /// What depends on a leaf and `y` depends on, in model order.
    pub steps: Vec<Step>,
}

impl Way {
    /// Finds the way of a Gradient node. Operators without a rule that can be computed by others are written out.
    pub fn find(
        graph: &mut Graph,
        id: NodeId,
        library: &Library<'_>,
        place: &Place,
    ) -> Result<Way, Obstacle> {
        let node = graph.node(id);
        let (xs, zs) = (names(node, "xs")?, names(node, "zs")?);
        let named = |name: &String| graph.value_by_name(name).ok_or_else(|| Obstacle::NoTensor(name.clone()));
        let leaves: Vec<ValueId> = xs.iter().chain(&zs).map(named).collect::<Result<_, _>>()?;
        let given: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
        let Some(Attr::Str(y)) = node.attrs.get("y") else { return Err(Obstacle::Attribute("y")) };
        let y = named(&String::from_utf8_lossy(y).into_owned())?;
        let outputs = node.outputs().len();
        if given.len() != leaves.len() || outputs > xs.len() {
            let (inputs, names) = (given.len(), leaves.len());
            return Err(Obstacle::Count { inputs, outputs, names, wanted: xs.len() });
        }
        let before = behind(graph, y, &leaves);
        if before.contains(&id) {
            return Err(Obstacle::Cycle);
        }
        let mut active =
            Active { all: leaves.iter().copied().collect(), carrying: leaves.iter().copied().collect() };
        let order = graph.model_order().into_iter().filter(|id| before.contains(id)).collect();
        let open = depending(graph, order, &mut active);
        let mut way = Way { leaves, given, wanted: xs.len(), y, steps: vec![] };
        way.walk(graph, library, place, open, active)?;
        Ok(way)
    }

    /// Goes back from `y`, `open` being what is still to be passed, the next one last.
    fn walk(
        &mut self,
        graph: &mut Graph,
        library: &Library<'_>,
        place: &Place,
        mut open: Vec<NodeId>,
        mut active: Active,
    ) -> Result<(), Obstacle> {
        let mut asked = HashSet::from([self.y]);
        let mut written = 0;
        while let Some(id) = open.pop() {
            let node = graph.node(id).clone();
            let mut is_asked = node.outputs().iter().map(|value| value.is_some_and(|v| asked.contains(&v)));
            let (first, others) = (is_asked.next().unwrap_or(false), is_asked.any(|asked| asked));
            if !first && !others {
                self.steps.push(Step::Node { own: id, now: id, asked: false });
                continue;
            }
            if let Some(rule) =
                library.rules.of(graph, &node).filter(|rule| rule.takes_all_results() || !others)
            {
                let present = node.inputs().iter().flatten().enumerate();
                let passed = present.filter(|(i, _)| rule.passes_on(*i)).map(|(_, &value)| value);
                asked.extend(passed.filter(|value| active.carrying.contains(value)));
                self.steps.push(Step::Node { own: id, now: id, asked: true });
                continue;
            }
            let Some(body) = library.body(graph, &node) else {
                let (op, domain) = (node.op.name.clone(), node.op.domain.clone());
                return Err(Obstacle::NoRule { node: node.label.clone(), op, domain, opset: node.opset });
            };
            written += body.node_count();
            if written > MOST {
                return Err(Obstacle::TooLarge);
            }
            let mut inputs = node.inputs().to_vec();
            if let Some(axes) = super::derived::axes(&node).filter(|_| body.inputs().len() > inputs.len()) {
                inputs.push(Some(place.constant(graph, axes)));
            }
            let copy = place.write_out(graph, library.rules, &body, &inputs);
            open.extend(depending(graph, copy.nodes, &mut active));
            for (old, new) in node.outputs().iter().zip(copy.outputs) {
                let Some(old) = old.filter(|old| !self.leaves.contains(old)) else { continue };
                if asked.contains(&old) {
                    asked.insert(new);
                }
                self.steps.push(Step::Same(old, new));
            }
        }
        self.steps.reverse();
        Ok(())
    }
}

/// What depends on a leaf.
struct Active {
    all: HashSet<ValueId>,
    /// Those that change with small changes of a leaf, as its shape does not.
    carrying: HashSet<ValueId>,
}

/// Those of some nodes, in model order, that depend on an active value; what they make becomes active.
fn depending(graph: &Graph, nodes: Vec<NodeId>, active: &mut Active) -> Vec<NodeId> {
    let depends = |id: &NodeId| {
        let node = graph.node(*id);
        let on = |values: &HashSet<ValueId>| node.dependencies().any(|value| values.contains(&value));
        let (depends, carries) = (on(&active.all), on(&active.carrying) && !is_flat(node));
        if depends {
            active.all.extend(node.outputs().iter().flatten());
        }
        if carries {
            active.carrying.extend(node.outputs().iter().flatten());
        }
        depends
    };
    nodes.into_iter().filter(depends).collect()
}

/// The tensors that an attribute lists; `zs` may be absent.
fn names(node: &Node, attr: &'static str) -> Result<Vec<String>, Obstacle> {
    let text = |s: &bytes::Bytes| String::from_utf8_lossy(s).into_owned();
    match node.attrs.get(attr) {
        Some(Attr::Strs(list)) => Ok(list.iter().map(text).collect()),
        None if attr == "zs" => Ok(vec![]),
        _ => Err(Obstacle::Attribute(attr)),
    }
}

/// The nodes that a value depends on, not looking behind the leaves.
fn behind(graph: &Graph, value: ValueId, leaves: &[ValueId]) -> HashSet<NodeId> {
    let (mut found, mut open) = (HashSet::new(), vec![value]);
    while let Some(value) = open.pop() {
        let producer = graph.value(value).producer().filter(|_| !leaves.contains(&value));
        if let Some((id, _)) = producer
            && found.insert(id)
        {
            open.extend(graph.node(id).dependencies());
        }
    }
    found
}
