//! Cases of convolutions, and what they give by plain f64 loops.

use byoc_cpu::fast::blocked::{self, BLOCK, Blocked, BlockedConv, THIN, from_blocked, to_blocked};
use byoc_cpu::fast::conv::{Channels, ConvEpilogue, Images, PackedConv, Window, conv};
use byoc_cpu::fast::{Activation, Exec};

use crate::common::{Random, close, everywhere};

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub count: usize,
    pub channels: Channels,
    pub window: Window,
    pub size: [usize; 2],
}

pub fn case(count: usize, [input, output, groups]: [usize; 3], size: [usize; 2], window: Window) -> Case {
    Case { count, channels: Channels { input, output, groups }, window, size }
}

pub fn window(kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2], pads: [usize; 4]) -> Window {
    Window { kernel, strides, dilations, pads }
}

/// Calls `f(image, output channel, input channel, tap, output pixel, input pixel)` for each term of the sums.
pub fn terms(c: &Case, out: [usize; 2], mut f: impl FnMut([usize; 6])) {
    let (ins, outs) = (c.channels.input / c.channels.groups, c.channels.output / c.channels.groups);
    let w = c.window;
    for image in 0..c.count {
        for oc in 0..c.channels.output {
            for ic in 0..ins {
                for tap in 0..w.kernel[0] * w.kernel[1] {
                    for pixel in 0..out[0] * out[1] {
                        let (ky, kx) = (tap / w.kernel[1], tap % w.kernel[1]);
                        let (oy, ox) = (pixel / out[1], pixel % out[1]);
                        let y = (oy * w.strides[0] + ky * w.dilations[0]).wrapping_sub(w.pads[0]);
                        let x = (ox * w.strides[1] + kx * w.dilations[1]).wrapping_sub(w.pads[1]);
                        if y < c.size[0] && x < c.size[1] {
                            f([image, oc, oc / outs * ins + ic, tap, pixel, y * c.size[1] + x]);
                        }
                    }
                }
            }
        }
    }
}

pub const KINDS: [Activation; 3] =
    [Activation::None, Activation::Clip { low: -0.5, high: 0.75 }, Activation::LeakyRelu { slope: 0.5 }];

pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Clip { low, high } => x.clamp(low.into(), high.into()),
        Activation::LeakyRelu { slope } if x < 0.0 => x * f64::from(slope),
        _ => x,
    }
}

pub fn check_within(case: Case, tolerance: f64) {
    let c = &case;
    let out = c.window.output(c.size).unwrap();
    let pixels = out[0] * out[1];
    let (in_pixels, taps) = (c.size[0] * c.size[1], c.window.kernel[0] * c.window.kernel[1]);
    let ins = c.channels.input / c.channels.groups;
    let mut random = Random((pixels * 31 + taps + c.channels.output * 7) as u64);
    let x = random.floats(c.count * c.channels.input * in_pixels);
    let w = random.floats(c.channels.output * ins * taps);
    let bias = random.floats(c.channels.output);
    let addend = random.floats(c.count * c.channels.output * pixels);
    let mut sums: Vec<f64> = (0..addend.len())
        .map(|i| f64::from(bias[i / pixels % c.channels.output]) + f64::from(addend[i]))
        .collect();
    terms(c, out, |[image, oc, ic, tap, pixel, from]| {
        let x = x[(image * c.channels.input + ic) * in_pixels + from];
        let w = w[(oc * ins + ic % ins) * taps + tap];
        sums[(image * c.channels.output + oc) * pixels + pixel] += f64::from(x) * f64::from(w);
    });
    let activation = KINDS[pixels % KINDS.len()];
    let want: Vec<f64> = sums.into_iter().map(|x| activate(activation, x)).collect();
    everywhere(
        |exec| {
            let weights = PackedConv::pack_for(exec.isa, c.channels, c.window, &w, c.size);
            let mut y = vec![f32::NAN; want.len()];
            let epilogue = ConvEpilogue { bias: Some(&bias), addend: Some(&addend), activation };
            conv(exec, Images { data: &x, count: c.count, size: c.size }, &weights, &mut y, &epilogue);
            y
        },
        |isa, y| close(&format!("{case:?} {isa:?}"), y, &want, tolerance),
    );
    everywhere(
        |exec| {
            let weights = BlockedConv::pack(exec.isa, c.channels, c.window, &w, c.size);
            let x = into_blocks(exec, &x, [c.count, c.channels.input, in_pixels]);
            let addend = into_blocks(exec, &addend, [c.count, c.channels.output, pixels]);
            let mut y = vec![f32::NAN; addend.len()];
            let epilogue = ConvEpilogue { bias: Some(&bias), addend: Some(&addend), activation };
            let images = Blocked { data: &x, count: c.count, channels: c.channels.input, size: c.size };
            blocked::conv(exec, images, &weights, &mut y, &epilogue);
            out_of_blocks(exec, &y, [c.count, c.channels.output, pixels])
        },
        |isa, y| close(&format!("blocked {case:?} {isa:?}"), y, &want, tolerance),
    );
    if c.channels.groups > 1 || c.channels.input > THIN {
        return;
    }
    everywhere(
        |exec| {
            let weights = BlockedConv::pack_thin(exec.isa, c.channels, c.window, &w);
            let addend = into_blocks(exec, &addend, [c.count, c.channels.output, pixels]);
            let mut y = vec![f32::NAN; addend.len()];
            let epilogue = ConvEpilogue { bias: Some(&bias), addend: Some(&addend), activation };
            let images = Images { data: &x[..], count: c.count, size: c.size };
            blocked::conv_thin(exec, images, &weights, &mut y, &epilogue);
            out_of_blocks(exec, &y, [c.count, c.channels.output, pixels])
        },
        |isa, y| close(&format!("thin {case:?} {isa:?}"), y, &want, tolerance),
    );
}

pub fn into_blocks(exec: Exec<'_>, x: &[f32], size: [usize; 3]) -> Vec<f32> {
    let [count, channels, plane] = size;
    let mut out = vec![f32::NAN; count * blocked::blocks(channels) * plane * BLOCK];
    to_blocked(exec, x, size, &mut out);
    out
}

/// Checks that the channels which fill up the last block are zero, too.
pub fn out_of_blocks(exec: Exec<'_>, x: &[f32], size: [usize; 3]) -> Vec<f32> {
    let [count, channels, plane] = size;
    let blocks = blocked::blocks(channels);
    for (i, pixel) in x.chunks_exact(BLOCK).enumerate() {
        let used = (channels - i / plane % blocks * BLOCK).min(BLOCK);
        assert!(
            pixel[used..].iter().all(|&x| x == 0.0),
            "channels that do not exist are {:?}",
            &pixel[used..]
        );
    }
    let mut out = vec![f32::NAN; count * channels * plane];
    from_blocked(exec, x, size, &mut out);
    out
}
