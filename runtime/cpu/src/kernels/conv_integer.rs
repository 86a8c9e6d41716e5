//! ConvInteger: a product of the weights and columns, each the pixels that one place of a window sees.

use std::marker::PhantomData;
use std::ops::Range;

use byoc_graph::{DType, Element, StaticDims};

use super::matmul_integer::zeros;
use super::windows::{Windows, input_size, seen};
use crate::fast::Exec;
use crate::fast::conv::Window;
use crate::fast::gemm::{IntMatrix, IntRhs, Quantized, Zero, gemm_int};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "int8",
    domain: "",
    ops: &["ConvInteger"],
    since: 10,
    dtypes: &[DType::U8, DType::I8],
    priority: 10,
    prepare,
}];

/// Bytes of columns that are laid out at a time.
const COLUMNS: usize = 1 << 20;

struct ConvInteger<T, W> {
    windows: Windows,
    groups: usize,
    types: PhantomData<(T, W)>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let rank = node.rank(1)?;
    let windows = Windows::read(node, rank)?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&groups| groups > 0)?;
    let shape = node.shape(1)?;
    let kernel = shape.iter().skip(2).map(|dim| usize::try_from(dim.value()?).ok());
    let kernel = kernel.collect::<Option<Vec<usize>>>()?;
    let kernel = if let [width] = kernel[..] { [1, width] } else { [kernel[0], *kernel.get(1)?] };
    // Whatever the padding depends on has to be known.
    windows.window(kernel, input_size(node, windows.spatial))?;
    let one = |i: usize| node.shape(i).is_some_and(|shape| shape.iter().all(|d| d.value() == Some(1)));
    if node.rank(0)? != rank || node.has_input(2) && !one(2) {
        return None;
    }
    Some(match (node.dtype(0)?, node.dtype(1)?) {
        (DType::U8, DType::U8) => Box::new(ConvInteger::<u8, u8> { windows, groups, types: PhantomData }),
        (DType::U8, DType::I8) => Box::new(ConvInteger::<u8, i8> { windows, groups, types: PhantomData }),
        (DType::I8, DType::U8) => Box::new(ConvInteger::<i8, u8> { windows, groups, types: PhantomData }),
        (DType::I8, DType::I8) => Box::new(ConvInteger::<i8, i8> { windows, groups, types: PhantomData }),
        _ => return None,
    })
}

/// Height and width; one row where there is one spatial axis.
fn image(dims: &[usize]) -> Option<[usize; 4]> {
    match *dims {
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    }
}

impl<T: Quantized + Element, W: Quantized + Element> Kernel for ConvInteger<T, W> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, w) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let wrong = || KernelError::invalid(format!("a convolution of {:?} by {:?}", x.dims, w.dims));
        let ([count, channels, height, width], [features, depth, kernel_height, kernel_width]) =
            image(x.dims).zip(image(w.dims)).ok_or_else(wrong)?;
        let (size, kernel) = ([height, width], [kernel_height, kernel_width]);
        let window = self.windows.window(kernel, size.map(Some));
        let (window, to) =
            window.and_then(|window| Some((window, window.output(size)?))).ok_or_else(wrong)?;
        let fits = depth.checked_mul(self.groups) == Some(channels) && features.is_multiple_of(self.groups);
        if !fits || x.rank() != w.rank() {
            return Err(wrong());
        }
        let x_zero = match zeros::<T>(optional(inputs, 2)?, 1, Zero::Rows)? {
            Zero::All(zero) => zero,
            _ => return Err(KernelError::invalid("an image has one zero point")),
        };
        let w_zero = zeros::<W>(optional(inputs, 3)?, features, Zero::Rows)?;
        let mut dims: StaticDims = [count, features].into_iter().collect();
        dims.extend_from_slice(&to[self.windows.spatial_from()..]);
        let (x, w) = (x.slice::<T>()?, w.slice::<W>()?);
        let sizes = to[0]
            .checked_mul(to[1])
            .zip(kernel_height.checked_mul(kernel_width).and_then(|taps| taps.checked_mul(depth)));
        let (pixels, k) = sizes.ok_or_else(wrong)?;
        // Whole rows of the output at a time.
        let rows = (COLUMNS / k.saturating_mul(to[1]).max(1)).clamp(1, to[0].max(1));
        let is_plain = kernel == [1, 1] && window.strides == [1, 1] && window.pads == [0; 4];
        let scratch = if is_plain { 0 } else { k.checked_mul(rows * to[1]).ok_or_else(wrong)? };
        let mut buffer = outputs.scratch(scratch)?;
        let out = outputs.tensor::<i32>(0, &dims)?;
        if !out.is_empty() {
            let (per_group, plane) = (features / self.groups, height * width);
            for (i, out) in out.chunks_exact_mut(per_group * pixels).enumerate() {
                let group = i % self.groups;
                let x = &x[i * depth * plane..][..depth * plane];
                let zero = match w_zero {
                    Zero::Rows(all) => Zero::Rows(&all[group * per_group..][..per_group]),
                    one => one,
                };
                let w =
                    IntMatrix::row_major(&w[group * per_group * k..][..per_group * k], per_group, k, zero);
                if is_plain {
                    let x = IntMatrix::row_major(x, k, pixels, Zero::All(x_zero));
                    gemm_int(ctx.exec, w, IntRhs::Plain(x), out, pixels);
                    continue;
                }
                for first in (0..to[0]).step_by(rows) {
                    let block = first..to[0].min(first + rows);
                    let width = block.len() * to[1];
                    let columns = &mut bytemuck::cast_slice_mut(buffer.bytes_mut())[..k * width];
                    lay_out(ctx.exec, (x, size, x_zero), window, (block, to[1]), columns);
                    let x = IntMatrix::row_major(columns, k, width, Zero::All(x_zero));
                    gemm_int(ctx.exec, w, IntRhs::Plain(x), &mut out[first * to[1]..], pixels);
                }
            }
        }
        outputs.recycle(buffer);
        Ok(())
    }
}

/// A row for each channel and place of the window: what it sees from some rows of the output, zero points outside.
fn lay_out<T: Quantized>(
    exec: Exec<'_>,
    (x, [height, width], zero): (&[T], [usize; 2], T),
    window: Window,
    (rows, to_width): (Range<usize>, usize),
    columns: &mut [T],
) {
    let Window { kernel, strides, dilations, pads } = window;
    let taps = kernel[0] * kernel[1];
    exec.pool.parallel_chunks(columns, rows.len() * to_width, &|row, out| {
        let (channel, tap) = (row / taps, row % taps);
        let plane = &x[channel * height * width..][..height * width];
        let at = [tap / kernel[1] * dilations[0], tap % kernel[1] * dilations[1]];
        let ys = seen(at[0], pads[0], strides[0], height, rows.end);
        let xs = seen(at[1], pads[1], strides[1], width, to_width);
        for (y, out) in rows.clone().zip(out.chunks_exact_mut(to_width)) {
            if !ys.contains(&y) || xs.is_empty() {
                out.fill(zero);
                continue;
            }
            let line = &plane[(y * strides[0] + at[0] - pads[0]) * width..][..width];
            let from = &line[xs.start * strides[1] + at[1] - pads[1]..];
            out[..xs.start].fill(zero);
            out[xs.end..].fill(zero);
            let out = &mut out[xs.clone()];
            match strides[1] {
                1 => out.copy_from_slice(&from[..xs.len()]),
                step => out.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, &x)| *to = x),
            }
        }
    });
}
