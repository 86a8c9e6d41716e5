//! The reference: every operator as the standard defines it, written to be read and believed.
//!
//! Kernels are plain functions of a [`Call`], found through [`lookup`] in tables of data, one file a family.
//! They compute in `f64` or `i128` and round once, so that they can judge every faster kernel. Semantics
//! stand apart from loops over memory: `layout` knows broadcasting and lanes (reductions), `window`
//! sliding kernels, `movement` elements of any type.

mod attention;
mod call;
mod cast;
mod complex;
mod contrib_attention;
mod contrib_channels_last;
mod contrib_embedding;
mod contrib_fused;
mod contrib_group_query;
mod contrib_plain;
mod contrib_quantized;
mod control;
mod conv;
mod detection;
mod einsum;
mod elementwise_binary;
mod elementwise_unary;
mod experimental;
mod fault;
mod generate;
mod image;
mod index;
mod interpret;
mod layout;
mod loss;
mod matmul;
mod mersenne;
mod minifloat;
mod ml_features;
mod ml_linear;
mod ml_map;
mod ml_svm;
mod ml_tree;
mod movement;
mod norm;
mod numbers;
mod pool;
mod qlinear;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod registry;
pub(crate) mod resize;
pub(crate) mod sampling;
mod sequence;
mod shape;
mod signal;
mod slice_concat;
mod special;
mod strings;
mod training;
mod window;

use byoc_graph::Datum;

pub use call::{Bodies, Call, Kernel, NoBodies, Outputs};
pub use fault::{Fault, KernelError};
pub use interpret::{Interpreter, ReferenceEvaluator, RunError, Values, Watch};
pub(crate) use quantize::parameters_of_range;
pub use registry::{Entry, all, lookup};

const FAMILIES: &[&[Entry]] = &[
    attention::OPS,
    cast::OPS,
    contrib_attention::OPS,
    contrib_channels_last::OPS,
    contrib_embedding::OPS,
    contrib_fused::OPS,
    contrib_group_query::OPS,
    contrib_plain::OPS,
    contrib_quantized::OPS,
    control::OPS,
    conv::OPS,
    detection::OPS,
    einsum::OPS,
    elementwise_binary::OPS,
    elementwise_unary::OPS,
    experimental::OPS,
    generate::OPS,
    image::OPS,
    index::OPS,
    loss::OPS,
    matmul::OPS,
    ml_features::OPS,
    ml_linear::OPS,
    ml_map::OPS,
    ml_svm::OPS,
    ml_tree::OPS,
    norm::OPS,
    pool::OPS,
    qlinear::OPS,
    quantize::OPS,
    random::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    sampling::OPS,
    sequence::OPS,
    shape::OPS,
    signal::OPS,
    slice_concat::OPS,
    strings::OPS,
    training::OPS,
];

/// Runs a kernel; its error names the node.
pub fn execute(kernel: Kernel, call: &Call<'_>) -> Result<Vec<Datum>, KernelError> {
    kernel(call).map_err(|fault| KernelError {
        node: call.node.label.to_string(),
        op: fault::qualified(&call.node.op),
        opset: call.node.opset,
        fault,
    })
}
