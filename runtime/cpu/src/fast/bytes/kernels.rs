//! The instances of the micro-kernel. For each number of vectors there is a height that fills the registers.

use super::tile::{Tile, compute};
#[cfg(target_arch = "x86_64")]
use crate::fast::simd::{Avx2, Avx512};
use crate::fast::simd::{Isa, Portable};

type TileFn = unsafe fn(&Tile<'_>);

/// The micro-kernels of one instruction set: for 1, 2, … vectors, those for 1, 2, … pixels.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub lanes: usize,
    tiles: &'static [&'static [TileFn]],
}

impl Kernels {
    pub fn of(isa: Isa) -> Self {
        match isa.or_portable() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self { lanes: 16, tiles: AVX512 },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self { lanes: 8, tiles: AVX2 },
            _ => Self { lanes: 4, tiles: PORTABLE },
        }
    }

    /// The most vectors of a tile.
    pub fn vectors(&self) -> usize {
        self.tiles.len()
    }

    /// The most pixels of a tile with so many vectors.
    pub fn pixels(&self, vectors: usize) -> usize {
        self.tiles[vectors - 1].len()
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// As for [`compute`].
    pub unsafe fn run(&self, pixels: usize, vectors: usize, t: &Tile<'_>) {
        // SAFETY: the caller's promise, and `of` found the instructions.
        unsafe { self.tiles[vectors - 1][pixels - 1](t) }
    }
}

macro_rules! row {
    ($f:ident, $v:literal, [$($p:literal)*]) => { &[$($f::<$p, $v> as TileFn),*] };
}

const PORTABLE: &[&[TileFn]] = &[row!(portable, 1, [1 2 3 4]), row!(portable, 2, [1 2 3])];
#[cfg(target_arch = "x86_64")]
const AVX2: &[&[TileFn]] = &[row!(avx2, 1, [1 2 3 4 5 6]), row!(avx2, 2, [1 2 3])];
#[cfg(target_arch = "x86_64")]
const AVX512: &[&[TileFn]] = &[
    row!(avx512, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]),
    row!(avx512, 2, [1 2 3 4 5 6 7 8 9 10 11 12]),
    row!(avx512, 3, [1 2 3 4 5 6 7 8]),
    row!(avx512, 4, [1 2 3 4 5 6]),
];

unsafe fn portable<const P: usize, const V: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { compute::<Portable, P, V>(Portable, t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const P: usize, const V: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<Avx2, P, V>(Avx2::assume(), t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn avx512<const P: usize, const V: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<Avx512, P, V>(Avx512::assume(), t) }
}
