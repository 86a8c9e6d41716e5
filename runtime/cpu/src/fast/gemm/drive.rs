//! The loops around the micro-kernel, after Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication": blocks of one operand stay in the second-level cache while the other streams through.
//!
//! A [`Problem`] says where its operands come from: a weight packed at load, a matrix read in place, or
//! panels made on the spot (a matrix to be packed, the windows of a convolution).

use std::ops::Range;

use super::kernels::Kernels;
use super::split::{Tiles, part};
use super::tile::{Arith, Tile, UNROLL};
use crate::fast::Exec;
use crate::fast::scratch::with_scratch;
use crate::pool::SharedSlice;

/// Steps of the inner dimension per block: a panel of them fits the second-level cache with the other operand.
const K_BLOCK: usize = 768;
/// Rows of the left operand that stay in the second-level cache while packed weights stream by.
const M_BLOCK: usize = 208;
/// As many rows as keep the arithmetic as busy as the memory that packed weights come from.
const MEMORY_ROWS: usize = 12;
/// Packed weights of so many words are cut in two at least: the caches of two cores give them twice as fast.
const SHARED: usize = 48 * 1024;
/// Packed weights of no more words stay in the second-level cache from one run to the next: to ask for them ahead would only
/// hold up those that are being read.
const RESIDENT: usize = 256 * 1024;
/// Columns packed at a time, which stay in the second-level cache while the left operand streams by.
const N_BLOCK: usize = 96;
/// Multiply-adds of one piece of work: some 20 to 40 µs, so that a thread that comes late loses little.
const PIECE: usize = 2_000_000;
/// Into so many pieces at least the columns are cut, so that threads end at about the same time.
const MIN_PIECES: usize = 16;
/// Rows of a piece that packs its own columns: enough to repay the packing.
const M_PIECE: usize = 128;

#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    /// In words.
    pub k: usize,
}

/// How far apart rows and products are in the output.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub row: usize,
    pub batch: usize,
}

impl Layout {
    /// Whether products of these dimensions lie inside `len` elements without touching each other: one after
    /// the other, or side by side in wider rows.
    fn fits(self, d: Dims, len: usize) -> bool {
        let span = (d.m - 1).checked_mul(self.row).and_then(|x| x.checked_add(d.n));
        let Some(span) = span else { return false };
        let end = (d.batch - 1).checked_mul(self.batch).and_then(|x| x.checked_add(span));
        let one_after_another = self.batch >= span;
        let side_by_side =
            d.n <= self.batch && d.batch.checked_mul(self.batch).is_some_and(|width| width <= self.row);
        let rows_apart = d.n <= self.row || d.m == 1;
        rows_apart && (d.batch == 1 || one_after_another || side_by_side) && end.is_some_and(|end| end <= len)
    }
}

/// An operand of one product.
pub(crate) enum Operand<'a, W> {
    /// Packed before: the left one tile after tile ([`Tiles::new`]`(m, rows)`), each tile column by column;
    /// the right one panel after panel, each panel row by row and zero beyond the matrix.
    Packed(&'a [W]),
    /// Only the left one: rows of consecutive words, so far apart.
    Rows(&'a [W], usize),
    /// [`Problem::pack_left`] or [`Problem::pack_right`] makes it.
    OnTheSpot,
}

pub(crate) trait Problem: Sync {
    type A: Arith;

    fn dims(&self) -> Dims;
    fn left(&self, batch: usize) -> Operand<'_, <Self::A as Arith>::Word>;
    fn right(&self, batch: usize) -> Operand<'_, <Self::A as Arith>::Word>;
    /// Writes `rows`, a tile, column by column.
    fn pack_left(&self, batch: usize, rows: Range<usize>, out: &mut [<Self::A as Arith>::Word]);
    /// Writes rows `k` and columns `n` (at most a panel) into rows of `panel` words; the rest of a row does not
    /// matter.
    fn pack_right(
        &self,
        batch: usize,
        k: Range<usize>,
        n: Range<usize>,
        panel: usize,
        out: &mut [<Self::A as Arith>::Word],
    );
    fn layout(&self) -> Layout;
    fn finish(&self, batch: usize) -> <Self::A as Arith>::Finish<'_>;
    /// A last pass over rows of finished elements while they are in the cache.
    fn after<'a>(&self, _rows: impl Iterator<Item = &'a mut [<Self::A as Arith>::Out]>)
    where
        <Self::A as Arith>::Out: 'a,
    {
    }
}

/// Computes all products of `problem` into `out`.
pub(crate) fn run<P: Problem>(exec: Exec<'_>, problem: &P, out: &mut [<P::A as Arith>::Out]) {
    let d = problem.dims();
    if d.batch == 0 || d.m == 0 || d.n == 0 {
        return;
    }
    let layout = problem.layout();
    assert!(layout.fits(d, out.len()), "the products do not fit the output");
    let covers = |batch| P::A::covers(&problem.finish(batch), d.m, d.n, layout.row);
    assert!((0..d.batch).all(covers), "bias or addend is too small");
    let kernels = Kernels::<P::A>::of(exec.isa);
    let rows = Tiles::new(d.m, kernels.rows);
    let product = match problem.left(0) {
        Operand::Packed(_) | Operand::Rows(..) => 0,
        Operand::OnTheSpot => d.m.checked_mul(d.k).expect("the left operand is too large"),
    };
    with_scratch(d.batch.checked_mul(product).expect("the left operand is too large"), |left| {
        if product > 0 {
            pack_left(exec, problem, rows, left);
        }
        let out = SharedSlice::new(out);
        Nest { problem, kernels: &kernels, d, layout, rows, left, out }.run(exec);
    });
}

/// Packs the left operands of all products one after the other.
fn pack_left<P: Problem>(exec: Exec<'_>, problem: &P, rows: Tiles, left: &mut [<P::A as Arith>::Word]) {
    let d = problem.dims();
    let left = SharedSlice::new(left);
    exec.pool.parallel_for(d.batch * rows.count(), &|piece| {
        let (batch, tile) = (piece / rows.count(), rows.get(piece % rows.count()));
        let (start, len) = ((batch * d.m + tile.start) * d.k, tile.len() * d.k);
        // SAFETY: tiles are disjoint.
        problem.pack_left(batch, tile, unsafe { left.range(start..start + len) });
    });
}

/// Whether one thread computes the whole product of `m` rows with `n` packed columns of `k`, whatever the panels.
pub(crate) fn is_one_piece([m, n, k]: [usize; 3]) -> bool {
    pieces(Dims { batch: 1, m: m.max(1), n, k }, 1, true) == (1, 1)
}

/// Into how many parts the rows and the columns of a product are cut.
fn pieces(d: Dims, panel: usize, packed: bool) -> (usize, usize) {
    let volume = |x: usize| x.saturating_mul(d.k.max(1));
    if packed {
        let m_parts = d.m.div_ceil(M_BLOCK);
        let columns = (PIECE / volume(d.m.div_ceil(m_parts).max(MEMORY_ROWS))).max(panel);
        (m_parts, d.n.div_ceil(columns).max(1 + usize::from(volume(d.n) >= SHARED)))
    } else {
        // Where there are few steps, wider blocks: what is written of a row should fill more than a few lines.
        let columns = (N_BLOCK * K_BLOCK / d.k.max(1)).min(d.n.div_ceil(MIN_PIECES)).max(N_BLOCK);
        let n_parts = d.n.div_ceil(columns.next_multiple_of(panel));
        let rows = (PIECE / volume(d.n.div_ceil(n_parts))).max(M_PIECE);
        (d.m.div_ceil(rows), n_parts)
    }
}

struct Nest<'a, P: Problem> {
    problem: &'a P,
    kernels: &'a Kernels<P::A>,
    d: Dims,
    layout: Layout,
    rows: Tiles,
    /// The left operands, unless the problem has packed them before.
    left: &'a [<P::A as Arith>::Word],
    out: SharedSlice<'a, <P::A as Arith>::Out>,
}

/// One block of the inner dimension within one piece of the output.
struct Block<'a, 'f, P: Problem> {
    batch: usize,
    k: Range<usize>,
    /// The left operand, all of it, and how far apart its rows are where it is not packed.
    a: &'a [<P::A as Arith>::Word],
    a_row: Option<usize>,
    /// The right operand: where the first panel begins, and how far apart panels are.
    b: &'a [<P::A as Arith>::Word],
    b_panel: usize,
    /// How far behind a panel's part that lies which is wanted next.
    b_next: usize,
    tiles: Range<usize>,
    panels: Range<usize>,
    finish: Option<<P::A as Arith>::Finish<'f>>,
}

/// A part of an operand, and the rows or columns of the product that it gives.
type Side<'a, P> = (&'a [<<P as Problem>::A as Arith>::Word], Range<usize>);

impl<P: Problem> Block<'_, '_, P> {
    /// The left operand from what tile `rows` has of this block, `k` being the whole inner dimension.
    fn tile(&self, rows: &Range<usize>, k: usize) -> &[<P::A as Arith>::Word] {
        let start = match self.a_row {
            Some(row) => rows.start * row + self.k.start,
            None => rows.start * k + self.k.start * rows.len(),
        };
        self.a.get(start..).unwrap_or_default()
    }

    /// The right operand from what `panel` has of this block.
    fn panel(&self, panel: usize) -> &[<P::A as Arith>::Word] {
        self.b.get((panel - self.panels.start) * self.b_panel..).unwrap_or_default()
    }
}

impl<P: Problem> Nest<'_, P> {
    fn run(&self, exec: Exec<'_>) {
        let d = self.d;
        let panels = d.n.div_ceil(self.kernels.panel);
        let packed = matches!(self.problem.right(0), Operand::Packed(_));
        let (m_parts, n_parts) = pieces(d, self.kernels.panel, packed);
        let (m_parts, n_parts) = (m_parts.min(self.rows.count()), n_parts.min(panels));
        let blocks = d.k.div_ceil(K_BLOCK).max(1);
        // A left operand that the second-level cache cannot keep meets all panels block after block.
        let rounds = if packed && d.m.saturating_mul(d.k) > RESIDENT { blocks } else { 1 };
        for round in 0..rounds {
            exec.pool.parallel_for(d.batch * n_parts * m_parts, &|piece| {
                let (rest, m_part) = (piece / m_parts, piece % m_parts);
                let (batch, n_part) = (rest / n_parts, rest % n_parts);
                let (tiles, panels) =
                    (part(self.rows.count(), m_parts, m_part), part(panels, n_parts, n_part));
                self.piece(batch, tiles.clone(), panels.clone(), (part(blocks, rounds, round), blocks));
                if round + 1 == rounds {
                    self.after(batch, tiles, panels);
                }
            });
        }
    }

    /// Some of the `count` blocks of the inner dimension, for one piece of the output.
    fn piece(
        &self,
        batch: usize,
        tiles: Range<usize>,
        panels: Range<usize>,
        (blocks, count): (Range<usize>, usize),
    ) {
        let (k, width) = (self.d.k, self.kernels.panel);
        let (a, a_row) = match self.problem.left(batch) {
            Operand::Packed(a) => (a, None),
            Operand::Rows(a, row) => (a, Some(row)),
            Operand::OnTheSpot => (&self.left[batch * self.d.m * k..], None),
        };
        let all_blocks = blocks.len() == count;
        for i in blocks {
            let range = part(k, count, i);
            let finish = (i + 1 == count).then(|| self.problem.finish(batch));
            let (tiles, panels, k_block) = (tiles.clone(), panels.clone(), range.clone());
            match self.problem.right(batch) {
                Operand::Packed(b) => {
                    let b = &b[panels.start * k * width + range.start * width..];
                    let b_panel = k * width;
                    // A panel by itself goes on with its next block, and then with the panel behind it.
                    let by_itself = panels.len() == 1 && all_blocks;
                    self.stream_panels(&Block {
                        batch,
                        k: k_block,
                        a,
                        a_row,
                        b,
                        b_panel,
                        b_next: if by_itself { range.len() * width } else { b_panel },
                        tiles,
                        panels,
                        finish,
                    });
                }
                _ => with_scratch(panels.len() * range.len() * width, |b| {
                    let b_panel = range.len() * width;
                    for (i, panel) in panels.clone().enumerate() {
                        let out = &mut b[i * b_panel..][..b_panel];
                        self.problem.pack_right(batch, range.clone(), self.columns(panel), width, out);
                    }
                    self.stream_tiles(&Block {
                        batch,
                        k: k_block,
                        a,
                        a_row,
                        b,
                        b_panel,
                        b_next: b_panel,
                        tiles,
                        panels,
                        finish,
                    });
                }),
            }
        }
    }

    fn columns(&self, panel: usize) -> Range<usize> {
        let start = panel * self.kernels.panel;
        start..self.d.n.min(start + self.kernels.panel)
    }

    /// Every panel against all tiles: the left operand stays in the cache.
    fn stream_panels(&self, block: &Block<'_, '_, P>) {
        let far = self.d.k.saturating_mul(self.d.n) > RESIDENT;
        let share = if far { block.k.len() * self.kernels.panel / block.tiles.len() } else { 0 };
        for panel in block.panels.clone() {
            let b = block.panel(panel);
            let next = b.as_ptr().wrapping_add(block.b_next);
            for (i, tile) in block.tiles.clone().enumerate() {
                let rows = self.rows.get(tile);
                let a = block.tile(&rows, self.d.k);
                self.tile(block, (a, rows), (b, self.columns(panel)), next.wrapping_add(i * share), share);
            }
        }
    }

    /// Every tile against all panels: the right operand stays in the cache.
    fn stream_tiles(&self, block: &Block<'_, '_, P>) {
        for tile in block.tiles.clone() {
            let rows = self.rows.get(tile);
            let a = block.tile(&rows, self.d.k);
            // About where the next tile's part of this block begins.
            let next = a.as_ptr().wrapping_add(rows.len() * self.d.k);
            let share = block.k.len() * rows.len() / block.panels.len();
            for (i, panel) in block.panels.clone().enumerate() {
                let b = (block.panel(panel), self.columns(panel));
                self.tile(block, (a, rows.clone()), b, next.wrapping_add(i * share), share);
            }
        }
    }

    /// One tile, with the operands from where it reads them; `ahead` words from `next` are wanted soon.
    fn tile(
        &self,
        block: &Block<'_, '_, P>,
        (a, rows): Side<'_, P>,
        (b, cols): Side<'_, P>,
        next: *const <P::A as Arith>::Word,
        ahead: usize,
    ) {
        let k = block.k.len();
        // What the micro-kernel will read.
        let a_len = match block.a_row {
            Some(row) if k > 0 => (rows.len() - 1) * row + k,
            _ => k * rows.len(),
        };
        assert!(a_len <= a.len(), "left operand is too small");
        assert!(k * self.kernels.panel <= b.len(), "right operand is too small");
        let at = block.batch * self.layout.batch + rows.start * self.layout.row + cols.start;
        let tile = Tile {
            k,
            a: a.as_ptr(),
            a_row: block.a_row.unwrap_or_default(),
            b: b.as_ptr(),
            b_row: self.kernels.panel,
            c: self.out.as_mut_ptr().wrapping_add(at),
            c_row: self.layout.row,
            n: cols.len(),
            resume: block.k.start > 0,
            finish: block.finish.as_ref(),
            row: rows.start,
            col: cols.start,
            ahead: next.cast(),
            ahead_step: ahead * size_of::<<P::A as Arith>::Word>() * UNROLL / k.max(UNROLL),
        };
        // SAFETY: the operands reach far enough (checked above); `run` has checked that every product lies
        // inside the output and is covered by `finish`; no two threads share a tile of the output.
        unsafe {
            match block.a_row {
                Some(_) => self.kernels.run_rows(rows.len(), &tile),
                None => self.kernels.run(rows.len(), &tile),
            }
        }
    }

    fn after(&self, batch: usize, tiles: Range<usize>, panels: Range<usize>) {
        let cols = self.columns(panels.start).start..self.columns(panels.end - 1).end;
        self.problem.after(self.rows.span(&tiles).map(|row| {
            let at = batch * self.layout.batch + row * self.layout.row;
            // SAFETY: only this piece has these rows and columns.
            unsafe { self.out.range(at + cols.start..at + cols.end) }
        }));
    }
}
