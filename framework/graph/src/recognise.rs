//! Decomposed forms: groups of nodes that compute what one standard operator computes.
//!
//! Exporters write Gelu, LayerNormalization and others as chains of small operators. A recogniser finds
//! such a chain and says which operator it amounts to; nothing in the graph changes. The partitioner lets a
//! pattern that names the operator match the whole form, and the host runs it with the operator's kernel.

use std::sync::Arc;

use crate::{Attributes, NodeId, ValueId};

/// Nodes that together compute one call of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The recogniser's name, as `--disable-pass` takes it.
    pub recogniser: &'static str,
    pub domain: Arc<str>,
    pub op: Arc<str>,
    /// Version of the operator that the form is equal to.
    pub opset: i64,
    pub attrs: Attributes,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    /// All nodes of the form, in model order. The last one makes `outputs[0]`.
    pub nodes: Vec<NodeId>,
}
