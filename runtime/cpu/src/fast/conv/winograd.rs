//! 3 × 3 convolutions by Winograd's minimal filtering F(4×4, 3×3): 36 multiplications where 144 are plain
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"), with the interpolation points
//! 0, ±√½, ±√2 and ∞, whose rounding errors are about half those of 0, ±1, ±2, ∞.
//!
//! The output is cut into tiles of 4 × 4 pixels. A piece of work takes a panel of tiles and transforms their
//! 6 × 6 inputs, channel by channel; multiplies each of the 36 positions by its transformed weights; and
//! transforms the sums back. All of that stays in the second-level cache.

use std::f32::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};
use std::ops::Range;

use super::depthwise::SLACK;
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

/// Pixels of an output tile, of the input that it depends on, and of the kernel, along one axis.
const OUT: usize = 4;
const IN: usize = 6;
const KERNEL: usize = 3;
const POSITIONS: usize = IN * IN;

/// Output channels of a piece of work: enough to repay the transform of the input.
const CHANNEL_PIECE: usize = 128;
/// Output channels whose sums wait for the transform back at a time.
const CHANNEL_BLOCK: usize = 48;

/// Whether the method applies, and pays for images of this size.
pub(super) fn pays(channels: Channels, window: Window, size: [usize; 2]) -> bool {
    let plain = Window { pads: window.pads, ..Window::new([KERNEL; 2]) } == window;
    let wide = window.output(size).is_some_and(|[height, width]| height >= 12 && width >= 12);
    let deep = channels.input.min(channels.output) >= 16 && channels.input.max(channels.output) <= 512;
    plain && wide && deep && channels.groups == 1
}

/// Transforms weights: the 36 positions, each packed as a left operand.
pub(super) fn transform_weights(isa: Isa, channels: Channels, weights: &[f32]) -> Aligned<f32> {
    let (a, b) = (f64::from(A), f64::from(B));
    let g = [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -2.0 / 3.0 * a, -1.0 / 3.0],
        [-2.0 / 3.0, 2.0 / 3.0 * a, -1.0 / 3.0],
        [1.0 / 6.0, b / 6.0, 1.0 / 3.0],
        [1.0 / 6.0, -b / 6.0, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];
    let count = channels.output * channels.input;
    let mut plain = vec![0.0; POSITIONS * count];
    for (i, kernel) in weights.chunks_exact(KERNEL * KERNEL).enumerate() {
        // Along columns first, then along rows.
        let column =
            |g: &[f64; KERNEL], x: usize| (0..KERNEL).map(|y| g[y] * f64::from(kernel[y * KERNEL + x])).sum();
        let half: [[f64; KERNEL]; IN] = std::array::from_fn(|y| std::array::from_fn(|x| column(&g[y], x)));
        for (y, half) in half.iter().enumerate() {
            for (x, g) in g.iter().enumerate() {
                let sum: f64 = half.iter().zip(g).map(|(half, g)| half * g).sum();
                plain[(y * IN + x) * count + i] = sum as f32;
            }
        }
    }
    let mut packed = Aligned::zeroed(plain.len());
    for (from, to) in plain.chunks_exact(count.max(1)).zip(packed.chunks_exact_mut(count.max(1))) {
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
    let kernels = Kernels::<Float>::of(exec.isa);
    let tile_count = tiles[0] * tiles[1];
    let panels = tile_count.div_ceil(kernels.panel);
    let parts = channels.output.div_ceil(CHANNEL_PIECE);
    let planes = input.count * channels.input;
    with_scratch(planes * geometry.plane() + SLACK, |frames| {
        let output = SharedSlice::new(output);
        super::fill_frames(exec, geometry, &mut frames[..planes * geometry.plane()], |plane, frame| {
            copy_plane(exec, geometry, input, plane, frame);
        });
        let rows = Tiles::new(channels.output, kernels.rows);
        exec.pool.parallel_for(input.count * panels * parts, &|piece| {
            let (rest, channel_part) = (piece / parts, piece % parts);
            let (image, panel) = (rest / panels, rest % panels);
            let first = panel * kernels.panel;
            let job = Job {
                kernels: &kernels,
                channels,
                geometry,
                frame: &frames[image * channels.input * geometry.plane()..],
                weights,
                rows,
                size,
                tiles: first..tile_count.min(first + kernels.panel),
                tiles_across: tiles[1],
                finish: epilogue.from(0, image * channels.output * size[0] * size[1]),
            };
            job.run(exec, part(rows.count(), parts, channel_part), |channel, row, col, pixels: &[f32]| {
                let plane = image * channels.output + channel;
                let at = (plane * size[0] + row) * size[1] + col;
                // SAFETY: each pixel belongs to one tile, and each tile and channel to one piece.
                let out = unsafe { output.range(at..at + pixels.len()) };
                crate::fast::copy::copy(out, pixels);
            });
        });
    });
    if epilogue.activation.range().is_none() {
        let pixels = (size[0] * size[1]).max(1);
        exec.pool.parallel_chunks(output, pixels, &|_, plane| epilogue.activation.apply(exec.isa, plane));
    }
}

/// A panel of tiles of one image.
struct Job<'a, 'f> {
    kernels: &'a Kernels<Float>,
    channels: Channels,
    geometry: &'a Geometry,
    frame: &'a [f32],
    weights: &'a [f32],
    rows: Tiles,
    size: [usize; 2],
    tiles: Range<usize>,
    tiles_across: usize,
    finish: FinishFloat<'f>,
}

impl Job<'_, '_> {
    /// Computes the channels of the tiles of rows `rows`; `store(channel, row, column, pixels)` takes the results.
    fn run(&self, exec: Exec<'_>, rows: Range<usize>, store: impl Fn(usize, usize, usize, &[f32])) {
        let width = self.kernels.panel;
        let block = CHANNEL_BLOCK.next_multiple_of(self.kernels.rows);
        let position = self.channels.input * width;
        with_scratch(POSITIONS * (position + block * width) + SLACK, |scratch| {
            let (v, sums) = scratch.split_at_mut(POSITIONS * position);
            exec.isa.run(Forward { job: self, v });
            for first in rows.clone().step_by(block / self.kernels.rows) {
                let rows = first..rows.end.min(first + block / self.kernels.rows);
                self.multiply(&rows, v, sums);
                for channel in self.rows.span(&rows) {
                    let from = (channel - self.rows.get(rows.start).start) * width;
                    let sums = &sums[from..];
                    exec.isa.run(Back { job: self, channel, sums, position: block * width, store: &store });
                }
            }
        });
    }

    /// For each position, the sums over the input channels.
    fn multiply(&self, rows: &Range<usize>, v: &[f32], sums: &mut [f32]) {
        let (k, width) = (self.channels.input, self.kernels.panel);
        let block = CHANNEL_BLOCK.next_multiple_of(self.kernels.rows) * width;
        let count = self.weights.len() / POSITIONS;
        for position in 0..POSITIONS {
            let b = &v[position * k * width..][..k * width];
            for tile in rows.clone() {
                let tile = self.rows.get(tile);
                let a = &self.weights[position * count + tile.start * k..][..tile.len() * k];
                let at = position * block + (tile.start - self.rows.get(rows.start).start) * width;
                let c = &mut sums[at..][..tile.len() * width];
                let call = Tile {
                    k,
                    a: a.as_ptr(),
                    a_row: 0,
                    b: b.as_ptr(),
                    b_row: width,
                    c: c.as_mut_ptr(),
                    c_row: width,
                    n: self.tiles.len(),
                    resume: false,
                    finish: None,
                    row: 0,
                    col: 0,
                    ahead: a.as_ptr().wrapping_add(a.len()).cast(),
                    ahead_step: tile.len() * 16,
                };
                // SAFETY: the slices have just the sizes that a tile of these rows and `k` touches.
                unsafe { self.kernels.run(tile.len(), &call) }
            }
        }
    }

    /// Cuts the panel into vectors of at most `lanes` tiles of one row of tiles: the index in the panel, the
    /// tile's row and column, and how many.
    fn vectors(&self, lanes: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let mut at = self.tiles.start;
        std::iter::from_fn(move || {
            let (row, col) = (at / self.tiles_across, at % self.tiles_across);
            let n = lanes.min(self.tiles_across - col).min(self.tiles.end - at);
            let index = at - self.tiles.start;
            at += n;
            (n > 0).then_some((index, row, col, n))
        })
    }
}

/// The transform of the input, into rows of `panel` tiles for each channel of each position.
struct Forward<'a, 'b, 'f> {
    job: &'a Job<'b, 'f>,
    v: &'a mut [f32],
}

impl Task for Forward<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let (width, inputs) = (job.kernels.panel, job.channels.input);
        let (row_stride, plane) = (job.geometry.row(), job.geometry.plane());
        assert!(job.geometry.taps.len() == IN && self.v.len() == POSITIONS * inputs * width);
        assert!(job.frame.len() >= inputs * plane + SLACK);
        for channel in 0..inputs {
            for (index, row, col, n) in job.vectors(S::LANES) {
                let frame = &job.frame[channel * plane + row * OUT * row_stride + col..];
                let mut d = [[s.splat(0.0); IN]; IN];
                for (y, d) in d.iter_mut().enumerate() {
                    let row = &frame[y * row_stride..];
                    let mut x = [s.splat(0.0); IN];
                    for (x, &tap) in x.iter_mut().zip(&job.geometry.taps) {
                        // SAFETY: every vector begins inside the frame, so it ends within the slack.
                        *x = unsafe { s.load(row.as_ptr().add(tap)) };
                    }
                    *d = forward(s, x);
                }
                for x in 0..IN {
                    for (y, value) in forward(s, d.map(|d| d[x])).into_iter().enumerate() {
                        let at = ((y * IN + x) * inputs + channel) * width + index;
                        let out = &mut self.v[at..at + n];
                        // SAFETY: `out` has `n` elements.
                        unsafe {
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
struct Back<'a, 'b, 'f, F> {
    job: &'a Job<'b, 'f>,
    channel: usize,
    /// A row of tiles for each position, the rows `position` apart.
    sums: &'a [f32],
    position: usize,
    store: &'a F,
}

impl<F: Fn(usize, usize, usize, &[f32])> Task for Back<'_, '_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let [height, width] = job.size;
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
                (self.store)(self.channel, row, col, &buffer[..count]);
            }
        }
    }
}

/// Along one axis, the input transform: row `p` of it is the product of `x - q` over the other points `q`.
#[inline(always)]
fn forward<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN] {
    let sub = |x: S::F, factor: f32, y: S::F| s.fma(s.splat(-factor), y, x);
    let even = [sub(d[4], 2.0, d[2]), sub(d[4], 0.5, d[2])];
    let odd = [s.mul(s.splat(A), sub(d[3], 2.0, d[1])), s.mul(s.splat(B), sub(d[3], 0.5, d[1]))];
    [
        s.add(sub(d[0], 2.5, d[2]), d[4]),
        s.add(even[0], odd[0]),
        s.sub(even[0], odd[0]),
        s.add(even[1], odd[1]),
        s.sub(even[1], odd[1]),
        s.add(sub(d[1], 2.5, d[3]), d[5]),
    ]
}

/// Along one axis, the output transform: output `i` is the sum of `pⁱ · m` over the points `p`.
#[inline(always)]
fn back<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT] {
    let (sum, rest) = ([s.add(m[1], m[2]), s.add(m[3], m[4])], [s.sub(m[1], m[2]), s.sub(m[3], m[4])]);
    let weigh = |x: [S::F; 2], a: f32, b: f32| s.fma(x[0], s.splat(a), s.mul(x[1], s.splat(b)));
    [
        s.add(m[0], s.add(sum[0], sum[1])),
        weigh(rest, A, B),
        weigh(sum, 0.5, 2.0),
        s.add(weigh(rest, 0.5 * A, 2.0 * B), m[5]),
    ]
}
