//! Convolutions and poolings over blocked images: (images, blocks of channels, height, width, 16 channels), the last
//! block filled up with zeros. The channels of a pixel lie side by side, so vectors are full whatever an image's size,
//! and a window's pixels are found by adding to an address: nothing is packed.
//!
//! Channels that fill up a block are zero wherever a kernel here has written them. What else was made of blocked
//! images, element by element, may have others there, but finite ones: their weights are zero.

mod conv;
mod depthwise;
mod direct;
mod expand;
mod halve;
mod layout;
mod panels;
mod pick;
mod pool;
mod tile;
mod transpose;
mod walk;
mod winograd;

use std::ops::Range;

pub use conv::{BlockedConv, conv, conv_halved, conv_thin, conv_thin_halved};
pub use expand::{ExpandDepthwise, expand_depthwise};
pub use layout::{from_blocked, to_blocked};
pub use pick::{Source, pick};
pub use pool::{mean, pool};
pub use tile::THIN;
pub use transpose::{BlockedConvTranspose, conv_transpose};

use super::Isa;
use super::activation::Activation;
use super::conv::ConvEpilogue;
use super::scratch::with_scratch;
use super::simd::Simd;
use crate::pool::SharedSlice;

/// The channels of a block.
pub const BLOCK: usize = 16;

/// One pixel of one block.
type Pixel = [f32; BLOCK];

/// The channels of a pixel from `part` on, as many as lanes.
#[inline(always)]
fn load<S: Simd>(s: S, pixel: &Pixel, part: usize) -> S::F {
    let from = &pixel[part..part + S::LANES];
    // SAFETY: there are as many as lanes.
    unsafe { s.load(from.as_ptr()) }
}

/// How many blocks hold so many channels.
pub fn blocks(channels: usize) -> usize {
    channels.div_ceil(BLOCK)
}

/// A batch of blocked images.
#[derive(Clone, Copy)]
pub struct Blocked<'a> {
    pub data: &'a [f32],
    pub count: usize,
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
}

impl<'a> Blocked<'a> {
    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// All pixels, plane by plane.
    ///
    /// # Panics
    /// If the data has another size.
    fn planes(&self) -> &'a [Pixel] {
        let (planes, rest) = self.data.as_chunks();
        let expected = self.count * blocks(self.channels) * self.pixels();
        assert!(rest.is_empty() && planes.len() == expected, "size of the images");
        planes
    }
}

/// What is done to sums on their way out, the bias filled up to whole blocks.
#[derive(Clone, Copy)]
struct Ending<'a> {
    bias: &'a [f32],
    addend: Option<&'a [f32]>,
    activation: Activation,
    low: f32,
    high: f32,
    /// Output channels, of all blocks.
    channels: usize,
    isa: Isa,
}

impl Ending<'_> {
    /// Calls `run` with the ending of an output of so many elements.
    ///
    /// # Panics
    /// If bias or addend have another size.
    fn with(
        isa: Isa,
        epilogue: &ConvEpilogue<'_>,
        channels: usize,
        len: usize,
        run: impl FnOnce(&Ending<'_>),
    ) {
        let &ConvEpilogue { bias, addend, activation } = epilogue;
        assert!(bias.is_none_or(|bias| bias.len() == channels), "size of the bias");
        assert!(addend.is_none_or(|addend| addend.len() == len), "size of the addend");
        let (low, high) = activation.range().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        with_scratch(blocks(channels) * BLOCK, |filled: &mut [f32]| {
            filled.fill(0.0);
            if let Some(bias) = bias {
                filled[..channels].copy_from_slice(bias);
            }
            run(&Ending { bias: filled, addend, activation, low, high, channels, isa });
        });
    }

    fn bias_of(&self, block: usize) -> &Pixel {
        self.bias[block * BLOCK..].first_chunk().expect("the bias has whole blocks")
    }

    /// What the sums of channels from `block` on begin with.
    fn start(&self, block: usize) -> tile::Start {
        tile::Start::Bias(self.bias[block * BLOCK..].as_ptr())
    }

    /// What the micro-kernel does for the output at `at`.
    fn finish(&self, at: usize) -> tile::Finish {
        let addend = self.addend.map(|addend| addend[at..].as_ptr());
        tile::Finish { addend, low: self.low, high: self.high }
    }

    /// A last pass over finished pixels of one block.
    fn after(&self, block: usize, pixels: &mut [Pixel]) {
        if self.activation.range().is_none() {
            self.activation.apply(self.isa, pixels.as_flattened_mut());
        }
        let used = self.channels - block * BLOCK;
        if used < BLOCK {
            pixels.iter_mut().for_each(|pixel| pixel[used..].fill(0.0));
        }
    }
}

/// The pixels of an output, written by several threads.
#[derive(Clone, Copy)]
struct Output<'a> {
    pixels: SharedSlice<'a, Pixel>,
    plane: usize,
}

impl<'a> Output<'a> {
    /// # Panics
    /// If `data` is not of so many planes of `plane` pixels.
    fn new(data: &'a mut [f32], planes: usize, plane: usize) -> Output<'a> {
        let (pixels, rest) = data.as_chunks_mut();
        assert!(rest.is_empty() && pixels.len() == planes * plane, "size of the output");
        Output { pixels: SharedSlice::new(pixels), plane }
    }

    /// # Safety
    /// Nobody else has these pixels of this plane while the result lives.
    // As of `SharedSlice::range`.
    #[allow(clippy::mut_from_ref)]
    unsafe fn range(&self, plane: usize, pixels: Range<usize>) -> &'a mut [Pixel] {
        let start = plane * self.plane;
        // SAFETY: the caller's promise.
        unsafe { self.pixels.range(start + pixels.start..start + pixels.end) }
    }

    /// The first element of a pixel.
    fn at(&self, plane: usize, pixel: usize) -> *mut f32 {
        assert!(plane * self.plane + pixel < self.pixels.len(), "pixel outside of the output");
        self.pixels.as_mut_ptr().wrapping_add(plane * self.plane + pixel).cast()
    }
}
