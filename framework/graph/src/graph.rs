//! The graph: nodes and values over petgraph's `StableGraph`.
//!
//! Nodes are vertices; every use of a produced value is one edge from its producer to its consumer. Values
//! have a table of their own, since graph inputs and constants have no producer. Identifiers stay valid
//! while other nodes and values come and go. All changes go through methods that keep the two in step:
//! `Graph::check` states the invariants.

mod check;
mod edit;
mod node;
mod order;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use petgraph::stable_graph::StableDiGraph;
use thiserror::Error;

use crate::{Metadata, Tensor};

pub use node::{Node, NodeSpec, Operator};
pub use petgraph::stable_graph::NodeIndex as NodeId;
pub use value::{Origin, Slot, Use, Value, ValueId};

#[derive(Clone, Copy, Debug)]
struct Edge {
    value: ValueId,
    slot: Slot,
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

impl Graph {
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }
}
