//! Products of matrices that are rounded to bf16, summed up in f32.
//!
//! A word has two neighbouring steps of the inner dimension, the earlier in its lower half. Both operands are rounded,
//! so that a result hardly depends on whether the machine has an instruction for it.

use std::ops::Range;

use super::drive::{self, Layout, Operand, Problem};
use super::kernels::Kernels;
use super::pack::pack_panel;
use super::tile::{Arith, FinishFloat, Float};
use super::{Gemm, Lhs, Matrix};
use crate::fast::Isa;
use crate::fast::simd::{Simd, vectorised};
use crate::memory::Aligned;

/// Words of two bf16 numbers, sums of f32.
#[derive(Clone, Copy)]
pub(crate) struct Halves;

impl Arith for Halves {
    type Word = u32;
    type Out = f32;
    type Finish<'a> = FinishFloat<'a>;
    type V<S: Simd> = S::F;
    const DOTS: bool = true;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, p: *const u32) -> S::F {
        // SAFETY: the caller's promise.
        s.float_of(s.splat_i(unsafe { *p } as i32))
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u32) -> S::F {
        // SAFETY: the caller's promise.
        s.float_of(unsafe { s.load_i(p.cast()) })
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, acc: S::F, a: S::F, b: S::F) -> S::F {
        s.dot_bf16(acc, a, b)
    }
    #[inline(always)]
    unsafe fn load_out<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { Float::load_out(s, p, n) }
    }
    #[inline(always)]
    unsafe fn store_out<S: Simd>(s: S, p: *mut f32, n: usize, v: S::F) {
        // SAFETY: the caller's promise.
        unsafe { Float::store_out(s, p, n, v) }
    }
    fn covers(f: &FinishFloat<'_>, m: usize, n: usize, row: usize) -> bool {
        Float::covers(f, m, n, row)
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        s: S,
        f: &FinishFloat<'_>,
        v: S::F,
        row: usize,
        col: usize,
        at: usize,
        n: usize,
    ) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { Float::finish(s, f, v, row, col, at, n) }
    }
}

/// The bits of the nearest bf16 number, ties to even.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding could carry the bits of a NaN to infinity.
    if x.is_nan() { bits >> 16 | 0x40 } else { nearest }
}

#[inline(always)]
fn pair(low: f32, high: f32) -> u32 {
    rounded(low) | rounded(high) << 16
}

/// A right operand packed once for one instruction set.
pub struct PackedHalf {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    panels: Aligned<u32>,
}

impl PackedHalf {
    /// Packs `b` (`k` rows, `n` columns).
    pub fn pack(isa: Isa, b: Matrix<'_>) -> Self {
        let width = Kernels::<Halves>::of(isa).panel;
        let (k, n) = (b.rows, b.cols);
        let words = k.div_ceil(2);
        let len = n.div_ceil(width).checked_mul(width).and_then(|n| n.checked_mul(words));
        let mut panels = Aligned::zeroed(len.expect("packed size overflows"));
        let mut floats = vec![0.0; 2 * words * width];
        for (i, panel) in panels.chunks_exact_mut((words * width).max(1)).enumerate() {
            pack_panel(b, 0..k, i * width..n.min((i + 1) * width), width, &mut floats[..k * width]);
            vectorised(
                isa,
                #[inline(always)]
                || {
                    for (words, floats) in panel.chunks_exact_mut(width).zip(floats.chunks_exact(2 * width)) {
                        let (low, high) = floats.split_at(width);
                        let halves = low.iter().zip(high);
                        words.iter_mut().zip(halves).for_each(|(word, (&x, &y))| *word = pair(x, y));
                    }
                },
            );
        }
        Self { isa, k, n, panels }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.panels[..])
    }
}

/// A product whose right operand is packed in halves; `whole` has all else.
pub(super) struct HalfGemm<'a> {
    pub whole: Gemm<'a>,
    pub b: &'a PackedHalf,
}

impl Problem for HalfGemm<'_> {
    type A = Halves;

    fn dims(&self) -> drive::Dims {
        drive::Dims { k: self.b.k.div_ceil(2), ..self.whole.dims() }
    }

    fn layout(&self) -> Layout {
        self.whole.layout()
    }

    fn left(&self, _: usize) -> Operand<'_, u32> {
        Operand::OnTheSpot
    }

    fn right(&self, _: usize) -> Operand<'_, u32> {
        Operand::Packed(&self.b.panels)
    }

    fn pack_left(&self, batch: usize, rows: Range<usize>, out: &mut [u32]) {
        let Lhs::Plain(a) = self.whole.a else { unreachable!("left operands are rounded as they come") };
        let a = a.moved(self.whole.batch.a[batch]);
        let height = rows.len();
        for (i, row) in rows.enumerate() {
            let out = out.iter_mut().skip(i).step_by(height);
            if a.col_stride == 1 {
                let row = &a.data[row * a.row_stride..][..a.cols];
                out.zip(row.chunks(2))
                    .for_each(|(out, x)| *out = pair(x[0], x.get(1).copied().unwrap_or(0.0)));
            } else {
                let at = |col: usize| if col < a.cols { a.at(row, col) } else { 0.0 };
                out.enumerate().for_each(|(word, out)| *out = pair(at(2 * word), at(2 * word + 1)));
            }
        }
    }

    fn pack_right(&self, _: usize, _: Range<usize>, _: Range<usize>, _: usize, _: &mut [u32]) {
        unreachable!("the right operand is packed");
    }

    fn finish(&self, batch: usize) -> FinishFloat<'_> {
        self.whole.finish(batch)
    }

    fn after<'a>(&self, rows: impl Iterator<Item = &'a mut [f32]>) {
        self.whole.after(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn numbers_round_as_bf16_does() {
        let mut bits = 0u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            assert_eq!(rounded(x), u32::from(half::bf16::from_f32(x).to_bits()), "{x}");
        }
        assert_eq!(rounded(f32::INFINITY), 0x7f80);
    }
}
