//! One kernel per channel: no sums over channels, so a plane is read straight from its frame.

use super::window::Geometry;
use super::{ConvEpilogue, Fill, Images};
use crate::fast::Exec;
use crate::fast::gemm::tile::{Arith, Float, copied};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};

/// Elements that a vector may read beyond a frame's end.
pub(crate) const SLACK: usize = 64;
/// Multiply-adds of one piece of work.
const PIECE: usize = 200_000;

pub(super) fn run(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    geometry: &Geometry,
    weights: &[f32],
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let in_pixels = input.size[0] * input.size[1];
    let taps = geometry.taps.len();
    let channels = weights.len() / taps;
    let pixels = geometry.pixels();
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), channels, "size of the bias");
    }
    if let Some(addend) = epilogue.addend {
        assert_eq!(addend.len(), output.len(), "size of the addend");
    }
    let planes = (PIECE / (pixels * taps)).max(1);
    exec.pool.parallel_chunks(output, planes * pixels, &|piece, output| {
        with_scratch(geometry.plane() + SLACK, |frame| {
            for (i, output) in output.chunks_exact_mut(pixels).enumerate() {
                let plane = piece * planes + i;
                let source = &input.data[plane * in_pixels..][..in_pixels];
                let border = (i == 0).then_some(0.0);
                exec.isa.run(Fill { geometry, frame: &mut frame[..geometry.plane()], source, border });
                let channel = plane % channels;
                let weights = &weights[channel * taps..][..taps];
                let finish = epilogue.from(channel, plane * pixels);
                exec.isa.run(Plane::<Float> { geometry, frame, weights, output, finish });
                if epilogue.activation.range().is_none() {
                    epilogue.activation.apply(exec.isa, output);
                }
            }
        });
    });
}

/// One output plane from one framed input plane.
pub(crate) struct Plane<'a, 'f, A: Arith> {
    pub geometry: &'a Geometry,
    /// With at least `SLACK` more elements.
    pub frame: &'a [A::Word],
    pub weights: &'a [A::Word],
    pub output: &'a mut [A::Out],
    /// For row 0 and the columns of this plane.
    pub finish: A::Finish<'f>,
}

impl<A: Arith> Task for Plane<'_, '_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let [rows, cols] = self.geometry.output;
        assert!(self.frame.len() >= self.geometry.plane() + SLACK);
        assert!(self.weights.len() == self.geometry.taps.len() && self.output.len() == rows * cols);
        assert!(A::covers(&self.finish, 1, rows * cols, 0));
        let mut col = 0;
        while col < cols {
            // Several independent sums, however the plane is shaped.
            match (cols - col).div_ceil(S::LANES) {
                1 => self.strip::<S, 4, 1>(s, col),
                2 => self.strip::<S, 2, 2>(s, col),
                3 => self.strip::<S, 1, 3>(s, col),
                _ => self.strip::<S, 1, 4>(s, col),
            }
            col += 4 * S::LANES;
        }
    }
}

impl<A: Arith> Plane<'_, '_, A> {
    /// `V` vectors of each row, from column `col`.
    #[inline(always)]
    fn strip<S: Simd, const R: usize, const V: usize>(&mut self, s: S, col: usize) {
        let rows = self.geometry.output[0];
        let mut row = 0;
        while row + R <= rows {
            self.block::<S, R, V>(s, row, col);
            row += R;
        }
        for row in row..rows {
            self.block::<S, 1, V>(s, row, col);
        }
    }

    /// `V` vectors of `R` rows; only the last vector may stick out of the rows.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const V: usize>(&mut self, s: S, row: usize, col: usize) {
        let (cols, frame_row) = (self.geometry.output[1], self.geometry.row());
        let mut sums = [[A::zero(s); V]; R];
        let first = self.frame.as_ptr().wrapping_add(row * frame_row + col);
        for (&tap, weight) in self.geometry.taps.iter().zip(self.weights) {
            // SAFETY: a reference is readable.
            let weight = unsafe { A::broadcast(s, weight) };
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    let at = tap + r * frame_row + v * S::LANES;
                    // SAFETY: every vector begins inside the frame, so it ends within the slack.
                    let x = unsafe { A::load(s, first.wrapping_add(at)) };
                    *sum = A::multiply_add(s, *sum, weight, x);
                }
            }
        }
        // As in the micro-kernel: a copy for the loop that is not unrolled keeps the sums in registers.
        let done = copied(&sums, A::zero(s));
        for (r, sums) in done.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let first = col + v * S::LANES;
                let n = (cols - first).min(S::LANES);
                let at = (row + r) * cols + first;
                // SAFETY: these `n` pixels are inside the output, and `finish` covers it.
                unsafe {
                    let sum = A::finish(s, &self.finish, sum, 0, at, at, n);
                    A::store_out(s, self.output.as_mut_ptr().add(at), n, sum);
                }
            }
        }
    }
}
