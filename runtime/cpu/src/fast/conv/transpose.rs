//! Transposed convolution: a matrix product gives what every input pixel adds to every tap, and a second
//! pass gathers that into the output (col2im).

use super::{Channels, ConvEpilogue, Images, Window};
use crate::fast::gemm::{Epilogue, Matrix, PackedA, Rhs, gemm_packed};
use crate::fast::scratch::with_scratch;
use crate::fast::{Exec, Isa};

/// A transposed convolution's weights, rearranged once for one instruction set.
pub struct PackedConvTranspose {
    isa: Isa,
    channels: Channels,
    window: Window,
    /// One for each group: (output channels × taps) × input channels.
    weights: Vec<PackedA>,
}

impl PackedConvTranspose {
    /// Packs `weights` (input channels, output channels of a group, kernel height, kernel width). The window's
    /// strides, dilations and pads are those of the convolution of which this is the transpose.
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn pack(isa: Isa, channels: Channels, window: Window, weights: &[f32]) -> Self {
        let (inputs, outputs) = channels.per_group();
        let rows = outputs * window.taps();
        assert_eq!(weights.len(), channels.input * rows, "size of the weights");
        let group = |i: usize| &weights[i * inputs * rows..][..inputs * rows];
        let packed = (0..channels.groups)
            .map(|i| PackedA::pack(isa, Matrix::row_major(group(i), inputs, rows).transposed()));
        Self { isa, channels, window, weights: packed.collect() }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// `output = epilogue(input ∗ᵀ weights)`, the output being of height and width `size`.
///
/// # Panics
/// If the sizes do not fit together: sliding the window over the output must give the input's size or more.
pub fn conv_transpose(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &PackedConvTranspose,
    output: &mut [f32],
    size: [usize; 2],
    epilogue: &ConvEpilogue<'_>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let channels = weights.channels;
    let (inputs, outputs) = channels.per_group();
    let (in_pixels, out_pixels) = (input.size[0] * input.size[1], size[0] * size[1]);
    assert_eq!(input.data.len(), input.count * channels.input * in_pixels, "size of the input");
    assert_eq!(output.len(), input.count * channels.output * out_pixels, "size of the output");
    for (what, slice, len) in
        [("bias", epilogue.bias, channels.output), ("addend", epilogue.addend, output.len())]
    {
        assert!(slice.is_none_or(|x| x.len() == len), "size of the {what}");
    }
    if output.is_empty() {
        return;
    }
    let scatter = Scatter { window: weights.window, input: input.size, size };
    let rows = outputs * weights.window.taps();
    with_scratch(rows * in_pixels, |columns| {
        for product in 0..input.count * channels.groups {
            let group = product % channels.groups;
            let x = &input.data[product * inputs * in_pixels..][..inputs * in_pixels];
            let x = Rhs::Plain(Matrix::row_major(x, inputs, in_pixels));
            gemm_packed(exec, &weights.weights[group], x, columns, in_pixels, &Epilogue::default());
            let start = product * outputs * out_pixels;
            let output = &mut output[start..][..outputs * out_pixels];
            exec.pool.parallel_chunks(output, out_pixels, &|i, plane| {
                plane.fill(epilogue.bias.map_or(0.0, |bias| bias[group * outputs + i]));
                let taps = weights.window.taps() * in_pixels;
                scatter.add(&columns[i * taps..][..taps], plane);
                if let Some(addend) = epilogue.addend {
                    let addend = &addend[start + i * out_pixels..][..out_pixels];
                    plane.iter_mut().zip(addend).for_each(|(x, y)| *x += y);
                }
                epilogue.activation.apply(exec.isa, plane);
            });
        }
    });
}

struct Scatter {
    window: Window,
    input: [usize; 2],
    size: [usize; 2],
}

impl Scatter {
    /// Adds each tap's plane of `columns` to the output pixels that it reaches.
    fn add(&self, columns: &[f32], plane: &mut [f32]) {
        let [height, width] = self.input;
        let [stride, pad] = [self.window.strides[1], self.window.pads[1]];
        for (tap, column) in columns.chunks_exact(height * width).enumerate() {
            let (tap_row, tap_col) = (tap / self.window.kernel[1], tap % self.window.kernel[1]);
            let ahead = tap_col * self.window.dilations[1];
            // Columns whose target `col · stride + ahead - pad` is inside the output.
            let first = pad.saturating_sub(ahead).div_ceil(stride).min(width);
            let last = (self.size[1] + pad).saturating_sub(ahead).div_ceil(stride).clamp(first, width);
            for (row, column) in column.chunks_exact(width).enumerate() {
                let target = row * self.window.strides[0] + tap_row * self.window.dilations[0];
                let target = target.wrapping_sub(self.window.pads[0]);
                if target >= self.size[0] || first == last {
                    continue;
                }
                let out = &mut plane[target * self.size[1] + first * stride + ahead - pad..];
                for (out, x) in out.iter_mut().step_by(stride).zip(&column[first..last]) {
                    *out += x;
                }
            }
        }
    }
}
