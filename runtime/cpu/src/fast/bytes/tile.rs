//! The micro-kernel: some neighbouring pixels times some vectors of output channels, sums in registers.

use super::finish::Finish;
use crate::fast::gemm::tile::copied;
use crate::fast::simd::Simd;

/// One tile. What a pixel is multiplied with lies in `segments` of `words` words of four bytes.
pub(super) struct Tile<'a> {
    /// Where the first pixel's window begins; its bytes are unsigned.
    pub x: *const u8,
    /// From one pixel to the next.
    pub x_pixel: usize,
    /// Where each segment begins within a window.
    pub segments: &'a [usize],
    pub words: usize,
    /// For each segment, word and output channel four weights.
    pub weights: *const i32,
    /// Added to the sums, one for each output channel.
    pub bias: *const i32,
    pub out: *mut u8,
    pub out_pixel: usize,
    /// The first output channel, and how many there are.
    pub channel: usize,
    pub n: usize,
    pub finish: &'a Finish,
}

/// Computes a tile of `P` pixels and `V` vectors.
///
/// # Safety
/// The windows of all pixels are readable, `weights` and `bias` hold `V` vectors in each row, `n` bytes are
/// writable for each pixel, `n` needs `V` vectors, and the channels are those of `finish`.
#[inline(always)]
pub(super) unsafe fn compute<S: Simd, const P: usize, const V: usize>(s: S, t: &Tile<'_>) {
    let mut sums = [[s.splat_i(0); V]; P];
    for v in 0..V {
        // SAFETY: the caller's promise.
        let bias = unsafe { s.load_i(t.bias.add(v * S::LANES)) };
        for sums in &mut sums {
            sums[v] = bias;
        }
    }
    let mut weights = t.weights;
    for &segment in t.segments {
        let mut x = t.x.wrapping_add(segment);
        for _ in 0..t.words {
            // SAFETY: the caller's promise.
            unsafe { step::<S, P, V>(s, &mut sums, (x, t.x_pixel), weights) };
            x = x.wrapping_add(4);
            weights = weights.wrapping_add(V * S::LANES);
        }
    }
    // A copy for the loops that are not unrolled keeps the sums in registers.
    let done = copied(&sums, s.splat_i(0));
    // SAFETY: the caller's promise.
    unsafe {
        match t.finish.continues() {
            false => store::<S, P, V, false>(s, t, &done),
            true => store::<S, P, V, true>(s, t, &done),
        }
    }
}

/// Adds the products of one word of each pixel.
///
/// # Safety
/// `x` is readable for a word at each of `P` pixels, `weights` for `V` vectors.
// Plain loops without closures: these must end up in registers in every caller.
#[inline(always)]
unsafe fn step<S: Simd, const P: usize, const V: usize>(
    s: S,
    sums: &mut [[S::I; V]; P],
    (x, pixel): (*const u8, usize),
    weights: *const i32,
) {
    let mut row = [s.splat_i(0); V];
    for (v, w) in row.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *w = unsafe { s.load_i(weights.add(v * S::LANES)) };
    }
    for (p, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let word = unsafe { x.add(p * pixel).cast::<i32>().read_unaligned() };
        let x = s.splat_i(word);
        for (sum, &w) in sums.iter_mut().zip(&row) {
            *sum = s.dot_u8i8(*sum, x, w);
        }
    }
}

/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn store<S: Simd, const P: usize, const V: usize, const THEN: bool>(
    s: S,
    t: &Tile<'_>,
    sums: &[[S::I; V]; P],
) {
    let finish = t.finish.vectors(s);
    for v in 0..V {
        let at = v * S::LANES;
        let n = (t.n - at).min(S::LANES);
        // SAFETY: the caller's promise.
        unsafe {
            let channels = finish.channels::<THEN>(t.channel + at);
            let mut out = t.out.add(at);
            for sums in sums {
                let codes = finish.apply::<THEN>(sums[v], channels);
                s.store_bytes(out, n, codes);
                out = out.wrapping_add(t.out_pixel);
            }
        }
    }
}
