//! Images put together from channels of others.

use smallvec::SmallVec;

use super::{BLOCK, Blocked, Output, Pixel, blocks};
use crate::fast::Exec;
use crate::fast::simd::{Simd, Task};

/// Pixels of one piece of work.
const PIECE: usize = 512;

/// A channel of one of several images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub image: usize,
    pub channel: usize,
}

/// Makes images whose channels are those of `from`, one after the other.
///
/// # Panics
/// If the inputs differ in count or size, have no such channels, or the output has another size.
pub fn pick(exec: Exec<'_>, inputs: &[Blocked<'_>], from: &[Source], output: &mut [f32]) {
    let Some(first) = inputs.first() else { panic!("no images to pick from") };
    assert!(inputs.iter().all(|x| (x.count, x.size) == (first.count, first.size)), "images differ in size");
    assert!(from.iter().all(|from| from.channel < inputs[from.image].channels), "no such channel");
    let (plane, out_blocks) = (first.pixels(), blocks(from.len()));
    let out = Output::new(output, first.count * out_blocks, plane);
    let parts = plane.div_ceil(PIECE);
    exec.pool.parallel_for(first.count * out_blocks * parts, &|piece| {
        let (rest, block) = (piece / out_blocks, piece % out_blocks);
        let (image, part) = (rest / parts, rest % parts * PIECE..plane.min((rest % parts + 1) * PIECE));
        let sources = &from[block * BLOCK..from.len().min((block + 1) * BLOCK)];
        // SAFETY: no other piece has these pixels of this block.
        let out = unsafe { out.range(image * out_blocks + block, part.clone()) };
        let mut lanes = [None; BLOCK];
        for (lane, from) in lanes.iter_mut().zip(sources) {
            let x = &inputs[from.image];
            let start = (image * blocks(x.channels) + from.channel / BLOCK) * plane;
            let pixels = &x.planes()[start + part.start..start + part.end];
            *lane = Some(Lane { pixels, at: from.channel % BLOCK });
        }
        exec.isa.run(Fill { lanes, out });
    });
}

/// What becomes a lane of the output's pixels.
#[derive(Clone, Copy)]
struct Lane<'a> {
    pixels: &'a [Pixel],
    at: usize,
}

/// Pixels put together from lanes; where there is none, zero.
struct Fill<'a> {
    lanes: [Option<Lane<'a>>; BLOCK],
    out: &'a mut [Pixel],
}

/// What a vector of the output takes from one vector of a plane's pixels, which begins at lane `first`.
struct Taken<'a> {
    pixels: &'a [Pixel],
    first: usize,
    /// For each lane of the output, the lane that it is.
    places: [i32; BLOCK],
    /// One where the output takes the lane, else zero.
    present: [f32; BLOCK],
}

/// So many vectors are taken together.
const MOST: usize = 4;

impl Task for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fill { lanes, out } = self;
        assert!(lanes.iter().flatten().all(|lane| lane.pixels.len() == out.len()), "planes of one size");
        for first in (0..BLOCK).step_by(S::LANES) {
            let taken = taken(&lanes[first..first + S::LANES]);
            if taken.is_empty() {
                out.iter_mut().for_each(|pixel| pixel[first..first + S::LANES].fill(0.0));
            }
            for (i, taken) in taken.chunks(MOST).enumerate() {
                match taken {
                    [a] => take(s, [a], first, i > 0, out),
                    [a, b] => take(s, [a, b], first, i > 0, out),
                    [a, b, c] => take(s, [a, b, c], first, i > 0, out),
                    [a, b, c, d, ..] => take(s, [a, b, c, d], first, i > 0, out),
                    [] => {}
                }
            }
        }
    }
}

/// Lanes of one vector of the output, by the vectors that they come from.
fn taken<'a>(lanes: &[Option<Lane<'a>>]) -> SmallVec<[Taken<'a>; MOST]> {
    let mut found: SmallVec<[Taken<'a>; MOST]> = SmallVec::new();
    for (to, lane) in lanes.iter().enumerate() {
        let Some(Lane { pixels, at }) = *lane else { continue };
        let first = at - at % lanes.len();
        let known = found.iter().position(|taken| taken.first == first && std::ptr::eq(taken.pixels, pixels));
        let known = known.unwrap_or_else(|| {
            found.push(Taken { pixels, first, places: [0; BLOCK], present: [0.0; BLOCK] });
            found.len() - 1
        });
        found[known].places[to] = (at - first) as i32;
        found[known].present[to] = 1.0;
    }
    found
}

/// Puts what some vectors give into that of the output which begins at lane `first`; where `more`, beside what is there.
#[inline(always)]
fn take<const N: usize, S: Simd>(s: S, taken: [&Taken<'_>; N], first: usize, more: bool, out: &mut [Pixel]) {
    let zero = s.splat(0.0);
    let (mut places, mut present) = ([s.splat_i(0); N], [s.less(zero, zero); N]);
    for (i, taken) in taken.iter().enumerate() {
        assert!(taken.pixels.len() == out.len() && taken.first + S::LANES <= BLOCK, "a vector of each pixel");
        // SAFETY: both have as many lanes as the largest vector.
        unsafe {
            places[i] = s.load_i(taken.places.as_ptr());
            present[i] = s.less(zero, s.load(taken.present.as_ptr()));
        }
    }
    for (at, out) in out.iter_mut().enumerate() {
        let out = &mut out[first..first + S::LANES];
        // SAFETY: `out` has as many lanes as a vector, and so has every pixel behind the first one taken (checked above).
        unsafe {
            let mut pixel = if more { s.load(out.as_ptr()) } else { zero };
            for (i, taken) in taken.iter().enumerate() {
                let x = s.load(taken.pixels.as_ptr().add(at).cast::<f32>().add(taken.first));
                pixel = s.select(present[i], s.permute(x, places[i]), pixel);
            }
            s.store(out.as_mut_ptr(), pixel);
        }
    }
}
