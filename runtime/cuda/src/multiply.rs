//! Products of matrices as a library is asked for them.

use byoc_plugin::DType;

/// What comes behind a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    None,
    Relu,
    /// By the hyperbolic tangent.
    Gelu,
}

/// `y = activation(alpha · a · b + beta · c + bias)`, row by row: all that a way to do it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Form {
    /// Of all that is read and written.
    pub dtype: DType,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    /// A factor lies in memory as its transpose.
    pub transposed: [bool; 2],
    /// Elements from one matrix of the batch to the next: 0 where it is always the same.
    pub strides: [usize; 2],
    /// A number for each column.
    pub bias: bool,
    pub addend: bool,
    pub activation: Activation,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Multiply {
    pub form: Form,
    pub alpha: f64,
    /// Of the addend.
    pub beta: f64,
}
