//! Images resized: what an output mixes is separable, so rows are mixed first, then what is left of them column by
//! column.

use super::Exec;
use super::gemm::split::part;
use super::scratch::with_scratch;
use super::simd::vectorised;
use crate::pool::SharedSlice;

/// Elements of the output of one piece of work.
const PIECE: usize = 32 * 1024;

/// What the places of an output's axis mix of the input's: places and their weights, as many for each.
#[derive(Clone, Debug)]
pub struct Taps {
    each: usize,
    from: Vec<usize>,
    weights: Vec<f32>,
    /// The least length of an input.
    reach: usize,
    /// Each place takes one as it is.
    picks: bool,
}

impl Taps {
    /// `mixes` has for each place of the output at least one place of the input.
    ///
    /// # Panics
    /// If one has none.
    pub fn new(mixes: &[Vec<(usize, f64)>]) -> Taps {
        let taken = |mix: &[(usize, f64)]| mix.iter().filter(|(_, weight)| *weight != 0.0).count();
        let each = mixes.iter().map(|mix| taken(mix)).max().unwrap_or(0).max(1);
        let (mut from, mut weights) = (Vec::new(), Vec::new());
        for mix in mixes {
            let first = mix.first().expect("something to mix").0;
            let used = mix.iter().copied().filter(|(_, weight)| *weight != 0.0);
            for (place, weight) in used.chain(std::iter::repeat((first, 0.0))).take(each) {
                from.push(place);
                weights.push(weight as f32);
            }
        }
        let reach = from.iter().max().map_or(0, |last| last + 1);
        let picks = each == 1 && weights.iter().all(|&weight| weight == 1.0);
        Taps { each, from, weights, reach, picks }
    }

    pub fn len(&self) -> usize {
        self.from.len() / self.each
    }

    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    fn at(&self, place: usize) -> (&[usize], &[f32]) {
        let taps = place * self.each..(place + 1) * self.each;
        (&self.from[taps.clone()], &self.weights[taps])
    }
}

/// Resizes planes of height and width `size`, whose pixels have `N` numbers each: 1, or those of a block of channels.
///
/// # Panics
/// If the sizes do not fit together.
pub fn resize<const N: usize>(
    exec: Exec<'_>,
    input: &[f32],
    size: [usize; 2],
    [rows, cols]: [&Taps; 2],
    output: &mut [f32],
) {
    let (plane, out_plane) = (size[0] * size[1], rows.len() * cols.len());
    if output.is_empty() {
        return;
    }
    let (input, output) = (input.as_chunks::<N>(), output.as_chunks_mut::<N>());
    assert!(input.1.is_empty() && output.1.is_empty(), "broken pixels");
    let planes = output.0.len() / out_plane;
    assert!(output.0.len() == planes * out_plane && input.0.len() == planes * plane, "sizes of the images");
    assert!(rows.reach <= size[0] && cols.reach <= size[1], "places outside of the images");
    let (input, out) = (input.0, SharedSlice::new(output.0));
    let parts = (out_plane * N).div_ceil(PIECE).min(rows.len());
    exec.pool.parallel_for(planes * parts, &|piece| {
        let (index, stretch) = (piece / parts, part(rows.len(), parts, piece % parts));
        let from = &input[index * plane..][..plane];
        let start = index * out_plane;
        // SAFETY: no other piece has these rows of this plane.
        let to = unsafe { out.range(start + stretch.start * cols.len()..start + stretch.end * cols.len()) };
        with_scratch(size[1] * N, |mixed: &mut [f32]| {
            let mixed = mixed.as_chunks_mut().0;
            let mut lines = to.chunks_exact_mut(cols.len()).zip(stretch).peekable();
            while let Some((line, row)) = lines.next() {
                vectorised(
                    exec.isa,
                    #[inline(always)]
                    || mix_columns(mix_rows(from, size[1], rows, row, mixed), cols, line),
                );
                // What is enlarged often repeats a row.
                while let Some((again, _)) = lines.next_if(|(_, next)| rows.at(*next) == rows.at(row)) {
                    again.copy_from_slice(line);
                }
            }
        });
    });
}

/// The rows of `from` that make up one of the output.
#[inline(always)]
fn mix_rows<'a, const N: usize>(
    from: &'a [[f32; N]],
    width: usize,
    rows: &Taps,
    row: usize,
    mixed: &'a mut [[f32; N]],
) -> &'a [[f32; N]] {
    let (places, weights) = rows.at(row);
    let line = |place: usize| &from[place * width..][..width];
    if rows.picks {
        return line(places[0]);
    }
    mixed.as_flattened_mut().fill(0.0);
    for (&place, &weight) in places.iter().zip(weights) {
        let both = mixed.as_flattened_mut().iter_mut().zip(line(place).as_flattened());
        both.for_each(|(sum, x)| *sum += x * weight);
    }
    mixed
}

#[inline(always)]
fn mix_columns<const N: usize>(from: &[[f32; N]], cols: &Taps, out: &mut [[f32; N]]) {
    if cols.picks {
        return out.iter_mut().zip(&cols.from).for_each(|(out, &place)| *out = from[place]);
    }
    let taps = cols.from.chunks_exact(cols.each).zip(cols.weights.chunks_exact(cols.each));
    for (out, (places, weights)) in out.iter_mut().zip(taps) {
        let mut sum = [0.0; N];
        for (&place, &weight) in places.iter().zip(weights) {
            sum.iter_mut().zip(&from[place]).for_each(|(sum, x)| *sum += x * weight);
        }
        *out = sum;
    }
}
