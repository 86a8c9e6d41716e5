//! What a region is made of, before sizes are known: one layer a primitive.

use byoc_plugin::shapes::{Scaling, View, Window};
use serde::{Deserialize, Serialize};

pub use crate::bridge::ffi::{Algorithm, Kind, PostOp as Post, Type};

/// One primitive to be; values are those of the region, and behind them the constants that were made for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// The region's node that it ends in.
    pub node: usize,
    pub inputs: Vec<usize>,
    pub output: usize,
    /// The element type of its output.
    pub dtype: Type,
    /// The value that is the zero point of the first input, where that is not 0.
    pub zero: Option<usize>,
    pub what: What,
    /// What is done to its result before that is written.
    pub post: Vec<Post>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// A function of one number.
    Eltwise(Post),
    Binary(Algorithm),
    Prelu,
    /// Along these axes, all where there are none; whether they stay.
    Reduction(Algorithm, Vec<i64>, bool),
    Resampling(Algorithm, Scaling),
    View(View),
    Transpose(Vec<i64>),
    /// Of a tensor that is split along an axis: all sizes, and which it is; without sizes, of so many equal ones.
    Part(i64, Vec<i64>, usize, i64),
    /// Codes as numbers, with scales along an axis.
    Dequantise(i64),
}

impl Post {
    pub fn function(algorithm: Algorithm, alpha: f32, beta: f32) -> Post {
        Post { kind: Kind::Eltwise, algorithm, alpha, beta, value: 0 }
    }

    /// With another value.
    pub fn binary(algorithm: Algorithm, value: usize) -> Post {
        Post { kind: Kind::Binary, algorithm, value, ..Post::default() }
    }
}
