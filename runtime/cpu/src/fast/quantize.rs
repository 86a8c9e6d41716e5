//! From 32-bit sums back to 8 bits.

use super::gemm::Quantized;
use super::simd::{Simd, Task};
use super::{Exec, Isa};

/// `saturate(round_to_even((sum + bias) · scale) + zero)`, with one scale and bias for each channel.
#[derive(Clone, Copy)]
pub struct Requantize<'a, T> {
    /// Input scale · weight scale / output scale: one, or one for each channel.
    pub scale: &'a [f32],
    /// None, or one for each channel.
    pub bias: Option<&'a [i32]>,
    pub zero: T,
}

impl<T: Quantized> Requantize<'_, T> {
    pub(crate) fn check(&self, channels: usize) {
        assert!(self.scale.len() == 1 || self.scale.len() == channels, "one scale, or one for each channel");
        assert!(self.bias.is_none_or(|bias| bias.len() == channels), "one bias for each channel");
    }

    /// Converts sums whose channels lie side by side.
    fn row(&self, isa: Isa, sums: &[i32], out: &mut [T]) {
        let one = self.scale.len() == 1;
        let scale = |i: usize| self.scale[if one { 0 } else { i }];
        let bias = |i: usize| self.bias.map_or(0, |bias| bias[i]);
        isa.run(Row { sums, out, scale, bias, zero: self.zero });
    }
}

/// Converts the rows of a product whose columns are the channels.
///
/// # Panics
/// If the sizes do not fit together.
pub fn requantize_rows<T: Quantized>(
    exec: Exec<'_>,
    sums: &[i32],
    columns: usize,
    how: &Requantize<'_, T>,
    out: &mut [T],
) {
    how.check(columns);
    assert_eq!(sums.len(), out.len(), "sizes of sums and output");
    if columns == 0 {
        return;
    }
    let rows = (16 * 1024 / columns).max(1);
    exec.pool.parallel_chunks(out, rows * columns, &|piece, out| {
        let sums = &sums[piece * rows * columns..][..out.len()];
        for (sums, out) in sums.chunks(columns).zip(out.chunks_mut(columns)) {
            how.row(exec.isa, sums, out);
        }
    });
}

/// The nearest integer, ties to even, of a number below 2²² in size: adding 1.5 · 2²³ leaves no fraction bits,
/// and vectorises where a saturating conversion does not.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

struct Row<'a, T, F, G> {
    sums: &'a [i32],
    out: &'a mut [T],
    scale: F,
    bias: G,
    zero: T,
}

impl<T: Quantized, F: Fn(usize) -> f32, G: Fn(usize) -> i32> Task for Row<'_, T, F, G> {
    type Output = ();

    /// Left to the compiler to vectorise: all steps are plain loops over 32 elements.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let zero = self.zero.widen();
        let (low, high) = ((T::MIN - zero) as f32, (T::MAX - zero) as f32);
        for (i, (sums, out)) in self.sums.chunks(32).zip(self.out.chunks_mut(32)).enumerate() {
            for (j, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
                let at = i * 32 + j;
                let scaled = sum.wrapping_add((self.bias)(at)) as f32 * (self.scale)(at);
                *out = T::narrow(nearest(scaled.max(low).min(high)) + zero);
            }
        }
    }
}
