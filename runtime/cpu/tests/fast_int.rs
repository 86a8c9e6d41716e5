//! Integer products are exact, whatever the signs and zero points.

mod common;

use byoc_cpu::fast::gemm::{IntMatrix, IntRhs, PackedInt, Quantized, Zero, gemm_int};
use byoc_cpu::fast::quantize::{Requantize, requantize_rows};
use common::{Random, everywhere};

fn random<T: Quantized>(random: &mut Random, n: usize) -> Vec<T> {
    let extremes = [T::MIN, T::MAX];
    let value = |bits: u64| match bits % 8 {
        0 => extremes[(bits >> 8) as usize % 2],
        _ => T::MIN + ((bits >> 16) % 256) as i32,
    };
    (0..n).map(|_| T::narrow(value(random.bits()))).collect()
}

fn check<T: Quantized, U: Quantized>(m: usize, n: usize, k: usize) {
    let mut r = Random((m * 7919 + n * 31 + k) as u64);
    let (a, b) = (random::<T>(&mut r, m * k), random::<U>(&mut r, k * n));
    let (rows, columns) = (random::<T>(&mut r, m), random::<U>(&mut r, n));
    for vectors in [false, true] {
        let (a_zero, b_zero) = match vectors {
            false => (Zero::All(T::narrow(T::MAX - 3)), Zero::All(U::narrow(U::MIN + 5))),
            true => (Zero::Rows(&rows[..]), Zero::Columns(&columns[..])),
        };
        let mut want = vec![0i32; m * n];
        for i in 0..m {
            for j in 0..n {
                let za = if vectors { rows[i].widen() } else { T::MAX - 3 };
                let zb = if vectors { columns[j].widen() } else { U::MIN + 5 };
                let terms = (0..k).map(|p| (a[i * k + p].widen() - za) * (b[p * n + j].widen() - zb));
                want[i * n + j] = terms.sum();
            }
        }
        let left = IntMatrix::row_major(&a, m, k, a_zero);
        let right = IntMatrix::row_major(&b, k, n, b_zero);
        for packed in [false, true] {
            everywhere(
                |exec| {
                    let mut c = vec![-1; m * n];
                    let weights = PackedInt::pack(exec.isa, right);
                    let rhs = if packed { IntRhs::Packed(&weights) } else { IntRhs::Plain(right) };
                    gemm_int(exec, left, rhs, &mut c, n);
                    c
                },
                |isa, c| assert_eq!(c, want, "{m}x{n}x{k} {isa:?} {vectors} {packed}"),
            );
        }
    }
}

#[test]
fn products_of_all_signs() {
    for (m, n, k) in [(1, 1, 1), (3, 17, 5), (7, 9, 64), (13, 50, 33), (20, 100, 1100), (0, 3, 4), (2, 3, 0)]
    {
        check::<u8, i8>(m, n, k);
        check::<u8, u8>(m, n, k);
        check::<i8, i8>(m, n, k);
        check::<i8, u8>(m, n, k);
    }
}

#[test]
fn transposed_right_operand() {
    let b: Vec<i8> = (0..6).collect();
    everywhere(
        |exec| {
            let mut c = vec![0; 2];
            let left = IntMatrix::row_major(&[1u8, 10, 100], 1, 3, Zero::All(0));
            let right = IntMatrix::strided(&b, [3, 2], [1, 3], Zero::All(0));
            gemm_int(exec, left, IntRhs::Plain(right), &mut c, 2);
            c
        },
        |_, c| assert_eq!(c, [210, 543]),
    );
}

#[test]
fn requantize_saturates_and_rounds_to_even() {
    let sums = [1, 3, 5, -1, -3, 1_000_000, -1_000_000, i32::MIN];
    everywhere(
        |exec| {
            let mut out = vec![0i8; 8];
            requantize_rows(exec, &sums, 4, &Requantize { scale: &[0.5], bias: None, zero: -1 }, &mut out);
            out
        },
        |_, out| assert_eq!(out, [-1, 1, 1, -1, -3, 127, -128, -128]),
    );
    everywhere(
        |exec| {
            let mut out = vec![0u8; 4];
            let how = Requantize { scale: &[1.0, 2.0], bias: Some(&[10, -10]), zero: 100 };
            requantize_rows(exec, &[1, 1, -200, 20], 2, &how, &mut out);
            out
        },
        |_, out| assert_eq!(out, [111, 82, 0, 120]),
    );
}
