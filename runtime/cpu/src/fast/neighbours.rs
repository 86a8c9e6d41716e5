//! Local response normalisation: `x / (bias + alpha · Σ x²)^beta` over neighbouring channels.
//! Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3.

use smallvec::SmallVec;

use super::Exec;
use super::math;
use super::simd::{MOST_LANES, Simd, Task};
use crate::pool::SharedSlice;

/// Elements of one piece of work: a stretch of each channel.
const PIECE: usize = 64 * 1024;

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
    let len = (PIECE / channels).next_multiple_of(MOST_LANES).clamp(1, plane);
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
            let rows: SmallVec<[&[f32]; 8]> =
                near.map(|c| &x[start + c * plane + from..start + c * plane + to]).collect();
            exec.isa.run(Stretch { response, x: &x[at + from..at + to], rows: &rows, out });
        }
    });
}

/// A stretch of one channel.
struct Stretch<'a> {
    response: Response,
    x: &'a [f32],
    /// The same stretch of all channels that count.
    rows: &'a [&'a [f32]],
    out: &'a mut [f32],
}

impl Task for Stretch<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Response { alpha, beta, bias, .. } = self.response;
        for at in (0..self.out.len()).step_by(S::LANES) {
            let mut sum = s.splat(0.0);
            for row in self.rows {
                let x = math::load_at(s, row, at);
                sum = s.fma(x, x, sum);
            }
            let base = s.fma(sum, s.splat(alpha), s.splat(bias));
            let power = math::exp(s, s.mul(s.splat(-beta), math::ln(s, base)));
            math::store_at(s, self.out, at, s.mul(math::load_at(s, self.x, at), power));
        }
    }
}
