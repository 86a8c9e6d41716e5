//! Pooling over channels-first images: as depthwise convolutions with another arithmetic.

use super::Exec;
use super::conv::{Fill, Geometry, Images, Plane, SLACK, Window};
use super::gemm::tile::{Arith, FinishFloat, Float};
use super::scratch::with_scratch;
use super::simd::Simd;

/// What is made of the elements under a window.
#[derive(Clone, Copy, Debug)]
pub enum Pooling {
    /// The largest; padding counts as minus infinity.
    Max,
    /// The mean over the elements under the window that are in the image or in this much padding around it
    /// (top, left, bottom, right); padding counts as zero.
    Average { counted: [usize; 4] },
}

/// Pools each of `channels` planes of each image.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn pool(
    exec: Exec<'_>,
    pooling: Pooling,
    input: Images<'_, f32>,
    channels: usize,
    window: Window,
    output: &mut [f32],
) {
    const PIECE: usize = 16 * 1024;
    let geometry = &Geometry::new(window, input.size).expect("the window does not fit the images");
    let (pixels, in_pixels) = (geometry.pixels(), input.size[0] * input.size[1]);
    assert_eq!(input.data.len(), input.count * channels * in_pixels, "size of the input");
    assert_eq!(output.len(), input.count * channels * pixels, "size of the output");
    let planes = (PIECE / in_pixels.max(1)).max(1);
    exec.pool.parallel_chunks(output, planes * pixels, &|piece, output| {
        with_scratch(geometry.plane() + SLACK + geometry.taps.len(), |scratch| {
            let (ones, frame) = scratch.split_at_mut(geometry.taps.len());
            ones.fill(1.0);
            for (i, output) in output.chunks_exact_mut(pixels).enumerate() {
                let source = &input.data[(piece * planes + i) * in_pixels..][..in_pixels];
                let border =
                    (i == 0).then_some(if let Pooling::Max = pooling { f32::NEG_INFINITY } else { 0.0 });
                exec.isa.run(Fill { geometry, frame: &mut frame[..geometry.plane()], source, border });
                match pooling {
                    Pooling::Max => {
                        exec.isa.run(Plane::<Largest> { geometry, frame, weights: ones, output, finish: () });
                    }
                    Pooling::Average { counted } => {
                        let finish = FinishFloat::nothing();
                        exec.isa.run(Plane::<Float> { geometry, frame, weights: ones, output, finish });
                        divide(window, input.size, counted, geometry.output[1], output);
                    }
                }
            }
        });
    });
}

/// Divides each sum by the number of elements that count.
fn divide(window: Window, size: [usize; 2], pads: [usize; 4], width: usize, sums: &mut [f32]) {
    for (row, sums) in sums.chunks_exact_mut(width).enumerate() {
        let rows = counted(window, size, pads, 0, row);
        for (col, sum) in sums.iter_mut().enumerate() {
            *sum /= (rows * counted(window, size, pads, 1, col)) as f32;
        }
    }
}

/// Along an axis, how many taps see the image, or as much padding as counts, from an output pixel.
pub(super) fn counted(
    window: Window,
    size: [usize; 2],
    pads: [usize; 4],
    axis: usize,
    index: usize,
) -> usize {
    // Shifted by the pads, to stay clear of negative numbers.
    let (pad, end) = (window.pads[axis], window.pads[axis] + size[axis] + pads[axis + 2]);
    let first = pad.saturating_sub(pads[axis]);
    let at = |tap: usize| index * window.strides[axis] + tap * window.dilations[axis];
    (0..window.kernel[axis]).filter(|&tap| (first..end).contains(&at(tap))).count()
}

/// The arithmetic of max pooling: the larger in place of the sum, weights ignored.
#[derive(Clone, Copy)]
struct Largest;

impl Arith for Largest {
    type Word = f32;
    type Out = f32;
    type Finish<'a> = ();
    type V<S: Simd> = S::F;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F {
        s.splat(f32::NEG_INFINITY)
    }
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { Float::broadcast(s, p) }
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, acc: S::F, _: S::F, x: S::F) -> S::F {
        s.max(acc, x)
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
    fn covers(_: &(), _: usize, _: usize, _: usize) -> bool {
        true
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(_: S, _: &(), v: S::F, _: usize, _: usize, _: usize, _: usize) -> S::F {
        v
    }
}
