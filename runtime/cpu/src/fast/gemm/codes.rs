//! Products by weights that are kept as codes of 8 or 4 bits: a weight is `(code − zero) · scale`.
//!
//! Weights lie in panels as wide as the f32 kernel's tile, row after row, and for 4 bits two rows to a byte, the earlier
//! one in the lower half. Scales and zeros belong to a column of a panel and to a block of consecutive rows.
//!
//! A left operand of a few rows reads the codes once, and they become numbers on the way to the multiplier: the sum of
//! a block takes its scale as a whole, and its zero by the sum of the left operand's block. With more rows a stretch of
//! the panel is made f32 in the cache, and the f32 kernel multiplies.

use std::ops::Range;

use super::kernels::Kernels;
use super::pack::pack_panel;
use super::split::part;
use super::tile::{Arith, FinishFloat, Float};
use super::{Batch, Epilogue, Matrix};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task, vectorised};
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;
use crate::pool::SharedSlice;

/// As many rows of the left operand read the codes themselves.
const FEW: usize = 4;
/// Weights of one piece of work of these: some 5 µs.
const PIECE: usize = 1 << 17;
/// The columns of the widest panel.
const WIDEST: usize = 48;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Of a code: 8 or 4.
    pub bits: usize,
    /// Rows that have a scale in common: an even number.
    pub block: usize,
}

impl Codes {
    /// The code of zero where nothing else is said.
    pub fn centre(self) -> f32 {
        (1 << (self.bits - 1)) as f32
    }

    fn blocks(self, k: usize) -> usize {
        k.div_ceil(self.block)
    }

    /// Rows of bytes that `k` rows of weights take.
    fn rows(self, k: usize) -> usize {
        (k * self.bits).div_ceil(8)
    }
}

/// A right operand packed once for one instruction set.
pub struct PackedCodes {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    kept: Codes,
    width: usize,
    codes: Aligned<u8>,
    /// By panel and block.
    scales: Aligned<f32>,
    /// The same; none where all are the centre.
    zeros: Option<Aligned<f32>>,
}

impl PackedCodes {
    /// Codes, scales and zeros by column and by row or block.
    ///
    /// # Panics
    /// If there is no such way of keeping weights.
    pub fn of_codes(
        isa: Isa,
        [k, n]: [usize; 2],
        kept: Codes,
        code: impl Fn(usize, usize) -> u8,
        scale: impl Fn(usize, usize) -> f32,
        zero: Option<&dyn Fn(usize, usize) -> f32>,
    ) -> Self {
        let mut packed = Self::empty(isa, [k, n], kept);
        let (width, blocks) = (packed.width, kept.blocks(k));
        let mut zeros = zero.map(|_| Aligned::zeroed(packed.scales.len()));
        for col in 0..n {
            let (panel, lane) = (col / width, col % width);
            for block in 0..blocks {
                let at = (panel * blocks + block) * width + lane;
                packed.scales[at] = scale(col, block);
                if let (Some(zeros), Some(zero)) = (&mut zeros, zero) {
                    zeros[at] = zero(col, block);
                }
            }
            (0..k).for_each(|row| packed.set(panel, row, lane, code(col, row)));
        }
        packed.zeros = zeros;
        packed
    }

    /// The nearest codes of `b`; `None` where not all of it is finite.
    pub fn quantise(isa: Isa, b: Matrix<'_>, kept: Codes) -> Option<Self> {
        let mut packed = Self::empty(isa, [b.rows, b.cols], kept);
        let (k, width, blocks) = (b.rows, packed.width, kept.blocks(b.rows));
        let mut values = vec![0.0; kept.block.min(k) * width];
        let mut codes = vec![0; values.len()];
        for panel in 0..b.cols.div_ceil(width) {
            let columns = panel * width..b.cols.min((panel + 1) * width);
            for block in 0..blocks {
                let rows = block * kept.block..k.min((block + 1) * kept.block);
                let (values, codes) = (&mut values[..rows.len() * width], &mut codes[..rows.len() * width]);
                pack_panel(b, rows.clone(), columns.clone(), width, values);
                let scales = &mut packed.scales[(panel * blocks + block) * width..][..width];
                if !vectorised(
                    isa,
                    #[inline(always)]
                    || quantise(kept, values, width, scales, codes),
                ) {
                    return None;
                }
                for (row, codes) in rows.zip(codes.chunks_exact(width)) {
                    packed.set_row(panel, row, codes);
                }
            }
        }
        Some(packed)
    }

    fn empty(isa: Isa, [k, n]: [usize; 2], kept: Codes) -> Self {
        assert!(matches!(kept.bits, 4 | 8) && kept.block > 0 && kept.block.is_multiple_of(2), "{kept:?}");
        let width = Kernels::<Float>::of(isa).panel;
        let len = |rows: usize| {
            let len = n.div_ceil(width).checked_mul(width).and_then(|n| n.checked_mul(rows));
            len.expect("packed size overflows")
        };
        let (codes, scales) = (Aligned::zeroed(len(kept.rows(k))), Aligned::zeroed(len(kept.blocks(k))));
        Self { isa, k, n, kept, width, codes, scales, zeros: None }
    }

    /// Where a row of a panel begins, and how far its codes are from the right in their bytes.
    fn place(&self, panel: usize, row: usize) -> (usize, usize) {
        let per_byte = 8 / self.kept.bits;
        let at = (panel * self.kept.rows(self.k) + row / per_byte) * self.width;
        (at, row % per_byte * self.kept.bits)
    }

    /// Writes a code where there was none yet.
    fn set(&mut self, panel: usize, row: usize, lane: usize, code: u8) {
        let (at, shift) = self.place(panel, row);
        self.codes[at + lane] |= code << shift;
    }

    fn set_row(&mut self, panel: usize, row: usize, codes: &[u8]) {
        let (at, shift) = self.place(panel, row);
        let bytes = &mut self.codes[at..][..codes.len()];
        bytes.iter_mut().zip(codes).for_each(|(byte, code)| *byte |= code << shift);
    }

    /// Of codes, scales and zeros.
    pub fn bytes(&self) -> usize {
        let zeros = self.zeros.as_ref().map_or(0, |zeros| zeros.len());
        self.codes.len() + (self.scales.len() + zeros) * size_of::<f32>()
    }

    /// Rows `k` of columns `n`, a panel's, as f32 in rows of `width`.
    pub(super) fn unpack(&self, k: Range<usize>, n: Range<usize>, width: usize, out: &mut [f32]) {
        assert_eq!(width, self.width, "packed for other panels");
        let (panel, blocks) = (n.start / width, self.kept.blocks(self.k));
        let (mask, centres) = (u8::MAX >> (8 - self.kept.bits), [self.kept.centre(); WIDEST]);
        vectorised(
            self.isa,
            #[inline(always)]
            || {
                for (row, out) in k.zip(out.chunks_exact_mut(width)) {
                    let (at, shift) = self.place(panel, row);
                    let of_block = (panel * blocks + row / self.kept.block) * width;
                    let scales = &self.scales[of_block..][..width];
                    let zeros = match &self.zeros {
                        Some(zeros) => &zeros[of_block..][..width],
                        None => &centres[..width],
                    };
                    let codes = self.codes[at..][..width].iter().zip(scales.iter().zip(zeros));
                    for (out, (code, (scale, zero))) in out.iter_mut().zip(codes) {
                        *out = (f32::from(code >> shift & mask) - zero) * scale;
                    }
                }
            },
        );
    }
}

/// Scales and codes of a block of rows of `width`; false where not all of it is finite.
#[inline(always)]
fn quantise(kept: Codes, values: &[f32], width: usize, scales: &mut [f32], codes: &mut [u8]) -> bool {
    let (mut extreme, mut finite) = ([0f32; WIDEST], true);
    for row in values.chunks_exact(width) {
        for (extreme, &x) in extreme.iter_mut().zip(row) {
            finite &= x.is_finite();
            *extreme = if x.abs() > extreme.abs() { x } else { *extreme };
        }
    }
    let centre = kept.centre();
    // Symmetric, or with the one code more that there is below zero spent on the extreme.
    let candidates = [extreme.map(|x| x.abs() / (centre - 1.0)), extreme.map(|x| -x / centre)];
    let errors = candidates.map(|scales| error(values, width, &scales, centre));
    for (lane, scale) in scales.iter_mut().enumerate() {
        *scale = candidates[usize::from(errors[1][lane] <= errors[0][lane])][lane];
    }
    let mut inverse = [0f32; WIDEST];
    inverse.iter_mut().zip(&*scales).for_each(|(inverse, &scale)| *inverse = reciprocal(scale));
    for (row, codes) in values.chunks_exact(width).zip(codes.chunks_exact_mut(width)) {
        for (code, (&x, &inverse)) in codes.iter_mut().zip(row.iter().zip(&inverse)) {
            *code = nearest(x, inverse, centre) as u8;
        }
    }
    finite
}

/// Zero where all weights are.
#[inline(always)]
fn reciprocal(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The nearest code, ties to even.
#[inline(always)]
fn nearest(x: f32, inverse: f32, centre: f32) -> f32 {
    // Adding and taking off what leaves no room for a fraction rounds, in vectors too.
    const WHOLE: f32 = 12_582_912.0;
    let code = (x * inverse + WHOLE) - WHOLE + centre;
    code.max(0.0).min(2.0 * centre - 1.0)
}

/// By column, the sum of squares of what is lost.
#[inline(always)]
fn error(values: &[f32], width: usize, scales: &[f32; WIDEST], centre: f32) -> [f32; WIDEST] {
    let inverse = scales.map(reciprocal);
    let mut errors = [0f32; WIDEST];
    for row in values.chunks_exact(width) {
        for (lane, &x) in row.iter().enumerate() {
            let lost = x - (nearest(x, inverse[lane], centre) - centre) * scales[lane];
            errors[lane] += lost * lost;
        }
    }
    errors
}

/// Multiplies where the left operand is one matrix of a few rows; false where it is not.
pub(super) fn few_rows(
    exec: Exec<'_>,
    a: Matrix<'_>,
    b: &PackedCodes,
    c: &mut [f32],
    batch: &Batch<'_>,
    epilogue: &Epilogue<'_>,
) -> bool {
    let (m, n) = (a.rows, b.n);
    if batch.a.len() != 1 || !(1..=FEW).contains(&m) || a.col_stride != 1 || n == 0 || b.k == 0 {
        return false;
    }
    let a = a.moved(batch.a[0]);
    let finish = epilogue.finish(0);
    assert!((m == 1 || batch.c_row >= n) && (m - 1) * batch.c_row + n <= c.len(), "the product does not fit");
    assert!(Float::covers(&finish, m, n, batch.c_row), "bias or addend is too small");
    let (panels, blocks) = (n.div_ceil(b.width), b.kept.blocks(b.k));
    let pieces = panels.div_ceil((PIECE / (b.k * b.width)).max(1));
    with_scratch(m * blocks, |sums| {
        block_sums(exec.isa, a, b.kept.block, sums);
        let (sums, out) = (&*sums, SharedSlice::new(c));
        exec.pool.parallel_for(pieces, &|piece| {
            let panels = part(panels, pieces, piece);
            let columns = panels.start * b.width..n.min(panels.end * b.width);
            b.isa.run(Few { a, b, sums, panels, finish, out, c_row: batch.c_row });
            for row in 0..m {
                let at = row * batch.c_row;
                // SAFETY: only this piece has these columns.
                let done = unsafe { out.range(at + columns.start..at + columns.end) };
                if epilogue.activation.range().is_none() {
                    epilogue.activation.apply_each(b.isa, std::iter::once(done));
                }
            }
        });
    });
    true
}

/// Sums of the blocks of each row, in an order that only the block's length settles.
fn block_sums(isa: Isa, a: Matrix<'_>, block: usize, sums: &mut [f32]) {
    let blocks = a.cols.div_ceil(block);
    vectorised(
        isa,
        #[inline(always)]
        || {
            for (row, sums) in sums.chunks_exact_mut(blocks).enumerate() {
                let row = &a.data[row * a.row_stride..][..a.cols];
                for (sum, block) in sums.iter_mut().zip(row.chunks(block)) {
                    let (whole, rest) = block.as_chunks::<16>();
                    let mut lanes = [0f32; 16];
                    for x in whole {
                        lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x);
                    }
                    *sum = lanes.iter().chain(rest).sum();
                }
            }
        },
    );
}

/// Some panels times a few rows.
struct Few<'a> {
    a: Matrix<'a>,
    b: &'a PackedCodes,
    /// Of the left operand, by row and block.
    sums: &'a [f32],
    panels: Range<usize>,
    finish: FinishFloat<'a>,
    out: SharedSlice<'a, f32>,
    c_row: usize,
}

impl Task for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for panel in self.panels.clone() {
            match (S::LANES, self.b.kept.bits) {
                (16, 8) => self.panel_of_rows::<S, 3, 8>(s, panel),
                (16, _) => self.panel_of_rows::<S, 3, 4>(s, panel),
                (_, 8) => self.panel_of_rows::<S, 2, 8>(s, panel),
                (_, _) => self.panel_of_rows::<S, 2, 4>(s, panel),
            }
        }
    }
}

impl Few<'_> {
    #[inline(always)]
    fn panel_of_rows<S: Simd, const NV: usize, const BITS: usize>(&self, s: S, panel: usize) {
        match self.a.rows {
            1 => self.panel::<S, NV, BITS, 1>(s, panel),
            2 => self.panel::<S, NV, BITS, 2>(s, panel),
            3 => self.panel::<S, NV, BITS, 3>(s, panel),
            _ => self.panel::<S, NV, BITS, 4>(s, panel),
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const NV: usize, const BITS: usize, const MR: usize>(&self, s: S, panel: usize) {
        let (b, width) = (self.b, NV * S::LANES);
        let (kept, k) = (b.kept, b.k);
        let blocks = kept.blocks(k);
        let rows: [&[f32]; MR] = std::array::from_fn(|i| &self.a.data[i * self.a.row_stride..][..k]);
        let centre = [s.splat(kept.centre()); NV];
        let mut totals = [[s.splat(0.0); NV]; MR];
        for block in 0..blocks {
            let steps = block * kept.block..k.min((block + 1) * kept.block);
            let codes = &b.codes[b.place(panel, steps.start).0..][..kept.rows(steps.len()) * width];
            let sums = multiply::<S, NV, BITS, MR>(s, &rows, steps, codes);
            let at = (panel * blocks + block) * width;
            let scales = vectors::<S, NV>(s, &b.scales[at..][..width]);
            let zeros = b.zeros.as_ref().map_or(centre, |zeros| vectors::<S, NV>(s, &zeros[at..][..width]));
            for i in 0..MR {
                let of_row = s.splat(-self.sums[i * blocks + block]);
                for j in 0..NV {
                    let centred = s.fma(zeros[j], of_row, sums[i][j]);
                    totals[i][j] = s.fma(centred, scales[j], totals[i][j]);
                }
            }
        }
        let first = panel * width;
        for (i, row) in totals.iter().enumerate() {
            for (j, &total) in row.iter().enumerate() {
                let col = first + j * S::LANES;
                if col >= b.n {
                    break;
                }
                let (at, count) = (i * self.c_row + col, (b.n - col).min(S::LANES));
                // SAFETY: the caller has found that the output and what `finish` reads cover all rows and columns.
                unsafe {
                    let done = Float::finish(s, &self.finish, total, i, col, at, count);
                    Float::store_out(s, self.out.as_mut_ptr().add(at), count, done);
                }
            }
        }
    }
}

#[inline(always)]
fn vectors<S: Simd, const NV: usize>(s: S, values: &[f32]) -> [S::F; NV] {
    let mut loaded = [s.splat(0.0); NV];
    for (vector, values) in loaded.iter_mut().zip(values.chunks_exact(S::LANES)) {
        // SAFETY: a chunk has as many elements.
        *vector = unsafe { s.load(values.as_ptr()) };
    }
    loaded
}

/// Products of these steps of the rows with codes, as they are.
#[inline(always)]
fn multiply<S: Simd, const NV: usize, const BITS: usize, const MR: usize>(
    s: S,
    rows: &[&[f32]; MR],
    steps: Range<usize>,
    codes: &[u8],
) -> [[S::F; NV]; MR] {
    let mut sums = [[s.splat(0.0); NV]; MR];
    let per_byte = 8 / BITS;
    let mut step = steps.start;
    for codes in codes.chunks_exact(NV * S::LANES) {
        let mut bytes = [s.splat_i(0); NV];
        for (j, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: the chunk has a byte for each lane.
            *bytes = unsafe { s.load_bytes(codes.as_ptr().add(j * S::LANES), S::LANES) };
        }
        for half in 0..per_byte {
            if step == steps.end {
                break;
            }
            for (j, &bytes) in bytes.iter().enumerate() {
                let code = match (BITS, half) {
                    (8, _) => bytes,
                    (_, 0) => s.and_i(bytes, s.splat_i(15)),
                    _ => s.shift_right::<4>(bytes),
                };
                let code = s.to_float(code);
                for i in 0..MR {
                    sums[i][j] = s.fma(s.splat(rows[i][step]), code, sums[i][j]);
                }
            }
            step += 1;
        }
    }
    sums
}
