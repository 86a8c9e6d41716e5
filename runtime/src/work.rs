//! What a step has to do, counted from the sizes that its values have in a run.

use byoc_cpu::{Kernel, Work};
use byoc_graph::{DType, Dim, Graph, Node, StaticDims, Type, cost};
use smallvec::SmallVec;

use crate::program::Step;

/// The call that a step makes.
pub(crate) struct Call {
    node: Node,
    /// Types of constant inputs, which the kernel may have taken over.
    constants: SmallVec<[Option<Type>; 4]>,
    /// By how much what the kernel reads of them differs from their own bytes.
    more_bytes: i64,
}

impl Call {
    pub fn new(graph: &Graph, node: &Node, kernel: &dyn Kernel) -> Call {
        let constant = |i: usize| graph.constant(node.input(i)?);
        let count = node.inputs().len();
        let owned = (0..count).filter(|&i| kernel.owns_input(i)).filter_map(constant);
        let owned: usize = owned.map(|tensor| tensor.bytes().len()).sum();
        let kept = kernel.kept_bytes().unwrap_or(owned);
        Call {
            node: node.clone(),
            constants: (0..count).map(|i| constant(i).map(|tensor| tensor.ty().into())).collect(),
            more_bytes: kept as i64 - owned as i64,
        }
    }

    /// One that only gives a value other dimensions.
    pub fn of_alias(node: &Node) -> Call {
        Call { node: node.clone(), constants: SmallVec::new(), more_bytes: 0 }
    }

    /// The work, where values have these types.
    pub fn work(&self, step: &Step, dtypes: &[DType], dims: &[StaticDims]) -> Work {
        let ty = |value: usize| {
            let known = dims[value].iter().map(|&d| Dim::from(d as i64));
            Type::tensor(dtypes[value], known)
        };
        let constant = |i: usize| self.constants.get(i).cloned().flatten();
        let input = |i: usize| step.inputs.get(i).copied().flatten().map(ty).or_else(|| constant(i));
        let inputs: SmallVec<[_; 4]> = (0..self.node.inputs().len()).map(input).collect();
        // Nothing is written of an output that nobody wants.
        let nothing = || Type::tensor(DType::F32, [Dim::from(0)]);
        let outputs: SmallVec<[_; 2]> =
            step.outputs.iter().map(|value| Some(value.map_or_else(nothing, ty))).collect();
        let inputs: SmallVec<[Option<&Type>; 4]> = inputs.iter().map(Option::as_ref).collect();
        let outputs: SmallVec<[Option<&Type>; 2]> = outputs.iter().map(Option::as_ref).collect();
        let bytes = cost::bytes(&self.node, &inputs, &outputs);
        Work {
            flops: cost::flops(&self.node, &inputs, &outputs),
            bytes: bytes.and_then(|bytes| bytes.checked_add_signed(self.more_bytes)),
        }
    }
}
