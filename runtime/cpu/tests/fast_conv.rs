//! Convolutions against plain f64 loops: strides, dilations, pads, groups, sizes around every tail.

#[path = "common/conv.rs"]
mod cases;
mod common;

use byoc_cpu::fast::blocked::{
    self, BLOCK, Blocked, BlockedConv, BlockedConvTranspose, ExpandDepthwise, Source,
};
use byoc_cpu::fast::conv::{
    Channels, ConvEpilogue, Images, PackedConv, PackedConvTranspose, Window, conv, conv_transpose,
};
use byoc_cpu::fast::{Activation, Isa};
use cases::{Case, KINDS, activate, case, check_within, into_blocks, out_of_blocks, terms, window};
use common::{Random, close, everywhere};

fn check(case: Case) {
    check_within(case, 2e-5);
}

#[test]
fn pointwise() {
    for size in [[1, 1], [2, 3], [5, 7], [7, 7], [14, 14]] {
        check(case(1, [5, 9, 1], size, Window::new([1, 1])));
        check(case(2, [16, 3, 1], size, window([1, 1], [2, 2], [1, 1], [0; 4])));
    }
    check(case(1, [600, 70, 1], [4, 5], Window::new([1, 1])));
}

#[test]
fn square_kernels() {
    for size in [[3, 3], [4, 5], [8, 8], [13, 17], [5, 50]] {
        check(case(1, [3, 7, 1], size, window([3, 3], [1, 1], [1, 1], [1; 4])));
        check(case(2, [4, 6, 1], size, window([3, 3], [2, 2], [1, 1], [1; 4])));
        check(case(1, [2, 5, 1], size, window([3, 3], [1, 1], [1, 1], [0; 4])));
    }
    check(case(1, [3, 16, 1], [31, 29], window([7, 7], [2, 2], [1, 1], [3; 4])));
    check(case(1, [64, 20, 1], [6, 6], window([3, 3], [1, 1], [1, 1], [1; 4])));
}

#[test]
fn deep_square_kernels() {
    // These are large enough for Winograd's method.
    for size in [[6, 6], [7, 9], [12, 12], [14, 14], [13, 15], [16, 90], [28, 28], [56, 17], [30, 61]] {
        check(case(1, [16, 19, 1], size, window([3, 3], [1, 1], [1, 1], [1; 4])));
        check(case(2, [17, 16, 1], size, window([3, 3], [1, 1], [1, 1], [0, 2, 1, 1])));
    }
    // And this has so many tiles that they are computed panel by panel.
    check(case(1, [16, 18, 1], [53, 50], window([3, 3], [1, 1], [1, 1], [1; 4])));
    // Its rounding errors grow with the sums, here of 360 terms.
    check_within(case(1, [40, 150, 1], [20, 20], window([3, 3], [1, 1], [1, 1], [1; 4])), 1e-4);
}

#[test]
fn small_images_with_many_channels() {
    for (size, stride) in [([7, 7], 1), ([1, 1], 1), ([5, 3], 1), ([14, 13], 2)] {
        check(case(2, [9, 70, 1], size, window([1, 1], [stride; 2], [1, 1], [0; 4])));
        check(case(1, [3, 100, 1], size, window([3, 3], [stride; 2], [1, 1], [1; 4])));
    }
}

#[test]
fn images_of_one_row() {
    for width in [1, 2, 4, 17, 40] {
        for stride in [1, 2] {
            check(case(2, [9, 70, 1], [1, width], window([1, 3], [1, stride], [1, 1], [0, 1, 0, 2])));
            check(case(1, [33, 64, 1], [1, width], window([1, 1], [1, stride], [1, 1], [0; 4])));
        }
    }
    check(case(2, [1, 66, 1], [1, 90], window([1, 30], [1, 15], [1, 1], [0; 4])));
    check(case(1, [1, 66, 1], [1, 40], window([1, 9], [1, 4], [1, 1], [0, 0, 0, 3])));
}

#[test]
fn packed_for_another_size() {
    let channels = Channels { input: 16, output: 16, groups: 1 };
    let same = window([3, 3], [1, 1], [1, 1], [1; 4]);
    let mut random = Random(3);
    let (x, w) = (random.floats(16 * 25), random.floats(16 * 16 * 9));
    let input = Images { data: &x[..], count: 1, size: [5, 5] };
    everywhere(
        |exec| {
            let mut out = vec![vec![0.0; 16 * 25]; 2];
            let direct = PackedConv::pack(exec.isa, channels, same, &w);
            let other = PackedConv::pack_for(exec.isa, channels, same, &w, [40, 40]);
            for (weights, out) in [direct, other].iter().zip(&mut out) {
                conv(exec, input, weights, out, &ConvEpilogue::default());
            }
            out.concat()
        },
        |_, out| {
            let direct: Vec<f64> = out[..16 * 25].iter().map(|&x| x.into()).collect();
            close("Winograd", &out[16 * 25..], &direct, 1e-4);
        },
    );
}

#[test]
fn images_of_few_channels() {
    for (input, size) in [(1, [40, 37]), (2, [17, 64]), (3, [33, 33]), (4, [9, 100])] {
        check(case(1, [input, 32, 1], size, window([3, 3], [1, 1], [1, 1], [1; 4])));
        check(case(2, [input, 24, 1], size, window([3, 3], [2, 2], [1, 1], [1; 4])));
        check(case(1, [input, 64, 1], size, window([7, 7], [2, 2], [1, 1], [3; 4])));
    }
}

#[test]
fn channels_that_fill_blocks() {
    for size in [[7, 7], [1, 1], [14, 14], [28, 5]] {
        check(case(1, [16, 16, 1], size, Window::new([1, 1])));
        check(case(2, [48, 80, 1], size, Window::new([1, 1])));
        check(case(1, [32, 48, 1], size, window([3, 3], [1, 1], [1, 1], [1; 4])));
        check(case(1, [32, 40, 1], size, window([3, 3], [2, 2], [1, 1], [1; 4])));
        check(case(2, [32, 33, 1], size, window([1, 1], [2, 2], [1, 1], [0; 4])));
        check(case(1, [48, 48, 48], size, window([3, 3], [2, 2], [1, 1], [1; 4])));
    }
    // More channels than are summed up at a time.
    check_within(case(1, [1100, 40, 1], [5, 6], Window::new([1, 1])), 1e-4);
    check_within(case(1, [160, 40, 1], [7, 7], window([3, 3], [1, 1], [1, 1], [1; 4])), 1e-4);
}

#[test]
fn odd_windows() {
    check(case(1, [3, 4, 1], [9, 11], window([3, 2], [2, 1], [1, 3], [0, 1, 2, 3])));
    check(case(1, [3, 4, 1], [12, 10], window([2, 3], [3, 2], [2, 2], [1, 0, 0, 2])));
    check(case(1, [2, 3, 1], [10, 23], window([1, 5], [1, 3], [1, 2], [0, 4, 0, 4])));
    check(case(2, [5, 8, 1], [1, 40], window([1, 3], [1, 1], [1, 4], [0, 8, 0, 0])));
    // The window lies in the padding altogether at the ends.
    check(case(1, [2, 2, 1], [2, 2], window([2, 2], [1, 1], [1, 1], [3, 3, 3, 3])));
    check(case(1, [2, 2, 1], [3, 3], window([3, 3], [5, 5], [1, 1], [2, 2, 2, 2])));
}

#[test]
fn groups() {
    check(case(2, [8, 12, 4], [6, 9], window([3, 3], [1, 1], [1, 1], [1; 4])));
    check(case(1, [6, 6, 2], [5, 5], window([1, 1], [1, 1], [1, 1], [0; 4])));
    // A channel multiplier.
    check(case(1, [4, 8, 4], [7, 6], window([3, 3], [2, 2], [1, 1], [1; 4])));
}

#[test]
fn depthwise() {
    for size in [[1, 1], [4, 4], [7, 7], [14, 14], [15, 9], [6, 33], [9, 70]] {
        for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (2, 3)] {
            let pads = [dilation; 4];
            check(case(2, [5, 5, 5], size, window([3, 3], [stride; 2], [dilation; 2], pads)));
        }
    }
    check(case(1, [3, 3, 3], [20, 20], window([5, 5], [2, 2], [1, 1], [1, 2, 2, 1])));
    check(case(1, [3, 3, 3], [1, 100], window([1, 9], [1, 1], [1, 1], [0, 8, 0, 0])));
}

#[test]
fn empty_batches() {
    check(case(0, [3, 4, 1], [5, 5], window([3, 3], [1, 1], [1, 1], [1; 4])));
    check(case(0, [3, 3, 3], [5, 5], window([3, 3], [1, 1], [1, 1], [1; 4])));
}

#[test]
fn windows_that_do_not_fit() {
    assert_eq!(Window::new([3, 3]).output([2, 5]), None);
    assert_eq!(Window::new([0, 3]).output([2, 5]), None);
    assert_eq!(window([1, 1], [0, 1], [1, 1], [0; 4]).output([2, 5]), None);
    assert_eq!(window([2, 2], [1, 1], [usize::MAX, 1], [0; 4]).output([2, 5]), None);
    assert_eq!(window([2, 2], [1, 1], [1, 1], [usize::MAX, 0, 1, 0]).output([2, 5]), None);
    assert_eq!(window([3, 3], [2, 2], [1, 1], [1, 1, 0, 0]).output([4, 5]), Some([2, 2]));
}

/// `c.size` is the output's size here, and the oracle is the adjoint of the convolution's.
fn check_transpose(c: Case, extra: [usize; 2]) {
    let small = c.window.output(c.size).unwrap();
    let size = [c.size[0] + extra[0], c.size[1] + extra[1]];
    let (small_pixels, pixels) = (small[0] * small[1], size[0] * size[1]);
    let taps = c.window.kernel[0] * c.window.kernel[1];
    // The convolution goes from `output` channels of this one to its `input`.
    let outs = c.channels.output / c.channels.groups;
    let mut random = Random((pixels * 13 + taps) as u64);
    let x = random.floats(c.count * c.channels.input * small_pixels);
    let w = random.floats(c.channels.input * outs * taps);
    let bias = random.floats(c.channels.output);
    let mut sums: Vec<f64> = (0..c.count * c.channels.output * pixels)
        .map(|i| f64::from(bias[i / pixels % c.channels.output]))
        .collect();
    let channels = Channels { input: c.channels.output, output: c.channels.input, ..c.channels };
    terms(&Case { channels, size, ..c }, small, |[image, ic, oc, tap, pixel, to]| {
        let x = x[(image * c.channels.input + ic) * small_pixels + pixel];
        let w = w[(ic * outs + oc % outs) * taps + tap];
        sums[(image * c.channels.output + oc) * pixels + to] += f64::from(x) * f64::from(w);
    });
    let activation = KINDS[pixels % KINDS.len()];
    let want: Vec<f64> = sums.into_iter().map(|x| activate(activation, x)).collect();
    everywhere(
        |exec| {
            let weights = PackedConvTranspose::pack(exec.isa, c.channels, c.window, &w);
            let mut y = vec![f32::NAN; want.len()];
            let epilogue = ConvEpilogue { bias: Some(&bias), addend: None, activation };
            let input = Images { data: &x, count: c.count, size: small };
            conv_transpose(exec, input, &weights, &mut y, size, &epilogue);
            y
        },
        |isa, y| close(&format!("{c:?} {isa:?}"), y, &want, 1e-5),
    );
}

#[test]
fn transposed_and_blocked() {
    for (count, [input, output], size, kernel) in [
        (1, [16, 32], [5, 7], [2, 2]),
        (2, [20, 9], [1, 15], [3, 1]),
        (1, [64, 48], [16, 16], [2, 2]),
        (1, [3, 17], [4, 1], [1, 1]),
    ] {
        let channels = Channels { input, output, groups: 1 };
        let window = window(kernel, kernel, [1, 1], [0; 4]);
        let to = [size[0] * kernel[0], size[1] * kernel[1]];
        let (pixels, out_pixels) = (size[0] * size[1], to[0] * to[1]);
        let mut random = Random(out_pixels as u64);
        let x = random.floats(count * input * pixels);
        let w = random.floats(input * output * kernel[0] * kernel[1]);
        let bias = random.floats(output);
        everywhere(
            |exec| {
                let plain = PackedConvTranspose::pack(exec.isa, channels, window, &w);
                let mut want = vec![f32::NAN; count * output * out_pixels];
                let epilogue = ConvEpilogue { bias: Some(&bias), ..ConvEpilogue::default() };
                conv_transpose(exec, Images { data: &x, count, size }, &plain, &mut want, to, &epilogue);
                let weights = BlockedConvTranspose::pack(exec.isa, channels, kernel, &w);
                let x = into_blocks(exec, &x, [count, input, pixels]);
                let mut y = vec![f32::NAN; count * blocked::blocks(output) * out_pixels * BLOCK];
                let images = Blocked { data: &x, count, channels: input, size };
                blocked::conv_transpose(exec, images, &weights, &mut y, Some(&bias));
                let got = out_of_blocks(exec, &y, [count, output, out_pixels]);
                want.iter().zip(&got).map(|(a, b)| a - b).collect()
            },
            |isa, off| close(&format!("{channels:?} {size:?} {isa:?}"), off, &vec![0.0; off.len()], 1e-5),
        );
    }
}

#[test]
fn transposed() {
    check_transpose(case(1, [8, 4, 1], [10, 12], window([2, 2], [2, 2], [1, 1], [0; 4])), [0, 0]);
    check_transpose(case(2, [3, 5, 1], [9, 9], window([3, 3], [2, 2], [1, 1], [1; 4])), [1, 0]);
    check_transpose(case(1, [4, 6, 2], [11, 7], window([3, 3], [1, 1], [2, 1], [2, 1, 0, 1])), [0, 0]);
    check_transpose(case(1, [2, 3, 1], [1, 30], window([1, 4], [1, 3], [1, 2], [0, 5, 0, 4])), [0, 0]);
    check_transpose(case(1, [2, 2, 2], [5, 5], window([3, 3], [3, 3], [1, 1], [0; 4])), [2, 2]);
}

/// The two convolutions one after the other, which are checked above, give the same bits.
fn check_expanded(count: usize, [input, expanded]: [usize; 2], size: [usize; 2], depthwise: Window) {
    let out = depthwise.output(size).unwrap();
    let (pixels, out_pixels) = (size[0] * size[1], out[0] * out[1]);
    let mut random = Random((pixels * 17 + expanded) as u64);
    let x = random.floats(count * input * pixels);
    let (w, bias) = (random.floats(expanded * input), random.floats(expanded));
    let (taps, shift) =
        (random.floats(expanded * depthwise.kernel[0] * depthwise.kernel[1]), random.floats(expanded));
    let between = Activation::Clip { low: 0.25, high: 2.0 };
    let last = ConvEpilogue { bias: Some(&shift), addend: None, activation: KINDS[pixels % KINDS.len()] };
    everywhere(
        |exec| {
            let x = into_blocks(exec, &x, [count, input, pixels]);
            let image = |data, channels| Blocked { data, count, channels, size };
            let mut wide = vec![f32::NAN; count * blocked::blocks(expanded) * pixels * BLOCK];
            let channels = Channels { input, output: expanded, groups: 1 };
            let first = BlockedConv::pack(exec.isa, channels, Window::new([1, 1]), &w, size);
            let epilogue = ConvEpilogue { bias: Some(&bias), addend: None, activation: between };
            blocked::conv(exec, image(&x, input), &first, &mut wide, &epilogue);
            let channels = Channels { input: expanded, output: expanded, groups: expanded };
            let second = BlockedConv::pack(exec.isa, channels, depthwise, &taps, size);
            let mut want = vec![f32::NAN; count * blocked::blocks(expanded) * out_pixels * BLOCK];
            blocked::conv(exec, image(&wide, expanded), &second, &mut want, &last);

            let first = (&w[..], Some(&bias[..]), between);
            let both = ExpandDepthwise::pack(exec.isa, [input, expanded], first, depthwise, &taps);
            let mut got = vec![f32::NAN; want.len()];
            blocked::expand_depthwise(exec, image(&x, input), &both.unwrap(), &mut got, &last);
            assert!(got == want, "{input} to {expanded} channels of {size:?}, {depthwise:?}, {:?}", exec.isa);
            got
        },
        |_, _| {},
    );
}

#[test]
fn expanded_by_rows() {
    let three = |stride| window([3, 3], [stride; 2], [1, 1], [1; 4]);
    for size in [[1, 1], [2, 31], [7, 7], [14, 14], [57, 56], [40, 113]] {
        check_expanded(1, [16, 96], size, three(1));
        check_expanded(1, [24, 40], size, three(2));
    }
    check_expanded(2, [33, 17], [30, 30], window([5, 5], [2, 2], [1, 1], [1, 2, 2, 1]));
    check_expanded(1, [16, 32], [50, 20], window([3, 3], [1, 1], [3, 2], [3, 2, 3, 2]));
    // Rows that nobody sees, and windows that see none.
    check_expanded(1, [16, 32], [40, 300], window([2, 2], [5, 3], [1, 1], [7, 0, 7, 0]));
    // A row for itself is more than is held.
    check_expanded(1, [16, 32], [9, 2500], three(1));
    check_expanded(0, [16, 32], [9, 9], three(1));
    let weights = [0.0; 16];
    let first = (&weights[..], None, Activation::Sigmoid);
    let pack = ExpandDepthwise::pack(Isa::detect(), [1, 16], first, three(1), &[0.0; 144]);
    assert!(pack.is_none(), "only clamping has its place between the two");
}

#[test]
fn channels_picked_from_blocked_images() {
    let (count, size, plane) = (2, [30, 19], 30 * 19);
    let channels = [40, 7, 100];
    let planes = channels.map(|c| Random(c as u64).floats(count * c * plane));
    let sources = |image| (0..channels[image]).map(move |channel| Source { image, channel });
    let all: Vec<Source> = (0..3).flat_map(sources).collect();
    // In order, turned round, two groups dealt out, and each lane from a block of its own.
    for step in [1, 146, 74, 16] {
        let from: Vec<Source> = (0..all.len()).map(|i| all[i * step % all.len()]).collect();
        let want: Vec<f64> = (0..count)
            .flat_map(|image| from.iter().map(move |from| (image, from)))
            .flat_map(|(image, from)| {
                let start = (image * channels[from.image] + from.channel) * plane;
                planes[from.image][start..start + plane].iter().map(|&x| f64::from(x))
            })
            .collect();
        everywhere(
            |exec| {
                let own: Vec<Vec<f32>> = planes
                    .iter()
                    .zip(channels)
                    .map(|(x, c)| into_blocks(exec, x, [count, c, plane]))
                    .collect();
                let images: Vec<Blocked<'_>> = own
                    .iter()
                    .zip(channels)
                    .map(|(data, channels)| Blocked { data, count, channels, size })
                    .collect();
                let mut y = vec![f32::NAN; count * blocked::blocks(from.len()) * plane * BLOCK];
                blocked::pick(exec, &images, &from, &mut y);
                out_of_blocks(exec, &y, [count, from.len(), plane])
            },
            |isa, y| close(&format!("every {step} channels, {isa:?}"), y, &want, 0.0),
        );
    }
}
