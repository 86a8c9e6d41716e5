//! Codes to codes without sums of products: addition, other codings, pooling.

use super::BytesLast;
use super::finish::Coding;
use crate::fast::Exec;
use crate::fast::conv::Window;
use crate::fast::simd::{Simd, Task};
use crate::pool::SharedSlice;

/// Bytes of one piece of work.
const PIECE: usize = 16 * 1024;

/// Codes and what they mean.
pub type Coded<'a> = (&'a [u8], Coding);

/// `out = code(min(max(a + b, low), high))`, element by element.
///
/// # Panics
/// If the sizes differ.
pub fn add(exec: Exec<'_>, a: Coded<'_>, b: Coded<'_>, bounds: [f32; 2], to: Coding, out: &mut [u8]) {
    assert!(a.0.len() == out.len() && b.0.len() == out.len(), "sizes of the operands");
    exec.pool.parallel_chunks(out, PIECE, &|piece, out| {
        let part = piece * PIECE..piece * PIECE + out.len();
        let (a, b) = ((&a.0[part.clone()], a.1), (&b.0[part], b.1));
        exec.isa.run(Add { a, b, bounds, to, out });
    });
}

struct Add<'a> {
    a: Coded<'a>,
    b: Coded<'a>,
    bounds: [f32; 2],
    to: Coding,
    out: &'a mut [u8],
}

impl Task for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [low, high] = self.bounds.map(|x| s.splat(x));
        let (a, b, to) = (self.a.1.vectors(s), self.b.1.vectors(s), self.to.vectors(s));
        each(s, self.out, |at, n| {
            let (x, y) = (self.a.0.as_ptr().wrapping_add(at), self.b.0.as_ptr().wrapping_add(at));
            // SAFETY: both operands are as long as the output.
            let (x, y) = unsafe { (s.load_bytes(x, n), s.load_bytes(y, n)) };
            let sum = s.add(a.decode(x), b.decode(y));
            to.encode(s.min(s.max(sum, low), high))
        });
    }
}

/// Stores what `get(first, number of elements)` returns for all of `out`, a vector at a time.
#[inline(always)]
pub(super) fn each<S: Simd>(s: S, out: &mut [u8], get: impl Fn(usize, usize) -> S::I) {
    let mut at = 0;
    while at < out.len() {
        let n = (out.len() - at).min(S::LANES);
        let codes = get(at, n);
        // SAFETY: `n` bytes are left.
        unsafe { s.store_bytes(out.as_mut_ptr().add(at), n, codes) };
        at += n;
    }
}

/// Images joined along their channels, each element coded anew where that changes anything.
///
/// # Panics
/// If the parts do not add up to the output.
pub fn concat(exec: Exec<'_>, parts: &[(Coded<'_>, usize)], to: Coding, out: &mut [u8]) {
    let channels: usize = parts.iter().map(|(_, channels)| channels).sum();
    if channels == 0 {
        return;
    }
    let pixels = out.len() / channels;
    let fits = parts.iter().all(|((x, _), channels)| x.len() == pixels * channels);
    assert!(fits && out.len() == pixels * channels, "sizes of the parts");
    let per_piece = (PIECE / channels).max(1);
    exec.pool.parallel_chunks(out, per_piece * channels, &|piece, out| {
        let mut start = 0;
        for &((x, coding), width) in parts {
            let x = &x[piece * per_piece * width..];
            let pixels = out.chunks_exact_mut(channels).map(|out| &mut out[start..start + width]);
            exec.isa.run(Recode { coding, to, pixels: pixels.zip(x.chunks_exact(width.max(1))) });
            start += width;
        }
    });
}

struct Recode<P> {
    coding: Coding,
    to: Coding,
    pixels: P,
}

impl<'a, P: Iterator<Item = (&'a mut [u8], &'a [u8])>> Task for Recode<P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.coding == self.to {
            self.pixels.for_each(|(out, x)| out.copy_from_slice(x));
            return;
        }
        let (from, to) = (self.coding.vectors(s), self.to.vectors(s));
        for (out, x) in self.pixels {
            each(s, out, |at, n| {
                // SAFETY: both are of one length.
                let bytes = unsafe { s.load_bytes(x.as_ptr().add(at), n) };
                to.encode(from.decode(bytes))
            });
        }
    }
}

/// The largest code of each window, coded anew where that changes anything. Padding does not count.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn largest(
    exec: Exec<'_>,
    input: BytesLast<'_>,
    channels: usize,
    window: Window,
    (from, to): (Coding, Coding),
    out: &mut [u8],
) {
    let [height, width] = window.output(input.size).expect("the window does not fit the images");
    let row = width * channels;
    assert_eq!(input.data.len(), input.count * input.size[0] * input.size[1] * channels, "size of the input");
    assert_eq!(out.len(), input.count * height * row, "size of the output");
    let (rows, all) = ((PIECE / row.max(1)).max(1), input.count * height);
    let out = SharedSlice::new(out);
    exec.pool.parallel_for(all.div_ceil(rows), &|piece| {
        for at in piece * rows..all.min((piece + 1) * rows) {
            // SAFETY: each row belongs to one piece.
            let out = unsafe { out.range(at * row..(at + 1) * row) };
            let image = &input.data[at / height * input.size[0] * input.size[1] * channels..];
            let y = at % height;
            exec.isa.run(LargestRow { image, size: input.size, channels, window, from, to, y, out });
        }
    });
}

struct LargestRow<'a> {
    image: &'a [u8],
    size: [usize; 2],
    channels: usize,
    window: Window,
    from: Coding,
    to: Coding,
    y: usize,
    out: &'a mut [u8],
}

impl Task for LargestRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = self.window;
        // The taps along an axis that see the image.
        let seen = |axis: usize, at: usize| {
            let (start, dilation) = (at * w.strides[axis], w.dilations[axis]);
            let first = w.pads[axis].saturating_sub(start).div_ceil(dilation);
            let end = (self.size[axis] + w.pads[axis]).saturating_sub(start).div_ceil(dilation);
            (first..end.min(w.kernel[axis])).map(move |tap| start + tap * dilation - w.pads[axis])
        };
        let flip = s.splat_i(self.from.flip() & 0xff);
        let (from, to) = (self.from.vectors(s), self.to.vectors(s));
        for (x, out) in self.out.chunks_exact_mut(self.channels).enumerate() {
            each(s, out, |at, n| {
                let mut most = s.splat_i(0);
                for y in seen(0, self.y) {
                    for x in seen(1, x) {
                        let place = (y * self.size[1] + x) * self.channels + at;
                        // SAFETY: the pixel is inside of the image.
                        let bytes = unsafe { s.load_bytes(self.image.as_ptr().add(place), n) };
                        most = s.max_i(most, s.xor_i(bytes, flip));
                    }
                }
                let most = s.xor_i(most, flip);
                if self.from == self.to { most } else { to.encode(from.decode(most)) }
            });
        }
    }
}

/// The mean of each channel over all pixels of an image.
///
/// # Panics
/// If the sizes do not fit together.
pub fn average(
    exec: Exec<'_>,
    input: BytesLast<'_>,
    channels: usize,
    (from, to): (Coding, Coding),
    out: &mut [u8],
) {
    const BLOCK: usize = 64;
    let pixels = input.size[0] * input.size[1];
    assert_eq!(input.data.len(), input.count * pixels * channels, "size of the input");
    assert_eq!(out.len(), input.count * channels, "size of the output");
    let blocks = channels.div_ceil(BLOCK);
    let shared = SharedSlice::new(out);
    exec.pool.parallel_for(input.count * blocks, &|piece| {
        let (image, first) = (piece / blocks, piece % blocks * BLOCK);
        let n = (channels - first).min(BLOCK);
        // SAFETY: blocks of channels are disjoint.
        let out = unsafe { shared.range(image * channels + first..image * channels + first + n) };
        let mut sums = [0i32; BLOCK];
        let rows = &input.data[image * pixels * channels..(image + 1) * pixels * channels];
        exec.isa.run(Sum { rows, channels, first, sums: &mut sums[..n], flip: from.flip() & 0xff });
        for (out, sum) in out.iter_mut().zip(sums) {
            let sum = f64::from(sum) - pixels as f64 * f64::from(from.unsigned_zero());
            *out = to.code((sum * f64::from(from.scale) / pixels as f64) as f32);
        }
    });
}

struct Sum<'a> {
    rows: &'a [u8],
    channels: usize,
    first: usize,
    sums: &'a mut [i32],
    flip: i32,
}

impl Task for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, sums) in self.sums.chunks_mut(S::LANES).enumerate() {
            let mut sum = s.splat_i(0);
            for pixel in self.rows.chunks_exact(self.channels) {
                // SAFETY: these channels are inside of the pixel.
                let bytes =
                    unsafe { s.load_bytes(pixel.as_ptr().add(self.first + i * S::LANES), sums.len()) };
                sum = s.add_i(sum, s.xor_i(bytes, s.splat_i(self.flip)));
            }
            // SAFETY: as many elements as the slice has, which is at most a vector.
            unsafe { s.store_part_i(sums.as_mut_ptr(), sums.len(), sum) };
        }
    }
}
