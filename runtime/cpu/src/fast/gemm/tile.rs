//! The micro-kernel: a tile of the product held in registers while the inner dimension runs by.
//!
//! It is written once, for both arithmetics ([`Arith`]) and all instruction sets, and instantiated for each
//! number of rows and of vectors in [`super::kernels`]. Every element is one chain of multiply-adds in the
//! order of `k`, whatever the tile, so results do not depend on how the product was cut into tiles.

use bytemuck::Pod;

use crate::fast::simd::Simd;

/// What is multiplied and added: `f32`s, or pairs of bf16 numbers or 16-bit integers. Operands are packed in `Word`s.
pub(crate) trait Arith: Copy + Send + Sync + 'static {
    type Word: Pod + Send + Sync;
    type Out: Pod + Send + Sync;
    /// What happens to a finished sum before it is stored.
    type Finish<'a>: Copy + Send + Sync;
    type V<S: Simd>: Copy;
    /// Whether it gains from AVX-512 BF16.
    const DOTS: bool = false;

    fn zero<S: Simd>(s: S) -> Self::V<S>;
    /// # Safety
    /// `p` is readable for one word.
    unsafe fn broadcast<S: Simd>(s: S, p: *const Self::Word) -> Self::V<S>;
    /// # Safety
    /// `p` is readable for `LANES` words.
    unsafe fn load<S: Simd>(s: S, p: *const Self::Word) -> Self::V<S>;
    fn multiply_add<S: Simd>(s: S, acc: Self::V<S>, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// # Safety
    /// `p` is readable for `n` elements, at most `LANES`.
    unsafe fn load_out<S: Simd>(s: S, p: *const Self::Out, n: usize) -> Self::V<S>;
    /// # Safety
    /// `p` is writable for `n` elements, at most `LANES`.
    unsafe fn store_out<S: Simd>(s: S, p: *mut Self::Out, n: usize, v: Self::V<S>);
    /// Whether `finish` has values for all of an `m` × `n` output whose rows are `row` apart.
    fn covers(finish: &Self::Finish<'_>, m: usize, n: usize, row: usize) -> bool;
    /// Finishes the `n` elements of row `row` from column `col`, which lie at `at` in the output.
    ///
    /// # Safety
    /// `finish` has values for these positions.
    unsafe fn finish<S: Simd>(
        s: S,
        finish: &Self::Finish<'_>,
        v: Self::V<S>,
        row: usize,
        col: usize,
        at: usize,
        n: usize,
    ) -> Self::V<S>;
}

/// One call of the micro-kernel. The pointers reach to the tile's first elements.
pub(crate) struct Tile<'a, 'f, A: Arith> {
    /// The number of steps in this block of the inner dimension.
    pub k: usize,
    /// Packed: column after column of as many words as the tile has rows. Otherwise rows, `a_row` words apart.
    pub a: *const A::Word,
    pub a_row: usize,
    /// Rows of `b_row` words, zero beyond the matrix.
    pub b: *const A::Word,
    pub b_row: usize,
    pub c: *mut A::Out,
    pub c_row: usize,
    /// Columns that exist: the last vector may stick out.
    pub n: usize,
    /// The sums begin with what is in `c` rather than with zero.
    pub resume: bool,
    /// Set in the last block.
    pub finish: Option<&'a A::Finish<'f>>,
    /// The tile's place in its matrix, for `finish`.
    pub row: usize,
    pub col: usize,
    /// Memory wanted soon: `ahead_step` bytes of it are prefetched every `UNROLL` steps.
    pub ahead: *const u8,
    pub ahead_step: usize,
}

/// Steps between prefetches.
pub(super) const UNROLL: usize = 4;

/// # Safety
/// `t`'s pointers are valid for `MR` rows and `NV` vectors (`a`, `b` over `k` steps; `c` for `n` columns,
/// of which at least one is in the last vector), and nobody else uses that part of `c`.
#[inline(always)]
pub(crate) unsafe fn compute<A: Arith, S: Simd, const MR: usize, const NV: usize, const PACKED: bool>(
    s: S,
    t: &Tile<'_, '_, A>,
) {
    // How far apart the tile's rows are in the left operand, and its columns.
    let (a_row, a_step) = if PACKED { (1, MR) } else { (t.a_row, 1) };
    let part = |j: usize| (t.n - j * S::LANES).min(S::LANES);
    let c = |i: usize, j: usize| i * t.c_row + j * S::LANES;
    // Sums live in registers only if their indices are constants, so the long loops, which are not unrolled,
    // work on copies.
    let mut start = [[A::zero(s); NV]; MR];
    if t.resume {
        for (i, row) in start.iter_mut().enumerate() {
            for (j, sum) in row.iter_mut().enumerate() {
                // SAFETY: inside the tile, by the caller's promise.
                *sum = unsafe { A::load_out(s, t.c.add(c(i, j)), part(j)) };
            }
        }
    }
    let mut sums = copied(&start, A::zero(s));
    let (mut a, mut b, mut ahead) = (t.a, t.b, t.ahead);
    for _ in 0..t.k / UNROLL {
        // Ahead of the products: what stands behind them the compiler takes for a reason to load all their operands
        // before it, into memory.
        s.prefetch(ahead);
        for line in (64..t.ahead_step).step_by(64) {
            s.prefetch(ahead.wrapping_add(line));
        }
        ahead = ahead.wrapping_add(t.ahead_step);
        for _ in 0..UNROLL {
            // SAFETY: these two run `k` times together, over what the caller promises to be readable.
            unsafe { step::<A, S, MR, NV>(s, &mut sums, (a, a_row), b) };
            // `wrapping_add` because the last advance may leave the operands.
            (a, b) = (a.wrapping_add(a_step), b.wrapping_add(t.b_row));
        }
    }
    for _ in 0..t.k % UNROLL {
        // SAFETY: as above.
        unsafe { step::<A, S, MR, NV>(s, &mut sums, (a, a_row), b) };
        (a, b) = (a.wrapping_add(a_step), b.wrapping_add(t.b_row));
    }
    let mut done = copied(&sums, A::zero(s));
    for (i, row) in done.iter_mut().enumerate() {
        for (j, sum) in row.iter_mut().enumerate() {
            let n = part(j);
            // SAFETY: inside the tile, by the caller's promise.
            unsafe {
                if let Some(finish) = t.finish {
                    let (row, col) = (t.row + i, t.col + j * S::LANES);
                    *sum = A::finish(s, finish, *sum, row, col, row * t.c_row + col, n);
                }
                A::store_out(s, t.c.add(c(i, j)), n, *sum);
            }
        }
    }
}

/// A copy made element by element, which the compiler takes apart.
#[inline(always)]
pub(crate) fn copied<V: Copy, const MR: usize, const NV: usize>(
    from: &[[V; NV]; MR],
    zero: V,
) -> [[V; NV]; MR] {
    let mut to = [[zero; NV]; MR];
    for i in 0..MR {
        for j in 0..NV {
            to[i][j] = from[i][j];
        }
    }
    to
}

/// Adds the products of a column of `a` and a row of `b`.
///
/// # Safety
/// `a` is readable for `MR` words, `a_row` apart, `b` for `NV` vectors.
// Plain loops without closures: these must end up in registers in every caller.
#[inline(always)]
unsafe fn step<A: Arith, S: Simd, const MR: usize, const NV: usize>(
    s: S,
    sums: &mut [[A::V<S>; NV]; MR],
    (a, a_row): (*const A::Word, usize),
    b: *const A::Word,
) {
    let mut row = [A::zero(s); NV];
    for (j, y) in row.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *y = unsafe { A::load(s, b.add(j * S::LANES)) };
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let x = unsafe { A::broadcast(s, a.add(i * a_row)) };
        for (sum, &y) in sums.iter_mut().zip(&row) {
            *sum = A::multiply_add(s, *sum, x, y);
        }
    }
}

/// Plain `f32` arithmetic.
#[derive(Clone, Copy)]
pub(crate) struct Float;

/// `min(max(alpha · sum + bias + beta · addend, low), high)`, which keeps NaN.
#[derive(Clone, Copy)]
pub(crate) struct FinishFloat<'a> {
    pub alpha: f32,
    pub row_bias: Option<&'a [f32]>,
    pub column_bias: Option<&'a [f32]>,
    /// Laid out like the output.
    pub addend: Option<&'a [f32]>,
    pub beta: f32,
    pub low: f32,
    pub high: f32,
}

impl FinishFloat<'_> {
    /// Leaves sums as they are.
    pub(crate) fn nothing() -> Self {
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        Self { alpha: 1.0, row_bias: None, column_bias: None, addend: None, beta: 1.0, low, high }
    }
}

impl Arith for Float {
    type Word = f32;
    type Out = f32;
    type Finish<'a> = FinishFloat<'a>;
    type V<S: Simd> = S::F;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        s.splat(unsafe { *p })
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, acc: S::F, a: S::F, b: S::F) -> S::F {
        s.fma(a, b, acc)
    }
    #[inline(always)]
    unsafe fn load_out<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if n == S::LANES { s.load(p) } else { s.load_part(p, n) } }
    }
    #[inline(always)]
    unsafe fn store_out<S: Simd>(s: S, p: *mut f32, n: usize, v: S::F) {
        // SAFETY: the caller's promise.
        unsafe { if n == S::LANES { s.store(p, v) } else { s.store_part(p, n, v) } }
    }
    fn covers(f: &FinishFloat<'_>, m: usize, n: usize, row: usize) -> bool {
        let reaches = |x: Option<&[f32]>, len: usize| x.is_none_or(|x| x.len() >= len);
        reaches(f.row_bias, m) && reaches(f.column_bias, n) && reaches(f.addend, (m - 1) * row + n)
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        s: S,
        f: &FinishFloat<'_>,
        v: S::F,
        row: usize,
        col: usize,
        at: usize,
        n: usize,
    ) -> S::F {
        let mut bias = s.splat(0.0);
        // SAFETY: the slices reach to these positions, by the caller's promise.
        unsafe {
            if let Some(b) = f.row_bias {
                bias = s.splat(*b.get_unchecked(row));
            }
            if let Some(b) = f.column_bias {
                bias = s.add(bias, Self::load_out(s, b.as_ptr().add(col), n));
            }
            if let Some(x) = f.addend {
                bias = s.fma(s.splat(f.beta), Self::load_out(s, x.as_ptr().add(at), n), bias);
            }
        }
        let v = s.fma(v, s.splat(f.alpha), bias);
        s.min(s.splat(f.high), s.max(s.splat(f.low), v))
    }
}
