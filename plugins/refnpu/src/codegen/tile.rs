//! Cutting an output into tiles, and the slab of input that a tile needs.

use super::Placed;
use super::scratchpad::Division;
use crate::device::LANES;
use crate::isa::{Area, Command, Transfer, Walk};
use crate::layer::Window;

/// A rectangle of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    pub row: usize,
    pub col: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Tile {
    pub fn area(&self) -> Area {
        Area { rows: self.rows as u32, cols: self.cols as u32 }
    }

    /// The transfer of this tile of one block, from where it lies dense in the scratchpad.
    pub fn store(&self, output: Placed, block: usize, spm: u32) -> Command {
        let row_bytes = (self.cols * LANES) as u32;
        Command::Store(Transfer {
            dram: output.vector(block, self.row, self.col),
            dram_row: (output.shape.width * LANES) as u32,
            dram_plane: 0,
            spm,
            spm_row: row_bytes,
            spm_plane: 0,
            row_bytes,
            rows: self.rows as u32,
            planes: 1,
        })
    }
}

/// The largest tile of at most `most` whose vectors fit the accumulators and whose input, of so many blocks, fits a
/// slab; whole rows first. `None` where not even one output fits.
pub fn largest(spm: &Division, most: [usize; 2], window: &Window, blocks: usize) -> Option<[usize; 2]> {
    let fits = |rows: usize, cols: usize| {
        let slab = window.extent(0, rows).checked_mul(window.extent(1, cols))?.checked_mul(blocks)?;
        (rows * cols <= spm.step_vectors && slab <= spm.slab_vectors()).then_some(())
    };
    let mut cols = most[1].min(spm.step_vectors);
    while fits(1, cols).is_none() {
        if cols == 1 {
            return None;
        }
        cols = cols.div_ceil(2);
    }
    let mut rows = most[0].min(spm.step_vectors / cols);
    while fits(rows, cols).is_none() {
        rows -= 1;
    }
    // Tiles of equal size leave no small one at the end.
    Some([most[0].div_ceil(most[0].div_ceil(rows)), most[1].div_ceil(most[1].div_ceil(cols))])
}

/// Cuts a rectangle into tiles of at most this size.
pub fn cut(whole: Tile, size: [usize; 2]) -> impl Iterator<Item = Tile> {
    let starts = move |length: usize, step: usize| (0..length).step_by(step);
    starts(whole.rows, size[0]).flat_map(move |row| {
        starts(whole.cols, size[1]).map(move |col| Tile {
            row: whole.row + row,
            col: whole.col + col,
            rows: size[0].min(whole.rows - row),
            cols: size[1].min(whole.cols - col),
        })
    })
}

/// The input of a tile in the scratchpad: blocks of rows of vectors, padding included.
#[derive(Debug, Clone, Copy)]
pub struct Slab {
    address: u32,
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl Slab {
    /// The commands that bring it in: padding first, where there is some, then what the input has.
    pub fn load(
        tile: &Tile,
        window: &Window,
        input: Placed,
        blocks: std::ops::Range<usize>,
        address: u32,
        padding: i8,
    ) -> (Self, Vec<Command>) {
        let rows = Axis::of(window, 0, tile.row, tile.rows, input.shape.height);
        let cols = Axis::of(window, 1, tile.col, tile.cols, input.shape.width);
        let slab = Slab {
            address,
            rows: rows.extent,
            cols: cols.extent,
            row_step: window.stride[0] * cols.extent,
            col_step: window.stride[1],
        };
        let mut commands = Vec::new();
        if rows.padded() || cols.padded() {
            let area = Area { rows: (blocks.len() * slab.rows) as u32, cols: slab.cols as u32 };
            commands.push(Command::Fill { area, target: Walk::dense(address, area.cols), value: padding });
        }
        if rows.count > 0 && cols.count > 0 {
            commands.push(Command::Load(Transfer {
                dram: input.vector(blocks.start, rows.first, cols.first),
                dram_row: (input.shape.width * LANES) as u32,
                dram_plane: (input.shape.pixels() * LANES) as u32,
                spm: address + ((rows.before * slab.cols + cols.before) * LANES) as u32,
                spm_row: (slab.cols * LANES) as u32,
                spm_plane: (slab.rows * slab.cols * LANES) as u32,
                row_bytes: (cols.count * LANES) as u32,
                rows: rows.count as u32,
                planes: blocks.len() as u32,
            }));
        }
        (slab, commands)
    }

    /// Where the tile's outputs find one tap, in the slab's block `block`.
    pub fn tap(&self, block: usize, row: usize, col: usize) -> Walk {
        let vectors = (block * self.rows + row) * self.cols + col;
        Walk {
            address: self.address + (vectors * LANES) as u32,
            row: (self.row_step * LANES) as u32,
            col: (self.col_step * LANES) as u32,
        }
    }

    /// Bytes from row to row.
    pub fn row_bytes(&self) -> usize {
        self.cols * LANES
    }
}

/// One axis of a slab: padding, then input, then padding.
struct Axis {
    extent: usize,
    /// Padding in front.
    before: usize,
    /// The first input that is there, and how many are.
    first: usize,
    count: usize,
}

impl Axis {
    fn of(window: &Window, axis: usize, start: usize, count: usize, size: usize) -> Self {
        let extent = window.extent(axis, count);
        let (from, pad) = (start * window.stride[axis], window.pads[axis]);
        let before = pad.saturating_sub(from).min(extent);
        let first = from.saturating_sub(pad);
        let count = (extent - before).min(size.saturating_sub(first));
        Axis { extent, before, first, count }
    }

    fn padded(&self) -> bool {
        self.count < self.extent
    }
}
