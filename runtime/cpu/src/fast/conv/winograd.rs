//! 3 × 3 convolutions by Winograd's minimal filtering F(4×4, 3×3), see [`super::filtering`].
//!
//! The output is cut into tiles of 4 × 4 pixels. Their 6 × 6 inputs are transformed, channel by channel; each of
//! the 36 positions is multiplied by its transformed weights; and the sums are transformed back. Where there are
//! many tiles, a piece of work does all that for a panel of them, which stays in the second-level cache; where
//! there are few, all tiles go through one stage after the other.

use std::ops::Range;

use super::depthwise::SLACK;
use super::filtering::{Filtering, Six, transformed};
use super::{Channels, ConvEpilogue, Geometry, Images, Window, copy_plane};
use crate::fast::gemm::kernels::Kernels;
use crate::fast::gemm::split::{Tiles, part};
use crate::fast::gemm::tile::{Arith, FinishFloat, Float, Tile};
use crate::fast::gemm::{Matrix, pack_left};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;
use crate::pool::SharedSlice;

/// Pixels of an output tile and of the input that it depends on, along one axis.
const OUT: usize = 4;
const IN: usize = 6;
const POSITIONS: usize = IN * IN;
/// Pixels of the kernel along one axis.
const KERNEL: usize = 3;

/// Output channels of a piece of work: enough to repay the transform of the input.
const CHANNEL_PIECE: usize = 128;
/// Output channels whose sums wait for the transform back at a time.
const CHANNEL_BLOCK: usize = 48;

/// Up to so many tiles an image goes through stage by stage.
const STAGED_TILES: usize = 128;
/// Multiply-adds of one piece of the products then, and channels of a piece of the transforms.
const STAGED_PIECE: usize = 1_000_000;
const TRANSFORM_CHANNELS: usize = 16;
/// Of any instruction set.
const MAX_LANES: usize = 16;

/// Transformed kernels take four times the memory of plain ones: with more of them, memory would be the limit.
const MOST_KERNELS: usize = 512 * 1024;

/// Whether the method applies, and pays for images of this size.
pub(super) fn pays(channels: Channels, window: Window, size: [usize; 2]) -> bool {
    let plain = Window { pads: window.pads, ..Window::new([KERNEL; 2]) } == window;
    let wide = window.output(size).is_some_and(|[height, width]| height.min(width) >= 12);
    plain && wide && is_deep(channels)
}

/// Whether there are enough channels, but not too many.
pub(crate) fn is_deep(channels: Channels) -> bool {
    let Channels { input, output, groups } = channels;
    groups == 1 && input.min(output) >= 16 && input * output <= MOST_KERNELS
}

/// Transforms weights: the 36 positions, each packed as a left operand.
pub(super) fn transform_weights(isa: Isa, channels: Channels, weights: &[f32]) -> Aligned<f32> {
    let count = (channels.output * channels.input).max(1);
    let mut plain = vec![0.0; IN * IN * weights.len() / (KERNEL * KERNEL)];
    for (i, kernel) in weights.chunks_exact(KERNEL * KERNEL).enumerate() {
        let kernel: [[f64; 1]; KERNEL * KERNEL] = std::array::from_fn(|at| [kernel[at].into()]);
        let kernel = transformed::<Six, Six, IN, OUT, IN, OUT, 1>(&kernel);
        kernel.as_flattened().iter().enumerate().for_each(|(at, &[x])| plain[at * count + i] = x);
    }
    let mut packed = Aligned::zeroed(plain.len());
    for (from, to) in plain.chunks_exact(count).zip(packed.chunks_exact_mut(count)) {
        pack_left(isa, Matrix::row_major(from, channels.output, channels.input), to);
    }
    packed
}

/// `weights` are as [`transform_weights`] gives them.
pub(super) fn run(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    channels: Channels,
    window: Window,
    weights: &[f32],
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let size = window.output(input.size).expect("the window does not fit the images");
    let tiles = size.map(|len| len.div_ceil(OUT));
    // Seen as a window that moves by whole tiles along rows, the frame has the columns of tiles side by side.
    // Rows are not sorted, since a tile's six rows follow each other.
    let pads = [window.pads[0], window.pads[1]];
    let padded =
        [0, 1].map(|axis| (tiles[axis] * OUT + KERNEL - 1).saturating_sub(input.size[axis] + pads[axis]));
    let frames = Window {
        kernel: [1, IN],
        strides: [1, OUT],
        dilations: [1, 1],
        pads: [pads[0], pads[1], padded[0], padded[1]],
    };
    let geometry = &Geometry::new(frames, input.size).expect("the window does not fit the images");
    let finish = epilogue.from(0, 0);
    assert!(Float::covers(&finish, channels.output, size[0] * size[1], 0), "size of the bias");
    if let Some(addend) = epilogue.addend {
        assert_eq!(addend.len(), output.len(), "size of the addend");
    }
    let kernels = &Kernels::<Float>::of(exec.isa);
    let planes = input.count * channels.input;
    with_scratch(planes * geometry.plane() + SLACK, |frames| {
        super::fill_frames(exec, geometry, &mut frames[..planes * geometry.plane()], |plane, frame| {
            copy_plane(exec, geometry, input, plane, frame);
        });
        let layer = Layer {
            kernels,
            channels,
            geometry,
            frames,
            weights,
            rows: Tiles::new(channels.output, kernels.rows),
            size,
            tiles,
            epilogue,
            output: SharedSlice::new(output),
        };
        if tiles[0] * tiles[1] <= STAGED_TILES {
            layer.run_staged(exec, input.count)
        } else {
            layer.run(exec, input.count)
        }
    });
}

/// All that pieces of work share.
struct Layer<'a> {
    kernels: &'a Kernels<Float>,
    channels: Channels,
    geometry: &'a Geometry,
    frames: &'a [f32],
    weights: &'a [f32],
    rows: Tiles,
    size: [usize; 2],
    /// How many tiles lie below and beside each other.
    tiles: [usize; 2],
    epilogue: &'a ConvEpilogue<'a>,
    output: SharedSlice<'a, f32>,
}

impl<'a> Layer<'a> {
    fn tile_count(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn job(&'a self, image: usize, tiles: Range<usize>, width: usize) -> Job<'a> {
        let frame = &self.frames[image * self.channels.input * self.geometry.plane()..];
        let finish = self.epilogue.from(0, image * self.channels.output * self.size[0] * self.size[1]);
        Job { layer: self, image, frame, tiles, width, finish }
    }

    /// A panel of tiles after the other, from the input's transform to the output's: all of it stays in the
    /// second-level cache, and the weights are read once a panel.
    fn run(&self, exec: Exec<'_>, images: usize) {
        let width = self.kernels.panel;
        let panels = self.tile_count().div_ceil(width);
        let parts = self.channels.output.div_ceil(CHANNEL_PIECE);
        exec.pool.parallel_for(images * panels * parts, &|piece| {
            let (rest, channel_part) = (piece / parts, piece % parts);
            let (image, first) = (rest / panels, rest % panels * width);
            let job = self.job(image, first..self.tile_count().min(first + width), width);
            job.run(exec, part(self.rows.count(), parts, channel_part));
        });
    }

    /// One stage for all tiles after the other: the weights, much more than the tiles, are read once.
    fn run_staged(&self, exec: Exec<'_>, images: usize) {
        let Channels { input, output, .. } = self.channels;
        let width = self.tile_count().next_multiple_of(MAX_LANES);
        let volume = output * input * self.tile_count();
        let parts = (volume / STAGED_PIECE).clamp(1, self.rows.count());
        with_scratch(POSITIONS * (input + output) * width + SLACK, |scratch| {
            let (v, sums) = scratch.split_at_mut(POSITIONS * input * width);
            for image in 0..images {
                let job = &self.job(image, 0..self.tile_count(), width);
                let shared = SharedSlice::new(v);
                exec.pool.parallel_ranges(input, TRANSFORM_CHANNELS, &|channels| {
                    exec.isa.run(Forward { job, v: shared, channels });
                });
                let shared = SharedSlice::new(sums);
                exec.pool.parallel_for(POSITIONS * parts, &|piece| {
                    let (position, rows) = (piece / parts, part(self.rows.count(), parts, piece % parts));
                    let first = self.rows.span(&rows).start;
                    let len = self.rows.span(&rows).len() * width;
                    let start = (position * output + first) * width;
                    // SAFETY: no other piece has these rows of this position.
                    let sums = unsafe { shared.range(start..start + len) };
                    job.multiply(position, &rows, v, sums);
                });
                exec.pool.parallel_ranges(output, TRANSFORM_CHANNELS, &|channels| {
                    for channel in channels {
                        let sums = &sums[channel * width..];
                        exec.isa.run(Back { job, isa: exec.isa, channel, sums, position: output * width });
                    }
                });
            }
        });
    }
}

/// Tiles of one image.
struct Job<'a> {
    layer: &'a Layer<'a>,
    image: usize,
    frame: &'a [f32],
    tiles: Range<usize>,
    /// The length of a row of transformed tiles.
    width: usize,
    finish: FinishFloat<'a>,
}

impl Job<'_> {
    /// Computes the channels of rows `rows` of the weights.
    fn run(&self, exec: Exec<'_>, rows: Range<usize>) {
        let Layer { kernels, rows: all, .. } = self.layer;
        let inputs = self.layer.channels.input;
        let block = CHANNEL_BLOCK.next_multiple_of(kernels.rows);
        let position = inputs * self.width;
        with_scratch(POSITIONS * (position + block * self.width) + SLACK, |scratch| {
            let (v, sums) = scratch.split_at_mut(POSITIONS * position);
            exec.isa.run(Forward { job: self, v: SharedSlice::new(v), channels: 0..inputs });
            for first in rows.clone().step_by(block / kernels.rows) {
                let rows = first..rows.end.min(first + block / kernels.rows);
                let len = all.span(&rows).len() * self.width;
                for position in 0..POSITIONS {
                    self.multiply(position, &rows, v, &mut sums[position * block * self.width..][..len]);
                }
                for channel in all.span(&rows) {
                    let sums = &sums[(channel - all.span(&rows).start) * self.width..];
                    exec.isa.run(Back {
                        job: self,
                        isa: exec.isa,
                        channel,
                        sums,
                        position: block * self.width,
                    });
                }
            }
        });
    }

    /// For one position, the sums over the input channels.
    fn multiply(&self, position: usize, rows: &Range<usize>, v: &[f32], sums: &mut [f32]) {
        let Layer { kernels, weights, rows: all, .. } = self.layer;
        let (k, width) = (self.layer.channels.input, self.width);
        let count = weights.len() / POSITIONS;
        let v = &v[position * k * width..][..k * width];
        let mut c = sums;
        for tile in rows.clone() {
            let tile = all.get(tile);
            let a = &weights[position * count + tile.start * k..][..tile.len() * k];
            let (out, rest) = c.split_at_mut(tile.len() * width);
            c = rest;
            for first in (0..self.tiles.len()).step_by(kernels.panel) {
                let call = Tile {
                    k,
                    a: a.as_ptr(),
                    a_row: 0,
                    b: v[first..].as_ptr(),
                    b_row: width,
                    c: out[first..].as_mut_ptr(),
                    c_row: width,
                    n: kernels.panel.min(self.tiles.len() - first),
                    resume: false,
                    finish: None,
                    row: 0,
                    col: 0,
                    ahead: a.as_ptr().wrapping_add(a.len()).cast(),
                    ahead_step: tile.len() * 16,
                };
                // SAFETY: the slices have just the sizes that a tile of these rows and `k` touches: rows of
                // whole vectors.
                unsafe { kernels.run(tile.len(), &call) }
            }
        }
    }

    /// Cuts the tiles into vectors of at most `lanes` in one row of tiles: the index among them, the tile's row
    /// and column, and how many.
    fn vectors(&self, lanes: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let across = self.layer.tiles[1];
        let mut at = self.tiles.start;
        std::iter::from_fn(move || {
            let (row, col) = (at / across, at % across);
            let n = lanes.min(across - col).min(self.tiles.end - at);
            let index = at - self.tiles.start;
            at += n;
            (n > 0).then_some((index, row, col, n))
        })
    }
}

/// The transform of the input, into a row of tiles for each channel of each position.
struct Forward<'a, 'b, 'v> {
    job: &'a Job<'b>,
    v: SharedSlice<'v, f32>,
    /// Nobody else transforms these at the same time.
    channels: Range<usize>,
}

#[inline(always)]
fn forward<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN] {
    <Six as Filtering<IN, OUT>>::forward(s, d)
}

#[inline(always)]
fn back<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT] {
    <Six as Filtering<IN, OUT>>::back(s, m)
}

impl Task for Forward<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let (width, inputs) = (job.width, job.layer.channels.input);
        let geometry = job.layer.geometry;
        let (row_stride, plane) = (geometry.row(), geometry.plane());
        assert!(geometry.taps.len() == IN && self.v.len() == POSITIONS * inputs * width);
        assert!(job.frame.len() >= inputs * plane + SLACK && self.channels.end <= inputs);
        for channel in self.channels {
            for (index, row, col, n) in job.vectors(S::LANES) {
                let frame = &job.frame[channel * plane + row * OUT * row_stride + col..];
                let mut d = [[s.splat(0.0); IN]; IN];
                for (y, d) in d.iter_mut().enumerate() {
                    let row = &frame[y * row_stride..];
                    let mut x = [s.splat(0.0); IN];
                    for (x, &tap) in x.iter_mut().zip(&geometry.taps) {
                        // SAFETY: every vector begins inside the frame, so it ends within the slack.
                        *x = unsafe { s.load(row.as_ptr().add(tap)) };
                    }
                    *d = forward(s, x);
                }
                for x in 0..IN {
                    for (y, value) in forward(s, d.map(|d| d[x])).into_iter().enumerate() {
                        let at = ((y * IN + x) * inputs + channel) * width + index;
                        // SAFETY: the channel is this call's alone, and `out` has `n` elements.
                        unsafe {
                            let out = self.v.range(at..at + n);
                            if n == S::LANES {
                                s.store(out.as_mut_ptr(), value);
                            } else {
                                s.store_part(out.as_mut_ptr(), n, value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The transform of one channel's sums back to pixels.
struct Back<'a, 'b> {
    job: &'a Job<'b>,
    isa: Isa,
    channel: usize,
    /// A row of tiles for each position, the rows `position` apart.
    sums: &'a [f32],
    position: usize,
}

impl Task for Back<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let [height, width] = job.layer.size;
        let activation = job.layer.epilogue.activation;
        let plane = (job.image * job.layer.channels.output + self.channel) * height;
        for (index, tile_row, tile_col, n) in job.vectors(S::LANES) {
            let mut m = [[s.splat(0.0); OUT]; IN];
            for (y, m) in m.iter_mut().enumerate() {
                let mut x = [s.splat(0.0); IN];
                for (i, x) in x.iter_mut().enumerate() {
                    let from = &self.sums[(y * IN + i) * self.position + index..][..S::LANES];
                    // SAFETY: `from` has `LANES` elements.
                    *x = unsafe { s.load(from.as_ptr()) };
                }
                *m = back(s, x);
            }
            let mut pixels = [[s.splat(0.0); OUT]; OUT];
            for x in 0..OUT {
                let column = back(s, m.map(|m| m[x]));
                for (row, value) in pixels.iter_mut().zip(column) {
                    row[x] = value;
                }
            }
            let col = tile_col * OUT;
            let count = (n * OUT).min(width - col);
            for (y, pixels) in pixels.into_iter().enumerate().take(height - tile_row * OUT) {
                let row = tile_row * OUT + y;
                let mut buffer = [0.0; OUT * 16];
                for (i, v) in s.interleave(pixels).into_iter().enumerate() {
                    let first = i * S::LANES;
                    if first >= count {
                        break;
                    }
                    let at = (self.channel * height + row) * width + col + first;
                    let n = S::LANES.min(count - first);
                    let buffer = &mut buffer[first..first + S::LANES];
                    // SAFETY: `finish` covers the image's output, and `buffer` has `LANES` elements.
                    unsafe {
                        let v = Float::finish(s, &job.finish, v, self.channel, 0, at, n);
                        s.store(buffer.as_mut_ptr(), v);
                    }
                }
                let at = (plane + row) * width + col;
                // SAFETY: each pixel belongs to one tile, and each tile and channel to one call.
                let out = unsafe { job.layer.output.range(at..at + count) };
                crate::fast::copy::copy(out, &buffer[..count]);
                if activation.range().is_none() {
                    activation.apply(self.isa, out);
                }
            }
        }
    }
}
