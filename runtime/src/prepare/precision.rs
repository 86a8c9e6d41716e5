//! Weights of products in fewer bits, where the user asks for that: the kernel is told how to keep them.
//!
//! The attribute `weights` of `host.MatMul`, `host.Gemm` and `host.Projections` names the precision. Nothing else
//! changes, and what is not marked is computed as ever.

use std::sync::Arc;

use byoc_cpu::fast::gemm::Precision;
use byoc_graph::{Attr, DType, Graph, Model, NodeId};

use super::each_graph;

/// Matrices of fewer elements stay as they are: they save next to nothing.
const LEAST: usize = 1 << 14;

/// Has products of constant matrices keep them in this precision. It comes behind all passes.
pub fn reduce(model: &mut Model, precision: Precision) {
    if precision != Precision::F32 {
        each_graph(model, &mut |graph| mark(graph, precision));
    }
}

fn mark(graph: &mut Graph, precision: Precision) {
    for id in graph.model_order() {
        if !is_reducible(graph, id) {
            continue;
        }
        let node = graph.node_mut(id);
        if node.op.domain.is_empty() {
            // The standard's have no such attribute.
            (node.op.domain, node.opset) = (Arc::from("host"), 1);
        }
        node.attrs.insert("weights".into(), Attr::str(precision.name()));
    }
}

/// Whether a node multiplies by nothing but large constant matrices of f32.
fn is_reducible(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let count = match (&*node.op.domain, &*node.op.name) {
        ("" | "host", "MatMul") | ("host", "Gemm") => 1,
        ("", "Gemm") if node.opset >= 7 => 1,
        ("host", "Projections") => node.attrs.get("count").and_then(Attr::as_int).unwrap_or(0),
        _ => return false,
    };
    let is_large = |i: i64| {
        let weights = node.input(i as usize).and_then(|value| graph.constant(value));
        weights.is_some_and(|w| w.dtype() == DType::F32 && w.rank() == 2 && w.len() >= LEAST)
    };
    count > 0 && (1..=count).all(is_large)
}
