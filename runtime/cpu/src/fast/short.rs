//! Reductions of blocks of a few columns, several blocks at a time: each block becomes one vector, and the last step,
//! which joins lanes with one another, is done for all of them at once.

use super::fold::{Blocks, One, Way};
use super::math::{load_at, numbers, store_at};
use super::simd::{MOST_LANES, Simd};
use super::transpose::Strip;

/// Partial results of a block.
const LANES: usize = 4 * MOST_LANES;
/// Elements that are turned at most to give as many results as lie side by side.
const MOST: usize = 256;

/// Folds the columns of blocks from the one numbered `first` on.
#[inline(always)]
pub(super) fn fold<W: Way, S: Simd>(s: S, way: W, blocks: Blocks<'_>, first: usize, out: &mut [f32]) {
    match (blocks.inner, blocks.even()) {
        (1, Some(1)) => few::<1, W>(way, blocks, first, out),
        (1, Some(2)) => few::<2, W>(way, blocks, first, out),
        (1, Some(3)) => few::<3, W>(way, blocks, first, out),
        (1, Some(4)) => few::<4, W>(way, blocks, first, out),
        (1, Some(5)) => few::<5, W>(way, blocks, first, out),
        (1, Some(6)) => few::<6, W>(way, blocks, first, out),
        (1, Some(7)) => few::<7, W>(way, blocks, first, out),
        (1, Some(8)) => few::<8, W>(way, blocks, first, out),
        (1, Some(1..=16)) => groups::<1, 1, W, S>(s, way, blocks, first, out),
        (1, Some(17..=32)) => groups::<1, 2, W, S>(s, way, blocks, first, out),
        (1, Some(33..=48)) => groups::<1, 3, W, S>(s, way, blocks, first, out),
        (1, Some(49..=64)) => groups::<1, 4, W, S>(s, way, blocks, first, out),
        (1, _) => groups::<1, 0, W, S>(s, way, blocks, first, out),
        (inner, Some(elements @ 1..=MOST)) if elements < MOST_LANES || !inner.is_power_of_two() => {
            tiles(s, way, blocks, elements, first, out);
        }
        (2, _) => groups::<2, 0, W, S>(s, way, blocks, first, out),
        (4, _) => groups::<4, 0, W, S>(s, way, blocks, first, out),
        (8, _) => groups::<8, 0, W, S>(s, way, blocks, first, out),
        (inner, _) => {
            for (i, out) in out.chunks_exact_mut(inner).enumerate() {
                narrow(way, blocks.get(first + i), out);
            }
        }
    }
}

/// Rows so short that the compiler picks their elements out of vectors.
#[inline(always)]
fn few<const N: usize, W: Way>(way: W, blocks: Blocks<'_>, first: usize, out: &mut [f32]) {
    let (rows, _) = blocks.from(first).as_chunks::<N>();
    for (out, row) in out.iter_mut().zip(rows) {
        *out = row.iter().fold(W::START, |folded, &x| way.take(One, folded, x));
    }
}

/// Blocks of `INNER` columns, a power of two: as many as have their results side by side in a vector. Where `VECTORS` is
/// not zero, each block has as many elements as [`MOST_LANES`] lanes take in so many steps.
#[inline(always)]
fn groups<const INNER: usize, const VECTORS: usize, W: Way, S: Simd>(
    s: S,
    way: W,
    blocks: Blocks<'_>,
    first: usize,
    out: &mut [f32],
) {
    let together = (S::LANES / INNER).max(1);
    for (group, out) in out.chunks_mut(together * INNER).enumerate() {
        let first = first + group * together;
        if INNER > S::LANES {
            let [a, b, c, d] = lanes::<VECTORS, W, S>(s, way, blocks.get(first));
            store_at(s, out, 0, way.join(s, a, c));
            store_at(s, out, S::LANES, way.join(s, b, d));
            continue;
        }
        let mut v = [s.splat(W::START); MOST_LANES];
        for (i, v) in v.iter_mut().enumerate().take(together) {
            if i * INNER < out.len() {
                *v = shortened(s, way, lanes::<VECTORS, W, S>(s, way, blocks.get(first + i)));
            }
        }
        store_at(s, out, 0, joined::<INNER, W, S>(s, way, &v));
    }
}

/// A block's elements in [`MOST_LANES`] lanes, in as many vectors as these take.
type Lanes<S> = [<S as Simd>::F; 4];

#[inline(always)]
fn lanes<const VECTORS: usize, W: Way, S: Simd>(s: S, way: W, x: &[f32]) -> Lanes<S> {
    let start = [s.splat(W::START); 4];
    if VECTORS > 0 {
        assert!(x.len() <= VECTORS * MOST_LANES && x.len() > (VECTORS - 1) * MOST_LANES, "so many vectors");
        let (whole, rest) = x.split_at((VECTORS - 1) * MOST_LANES);
        let mut lanes = start;
        for i in 0..VECTORS - 1 {
            take_all(s, way, &mut lanes, &whole[i * MOST_LANES..]);
        }
        take_rest(s, way, &mut lanes, rest);
        return lanes;
    }
    let mut quarters = [start; LANES / MOST_LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (i, lanes) in quarters.iter_mut().enumerate() {
            take_all(s, way, lanes, &x[i * MOST_LANES..]);
        }
    }
    let [a, b, c, d] = quarters;
    let mut lanes = start;
    for (i, lane) in lanes.iter_mut().enumerate().take(MOST_LANES / S::LANES) {
        *lane = way.join(s, way.join(s, a[i], b[i]), way.join(s, c[i], d[i]));
    }
    let (whole, rest) = rest.as_chunks::<MOST_LANES>();
    for x in whole {
        take_all(s, way, &mut lanes, x);
    }
    if !rest.is_empty() {
        take_rest(s, way, &mut lanes, rest);
    }
    lanes
}

/// Takes one element into each lane.
#[inline(always)]
fn take_all<W: Way, S: Simd>(s: S, way: W, lanes: &mut Lanes<S>, x: &[f32]) {
    let x = &x[..MOST_LANES];
    for (i, lane) in lanes.iter_mut().enumerate().take(MOST_LANES / S::LANES) {
        // SAFETY: `x` has as many vectors.
        *lane = way.take(s, *lane, unsafe { s.load(x.as_ptr().add(i * S::LANES)) });
    }
}

/// Takes up to [`MOST_LANES`] elements, filled up with what changes nothing.
#[inline(always)]
fn take_rest<W: Way, S: Simd>(s: S, way: W, lanes: &mut Lanes<S>, x: &[f32]) {
    for (i, lane) in lanes.iter_mut().enumerate().take(MOST_LANES / S::LANES) {
        let here = &x[x.len().min(i * S::LANES)..];
        let present = s.less(numbers(s), s.splat(here.len() as f32));
        // SAFETY: `here` has as many elements as are read.
        let x = unsafe { s.load_part(here.as_ptr(), here.len().min(S::LANES)) };
        *lane = way.take(s, *lane, s.select(present, x, s.splat(W::START)));
    }
}

/// One vector of a block's lanes: each is joined with those eight, or four, further on where one vector has not as many.
#[inline(always)]
fn shortened<W: Way, S: Simd>(s: S, way: W, [a, b, c, d]: Lanes<S>) -> S::F {
    match S::LANES {
        16 => a,
        8 => way.join(s, a, b),
        _ => way.join(s, way.join(s, a, c), way.join(s, b, d)),
    }
}

/// Joins the lanes of each of several vectors with one another, with those eight, four, two further on and the next one,
/// until `INNER` are left of each.
#[inline(always)]
fn joined<const INNER: usize, W: Way, S: Simd>(s: S, way: W, v: &[S::F; MOST_LANES]) -> S::F {
    if INNER == S::LANES {
        return v[0];
    }
    if INNER == 8 {
        return halved::<8, W, S>(s, way, v[0], v[1]);
    }
    // Four lanes have the results of so many blocks, the next four those of the blocks behind.
    let each = 4 / INNER;
    let mut fours = [s.splat(W::START); 4];
    for (i, four) in fours.iter_mut().enumerate().take(each) {
        *four = match S::LANES {
            16 => {
                let low = halved::<8, W, S>(s, way, v[i], v[i + each]);
                let high = halved::<8, W, S>(s, way, v[i + 2 * each], v[i + 3 * each]);
                halved::<4, W, S>(s, way, low, high)
            }
            8 => halved::<4, W, S>(s, way, v[i], v[i + each]),
            _ => v[i],
        };
    }
    let [a, b, c, d] = fours;
    match INNER {
        4 => a,
        2 => halved::<2, W, S>(s, way, a, b),
        _ => {
            let low = halved::<2, W, S>(s, way, a, b);
            halved::<1, W, S>(s, way, low, halved::<2, W, S>(s, way, c, d))
        }
    }
}

/// Groups of `WIDTH` lanes, joined two by two.
#[inline(always)]
fn halved<const WIDTH: usize, W: Way, S: Simd>(s: S, way: W, a: S::F, b: S::F) -> S::F {
    let [even, odd] = s.split_groups::<WIDTH>(a, b);
    way.join(s, even, odd)
}

/// Blocks of few elements: of as many as there are lanes, each element becomes a vector. These are folded column by column,
/// and turned back.
#[inline(always)]
fn tiles<W: Way, S: Simd>(s: S, way: W, blocks: Blocks<'_>, elements: usize, first: usize, out: &mut [f32]) {
    let inner = blocks.inner;
    let mut tile = [0.0; MOST * MOST_LANES];
    let mut folded = [0.0; MOST_LANES * MOST_LANES];
    assert!(elements <= MOST && inner <= MOST_LANES, "a tile for a block");
    let groups = blocks.from(first).chunks(MOST_LANES * elements);
    for (x, out) in groups.zip(out.chunks_mut(MOST_LANES * inner)) {
        let count = out.len() / inner;
        let (step, far, width) = (elements, MOST_LANES, count);
        // SAFETY: the tile has a line of `MOST_LANES` for each element of a block.
        unsafe { Strip { x, step, out: tile.as_mut_ptr(), far, height: elements, width }.run_with(s) };
        for (column, folded) in folded.chunks_exact_mut(MOST_LANES).take(inner).enumerate() {
            for at in (0..MOST_LANES).step_by(S::LANES) {
                let mut lanes = s.splat(W::START);
                for line in (column..elements).step_by(inner) {
                    lanes = way.take(s, lanes, load_at(s, &tile, line * MOST_LANES + at));
                }
                store_at(s, folded, at, lanes);
            }
        }
        let (x, step, far, width) = (&folded, MOST_LANES, inner, inner);
        // SAFETY: `out` has `count` rows of `inner` elements.
        unsafe { Strip { x, step, out: out.as_mut_ptr(), far, height: count, width }.run_with(s) };
    }
}

/// A block of columns that are no power of two: several rows side by side in the lanes.
#[inline(always)]
fn narrow<W: Way>(way: W, x: &[f32], out: &mut [f32]) {
    let inner = out.len();
    let width = LANES / inner * inner;
    let mut lanes = [W::START; LANES];
    for chunk in x.chunks(width) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = way.take(One, *lane, x));
    }
    out.fill(W::START);
    for group in lanes[..width].chunks_exact(inner) {
        out.iter_mut().zip(group).for_each(|(out, &x)| *out = way.join(One, *out, x));
    }
}
