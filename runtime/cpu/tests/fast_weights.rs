//! Products by weights in fewer bits: exact where the format can hold the weights, and no further off than it must be.

mod common;

use byoc_cpu::fast::gemm::{Batch, Codes, Epilogue, Matrix, PackedCodes, Precision, Rhs, Weights};
use byoc_cpu::fast::gemm::{gemm, gemm_batched};
use byoc_cpu::fast::{Activation, Exec};
use common::{Random, everywhere};

const REDUCED: [Precision; 3] = [Precision::Bf16, Precision::Int8, Precision::Int4];
/// Rows that the kernel for a few takes, and more; one tile, several; panels that end early.
const ROWS: [usize; 7] = [1, 2, 3, 4, 5, 17, 131];
const COLUMNS: [usize; 5] = [1, 7, 48, 53, 97];
const STEPS: [usize; 6] = [1, 2, 31, 32, 67, 1031];

fn shapes() -> impl Iterator<Item = [usize; 3]> {
    let all = ROWS.into_iter().flat_map(|m| COLUMNS.into_iter().map(move |n| [m, n]));
    all.enumerate().flat_map(|(i, [m, n])| [[m, n, STEPS[i % 6]], [m, n, STEPS[(i + 4) % 6]]])
}

/// Whole numbers from -8 to 7, the least of them in each column's every block: all formats hold these.
fn whole_weights(random: &mut Random, k: usize, n: usize) -> Vec<f32> {
    let mut number =
        |i: usize| if (i / n).is_multiple_of(32) { -8.0 } else { (random.bits() % 16) as f32 - 8.0 };
    (0..k * n).map(&mut number).collect()
}

fn whole(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.bits() % 7) as f32 - 3.0).collect()
}

/// Sums in f64 of what `term` makes of each pair.
fn sums([m, n, k]: [usize; 3], a: &[f32], b: &[f32], term: impl Fn(f64, f64, [usize; 2]) -> f64) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            for j in 0..n {
                c[i * n + j] += term(a[i * k + p].into(), b[p * n + j].into(), [p, j]);
            }
        }
    }
    c
}

fn product(shape: [usize; 3], a: &[f32], b: &[f32]) -> Vec<f64> {
    sums(shape, a, b, |a, b, _| a * b)
}

/// The product with weights that are packed for it.
fn packed_multiply(
    exec: Exec<'_>,
    shape @ [_, n, k]: [usize; 3],
    a: &[f32],
    b: &[f32],
    precision: Precision,
) -> Vec<f32> {
    multiply(exec, shape, a, &Weights::pack(exec.isa, Matrix::row_major(b, k, n), precision))
}

fn multiply(exec: Exec<'_>, [m, n, k]: [usize; 3], a: &[f32], weights: &Weights) -> Vec<f32> {
    let mut c = vec![f32::NAN; m * n];
    gemm(exec, Matrix::row_major(a, m, k), weights.rhs(), &mut c, n, &Epilogue::default());
    c
}

#[test]
fn what_the_format_can_hold_is_exact() {
    for shape @ [m, n, k] in shapes() {
        let mut random = Random((m * 1_000_000 + n * 1000 + k) as u64);
        let (a, b) = (whole(&mut random, m * k), whole_weights(&mut random, k, n));
        let want: Vec<f32> = product(shape, &a, &b).into_iter().map(|x| x as f32).collect();
        let bt: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
        let forms = [Matrix::row_major(&b, k, n), Matrix::row_major(&bt, n, k).transposed()];
        for (form, precision) in forms.into_iter().flat_map(|b| REDUCED.map(|p| (b, p))) {
            everywhere(
                |exec| multiply(exec, shape, &a, &Weights::pack(exec.isa, form, precision)),
                |isa, c| assert_eq!(c, want, "{m}x{n}x{k} {precision:?} {isa:?}"),
            );
        }
    }
}

/// By step and column, the most that a weight may change.
fn largest_change(precision: Precision, [_, n, k]: [usize; 3], b: &[f32]) -> Vec<f64> {
    let block = if precision == Precision::Int4 { 32 } else { k };
    let largest = |p: usize, j: usize| {
        let rows = p / block * block..k.min((p / block + 1) * block);
        rows.fold(0f64, |largest, row| largest.max(b[row * n + j].abs().into()))
    };
    // Half of a step, or a whole one where a block's extreme has the range to itself.
    let steps = match precision {
        Precision::Int4 => 8.0,
        _ => 128.0,
    };
    (0..k * n).map(|i| largest(i / n, i % n) / steps).collect()
}

#[test]
fn no_further_off_than_the_format_is_coarse() {
    for shape @ [m, n, k] in shapes() {
        let mut random = Random((m * 77 + n * 1000 + k) as u64);
        let (a, b) = (random.floats(m * k), random.floats(k * n));
        let want = product(shape, &a, &b);
        let size = sums(shape, &a, &b, |a, b, _| (a * b).abs());
        for precision in REDUCED {
            let change = largest_change(precision, shape, &b);
            let allowed = match precision {
                // Both factors are off by half a unit in the eighth place at most.
                Precision::Bf16 => size.iter().map(|size| size * (2f64.powi(-7) + 2f64.powi(-16))).collect(),
                _ => sums(shape, &a, &b, |a, _, [p, j]| a.abs() * change[p * n + j]),
            };
            everywhere(
                |exec| packed_multiply(exec, shape, &a, &b, precision),
                |isa, c| {
                    for (i, &got) in c.iter().enumerate() {
                        let error = (f64::from(got) - want[i]).abs();
                        // Sums in f32 are off by themselves.
                        let allowed = allowed[i] + 2e-6 * (k as f64).sqrt() * size[i].max(1.0);
                        assert!(error <= allowed, "{shape:?} {precision:?} {isa:?}: {got} for {}", want[i]);
                    }
                },
            );
        }
    }
}

#[test]
fn bf16_multiplies_what_both_sides_round_to() {
    let round = |x: &f32| half::bf16::from_f32(*x).to_f32();
    for shape @ [m, n, k] in [[1, 97, 1031], [9, 50, 333], [200, 48, 64]] {
        let mut random = Random(k as u64);
        let (a, b) = (random.floats(m * k), random.floats(k * n));
        let (ra, rb): (Vec<f32>, Vec<f32>) = (a.iter().map(round).collect(), b.iter().map(round).collect());
        let (want, size) = (product(shape, &ra, &rb), sums(shape, &ra, &rb, |a, b, _| (a * b).abs()));
        everywhere(
            |exec| {
                let weights = Weights::pack(exec.isa, Matrix::row_major(&b, k, n), Precision::Bf16);
                multiply(exec, shape, &a, &weights)
            },
            |isa, c| {
                for (i, &got) in c.iter().enumerate() {
                    let error = (f64::from(got) - want[i]).abs();
                    assert!(error <= 1e-6 * size[i], "{shape:?} {isa:?}: {got} for {}", want[i]);
                }
            },
        );
    }
}

#[test]
fn the_epilogue_is_the_same() {
    for shape @ [m, n, k] in [[1, 53, 70], [3, 97, 64], [19, 50, 65]] {
        let mut random = Random(n as u64);
        let (a, b) = (whole(&mut random, m * k), whole_weights(&mut random, k, n));
        let (bias, addend) = (random.floats(n), random.floats(m * n));
        for activation in [Activation::None, Activation::Relu, Activation::Sigmoid] {
            let epilogue = Epilogue {
                alpha: 0.25,
                column_bias: Some(&bias),
                addend: Some(&addend),
                activation,
                ..Epilogue::default()
            };
            let result = |exec: Exec<'_>, precision| {
                let weights = Weights::pack(exec.isa, Matrix::row_major(&b, k, n), precision);
                let mut c = vec![0.0; m * n];
                gemm(exec, Matrix::row_major(&a, m, k), weights.rhs(), &mut c, n, &epilogue);
                c
            };
            for precision in REDUCED {
                everywhere(
                    |exec| {
                        assert_eq!(
                            result(exec, precision),
                            result(exec, Precision::F32),
                            "{shape:?} {precision:?}"
                        );
                        result(exec, precision)
                    },
                    |_, _| {},
                );
            }
        }
    }
}

#[test]
fn left_operands_may_be_transposed_batches() {
    let (batch, m, n, k) = (3, 5, 50, 70);
    let mut random = Random(3);
    let (a, b) = (whole(&mut random, batch * m * k), whole_weights(&mut random, k, n));
    let starts: Vec<usize> = (0..batch).map(|i| i * m * k).collect();
    for (transposed, precision) in [false, true].into_iter().flat_map(|t| REDUCED.map(|p| (t, p))) {
        let matrix = |i: usize| &a[i * m * k..][..m * k];
        let rows = |i: usize| -> Vec<f32> {
            let at = |e: usize| if transposed { matrix(i)[e % k * m + e / k] } else { matrix(i)[e] };
            (0..m * k).map(at).collect()
        };
        let want: Vec<f32> =
            (0..batch).flat_map(|i| product([m, n, k], &rows(i), &b)).map(|x| x as f32).collect();
        everywhere(
            |exec| {
                let weights = Weights::pack(exec.isa, Matrix::row_major(&b, k, n), precision);
                let first = if transposed {
                    Matrix::row_major(&a, k, m).transposed()
                } else {
                    Matrix::row_major(&a, m, k)
                };
                let mut c = vec![0.0; batch * m * n];
                let layout = Batch { a: &starts, b: &[0; 3], c_row: n, c_batch: m * n };
                gemm_batched(exec, first, weights.rhs(), &mut c, &layout, &Epilogue::default());
                c
            },
            |isa, c| assert_eq!(c, want, "{transposed} {precision:?} {isa:?}"),
        );
    }
}

#[test]
fn nothing_to_multiply() {
    for shape @ [m, n, k] in [[0, 5, 3], [5, 0, 3], [0, 0, 0], [3, 5, 0]] {
        let (a, b) = (vec![1.0; m * k], vec![1.0; k * n]);
        for precision in REDUCED {
            everywhere(
                |exec| packed_multiply(exec, shape, &a, &b, precision),
                |_, c| assert_eq!(c, vec![if k == 0 { 0.0 } else { f32::NAN }; m * n]),
            );
        }
    }
}

#[test]
fn weights_that_are_not_finite_stay_as_they_are() {
    for odd in [f32::NAN, f32::INFINITY] {
        let mut b = vec![1.0; 64 * 50];
        b[33 * 50 + 7] = odd;
        for precision in [Precision::Int8, Precision::Int4] {
            let weights =
                Weights::pack(byoc_cpu::fast::Isa::detect(), Matrix::row_major(&b, 64, 50), precision);
            assert!(matches!(weights, Weights::Floats(_)), "{precision:?}");
        }
    }
}

#[test]
fn codes_may_have_zero_points() {
    for (bits, block) in [(4, 16usize), (4, 64), (8, 32)] {
        for shape @ [m, n, k] in [[1, 50, 100], [4, 97, 33], [20, 9, 130usize]] {
            let mut random = Random((bits * 1000 + k) as u64);
            let blocks = k.div_ceil(block);
            let codes: Vec<u8> = (0..n * k).map(|_| (random.bits() % (1 << bits)) as u8).collect();
            let zeros: Vec<f32> = (0..n * blocks).map(|_| (random.bits() % (1 << bits)) as f32).collect();
            let a = whole(&mut random, m * k);
            let (code, scale) =
                (|col: usize, row: usize| codes[col * k + row], |_: usize, block: usize| 0.5 + block as f32);
            let zero = |col: usize, block: usize| zeros[col * blocks + block];
            let weight = |i: usize| {
                let (row, col) = (i / n, i % n);
                (f32::from(code(col, row)) - zero(col, row / block)) * scale(col, row / block)
            };
            let b: Vec<f32> = (0..k * n).map(weight).collect();
            let want: Vec<f32> = product(shape, &a, &b).into_iter().map(|x| x as f32).collect();
            everywhere(
                |exec| {
                    let packed = PackedCodes::of_codes(
                        exec.isa,
                        [k, n],
                        Codes { bits, block },
                        code,
                        scale,
                        Some(&zero),
                    );
                    let mut c = vec![0.0; m * n];
                    let a = Matrix::row_major(&a, m, k);
                    gemm(exec, a, Rhs::Codes(&packed), &mut c, n, &Epilogue::default());
                    c
                },
                |isa, c| assert_eq!(c, want, "{shape:?} {bits} bits by {block} {isa:?}"),
            );
        }
    }
}
