//! Convolutions by Winograd's method, and those that write the largest of each 2 × 2 pixels, against plain f64 loops.

#[path = "common/conv.rs"]
mod cases;
mod common;

use byoc_cpu::fast::blocked::{self, BLOCK, Blocked, BlockedConv, THIN};
use byoc_cpu::fast::conv::{ConvEpilogue, Images, Window};
use cases::{Case, KINDS, activate, case, check_within, into_blocks, out_of_blocks, terms, window};
use common::{Random, close, everywhere};

/// Of sums of that many terms.
const TOLERANCE: f64 = 1e-4;

fn padded(kernel: [usize; 2], pads: [usize; 4]) -> Window {
    window(kernel, [1, 1], [1, 1], pads)
}

#[test]
fn squares_of_five() {
    // Few tiles, whose stages follow each other, and more; sizes around the tiles' ends.
    for size in [[12, 12], [13, 17], [31, 30], [14, 40]] {
        check_within(case(1, [16, 24, 1], size, padded([5, 5], [2; 4])), TOLERANCE);
    }
    check_within(case(2, [20, 33, 1], [17, 18], padded([5, 5], [0, 1, 3, 4])), TOLERANCE);
    check_within(case(1, [16, 16, 1], [16, 19], padded([5, 5], [0; 4])), TOLERANCE);
}

#[test]
fn lines() {
    for length in [3, 5, 7] {
        let half = length / 2;
        for extent in [19, 24, 97] {
            // As one column, as one row, and of some columns or rows.
            let down = padded([length, 1], [half, 0, half, 0]);
            check_within(case(2, [32, 40, 1], [extent, 1], down), TOLERANCE);
            check_within(case(1, [33, 32, 1], [extent, 5], down), TOLERANCE);
            let along = padded([1, length], [0, half, 0, half]);
            check_within(case(2, [32, 40, 1], [1, extent], along), TOLERANCE);
            check_within(case(1, [33, 32, 1], [3, extent], along), TOLERANCE);
        }
        // Padding of one end, of more than the kernel, and across it.
        check_within(case(1, [32, 32, 1], [14, 3], padded([length, 1], [9, 0, 0, 0])), TOLERANCE);
        check_within(case(1, [32, 32, 1], [3, 14], padded([1, length], [1, 0, 2, 8])), TOLERANCE);
    }
    // More than go stage by stage.
    check_within(case(1, [32, 32, 1], [1, 1100], padded([1, 5], [0; 4])), TOLERANCE);
    check_within(case(1, [32, 32, 1], [60, 18], padded([7, 1], [3, 0, 3, 0])), TOLERANCE);
}

/// The largest of each 2 × 2 pixels of `planes` of the given size.
fn halve(pixels: &[f64], [height, width]: [usize; 2]) -> Vec<f64> {
    let mut halved = Vec::new();
    for plane in pixels.chunks_exact(height * width) {
        for (row, col) in (0..height / 2).flat_map(|row| (0..width / 2).map(move |col| (row, col))) {
            let at = |y: usize, x: usize| plane[(2 * row + y) * width + 2 * col + x];
            halved.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
        }
    }
    halved
}

fn check_halved(c: Case) {
    let out = c.window.output(c.size).unwrap();
    let (pixels, halved) = (out[0] * out[1], (out[0] / 2) * (out[1] / 2));
    let (in_pixels, taps) = (c.size[0] * c.size[1], c.window.kernel[0] * c.window.kernel[1]);
    let ins = c.channels.input / c.channels.groups;
    let mut random = Random((pixels * 17 + taps) as u64);
    let x = random.floats(c.count * c.channels.input * in_pixels);
    let w = random.floats(c.channels.output * ins * taps);
    let bias = random.floats(c.channels.output);
    let mut sums: Vec<f64> = (0..c.count * c.channels.output * pixels)
        .map(|i| f64::from(bias[i / pixels % c.channels.output]))
        .collect();
    terms(&c, out, |[image, oc, ic, tap, pixel, from]| {
        let x = x[(image * c.channels.input + ic) * in_pixels + from];
        let w = w[(oc * ins + ic % ins) * taps + tap];
        sums[(image * c.channels.output + oc) * pixels + pixel] += f64::from(x) * f64::from(w);
    });
    let activation = KINDS[(pixels + c.channels.output) % KINDS.len()];
    let sums: Vec<f64> = sums.into_iter().map(|x| activate(activation, x)).collect();
    let want = halve(&sums, out);
    let epilogue = ConvEpilogue { bias: Some(&bias), addend: None, activation };
    let size = [c.count, c.channels.output, halved];
    let len = c.count * blocked::blocks(c.channels.output) * BLOCK * halved;
    everywhere(
        |exec| {
            let weights = BlockedConv::pack(exec.isa, c.channels, c.window, &w, c.size);
            let x = into_blocks(exec, &x, [c.count, c.channels.input, in_pixels]);
            let images = Blocked { data: &x, count: c.count, channels: c.channels.input, size: c.size };
            let mut y = vec![f32::NAN; len];
            blocked::conv_halved(exec, images, &weights, &mut y, &epilogue);
            out_of_blocks(exec, &y, size)
        },
        |isa, y| close(&format!("{c:?} {isa:?}"), y, &want, TOLERANCE),
    );
    if c.channels.groups > 1 || c.channels.input > THIN {
        return;
    }
    everywhere(
        |exec| {
            let weights = BlockedConv::pack_thin(exec.isa, c.channels, c.window, &w);
            let images = Images { data: &x[..], count: c.count, size: c.size };
            let mut y = vec![f32::NAN; len];
            blocked::conv_thin_halved(exec, images, &weights, &mut y, &epilogue);
            out_of_blocks(exec, &y, size)
        },
        |isa, y| close(&format!("thin {c:?} {isa:?}"), y, &want, TOLERANCE),
    );
}

#[test]
fn the_largest_of_two_by_two_by_winograd() {
    for size in [[12, 12], [13, 15], [30, 31], [45, 46]] {
        check_halved(case(2, [16, 40, 1], size, padded([3, 3], [1; 4])));
        check_halved(case(1, [17, 16, 1], size, padded([5, 5], [2; 4])));
    }
    // Lines have tiles of odd widths.
    check_halved(case(1, [32, 32, 1], [20, 6], padded([3, 1], [1, 0, 1, 0])));
    check_halved(case(1, [32, 32, 1], [5, 20], padded([1, 5], [0; 4])));
}

#[test]
fn the_largest_of_two_by_two_by_others() {
    for size in [[1, 1], [2, 2], [3, 2], [1, 9], [16, 30], [11, 13]] {
        check_halved(case(2, [3, 20, 1], size, padded([3, 3], [1; 4])));
        check_halved(case(1, [24, 40, 1], size, Window::new([1, 1])));
        check_halved(case(1, [24, 24, 24], size, padded([3, 3], [1; 4])));
        check_halved(case(2, [32, 20, 1], size, window([3, 3], [2, 2], [1, 1], [1; 4])));
    }
    // Weights of more than are read for every few lines.
    check_halved(case(1, [96, 80, 1], [12, 9], window([3, 3], [2, 1], [1, 1], [1; 4])));
    check_halved(case(0, [3, 20, 1], [8, 8], padded([3, 3], [1; 4])));
}
