//! Transposition of a few rows at a time.

use super::math;
use super::simd::Simd;

/// Writes four rows of one length as columns, side by side in rows of `width`.
#[inline(always)]
pub(super) fn four_rows<S: Simd>(s: S, rows: [&[f32]; 4], out: &mut [f32], width: usize) {
    let len = rows[0].len();
    let mut at = 0;
    while at + S::LANES <= len {
        let columns = s.interleave([
            math::load_at(s, rows[0], at),
            math::load_at(s, rows[1], at),
            math::load_at(s, rows[2], at),
            math::load_at(s, rows[3], at),
        ]);
        for (i, four_columns) in columns.into_iter().enumerate() {
            let mut buffer = [0.0; 16];
            math::store_at(s, &mut buffer, 0, four_columns);
            for (j, column) in buffer.chunks_exact(4).take(S::LANES / 4).enumerate() {
                let at = at + i * S::LANES / 4 + j;
                out[at * width..][..4].copy_from_slice(column);
            }
        }
        at += S::LANES;
    }
    for at in at..len {
        out[at * width..][..4].copy_from_slice(&[rows[0][at], rows[1][at], rows[2][at], rows[3][at]]);
    }
}
