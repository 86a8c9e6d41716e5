//! Operators on bytes with their channels last give the bits that their formulas say, on every instruction set.

mod common;

use byoc_cpu::fast::bytes::{self, BytesLast, Coding, ConvBytes, Finish, Then, conv_bytes};
use byoc_cpu::fast::conv::{Channels, Window};
use byoc_cpu::fast::gemm::{Quantized, Zero};
use common::{Random, everywhere};

fn random<T: Quantized>(random: &mut Random, n: usize) -> Vec<T> {
    let extremes = [T::MIN, T::MAX];
    let value = |bits: u64| match bits % 8 {
        0 => extremes[(bits >> 8) as usize % 2],
        _ => T::MIN + ((bits >> 16) % 256) as i32,
    };
    (0..n).map(|_| T::narrow(value(random.bits()))).collect()
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
        case([32, 70, 1], [9, 13], square(1, 1)),
        case([18, 40, 1], [8, 8], square(3, 1)),
        case([64, 64, 64], [11, 10], square(3, 1)),
        case([20, 20, 20], [12, 9], square(3, 2)),
        case([8, 24, 2], [7, 7], square(1, 1)),
        case([12, 16, 1], [15, 10], Window { dilations: [3, 3], pads: [3; 4], ..Window::new([3, 3]) }),
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

/// Images with their channels last, from images with their channels first.
fn last<T: Copy>(x: &[T], channels: usize) -> impl Fn(usize) -> Vec<T> {
    let x = x.to_vec();
    move |pixels| {
        let image = |image: &[T]| {
            (0..pixels * channels).map(|i| image[i % channels * pixels + i / channels]).collect::<Vec<T>>()
        };
        x.chunks(pixels * channels).flat_map(image).collect()
    }
}

fn raw<T: Quantized>(x: &[T]) -> &[u8] {
    bytemuck::cast_slice(x)
}

fn coding<T: Quantized>(zero: i32, scale: f32) -> Coding {
    Coding { signed: T::MIN < 0, zero, scale }
}

/// `saturate(round(x) + zero)`.
fn code(x: f32, to: Coding) -> u8 {
    let (least, most) = if to.signed { (-128, 127) } else { (0, 255) };
    (f64::from(x.round_ties_even()) as i64 + i64::from(to.zero)).clamp(least, most) as u8
}

fn number(x: u8, from: Coding) -> f32 {
    let x = if from.signed { i32::from(x as i8) } else { i32::from(x) };
    (x - from.zero) as f32 * from.scale
}

/// `zero` is the input's zero point above the least value.
fn check_conv<T: Quantized, U: Quantized>(c: &Case, zero: i32) {
    let mut r = Random((c.size[0] * 77 + c.size[1]) as u64);
    let (ins, taps) = (c.channels.input / c.channels.groups, c.window.kernel[0] * c.window.kernel[1]);
    let x = random::<T>(&mut r, 2 * c.channels.input * c.size[0] * c.size[1]);
    let w = random::<U>(&mut r, c.channels.output * ins * taps);
    let zw = random::<U>(&mut r, c.channels.output);
    let zx = T::narrow(T::MIN + zero);
    let outputs = c.channels.output;
    let want = sums(c, &x, zx.widen(), &w, &zw, 2);
    let pixels = want.len() / 2 / outputs;
    let scale: Vec<f32> = (0..outputs).map(|i| 0.001 + i as f32 * 0.0003).collect();
    let bias: Vec<i32> = (0..outputs).map(|i| i as i32 * 500 - 900).collect();
    let floats = |r: &mut Random, n: usize| r.floats(n);
    let affine = [floats(&mut r, outputs), floats(&mut r, outputs)];
    let (first, second) = (coding::<u8>(7, 0.03), coding::<i8>(-3, 0.021));
    let then = |affine| Some(Then { affine, low: 0.0, high: 1.5, to: second });
    let input = last(&x, c.channels.input)(c.size[0] * c.size[1]);
    for then in [None, then(None), then(Some(affine))] {
        let expected = |i: usize| {
            let channel = i / pixels % outputs;
            let x = code((want[i] + bias[channel]) as f32 * scale[channel], first);
            let Some(then) = &then else { return x };
            let x = number(x, first);
            let x = then.affine.as_ref().map_or(x, |[scale, shift]| x * scale[channel] + shift[channel]);
            code(x.max(then.low).min(then.high) / then.to.scale, then.to)
        };
        let expected = last(&(0..want.len()).map(expected).collect::<Vec<u8>>(), outputs)(pixels);
        everywhere(
            |exec| {
                let finish = Finish::new(outputs, &scale, first, then.clone());
                let weights = (&w[..], Zero::Rows(&zw[..]));
                let from = coding::<T>(zx.widen(), 1.0);
                let shape = (c.channels, c.window);
                let conv = ConvBytes::new(exec.isa, shape, from, weights, Some(&bias), finish);
                let mut y = vec![1u8; want.len()];
                conv_bytes(exec, BytesLast { data: raw(&input), count: 2, size: c.size }, &conv, &mut y);
                y
            },
            |isa, y| assert_eq!(y, expected, "{:?} {:?} {isa:?}", c.channels, c.window),
        );
    }
}

#[test]
fn convolutions() {
    for case in windows() {
        for zero in [0, 100, 255] {
            check_conv::<u8, i8>(&case, zero);
            check_conv::<u8, u8>(&case, zero);
            check_conv::<i8, i8>(&case, zero);
            check_conv::<i8, u8>(&case, zero);
        }
    }
}

const SIZES: [usize; 6] = [1, 3, 17, 64, 101, 20_000];

#[test]
fn sums_of_codes() {
    for n in SIZES {
        let mut r = Random(n as u64);
        let (a, b) = (random::<u8>(&mut r, n), random::<i8>(&mut r, n));
        let (za, zb, to) = (coding::<u8>(13, 0.02), coding::<i8>(-7, 0.031), coding::<u8>(128, 0.027));
        let sum = |(a, b): (&u8, &u8)| (number(*a, za) + number(*b, zb)).clamp(-2.0, 1.0);
        let want: Vec<u8> = a.iter().zip(raw(&b)).map(|pair| code(sum(pair) / to.scale, to)).collect();
        everywhere(
            |exec| {
                let mut out = vec![0; n];
                bytes::add(exec, (&a, za), (raw(&b), zb), [-2.0, 1.0], to, &mut out);
                out
            },
            |isa, out| assert_eq!(out, want, "{n} {isa:?}"),
        );
    }
}

#[test]
fn joined_channels() {
    for (pixels, widths) in [(1, [1, 1]), (7, [3, 20]), (50, [16, 5]), (3000, [17, 33])] {
        let mut r = Random(pixels as u64);
        let parts = widths.map(|n| random::<u8>(&mut r, n * pixels));
        let codings = [coding::<u8>(3, 0.5), coding::<u8>(90, 0.3)];
        let to = codings[0];
        let mut want = Vec::new();
        for pixel in 0..pixels {
            for ((part, from), n) in parts.iter().zip(codings).zip(widths) {
                want.extend(part[pixel * n..][..n].iter().map(|&x| code(number(x, from) / to.scale, to)));
            }
        }
        everywhere(
            |exec| {
                let mut out = vec![0; want.len()];
                let part = |i: usize| ((&parts[i][..], codings[i]), widths[i]);
                bytes::concat(exec, &[part(0), part(1)], to, &mut out);
                out
            },
            |isa, out| assert_eq!(out, want, "{pixels} {widths:?} {isa:?}"),
        );
    }
}

#[test]
fn largest_and_mean() {
    let window = Window { strides: [2, 2], pads: [1, 0, 1, 1], ..Window::new([3, 2]) };
    for (channels, size) in [(1, [5, 7]), (19, [9, 6]), (70, [13, 11])] {
        let mut r = Random(channels as u64);
        let x = random::<i8>(&mut r, 2 * channels * size[0] * size[1]);
        let image = BytesLast { data: raw(&x), count: 2, size };
        let (from, to) = (coding::<i8>(-20, 0.5), coding::<u8>(9, 0.7));
        let at = |n: usize, y: usize, x_at: usize, c: usize| {
            raw(&x)[((n * size[0] + y) * size[1] + x_at) * channels + c]
        };
        let [height, width] = window.output(size).unwrap();
        let (mut most, mut mean) = (Vec::new(), Vec::new());
        for n in 0..2 {
            for (pixel, c) in (0..height * width).flat_map(|p| (0..channels).map(move |c| (p, c))) {
                let (y, x) = ((pixel / width * 2).wrapping_sub(1), pixel % width * 2);
                let seen = (0..6).map(|tap| (y.wrapping_add(tap / 2), x + tap % 2));
                let seen = seen.filter(|&(y, x)| y < size[0] && x < size[1]);
                let best = seen.map(|(y, x)| number(at(n, y, x, c), from)).fold(f32::MIN, f32::max);
                most.push(code(best / to.scale, to));
            }
            for c in 0..channels {
                let pixels = (0..size[0] * size[1]).map(|p| at(n, p / size[1], p % size[1], c));
                let sum: f64 = pixels.map(|x| f64::from(number(x, from))).sum();
                mean.push(code((sum / (size[0] * size[1]) as f64) as f32 / to.scale, to));
            }
        }
        everywhere(
            |exec| {
                let mut out = vec![0; most.len()];
                bytes::largest(exec, image, channels, window, (from, to), &mut out);
                out
            },
            |isa, out| assert_eq!(out, most, "largest of {channels} {size:?} {isa:?}"),
        );
        everywhere(
            |exec| {
                let mut out = vec![0; mean.len()];
                bytes::average(exec, image, channels, (from, to), &mut out);
                out
            },
            |isa, out| assert_eq!(out, mean, "mean of {channels} {size:?} {isa:?}"),
        );
    }
}

#[test]
fn layouts() {
    for (channels, pixels) in [(1, 5), (3, 2500), (4, 16), (6, 33), (19, 64), (64, 2100)] {
        let mut r = Random(pixels as u64);
        let to = coding::<i8>(-5, 0.01);
        let planes = r.floats(2 * channels * pixels);
        let codes: Vec<u8> = planes.iter().map(|x| code(x / to.scale, to)).collect();
        let want = last(&codes, channels)(pixels);
        let shape = [channels, pixels];
        everywhere(
            |exec| {
                let mut out = vec![0; want.len()];
                bytes::quantise_last(exec, &planes, shape, to, &mut out);
                out
            },
            |isa, out| assert_eq!(out, want, "quantised {shape:?} {isa:?}"),
        );
        everywhere(
            |exec| {
                let mut out = vec![0; want.len()];
                bytes::bytes_last(exec, &codes, shape, &mut out);
                out
            },
            |isa, out| assert_eq!(out, want, "last {shape:?} {isa:?}"),
        );
        everywhere(
            |exec| {
                let mut out = vec![0; want.len()];
                bytes::bytes_first(exec, &want, shape, &mut out);
                out
            },
            |isa, out| assert_eq!(out, codes, "first {shape:?} {isa:?}"),
        );
        let numbers: Vec<f32> = codes.iter().map(|&x| number(x, to)).collect();
        everywhere(
            |exec| {
                let mut out = vec![0.0; want.len()];
                bytes::dequantise_first(exec, &want, shape, to, &mut out);
                out
            },
            |isa, out| assert_eq!(out, numbers, "numbers {shape:?} {isa:?}"),
        );
    }
}
