//! The largest of each 2 × 2 pixels, as part of the convolution that makes them: it is four times less to write, and
//! nothing to read again.

use super::direct::{Direct, PIECE, Target};
use super::{BLOCK, Output, Pixel, load};
use crate::fast::Exec;
use crate::fast::gemm::split::{self, part};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};

impl Direct<'_> {
    /// A few lines after the other, which stay in the cache until they are made smaller.
    pub(super) fn run_halved(&self, exec: Exec<'_>, images: usize, out: Output<'_>) {
        let width = self.geometry.output[1];
        let (tiles, panels, out_blocks) = (self.line.count(), self.weights.panels.len(), self.blocks[1]);
        let pairs = self.lines / 2;
        let work = 2 * pairs * width * self.weights.data.len();
        let parts = split::pieces(work, PIECE, exec.pool.threads()).min(pairs.max(1));
        exec.pool.parallel_for(images * parts, &|piece| {
            let (image, own) = (piece / parts, part(pairs, parts, piece % parts));
            let plane = 2 * own.len() * width;
            with_scratch(out_blocks * plane, |stripe: &mut [Pixel]| {
                let target = Output::new(stripe.as_flattened_mut(), out_blocks, plane);
                let target = Target { out: target, plane: 0, line: 2 * own.start, whole: false };
                self.piece(image, 2 * own.start * tiles..2 * own.end * tiles, 0..panels, target);
                for (block, stripe) in stripe.chunks_exact(plane).enumerate() {
                    let pixels = own.start * (width / 2)..own.end * (width / 2);
                    // SAFETY: no other piece has these pixels of this block.
                    let out = unsafe { out.range(image * out_blocks + block, pixels) };
                    exec.isa.run(Halve { pixels: stripe, width, out });
                    self.ending.after(block, out);
                }
            });
        });
    }
}

/// Has `whole` write planes of the given height and width, and makes them smaller.
pub(super) fn afterwards(
    exec: Exec<'_>,
    [height, width]: [usize; 2],
    planes: usize,
    out: Output<'_>,
    whole: impl FnOnce(&mut [f32]),
) {
    with_scratch(planes * height * width, |pixels: &mut [Pixel]| {
        whole(pixels.as_flattened_mut());
        exec.pool.parallel_for(planes, &|plane| {
            // SAFETY: no other piece has this plane.
            let out = unsafe { out.range(plane, 0..(height / 2) * (width / 2)) };
            let pixels = &pixels[plane * height * width..][..height / 2 * 2 * width];
            exec.isa.run(Halve { pixels, width, out });
        });
    });
}

/// Whole lines, of an even number.
struct Halve<'a> {
    pixels: &'a [Pixel],
    width: usize,
    out: &'a mut [Pixel],
}

impl Task for Halve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let half = self.width / 2;
        if half == 0 {
            return;
        }
        for (lines, out) in self.pixels.chunks_exact(2 * self.width).zip(self.out.chunks_exact_mut(half)) {
            let (above, below) = lines.split_at(self.width);
            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
            for ((above, below), out) in pairs.zip(out) {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let of = |pair: &[Pixel; 2]| s.max(load(s, &pair[0], lane), load(s, &pair[1], lane));
                    // SAFETY: a vector from `lane` on lies in the pixel.
                    unsafe { s.store(out.as_mut_ptr().add(lane), s.max(of(above), of(below))) }
                }
            }
        }
    }
}
