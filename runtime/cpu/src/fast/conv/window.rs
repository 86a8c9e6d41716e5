//! The geometry of sliding windows, and the zero-framed copy of the input that makes them regular.
//!
//! In a frame, the rows and columns of a plane are sorted by their remainder modulo the strides (its
//! *phases*). One tap of the kernel then sees, for neighbouring output pixels, neighbouring elements of one
//! phase, whatever the strides and dilations, and never the border.

use std::ops::Range;

use bytemuck::Pod;
use smallvec::SmallVec;

use crate::fast::copy::{copy, fill};

/// A window that slides over height and width; one-dimensional ones have height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Window {
    /// A window of the given size that moves by one.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4] }
    }

    /// The size of the output; `None` if the window does not fit the input, or the numbers make no sense.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let (k, s, d) = (self.kernel[axis], self.strides[axis], self.dilations[axis]);
            let padded = input[axis].checked_add(self.pads[axis])?.checked_add(self.pads[axis + 2])?;
            let extent = k.checked_sub(1)?.checked_mul(d).filter(|_| d > 0)?;
            padded.checked_sub(extent)?.checked_sub(1)?.checked_div(s)?.checked_add(1)
        };
        Some([along(0)?, along(1)?])
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// How a window meets an input of a given size.
pub(crate) struct Geometry {
    window: Window,
    input: [usize; 2],
    pub output: [usize; 2],
    /// Rows and columns of one phase of a plane.
    phase: [usize; 2],
    /// The remainders that some tap uses.
    phases: SmallVec<[Phase; 4]>,
    /// For each tap, where in a plane's frame the first output pixel sees it.
    pub taps: SmallVec<[usize; 32]>,
}

/// The rows and columns of a plane that have one remainder.
#[derive(Clone)]
struct Phase {
    rest: [usize; 2],
    /// The rows and the columns that are not padding.
    inside: [Range<usize>; 2],
}

/// The remainders of taps along an axis, `tap * dilation % stride`: they come again after so many taps.
struct Remainders {
    dilation: usize,
    stride: usize,
    period: usize,
    /// How many there are.
    count: usize,
}

impl Remainders {
    fn of(window: Window, axis: usize) -> Self {
        let (dilation, stride) = (window.dilations[axis], window.strides[axis]);
        let (mut common, mut rest) = (stride, dilation);
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        let period = stride / common;
        Self { dilation, stride, period, count: period.min(window.kernel[axis]) }
    }

    /// Which of them a tap has.
    fn index(&self, tap: usize) -> usize {
        tap % self.period
    }

    fn rest(&self, index: usize) -> usize {
        index * self.dilation % self.stride
    }
}

impl Geometry {
    /// `None` if the window does not fit the input or a size overflows.
    pub(crate) fn new(window: Window, input: [usize; 2]) -> Option<Self> {
        let output = window.output(input)?;
        let ahead = |axis: usize, tap: usize| tap * window.dilations[axis] / window.strides[axis];
        let phase = [0, 1].map(|axis| output[axis].checked_add(ahead(axis, window.kernel[axis] - 1)));
        let phase = [phase[0]?, phase[1]?];
        let size = phase[0].checked_mul(phase[1])?;
        size.checked_mul(window.strides[0].checked_mul(window.strides[1])?)?;
        let along = [0, 1].map(|axis| Remainders::of(window, axis));
        let mut taps = SmallVec::new();
        let cols: SmallVec<[_; 32]> =
            (0..window.kernel[1]).map(|col| (along[1].index(col), ahead(1, col))).collect();
        for row in 0..window.kernel[0] {
            let (first, down) = (along[0].index(row) * along[1].count, ahead(0, row) * phase[1]);
            taps.extend(cols.iter().map(|(index, right)| (first + index) * size + down + right));
        }
        let inside = |axis: usize, rest: usize| {
            let (pad, stride) = (window.pads[axis], window.strides[axis]);
            let first = |x: usize| x.saturating_sub(rest).div_ceil(stride).min(phase[axis]);
            // `pad + input` was checked when the output's size was computed.
            first(pad)..first(pad + input[axis])
        };
        let mut phases = SmallVec::new();
        for row in 0..along[0].count {
            for col in 0..along[1].count {
                let rest = [along[0].rest(row), along[1].rest(col)];
                phases.push(Phase { rest, inside: [inside(0, rest[0]), inside(1, rest[1])] });
            }
        }
        Some(Self { window, input, output, phase, phases, taps })
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(crate) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The elements of one plane's frame.
    pub(crate) fn plane(&self) -> usize {
        self.phases.len() * self.phase[0] * self.phase[1]
    }

    /// The distance of output rows in a frame.
    pub(crate) fn row(&self) -> usize {
        self.phase[1]
    }

    /// Whether a frame would be the same as the input.
    pub(crate) fn is_plain(&self) -> bool {
        self.window.strides == [1, 1] && self.phase == self.input && self.window.pads == [0; 4]
    }

    /// Fills what is padding, which stays the same for every plane.
    #[inline(always)]
    pub(crate) fn fill_border<T: Copy>(&self, frame: &mut [T], zero: T) {
        let cols = self.phase[1];
        for (phase, frame) in self.phases.iter().zip(frame.chunks_exact_mut(self.phase[0] * cols)) {
            let [rows, inside] = phase.inside.clone();
            fill(&mut frame[..rows.start * cols], zero);
            fill(&mut frame[rows.end * cols..], zero);
            for out in frame[rows.start * cols..rows.end * cols].chunks_exact_mut(cols) {
                fill(&mut out[..inside.start], zero);
                fill(&mut out[inside.end..], zero);
            }
        }
    }

    /// Fills what is not padding; `get(out, start, step)` copies `input[start + i · step]` to `out[i]`.
    #[inline(always)]
    pub(crate) fn fill_inside<T>(&self, frame: &mut [T], get: impl Fn(&mut [T], usize, usize)) {
        let cols = self.phase[1];
        let [row_stride, col_stride] = self.window.strides;
        for (phase, frame) in self.phases.iter().zip(frame.chunks_exact_mut(self.phase[0] * cols)) {
            let ([rows, inside], phase) = (phase.inside.clone(), phase.rest);
            if inside.is_empty() {
                continue;
            }
            let first = inside.start * col_stride + phase[1] - self.window.pads[1];
            for row in rows {
                let out = &mut frame[row * cols..(row + 1) * cols][inside.clone()];
                let in_row = row * row_stride + phase[0] - self.window.pads[0];
                get(out, in_row * self.input[1] + first, col_stride);
            }
        }
    }

    /// Fills row `index` of a plane's frame, counted through all phases; `get` is as in [`Geometry::fill_inside`].
    #[inline(always)]
    pub(crate) fn fill_row<T: Copy>(
        &self,
        index: usize,
        frame: &mut [T],
        zero: T,
        get: impl FnOnce(&mut [T], usize, usize),
    ) {
        let ([rows, inside], rest) =
            (&self.phases[index / self.phase[0]].inside, self.phases[index / self.phase[0]].rest);
        let row = index % self.phase[0];
        if !rows.contains(&row) || inside.is_empty() {
            return fill(frame, zero);
        }
        let [row_stride, col_stride] = self.window.strides;
        fill(&mut frame[..inside.start], zero);
        fill(&mut frame[inside.end..], zero);
        let first = inside.start * col_stride + rest[1] - self.window.pads[1];
        let in_row = row * row_stride + rest[0] - self.window.pads[0];
        get(&mut frame[inside.clone()], in_row * self.input[1] + first, col_stride);
    }

    /// Writes what taps `k` (of all channels, in order) see at pixels `n` into rows of `panel`. `frame` holds the
    /// planes one after the other.
    #[inline(always)]
    pub(crate) fn pack<T: Pod>(
        &self,
        frame: &[T],
        k: Range<usize>,
        n: Range<usize>,
        panel: usize,
        out: &mut [T],
    ) {
        let runs = self.runs(n);
        match runs.as_slice() {
            [run] => self.pack_rows(frame, k, panel, out, &[*run]),
            [first, second] => self.pack_rows(frame, k, panel, out, &[*first, *second]),
            runs => self.pack_rows(frame, k, panel, out, runs),
        }
    }

    #[inline(always)]
    fn pack_rows<T: Pod>(&self, frame: &[T], k: Range<usize>, panel: usize, out: &mut [T], runs: &[Run]) {
        let taps = self.taps.as_slice();
        let (mut plane, mut tap) = (k.start / taps.len() * self.plane(), k.start % taps.len());
        let mut at = 0;
        for _ in k {
            let base = plane + taps[tap];
            for run in runs {
                let from = base + run.from;
                copy(&mut out[at + run.to..at + run.to + run.len], &frame[from..from + run.len]);
            }
            at += panel;
            tap += 1;
            if tap == taps.len() {
                (plane, tap) = (plane + self.plane(), 0);
            }
        }
    }

    /// Cuts pixels into runs of neighbours in the frame.
    fn runs(&self, n: Range<usize>) -> SmallVec<[Run; 16]> {
        // Without gaps between the rows all pixels are neighbours.
        let width = if self.row() == self.output[1] { self.pixels() } else { self.output[1] };
        let mut runs = SmallVec::new();
        let mut at = n.start;
        while at < n.end {
            let (row, col) = (at / width, at % width);
            let len = (width - col).min(n.end - at);
            runs.push(Run { from: row * self.row() + col, to: at - n.start, len });
            at += len;
        }
        runs
    }
}

/// Neighbouring pixels: where they are in a frame, and where they go in a panel.
#[derive(Clone, Copy)]
struct Run {
    from: usize,
    to: usize,
    len: usize,
}
