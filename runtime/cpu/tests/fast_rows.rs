//! Row functions and pooling against plain f64 loops.

mod common;

use byoc_cpu::fast::Exec;
use byoc_cpu::fast::blocked::{self, BLOCK, Blocked, from_blocked, to_blocked};
use byoc_cpu::fast::conv::{Images, Window};
use byoc_cpu::fast::pooling::{Pooling, pool};
use byoc_cpu::fast::rows::{RowFunction, map_rows};
use common::{Random, close, everywhere};

const COLUMNS: [usize; 13] = [1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 129, 512, 768];

fn check(rows: usize, columns: usize, function: RowFunction<'_>, oracle: impl Fn(&[f64]) -> Vec<f64>) {
    let x: Vec<f32> =
        Random((rows * columns) as u64).floats(rows * columns).iter().map(|x| x * 5.0 + 1.0).collect();
    let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let want: Vec<f64> = wide.chunks(columns).flat_map(oracle).collect();
    everywhere(
        |exec| {
            let mut out = vec![f32::NAN; x.len()];
            map_rows(exec, function, &x, columns, &mut out);
            out
        },
        |isa, out| close(&format!("{rows}x{columns} {isa:?}"), out, &want, 1e-5),
    );
}

#[test]
fn softmax() {
    for columns in COLUMNS {
        check(70_000 / columns.max(100), columns, RowFunction::Softmax, |x| {
            let max = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let e: Vec<f64> = x.iter().map(|x| (x - max).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(|e| e / sum).collect()
        });
        check(70_000 / columns.max(100), columns, RowFunction::LogSoftmax, |x| {
            let max = x.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let sum = max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
            x.iter().map(|x| x - sum).collect()
        });
    }
}

#[test]
fn softmax_of_special_rows() {
    const INF: f32 = f32::INFINITY;
    let x = [-INF, 0.0, -INF, 1000.0, 1000.0, -1000.0, 1.0, f32::NAN, 2.0];
    everywhere(
        |exec| {
            let mut out = vec![9.0; 9];
            map_rows(exec, RowFunction::Softmax, &x, 3, &mut out);
            out.into_iter().map(f32::to_bits).collect()
        },
        |_, bits| {
            let out: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            assert_eq!(out[..6], [0.0, 1.0, 0.0, 0.5, 0.5, 0.0]);
            assert!(out[6..].iter().all(|x| x.is_nan()));
        },
    );
}

#[test]
fn normalisations() {
    let epsilon = 1e-5f32;
    for columns in COLUMNS {
        let mut random = Random(columns as u64);
        let (scale, shift) = (random.floats(columns), random.floats(columns));
        let layer = |x: &[f64], scaled: bool| -> Vec<f64> {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let y = x.iter().map(|x| (x - mean) / (variance + f64::from(epsilon)).sqrt());
            let affine = |(i, y): (usize, f64)| y * f64::from(scale[i]) + f64::from(shift[i]);
            if scaled { y.enumerate().map(affine).collect() } else { y.collect() }
        };
        let with = RowFunction::LayerNorm { scale: Some(&scale), shift: Some(&shift), epsilon };
        check(5, columns, with, |x| layer(x, true));
        check(5, columns, RowFunction::LayerNorm { scale: None, shift: None, epsilon }, |x| layer(x, false));
        check(5, columns, RowFunction::RmsNorm { scale: Some(&scale), epsilon }, |x| {
            let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let factor = 1.0 / (mean_square + f64::from(epsilon)).sqrt();
            x.iter().zip(&scale).map(|(x, &s)| x * factor * f64::from(s)).collect()
        });
    }
}

#[test]
fn no_rows() {
    check(0, 5, RowFunction::Softmax, <[f64]>::to_vec);
}

/// The elements under the window at an output pixel; `None` in the padding.
fn under(window: &Window, size: [usize; 2], plane: &[f32], [row, col]: [usize; 2]) -> Vec<Option<f32>> {
    let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x)));
    taps.map(|(y, x)| {
        let y = (row * window.strides[0] + y * window.dilations[0]).wrapping_sub(window.pads[0]);
        let x = (col * window.strides[1] + x * window.dilations[1]).wrapping_sub(window.pads[1]);
        (y < size[0] && x < size[1]).then(|| plane[y * size[1] + x])
    })
    .collect()
}

fn blocked_pool(
    exec: Exec<'_>,
    pooling: Pooling,
    input: Images<'_, f32>,
    channels: usize,
    window: Window,
) -> Vec<f32> {
    let [height, width] = window.output(input.size).unwrap();
    let planes = input.count * blocked::blocks(channels);
    let mut x = vec![f32::NAN; planes * input.size[0] * input.size[1] * BLOCK];
    to_blocked(exec, input.data, [input.count, channels, input.size[0] * input.size[1]], &mut x);
    let mut pooled = vec![f32::NAN; planes * height * width * BLOCK];
    let images = Blocked { data: &x, count: input.count, channels, size: input.size };
    blocked::pool(exec, pooling, images, window, &mut pooled);
    let mut out = vec![f32::NAN; input.count * channels * height * width];
    from_blocked(exec, &pooled, [input.count, channels, height * width], &mut out);
    out
}

#[test]
fn means_of_blocked_planes() {
    for (channels, plane) in [(1, 1), (16, 49), (20, 64), (33, 1000)] {
        let x = Random(plane as u64).floats(2 * channels * plane);
        let mean = |plane: &[f32]| plane.iter().map(|&x| f64::from(x)).sum::<f64>() / plane.len() as f64;
        let want: Vec<f64> = x.chunks(plane).map(mean).collect();
        everywhere(
            |exec| {
                let planes = 2 * blocked::blocks(channels);
                let mut blocks = vec![f32::NAN; planes * plane * BLOCK];
                to_blocked(exec, &x, [2, channels, plane], &mut blocks);
                let mut means = vec![f32::NAN; planes * BLOCK];
                let images = Blocked { data: &blocks, count: 2, channels, size: [1, plane] };
                blocked::mean(exec, images, &mut means);
                let mut out = vec![f32::NAN; 2 * channels];
                from_blocked(exec, &means, [2, channels, 1], &mut out);
                out
            },
            |isa, out| close(&format!("{channels} of {plane} {isa:?}"), out, &want, 1e-6),
        );
    }
}

#[test]
fn pooling() {
    let square = |k: usize, stride: usize, pad: usize| Window {
        strides: [stride; 2],
        pads: [pad; 4],
        ..Window::new([k; 2])
    };
    let windows = [
        square(2, 2, 0),
        square(3, 2, 1),
        square(3, 1, 1),
        Window { pads: [0, 1, 1, 0], dilations: [1, 2], ..Window::new([3, 2]) },
        Window { pads: [0, 0, 1, 1], strides: [2, 2], ..Window::new([3, 3]) },
    ];
    for window in windows {
        for size in [[4, 5], [7, 7], [12, 40], [9, 70]] {
            let x = Random(size[1] as u64).floats(2 * 3 * size[0] * size[1]);
            let [height, width] = window.output(size).unwrap();
            let input = Images { data: &x[..], count: 2, size };
            let all_pads = Pooling::Average { counted: window.pads };
            for (pooling, padded) in
                [(Pooling::Max, false), (Pooling::Average { counted: [0; 4] }, false), (all_pads, true)]
            {
                let mut want = Vec::new();
                for plane in x.chunks(size[0] * size[1]) {
                    for pixel in 0..height * width {
                        let taps = under(&window, size, plane, [pixel / width, pixel % width]);
                        let values: Vec<f64> = taps.iter().flatten().map(|&x| f64::from(x)).collect();
                        let count = if padded { taps.len() } else { values.len() };
                        want.push(match pooling {
                            Pooling::Max => values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)),
                            Pooling::Average { .. } => values.iter().sum::<f64>() / count as f64,
                        });
                    }
                }
                everywhere(
                    |exec| {
                        let mut out = vec![f32::NAN; want.len()];
                        pool(exec, pooling, input, 3, window, &mut out);
                        out
                    },
                    |isa, out| close(&format!("{window:?} {size:?} {pooling:?} {isa:?}"), out, &want, 1e-6),
                );
                everywhere(
                    |exec| blocked_pool(exec, pooling, input, 3, window),
                    |isa, out| {
                        close(&format!("blocked {window:?} {size:?} {pooling:?} {isa:?}"), out, &want, 1e-6);
                    },
                );
            }
        }
    }
}
