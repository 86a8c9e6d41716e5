//! Reductions of a few elements against plain loops, and extremes of rows: what is not a number, infinities and zeros of
//! both signs among them.

mod common;

use byoc_cpu::fast::fold::Fold;
use common::{Random, close, everywhere};

/// What the reference finds: the first of equal elements, and NaN where there is one.
fn extreme(greatest: bool, row: &[f32]) -> f32 {
    let start = if greatest { f32::NEG_INFINITY } else { f32::INFINITY };
    let better = |x: f32, found: f32| if greatest { x > found } else { x < found };
    let found = row.iter().fold(start, |found, &x| if better(x, found) { x } else { found });
    if row.iter().any(|x| x.is_nan()) { f32::NAN } else { found }
}

/// Row `r` is plain, has a NaN somewhere, infinities of both signs, or nothing but zeros and infinities of one sign.
fn row(random: &mut Random, r: usize, n: usize) -> Vec<f32> {
    let mut row = random.floats(n);
    let place = |random: &mut Random| random.bits() as usize % n.max(1);
    match r % 5 {
        _ if n == 0 => {}
        1 => row[place(random)] = f32::NAN,
        2 => {
            row[place(random)] = f32::INFINITY;
            row[place(random)] = f32::NEG_INFINITY;
        }
        3 => {
            row.fill(f32::NEG_INFINITY);
            row[place(random)] = -f32::NAN;
        }
        4 => row.fill(if r.is_multiple_of(2) { f32::NEG_INFINITY } else { f32::INFINITY }),
        _ => {}
    }
    row
}

#[test]
fn extremes_of_rows() {
    for n in [0, 1, 2, 7, 15, 16, 17, 31, 63, 64, 65, 97, 127, 128, 1024, 1031, 32 * 1024, 70_001] {
        let rows = if n > 2000 { 5 } else { 83 };
        let mut random = Random(n as u64);
        let x: Vec<f32> = (0..rows).flat_map(|r| row(&mut random, r, n)).collect();
        for (fold, greatest) in [(Fold::Max, true), (Fold::Min, false)] {
            let want: Vec<f32> = (0..rows).map(|r| extreme(greatest, &x[r * n..][..n])).collect();
            everywhere(
                |exec| {
                    let mut out = vec![9.0; rows];
                    fold.middle(exec, &x, [rows, n, 1], &mut out);
                    // As bits, since NaN is unlike itself.
                    out.into_iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
                },
                |isa, got| {
                    for (r, (&got, want)) in got.iter().zip(&want).enumerate() {
                        let want = if want.is_nan() { u32::MAX } else { want.to_bits() };
                        assert_eq!(got, want, "{fold:?} of row {r} of {n} elements, {isa:?}");
                    }
                },
            );
        }
    }
}

#[test]
fn all_instruction_sets_give_the_same_bits() {
    let shapes = [2, 12, 16, 33, 63, 64, 70, 200].map(|n| (n, 1));
    for (n, inner) in shapes.into_iter().chain([
        (6, 2),
        (40, 2),
        (5, 4),
        (50, 4),
        (3, 8),
        (70, 8),
        (9, 3),
        (90, 3),
        (5, 20),
    ]) {
        let zeros: Vec<f32> = (0..40 * n * inner).map(|i| if i * i % 7 < 3 { 0.0 } else { -0.0 }).collect();
        let others = Random((n * inner) as u64).floats(40 * n * inner);
        for (fold, x) in
            [(Fold::Max, &zeros), (Fold::Min, &zeros), (Fold::Sum, &others), (Fold::Squares, &others)]
        {
            let first = std::cell::RefCell::new(None::<Vec<u32>>);
            everywhere(
                |exec| {
                    let mut out = vec![9.0f32; 40 * inner];
                    fold.middle(exec, x, [40, n, inner], &mut out);
                    out.into_iter().map(f32::to_bits).collect()
                },
                |isa, got| {
                    let mut first = first.borrow_mut();
                    let first = first.get_or_insert_with(|| got.to_vec());
                    assert_eq!(first, got, "{fold:?} of {n} by {inner}, {isa:?}");
                },
            );
        }
    }
}

#[test]
fn a_few_elements_along_any_axis() {
    let cases = [
        (1, 1),
        (1, 7),
        (2, 1),
        (3, 1),
        (5, 1),
        (8, 1),
        (9, 1),
        (31, 1),
        (48, 1),
        (63, 1),
        (64, 1),
        (200, 1),
    ];
    let wide = [
        (2, 2),
        (4, 4),
        (4, 8),
        (4, 16),
        (16, 3),
        (5, 17),
        (3, 63),
        (4, 64),
        (63, 4),
        (63, 8),
        (100, 2),
        (128, 3),
        (6, 220),
        (300, 8),
    ];
    for (n, inner) in cases.into_iter().chain(wide) {
        for outer in [1, 15, 16, 83, 5000 / n] {
            let mut random = Random((outer * n + inner) as u64);
            let x = random.floats(outer * n * inner);
            for (fold, start, take) in [
                (Fold::Sum, 0.0, (|a, x| a + x) as fn(f64, f64) -> f64),
                (Fold::Squares, 0.0, |a, x| a + x * x),
                (Fold::Magnitudes, 0.0, |a, x| a + x.abs()),
                (Fold::Product, 1.0, |a, x| a * x),
                (Fold::Max, f64::NEG_INFINITY, f64::max),
                (Fold::Min, f64::INFINITY, f64::min),
            ] {
                let at = |o: usize, r: usize, c: usize| f64::from(x[(o * n + r) * inner + c]);
                let lane = |o: usize, c: usize| (0..n).fold(start, |a, r| take(a, at(o, r, c)));
                let want: Vec<f64> = (0..outer)
                    .flat_map(|o| (0..inner).map(move |c| (o, c)))
                    .map(|(o, c)| lane(o, c))
                    .collect();
                everywhere(
                    |exec| {
                        let mut out = vec![9.0; outer * inner];
                        fold.middle(exec, &x, [outer, n, inner], &mut out);
                        out
                    },
                    |isa, out| close(&format!("{fold:?} of {outer}x{n}x{inner}, {isa:?}"), out, &want, 1e-5),
                );
            }
        }
    }
}
