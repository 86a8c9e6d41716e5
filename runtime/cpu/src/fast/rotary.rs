//! Rotary embedding with the halves of each row as partners (Su et al., "RoFormer", section 3.4.2, in the order of GPT-NeoX).

use std::ops::Range;

use super::Exec;
use super::math::{load_at, store_at};
use super::simd::{Simd, Task};
use crate::pool::SharedSlice;

/// A table of cosines or sines: for each row of the input as many as that has, or the same ones for several.
#[derive(Clone, Copy)]
pub struct Angles<'a> {
    pub table: &'a [f32],
    /// From one row to the next along each of the input's outer axes; 0 where they are the same.
    pub strides: [usize; 3],
}

impl Angles<'_> {
    fn row(&self, [a, b, c]: [usize; 3], size: usize) -> &[f32] {
        &self.table[a * self.strides[0] + b * self.strides[1] + c * self.strides[2]..][..size]
    }
}

/// Elements of one piece of work.
const PIECE: usize = 8192;

/// `out = x · cos + [−x₁, x₀] · sin` for rows `[x₀, x₁]` of `size` elements, `size` being even; `outer` are the other
/// axes of `x`. Products and sums are rounded one by one.
///
/// # Panics
/// If the sizes do not fit together.
pub fn rotate(
    exec: Exec<'_>,
    x: &[f32],
    (outer, size): ([usize; 3], usize),
    [cos, sin]: [Angles<'_>; 2],
    out: &mut [f32],
) {
    let rows = outer.iter().product::<usize>();
    assert!(size.is_multiple_of(2) && x.len() == rows * size && out.len() == x.len(), "sizes");
    if out.is_empty() {
        return;
    }
    let out = SharedSlice::new(out);
    exec.pool.parallel_ranges(rows, (PIECE / size).max(1), &|rows| {
        // SAFETY: each row belongs to one piece.
        let out = unsafe { out.range(rows.start * size..rows.end * size) };
        exec.isa.run(Rotate { x, outer, size, cos, sin, rows, out });
    });
}

struct Rotate<'a> {
    x: &'a [f32],
    outer: [usize; 3],
    size: usize,
    cos: Angles<'a>,
    sin: Angles<'a>,
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl Task for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (size, half) = (self.size, self.size / 2);
        let [_, middle, inner] = self.outer;
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(size)) {
            let place = [row / inner / middle, row / inner % middle, row % inner];
            let (x0, x1) = self.x[row * size..][..size].split_at(half);
            let (cos0, cos1) = self.cos.row(place, size).split_at(half);
            let (sin0, sin1) = self.sin.row(place, size).split_at(half);
            let (y0, y1) = out.split_at_mut(half);
            for i in (0..half).step_by(S::LANES) {
                let (a, b) = (load_at(s, x0, i), load_at(s, x1, i));
                let turned = [
                    s.sub(s.mul(a, load_at(s, cos0, i)), s.mul(b, load_at(s, sin0, i))),
                    s.add(s.mul(b, load_at(s, cos1, i)), s.mul(a, load_at(s, sin1, i))),
                ];
                store_at(s, y0, i, turned[0]);
                store_at(s, y1, i, turned[1]);
            }
        }
    }
}

/// Which features of a row are turned by `half` angles each: the first and the second `half`, or neighbours.
#[derive(Clone, Copy)]
pub struct Pairs {
    pub half: usize,
    pub interleaved: bool,
}

/// Turns the first `2 · half` of `size` features in each row of `x`; the others stay. Cosines and sines of row `i` begin
/// at `start(i)` of their tables.
///
/// # Panics
/// If the sizes do not fit together.
pub fn turn(
    exec: Exec<'_>,
    (x, size): (&[f32], usize),
    pairs: Pairs,
    [cos, sin]: [&[f32]; 2],
    start: &(dyn Fn(usize) -> usize + Sync),
    out: &mut [f32],
) {
    assert!(2 * pairs.half <= size && x.len() == out.len() && x.len().is_multiple_of(size.max(1)), "sizes");
    if out.is_empty() {
        return;
    }
    let (rows, out) = (x.len() / size, SharedSlice::new(out));
    exec.pool.parallel_ranges(rows, (PIECE / size).max(1), &|rows| {
        let place = rows.start * size..rows.end * size;
        // SAFETY: each row belongs to one piece.
        let (x, out) = (&x[place.clone()], unsafe { out.range(place) });
        exec.isa.run(Turn { x, size, pairs, cos, sin, start, rows, out });
    });
}

struct Turn<'a> {
    x: &'a [f32],
    size: usize,
    pairs: Pairs,
    cos: &'a [f32],
    sin: &'a [f32],
    start: &'a (dyn Fn(usize) -> usize + Sync),
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl Task for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pairs { half, interleaved } = self.pairs;
        let both = self.x.chunks_exact(self.size).zip(self.out.chunks_exact_mut(self.size));
        for ((x, out), row) in both.zip(self.rows) {
            let start = (self.start)(row);
            let (cos, sin) = (&self.cos[start..start + half], &self.sin[start..start + half]);
            let (x, x_rest) = x.split_at(2 * half);
            let (y, y_rest) = out.split_at_mut(2 * half);
            y_rest.copy_from_slice(x_rest);
            if interleaved {
                let pairs = x.as_chunks::<2>().0.iter().zip(y.as_chunks_mut::<2>().0);
                for (([a, b], y), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    *y = [cos * a - sin * b, sin * a + cos * b];
                }
                continue;
            }
            let ((x0, x1), (y0, y1)) = (x.split_at(half), y.split_at_mut(half));
            for i in (0..half).step_by(S::LANES) {
                let (a, b) = (load_at(s, x0, i), load_at(s, x1, i));
                let (cos, sin) = (load_at(s, cos, i), load_at(s, sin, i));
                store_at(s, y0, i, s.sub(s.mul(cos, a), s.mul(sin, b)));
                store_at(s, y1, i, s.add(s.mul(sin, a), s.mul(cos, b)));
            }
        }
    }
}
