//! What the code generator lowers: a small network of int8 layers, free of any graph's details.

use crate::device::LANES;
use crate::quant::{Quant, Range};

/// The size of one image (or row of features: one pixel), without its place in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// Layers in an order in which each finds its inputs made.
#[derive(Debug, Clone, Default)]
pub struct Network {
    pub tensors: Vec<Shape>,
    pub layers: Vec<Layer>,
    pub inputs: Vec<Border>,
    pub outputs: Vec<Border>,
}

/// A tensor that comes from outside or goes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Border {
    pub tensor: usize,
    /// Its bytes are uint8 outside.
    pub unsigned: bool,
    /// Dimensions outside, the batch counted: 2 for features alone, 3 without rows, 4 with both.
    pub rank: usize,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub name: String,
    pub op: Op,
    /// Indices of tensors.
    pub inputs: Vec<usize>,
    pub output: usize,
}

#[derive(Debug, Clone)]
pub enum Op {
    /// Convolution of any kind, and fully connected layers as such of one pixel.
    Conv(Conv),
    Add(Add),
    MaxPool(Window),
    AveragePool(AveragePool),
    Lookup(Lookup),
    /// Along channels.
    Concat,
    Resize(Resize),
    /// Channels, rows and columns to channels alone.
    Flatten,
}

/// Where a window lies over its input. What it sees beyond the input is padding, so only the leading pads count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub pads: [usize; 2],
}

#[derive(Debug, Clone)]
pub struct Conv {
    pub window: Window,
    pub groups: usize,
    /// `[output][input of its group][row][column]`.
    pub weights: Vec<i8>,
    pub weight_zero: i8,
    pub input_zero: i8,
    /// For each output channel.
    pub bias: Vec<i32>,
    pub multiplier: Vec<f32>,
    pub range: Range,
}

#[derive(Debug, Clone, Copy)]
pub struct Add {
    pub a: Quant,
    pub b: Quant,
    pub scale: f32,
    pub range: Range,
}

#[derive(Debug, Clone, Copy)]
pub struct AveragePool {
    pub window: Window,
    pub input: Quant,
    pub scale: f32,
    pub range: Range,
    /// Trailing pads, where padding counts as elements.
    pub count_padding: Option<[usize; 2]>,
}

/// Each byte replaced; a table for all channels, or one for each.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub tables: Vec<[i8; 256]>,
}

/// The input row of every output row, and column of every column.
#[derive(Debug, Clone)]
pub struct Resize {
    pub rows: Vec<usize>,
    pub cols: Vec<usize>,
}

impl Network {
    /// Multiply-accumulates of all convolutions.
    pub fn macs(&self) -> u64 {
        let of = |layer: &Layer| match &layer.op {
            Op::Conv(conv) => (conv.weights.len() * self.tensors[layer.output].pixels()) as u64,
            _ => 0,
        };
        self.layers.iter().map(of).sum()
    }
}

impl Shape {
    pub fn blocks(self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Vectors of one block.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Bytes in the device's layout.
    pub fn bytes(self) -> usize {
        self.blocks() * self.pixels() * LANES
    }
}

impl Window {
    /// A single tap: what pointwise and fully connected layers have.
    pub const POINT: Window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0, 0] };

    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The extent of input that `count` outputs see along an axis.
    pub fn extent(&self, axis: usize, count: usize) -> usize {
        (count - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }
}

impl Lookup {
    /// The table of a function of bytes.
    pub fn table(function: impl Fn(i8) -> i8) -> [i8; 256] {
        std::array::from_fn(|index| function((index as i16 - 128) as i8))
    }
}
