//! Products against a plain f64 loop: every tail, stride, epilogue and instruction set.

mod common;

use byoc_cpu::fast::Activation;
use byoc_cpu::fast::gemm::{Batch, Epilogue, Matrix, PackedB, Rhs, gemm, gemm_batched};
use common::{Random, close, everywhere};

/// `a` is m × k, `b` is k × n, both row-major.
fn product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for p in 0..k {
            for j in 0..n {
                c[i * n + j] += f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
            }
        }
    }
    c
}

fn transpose(rows: usize, cols: usize, data: &[f32]) -> Vec<f32> {
    (0..rows * cols).map(|i| data[i % rows * cols + i / rows]).collect()
}

fn check(m: usize, n: usize, k: usize) {
    let mut random = Random((m * 1_000_000 + n * 1000 + k) as u64);
    let (a, b) = (random.floats(m * k), random.floats(k * n));
    let want = product(m, n, k, &a, &b);
    let (at, bt) = (transpose(m, k, &a), transpose(k, n, &b));
    let tolerance = 1e-6 * (k as f64).sqrt().max(1.0) * 2.0;
    let lefts = [Matrix::row_major(&a, m, k), Matrix::row_major(&at, k, m).transposed()];
    let rights = [Matrix::row_major(&b, k, n), Matrix::row_major(&bt, n, k).transposed()];
    for (l, left) in lefts.into_iter().enumerate() {
        for (r, right) in rights.into_iter().enumerate() {
            for packed in [false, true] {
                everywhere(
                    |exec| {
                        let mut c = vec![f32::NAN; m * n];
                        let weights = PackedB::pack(exec.isa, right);
                        let rhs = if packed { Rhs::Packed(&weights) } else { Rhs::Plain(right) };
                        gemm(exec, left, rhs, &mut c, n, &Epilogue::default());
                        c
                    },
                    |isa, c| close(&format!("{m}x{n}x{k} {isa:?} {l}{r}{packed}"), c, &want, tolerance),
                );
            }
        }
    }
}

#[test]
fn every_tail() {
    for m in [1, 2, 3, 5, 6, 7, 8, 9, 13, 17] {
        for n in [1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 47, 48, 49, 97] {
            check(m, n, [1, 2, 3, 4, 5, 29][(m + n) % 6]);
        }
    }
}

#[test]
fn several_blocks() {
    check(37, 53, 1031);
    check(200, 130, 512);
    check(401, 20, 33);
    check(1, 1000, 700);
    check(130, 1, 700);
}

#[test]
fn nothing_to_multiply() {
    for (m, n, k) in [(0, 5, 3), (5, 0, 3), (0, 0, 0), (3, 5, 0)] {
        check(m, n, k);
    }
}

#[test]
fn the_left_operand_may_be_part_of_a_wider_matrix() {
    let mut random = Random(5);
    let (wide, b) = (random.floats(20 * 100), random.floats(30 * 17));
    let a: Vec<f32> = (0..20 * 30).map(|i| wide[i / 30 * 100 + 7 + i % 30]).collect();
    let want = product(20, 17, 30, &a, &b);
    everywhere(
        |exec| {
            let mut c = vec![7.0; 20 * 40];
            let left = Matrix::strided(&wide[7..], 20, 30, 100, 1);
            gemm(exec, left, Rhs::Plain(Matrix::row_major(&b, 30, 17)), &mut c, 40, &Epilogue::default());
            c
        },
        |_, c| {
            for (i, row) in c.chunks(40).enumerate() {
                close("inside", &row[..17], &want[i * 17..][..17], 1e-5);
                assert!(row[17..].iter().all(|&x| x == 7.0), "between the rows nothing is written");
            }
        },
    );
}

#[test]
fn epilogue() {
    let (m, n, k) = (19, 50, 600);
    let mut random = Random(9);
    let (a, b) = (random.floats(m * k), random.floats(k * n));
    let (rows, columns, addend) = (random.floats(m), random.floats(n), random.floats(m * n));
    let plain = product(m, n, k, &a, &b);
    for (case, activation) in [
        Activation::None,
        Activation::Relu,
        Activation::Clip { low: -0.5, high: 1.5 },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Sigmoid,
    ]
    .into_iter()
    .enumerate()
    {
        let with = |bit: usize| case == 0 || case & bit != 0;
        let epilogue = Epilogue {
            alpha: 0.25,
            row_bias: with(1).then_some(&rows),
            column_bias: with(2).then_some(&columns),
            addend: with(4).then_some(&addend),
            beta: -2.0,
            activation,
        };
        let want: Vec<f64> = (0..m * n)
            .map(|i| {
                let mut x = 0.25 * plain[i];
                x += if with(1) { f64::from(rows[i / n]) } else { 0.0 };
                x += if with(2) { f64::from(columns[i % n]) } else { 0.0 };
                x += if with(4) { -2.0 * f64::from(addend[i]) } else { 0.0 };
                match activation {
                    Activation::Relu => x.max(0.0),
                    Activation::Clip { low, high } => x.clamp(low.into(), high.into()),
                    Activation::LeakyRelu { .. } if x < 0.0 => x * f64::from(0.1f32),
                    Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                    _ => x,
                }
            })
            .collect();
        everywhere(
            |exec| {
                let mut c = vec![f32::NAN; m * n];
                let rhs = Rhs::Plain(Matrix::row_major(&b, k, n));
                gemm(exec, Matrix::row_major(&a, m, k), rhs, &mut c, n, &epilogue);
                c
            },
            |isa, c| close(&format!("{activation:?} {isa:?}"), c, &want, 3e-5),
        );
    }
}

#[test]
fn nan_and_infinity_come_through_relu() {
    let a = [f32::NAN, 1.0, f32::INFINITY, -1.0];
    let epilogue = Epilogue { activation: Activation::Relu, ..Default::default() };
    everywhere(
        |exec| {
            let mut c = vec![0.0; 4];
            let rhs = Rhs::Plain(Matrix::row_major(&[1.0], 1, 1));
            gemm(exec, Matrix::row_major(&a, 4, 1), rhs, &mut c, 1, &epilogue);
            c.into_iter().map(f32::to_bits).collect()
        },
        |_, c| {
            assert!(f32::from_bits(c[0]).is_nan());
            assert_eq!([1, 2, 3].map(|i| f32::from_bits(c[i])), [1.0, f32::INFINITY, 0.0]);
        },
    );
}

#[test]
fn batches_and_side_by_side_outputs() {
    let (m, n, k) = (9, 20, 11);
    let mut random = Random(11);
    let (a, b) = (random.floats(3 * m * k), random.floats(2 * k * n));
    // The second operand is shared by the first and last product.
    let starts = [0, k * n, 0];
    let batch = |c_row, c_batch| Batch { a: &[0, 99, 198], b: &starts, c_row, c_batch };
    let want: Vec<Vec<f64>> = (0..3).map(|i| product(m, n, k, &a[i * m * k..], &b[starts[i]..])).collect();
    for (c_row, c_batch) in [(n, m * n), (3 * n, n)] {
        everywhere(
            |exec| {
                let mut c = vec![f32::NAN; 3 * m * n];
                let (a, b) = (Matrix::row_major(&a, m, k), Matrix::row_major(&b, k, n));
                gemm_batched(exec, a, Rhs::Plain(b), &mut c, &batch(c_row, c_batch), &Epilogue::default());
                c
            },
            |_, c| {
                for (i, want) in want.iter().enumerate() {
                    for row in 0..m {
                        let got = &c[i * c_batch + row * c_row..][..n];
                        close("batch", got, &want[row * n..][..n], 1e-5);
                    }
                }
            },
        );
    }
}

#[test]
#[should_panic(expected = "inner dimensions differ")]
fn mismatched_dimensions_are_refused() {
    everywhere(
        |exec| {
            let (a, b) = (Matrix::row_major(&[0.0; 6], 2, 3), Matrix::row_major(&[0.0; 8], 4, 2));
            gemm(exec, a, Rhs::Plain(b), &mut [0.0; 4], 2, &Epilogue::default());
            Vec::<f32>::new()
        },
        |_, _| {},
    );
}

#[test]
#[should_panic(expected = "do not fit the output")]
fn a_small_output_is_refused() {
    everywhere(
        |exec| {
            let (a, b) = (Matrix::row_major(&[0.0; 6], 2, 3), Matrix::row_major(&[0.0; 6], 3, 2));
            gemm(exec, a, Rhs::Plain(b), &mut [0.0; 3], 2, &Epilogue::default());
            Vec::<f32>::new()
        },
        |_, _| {},
    );
}
