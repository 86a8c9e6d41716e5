//! Local response normalisation: `x / (bias + alpha · Σ x²)^beta` over neighbouring channels.
//! Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3.

use super::math;
use super::simd::{Simd, Task};
use super::{Exec, Isa};
use crate::pool::SharedSlice;

/// Elements of one piece of work: a stretch of each channel.
const PIECE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Channels before and behind a channel that count, beside itself.
    pub reach: [usize; 2],
    /// The factor of the sum.
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

/// Normalises images of `channels` planes of `plane` elements.
///
/// # Panics
/// If the sizes do not fit together.
pub fn normalise(
    exec: Exec<'_>,
    response: Response,
    x: &[f32],
    [channels, plane]: [usize; 2],
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len(), "sizes of input and output");
    let image = channels * plane;
    if image == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(image), "whole images");
    let len = (PIECE / channels).clamp(1, plane);
    let parts = plane.div_ceil(len);
    let out = SharedSlice::new(out);
    exec.pool.parallel_for(x.len() / image * parts, &|piece| {
        let (start, from) = (piece / parts * image, piece % parts * len);
        let to = plane.min(from + len);
        for channel in 0..channels {
            let near =
                channel.saturating_sub(response.reach[0])..channels.min(channel + response.reach[1] + 1);
            let at = start + channel * plane;
            // SAFETY: no other piece has this stretch of these channels.
            let out = unsafe { out.range(at + from..at + to) };
            let rows = near.map(|c| &x[start + c * plane + from..start + c * plane + to]);
            one(exec.isa, response, &x[at + from..at + to], rows, out);
        }
    });
}

fn one<'a>(isa: Isa, response: Response, x: &[f32], rows: impl Iterator<Item = &'a [f32]>, out: &mut [f32]) {
    out.fill(0.0);
    for row in rows {
        isa.run(Squares { row, out });
    }
    isa.run(Divide { response, x, out });
}

/// Adds squares.
struct Squares<'a> {
    row: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.out.len()).step_by(S::LANES) {
            let x = math::load_at(s, self.row, at);
            math::store_at(s, self.out, at, s.fma(x, x, math::load_at(s, self.out, at)));
        }
    }
}

/// Makes results of sums of squares.
struct Divide<'a> {
    response: Response,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Response { alpha, beta, bias, .. } = self.response;
        for at in (0..self.out.len()).step_by(S::LANES) {
            let base = s.fma(math::load_at(s, self.out, at), s.splat(alpha), s.splat(bias));
            let power = math::exp(s, s.mul(s.splat(-beta), math::ln(s, base)));
            math::store_at(s, self.out, at, s.mul(math::load_at(s, self.x, at), power));
        }
    }
}
