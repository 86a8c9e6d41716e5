//! Resized images against plain f64 loops over what each place mixes.

mod common;

use byoc_cpu::fast::blocked::BLOCK;
use byoc_cpu::fast::resize::{Taps, resize};
use common::{Random, close, everywhere};

type Mixes = Vec<Vec<(usize, f64)>>;

fn check<const N: usize>(planes: usize, size: [usize; 2], [rows, cols]: [&Mixes; 2]) {
    let x = Random((size[0] * 100 + size[1]) as u64).floats(planes * size[0] * size[1] * N);
    let mut want = Vec::new();
    for plane in 0..planes {
        for row in rows {
            for col in cols {
                want.extend((0..N).map(|lane| {
                    let at = |y: usize, x: usize| ((plane * size[0] + y) * size[1] + x) * N + lane;
                    let term = |&(y, v): &(usize, f64)| -> f64 {
                        col.iter().map(|&(i, w)| f64::from(x[at(y, i)]) * v * w).sum()
                    };
                    row.iter().map(term).sum::<f64>()
                }));
            }
        }
    }
    let taps = [Taps::new(rows), Taps::new(cols)];
    everywhere(
        |exec| {
            let mut y = vec![f32::NAN; want.len()];
            resize::<N>(exec, &x, size, [&taps[0], &taps[1]], &mut y);
            y
        },
        |isa, y| close(&format!("{planes} planes of {size:?}, {isa:?}"), y, &want, 1e-6),
    );
}

fn nearest(from: usize, to: usize) -> Mixes {
    (0..to).map(|i| vec![(i * from / to, 1.0)]).collect()
}

fn linear(from: usize, to: usize) -> Mixes {
    let mix = |i: usize| {
        let x = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        let (low, part) = (x.floor() as usize, x.fract());
        vec![(low, 1.0 - part), ((low + 1).min(from - 1), part)]
    };
    (0..to).map(mix).collect()
}

#[test]
fn images_of_all_sizes() {
    for (from, to) in [([1, 1], [1, 1]), ([13, 7], [26, 14]), ([7, 31], [5, 100]), ([64, 48], [128, 96])] {
        for kind in [nearest, linear] {
            let axes = [&kind(from[0], to[0]), &kind(from[1], to[1])];
            check::<1>(3, from, axes);
            check::<BLOCK>(2, from, axes);
        }
        // One axis only.
        check::<1>(2, from, [&nearest(from[0], from[0]), &linear(from[1], to[1])]);
        check::<BLOCK>(2, from, [&linear(from[0], to[0]), &nearest(from[1], from[1])]);
    }
    check::<1>(0, [3, 3], [&nearest(3, 6), &nearest(3, 6)]);
}

#[test]
fn places_that_mix_more_or_fewer() {
    let mixes =
        vec![vec![(2, 1.0)], vec![(0, 0.0), (1, -0.5), (3, 1.5)], vec![(1, 0.0)], vec![(4, 0.25), (0, 0.75)]];
    check::<1>(1, [5, 5], [&mixes, &mixes]);
    check::<BLOCK>(1, [5, 6], [&mixes, &mixes]);
}
