//! Products of 8-bit matrices with zero points, exact in 32 bits (wrapping beyond).

use std::ops::Range;

use super::drive::{self, Dims, Layout, Operand, Problem};
use super::kernels::Kernels;
use super::pairs::{Pairs, Quantized, pair};
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;

/// A zero point: one for all elements, or one for each row or column of the matrix.
#[derive(Clone, Copy)]
pub enum Zero<'a, T> {
    All(T),
    Rows(&'a [T]),
    Columns(&'a [T]),
}

/// A quantised matrix somewhere in a slice: element (i, j) is at `i · row_stride + j · col_stride`.
#[derive(Clone, Copy)]
pub struct IntMatrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    zero: Zero<'a, T>,
}

impl<'a, T: Quantized> IntMatrix<'a, T> {
    /// A matrix with any strides.
    ///
    /// # Panics
    /// If an element lies outside of `data`, or the zero points are not as many as the rows or columns.
    pub fn strided(
        data: &'a [T],
        [rows, cols]: [usize; 2],
        [row_stride, col_stride]: [usize; 2],
        zero: Zero<'a, T>,
    ) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1)
                .checked_mul(row_stride)
                .zip((cols - 1).checked_mul(col_stride))
                .and_then(|(i, j)| i.checked_add(j));
            assert!(last.is_some_and(|last| last < data.len()), "the matrix lies outside of its data");
        }
        match zero {
            Zero::All(_) => {}
            Zero::Rows(zeros) => assert_eq!(zeros.len(), rows, "zero points of rows"),
            Zero::Columns(zeros) => assert_eq!(zeros.len(), cols, "zero points of columns"),
        }
        Self { data, rows, cols, row_stride, col_stride, zero }
    }

    /// A matrix stored row by row without gaps.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize, zero: Zero<'a, T>) -> Self {
        Self::strided(data, [rows, cols], [cols, 1], zero)
    }

    /// The element less its zero point; 0 beyond the last row or column.
    #[inline(always)]
    fn at(&self, row: usize, col: usize) -> i32 {
        if row >= self.rows || col >= self.cols {
            return 0;
        }
        let zero = match self.zero {
            Zero::All(zero) => zero,
            Zero::Rows(zeros) => zeros[row],
            Zero::Columns(zeros) => zeros[col],
        };
        self.data[row * self.row_stride + col * self.col_stride].widen() - zero.widen()
    }

    /// Words `k` of columns `n`, each word two rows, in rows of `width`.
    fn pack_panel(&self, k: Range<usize>, n: Range<usize>, width: usize, out: &mut [i32]) {
        for (word, out) in k.zip(out.chunks_exact_mut(width)) {
            let (values, rest) = out.split_at_mut(n.len());
            rest.fill(0);
            match self.zero {
                // The common case, in a form that vectorises.
                Zero::All(zero) if self.col_stride == 1 && 2 * word + 1 < self.rows => {
                    let row = |row: usize| &self.data[row * self.row_stride + n.start..][..values.len()];
                    let (low, high) = (row(2 * word), row(2 * word + 1));
                    for ((out, low), high) in values.iter_mut().zip(low).zip(high) {
                        *out = pair(low.widen() - zero.widen(), high.widen() - zero.widen());
                    }
                }
                _ => values.iter_mut().zip(n.clone()).for_each(|(out, col)| {
                    *out = pair(self.at(2 * word, col), self.at(2 * word + 1, col));
                }),
            }
        }
    }

    /// `rows` word by word, each word two columns.
    fn pack_tile(&self, rows: Range<usize>, out: &mut [i32]) {
        for (word, out) in out.chunks_exact_mut(rows.len()).enumerate() {
            for (out, row) in out.iter_mut().zip(rows.clone()) {
                *out = pair(self.at(row, 2 * word), self.at(row, 2 * word + 1));
            }
        }
    }
}

/// A right operand packed once for one instruction set, its zero points taken off.
pub struct PackedInt {
    isa: Isa,
    k: usize,
    n: usize,
    panels: Aligned<i32>,
}

impl PackedInt {
    /// Packs `b` (`k` rows, `n` columns).
    pub fn pack<T: Quantized>(isa: Isa, b: IntMatrix<'_, T>) -> Self {
        let width = Kernels::<Pairs>::of(isa).panel;
        let (words, n) = (b.rows.div_ceil(2), b.cols);
        let len = n.div_ceil(width).checked_mul(width).and_then(|n| n.checked_mul(words));
        let mut panels = Aligned::zeroed(len.expect("packed size overflows"));
        if words > 0 {
            for (i, panel) in panels.chunks_exact_mut(width * words).enumerate() {
                b.pack_panel(0..words, i * width..n.min((i + 1) * width), width, panel);
            }
        }
        Self { isa, k: b.rows, n, panels }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// The right operand of an integer product.
#[derive(Clone, Copy)]
pub enum IntRhs<'a, T> {
    Packed(&'a PackedInt),
    Plain(IntMatrix<'a, T>),
}

/// `c = (a - a's zero points) · (b - b's zero points)`; the rows of `c` are `c_row` apart.
///
/// # Panics
/// If the sizes do not fit together.
pub fn gemm_int<T: Quantized, U: Quantized>(
    exec: Exec<'_>,
    a: IntMatrix<'_, T>,
    b: IntRhs<'_, U>,
    c: &mut [i32],
    c_row: usize,
) {
    let (k, n, isa) = match b {
        IntRhs::Packed(b) => (b.k, b.n, b.isa),
        IntRhs::Plain(b) => (b.rows, b.cols, exec.isa),
    };
    assert_eq!(a.cols, k, "inner dimensions differ");
    drive::run(Exec { isa, ..exec }, &GemmInt { a, b, n, c_row }, c);
}

struct GemmInt<'a, T, U> {
    a: IntMatrix<'a, T>,
    b: IntRhs<'a, U>,
    n: usize,
    c_row: usize,
}

impl<T: Quantized, U: Quantized> Problem for GemmInt<'_, T, U> {
    type A = Pairs;

    fn dims(&self) -> Dims {
        Dims { batch: 1, m: self.a.rows, n: self.n, k: self.a.cols.div_ceil(2) }
    }

    fn layout(&self) -> Layout {
        Layout { row: self.c_row, batch: 0 }
    }

    fn left(&self, _: usize) -> Operand<'_, i32> {
        Operand::OnTheSpot
    }

    fn right(&self, _: usize) -> Operand<'_, i32> {
        match self.b {
            IntRhs::Packed(b) => Operand::Packed(&b.panels),
            IntRhs::Plain(_) => Operand::OnTheSpot,
        }
    }

    fn pack_left(&self, _: usize, rows: Range<usize>, out: &mut [i32]) {
        self.a.pack_tile(rows, out);
    }

    fn pack_right(&self, _: usize, k: Range<usize>, n: Range<usize>, panel: usize, out: &mut [i32]) {
        if let IntRhs::Plain(b) = self.b {
            b.pack_panel(k, n, panel, out);
        }
    }

    fn finish(&self, _: usize) {}
}
