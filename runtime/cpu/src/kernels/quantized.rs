//! Products and convolutions of 8-bit tensors: QLinearConv, QLinearMatMul, MatMulInteger by constant weights.

use byoc_graph::{DType, Element, StaticDims, Tensor};

use crate::fast::bytes::{BytesLast, Coding, ConvBytes, Finish, Then, conv_bytes};
use crate::fast::conv::{Channels, Window};
use crate::fast::gemm::{IntMatrix, IntRhs, PackedInt, Quantized, Zero, gemm_int};
use crate::fast::quantize::{Requantize, requantize_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::codings::{
    ImageDims, channels_last, coding, compute_last, constant_coding, output_dtype,
};
use crate::kernels::matmul_integer::{self, zeros};
use crate::kernels::windows::{Windows, input_size};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(
    domain: &'static str,
    ops: &'static [&'static str],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "int8", domain, ops, since: 1, dtypes: &[DType::U8, DType::I8], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry("", &["QLinearConv"], prepare_conv),
    entry("host", &["QLinearConv", "QLinearGemm"], prepare_conv),
    entry("", &["QLinearMatMul"], |node| prepare_product(node, true)),
    entry("", &["MatMulInteger"], |node| {
        prepare_product(node, false).or_else(|| matmul_integer::prepare(node))
    }),
];

/// The one element of a constant scalar.
fn scalar<T: Element>(tensor: &Tensor) -> Option<T> {
    let slice = tensor.as_slice::<T>().ok()?;
    (slice.len() == 1).then(|| slice[0])
}

/// Multipliers from sums to the output: input scale · weight scale / output scale.
fn multipliers(x: &Tensor, w: &Tensor, y: &Tensor) -> Option<Vec<f32>> {
    let (x, y) = (scalar::<f32>(x)?, scalar::<f32>(y)?);
    Some(w.as_slice::<f32>().ok()?.iter().map(|w| x * w / y).collect())
}

/// Bytes that the frames of any image may take, and how often they may be as large as input and output together.
const FRAME: usize = 64 << 20;
const FRAME_SHARE: usize = 64;

struct Conv {
    windows: Option<Windows>,
    conv: ConvBytes,
    rank: usize,
    last: bool,
    dtype: DType,
    to: DType,
}

fn prepare_conv(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    match node.dtype(3)? {
        DType::U8 => conv::<u8>(node),
        DType::I8 => conv::<i8>(node),
        _ => None,
    }
}

/// A convolution by constant weights, or by a matrix with a row for each output channel.
fn conv<W: Quantized + Element>(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let w = node.constant(3)?;
    let last = channels_last(node) || w.rank() == 2;
    let windows = if w.rank() == 2 { None } else { Some(Windows::read(node, w.rank())?) };
    let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&g| g > 0)?;
    let kernel = match *w.dims() {
        [_, _] => [1, 1],
        [_, _, w] => [1, w],
        [_, _, h, w] => [h, w],
        _ => return None,
    };
    let (output, inputs) = (w.dims()[0], w.dims()[1]);
    let is_product = node.op() == "QLinearGemm";
    if w.is_empty() || !output.is_multiple_of(groups) || is_product != (w.rank() == 2) {
        return None;
    }
    let channels = Channels { input: inputs.checked_mul(groups)?, output, groups };
    let window = match &windows {
        None => Window::new([1, 1]),
        // The sizes are elsewhere with the channels last, where only explicit padding comes.
        Some(windows) if last => windows.window(kernel, [None, None])?,
        Some(windows) => windows.window(kernel, input_size(node, windows.spatial))?,
    };
    let zeros = node.constant(5)?.as_slice::<W>().ok()?;
    let zero = match zeros.len() {
        1 => Zero::All(zeros[0]),
        n if n == output => Zero::Rows(&zeros),
        _ => return None,
    };
    let scales = multipliers(node.constant(1)?, node.constant(4)?, node.constant(6)?)?;
    let bias = match node.has_input(8) {
        true => Some(node.constant(8)?.as_slice::<i32>().ok()?),
        false => None,
    };
    let fits =
        (scales.len() == 1 || scales.len() == output) && bias.as_ref().is_none_or(|b| b.len() == output);
    let (from, first) = (constant_coding(node, 1, 2)?, constant_coding(node, 6, 7)?);
    let (dtype, first_dtype) = (node.dtype(0)?, node.dtype(7)?);
    if !fits || node.dtype(2) != Some(dtype) {
        return None;
    }
    let (then, to) = match node.float("then_scale") {
        None => (None, first_dtype),
        Some(scale) => {
            let to = output_dtype(node)?;
            (Some(then(node, coding(to, node.int("then_zero")?.try_into().ok()?, scale)?, output)?), to)
        }
    };
    let finish = Finish::new(output, &scales, first, then);
    let weights = w.as_slice::<W>().ok()?;
    let conv = ConvBytes::new(node.isa, (channels, window), from, (&weights, zero), bias.as_deref(), finish);
    Some(Box::new(Conv { windows, conv, rank: w.rank(), last, dtype, to }))
}

/// What a fused node does to its codes before they leave.
fn then(node: &NodeDesc<'_>, to: Coding, channels: usize) -> Option<Then> {
    let affine = match (node.floats("affine_scale"), node.floats("affine_shift")) {
        (None, None) => None,
        (Some(scale), Some(shift)) if scale.len() == channels && shift.len() == channels => {
            Some([scale.to_vec(), shift.to_vec()])
        }
        _ => return None,
    };
    let bound = |name, default| node.float(name).unwrap_or(default);
    let (low, high) = (bound("then_low", f32::NEG_INFINITY), bound("then_high", f32::INFINITY));
    Some(Then { affine, low, high, to })
}

impl Kernel for Conv {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        if x.dtype != self.dtype {
            return Err(KernelError::DType { expected: self.dtype, got: x.dtype });
        }
        if x.rank() != self.rank {
            return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims)));
        }
        let from = ImageDims::read(x.dims, self.last)?;
        let (window, channels) = (self.conv.window(), self.conv.channels());
        let same = |w: &Windows| w.window(window.kernel, from.size.map(Some)) == Some(window);
        if !self.windows.as_ref().is_none_or(same) {
            return Err(KernelError::invalid("the input is not of the size that the model declares"));
        }
        if from.channels != channels.input {
            return Err(KernelError::invalid(format!(
                "the image has {} channels, but the weights are for {} in {} groups",
                from.channels, channels.input, channels.groups
            )));
        }
        let size = window.output(from.size).ok_or_else(|| {
            KernelError::invalid(format!("the window {window:?} does not fit an image of {:?}", from.size))
        })?;
        let to = from.with(channels.output, size);
        let frame = self.conv.frame_bytes(from.count, from.size).unwrap_or(usize::MAX);
        if frame > FRAME && frame / FRAME_SHARE > x.len().saturating_add(to.dims().iter().product()) {
            // Padding that strides jump over.
            return Err(KernelError::OutOfMemory { bytes: frame });
        }
        compute_last(ctx, x, (from, to, self.to), outputs, |x, out| {
            conv_bytes(ctx.exec, BytesLast { data: x, count: from.count, size: from.size }, &self.conv, out);
        })
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0
    }
}

/// A product with a constant right operand.
struct Product<T> {
    packed: PackedInt,
    k: usize,
    n: usize,
    /// For QLinearMatMul: the zero point of the left operand, and what becomes of the sums.
    to: Option<(T, Vec<f32>, OutZero)>,
}

#[derive(Clone, Copy)]
enum OutZero {
    U8(u8),
    I8(i8),
}

fn prepare_product(node: &NodeDesc<'_>, requantize: bool) -> Option<Box<dyn Kernel>> {
    let b = if requantize { 3 } else { 1 };
    match (node.dtype(0)?, node.dtype(b)?) {
        (DType::U8, DType::U8) => product::<u8, u8>(node, requantize),
        (DType::U8, DType::I8) => product::<u8, i8>(node, requantize),
        (DType::I8, DType::U8) => product::<i8, u8>(node, requantize),
        (DType::I8, DType::I8) => product::<i8, i8>(node, requantize),
        _ => None,
    }
}

fn product<T: Quantized + Element, W: Quantized + Element>(
    node: &NodeDesc<'_>,
    requantize: bool,
) -> Option<Box<dyn Kernel>> {
    let (b, zero) = if requantize { (3, 5) } else { (1, 3) };
    let b = node.constant(b).filter(|b| b.rank() == 2)?;
    let (k, n) = (b.dims()[0], b.dims()[1]);
    let zeros = match node.has_input(zero) {
        true => node.constant(zero)?.as_slice::<W>().ok()?.into_owned(),
        false => vec![W::narrow(0)],
    };
    let zero = match zeros.len() {
        1 => Zero::All(zeros[0]),
        len if len == n => Zero::Columns(&zeros),
        _ => return None,
    };
    let packed = PackedInt::pack(node.isa, IntMatrix::row_major(&b.as_slice::<W>().ok()?, k, n, zero));
    let mut to = None;
    if requantize {
        let y_zero = match node.dtype(7)? {
            DType::U8 => OutZero::U8(scalar(node.constant(7)?)?),
            DType::I8 => OutZero::I8(scalar(node.constant(7)?)?),
            _ => return None,
        };
        let scale = multipliers(node.constant(1)?, node.constant(4)?, node.constant(6)?)?;
        if scale.len() != 1 && scale.len() != n {
            return None;
        }
        to = Some((scalar::<T>(node.constant(2)?)?, scale, y_zero));
    }
    Some(Box::new(Product::<T> { packed, k, n, to }))
}

impl<T: Quantized + Element> Kernel for Product<T> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let a = tensor(inputs, 0)?;
        let Some((&k, outer)) = a.dims.split_last().filter(|(k, _)| **k == self.k) else {
            let message = format!("a product of {:?} with {} rows", a.dims, self.k);
            return Err(KernelError::invalid(message));
        };
        let rows: usize = outer.iter().product();
        let mut dims: StaticDims = outer.into();
        dims.push(self.n);
        let data = a.slice::<T>()?;
        let zero = match &self.to {
            Some((zero, ..)) => Zero::All(*zero),
            // A stack of matrices has one zero point.
            None => zeros(optional(inputs, 2)?, if outer.len() == 1 { rows } else { 1 }, Zero::Rows)?,
        };
        let a = IntMatrix::row_major(data, rows, k, zero);
        let right = IntRhs::<T>::Packed(&self.packed);
        let Some((_, scale, y_zero)) = &self.to else {
            let out = outputs.tensor::<i32>(0, &dims)?;
            if !out.is_empty() {
                gemm_int(ctx.exec, a, right, out, self.n);
            }
            return Ok(());
        };
        let mut buffer = outputs.scratch(rows * self.n * size_of::<i32>())?;
        let sums: &mut [i32] = bytemuck::cast_slice_mut(buffer.bytes_mut());
        if !sums.is_empty() {
            gemm_int(ctx.exec, a, right, sums, self.n);
        }
        match *y_zero {
            OutZero::U8(zero) => {
                let how = Requantize { scale, bias: None, zero };
                requantize_rows(ctx.exec, sums, self.n, &how, outputs.tensor::<u8>(0, &dims)?);
            }
            OutZero::I8(zero) => {
                let how = Requantize { scale, bias: None, zero };
                requantize_rows(ctx.exec, sums, self.n, &how, outputs.tensor::<i8>(0, &dims)?);
            }
        }
        outputs.recycle(buffer);
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        // MatMulInteger may get the left zero point anew in each run.
        if self.to.is_some() { input > 0 } else { input == 1 || input == 3 }
    }
}
