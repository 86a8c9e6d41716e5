//! Nodes: what a graph computes, and the edges that their uses of values make.

use std::sync::Arc;

use bytes::Bytes;
use petgraph::Direction;
use petgraph::stable_graph::EdgeIndex;
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;

use super::{Edge, Graph, GraphError, NodeId, Origin, Slot, Use, ValueId};
use crate::{Attributes, Metadata};

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
    pub(super) inputs: SmallVec<[Option<ValueId>; 4]>,
    pub(super) outputs: SmallVec<[Option<ValueId>; 2]>,
    pub(super) captures: Vec<ValueId>,
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

impl Graph {
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

    pub(super) fn slots_of(&self, node: NodeId) -> Vec<(Slot, ValueId)> {
        let node = &self.net[node];
        let inputs = node.inputs.iter().enumerate();
        let inputs = inputs.filter_map(|(i, v)| v.map(|v| (Slot::Input(i as u32), v)));
        let captures = node.captures.iter().enumerate().map(|(i, v)| (Slot::Capture(i as u32), *v));
        inputs.chain(captures).collect()
    }

    pub(super) fn record_use(&mut self, id: ValueId, use_: Use) {
        self.value_mut(id).uses.push(use_);
        if let Some((producer, _)) = self.value(id).producer() {
            self.net.add_edge(producer, use_.node, Edge { value: id, slot: use_.slot });
        }
    }

    pub(super) fn forget_use(&mut self, id: ValueId, use_: Use) {
        self.value_mut(id).uses.retain(|u| *u != use_);
        if let Some((producer, _)) = self.value(id).producer() {
            let edge = self.find_edge(producer, use_, id);
            self.net.remove_edge(edge.expect("each use of a produced value has an edge"));
        }
    }

    pub(super) fn find_edge(&self, producer: NodeId, use_: Use, value: ValueId) -> Option<EdgeIndex> {
        let mut edges = self.net.edges_connecting(producer, use_.node);
        edges.find(|e| e.weight().value == value && e.weight().slot == use_.slot).map(|e| e.id())
    }

    pub(super) fn drop_edges_of(&mut self, producer: NodeId, value: ValueId) {
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
