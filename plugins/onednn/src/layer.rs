//! What a region is made of, before sizes are known: one layer a primitive.

pub use crate::bridge::ffi::Algorithm;

/// One primitive to be; values are those of the region.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The region's node that it ends in.
    pub node: usize,
    pub inputs: Vec<usize>,
    pub output: usize,
    pub what: What,
    pub post: Vec<Post>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// With so many groups.
    Convolution(Window, i64),
    /// With so many groups, padding of the output, and the size that it is to have.
    Deconvolution(Window, i64, Vec<i64>, Option<Vec<i64>>),
    /// Bit 0: the first operand is transposed; bit 1: the second.
    Product(i64),
    /// Without a window: over all there is.
    Pooling(Algorithm, Option<Window>),
    Softmax(i64, Algorithm),
    LayerNorm(f32),
    BatchNorm(f32),
    /// Size, alpha and beta.
    Lrn(i64, f32, f32),
    Concat(i64),
    Eltwise(Function),
    Binary(Algorithm),
    Prelu,
    /// Along these axes, all where there are none; whether they stay.
    Reduction(Algorithm, Vec<i64>, bool),
    Resampling(Algorithm, Size),
    View(View),
    Transpose(Vec<i64>),
    /// Of a tensor that is split along an axis: all sizes, and which it is; without sizes, of so many equal ones.
    Part(i64, Vec<i64>, usize, i64),
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Function {
    pub algorithm: Algorithm,
    pub alpha: f32,
    pub beta: f32,
}

/// What is done to a layer's result before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Post {
    Eltwise(Function),
    /// With another value.
    Binary(Algorithm, usize),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub pads: Pads,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Pads {
    /// In front and behind.
    Given(Vec<i64>, Vec<i64>),
    /// As many as make the output ⌈input / stride⌉; the odd one behind, or in front.
    Same { behind: bool },
}

/// How large a resampled tensor gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    Scales(Vec<f32>),
    Sizes(Vec<i64>),
}

/// A whole number, or the size of a value along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Known(i64),
    Size(usize, usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// As ONNX writes it: 0 (where it copies) and -1.
    Reshape(Vec<Number>, bool),
    Flatten(i64),
    Squeeze(Option<Vec<i64>>),
    Unsqueeze(Vec<i64>),
}
