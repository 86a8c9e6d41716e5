//! Operands rearranged for the micro-kernel: [`PackedA`] left, [`PackedB`] right, and packing on the spot.

use std::ops::Range;

use super::Matrix;
use super::kernels::Kernels;
use super::split::Tiles;
use super::tile::Float;
use crate::fast::Isa;
use crate::memory::Aligned;

/// A right operand packed once for one instruction set, to be multiplied many times.
///
/// The columns lie in panels as wide as the micro-kernel's tile, the last one filled up with zeros.
pub struct PackedB {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) panels: Aligned<f32>,
}

impl PackedB {
    /// Packs `b` (`k` rows, `n` columns).
    pub fn pack(isa: Isa, b: Matrix<'_>) -> Self {
        let width = Kernels::<Float>::of(isa).panel;
        let (k, n) = (b.rows, b.cols);
        let len = n.div_ceil(width).checked_mul(width).and_then(|n| n.checked_mul(k));
        let mut panels = Aligned::zeroed(len.expect("packed size overflows"));
        if k > 0 {
            for (i, panel) in panels.chunks_exact_mut(width * k).enumerate() {
                pack_panel(b, 0..k, i * width..n.min((i + 1) * width), width, panel);
            }
        }
        Self { isa, k, n, panels }
    }

    pub fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn panels(&self) -> &[f32] {
        &self.panels
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// A left operand packed once for one instruction set, to be multiplied many times.
pub struct PackedA {
    pub(super) isa: Isa,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) tiles: Aligned<f32>,
}

impl PackedA {
    /// Packs `a` (`m` rows, `k` columns).
    pub fn pack(isa: Isa, a: Matrix<'_>) -> Self {
        let mut tiles = Aligned::zeroed(a.rows * a.cols);
        pack_left(isa, a, &mut tiles);
        Self { isa, m: a.rows, k: a.cols, tiles }
    }
}

/// Writes a left operand in the order of the micro-kernel: each tile of rows column by column.
pub(crate) fn pack_left(isa: Isa, a: Matrix<'_>, packed: &mut [f32]) {
    let tiles = Tiles::new(a.rows, Kernels::<Float>::of(isa).rows);
    for tile in (0..tiles.count()).map(|i| tiles.get(i)) {
        pack_tile(a, tile.clone(), &mut packed[tile.start * a.cols..tile.end * a.cols]);
    }
}

/// Writes `rows` of `a` column by column.
pub(super) fn pack_tile(a: Matrix<'_>, rows: Range<usize>, out: &mut [f32]) {
    if a.col_stride == 1 {
        for (i, row) in rows.clone().enumerate() {
            let row = &a.data[row * a.row_stride..][..a.cols];
            out.iter_mut().skip(i).step_by(rows.len()).zip(row).for_each(|(out, &x)| *out = x);
        }
        return;
    }
    for (col, out) in out.chunks_exact_mut(rows.len()).enumerate() {
        out.iter_mut().zip(rows.clone()).for_each(|(out, row)| *out = a.at(row, col));
    }
}

/// Writes rows `k` and columns `n` of `b` as rows of `width`, zero beyond `n`.
pub(super) fn pack_panel(b: Matrix<'_>, k: Range<usize>, n: Range<usize>, width: usize, out: &mut [f32]) {
    if b.col_stride == 1 {
        for (row, out) in k.zip(out.chunks_exact_mut(width)) {
            let (values, rest) = out.split_at_mut(n.len());
            values.copy_from_slice(&b.data[row * b.row_stride + n.start..][..n.len()]);
            rest.fill(0.0);
        }
        return;
    }
    let mut col = 0;
    if b.row_stride == 1 {
        // The common transposed matrix: four columns at a time, each contiguous.
        let column = |col: usize| &b.data[(n.start + col) * b.col_stride + k.start..][..k.len()];
        while col + 4 <= n.len() {
            let columns = column(col).iter().zip(column(col + 1)).zip(column(col + 2)).zip(column(col + 3));
            for (out, (((&w, &x), &y), &z)) in out.chunks_exact_mut(width).zip(columns) {
                out[col..col + 4].copy_from_slice(&[w, x, y, z]);
            }
            col += 4;
        }
    }
    for (row, out) in k.zip(out.chunks_exact_mut(width)) {
        let (values, rest) = out.split_at_mut(n.len());
        for (i, value) in values.iter_mut().enumerate().skip(col) {
            *value = b.at(row, n.start + i);
        }
        rest.fill(0.0);
    }
}
