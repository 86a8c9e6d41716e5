//! What can go wrong in a kernel.

use std::error::Error;

use byoc_graph::{DType, Operator, TensorError};
use thiserror::Error;

use super::layout::MAX_BYTES;

/// Why a kernel refused its call.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("input {0} is missing")]
    Missing(usize),
    #[error("input {input} is a {got}, where a {expected} is needed")]
    Kind { input: usize, got: &'static str, expected: &'static str },
    #[error("{what} of {got} is not supported")]
    DType { what: &'static str, got: DType },
    #[error("attribute `{name}` {why}")]
    Attribute { name: String, why: String },
    #[error("{0}")]
    Invalid(String),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("a tensor of shape {0:?} takes more than the {gib} GiB that reference kernels work with", gib = MAX_BYTES >> 30)]
    TooLarge(Vec<usize>),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("in its body: {0}")]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// A call that failed: who, and why.
#[derive(Debug, Error)]
#[error("node `{node}` ({op} of opset {opset}): {fault}")]
pub struct KernelError {
    pub node: String,
    /// With its domain in front, where that is not the default one.
    pub op: String,
    pub opset: i64,
    #[source]
    pub fault: Fault,
}

pub(super) fn qualified(op: &Operator) -> String {
    if op.domain.is_empty() { op.name.to_string() } else { format!("{}.{}", op.domain, op.name) }
}

/// An input that contradicts the operator's definition.
macro_rules! invalid {
    ($($arg:tt)*) => { $crate::reference::fault::Fault::Invalid(format!($($arg)*)) };
}

/// Refuses the call unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => {
        let holds: bool = $condition;
        if !holds {
            return Err($crate::reference::fault::Fault::Invalid(format!($($arg)*)));
        }
    };
}

pub(super) use {ensure, invalid};
