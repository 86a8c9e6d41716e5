//! Convolutions.

use std::ops::Range;

use super::panels::{FOUR, Packed, Panel, pack};
use super::tile::{Input, Kernels, Start, THIN, Tile};
use super::{BLOCK, Blocked, Ending, Output, Pixel, blocks, depthwise, winograd};
use crate::fast::conv::{Channels, ConvEpilogue, Geometry, Images, Window};
use crate::fast::gemm::split::{Tiles, part};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};
use crate::fast::{Exec, Isa, math};
use crate::memory::Aligned;

/// A convolution's weights, rearranged once for one instruction set.
pub struct BlockedConv {
    isa: Isa,
    channels: Channels,
    window: Window,
    weights: Weights,
}

enum Weights {
    Direct(Packed),
    /// The same, for images that are not blocked but have few channels.
    Thin(Packed),
    /// Block after block, for each tap those of 16 channels.
    Depthwise(Aligned<f32>),
    Winograd(winograd::Packed),
}

impl BlockedConv {
    /// Packs `weights` (output channels, input channels of a group, kernel height, kernel width) by the method that is
    /// best for images of height and width `size`. The result serves images of any size.
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn pack(isa: Isa, channels: Channels, window: Window, weights: &[f32], size: [usize; 2]) -> Self {
        let taps = window.taps();
        let inputs = channels.per_group().0;
        assert_eq!(weights.len(), channels.output * inputs * taps, "size of the weights");
        let weights = if channels.is_depthwise() {
            Weights::Depthwise(depthwise::pack(weights, channels.output, taps))
        } else if winograd::pays(channels, window, size) {
            Weights::Winograd(winograd::transform_weights(isa, channels, weights, size))
        } else {
            let at = |o: usize, i: usize, tap: usize| weights[(o * inputs + i) * taps + tap];
            Weights::Direct(pack(isa, channels, BLOCK, taps, at))
        };
        Self { isa, channels, window, weights }
    }

    /// Packs the same for [`conv_thin`].
    ///
    /// # Panics
    /// If the weights do not have that size, or there are groups or more than `THIN` channels.
    pub fn pack_thin(isa: Isa, channels: Channels, window: Window, weights: &[f32]) -> Self {
        let taps = window.taps();
        assert!(channels.groups == 1 && channels.input <= THIN, "too many channels for a thin image");
        assert_eq!(weights.len(), channels.output * channels.input * taps, "size of the weights");
        let at = |o: usize, i: usize, tap: usize| weights[(o * channels.input + i) * taps + tap];
        Self { isa, channels, window, weights: Weights::Thin(pack(isa, channels, THIN, taps, at)) }
    }

    pub fn is_thin(&self) -> bool {
        matches!(self.weights, Weights::Thin(_))
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    pub fn window(&self) -> Window {
        self.window
    }
}

/// `output = epilogue(input ∗ weights)`; the addend is blocked as the output is.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let (channels, window) = (weights.channels, weights.window);
    assert_eq!(input.channels, channels.input, "channels of the input");
    let geometry = &Geometry::new(window, input.size).expect("the window does not fit the images");
    let len = output.len();
    let out = Output::new(output, input.count * blocks(channels.output), geometry.pixels());
    if len == 0 {
        return;
    }
    Ending::with(exec.isa, epilogue, channels.output, len, |ending| match &weights.weights {
        Weights::Depthwise(weights) => depthwise::run(exec, input, window, weights, out, ending),
        Weights::Winograd(weights) => winograd::run(exec, input, window, weights, out, ending),
        Weights::Direct(weights) => with_frames(exec, geometry, input, |frames| {
            let place = Place { first: 0, line: geometry.output[1], step: 1 };
            Direct::new(geometry, frames, BLOCK, channels.input, weights, ending, out, place)
                .run(exec, input.count);
        }),
        Weights::Thin(_) => panic!("weights for images that are not blocked"),
    });
}

/// The same for images of at most `THIN` channels that are not blocked; the output is.
///
/// # Panics
/// If the sizes do not fit together, the window does not fit the images, or the weights are not packed for it.
pub fn conv_thin(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let (channels, window) = (weights.channels, weights.window);
    let Weights::Thin(weights) = &weights.weights else { panic!("weights for blocked images") };
    let plane = input.size[0] * input.size[1];
    assert_eq!(input.data.len(), input.count * channels.input * plane, "size of the input");
    let geometry = &Geometry::new(window, input.size).expect("the window does not fit the images");
    let len = output.len();
    let out = Output::new(output, input.count * blocks(channels.output), geometry.pixels());
    if len == 0 {
        return;
    }
    Ending::with(exec.isa, epilogue, channels.output, len, |ending| {
        let (row, rows) = (geometry.row(), geometry.plane() / geometry.row());
        with_scratch(input.count * geometry.plane(), |frames: &mut [[f32; THIN]]| {
            exec.pool.parallel_chunks(frames, FRAME_ROWS * row, &|piece, frames| {
                for (i, frame) in frames.chunks_exact_mut(row).enumerate() {
                    let (image, index) = ((piece * FRAME_ROWS + i) / rows, (piece * FRAME_ROWS + i) % rows);
                    let planes = &input.data[image * channels.input * plane..][..channels.input * plane];
                    geometry.fill_row(index, frame, [0.0; THIN], |out, start, step| {
                        exec.isa.run(Interleave { planes, plane, start, step, out });
                    });
                }
            });
            let place = Place { first: 0, line: geometry.output[1], step: 1 };
            let frames = frames.as_flattened();
            Direct::new(geometry, frames, THIN, channels.input, weights, ending, out, place)
                .run(exec, input.count);
        });
    });
}

/// Rows of frames of one piece of work.
const FRAME_ROWS: usize = 8;

/// Pixels of a few planes, every `step`-th from `start` on, side by side.
struct Interleave<'a> {
    planes: &'a [f32],
    plane: usize,
    start: usize,
    step: usize,
    out: &'a mut [[f32; THIN]],
}

impl Task for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Interleave { planes, plane, start, step, out } = self;
        let mut from: [&[f32]; THIN] = [&[]; THIN];
        for (from, plane) in from.iter_mut().zip(planes.chunks_exact(plane)) {
            *from = &plane[start..];
        }
        let mut whole = 0;
        while step == 1 && whole + S::LANES <= out.len() {
            let vectors = from.map(
                #[inline(always)]
                |x| match x.is_empty() {
                    true => s.splat(0.0),
                    false => math::load_at(s, x, whole),
                },
            );
            let to = out[whole..whole + S::LANES].as_flattened_mut();
            for (i, v) in s.interleave(vectors).into_iter().enumerate() {
                math::store_at(s, to, i * S::LANES, v);
            }
            whole += S::LANES;
        }
        for (i, out) in out.iter_mut().enumerate().skip(whole) {
            *out = from.map(|x| x.get(i * step).copied().unwrap_or(0.0));
        }
    }
}

/// Calls `run` with the frames of all planes: the input itself, where they are the same.
pub(super) fn with_frames(exec: Exec<'_>, geometry: &Geometry, input: Blocked<'_>, run: impl FnOnce(&[f32])) {
    /// Pixels of one piece of work.
    const PIECE: usize = 1024;
    let planes = input.planes();
    if geometry.is_plain() {
        return run(planes.as_flattened());
    }
    let (pixels, plane) = (input.pixels(), geometry.plane());
    let count = input.count * blocks(input.channels);
    with_scratch(count * plane, |frames: &mut [Pixel]| {
        exec.pool.parallel_chunks(frames, (PIECE / plane).max(1) * plane, &|piece, frames| {
            let first = piece * (PIECE / plane).max(1);
            for (i, frame) in frames.chunks_exact_mut(plane).enumerate() {
                let source = &planes[(first + i) * pixels..][..pixels];
                geometry.fill_border(frame, [0.0; BLOCK]);
                geometry.fill_inside(frame, |out, start, step| match step {
                    1 => out.copy_from_slice(&source[start..start + out.len()]),
                    _ => out
                        .iter_mut()
                        .zip(source[start..].iter().step_by(step))
                        .for_each(|(to, from)| *to = *from),
                });
            }
        });
        run(frames.as_flattened());
    });
}

/// Where in a plane of the output the sums go, in pixels: the first, from line to line, and within a line.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub first: usize,
    pub line: usize,
    pub step: usize,
}

/// Multiply-adds of one piece of work, some 10 µs.
const PIECE: usize = 1_000_000;
/// Tiles of a piece that reads all weights.
const MIN_TILES: usize = 4;
/// Bytes of weights that stay in the second-level cache beside the pixels.
const WEIGHTS: usize = 128 * 1024;

/// A convolution as sums over taps and channels.
pub(super) struct Direct<'a> {
    geometry: &'a Geometry,
    frames: &'a [f32],
    /// The channels of an input pixel.
    in_block: usize,
    input: Input,
    /// Blocks of input and output channels.
    blocks: [usize; 2],
    weights: &'a Packed,
    ending: &'a Ending<'a>,
    out: Output<'a>,
    place: Place,
    kernels: Kernels,
    /// Tiles of a line of pixels, and how many lines there are.
    line: Tiles,
    lines: usize,
    /// Taps, in elements.
    taps: Vec<usize>,
}

impl<'a> Direct<'a> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        geometry: &'a Geometry,
        frames: &'a [f32],
        in_block: usize,
        inputs: usize,
        weights: &'a Packed,
        ending: &'a Ending<'a>,
        out: Output<'a>,
        place: Place,
    ) -> Self {
        let kernels = Kernels::of(ending.isa);
        let [height, width] = geometry.output;
        // Without gaps between the rows all pixels are neighbours.
        let one = geometry.row() == width && place.line == width && place.step == 1;
        let (lines, width) = if one { (1, height * width) } else { (height, width) };
        let taps = geometry.taps.iter().map(|tap| tap * in_block).collect();
        let blocks = [inputs.div_ceil(in_block), blocks(ending.channels)];
        let line = Tiles::new(width, kernels.pixels);
        let input = match (in_block, inputs) {
            (BLOCK, _) => Input::Blocks,
            (_, 0..=3) => Input::Three,
            _ => Input::Thin,
        };
        Direct {
            geometry,
            frames,
            in_block,
            input,
            blocks,
            weights,
            ending,
            out,
            place,
            kernels,
            line,
            lines,
            taps,
        }
    }

    pub(super) fn run(&self, exec: Exec<'_>, images: usize) {
        let tiles = self.lines * self.line.count();
        let panels = self.weights.panels.len();
        let image_leads = self.blocks[0] * self.in_block * self.geometry.plane() >= self.weights.data.len();
        let (tile_parts, panel_parts) = self.parts(tiles, panels, image_leads);
        exec.pool.parallel_for(images * tile_parts * panel_parts, &|piece| {
            // A thread's pieces follow each other: what leads, it reads once, and no other thread reads it.
            let (rows, panel_part) = match image_leads {
                true => (piece / panel_parts, piece % panel_parts),
                false => (piece % (images * tile_parts), piece / (images * tile_parts)),
            };
            let (image, tile_part) = (rows / tile_parts, rows % tile_parts);
            self.piece(image, part(tiles, tile_parts, tile_part), part(panels, panel_parts, panel_part));
        });
    }

    /// Into how many parts the tiles and the panels of output channels are cut: the larger of image and weights leads
    /// and is rather read once.
    fn parts(&self, tiles: usize, panels: usize, image_leads: bool) -> (usize, usize) {
        let weights = self.weights.data.len();
        let wanted = (self.geometry.pixels() * weights).div_ceil(PIECE);
        if image_leads {
            let tile_parts = wanted.min(tiles.div_ceil(MIN_TILES));
            (tile_parts, wanted.div_ceil(tile_parts).min(panels))
        } else {
            let panel_parts = wanted.min(panels);
            (wanted.div_ceil(panel_parts).min(tiles.div_ceil(MIN_TILES)), panel_parts)
        }
    }

    /// Some tiles of some panels, so many blocks of input channels at a time that their weights stay in the cache.
    fn piece(&self, image: usize, tiles: Range<usize>, panels: Range<usize>) {
        let panels = &self.weights.panels[panels];
        let row = self.kernels.blocks * BLOCK * size_of::<f32>();
        let fours = (WEIGHTS / (row * self.in_block * self.taps.len())).max(1) * self.in_block / FOUR;
        let most =
            panels.iter().map(|panel| panel.fours.end.div_ceil(fours) - panel.fours.start / fours).max();
        for round in 0..most.unwrap_or(0) {
            for panel in panels {
                let first = (panel.fours.start / fours + round) * fours;
                let part = panel.fours.start.max(first)..panel.fours.end.min(first + fours);
                if !part.is_empty() {
                    self.panel(image, &tiles, panel, part);
                }
            }
        }
    }

    /// Some tiles of a panel; `part` is of the input channels, in fours.
    fn panel(&self, image: usize, tiles: &Range<usize>, panel: &Panel, part: Range<usize>) {
        let taps = self.taps.len();
        let four_rows = FOUR * taps * panel.width();
        let start = panel.start + (part.start - panel.fours.start) * four_rows;
        let weights = &self.weights.data[start..][..part.len() * four_rows];
        let per_block = self.in_block / FOUR;
        let in_blocks = part.start / per_block..part.end.div_ceil(per_block);
        let plane = self.geometry.plane();
        let in_plane = plane * self.in_block;
        let frames = (image * self.blocks[0] + in_blocks.start) * in_plane;
        let frames = &self.frames[frames..][..in_blocks.len() * in_plane];
        let (resume, last) = (part.start > panel.fours.start, part.end == panel.fours.end);
        let out_plane = image * self.blocks[1] + panel.out.start;
        // What comes next in memory comes next in time, if anything does.
        let share = size_of_val(weights) / tiles.len();
        for (i, tile) in tiles.clone().enumerate() {
            let (line, cols) = (tile / self.line.count(), self.line.get(tile % self.line.count()));
            let from = line * self.geometry.row() + cols.start;
            let reach = from + self.geometry.taps.iter().max().unwrap_or(&0) + cols.len();
            assert!(reach <= plane, "a tile reaches beyond its frame");
            let pixel = self.place.first + line * self.place.line + cols.start * self.place.step;
            let furthest = pixel + (cols.len() - 1) * self.place.step;
            let out = self.out.at(out_plane, pixel);
            self.out.at(out_plane + panel.out.len() - 1, furthest);
            let call = Tile {
                x: frames[from * self.in_block..].as_ptr(),
                x_block: in_plane,
                fours: part.start % per_block..part.start % per_block + part.len(),
                taps: &self.taps,
                weights: weights.as_ptr(),
                out,
                out_block: self.out.plane * BLOCK,
                out_step: self.place.step * BLOCK,
                start: if resume { Start::Resume } else { self.ending.start(panel.out.start) },
                finish: last.then(|| self.ending.finish((out_plane * self.out.plane + pixel) * BLOCK)),
                ahead: weights.as_ptr().wrapping_add(weights.len()).cast::<u8>().wrapping_add(i * share),
                ahead_step: share / (in_blocks.len() * taps),
            };
            // SAFETY: the frames hold every tap of these pixels (checked above) in each of the blocks, and the weights a
            // row for each; the first and the last output are inside (`at` checks), and no two pieces share one.
            unsafe { self.kernels.run(cols.len(), panel.out.len(), self.input, &call) }
        }
        if last && self.place.step == 1 && self.place.line == self.geometry.output[1] {
            self.after(image, tiles, panel.out.clone());
        }
    }

    fn after(&self, image: usize, tiles: &Range<usize>, out_blocks: Range<usize>) {
        let start = |tile: usize| {
            let (line, tile) = (tile / self.line.count(), tile % self.line.count());
            self.place.first + line * self.place.line + self.line.get(tile).start
        };
        let (last_line, last) = ((tiles.end - 1) / self.line.count(), (tiles.end - 1) % self.line.count());
        let end = self.place.first + last_line * self.place.line + self.line.get(last).end;
        for block in out_blocks {
            // SAFETY: only this piece has these pixels of this block.
            let pixels = unsafe { self.out.range(image * self.blocks[1] + block, start(tiles.start)..end) };
            self.ending.after(block, pixels);
        }
    }
}
