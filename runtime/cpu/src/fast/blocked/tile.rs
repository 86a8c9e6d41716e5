//! The micro-kernel of blocked images: sums for a few neighbouring pixels and one or two blocks of output channels,
//! held in registers while taps and input channels run by.
//!
//! Every element is one chain of multiply-adds in the order of input blocks, taps and channels, whatever the tile, so
//! results do not depend on how the image was cut.

use std::ops::Range;

use super::BLOCK;
use super::panels::FOUR;
use crate::fast::gemm::tile::copied;
#[cfg(target_arch = "x86_64")]
use crate::fast::simd::{Avx2, Avx512};
use crate::fast::simd::{Isa, Portable, Simd};

/// The channels of a thin image's pixel, the last ones zero: one that has too few to fill a block.
pub const THIN: usize = 4;

/// What the pixels of the input are.
#[derive(Clone, Copy)]
pub(super) enum Input {
    Blocks,
    Thin,
    /// Thin ones whose fourth channel is not looked at: there are three.
    Three,
}

/// One call of the micro-kernel. The pointers reach to the tile's first pixel; distances are in elements.
pub(super) struct Tile<'a> {
    /// In the first block of input channels, where a tap of 0 sees it.
    pub x: *const f32,
    pub x_block: usize,
    /// The input channels in fours, counted from those of the first block.
    pub fours: Range<usize>,
    /// How far ahead each tap looks.
    pub taps: &'a [usize],
    /// For each block, tap and channel, the weights of the tile's output channels.
    pub weights: *const f32,
    pub out: *mut f32,
    /// From a block of output channels to the next, and from a pixel to the next.
    pub out_block: usize,
    pub out_step: usize,
    pub start: Start,
    /// Set in the last call for these sums.
    pub finish: Option<Finish>,
    /// Memory wanted soon: `ahead_step` bytes of it are prefetched with every tap.
    pub ahead: *const u8,
    pub ahead_step: usize,
}

/// What sums begin with.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Zero,
    /// A number for each of the tile's output channels.
    Bias(*const f32),
    /// What is in the output.
    Resume,
}

/// `min(max(sum + addend, low), high)`, which keeps NaN.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// Laid out like the output.
    pub addend: Option<*const f32>,
    pub low: f32,
    pub high: f32,
}

impl Finish {
    /// Whether it leaves any sum other than it was.
    fn changes(&self) -> bool {
        self.addend.is_some() || self.low > f32::NEG_INFINITY || self.high < f32::INFINITY
    }
}

type TileFn = unsafe fn(&Tile<'_>);

/// The micro-kernels of one instruction set.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// The most pixels of a tile.
    pub pixels: usize,
    /// The most blocks of output channels.
    pub blocks: usize,
    /// For each kind of input.
    tiles: [&'static [TileFn]; 3],
}

impl Kernels {
    pub(super) fn of(isa: Isa) -> Kernels {
        /// The kernels of one instruction set for each kind of input.
        macro_rules! tiles {
            ($set:ident) => {
                [&Table::<BLOCK, FOUR>::$set[..], &Table::<THIN, FOUR>::$set, &Table::<THIN, 3>::$set]
            };
        }
        let (pixels, blocks, tiles) = match isa.or_portable() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (14, 2, tiles!(AVX512)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (6, 1, tiles!(AVX2)),
            _ => (2, 1, tiles!(PORTABLE)),
        };
        Kernels { pixels, blocks, tiles }
    }

    /// # Safety
    /// The numbers are at least 1 and at most this set's. The tile's pointers are valid for that many pixels and
    /// blocks, its input at every tap and in every block, the first four is in the first block, and nobody else uses
    /// that part of the output.
    pub(super) unsafe fn run(&self, pixels: usize, blocks: usize, input: Input, tile: &Tile<'_>) {
        // SAFETY: the caller's promise, and `of` found the instructions.
        unsafe { self.tiles[input as usize][(blocks - 1) * self.pixels + pixels - 1](tile) }
    }
}

/// The kernels for input pixels of `IN` channels, `READ` of each four.
struct Table<const IN: usize, const READ: usize>;

/// Expands to the kernels `$f::<PIXELS, VECTORS, IN, READ>` for each listed number of pixels, repeated for each of vectors.
macro_rules! table {
    ($f:ident; $pixels:tt; $($vectors:literal)*) => { table!(@flat $f; [$($vectors $pixels)*]) };
    (@flat $f:ident; [$($v:literal [$($p:literal)*])*]) => { [$($($f::<$p, $v, IN, READ> as TileFn),*),*] };
}

impl<const IN: usize, const READ: usize> Table<IN, READ> {
    const PORTABLE: [TileFn; 2] = table!(portable; [1 2]; 4);
    #[cfg(target_arch = "x86_64")]
    const AVX2: [TileFn; 6] = table!(avx2; [1 2 3 4 5 6]; 2);
    #[cfg(target_arch = "x86_64")]
    const AVX512: [TileFn; 28] = table!(avx512; [1 2 3 4 5 6 7 8 9 10 11 12 13 14]; 1 2);
}

unsafe fn portable<const P: usize, const V: usize, const IN: usize, const READ: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { compute::<Portable, P, V, IN, READ>(Portable, t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const P: usize, const V: usize, const IN: usize, const READ: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<Avx2, P, V, IN, READ>(Avx2::assume(), t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn avx512<const P: usize, const V: usize, const IN: usize, const READ: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<Avx512, P, V, IN, READ>(Avx512::assume(), t) }
}

/// `P` pixels of `V` vectors of output channels.
///
/// # Safety
/// As for [`Kernels::run`].
#[inline(always)]
unsafe fn compute<S: Simd, const P: usize, const V: usize, const IN: usize, const READ: usize>(
    s: S,
    t: &Tile<'_>,
) {
    // Vectors of one block, and where a vector of a pixel is.
    let per_block = BLOCK / S::LANES;
    let place = |i: usize, j: usize| i * t.out_step + j / per_block * t.out_block + j % per_block * S::LANES;
    // Sums live in registers only if their indices are constants, so the long loops, which are not unrolled, work on
    // copies.
    let mut start = [[s.splat(0.0); V]; P];
    match t.start {
        Start::Zero => {}
        Start::Bias(bias) => {
            for j in 0..V {
                // SAFETY: the bias has the tile's output channels.
                let bias = unsafe { s.load(bias.add(j * S::LANES)) };
                start.iter_mut().for_each(|sums| sums[j] = bias);
            }
        }
        Start::Resume => {
            for (i, sums) in start.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: inside the output, by the caller's promise.
                    *sum = unsafe { s.load(t.out.add(place(i, j))) };
                }
            }
        }
    }
    let mut sums = copied(&start, s.splat(0.0));
    let (mut block, mut weights, mut ahead) = (t.x, t.weights, t.ahead);
    let (mut first, mut left) = (t.fours.start, t.fours.len());
    while left > 0 {
        let fours = left.min(IN / FOUR - first);
        for &tap in t.taps {
            let mut x = block.wrapping_add(tap + first * FOUR);
            if IN == BLOCK && left > fours {
                let next = block.wrapping_add(t.x_block + tap).cast::<u8>();
                for pixel in 0..P {
                    s.prefetch(next.wrapping_add(pixel * size_of::<[f32; BLOCK]>()));
                }
            }
            for _ in 0..fours {
                for c in 0..READ {
                    // SAFETY: these loops cover the channels of all blocks at all taps, which the caller promises to be
                    // readable, and as many rows of weights.
                    unsafe { step::<S, P, V, IN>(s, &mut sums, x.add(c), weights) };
                    weights = weights.wrapping_add(V * S::LANES);
                }
                weights = weights.wrapping_add((FOUR - READ) * V * S::LANES);
                x = x.wrapping_add(FOUR);
            }
            for line in (0..t.ahead_step).step_by(64) {
                s.prefetch(ahead.wrapping_add(line));
            }
            ahead = ahead.wrapping_add(t.ahead_step);
        }
        block = block.wrapping_add(t.x_block);
        (first, left) = (0, left - fours);
    }
    let mut done = copied(&sums, s.splat(0.0));
    if let Some(finish) = t.finish.as_ref().filter(|finish| finish.changes()) {
        let (low, high) = (s.splat(finish.low), s.splat(finish.high));
        for (i, sums) in done.iter_mut().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                if let Some(addend) = finish.addend {
                    // SAFETY: the addend is like the output, which this is inside of.
                    *sum = s.add(*sum, unsafe { s.load(addend.add(place(i, j))) });
                }
                *sum = s.min(high, s.max(low, *sum));
            }
        }
    }
    for (i, sums) in done.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: inside the output, by the caller's promise.
            unsafe { s.store(t.out.add(place(i, j)), sum) }
        }
    }
}

/// Adds the products of one channel of `P` pixels and a row of weights.
///
/// # Safety
/// `x` is readable for `P` pixels, `weights` for `V` vectors.
// Plain loops without closures: these must end up in registers in every caller.
#[inline(always)]
unsafe fn step<S: Simd, const P: usize, const V: usize, const IN: usize>(
    s: S,
    sums: &mut [[S::F; V]; P],
    x: *const f32,
    weights: *const f32,
) {
    let mut row = [s.splat(0.0); V];
    for (j, w) in row.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *w = unsafe { s.load(weights.add(j * S::LANES)) };
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let x = s.splat(unsafe { *x.add(i * IN) });
        for (sum, &w) in sums.iter_mut().zip(&row) {
            *sum = s.fma(x, w, *sum);
        }
    }
}
