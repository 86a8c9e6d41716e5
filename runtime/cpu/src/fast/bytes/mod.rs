//! Operators on images of 8-bit integers whose channels lie innermost.
//!
//! Sums are exact (they wrap in 32 bits), and what becomes of them on their way out depends on nothing but the
//! formula: all instruction sets give the same bits.

mod conv;
mod depthwise;
mod elementwise;
mod finish;
mod kernels;
mod layout;
mod tile;
mod weights;

pub use conv::{ConvBytes, conv_bytes};
pub use elementwise::{Coded, add, average, concat, largest};
pub use finish::{Coding, Finish, Then};
pub use layout::{bytes_first, bytes_last, dequantise_first, quantise_last};

/// A batch of images of bytes, channels innermost.
#[derive(Clone, Copy)]
pub struct BytesLast<'a> {
    pub data: &'a [u8],
    pub count: usize,
    /// Height and width.
    pub size: [usize; 2],
}
