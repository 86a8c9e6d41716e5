//! A convolution of single pixels and a depthwise one behind it, some rows at a time: what lies between them stays in
//! the nearest caches. They are the first two of the three convolutions of an inverted residual block (Sandler et
//! al., MobileNetV2, 2018, section 3.3), where what lies between them is the largest of all.

use std::ops::Range;

use super::depthwise::{self, Depthwise, Frame};
use super::panels::{Packed, Panel, pack};
use super::tile::{Finish, Input, Kernels, Start, Tile};
use super::walk::Walk;
use super::{BLOCK, Blocked, Ending, Output, Pixel, blocks};
use crate::fast::activation::Activation;
use crate::fast::conv::{Channels, ConvEpilogue, Window};
use crate::fast::gemm::split::{Tiles, part, pieces};
use crate::fast::scratch::with_scratch;
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;

/// Multiply-adds of one piece of work.
const PIECE: usize = 1_000_000;
/// Bytes of the rows that a thread holds, beside which the first-level cache has room.
const HELD: usize = 32 * 1024;

/// The weights of both, rearranged once for one instruction set.
pub struct ExpandDepthwise {
    isa: Isa,
    input: usize,
    expanded: usize,
    window: Window,
    expand: Packed,
    /// Filled up to whole blocks.
    bias: Aligned<f32>,
    low: f32,
    high: f32,
    depthwise: Aligned<f32>,
}

impl ExpandDepthwise {
    /// Packs the weights (expanded, input) and bias of the convolution that expands and the weights (expanded, kernel
    /// height, kernel width) of the other. `None` if the activation between them does more than to clamp.
    ///
    /// # Panics
    /// If the weights do not have these sizes.
    pub fn pack(
        isa: Isa,
        [input, expanded]: [usize; 2],
        (weights, bias, activation): (&[f32], Option<&[f32]>, Activation),
        window: Window,
        depthwise: &[f32],
    ) -> Option<Self> {
        assert_eq!(weights.len(), expanded * input, "size of the weights");
        assert_eq!(depthwise.len(), expanded * window.taps(), "size of the depthwise weights");
        let (low, high) = activation.range()?;
        let channels = Channels { input, output: expanded, groups: 1 };
        let mut filled = Aligned::zeroed(blocks(expanded) * BLOCK);
        if let Some(bias) = bias {
            filled[..expanded].copy_from_slice(bias);
        }
        Some(Self {
            isa,
            input,
            expanded,
            window,
            expand: pack(isa, channels, BLOCK, 1, |o, i, _| weights[o * input + i]),
            bias: filled,
            low,
            high,
            depthwise: depthwise::pack(depthwise, expanded, window.taps()),
        })
    }

    /// The channels of the input.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Those of the output.
    pub fn expanded(&self) -> usize {
        self.expanded
    }

    pub fn window(&self) -> Window {
        self.window
    }
}

/// `output = epilogue(clamp(input ∗ weights + bias) ∗ depthwise weights)`.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn expand_depthwise(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &ExpandDepthwise,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    assert_eq!(input.channels, weights.input, "channels of the input");
    let [height, width] = weights.window.output(input.size).expect("the window does not fit the images");
    let len = output.len();
    let out = Output::new(output, input.count * blocks(weights.expanded), height * width);
    if len == 0 {
        return;
    }
    Ending::with(exec.isa, epilogue, weights.expanded, len, |ending| {
        let (planes, kernels) = (input.planes(), Kernels::of(exec.isa));
        let frame = Frame::new(weights.window, input.size, width);
        let pair = Pair { input, planes, weights, kernels, frame, ending, out };
        let panels = &weights.expand.panels;
        let wanted = pieces(input.pixels() * weights.expand.data.len(), PIECE, exec.pool.threads());
        let parts = wanted.div_ceil(panels.len()).clamp(1, height);
        exec.pool.parallel_for(input.count * parts * panels.len(), &|piece| {
            let (rest, panel) = (piece / panels.len(), &panels[piece % panels.len()]);
            pair.piece(rest / parts, panel, part(height, parts, rest % parts), [height, width]);
        });
    });
}

struct Pair<'a> {
    input: Blocked<'a>,
    planes: &'a [Pixel],
    weights: &'a ExpandDepthwise,
    kernels: Kernels,
    /// Of the rows between.
    frame: Frame,
    ending: &'a Ending<'a>,
    out: Output<'a>,
}

impl Pair<'_> {
    /// Some rows of the output of a panel of channels.
    fn piece(&self, image: usize, panel: &Panel, rows: Range<usize>, [height, width]: [usize; 2]) {
        let stride = self.weights.window.strides[0];
        let held = self.held(panel.out.len(), height);
        let at_once = (held - self.reach().min(held - 1)).div_ceil(stride);
        let frame = self.frame.width;
        with_scratch(panel.out.len() * held * frame, |between: &mut [Pixel]| {
            self.frame.clear(between);
            let mut made = 0;
            for start in rows.clone().step_by(at_once) {
                let rows = start..rows.end.min(start + at_once);
                let seen = self.seen(&rows);
                let new = seen.start.max(made)..seen.end;
                new.for_each(|row| self.expand(image, panel, row, between, held));
                made = seen.end;
                for (i, plane) in between.chunks_exact(held * frame).enumerate() {
                    self.depthwise(image, panel.out.start + i, &rows, (plane, held), width);
                }
            }
        });
    }

    /// How far a window's last row lies below its first.
    fn reach(&self) -> usize {
        (self.weights.window.kernel[0] - 1) * self.weights.window.dilations[0]
    }

    /// The rows between that are held at a time: a power of two, and enough for one of the output.
    fn held(&self, planes: usize, height: usize) -> usize {
        let row = planes * self.frame.width * size_of::<Pixel>();
        let all = (height - 1) * self.weights.window.strides[0] + self.reach() + 1;
        let fit = 1 << (HELD / row).max(1).ilog2();
        all.next_power_of_two().min(fit).max((self.reach() + 1).next_power_of_two())
    }

    /// The rows between that these of the output see.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        let Window { strides, pads, .. } = self.weights.window;
        let inside = |row: usize| row.saturating_sub(pads[0]).min(self.input.size[0]);
        inside(rows.start * strides[0])..inside((rows.end - 1) * strides[0] + self.reach() + 1)
    }

    /// Makes a row of a panel.
    fn expand(&self, image: usize, panel: &Panel, row: usize, between: &mut [Pixel], held: usize) {
        let frame = self.frame.width;
        let (pixels, width) = (self.input.pixels(), self.input.size[1]);
        let in_blocks = blocks(self.weights.input);
        let frames = &self.planes[image * in_blocks * pixels..][..in_blocks * pixels];
        let (to, from) = ((row & (held - 1)) * frame + self.frame.left(), row * width);
        assert!(from + width <= pixels && to + width <= held * frame, "a row outside of the images");
        assert!(between.len() == panel.out.len() * held * frame, "size of the buffer");
        let tiles = Tiles::new(width, self.kernels.pixels);
        let weights = &self.weights.expand.data[panel.start..];
        let start = Start::Bias(self.weights.bias[panel.out.start * BLOCK..].as_ptr());
        let finish = Finish { addend: None, low: self.weights.low, high: self.weights.high };
        for cols in (0..tiles.count()).map(|i| tiles.get(i)) {
            let tile = Tile {
                x: frames[from + cols.start..].as_ptr().cast(),
                x_block: pixels * BLOCK,
                fours: panel.fours.clone(),
                taps: &[0],
                weights: weights.as_ptr(),
                out: between[to + cols.start..].as_mut_ptr().cast(),
                out_block: held * frame * BLOCK,
                out_step: BLOCK,
                start,
                finish: Some(finish),
                ahead: std::ptr::null(),
                ahead_step: 0,
            };
            // SAFETY: the pixels lie within the image in each of its blocks, the panel has weights for all of them, and
            // the buffer a plane for each block of the panel (all checked above), which is this thread's own.
            unsafe { self.kernels.run(cols.len(), panel.out.len(), Input::Blocks, &tile) }
        }
    }

    /// Rows of the output of one block of channels.
    fn depthwise(
        &self,
        image: usize,
        block: usize,
        rows: &Range<usize>,
        (between, held): (&[Pixel], usize),
        width: usize,
    ) {
        let plane = image * blocks(self.weights.expanded) + block;
        let taps = self.weights.window.taps();
        let weights = self.weights.depthwise[block * taps * BLOCK..][..taps * BLOCK].as_chunks().0;
        let gather = &Depthwise::new(weights, block, plane, self.out.plane, width, self.ending);
        // SAFETY: no other piece has these rows of this plane.
        let out = unsafe { self.out.range(plane, rows.start * width..rows.end * width) };
        let rows = rows.clone();
        self.ending.isa.run(Walk {
            gather,
            window: self.frame.window(),
            size: [self.input.size[0], self.frame.width],
            plane: between,
            held: held - 1,
            rows,
            width,
            out: &mut *out,
        });
        self.ending.after(block, out);
    }
}
