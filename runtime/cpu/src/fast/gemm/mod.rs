//! Matrix products of `f32`s (packed or plain operands, batches, an epilogue on the way out), of weights kept in fewer
//! bits, and of bytes.

mod codes;
pub(crate) mod drive;
mod half;
mod int;
pub(crate) mod kernels;
mod pack;
pub(crate) mod pairs;
pub(crate) mod split;
pub(crate) mod tile;
mod weights;

use std::ops::Range;

pub use codes::{Codes, PackedCodes};
use drive::{Dims, Layout, Operand, Problem};
pub use half::PackedHalf;
pub use int::{IntMatrix, IntRhs, PackedInt, Zero, gemm_int};
pub(crate) use pack::pack_left;
pub use pack::{PackedA, PackedB};
pub use pairs::Quantized;
use tile::{FinishFloat, Float};
pub use weights::{Precision, Weights};

use super::Exec;
use super::activation::Activation;
use half::HalfGemm;

/// A matrix somewhere in a slice: element (i, j) is at `i · row_stride + j · col_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix with any strides.
    ///
    /// # Panics
    /// If an element lies outside of `data`.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1)
                .checked_mul(row_stride)
                .zip((cols - 1).checked_mul(col_stride))
                .and_then(|(i, j)| i.checked_add(j));
            assert!(last.is_some_and(|last| last < data.len()), "the matrix lies outside of its data");
        }
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// A matrix stored row by row without gaps.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// The same elements with rows and columns exchanged; nothing moves.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    #[inline]
    fn at(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_stride + col * self.col_stride]
    }

    /// The matrix of the same form `start` elements further on.
    fn moved(self, start: usize) -> Self {
        let data = self.data.get(start..).unwrap_or_default();
        Self::strided(data, self.rows, self.cols, self.row_stride, self.col_stride)
    }
}

/// What is done to each product element `x` before it is stored:
/// `activation(alpha · x + row_bias[i] + column_bias[j] + beta · addend[i][j])`.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub alpha: f32,
    pub row_bias: Option<&'a [f32]>,
    pub column_bias: Option<&'a [f32]>,
    /// Laid out like the output; for a batch, all of it.
    pub addend: Option<&'a [f32]>,
    pub beta: f32,
    pub activation: Activation,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            row_bias: None,
            column_bias: None,
            addend: None,
            beta: 1.0,
            activation: Activation::None,
        }
    }
}

impl<'a> Epilogue<'a> {
    /// For the product whose output begins at `start`.
    pub(crate) fn finish(&self, start: usize) -> FinishFloat<'a> {
        let (low, high) = self.activation.range().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        FinishFloat {
            alpha: self.alpha,
            row_bias: self.row_bias,
            column_bias: self.column_bias,
            addend: self.addend.map(|x| x.get(start..).unwrap_or_default()),
            beta: self.beta,
            low,
            high,
        }
    }
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    Packed(&'a PackedB),
    /// Rounded to bf16, as the left operand will be, which has to be plain.
    Halves(&'a PackedHalf),
    Codes(&'a PackedCodes),
    Plain(Matrix<'a>),
}

impl Rhs<'_> {
    /// Rows and columns.
    fn size(&self) -> [usize; 2] {
        match self {
            Rhs::Packed(b) => [b.k, b.n],
            Rhs::Halves(b) => [b.k, b.n],
            Rhs::Codes(b) => [b.k, b.n],
            Rhs::Plain(b) => [b.rows, b.cols],
        }
    }

    /// The instructions that it was packed for.
    fn isa(&self) -> Option<super::Isa> {
        match self {
            Rhs::Packed(b) => Some(b.isa),
            Rhs::Halves(b) => Some(b.isa),
            Rhs::Codes(b) => Some(b.isa),
            Rhs::Plain(_) => None,
        }
    }
}

/// `c = epilogue(a · b)`; the rows of `c` are `c_row` apart.
///
/// # Panics
/// If the sizes do not fit together.
pub fn gemm(exec: Exec<'_>, a: Matrix<'_>, b: Rhs<'_>, c: &mut [f32], c_row: usize, epilogue: &Epilogue<'_>) {
    let batch = Batch { a: &[0], b: &[0], c_row, c_batch: 0 };
    gemm_batched(exec, a, b, c, &batch, epilogue);
}

/// Where the matrices of a batch begin, and how the output is laid out.
pub struct Batch<'a> {
    /// For each product, how far into its data the left matrix begins.
    pub a: &'a [usize],
    /// The same for the right matrix; zeros for a packed one.
    pub b: &'a [usize],
    pub c_row: usize,
    /// Distance of one product from the next in the output.
    pub c_batch: usize,
}

/// `c = epilogue(a · b)` with a packed left operand.
///
/// # Panics
/// If the sizes do not fit together.
pub fn gemm_packed(
    exec: Exec<'_>,
    a: &PackedA,
    b: Rhs<'_>,
    c: &mut [f32],
    c_row: usize,
    epilogue: &Epilogue<'_>,
) {
    let batch = Batch { a: &[0], b: &[0], c_row, c_batch: 0 };
    run(exec, Lhs::Packed(a), b, c, &batch, epilogue);
}

/// Many products of one shape: `a` and `b` are the matrices at offset zero.
///
/// # Panics
/// If the sizes do not fit together.
pub fn gemm_batched(
    exec: Exec<'_>,
    a: Matrix<'_>,
    b: Rhs<'_>,
    c: &mut [f32],
    batch: &Batch<'_>,
    epilogue: &Epilogue<'_>,
) {
    run(exec, Lhs::Plain(a), b, c, batch, epilogue);
}

#[derive(Clone, Copy)]
enum Lhs<'a> {
    Packed(&'a PackedA),
    Plain(Matrix<'a>),
}

fn run(exec: Exec<'_>, a: Lhs<'_>, b: Rhs<'_>, c: &mut [f32], batch: &Batch<'_>, epilogue: &Epilogue<'_>) {
    let (m, a_k, a_isa) = match a {
        Lhs::Packed(a) => (a.m, a.k, Some(a.isa)),
        Lhs::Plain(a) => (a.rows, a.cols, None),
    };
    let ([k, n], b_isa) = (b.size(), b.isa());
    assert!(b_isa.is_none() || batch.b.iter().all(|&start| start == 0), "a packed operand is one matrix");
    assert_eq!(a_k, k, "inner dimensions differ");
    assert_eq!(batch.a.len(), batch.b.len(), "batches differ");
    assert!(a_isa.is_none() || b_isa.is_none() || a_isa == b_isa, "packed for different instruction sets");
    let isa = a_isa.or(b_isa).unwrap_or(exec.isa);
    let (dims, exec) = (Dims { batch: batch.a.len(), m, n, k }, Exec { isa, ..exec });
    let whole = Gemm { dims, a, b, batch, epilogue, isa };
    match (a, b) {
        (_, Rhs::Halves(b)) => drive::run(exec, &HalfGemm { whole, b }, c),
        (Lhs::Plain(a), Rhs::Codes(b)) if codes::few_rows(exec, a, b, c, batch, epilogue) => {}
        _ => drive::run(exec, &whole, c),
    }
}

struct Gemm<'a> {
    dims: Dims,
    a: Lhs<'a>,
    b: Rhs<'a>,
    batch: &'a Batch<'a>,
    epilogue: &'a Epilogue<'a>,
    isa: super::Isa,
}

impl Problem for Gemm<'_> {
    type A = Float;

    fn dims(&self) -> Dims {
        self.dims
    }

    fn layout(&self) -> Layout {
        Layout { row: self.batch.c_row, batch: self.batch.c_batch }
    }

    fn left(&self, batch: usize) -> Operand<'_, f32> {
        match self.a {
            Lhs::Packed(a) => Operand::Packed(&a.tiles),
            Lhs::Plain(a) if a.col_stride == 1 => {
                Operand::Rows(a.moved(self.batch.a[batch]).data, a.row_stride)
            }
            Lhs::Plain(_) => Operand::OnTheSpot,
        }
    }

    fn right(&self, _: usize) -> Operand<'_, f32> {
        match self.b {
            Rhs::Packed(b) => Operand::Packed(&b.panels),
            _ => Operand::OnTheSpot,
        }
    }

    fn pack_left(&self, batch: usize, rows: Range<usize>, out: &mut [f32]) {
        if let Lhs::Plain(a) = self.a {
            pack::pack_tile(a.moved(self.batch.a[batch]), rows, out);
        }
    }

    fn pack_right(&self, batch: usize, k: Range<usize>, n: Range<usize>, panel: usize, out: &mut [f32]) {
        match self.b {
            Rhs::Plain(b) => pack::pack_panel(b.moved(self.batch.b[batch]), k, n, panel, out),
            Rhs::Codes(b) => b.unpack(k, n, panel, out),
            Rhs::Packed(_) | Rhs::Halves(_) => unreachable!("packed as it is multiplied"),
        }
    }

    fn finish(&self, batch: usize) -> FinishFloat<'_> {
        self.epilogue.finish(batch * self.batch.c_batch)
    }

    fn after<'a>(&self, rows: impl Iterator<Item = &'a mut [f32]>) {
        if self.epilogue.activation.range().is_none() {
            self.epilogue.activation.apply_each(self.isa, rows);
        }
    }
}
