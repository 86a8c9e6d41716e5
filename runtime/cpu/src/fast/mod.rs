//! Fast kernels over plain slices: packed weights, vector instructions, all threads of the pool.
//!
//! Each result depends on the shapes and the instruction set, never on the number of threads: a sum is cut
//! only into pieces that its shape fixes, and added up in a fixed order. Sizes that do not fit together are
//! the caller's mistake and panic before anything is computed.

pub mod activation;
pub mod attention;
pub mod blocked;
pub mod bytes;
pub mod columns;
pub mod conv;
mod copy;
pub mod fold;
pub mod function;
pub mod gemm;
mod math;
pub mod neighbours;
pub mod pooling;
pub mod quantize;
pub mod recurrent;
pub mod resize;
pub mod rotary;
pub mod rows;
pub(crate) mod scratch;
mod short;
pub mod simd;
mod softmax;
pub(crate) mod transpose;

pub use activation::Activation;

use crate::pool::ThreadPool;
pub use simd::Isa;

/// What a kernel runs on: the threads, and the instructions it may use.
#[derive(Clone, Copy)]
pub struct Exec<'a> {
    pub pool: &'a ThreadPool,
    pub isa: Isa,
}

impl<'a> Exec<'a> {
    /// All of `pool`'s threads with the best instructions of this machine.
    pub fn new(pool: &'a ThreadPool) -> Self {
        Self { pool, isa: Isa::detect() }
    }
}
