//! One kernel per channel.

use super::walk::{ALL, Gather, Walk};
use super::{BLOCK, Blocked, Ending, Output, Pixel, blocks, load};
use crate::fast::Exec;
use crate::fast::conv::Window;
use crate::fast::scratch::with_scratch;
use crate::fast::simd::Simd;
use crate::memory::Aligned;

/// Multiply-adds of one piece of work.
const PIECE: usize = 200_000;
/// The longest rows of the output whose windows are given zeros to see, rather than left out what they would.
const FRAMED: usize = 40;

/// Rows with zeros at both ends, as far as windows see them: so all columns are alike.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    window: Window,
    pub width: usize,
    inside: usize,
}

impl Frame {
    /// For an image of this size, whose rows become `width` pixels.
    pub(super) fn new(window: Window, size: [usize; 2], width: usize) -> Self {
        let Window { kernel, strides, dilations, pads } = window;
        let seen = (width - 1) * strides[1] + (kernel[1] - 1) * dilations[1] + 1;
        Frame { window, width: seen.max(pads[1] + size[1]), inside: size[1] }
    }

    /// What sees the rows as the window did.
    pub(super) fn window(&self) -> Window {
        let [top, _, bottom, _] = self.window.pads;
        Window { pads: [top, 0, bottom, 0], ..self.window }
    }

    /// Fills the ends of rows.
    pub(super) fn clear(&self, rows: &mut [Pixel]) {
        for row in rows.chunks_exact_mut(self.width) {
            row[..self.left()].fill([0.0; BLOCK]);
            row[self.left() + self.inside..].fill([0.0; BLOCK]);
        }
    }

    /// Where in a row the image begins.
    pub(super) fn left(&self) -> usize {
        self.window.pads[1]
    }

    fn inside<'a>(&self, row: &'a mut [Pixel]) -> &'a mut [Pixel] {
        &mut row[self.window.pads[1]..][..self.inside]
    }
}

/// Block after block, for each tap the weights of 16 channels.
pub(super) fn pack(weights: &[f32], channels: usize, taps: usize) -> Aligned<f32> {
    let mut packed = Aligned::zeroed(blocks(channels) * BLOCK * taps);
    for (i, &weight) in weights.iter().enumerate() {
        let (channel, tap) = (i / taps, i % taps);
        packed[(channel / BLOCK * taps + tap) * BLOCK + channel % BLOCK] = weight;
    }
    packed
}

pub(super) fn run(
    exec: Exec<'_>,
    input: Blocked<'_>,
    window: Window,
    weights: &[f32],
    out: Output<'_>,
    ending: &Ending<'_>,
) {
    let taps = window.taps();
    let (planes, in_plane) = (input.planes(), input.pixels());
    let [height, width] = window.output(input.size).expect("the window does not fit the images");
    let rows = (PIECE / (width * taps * BLOCK)).clamp(1, height);
    let parts = height.div_ceil(rows);
    let in_blocks = blocks(input.channels);
    let frame = Frame::new(window, input.size, width);
    let framed = parts == 1 && width <= FRAMED && frame.width > input.size[1];
    // Stretches of the image before blocks, as its maker has gone: a thread finds what it made itself.
    exec.pool.parallel_for(input.count * in_blocks * parts, &|piece| {
        let (rest, block) = (piece / in_blocks, piece % in_blocks);
        let (image, part) = (rest / parts, rest % parts);
        let (plane, rows) = (image * in_blocks + block, part * rows..height.min((part + 1) * rows));
        let weights = weights[block * taps * BLOCK..][..taps * BLOCK].as_chunks().0;
        let gather = &Depthwise::new(weights, block, plane, out.plane, width, ending);
        // SAFETY: no other piece has these rows of this plane.
        let out = unsafe { out.range(plane, rows.start * width..rows.end * width) };
        let source = &planes[plane * in_plane..][..in_plane];
        let mut walk = |window, size, plane: &[Pixel]| {
            let out = &mut *out;
            exec.isa.run(Walk { gather, window, size, plane, held: ALL, rows: rows.clone(), width, out });
        };
        match framed {
            false => walk(window, input.size, source),
            true => with_scratch(input.size[0] * frame.width, |framed: &mut [Pixel]| {
                frame.clear(framed);
                for (to, from) in framed.chunks_exact_mut(frame.width).zip(source.chunks_exact(input.size[1]))
                {
                    frame.inside(to).copy_from_slice(from);
                }
                walk(frame.window(), [input.size[0], frame.width], framed);
            }),
        }
        ending.after(block, out);
    });
}

pub(super) struct Depthwise<'a> {
    weights: &'a [Pixel],
    bias: &'a Pixel,
    addend: Option<&'a [Pixel]>,
    width: usize,
    low: f32,
    high: f32,
}

impl<'a> Depthwise<'a> {
    /// For one plane of the output, which has so many `pixels` in rows of `width`, and the weights of its block.
    pub(super) fn new(
        weights: &'a [Pixel],
        block: usize,
        plane: usize,
        pixels: usize,
        width: usize,
        ending: &'a Ending<'_>,
    ) -> Self {
        let addend = ending.addend.map(|addend| &addend.as_chunks().0[plane * pixels..][..pixels]);
        let &Ending { low, high, .. } = ending;
        Depthwise { weights, bias: ending.bias_of(block), addend, width, low, high }
    }
}

impl Gather for Depthwise<'_> {
    #[inline(always)]
    fn start<S: Simd>(&self, s: S, part: usize) -> S::F {
        load(s, self.bias, part)
    }
    #[inline(always)]
    fn weight<S: Simd>(&self, s: S, tap: usize, part: usize) -> S::F {
        load(s, &self.weights[tap], part)
    }
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, sum: S::F, x: S::F, weight: S::F) -> S::F {
        s.fma(x, weight, sum)
    }
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, sum: S::F, [row, col]: [usize; 2], part: usize) -> S::F {
        let mut sum = sum;
        if let Some(addend) = self.addend {
            sum = s.add(sum, load(s, &addend[row * self.width + col], part));
        }
        s.min(s.splat(self.high), s.max(s.splat(self.low), sum))
    }
}
