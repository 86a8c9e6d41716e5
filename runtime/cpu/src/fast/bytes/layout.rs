//! Between channels first, where numbers usually are, and channels last.

use super::elementwise::each;
use super::finish::Coding;
use crate::fast::Exec;
use crate::fast::simd::{Simd, Task};
use crate::pool::SharedSlice;

/// Pixels of one piece of work.
const PIECE: usize = 2048;
/// The most lanes of a vector.
const LANES: usize = 16;

/// How elements that lie plane by plane become bytes.
trait Planes: Copy + Sync {
    fn len(&self) -> usize;
    /// # Safety
    /// `at + n` is at most `len`, `n` at most a vector.
    unsafe fn get<S: Simd>(&self, s: S, at: usize, n: usize) -> S::I;
}

impl Planes for (&[f32], Coding) {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    unsafe fn get<S: Simd>(&self, s: S, at: usize, n: usize) -> S::I {
        // SAFETY: the caller's promise.
        let x = unsafe {
            let p = self.0.as_ptr().add(at);
            if n == S::LANES { s.load(p) } else { s.load_part(p, n) }
        };
        self.1.vectors(s).encode(x)
    }
}

impl Planes for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline(always)]
    unsafe fn get<S: Simd>(&self, s: S, at: usize, n: usize) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_bytes(self.as_ptr().add(at), n) }
    }
}

/// Quantises images whose channels come first.
///
/// # Panics
/// If the sizes differ, or are no whole number of images.
pub fn quantise_last(exec: Exec<'_>, x: &[f32], [channels, pixels]: [usize; 2], to: Coding, out: &mut [u8]) {
    to_last(exec, (x, to), [channels, pixels], out);
}

/// Bytes of images whose channels come first, with the channels last.
///
/// # Panics
/// If the sizes differ, or are no whole number of images.
pub fn bytes_last(exec: Exec<'_>, x: &[u8], [channels, pixels]: [usize; 2], out: &mut [u8]) {
    to_last(exec, x, [channels, pixels], out);
}

fn to_last<P: Planes>(exec: Exec<'_>, planes: P, [channels, pixels]: [usize; 2], out: &mut [u8]) {
    let image = channels * pixels;
    assert!(
        planes.len() == out.len() && (image == 0 || out.len().is_multiple_of(image)),
        "sizes of the images"
    );
    if out.is_empty() {
        return;
    }
    if channels == 1 || pixels == 1 {
        // The layouts are the same.
        exec.pool.parallel_chunks(out, 4 * PIECE, &|piece, out| {
            exec.isa.run(Straight { planes, start: piece * 4 * PIECE, out });
        });
        return;
    }
    let pieces = pixels.div_ceil(PIECE);
    let shared = SharedSlice::new(out);
    exec.pool.parallel_for(planes.len() / image * pieces, &|piece| {
        let (image_at, first) = (piece / pieces * image, piece % pieces * PIECE);
        let n = (pixels - first).min(PIECE);
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.range(image_at + first * channels..image_at + (first + n) * channels) };
        exec.isa.run(Weave { planes, start: image_at + first, plane: pixels, channels, out });
    });
}

struct Straight<'a, P> {
    planes: P,
    start: usize,
    out: &'a mut [u8],
}

impl<P: Planes> Task for Straight<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the planes are as long as all of the output.
        each(s, self.out, |at, n| unsafe { self.planes.get(s, self.start + at, n) });
    }
}

struct Weave<'a, P> {
    planes: P,
    /// The first pixel in the first plane.
    start: usize,
    plane: usize,
    channels: usize,
    out: &'a mut [u8],
}

impl<P: Planes> Task for Weave<'_, P> {
    type Output = ();

    /// Four channels at a time become words, which are stored pixel by pixel.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pixels = self.out.len() / self.channels;
        for first in (0..pixels).step_by(S::LANES) {
            let n = (pixels - first).min(S::LANES);
            for channel in (0..self.channels).step_by(4) {
                let width = (self.channels - channel).min(4);
                let mut bytes = [s.splat_i(0); 4];
                for (i, byte) in bytes.iter_mut().enumerate().take(width) {
                    // SAFETY: these pixels of these channels are inside of the planes.
                    let code =
                        unsafe { self.planes.get(s, self.start + (channel + i) * self.plane + first, n) };
                    *byte = s.byte::<0>(code);
                }
                let low = s.or_i(bytes[0], s.shift_left::<8>(bytes[1]));
                let high = s.or_i(s.shift_left::<16>(bytes[2]), s.shift_left::<24>(bytes[3]));
                let mut words = [0i32; LANES];
                // SAFETY: a vector has at most `LANES` elements.
                unsafe { s.store_i(words.as_mut_ptr(), s.or_i(low, high)) };
                let start = first * self.channels + channel;
                for (i, word) in words.iter().take(n).enumerate() {
                    let out = &mut self.out[start + i * self.channels..];
                    let bytes = word.to_le_bytes();
                    // Of narrow pixels the next one is stored over what is too much.
                    match out.first_chunk_mut() {
                        Some(out) if width == 4 || self.channels < 4 => *out = bytes,
                        _ => out[..width].copy_from_slice(&bytes[..width]),
                    }
                }
            }
        }
    }
}

/// Dequantises images whose channels are last into planes.
///
/// # Panics
/// If the sizes differ, or are no whole number of images.
pub fn dequantise_first(
    exec: Exec<'_>,
    x: &[u8],
    [channels, pixels]: [usize; 2],
    from: Coding,
    out: &mut [f32],
) {
    to_first(exec, x, [channels, pixels], out, Numbers(from));
}

/// Bytes of images whose channels are last as planes.
///
/// # Panics
/// If the sizes differ, or are no whole number of images.
pub fn bytes_first(exec: Exec<'_>, x: &[u8], [channels, pixels]: [usize; 2], out: &mut [u8]) {
    to_first(exec, x, [channels, pixels], out, Bytes);
}

/// What bytes become in planes.
trait Element: Copy + Sync {
    type Out: Send;
    /// # Safety
    /// `out` is writable for `n` elements.
    unsafe fn put<S: Simd>(self, s: S, bytes: S::I, out: *mut Self::Out, n: usize);
}

#[derive(Clone, Copy)]
struct Numbers(Coding);

impl Element for Numbers {
    type Out = f32;

    #[inline(always)]
    unsafe fn put<S: Simd>(self, s: S, bytes: S::I, out: *mut f32, n: usize) {
        let x = self.0.vectors(s).decode(bytes);
        // SAFETY: the caller's promise.
        unsafe { if n == S::LANES { s.store(out, x) } else { s.store_part(out, n, x) } }
    }
}

#[derive(Clone, Copy)]
struct Bytes;

impl Element for Bytes {
    type Out = u8;

    #[inline(always)]
    unsafe fn put<S: Simd>(self, s: S, bytes: S::I, out: *mut u8, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { s.store_bytes(out, n, bytes) }
    }
}

fn to_first<E: Element>(
    exec: Exec<'_>,
    x: &[u8],
    [channels, pixels]: [usize; 2],
    out: &mut [E::Out],
    element: E,
) {
    let image = channels * pixels;
    assert!(x.len() == out.len() && (image == 0 || out.len().is_multiple_of(image)), "sizes of the images");
    if out.is_empty() {
        return;
    }
    let pieces = pixels.div_ceil(PIECE);
    let shared = SharedSlice::new(out);
    exec.pool.parallel_for(x.len() / image * pieces, &|piece| {
        let (image_at, first) = (piece / pieces * image, piece % pieces * PIECE);
        let n = (pixels - first).min(PIECE);
        let x = &x[image_at + first * channels..][..n * channels];
        exec.isa.run(Part { x, channels, element, out: shared, start: image_at + first, plane: pixels });
    });
}

struct Part<'a, E: Element> {
    x: &'a [u8],
    channels: usize,
    element: E,
    out: SharedSlice<'a, E::Out>,
    /// The first pixel in the first plane.
    start: usize,
    plane: usize,
}

impl<E: Element> Task for Part<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pixels = self.x.len() / self.channels;
        for first in (0..pixels).step_by(S::LANES) {
            let n = (pixels - first).min(S::LANES);
            for channel in (0..self.channels).step_by(4) {
                let width = (self.channels - channel).min(4);
                let mut words = [0i32; LANES];
                for (i, word) in words.iter_mut().take(n).enumerate() {
                    let x = &self.x[(first + i) * self.channels + channel..];
                    let mut bytes = [0; 4];
                    match x.first_chunk() {
                        Some(x) => bytes = *x,
                        None => bytes[..width].copy_from_slice(&x[..width]),
                    }
                    *word = i32::from_le_bytes(bytes);
                }
                // SAFETY: a vector has at most `LANES` elements.
                let words = unsafe { s.load_i(words.as_ptr()) };
                let bytes = [s.byte::<0>(words), s.byte::<1>(words), s.byte::<2>(words), s.byte::<3>(words)];
                for (i, bytes) in bytes.into_iter().take(width).enumerate() {
                    let at = self.start + (channel + i) * self.plane + first;
                    // SAFETY: these pixels belong to this piece alone.
                    unsafe { self.element.put(s, bytes, self.out.range(at..at + n).as_mut_ptr(), n) };
                }
            }
        }
    }
}
