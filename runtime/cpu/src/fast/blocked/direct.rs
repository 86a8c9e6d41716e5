//! Convolutions as sums over taps and channels.

use std::ops::Range;

use super::panels::{FOUR, Packed, Panel};
use super::tile::{Input, Kernels, Start, Tile};
use super::{BLOCK, Ending, Output, blocks};
use crate::fast::Exec;
use crate::fast::conv::Geometry;
use crate::fast::gemm::split::{Tiles, even, part, pieces};

/// Where in a plane of the output the sums go, in pixels: the first, from line to line, and within a line.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub first: usize,
    pub line: usize,
    pub step: usize,
}

/// Multiply-adds of one piece of work, some 10 µs.
pub(super) const PIECE: usize = 1_000_000;
/// Tiles of a piece that reads all weights.
const MIN_TILES: usize = 4;
/// Bytes of weights that stay in the second-level cache beside the pixels.
const WEIGHTS: usize = 128 * 1024;

/// Where the sums of an image go.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub out: Output<'a>,
    /// The first plane, and the line that its first pixels are of.
    pub plane: usize,
    pub line: usize,
    /// Whether nothing follows but the ending's last pass.
    pub whole: bool,
}

/// A convolution as sums over taps and channels.
pub(super) struct Direct<'a> {
    pub(super) geometry: &'a Geometry,
    frames: &'a [f32],
    /// The channels of an input pixel.
    in_block: usize,
    input: Input,
    /// Blocks of input and output channels.
    pub(super) blocks: [usize; 2],
    pub(super) weights: &'a Packed,
    pub(super) ending: &'a Ending<'a>,
    place: Place,
    kernels: Kernels,
    /// Tiles of a line of pixels, and how many lines there are.
    pub(super) line: Tiles,
    pub(super) lines: usize,
    /// Taps, in elements.
    taps: Vec<usize>,
}

impl<'a> Direct<'a> {
    pub(super) fn new(
        geometry: &'a Geometry,
        frames: &'a [f32],
        in_block: usize,
        inputs: usize,
        weights: &'a Packed,
        ending: &'a Ending<'a>,
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
            place,
            kernels,
            line,
            lines,
            taps,
        }
    }

    /// Writes to `out` the sums, or the largest of each 2 × 2.
    pub(super) fn run(self, exec: Exec<'_>, images: usize, out: Output<'_>, halved: bool) {
        match halved {
            true => self.by_lines().run_halved(exec, images, out),
            false => self.run_whole(exec, images, out),
        }
    }

    /// The same with lines as they are in the image.
    fn by_lines(self) -> Self {
        let [lines, width] = self.geometry.output;
        Direct { line: Tiles::new(width, self.kernels.pixels), lines, ..self }
    }

    fn run_whole(&self, exec: Exec<'_>, images: usize, out: Output<'_>) {
        let tiles = self.lines * self.line.count();
        let panels = self.weights.panels.len();
        let image_leads = self.blocks[0] * self.in_block * self.geometry.plane() >= self.weights.data.len();
        let (tile_parts, panel_parts) = self.parts(tiles, panels, image_leads, exec.pool.threads());
        exec.pool.parallel_for(images * tile_parts * panel_parts, &|piece| {
            // A thread's pieces follow each other: what leads, it reads once, and no other thread reads it.
            let (rows, panel_part) = match image_leads {
                true => (piece / panel_parts, piece % panel_parts),
                false => (piece % (images * tile_parts), piece / (images * tile_parts)),
            };
            let (image, tile_part) = (rows / tile_parts, rows % tile_parts);
            let target = Target { out, plane: image * self.blocks[1], line: 0, whole: true };
            let (tiles, panels) = (part(tiles, tile_parts, tile_part), part(panels, panel_parts, panel_part));
            self.piece(image, tiles, panels, target);
        });
    }

    /// Into how many parts the tiles and the panels of output channels are cut: the larger of image and weights leads
    /// and is rather read once.
    fn parts(&self, tiles: usize, panels: usize, image_leads: bool, threads: usize) -> (usize, usize) {
        let wanted = pieces(self.geometry.pixels() * self.weights.data.len(), PIECE, threads);
        let most = tiles.div_ceil(MIN_TILES);
        let (tile_parts, panel_parts) = if image_leads {
            let tile_parts = wanted.min(most);
            (tile_parts, wanted.div_ceil(tile_parts).min(panels))
        } else {
            let panel_parts = wanted.min(panels);
            (wanted.div_ceil(panel_parts).min(most), panel_parts)
        };
        let even = if wanted < threads { tile_parts } else { even(tile_parts, panel_parts, threads) };
        (even.min(tiles), panel_parts)
    }

    /// Some tiles of some panels, so many blocks of input channels at a time that their weights stay in the cache.
    pub(super) fn piece(&self, image: usize, tiles: Range<usize>, panels: Range<usize>, target: Target<'_>) {
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
                    self.panel(image, &tiles, panel, part, target);
                }
            }
        }
    }

    /// Some tiles of a panel; `part` is of the input channels, in fours.
    fn panel(
        &self,
        image: usize,
        tiles: &Range<usize>,
        panel: &Panel,
        part: Range<usize>,
        target: Target<'_>,
    ) {
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
        let (out, out_plane) = (target.out, target.plane + panel.out.start);
        // What comes next in memory comes next in time, if anything does.
        let share = size_of_val(weights) / tiles.len();
        for (i, tile) in tiles.clone().enumerate() {
            let (line, cols) = (tile / self.line.count(), self.line.get(tile % self.line.count()));
            let from = line * self.geometry.row() + cols.start;
            let reach = from + self.geometry.taps.iter().max().unwrap_or(&0) + cols.len();
            assert!(reach <= plane, "a tile reaches beyond its frame");
            let first = self.place.first + (line - target.line) * self.place.line;
            let pixel = first + cols.start * self.place.step;
            let furthest = pixel + (cols.len() - 1) * self.place.step;
            out.at(out_plane + panel.out.len() - 1, furthest);
            let call = Tile {
                x: frames[from * self.in_block..].as_ptr(),
                x_block: in_plane,
                fours: part.start % per_block..part.start % per_block + part.len(),
                taps: &self.taps,
                weights: weights.as_ptr(),
                out: out.at(out_plane, pixel),
                out_block: out.plane * BLOCK,
                out_step: self.place.step * BLOCK,
                start: if resume { Start::Resume } else { self.ending.start(panel.out.start) },
                finish: last.then(|| self.ending.finish((out_plane * out.plane + pixel) * BLOCK)),
                ahead: weights.as_ptr().wrapping_add(weights.len()).cast::<u8>().wrapping_add(i * share),
                ahead_step: share / (in_blocks.len() * taps),
            };
            // SAFETY: the frames hold every tap of these pixels (checked above) in each of the blocks, and the weights a
            // row for each; the first and the last output are inside (`at` checks), and no two pieces share one.
            unsafe { self.kernels.run(cols.len(), panel.out.len(), self.input, &call) }
        }
        let whole = target.whole && self.place.step == 1 && self.place.line == self.geometry.output[1];
        if last && whole {
            self.after(target, tiles, panel.out.clone());
        }
    }

    fn after(&self, target: Target<'_>, tiles: &Range<usize>, out_blocks: Range<usize>) {
        let start = |tile: usize| {
            let (line, tile) = (tile / self.line.count(), tile % self.line.count());
            self.place.first + line * self.place.line + self.line.get(tile).start
        };
        let (last_line, last) = ((tiles.end - 1) / self.line.count(), (tiles.end - 1) % self.line.count());
        let end = self.place.first + last_line * self.place.line + self.line.get(last).end;
        for block in out_blocks {
            // SAFETY: only this piece has these pixels of this block.
            let pixels = unsafe { target.out.range(target.plane + block, start(tiles.start)..end) };
            self.ending.after(block, pixels);
        }
    }
}
