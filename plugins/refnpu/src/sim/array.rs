//! The systolic array: a tile of weights stays, vectors stream through.

use super::Row;
use crate::device::LANES;
use crate::isa::{Area, Walk};

/// Weights without their zero point, `[output lane][input lane]`.
pub type Tile = [[i16; LANES]; LANES];

/// The vector at an address, without its zero point.
#[inline(always)]
pub fn vector(scratchpad: &[u8], address: usize, zero: i8) -> [i16; LANES] {
    let mut out = [0; LANES];
    for (out, byte) in out.iter_mut().zip(&scratchpad[address..address + LANES]) {
        *out = i16::from(*byte as i8) - i16::from(zero);
    }
    out
}

/// The addresses of an area's vectors, row by row.
#[inline(always)]
pub fn addresses(area: Area, walk: Walk) -> impl Iterator<Item = usize> {
    let (address, row, col) = (walk.address as usize, walk.row as usize, walk.col as usize);
    (0..area.rows as usize)
        .flat_map(move |r| (0..area.cols as usize).map(move |c| address + r * row + c * col))
}

pub fn load_tile(scratchpad: &[u8], address: u32, zero: i8) -> Box<Tile> {
    let mut tile = Box::new([[0; LANES]; LANES]);
    for (lane, weights) in tile.iter_mut().enumerate() {
        *weights = vector(scratchpad, address as usize + lane * LANES, zero);
    }
    tile
}

/// `rows[i][n] (+)= Σ_k source[i][k] · tile[n][k]`.
pub fn matmul(
    scratchpad: &[u8],
    tile: &Tile,
    area: Area,
    source: Walk,
    zero: i8,
    rows: &mut [Row],
    accumulate: bool,
) {
    for (address, row) in addresses(area, source).zip(rows) {
        let input = vector(scratchpad, address, zero);
        for (sum, weights) in row.iter_mut().zip(tile) {
            let before = if accumulate { *sum } else { 0 };
            *sum = before.wrapping_add(dot(&input, weights));
        }
    }
}

/// Written for the compiler to turn into multiply-add instructions over pairs of int16.
#[inline(always)]
fn dot(a: &[i16; LANES], b: &[i16; LANES]) -> i32 {
    let mut sum = 0i32;
    for k in 0..LANES {
        sum = sum.wrapping_add(i32::from(a[k]) * i32::from(b[k]));
    }
    sum
}
