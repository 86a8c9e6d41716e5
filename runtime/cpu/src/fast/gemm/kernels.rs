//! The instances of the micro-kernel, and the tile that each instruction set prefers.
//!
//! Tiles leave registers for the operands: 8 rows × 3 vectors of the 32 of AVX-512, 6 × 2 of the 16 of AVX2,
//! 4 × 2 of the 16 narrow ones of baseline x86-64.

use std::marker::PhantomData;

use super::tile::{Arith, Tile, compute};
#[cfg(target_arch = "x86_64")]
use crate::fast::simd::{Avx2, Avx512};
use crate::fast::simd::{Isa, Portable};

type TileFn<A> = unsafe fn(&Tile<'_, '_, A>);

/// The micro-kernels of one instruction set.
pub(crate) struct Kernels<A: Arith> {
    /// The most rows of a tile.
    pub rows: usize,
    /// The columns of a panel, the most that a tile has.
    pub panel: usize,
    lanes: usize,
    /// For packed left operands, and for others.
    tiles: [&'static [TileFn<A>]; 2],
}

impl<A: Arith> Kernels<A> {
    pub(crate) fn of(isa: Isa) -> Self {
        let (rows, vectors, lanes, tiles): (_, _, _, [&[TileFn<A>]; 2]) = match isa.or_portable() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if A::DOTS && is_x86_feature_detected!("avx512bf16") => {
                (8, 3, 16, [&Table::<A, true>::AVX512_DOTS, &Table::<A, false>::AVX512_DOTS])
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (8, 3, 16, [&Table::<A, true>::AVX512, &Table::<A, false>::AVX512]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (6, 2, 8, [&Table::<A, true>::AVX2, &Table::<A, false>::AVX2]),
            _ => (4, 2, 4, [&Table::<A, true>::PORTABLE, &Table::<A, false>::PORTABLE]),
        };
        Self { rows, panel: vectors * lanes, lanes, tiles }
    }

    /// The elements of a vector.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Computes a tile of `rows` rows and as many vectors as `t.n` needs; `t.a` is packed.
    ///
    /// # Safety
    /// As for [`compute`]; `rows` and `t.n` are at least 1 and at most this set's.
    pub(crate) unsafe fn run(&self, rows: usize, t: &Tile<'_, '_, A>) {
        let vectors = t.n.div_ceil(self.lanes);
        // SAFETY: the caller's promise, and `of` found the instructions.
        unsafe { self.tiles[0][(vectors - 1) * self.rows + rows - 1](t) }
    }

    /// The same with the rows of `t.a` as they are.
    ///
    /// # Safety
    /// As for [`Kernels::run`].
    pub(crate) unsafe fn run_rows(&self, rows: usize, t: &Tile<'_, '_, A>) {
        let vectors = t.n.div_ceil(self.lanes);
        // SAFETY: the caller's promise, and `of` found the instructions.
        unsafe { self.tiles[1][(vectors - 1) * self.rows + rows - 1](t) }
    }
}

struct Table<A, const PACKED: bool>(PhantomData<A>);

/// Expands to the kernels `$f::<A, MR, NV, PACKED>` for each listed number of rows, repeated for each of vectors.
macro_rules! table {
    ($f:ident; $rows:tt; $($nv:literal)*) => { table!(@flat $f; [$($nv $rows)*]) };
    (@flat $f:ident; [$($nv:literal [$($mr:literal)*])*]) => { [$($($f::<A, $mr, $nv, PACKED> as TileFn<A>),*),*] };
}

impl<A: Arith, const PACKED: bool> Table<A, PACKED> {
    const PORTABLE: [TileFn<A>; 8] = table!(portable; [1 2 3 4]; 1 2);
    #[cfg(target_arch = "x86_64")]
    const AVX2: [TileFn<A>; 12] = table!(avx2; [1 2 3 4 5 6]; 1 2);
    #[cfg(target_arch = "x86_64")]
    const AVX512: [TileFn<A>; 24] = table!(avx512; [1 2 3 4 5 6 7 8]; 1 2 3);
    #[cfg(target_arch = "x86_64")]
    const AVX512_DOTS: [TileFn<A>; 24] = table!(avx512_dots; [1 2 3 4 5 6 7 8]; 1 2 3);
}

unsafe fn portable<A: Arith, const MR: usize, const NV: usize, const PACKED: bool>(t: &Tile<'_, '_, A>) {
    // SAFETY: the caller's promise.
    unsafe { compute::<A, Portable, MR, NV, PACKED>(Portable, t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<A: Arith, const MR: usize, const NV: usize, const PACKED: bool>(t: &Tile<'_, '_, A>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<A, Avx2, MR, NV, PACKED>(Avx2::assume(), t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn avx512<A: Arith, const MR: usize, const NV: usize, const PACKED: bool>(t: &Tile<'_, '_, A>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<A, Avx512, MR, NV, PACKED>(Avx512::assume(), t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
unsafe fn avx512_dots<A: Arith, const MR: usize, const NV: usize, const PACKED: bool>(t: &Tile<'_, '_, A>) {
    // SAFETY: the caller's promise, which includes the instructions.
    unsafe { compute::<A, Avx512<true>, MR, NV, PACKED>(Avx512::assume(), t) }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::half::Halves;
    use super::*;

    /// Pairs of whole numbers in bf16, whose sums are exact however they are added.
    fn words(count: usize, seed: u32) -> Vec<u32> {
        let number = |i: usize| ((i as u32 * 7 + seed) % 11) as f32 - 5.0;
        let half = |i: usize| number(i).to_bits() >> 16;
        (0..count).map(|i| half(2 * i) | half(2 * i + 1) << 16).collect()
    }

    #[test]
    fn without_the_dot_instruction_the_sums_are_the_same() {
        if !Isa::Avx512.is_supported() || !is_x86_feature_detected!("avx512bf16") {
            return;
        }
        let k = 37;
        let (a, b) = (words(8 * k, 1), words(48 * k, 3));
        let sums = |tile: TileFn<Halves>| {
            let mut c = vec![0.0; 8 * 48];
            let finish = super::super::tile::FinishFloat::nothing();
            let tile_of = Tile::<Halves> {
                k,
                a: a.as_ptr(),
                a_row: 0,
                b: b.as_ptr(),
                b_row: 48,
                c: c.as_mut_ptr(),
                c_row: 48,
                n: 48,
                resume: false,
                finish: Some(&finish),
                row: 0,
                col: 0,
                ahead: std::ptr::null(),
                ahead_step: 0,
            };
            // SAFETY: the operands have `k` words for each row and column, the output 8 rows of 48.
            unsafe { tile(&tile_of) };
            c
        };
        let full = 8 * 3 - 1;
        let by_dots = sums(Table::<Halves, true>::AVX512_DOTS[full]);
        assert!(by_dots.iter().any(|&x| x != 0.0));
        assert_eq!(by_dots, sums(Table::<Halves, true>::AVX512[full]));
    }
}
