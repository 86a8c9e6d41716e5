//! What a call costs: arithmetic and memory traffic, counted from its types.
//!
//! A multiply-accumulate is two operations. Counts are of the plain algorithm of each operator, as the
//! standard defines it; what is not static, or has no count (control flow, calls of functions), is
//! `None`, which means unknown, not free.

mod count;
mod heavy;
mod light;
mod traffic;

use crate::{Graph, Node, NodeId, TensorType, Type};

/// The domain of operators that the runtime makes of others for its own kernels; no schema knows them.
const HOST: &str = "host";

/// Types of a call's inputs or outputs by position; `None` where left out or unknown.
pub type Types<'t> = [Option<&'t Type>];

/// Arithmetic operations.
#[must_use]
pub fn flops(node: &Node, inputs: &Types<'_>, outputs: &Types<'_>) -> Option<u64> {
    let call = Call { node, inputs, outputs };
    match heavy::macs(&call) {
        Some(macs) => macs.value()?.checked_mul(2),
        None => light::operations(&call),
    }
}

/// Multiply-accumulates of compute-heavy operators; nothing for all others.
#[must_use]
pub fn macs(node: &Node, inputs: &Types<'_>, outputs: &Types<'_>) -> Option<u64> {
    match heavy::macs(&Call { node, inputs, outputs }) {
        Some(macs) => macs.value(),
        None => Some(0),
    }
}

/// Bytes read and written, each input and output once.
#[must_use]
pub fn bytes(node: &Node, inputs: &Types<'_>, outputs: &Types<'_>) -> Option<u64> {
    traffic::bytes(&Call { node, inputs, outputs })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub flops: Option<u64>,
    pub macs: Option<u64>,
    pub bytes: Option<u64>,
}

/// The cost of a node with the types that its graph has for it.
#[must_use]
pub fn of(graph: &Graph, id: NodeId) -> Cost {
    let node = graph.node(id);
    let types = |values: &[Option<crate::ValueId>]| -> Vec<Option<Type>> {
        values.iter().map(|value| value.and_then(|v| graph.value(v).ty.clone())).collect()
    };
    let (inputs, outputs) = (types(node.inputs()), types(node.outputs()));
    let inputs: Vec<Option<&Type>> = inputs.iter().map(Option::as_ref).collect();
    let outputs: Vec<Option<&Type>> = outputs.iter().map(Option::as_ref).collect();
    Cost {
        flops: flops(node, &inputs, &outputs),
        macs: macs(node, &inputs, &outputs),
        bytes: bytes(node, &inputs, &outputs),
    }
}

/// A call with its types, as the tables of this module see it.
struct Call<'c> {
    node: &'c Node,
    inputs: &'c Types<'c>,
    outputs: &'c Types<'c>,
}

impl Call<'_> {
    fn input(&self, i: usize) -> Option<&TensorType> {
        self.inputs.get(i).copied().flatten().and_then(Type::as_tensor)
    }

    fn output(&self, i: usize) -> Option<&TensorType> {
        self.outputs.get(i).copied().flatten().and_then(Type::as_tensor)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attrs.get(name).and_then(|attr| attr.as_int()).unwrap_or(default)
    }

    /// The operator with its domain, as the tables write it.
    fn operator(&self) -> (&str, &str) {
        (&self.node.op.domain, &self.node.op.name)
    }
}
