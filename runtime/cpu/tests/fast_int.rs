//! Integer products and convolutions are exact, whatever the signs and zero points.

mod common;

use byoc_cpu::fast::conv::{Channels, Images, PackedConvInt, Window, conv_int, conv_quantized};
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

struct Case {
    channels: Channels,
    size: [usize; 2],
    window: Window,
}

fn case([input, output, groups]: [usize; 3], size: [usize; 2], window: Window) -> Case {
    Case { channels: Channels { input, output, groups }, size, window }
}

fn windows() -> Vec<Case> {
    let square =
        |k: usize, stride: usize| Window { strides: [stride; 2], pads: [k / 2; 4], ..Window::new([k; 2]) };
    vec![
        case([3, 5, 1], [7, 9], square(3, 1)),
        case([3, 20, 1], [17, 15], square(3, 2)),
        case([16, 9, 1], [6, 6], square(1, 1)),
        case([5, 8, 1], [9, 8], square(1, 2)),
        case([6, 4, 2], [5, 11], square(3, 1)),
        case([4, 4, 4], [13, 20], square(3, 1)),
        case([3, 3, 3], [14, 14], square(5, 2)),
        case([4, 8, 4], [6, 5], Window { dilations: [2, 1], pads: [1, 0, 2, 1], ..Window::new([2, 3]) }),
    ]
}

/// Sums for one image pair of type `T` by weights of type `U`.
fn sums<T: Quantized, U: Quantized>(c: &Case, x: &[T], zx: i32, w: &[U], zw: &[U], count: usize) -> Vec<i32> {
    let out = c.window.output(c.size).unwrap();
    let (ins, outs) = (c.channels.input / c.channels.groups, c.channels.output / c.channels.groups);
    let mut sums = Vec::new();
    for image in 0..count {
        for oc in 0..c.channels.output {
            for pixel in 0..out[0] * out[1] {
                let mut sum = 0;
                for (ic, ky, kx) in (0..ins).flat_map(|ic| {
                    let [height, width] = c.window.kernel;
                    (0..height * width).map(move |tap| (ic, tap / width, tap % width))
                }) {
                    let (win, [oy, ox]) = (c.window, [pixel / out[1], pixel % out[1]]);
                    let y = (oy * win.strides[0] + ky * win.dilations[0]).wrapping_sub(win.pads[0]);
                    let x_at = (ox * win.strides[1] + kx * win.dilations[1]).wrapping_sub(win.pads[1]);
                    if y < c.size[0] && x_at < c.size[1] {
                        let channel = image * c.channels.input + oc / outs * ins + ic;
                        let value = x[(channel * c.size[0] + y) * c.size[1] + x_at].widen() - zx;
                        let tap = ky * win.kernel[1] + kx;
                        let weight = w[(oc * ins + ic) * win.kernel[0] * win.kernel[1] + tap].widen();
                        sum += value * (weight - zw[oc].widen());
                    }
                }
                sums.push(sum);
            }
        }
    }
    sums
}

fn check_conv<T: Quantized, U: Quantized>(c: &Case) {
    let mut r = Random((c.size[0] * 77 + c.size[1]) as u64);
    let (ins, taps) = (c.channels.input / c.channels.groups, c.window.kernel[0] * c.window.kernel[1]);
    let x = random::<T>(&mut r, 2 * c.channels.input * c.size[0] * c.size[1]);
    let w = random::<U>(&mut r, c.channels.output * ins * taps);
    let zw = random::<U>(&mut r, c.channels.output);
    let zx = T::narrow(T::MIN + 100);
    let want = sums(c, &x, zx.widen(), &w, &zw, 2);
    let input = Images { data: &x[..], count: 2, size: c.size };
    let pack = |isa| PackedConvInt::pack(isa, c.channels, c.window, &w, Zero::Rows(&zw));
    everywhere(
        |exec| {
            let mut y = vec![-1; want.len()];
            conv_int(exec, input, zx, &pack(exec.isa), &mut y);
            y
        },
        |isa, y| assert_eq!(y, want, "{:?} {:?} {isa:?}", c.channels, c.window),
    );
    let scale: Vec<f32> = (0..c.channels.output).map(|i| 0.001 + i as f32 * 0.0003).collect();
    let bias: Vec<i32> = (0..c.channels.output).map(|i| i as i32 * 500 - 900).collect();
    let pixels = want.len() / 2 / c.channels.output;
    let quantized: Vec<i32> = (0..want.len())
        .map(|i| {
            let channel = i / pixels % c.channels.output;
            let scaled = (want[i] + bias[channel]) as f32 * scale[channel];
            (scaled.round_ties_even() as i32 + 7).clamp(0, 255)
        })
        .collect();
    everywhere(
        |exec| {
            let mut y = vec![1u8; want.len()];
            let how = Requantize { scale: &scale, bias: Some(&bias), zero: 7u8 };
            conv_quantized(exec, input, zx, &pack(exec.isa), &how, &mut y);
            y.into_iter().map(i32::from).collect()
        },
        |isa, y| assert_eq!(y, quantized, "{:?} {:?} {isa:?}", c.channels, c.window),
    );
}

#[test]
fn convolutions() {
    for case in windows() {
        check_conv::<u8, i8>(&case);
        check_conv::<u8, u8>(&case);
        check_conv::<i8, i8>(&case);
    }
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
