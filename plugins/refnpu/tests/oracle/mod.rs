//! Plain loops over channels, rows and columns: what each layer must compute, written without the device in mind.

use byoc_refnpu::layer::{Add, AveragePool, Conv, Layer, Lookup, Network, Op, Resize, Shape, Window};
use byoc_refnpu::quant::{Quant, Range};

/// Signed bytes, `[channel][row][column]`.
pub type Image = Vec<i8>;

/// The outputs of a network for one image.
pub fn run(network: &Network, inputs: &[Image]) -> Vec<Image> {
    let mut images: Vec<Image> = vec![Vec::new(); network.tensors.len()];
    for (border, input) in network.inputs.iter().zip(inputs) {
        images[border.tensor] = input.clone();
    }
    for layer in &network.layers {
        images[layer.output] = compute(network, layer, &images);
    }
    network.outputs.iter().map(|border| images[border.tensor].clone()).collect()
}

fn compute(network: &Network, layer: &Layer, images: &[Image]) -> Image {
    let shape = network.tensors[layer.inputs[0]];
    let out = network.tensors[layer.output];
    let input = &images[layer.inputs[0]];
    match &layer.op {
        Op::Conv(conv) => convolve(conv, shape, out, input),
        Op::Add(op) => input.iter().zip(&images[layer.inputs[1]]).map(|(&a, &b)| add(op, a, b)).collect(),
        Op::MaxPool(window) => max_pool(window, shape, out, input),
        Op::AveragePool(pool) => average_pool(pool, shape, out, input),
        Op::Lookup(lookup) => look_up(lookup, shape, input),
        Op::Concat => layer.inputs.iter().flat_map(|&tensor| images[tensor].clone()).collect(),
        Op::Resize(resize) => pick(resize, shape, out, input),
        Op::Flatten => input.clone(),
    }
}

/// The input value at an output's tap; `None` in the padding.
fn tap(window: &Window, shape: Shape, at: [usize; 3], tap: [usize; 2], input: &[i8]) -> Option<i32> {
    let [channel, row, col] = at;
    let place = |output: usize, axis: usize| {
        (output * window.stride[axis] + tap[axis] * window.dilation[axis]).checked_sub(window.pads[axis])
    };
    let (row, col) = (place(row, 0)?, place(col, 1)?);
    let inside = row < shape.height && col < shape.width;
    inside.then(|| i32::from(input[(channel * shape.height + row) * shape.width + col]))
}

fn each(out: Shape, value: impl Fn([usize; 3]) -> i8) -> Image {
    let mut image = Vec::new();
    for channel in 0..out.channels {
        for row in 0..out.height {
            for col in 0..out.width {
                image.push(value([channel, row, col]));
            }
        }
    }
    image
}

fn requantise(acc: i64, multiplier: f32, range: Range) -> i8 {
    let rounded = f64::from((acc as i32 as f32 * multiplier).round_ties_even());
    (rounded + f64::from(range.zero)).clamp(f64::from(range.low), f64::from(range.high)) as i8
}

fn convolve(conv: &Conv, shape: Shape, out: Shape, input: &[i8]) -> Image {
    let (per_in, per_out) = (shape.channels / conv.groups, out.channels / conv.groups);
    let [rows, cols] = conv.window.kernel;
    each(out, |[channel, row, col]| {
        let mut acc = i64::from(conv.bias[channel]);
        for own in 0..per_in {
            let from = channel / per_out * per_in + own;
            for ky in 0..rows {
                for kx in 0..cols {
                    let weight = conv.weights[((channel * per_in + own) * rows + ky) * cols + kx];
                    let value = tap(&conv.window, shape, [from, row, col], [ky, kx], input);
                    let value = value.map_or(0, |value| value - i32::from(conv.input_zero));
                    acc += i64::from(value * (i32::from(weight) - i32::from(conv.weight_zero)));
                }
            }
        }
        requantise(acc, conv.multiplier[channel], conv.range)
    })
}

fn dequantise(q: i8, quant: Quant) -> f32 {
    (f32::from(q) - f32::from(quant.zero)) * quant.scale
}

fn add(op: &Add, a: i8, b: i8) -> i8 {
    let sum = dequantise(a, op.a) + dequantise(b, op.b);
    let rounded = f64::from((sum / op.scale).round_ties_even());
    (rounded + f64::from(op.range.zero)).clamp(f64::from(op.range.low), f64::from(op.range.high)) as i8
}

fn max_pool(window: &Window, shape: Shape, out: Shape, input: &[i8]) -> Image {
    let [rows, cols] = window.kernel;
    each(out, |at| {
        let taps = (0..rows).flat_map(|ky| (0..cols).map(move |kx| [ky, kx]));
        taps.filter_map(|place| tap(window, shape, at, place, input)).max().expect("a window of padding")
            as i8
    })
}

fn average_pool(pool: &AveragePool, shape: Shape, out: Shape, input: &[i8]) -> Image {
    let window = &pool.window;
    each(out, |at| {
        let (mut sum, mut count) = (0, 0);
        for ky in 0..window.kernel[0] {
            for kx in 0..window.kernel[1] {
                if let Some(value) = tap(window, shape, at, [ky, kx], input) {
                    sum += i64::from(value - i32::from(pool.input.zero));
                    count += 1;
                } else if let Some(trailing) = pool.count_padding {
                    let y = at[1] * window.stride[0] + ky * window.dilation[0];
                    let x = at[2] * window.stride[1] + kx * window.dilation[1];
                    let inside = y < window.pads[0] + shape.height + trailing[0];
                    count += usize::from(inside && x < window.pads[1] + shape.width + trailing[1]);
                }
            }
        }
        requantise(sum, pool.input.scale / (pool.scale * count as f32), pool.range)
    })
}

fn look_up(lookup: &Lookup, shape: Shape, input: &[i8]) -> Image {
    let own = |index: usize| if lookup.tables.len() > 1 { index / (shape.height * shape.width) } else { 0 };
    let entry = |(index, &q): (usize, &i8)| lookup.tables[own(index)][(i16::from(q) + 128) as usize];
    input.iter().enumerate().map(entry).collect()
}

fn pick(resize: &Resize, shape: Shape, out: Shape, input: &[i8]) -> Image {
    each(out, |[channel, row, col]| {
        input[(channel * shape.height + resize.rows[row]) * shape.width + resize.cols[col]]
    })
}
