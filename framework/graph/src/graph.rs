//! The graph: nodes and values over petgraph's `StableGraph`.
//!
//! Nodes are vertices; every use of a produced value is one edge from its producer to its consumer. Values
//! have a table of their own, since graph inputs and constants have no producer. Identifiers stay valid
//! while other nodes and values come and go. All changes go through methods that keep the two in step:
//! `Graph::check` states the invariants.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;
use thiserror::Error;

use crate::{Attributes, Metadata, Tensor, Type};

pub use petgraph::stable_graph::NodeIndex as NodeId;

/// Names a value of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(u32);

impl ValueId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// `""` is the default domain.
    pub domain: Arc<str>,
    pub name: Arc<str>,
    /// Which overload of a local function; empty for all else.
    pub overload: Arc<str>,
}

/// A node: one call of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// As the file has it: may be empty, or not unique.
    pub name: Arc<str>,
    /// What every output calls this node: its name, or its first output's where that is empty or not unique.
    pub label: Arc<str>,
    pub op: Operator,
    /// Version of the operator's domain that the node was written for.
    pub opset: i64,
    pub attrs: Attributes,
    pub doc: String,
    pub metadata: Metadata,
    /// Where the node stood in the file; a node that replaces others takes the place of the last of them.
    pub position: u32,
    /// Parts of the file that are carried along unread.
    pub opaque: Bytes,
    inputs: SmallVec<[Option<ValueId>; 4]>,
    outputs: SmallVec<[Option<ValueId>; 2]>,
    captures: Vec<ValueId>,
}

/// One use of a value by a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Use {
    pub node: NodeId,
    pub slot: Slot,
}

/// Where in a node a value is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    Input(u32),
    /// By the bodies of the node.
    Capture(u32),
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Made by this output of this node.
    Node(NodeId, u32),
    /// An input of the graph.
    Input,
    /// A constant. Where it is also a graph input it is that input's default, see `Graph::is_constant`.
    Constant(Arc<Tensor>),
    /// A value of the same name of the graph around this body.
    Captured,
    /// Named, but not made by anything (yet).
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: Arc<str>,
    pub ty: Option<Type>,
    pub doc: String,
    pub metadata: Metadata,
    origin: Origin,
    uses: SmallVec<[Use; 2]>,
    /// Whether a captured value is a constant of an outer graph.
    captured_constant: Option<Arc<Tensor>>,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    value: ValueId,
    slot: Slot,
}

/// What it takes to make a node.
#[derive(Clone, Debug, Default)]
pub struct NodeSpec {
    pub name: Arc<str>,
    pub domain: Arc<str>,
    pub op: Arc<str>,
    pub overload: Arc<str>,
    pub opset: i64,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
    /// Outer values that the bodies use, in order of first use.
    pub captures: Vec<ValueId>,
    pub attrs: Attributes,
    pub doc: String,
    pub metadata: Metadata,
    pub position: u32,
    pub opaque: Bytes,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    #[error("two values are named `{0}`; names of values must be unique in a graph")]
    DuplicateValue(Arc<str>),
    #[error("value `{0}` is made twice")]
    MadeTwice(Arc<str>),
    #[error("nodes depend on each other in a cycle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    #[error("too many values in one graph")]
    TooLarge,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    pub doc: String,
    pub metadata: Metadata,
    /// Parts of the file that are carried along unread (quantisation annotations).
    pub opaque: Bytes,
    net: StableDiGraph<Node, Edge>,
    values: Vec<Option<Value>>,
    by_name: HashMap<Arc<str>, ValueId>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// Graph inputs that have an initializer as their default.
    defaults: HashMap<ValueId, Arc<Tensor>>,
}

impl Node {
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Option<ValueId>] {
        &self.outputs
    }

    /// The value at input `i`, where the node has one.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.outputs.get(i).copied().flatten()
    }

    /// Values of this graph that the node's bodies use.
    pub fn captures(&self) -> &[ValueId] {
        &self.captures
    }

    /// All values the node depends on: inputs, then captures.
    pub fn dependencies(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().flatten().copied().chain(self.captures.iter().copied())
    }

    /// Whether this is the operator `name` of the default domain.
    pub fn is(&self, name: &str) -> bool {
        self.op.domain.is_empty() && &*self.op.name == name
    }
}

impl Value {
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// The node that makes this value, and which of its outputs it is.
    pub fn producer(&self) -> Option<(NodeId, usize)> {
        match self.origin {
            Origin::Node(node, output) => Some((node, output as usize)),
            _ => None,
        }
    }
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    // ---- values

    /// A new value that nothing makes yet.
    pub fn add_value(&mut self, name: impl Into<Arc<str>>, ty: Option<Type>) -> Result<ValueId, GraphError> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateValue(name));
        }
        let id = ValueId(u32::try_from(self.values.len()).map_err(|_| GraphError::TooLarge)?);
        self.by_name.insert(name.clone(), id);
        self.values.push(Some(Value {
            name,
            ty,
            doc: String::new(),
            metadata: Metadata::new(),
            origin: Origin::None,
            uses: SmallVec::new(),
            captured_constant: None,
        }));
        Ok(id)
    }

    /// A name that no value has yet: `base`, or `base` with a number behind it.
    pub fn fresh_name(&self, base: &str) -> String {
        if !self.by_name.contains_key(base) {
            return base.to_owned();
        }
        let numbered = (1u64..).map(|i| format!("{base}_{i}"));
        numbered.into_iter().find(|n| !self.by_name.contains_key(n.as_str())).expect("names do not run out")
    }

    pub fn add_input(&mut self, name: impl Into<Arc<str>>, ty: Option<Type>) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, ty)?;
        self.values[id.index()].as_mut().expect("just added").origin = Origin::Input;
        self.inputs.push(id);
        Ok(id)
    }

    pub fn add_constant(
        &mut self,
        name: impl Into<Arc<str>>,
        tensor: Arc<Tensor>,
    ) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, Some(tensor.ty().into()))?;
        self.values[id.index()].as_mut().expect("just added").origin = Origin::Constant(tensor);
        Ok(id)
    }

    /// A value of the graph around this one; `constant` is its content where it is constant there.
    pub fn add_capture(
        &mut self,
        name: impl Into<Arc<str>>,
        ty: Option<Type>,
        constant: Option<Arc<Tensor>>,
    ) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, ty)?;
        let value = self.values[id.index()].as_mut().expect("just added");
        value.origin = Origin::Captured;
        value.captured_constant = constant;
        Ok(id)
    }

    /// Gives a graph input the content that it has where the caller does not give it.
    pub fn set_default(&mut self, input: ValueId, tensor: Arc<Tensor>) {
        debug_assert!(matches!(self.value(input).origin, Origin::Input));
        self.defaults.insert(input, tensor);
    }

    /// The initializer behind a graph input that may be left out.
    pub fn default_of(&self, input: ValueId) -> Option<&Arc<Tensor>> {
        self.defaults.get(&input)
    }

    /// Turns a value into a constant. Its producer, if any, loses that output.
    pub fn set_constant(&mut self, id: ValueId, tensor: Arc<Tensor>) {
        if let Some((node, output)) = self.value(id).producer() {
            self.net[node].outputs[output] = None;
            self.drop_edges_of(node, id);
        }
        let value = self.value_mut(id);
        value.ty = Some(tensor.ty().into());
        value.origin = Origin::Constant(tensor);
    }

    pub fn value(&self, id: ValueId) -> &Value {
        self.values[id.index()].as_ref().expect("value was removed")
    }

    /// Name, type and documentation may be changed here; a name through `rename`.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.values[id.index()].as_mut().expect("value was removed")
    }

    pub fn contains_value(&self, id: ValueId) -> bool {
        self.values.get(id.index()).is_some_and(Option::is_some)
    }

    pub fn rename(&mut self, id: ValueId, name: impl Into<Arc<str>>) -> Result<(), GraphError> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateValue(name));
        }
        let old = std::mem::replace(&mut self.value_mut(id).name, name.clone());
        self.by_name.remove(&old);
        self.by_name.insert(name, id);
        Ok(())
    }

    pub fn value_by_name(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// All values, in the order in which they were added.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> + '_ {
        let present = |(i, v): (usize, &'_ Option<Value>)| (ValueId(i as u32), i, v.is_some());
        let ids = self.values.iter().enumerate().map(present);
        ids.filter(|&(.., present)| present).map(|(id, i, _)| (id, self.values[i].as_ref().expect("present")))
    }

    /// One more than the largest index of a value: the length of a table by value.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// The content, where the value is a constant: an initializer that callers cannot override, or a
    /// captured one.
    pub fn constant(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        let value = self.value(id);
        match &value.origin {
            Origin::Constant(tensor) => Some(tensor),
            Origin::Captured => value.captured_constant.as_ref(),
            _ => None,
        }
    }

    pub fn is_constant(&self, id: ValueId) -> bool {
        self.constant(id).is_some()
    }

    /// Tells a body that a value it captures is constant in the graph around it.
    pub fn set_captured_constant(&mut self, id: ValueId, tensor: Option<Arc<Tensor>>) {
        self.value_mut(id).captured_constant = tensor;
    }

    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// A value may be an output more than once.
    pub fn add_output(&mut self, id: ValueId) {
        self.outputs.push(id);
    }

    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    /// Values that this body takes from the graph around it, in the order in which they were added.
    pub fn captured(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.values().filter(|(_, v)| matches!(v.origin, Origin::Captured)).map(|(id, _)| id)
    }

    /// Drops a value that nobody uses or makes and that is no input or output.
    pub fn remove_value(&mut self, id: ValueId) {
        let value = self.value(id);
        assert!(value.uses.is_empty() && value.producer().is_none() && !self.is_output(id));
        if matches!(value.origin, Origin::Input) {
            self.inputs.retain(|&i| i != id);
            self.defaults.remove(&id);
        }
        let value = self.values[id.index()].take().expect("present");
        self.by_name.remove(&value.name);
    }

    // ---- nodes

    pub fn add_node(&mut self, spec: NodeSpec) -> Result<NodeId, GraphError> {
        for (i, id) in spec.outputs.iter().enumerate() {
            let Some(id) = id else { continue };
            let made = !matches!(self.value(*id).origin, Origin::None);
            if made || spec.outputs[..i].contains(&Some(*id)) {
                return Err(GraphError::MadeTwice(self.value(*id).name.clone()));
            }
        }
        let first_output = spec.outputs.iter().flatten().next().map(|&v| self.value(v).name.clone());
        let label = if spec.name.is_empty() { first_output.unwrap_or_default() } else { spec.name.clone() };
        let node = self.net.add_node(Node {
            name: spec.name,
            label,
            op: Operator { domain: spec.domain, name: spec.op, overload: spec.overload },
            opset: spec.opset,
            attrs: spec.attrs,
            doc: spec.doc,
            metadata: spec.metadata,
            position: spec.position,
            opaque: spec.opaque,
            inputs: spec.inputs.into(),
            outputs: spec.outputs.into(),
            captures: spec.captures,
        });
        for output in 0..self.net[node].outputs.len() {
            let Some(id) = self.net[node].outputs[output] else { continue };
            self.value_mut(id).origin = Origin::Node(node, output as u32);
            // Uses may have been recorded before the value had a producer.
            for use_ in self.value(id).uses.clone() {
                self.net.add_edge(node, use_.node, Edge { value: id, slot: use_.slot });
            }
        }
        for (slot, id) in self.slots_of(node) {
            self.record_use(id, Use { node, slot });
        }
        Ok(node)
    }

    fn slots_of(&self, node: NodeId) -> Vec<(Slot, ValueId)> {
        let node = &self.net[node];
        let inputs = node.inputs.iter().enumerate();
        let inputs = inputs.filter_map(|(i, v)| v.map(|v| (Slot::Input(i as u32), v)));
        let captures = node.captures.iter().enumerate().map(|(i, v)| (Slot::Capture(i as u32), *v));
        inputs.chain(captures).collect()
    }

    fn record_use(&mut self, id: ValueId, use_: Use) {
        self.value_mut(id).uses.push(use_);
        if let Some((producer, _)) = self.value(id).producer() {
            self.net.add_edge(producer, use_.node, Edge { value: id, slot: use_.slot });
        }
    }

    fn forget_use(&mut self, id: ValueId, use_: Use) {
        self.value_mut(id).uses.retain(|u| *u != use_);
        if let Some((producer, _)) = self.value(id).producer() {
            let edge = self.find_edge(producer, use_, id);
            self.net.remove_edge(edge.expect("each use of a produced value has an edge"));
        }
    }

    fn find_edge(&self, producer: NodeId, use_: Use, value: ValueId) -> Option<EdgeIndex> {
        let mut edges = self.net.edges_connecting(producer, use_.node);
        edges.find(|e| e.weight().value == value && e.weight().slot == use_.slot).map(|e| e.id())
    }

    fn drop_edges_of(&mut self, producer: NodeId, value: ValueId) {
        let edges = self.net.edges_directed(producer, Direction::Outgoing);
        let edges: Vec<_> = edges.filter(|e| e.weight().value == value).map(|e| e.id()).collect();
        for edge in edges {
            self.net.remove_edge(edge);
        }
    }

    /// Takes a node out. Its outputs stay, made by nothing, until they are removed or made anew.
    pub fn remove_node(&mut self, id: NodeId) -> Node {
        for (slot, value) in self.slots_of(id) {
            self.forget_use(value, Use { node: id, slot });
        }
        let outputs: Vec<ValueId> = self.net[id].outputs.iter().flatten().copied().collect();
        for output in outputs {
            self.value_mut(output).origin = Origin::None;
        }
        self.net.remove_node(id).expect("node is in the graph")
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.net[id]
    }

    /// Attributes and names may be changed here; inputs and outputs through `Graph`.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.net[id]
    }

    pub fn contains_node(&self, id: NodeId) -> bool {
        self.net.contains_node(id)
    }

    pub fn node_count(&self) -> usize {
        self.net.node_count()
    }

    /// One more than the largest index of a node: the length of a table by node.
    pub fn node_bound(&self) -> usize {
        petgraph::visit::NodeIndexable::node_bound(&self.net)
    }

    /// All nodes, in no order that means anything; see `model_order`.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.net.node_indices()
    }

    /// The bodies of a node, with the names of their attributes.
    pub fn bodies(&self, node: NodeId) -> impl Iterator<Item = (&Arc<str>, &Graph)> + '_ {
        self.net[node].attrs.iter().flat_map(|(name, attr)| attr.graphs().iter().map(move |g| (name, g)))
    }
}

mod check;
mod edit;
mod order;
#[cfg(test)]
mod tests;
