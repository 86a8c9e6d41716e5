//! The geometry of sliding windows, and the zero-framed copy of the input that makes them regular.
//!
//! In a frame, the rows and columns of a plane are sorted by their remainder modulo the strides (its
//! *phases*). One tap of the kernel then sees, for neighbouring output pixels, neighbouring elements of one
//! phase, whatever the strides and dilations, and never the border.

use std::ops::Range;

use bytemuck::Pod;
use smallvec::SmallVec;

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
    phases: SmallVec<[[usize; 2]; 4]>,
    /// For each tap, where in a plane's frame the first output pixel sees it.
    pub taps: SmallVec<[usize; 32]>,
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
        let mut phases = SmallVec::<[[usize; 2]; 4]>::new();
        let mut taps = SmallVec::new();
        for row in 0..window.kernel[0] {
            for col in 0..window.kernel[1] {
                let rest = [
                    row * window.dilations[0] % window.strides[0],
                    col * window.dilations[1] % window.strides[1],
                ];
                let index = phases.iter().position(|&p| p == rest).unwrap_or_else(|| {
                    phases.push(rest);
                    phases.len() - 1
                });
                taps.push(index * size + ahead(0, row) * phase[1] + ahead(1, col));
            }
        }
        Some(Self { window, input, output, phase, phases, taps })
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

    /// Fills one plane's frame; `copy(out, start, step)` copies `input[start + i · step]` to `out[i]`.
    pub(crate) fn fill<T: Copy>(&self, frame: &mut [T], zero: T, copy: impl Fn(&mut [T], usize, usize)) {
        let [rows, cols] = self.phase;
        let rest = self.phases.iter().flat_map(|&p| (0..rows).map(move |row| (p, row)));
        for ((phase, row), out) in rest.zip(frame.chunks_exact_mut(cols)) {
            let inside = self.inside(1, phase[1]);
            let in_row = (row * self.window.strides[0] + phase[0]).wrapping_sub(self.window.pads[0]);
            if in_row >= self.input[0] || inside.is_empty() {
                out.fill(zero);
                continue;
            }
            let first = inside.start * self.window.strides[1] + phase[1] - self.window.pads[1];
            out[..inside.start].fill(zero);
            out[inside.end..].fill(zero);
            copy(&mut out[inside], in_row * self.input[1] + first, self.window.strides[1]);
        }
    }

    /// The indices along an axis of a phase that are not padding.
    fn inside(&self, axis: usize, phase: usize) -> Range<usize> {
        let (pad, stride) = (self.window.pads[axis], self.window.strides[axis]);
        let first = |x: usize| x.saturating_sub(phase).div_ceil(stride).min(self.phase[axis]);
        first(pad)..first(pad + self.input[axis])
    }

    /// Writes what taps `k` (of all channels, in order) see at pixels `n` into rows of `panel`; what follows a
    /// row's last pixel is unspecified. `frame` holds the planes one after the other.
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
                copy_run(frame, base + run.from, out, at + run.to, run.len);
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

/// Copies `len` elements, and perhaps up to 15 more, which the next run overwrites.
#[inline(always)]
fn copy_run<T: Pod>(from: &[T], start: usize, to: &mut [T], at: usize, len: usize) {
    const WHOLE: usize = 16;
    for i in (0..len).step_by(WHOLE) {
        let (start, at) = (start + i, at + i);
        match (from.get(start..start + WHOLE), to.get_mut(at..at + WHOLE)) {
            (Some(from), Some(to)) => to.copy_from_slice(from),
            _ => {
                let rest = len - i;
                to[at..at + rest].copy_from_slice(&from[start..start + rest]);
                return;
            }
        }
    }
}
