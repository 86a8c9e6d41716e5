//! One kernel per channel.
//!
//! Up to four rows of the image, a byte of each, make words; a word times a word of weights is then what one
//! column of the kernel adds to a sum. From pixel to pixel most words stay, and are kept in registers.

use super::BytesLast;
use super::finish::{ChannelVectors, Coding, Finish, FinishVectors, SLACK, around};
use super::weights::{Weights, part};
use crate::fast::Exec;
use crate::fast::conv::Window;
use crate::fast::gemm::split;
use crate::fast::simd::{Simd, Task};
use crate::memory::Aligned;
use crate::pool::SharedSlice;
use smallvec::SmallVec;

/// Output bytes of one piece of work.
const PIECE: usize = 16 * 1024;
/// Rows in a word.
const ROWS: usize = 4;

pub(super) struct Depthwise {
    channels: usize,
    window: Window,
    input: Coding,
    /// The rows of the kernel, each as often as its weights have parts.
    rows: Vec<usize>,
    /// For each four of those rows and each column, words of weights: one for each channel, and on.
    weights: Aligned<i32>,
    /// A pixel of zero points.
    zeros: Vec<u8>,
}

impl Depthwise {
    pub fn new(channels: usize, window: Window, input: Coding, weights: &Weights) -> Self {
        let [height, width] = window.kernel;
        let rows: Vec<(usize, usize)> =
            (0..weights.parts()).flat_map(|i| (0..height).map(move |row| (i, row))).collect();
        let mut packed = Vec::new();
        for rows in rows.chunks(ROWS) {
            for col in 0..width {
                let word = |channel: usize| {
                    let mut bytes = [0; ROWS];
                    for (byte, &(i, row)) in bytes.iter_mut().zip(rows) {
                        *byte = part(weights.get(channel, 0, [row, col]), i) as i8 as u8;
                    }
                    i32::from_le_bytes(bytes)
                };
                packed.extend(around(&(0..channels).map(word).collect::<Vec<i32>>(), channels));
            }
        }
        let mut weights = Aligned::zeroed(packed.len());
        weights.copy_from_slice(&packed);
        let (rows, zeros) =
            (rows.into_iter().map(|(_, row)| row).collect(), vec![input.zero as u8; channels]);
        Self { channels, window, input, rows, weights, zeros }
    }

    pub fn run(
        &self,
        exec: Exec<'_>,
        input: BytesLast<'_>,
        (bias, finish): (&[i32], &Finish),
        output: &mut [u8],
    ) {
        let [height, width] = self.window.output(input.size).expect("checked by the caller");
        let row = width * self.channels;
        let rows = (PIECE / row.max(1)).clamp(1, height.div_ceil(4));
        let image_len = input.size[0] * input.size[1] * self.channels;
        let (out, all) = (SharedSlice::new(output), input.count * height);
        let pieces = split::pieces(all, rows, exec.pool.threads()).min(all);
        exec.pool.parallel_for(pieces, &|piece| {
            for at in split::part(all, pieces, piece) {
                // SAFETY: each row belongs to one piece.
                let out = unsafe { out.range(at * row..(at + 1) * row) };
                let image = &input.data[at / height * image_len..][..image_len];
                let (sources, width) = (self.sources(image, input.size, at % height), input.size[1]);
                exec.isa.run(Row { depthwise: self, sources, width, bias, finish, out });
            }
        });
    }

    /// Where the rows of the kernel lie for row `y` of the output: the first pixel, and how far apart pixels are. Rows
    /// outside of the image, and those that fill up a word, are one pixel of zero points over and over.
    fn sources<'a>(&'a self, image: &'a [u8], size: [usize; 2], y: usize) -> Sources<'a> {
        let (window, row) = (self.window, size[1] * self.channels);
        let source = |at: usize| {
            let y = y * window.strides[0] + self.rows.get(at)? * window.dilations[0];
            let y = y.checked_sub(window.pads[0]).filter(|&y| y < size[0])?;
            Some((&image[y * row..(y + 1) * row], self.channels))
        };
        let filled = self.rows.len().next_multiple_of(ROWS);
        (0..filled).map(|at| source(at).unwrap_or((&self.zeros[..], 0))).collect()
    }
}

/// Rows of the image, and the distance of their pixels.
type Sources<'a> = SmallVec<[(&'a [u8], usize); 2 * ROWS]>;

/// One row of the output.
struct Row<'a> {
    depthwise: &'a Depthwise,
    sources: Sources<'a>,
    /// Pixels in a row of the input.
    width: usize,
    bias: &'a [i32],
    finish: &'a Finish,
    out: &'a mut [u8],
}

impl Task for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.finish.continues() {
            false => self.vectors::<S, false>(s),
            true => self.vectors::<S, true>(s),
        }
    }
}

impl Row<'_> {
    /// All pixels of the row, a vector of channels after the other.
    #[inline(always)]
    fn vectors<S: Simd, const THEN: bool>(self, s: S) {
        let d = self.depthwise;
        let finish = self.finish.vectors(s);
        let (out, pixels) = (self.out.as_mut_ptr(), self.out.len() / d.channels);
        for first in (0..d.channels).step_by(S::LANES) {
            let n = (d.channels - first).min(S::LANES);
            // SAFETY: `first` is a channel, and `SLACK` more are behind the last one; the `n` bytes of each pixel
            // are inside of the row.
            unsafe {
                let channels = finish.channels::<THEN>(first);
                let bias = s.load_i(self.bias.as_ptr().add(first));
                let put =
                    Put::<S, THEN> { finish: &finish, channels, out: out.add(first), step: d.channels, n };
                match (d.rows.len(), d.window.kernel[1], d.window.strides[1]) {
                    _ if d.window.dilations[1] > 1 || n < S::LANES => self.anew(s, first, bias, pixels, put),
                    // The common cases keep their words and weights in registers.
                    (3, 3, 1) => self.slide::<S, THEN, 3, 1, 3, 1>(s, first, bias, pixels, put),
                    (3, 3, 2) => self.slide::<S, THEN, 3, 1, 3, 2>(s, first, bias, pixels, put),
                    (5, 5, 1) => self.slide::<S, THEN, 4, 2, 5, 1>(s, first, bias, pixels, put),
                    (5, 5, 2) => self.slide::<S, THEN, 4, 2, 5, 2>(s, first, bias, pixels, put),
                    _ => self.anew(s, first, bias, pixels, put),
                }
            }
        }
    }

    /// The weights of four rows and a column for the channels from `first`.
    #[inline(always)]
    fn weights<S: Simd>(&self, s: S, group: usize, col: usize, first: usize) -> S::I {
        let d = self.depthwise;
        let at = (group * d.window.kernel[1] + col) * (d.channels + SLACK) + first;
        // SAFETY: there are words for each group and column, and `SLACK` more behind the channels.
        unsafe { s.load_i(d.weights[at..].as_ptr()) }
    }

    /// A word of zero points.
    #[inline(always)]
    fn zero<S: Simd>(&self, s: S) -> S::I {
        s.splat_i(i32::from_ne_bytes([self.depthwise.input.unsigned_zero() as u8; 4]))
    }

    /// Kernels of `G` times up to four rows, `R` of each, and `K` columns, `STRIDE` apart, for a whole vector of
    /// channels.
    ///
    /// # Safety
    /// The kernel is of that size, the channels are there, and `put` can take the pixels.
    #[inline(always)]
    unsafe fn slide<
        S: Simd,
        const THEN: bool,
        const R: usize,
        const G: usize,
        const K: usize,
        const STRIDE: usize,
    >(
        &self,
        s: S,
        first: usize,
        bias: S::I,
        pixels: usize,
        put: Put<'_, S, THEN>,
    ) {
        let zero = self.zero(s);
        let mut weights = [[zero; K]; G];
        let mut sources = [[(std::ptr::null::<u8>(), 0); R]; G];
        for (g, (weights, sources)) in weights.iter_mut().zip(&mut sources).enumerate() {
            for (k, weight) in weights.iter_mut().enumerate() {
                *weight = self.weights(s, g, k, first);
            }
            for (r, own) in sources.iter_mut().enumerate() {
                let (source, step) = self.sources[g * ROWS + r];
                *own = (source[first..].as_ptr(), step);
            }
        }
        let flip = s.splat_i(self.depthwise.input.flip());
        let (before, left) = (self.depthwise.window.pads[1], self.width);
        let mut words = Words::<S, R, G, K> { s, words: [[zero; K]; G], sources, before, left, zero, flip };
        for _ in STRIDE..K {
            words.advance();
        }
        for x in 0..pixels {
            for _ in 0..STRIDE {
                words.advance();
            }
            let mut sums = bias;
            for (words, weights) in words.words.iter().zip(&weights) {
                for (&word, &weight) in words.iter().zip(weights) {
                    sums = s.dot_u8i8(sums, word, weight);
                }
            }
            // SAFETY: the caller's promise.
            unsafe { put.pixel(s, x, sums) };
        }
    }

    /// Any kernel, all words anew for each pixel.
    ///
    /// # Safety
    /// The channels are there, and `put` can take the pixels.
    #[inline(always)]
    unsafe fn anew<S: Simd, const THEN: bool>(
        &self,
        s: S,
        first: usize,
        bias: S::I,
        pixels: usize,
        put: Put<'_, S, THEN>,
    ) {
        let d = self.depthwise;
        let (zero, flip) = (self.zero(s), s.splat_i(d.input.flip()));
        for x in 0..pixels {
            let mut sums = bias;
            for (group, sources) in self.sources.chunks(ROWS).enumerate() {
                for col in 0..d.window.kernel[1] {
                    let at = x * d.window.strides[1] + col * d.window.dilations[1];
                    let at = at.wrapping_sub(d.window.pads[1]);
                    let mut word = zero;
                    if at < self.width {
                        let mut bytes = [zero; ROWS];
                        for (byte, (source, step)) in bytes.iter_mut().zip(sources) {
                            // SAFETY: the pixel is inside of the row, the channels are inside of the pixel.
                            *byte = unsafe { s.load_bytes(source[at * step + first..].as_ptr(), put.n) };
                        }
                        word = s.xor_i(weave(s, bytes), flip);
                    }
                    sums = s.dot_u8i8(sums, word, self.weights(s, group, col, first));
                }
            }
            // SAFETY: the caller's promise.
            unsafe { put.pixel(s, x, sums) };
        }
    }
}

/// Words of bytes.
#[inline(always)]
fn weave<S: Simd, const R: usize>(s: S, bytes: [S::I; R]) -> S::I {
    let mut word = s.or_i(s.or_i(bytes[0], s.shift_left::<8>(bytes[1])), s.shift_left::<16>(bytes[2]));
    if R > 3 {
        word = s.or_i(word, s.shift_left::<24>(bytes[R - 1]));
    }
    word
}

/// Where the codes of a vector of channels go.
struct Put<'a, S: Simd, const THEN: bool> {
    finish: &'a FinishVectors<'a, S>,
    channels: ChannelVectors<S>,
    out: *mut u8,
    /// From pixel to pixel.
    step: usize,
    n: usize,
}

impl<S: Simd, const THEN: bool> Put<'_, S, THEN> {
    /// # Safety
    /// `n` bytes are writable at pixel `x`.
    #[inline(always)]
    unsafe fn pixel(&self, s: S, x: usize, sums: S::I) {
        let codes = self.finish.apply::<THEN>(sums, self.channels);
        // SAFETY: the caller's promise.
        unsafe { s.store_bytes(self.out.wrapping_add(x.wrapping_mul(self.step)), self.n, codes) }
    }
}

/// The last `K` columns of words of a row.
struct Words<S: Simd, const R: usize, const G: usize, const K: usize> {
    s: S,
    words: [[S::I; K]; G],
    /// The next pixel of each row, and how far it is to the one behind.
    sources: [[(*const u8, usize); R]; G],
    /// Columns of padding, and then of the image.
    before: usize,
    left: usize,
    zero: S::I,
    flip: S::I,
}

impl<S: Simd, const R: usize, const G: usize, const K: usize> Words<S, R, G, K> {
    #[inline(always)]
    fn advance(&mut self) {
        let s = self.s;
        let inside = self.before == 0 && self.left > 0;
        if inside {
            self.left -= 1;
        } else {
            self.before = self.before.saturating_sub(1);
        }
        for g in 0..G {
            for k in 1..K {
                self.words[g][k - 1] = self.words[g][k];
            }
            self.words[g][K - 1] = self.zero;
            if inside {
                let mut bytes = [self.zero; R];
                for (byte, (source, step)) in bytes.iter_mut().zip(&mut self.sources[g]) {
                    // SAFETY: no more pixels are taken than the row has, and a vector of channels is there.
                    *byte = unsafe { s.load_bytes(*source, S::LANES) };
                    *source = source.wrapping_add(*step);
                }
                self.words[g][K - 1] = s.xor_i(weave(s, bytes), self.flip);
            }
        }
    }
}
