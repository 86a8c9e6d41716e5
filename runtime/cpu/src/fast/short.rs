//! Reductions of a few elements each: sixteen rows at a time, so that the last step, which joins lanes with one another,
//! is done for all of them at once, each row in a lane of its own.

use super::fold::{PIECE, STRIP, Way, quarter, whole_lanes};
use super::math::{load_at, numbers, store_at};
use super::simd::{MOST_LANES, Simd, Task, vectorised};
use super::transpose::Strip;
use super::{Exec, Isa};

/// Rows of more elements are folded one by one: sixteen of them would be more than a piece.
const LONG: usize = PIECE / MOST_LANES;
/// Elements that are turned at most to give as many results as lie side by side.
const MOST: usize = 256;

/// Whether the middle of `outer × n × inner` is better folded here.
pub(super) fn suits([_, n, inner]: [usize; 3]) -> bool {
    n > 0 && if inner == 1 { n <= LONG } else { inner < STRIP && n * inner <= MOST }
}

/// Folds the middle of `outer × n × inner`, each element being taken in as it comes.
pub(super) fn fold<T, J>(
    exec: Exec<'_>,
    way: &Way<T, J>,
    x: &[f32],
    [_, n, inner]: [usize; 3],
    out: &mut [f32],
) where
    T: Fn(f32, f32) -> f32 + Sync,
    J: Fn(f32, f32) -> f32 + Sync,
{
    // Whole tiles, so that but the last is full.
    let grain = (PIECE / (n * inner)).next_multiple_of(MOST_LANES) * inner;
    exec.pool.parallel_chunks(out, grain, &|chunk, out| {
        let x = &x[chunk * grain * n..][..out.len() * n];
        let (isa, start, take) = (exec.isa, way.start, &way.take);
        match (n, inner) {
            (1, _) => few::<1, T>(isa, start, take, x, out),
            (2, 1) => few::<2, T>(isa, start, take, x, out),
            (3, 1) => few::<3, T>(isa, start, take, x, out),
            (4, 1) => few::<4, T>(isa, start, take, x, out),
            (5, 1) => few::<5, T>(isa, start, take, x, out),
            (6, 1) => few::<6, T>(isa, start, take, x, out),
            (7, 1) => few::<7, T>(isa, start, take, x, out),
            (8, 1) => few::<8, T>(isa, start, take, x, out),
            (_, 1) => isa.run(Rows { start, take, join: &way.join, x, n, out }),
            _ => isa.run(Tiles { start, take, x, n, inner, out }),
        }
    });
}

/// Rows so short that the compiler picks their elements out of vectors.
fn few<const N: usize, T: Fn(f32, f32) -> f32>(isa: Isa, start: f32, take: &T, x: &[f32], out: &mut [f32]) {
    vectorised(
        isa,
        #[inline(always)]
        || {
            let (rows, _) = x.as_chunks::<N>();
            for (out, row) in out.iter_mut().zip(rows) {
                *out = row.iter().fold(start, |folded, &x| take(folded, x));
            }
        },
    );
}

/// Rows of `n`, each folded into a vector. These are turned, so that the lanes of each lie one below the other.
struct Rows<'a, T, J> {
    start: f32,
    take: &'a T,
    join: &'a J,
    x: &'a [f32],
    n: usize,
    out: &'a mut [f32],
}

impl<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32> Task for Rows<'_, T, J> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { start, take, join, x, n, out } = self;
        let (mut lines, mut turned) = ([start; MOST_LANES * MOST_LANES], [start; MOST_LANES * MOST_LANES]);
        for (x, out) in x.chunks(MOST_LANES * n).zip(out.chunks_mut(MOST_LANES)) {
            let (rows, _) = lines.as_chunks_mut::<MOST_LANES>();
            for (x, line) in x.chunks_exact(n).zip(rows) {
                *line = folded(s, start, take, join, x);
            }
            let (step, far, width) = (MOST_LANES, MOST_LANES, MOST_LANES);
            // SAFETY: as many lines of as many elements.
            unsafe {
                Strip { x: &lines, step, out: turned.as_mut_ptr(), far, height: far, width }.run_with(s)
            };
            // Pair by pair.
            for width in [8, 4, 2, 1] {
                let (lanes, others) = turned.split_at_mut(width * MOST_LANES);
                lanes.iter_mut().zip(others).for_each(|(lane, x)| *lane = join(*lane, *x));
            }
            out.copy_from_slice(&turned[..out.len()]);
        }
    }
}

/// A row folded into as many lanes, whatever the instruction set, so that the result does not depend on it.
#[inline(always)]
fn folded<S: Simd>(
    s: S,
    start: f32,
    take: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
    x: &[f32],
) -> [f32; MOST_LANES] {
    let (lanes, rest) = whole_lanes(start, &take, x);
    let mut lanes = quarter(lanes, join);
    let (whole, rest) = rest.as_chunks::<MOST_LANES>();
    for chunk in whole {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = take(*lane, x));
    }
    if rest.is_empty() {
        return lanes;
    }
    // Filled up with what changes nothing.
    let mut last = [start; MOST_LANES];
    for at in (0..MOST_LANES).step_by(S::LANES) {
        let here = &rest[at.min(rest.len())..];
        let present = s.less(numbers(s), s.splat(here.len() as f32));
        store_at(s, &mut last, at, s.select(present, load_at(s, here, 0), s.splat(start)));
    }
    lanes.iter_mut().zip(&last).for_each(|(lane, &x)| *lane = take(*lane, x));
    lanes
}

/// `n × inner` of as many rows as there are lanes are turned, folded, and turned back.
struct Tiles<'a, T> {
    start: f32,
    take: &'a T,
    x: &'a [f32],
    n: usize,
    inner: usize,
    out: &'a mut [f32],
}

impl<T: Fn(f32, f32) -> f32> Task for Tiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles { start, take, x, n, inner, out } = self;
        let row = n * inner;
        let mut tile = [0.0; MOST * MOST_LANES];
        let mut folded = [0.0; STRIP * MOST_LANES];
        assert!(row <= MOST && inner <= STRIP, "a tile for a row");
        for (x, out) in x.chunks(MOST_LANES * row).zip(out.chunks_mut(MOST_LANES * inner)) {
            let rows = out.len() / inner;
            let (step, far, width) = (row, MOST_LANES, rows);
            // SAFETY: the tile has a line of `MOST_LANES` for each of the row's elements.
            unsafe { Strip { x, step, out: tile.as_mut_ptr(), far, height: row, width }.run_with(s) };
            for (column, folded) in folded.chunks_exact_mut(MOST_LANES).take(inner).enumerate() {
                let mut lanes = [start; MOST_LANES];
                for r in 0..n {
                    let x = &tile[(r * inner + column) * MOST_LANES..][..MOST_LANES];
                    lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = take(*lane, x));
                }
                folded.copy_from_slice(&lanes);
            }
            let (x, step, far, width) = (&folded, MOST_LANES, inner, inner);
            // SAFETY: `out` has `rows` rows of `inner` elements.
            unsafe { Strip { x, step, out: out.as_mut_ptr(), far, height: rows, width }.run_with(s) };
        }
    }
}
