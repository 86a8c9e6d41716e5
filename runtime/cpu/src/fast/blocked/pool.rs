//! Pooling.

use super::walk::{ALL, Gather, Walk};
use super::{BLOCK, Blocked, Output, Pixel, blocks, load};
use crate::fast::Exec;
use crate::fast::conv::Window;
use crate::fast::pooling::{Pooling, counted};
use crate::fast::simd::{Simd, Task};

/// Pixels of one piece of work.
const PIECE: usize = 1024;

/// Pools each channel of each image.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn pool(exec: Exec<'_>, pooling: Pooling, input: Blocked<'_>, window: Window, output: &mut [f32]) {
    let [height, width] = window.output(input.size).expect("the window does not fit the images");
    let (planes, in_plane) = (input.planes(), input.pixels());
    let count = input.count * blocks(input.channels);
    let out = Output::new(output, count, height * width);
    let rows = (PIECE / width.max(1)).clamp(1, height.max(1));
    let parts = height.div_ceil(rows);
    let in_blocks = blocks(input.channels);
    exec.pool.parallel_for(count * parts, &|piece| {
        let (rest, block) = (piece / in_blocks, piece % in_blocks);
        let (plane, part) = (rest / parts * in_blocks + block, rest % parts);
        let rows = part * rows..height.min((part + 1) * rows);
        // SAFETY: no other piece has these rows of this plane.
        let out = unsafe { out.range(plane, rows.start * width..rows.end * width) };
        let source = &planes[plane * in_plane..][..in_plane];
        let size = input.size;
        match pooling {
            Pooling::Max => exec.isa.run(Walk {
                gather: &Largest,
                window,
                size,
                plane: source,
                held: ALL,
                rows,
                width,
                out,
            }),
            Pooling::Average { counted: pads } => {
                let gather = &Mean { window, size, pads };
                exec.isa.run(Walk { gather, window, size, plane: source, held: ALL, rows, width, out })
            }
        }
    });
}

struct Largest;

impl Gather for Largest {
    #[inline(always)]
    fn start<S: Simd>(&self, s: S, _: usize) -> S::F {
        s.splat(f32::NEG_INFINITY)
    }
    #[inline(always)]
    fn weight<S: Simd>(&self, s: S, _: usize, _: usize) -> S::F {
        s.splat(1.0)
    }
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, sum: S::F, x: S::F, _: S::F) -> S::F {
        s.max(sum, x)
    }
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, sum: S::F, _: [usize; 2], _: usize) -> S::F {
        sum
    }
}

struct Mean {
    window: Window,
    size: [usize; 2],
    pads: [usize; 4],
}

impl Gather for Mean {
    #[inline(always)]
    fn start<S: Simd>(&self, s: S, _: usize) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn weight<S: Simd>(&self, s: S, _: usize, _: usize) -> S::F {
        s.splat(1.0)
    }
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, sum: S::F, x: S::F, _: S::F) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, sum: S::F, pixel: [usize; 2], _: usize) -> S::F {
        let along = |axis: usize| counted(self.window, self.size, self.pads, axis, pixel[axis]);
        s.div(sum, s.splat((along(0) * along(1)) as f32))
    }
}

/// The mean of each channel of each image.
///
/// # Panics
/// If the sizes do not fit together.
pub fn mean(exec: Exec<'_>, input: Blocked<'_>, output: &mut [f32]) {
    let (planes, plane) = (input.planes(), input.pixels());
    let (out, rest) = output.as_chunks_mut::<BLOCK>();
    assert!(rest.is_empty() && out.len() == input.count * blocks(input.channels), "size of the output");
    let grain = (PIECE / plane.max(1)).max(1);
    exec.pool.parallel_chunks(out, grain, &|piece, out| {
        for (i, out) in out.iter_mut().enumerate() {
            let plane = &planes[(piece * grain + i) * plane..][..plane];
            exec.isa.run(Sum { plane, out });
            out.iter_mut().for_each(|x| *x /= plane.len() as f32);
        }
    });
}

struct Sum<'a> {
    plane: &'a [Pixel],
    out: &'a mut Pixel,
}

impl Task for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        /// Sums side by side, each over every eighth pixel of a stretch.
        const SUMS: usize = 8;
        /// Pixels that are added up before their sum is: errors grow with this and with how many there are.
        const STRETCH: usize = 256;
        for part in (0..BLOCK).step_by(S::LANES) {
            let mut total = s.splat(0.0);
            for stretch in self.plane.chunks(STRETCH) {
                let mut sums = [s.splat(0.0); SUMS];
                for pixels in stretch.chunks(SUMS) {
                    for (sum, pixel) in sums.iter_mut().zip(pixels) {
                        *sum = s.add(*sum, load(s, pixel, part));
                    }
                }
                total = sums.into_iter().fold(
                    total,
                    #[inline(always)]
                    |total, sum| s.add(total, sum),
                );
            }
            // SAFETY: a vector from `part` on lies in the pixel.
            unsafe { s.store(self.out.as_mut_ptr().add(part), total) }
        }
    }
}
