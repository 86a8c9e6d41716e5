//! Every lowering against plain loops, bit for bit, over seeded shapes that include the awkward ones.

mod oracle;
mod random;

use byoc_refnpu::codegen::{Options, lower};
use byoc_refnpu::device::Device;
use byoc_refnpu::layer::{Add, AveragePool, Lookup, Network, Op, Resize, Shape, Window};
use byoc_refnpu::quant::Quant;
use byoc_refnpu::sim::Counters;
use random::{Random, single};

const CHANNELS: [usize; 12] = [1, 2, 3, 7, 16, 31, 32, 33, 48, 64, 65, 97];
const SIZES: [usize; 10] = [1, 2, 5, 7, 13, 17, 28, 31, 32, 33];

/// Runs a network on a batch of two images, with and without double buffering, and compares each with the loops.
fn check(network: &Network, random: &mut Random, what: &str) -> Counters {
    let program = lower(network, Options::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let serial = Options { double_buffer: false, ..Options::default() };
    let serial = lower(network, serial).expect("it fits as well with one buffer");
    // Cores in any number, each with less memory or more, compute the same.
    let device = Device { cores: 1 + random.below(5), scratchpad_bytes: random.pick(&[192, 640]) * 1024 };
    let several = lower(network, Options { device, ..Options::default() });
    let several = several.unwrap_or_else(|error| panic!("{what}: {device:?}: {error}"));
    let images: Vec<Vec<oracle::Image>> = (0..2)
        .map(|_| program.inputs.iter().map(|port| random.bytes(port.dense_bytes())).collect())
        .collect();
    let inputs: Vec<Vec<u8>> = (0..program.inputs.len())
        .map(|port| {
            let flip = if program.inputs[port].unsigned { 0x80 } else { 0 };
            images.iter().flat_map(|image| &image[port]).map(|&byte| byte as u8 ^ flip).collect()
        })
        .collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let mut totals = Vec::new();
    for program in [&program, &serial, &several] {
        let mut outputs: Vec<Vec<u8>> =
            program.outputs.iter().map(|port| vec![0; 2 * port.dense_bytes()]).collect();
        let mut slices: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let counted = program.run(&mut program.context(), &inputs, &mut slices, 2).expect(what);
        // What the device would say of the cost is what it takes.
        let mut twice = program.time().expect(what);
        twice += twice;
        assert_eq!(counted, twice, "{what}");
        totals.push(counted);
        for (image, inputs) in images.iter().enumerate() {
            for ((want, got), port) in oracle::run(network, inputs).iter().zip(&outputs).zip(&program.outputs)
            {
                let flip = if port.unsigned { 0x80 } else { 0 };
                let got = &got[image * port.dense_bytes()..][..port.dense_bytes()];
                let wrong = want.iter().zip(got).position(|(want, got)| *want as u8 != got ^ flip);
                assert_eq!(wrong, None, "{what}: element of image {image}");
            }
        }
    }
    assert!(totals[0].cycles <= totals[1].cycles, "{what}: double buffering costs cycles");
    assert!(totals[0].cycles * 1024 >= totals[0].macs, "{what}: faster than the array");
    totals[0]
}

/// What a window makes of a size, with trailing pads.
fn windowed(window: &Window, input: Shape, channels: usize, trailing: [usize; 2]) -> Option<Shape> {
    let size = |axis: usize, size: usize| {
        let room = size + window.pads[axis] + trailing[axis];
        let extent = window.extent(axis, 1);
        (room >= extent).then(|| (room - extent) / window.stride[axis] + 1)
    };
    Some(Shape { channels, height: size(0, input.height)?, width: size(1, input.width)? })
}

fn window(random: &mut Random) -> Window {
    let kernel = [random.pick(&[1, 2, 3, 3, 5]), random.pick(&[1, 2, 3, 3, 5])];
    Window {
        kernel,
        stride: [random.pick(&[1, 1, 2, 3]), random.pick(&[1, 1, 2, 3])],
        dilation: [random.pick(&[1, 1, 2]), random.pick(&[1, 1, 3])],
        pads: [random.below(kernel[0]), random.below(kernel[1])],
    }
}

/// A window, an input that it fits and the output's size.
fn windowed_case(random: &mut Random, channels: usize, outputs: usize) -> (Window, Shape, Shape) {
    loop {
        let window = window(random);
        let input = Shape { channels, height: random.pick(&SIZES), width: random.pick(&SIZES) };
        let trailing = [random.below(window.kernel[0]), random.below(window.kernel[1])];
        if let Some(output) = windowed(&window, input, outputs, trailing) {
            return (window, input, output);
        }
    }
}

#[test]
fn convolution() {
    for seed in 0..60 {
        let random = &mut Random::new(seed);
        let (inputs, outputs) = (random.pick(&CHANNELS), random.pick(&CHANNELS));
        let (window, input, output) = windowed_case(random, inputs, outputs);
        let conv = random.conv(inputs, outputs, 1, window);
        let what = format!("seed {seed}: {window:?} over {input:?} to {output:?}");
        check(&single(Op::Conv(conv), &[input], output), random, &what);
    }
}

#[test]
fn grouped_and_depthwise_convolution() {
    for seed in 0..60 {
        let random = &mut Random::new(seed);
        let groups = random.pick(&[2, 3, 8, 31, 32, 33, 64, 70]);
        let (per_in, per_out) = (random.pick(&[1, 1, 2, 5]), random.pick(&[1, 1, 3]));
        let (window, input, output) = windowed_case(random, groups * per_in, groups * per_out);
        let conv = random.conv(input.channels, output.channels, groups, window);
        let what = format!("seed {seed}: {groups} groups, {window:?} over {input:?} to {output:?}");
        check(&single(Op::Conv(conv), &[input], output), random, &what);
    }
}

#[test]
fn convolution_whose_weights_stream_in_chunks() {
    let random = &mut Random::new(1);
    let window = Window { kernel: [3, 3], pads: [1, 1], ..Window::POINT };
    let shape = Shape { channels: 290, height: 9, width: 11 };
    let conv = random.conv(290, 290, 1, window);
    check(&single(Op::Conv(conv), &[shape], shape), random, "290 channels, 3x3");
}

#[test]
fn fully_connected() {
    for (inputs, outputs) in [(1, 1), (33, 31), (1280, 100), (3000, 5), (64, 1000)] {
        let random = &mut Random::new(inputs as u64);
        let vector = |channels| Shape { channels, height: 1, width: 1 };
        let conv = random.conv(inputs, outputs, 1, Window::POINT);
        let what = format!("{inputs} to {outputs}");
        check(&single(Op::Conv(conv), &[vector(inputs)], vector(outputs)), random, &what);
    }
}

#[test]
fn addition() {
    for seed in 0..20 {
        let random = &mut Random::new(seed);
        let shape = Shape { channels: random.pick(&CHANNELS), height: random.pick(&SIZES), width: 47 };
        let mut quant = || Quant { scale: random.float(0.001, 0.2), zero: random.byte() };
        let add = Add { a: quant(), b: quant(), scale: quant().scale, range: random.range() };
        check(&single(Op::Add(add), &[shape, shape], shape), random, &format!("seed {seed}: {shape:?}"));
    }
}

#[test]
fn pooling() {
    for seed in 0..60 {
        let random = &mut Random::new(seed);
        let channels = random.pick(&CHANNELS);
        let (mut window, input, _) = windowed_case(random, channels, channels);
        window.dilation = [1, 1];
        let trailing = window.pads;
        let Some(output) = windowed(&window, input, channels, trailing) else { continue };
        let what = format!("seed {seed}: {window:?} over {input:?} to {output:?}");
        check(&single(Op::MaxPool(window), &[input], output), random, &what);
        let pool = AveragePool {
            window,
            input: Quant { scale: random.float(0.01, 0.1), zero: random.byte() },
            scale: random.float(0.01, 0.1),
            range: random.range(),
            count_padding: random.pick(&[None, Some(trailing)]),
        };
        check(&single(Op::AveragePool(pool), &[input], output), random, &what);
    }
}

#[test]
fn look_up_tables_for_all_channels_and_for_each() {
    for seed in 0..20 {
        let random = &mut Random::new(seed);
        let shape = Shape { channels: random.pick(&CHANNELS), height: random.pick(&SIZES), width: 150 };
        for count in [1, shape.channels] {
            let tables = (0..count).map(|_| std::array::from_fn(|_| random.byte())).collect();
            let what = format!("seed {seed}: {count} tables over {shape:?}");
            check(&single(Op::Lookup(Lookup { tables }), &[shape], shape), random, &what);
        }
    }
}

#[test]
fn joining_and_flattening() {
    for seed in 0..20 {
        let random = &mut Random::new(seed);
        let (height, width) = (random.pick(&SIZES), random.pick(&[1, 9, 140]));
        let inputs: Vec<Shape> = (0..2 + random.below(3))
            .map(|_| Shape { channels: random.pick(&CHANNELS), height, width })
            .collect();
        let channels = inputs.iter().map(|shape| shape.channels).sum();
        let output = Shape { channels, height, width };
        check(&single(Op::Concat, &inputs, output), random, &format!("seed {seed}: {inputs:?}"));
        let flat = Shape { channels: channels * height * width, height: 1, width: 1 };
        check(&single(Op::Flatten, &[output], flat), random, &format!("seed {seed}: {output:?} flat"));
    }
}

#[test]
fn resizing_by_whole_and_by_odd_factors() {
    for (seed, factor) in [0.3f32, 0.5, 1.0, 1.7, 2.0, 2.5, 3.0, 4.0].into_iter().enumerate() {
        let random = &mut Random::new(seed as u64);
        let input = Shape { channels: random.pick(&CHANNELS), height: 12, width: 40 };
        let picks = |size: usize| -> Vec<usize> {
            (0..(size as f32 * factor) as usize).map(|index| (index as f32 / factor) as usize).collect()
        };
        let resize = Resize { rows: picks(input.height), cols: picks(input.width) };
        let output = Shape { height: resize.rows.len(), width: resize.cols.len(), ..input };
        check(&single(Op::Resize(resize), &[input], output), random, &format!("times {factor}"));
    }
}

/// Typical large layers: at least six tenths of the array's slots are used over all of each.
#[test]
fn the_array_is_well_used() {
    for (channels, size) in [(64, 56), (128, 28)] {
        let shape = Shape { channels, height: size, width: size };
        let random = &mut Random::new(7);
        let conv =
            random.conv(channels, channels, 1, Window { kernel: [3, 3], pads: [1, 1], ..Window::POINT });
        let network = single(Op::Conv(conv), &[shape], shape);
        let what = format!("{channels} channels, 3x3, {size}x{size}");
        let counters = check(&network, random, &what);
        let macs = 2 * network.macs();
        assert_eq!((counters.macs, macs), (macs, (2 * channels * channels * 9 * size * size) as u64));
        let used = counters.utilisation(macs, 1);
        assert!(used >= 0.6, "{what}: {used:.3} of the array");
    }
}

/// Cores share a large layer nearly evenly.
#[test]
fn cores_share_the_work() {
    let shape = Shape { channels: 64, height: 56, width: 56 };
    let random = &mut Random::new(7);
    let conv = random.conv(64, 64, 1, Window { kernel: [3, 3], pads: [1, 1], ..Window::POINT });
    let network = single(Op::Conv(conv), &[shape], shape);
    let cycles = |cores| {
        let device = Device { cores, ..Device::default() };
        let program = lower(&network, Options { device, ..Options::default() }).expect("it fits");
        program.time().expect("a good stream").cycles as f64
    };
    let ratios: Vec<f64> = [2, 4].map(|cores| cycles(1) / cycles(cores)).into();
    assert!(ratios[0] > 1.6 && ratios[1] > 2.6, "{ratios:?}");
}
