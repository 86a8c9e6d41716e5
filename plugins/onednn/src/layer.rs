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
    Convolution {
        window: Window,
        groups: i64,
    },
    Deconvolution {
        window: Window,
        groups: i64,
        more: Vec<i64>,
        wanted: Option<Vec<i64>>,
    },
    /// Bit 0: the first operand is transposed; bit 1: the second.
    Product {
        turned: i64,
    },
    Pooling {
        algorithm: Algorithm,
        window: Window,
    },
    GlobalPooling {
        algorithm: Algorithm,
    },
    Softmax {
        axis: i64,
        algorithm: Algorithm,
    },
    LayerNorm {
        epsilon: f32,
    },
    BatchNorm {
        epsilon: f32,
    },
    Lrn {
        size: i64,
        alpha: f32,
        beta: f32,
    },
    Concat {
        axis: i64,
    },
    Eltwise(Function),
    Binary(Algorithm),
    Prelu,
    /// `axes` empty: all of them.
    Reduction {
        algorithm: Algorithm,
        axes: Vec<i64>,
        keep: bool,
    },
    Resampling {
        algorithm: Algorithm,
        by: Size,
    },
    View(View),
    Transpose(Vec<i64>),
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
    Binary { algorithm: Algorithm, value: usize },
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
    Given {
        begin: Vec<i64>,
        end: Vec<i64>,
    },
    /// As many as make the output ⌈input / stride⌉; the odd one behind, or in front.
    Same {
        behind: bool,
    },
}

/// How large a resampled tensor gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    Scales(Vec<f32>),
    Sizes(Vec<i64>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// As ONNX writes it: 0 (where it copies) and -1.
    Reshape {
        target: Vec<i64>,
        zero_copies: bool,
    },
    Flatten {
        axis: i64,
    },
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Unsqueeze {
        axes: Vec<i64>,
    },
}
