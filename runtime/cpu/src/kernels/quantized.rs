//! Products and convolutions of 8-bit tensors: QLinearConv, QLinearMatMul, MatMulInteger.

use byoc_graph::{DType, Element, StaticDims, Tensor};

use crate::fast::conv::{Channels, Images, PackedConvInt, conv_quantized};
use crate::fast::gemm::{IntMatrix, IntRhs, PackedInt, Quantized, Zero, gemm_int};
use crate::fast::quantize::{Requantize, requantize_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::windows::{Windows, input_size};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(ops: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    let dtypes = &[DType::U8, DType::I8];
    Entry { name: "int8", domain: "", ops, since: 10, dtypes, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["QLinearConv"], prepare_conv),
    entry(&["QLinearMatMul"], |node| prepare_product(node, true)),
    entry(&["MatMulInteger"], |node| prepare_product(node, false)),
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

struct Conv<T, U> {
    windows: Windows,
    groups: usize,
    channels: Channels,
    kernel: [usize; 2],
    packed: PackedConvInt,
    scale: Vec<f32>,
    bias: Option<Vec<i32>>,
    x_zero: T,
    y_zero: U,
    /// The window that the weights were packed for.
    window: crate::fast::conv::Window,
}

fn prepare_conv(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (x, w, y) = (node.dtype(0)?, node.dtype(3)?, node.dtype(7)?);
    match (x, y) {
        (DType::U8, DType::U8) => conv_of::<u8, u8>(node, w),
        (DType::U8, DType::I8) => conv_of::<u8, i8>(node, w),
        (DType::I8, DType::U8) => conv_of::<i8, u8>(node, w),
        (DType::I8, DType::I8) => conv_of::<i8, i8>(node, w),
        _ => None,
    }
}

fn conv_of<T: Quantized + Element, U: Quantized + Element>(
    node: &NodeDesc<'_>,
    weights: DType,
) -> Option<Box<dyn Kernel>> {
    match weights {
        DType::U8 => conv::<T, U, u8>(node),
        DType::I8 => conv::<T, U, i8>(node),
        _ => None,
    }
}

fn conv<T: Quantized + Element, U: Quantized + Element, W: Quantized + Element>(
    node: &NodeDesc<'_>,
) -> Option<Box<dyn Kernel>> {
    let w = node.constant(3)?;
    let windows = Windows::read(node, w.rank())?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&g| g > 0)?;
    let kernel = if windows.spatial == 1 { [1, w.dims()[2]] } else { [w.dims()[2], w.dims()[3]] };
    let (output, inputs) = (w.dims()[0], w.dims()[1]);
    if w.is_empty() || !output.is_multiple_of(groups) {
        return None;
    }
    let channels = Channels { input: inputs.checked_mul(groups)?, output, groups };
    let window = windows.window(kernel, input_size(node, windows.spatial))?;
    let zeros = node.constant(5)?.as_slice::<W>().ok()?;
    let zero = match zeros.len() {
        1 => Zero::All(zeros[0]),
        n if n == output => Zero::Rows(&zeros),
        _ => return None,
    };
    let packed = PackedConvInt::pack(node.isa, channels, window, &w.as_slice::<W>().ok()?, zero);
    let scale = multipliers(node.constant(1)?, node.constant(4)?, node.constant(6)?)?;
    let bias = match node.has_input(8) {
        true => Some(node.constant(8)?.as_slice::<i32>().ok()?.into_owned()),
        false => None,
    };
    let fits = (scale.len() == 1 || scale.len() == output) && bias.as_ref().is_none_or(|b| b.len() == output);
    let (x_zero, y_zero) = (scalar::<T>(node.constant(2)?)?, scalar::<U>(node.constant(7)?)?);
    fits.then(|| {
        let conv = Conv { windows, groups, channels, kernel, packed, scale, bias, x_zero, y_zero, window };
        Box::new(conv) as Box<dyn Kernel>
    })
}

impl<T: Quantized + Element, U: Quantized + Element> Kernel for Conv<T, U> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (count, input, size) = match *x.dims {
            [n, c, w] if self.windows.spatial == 1 => (n, c, [1, w]),
            [n, c, h, w] if self.windows.spatial == 2 => (n, c, [h, w]),
            _ => return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims))),
        };
        if self.windows.window(self.kernel, size.map(Some)) != Some(self.window) {
            return Err(KernelError::invalid("the input is not of the size that the model declares"));
        }
        if input != self.channels.input {
            return Err(KernelError::invalid(format!(
                "the image has {input} channels, but the weights are for {} in {} groups",
                self.channels.input, self.groups
            )));
        }
        let [height, width] = self.window.output(size).ok_or_else(|| {
            KernelError::invalid(format!("the window {:?} does not fit an image of {size:?}", self.window))
        })?;
        let dims = match self.windows.spatial {
            1 => StaticDims::from_slice(&[count, self.channels.output, width]),
            _ => StaticDims::from_slice(&[count, self.channels.output, height, width]),
        };
        let images = Images { data: x.slice::<T>()?, count, size };
        let out = outputs.tensor::<U>(0, &dims)?;
        if !out.is_empty() {
            let how = Requantize { scale: &self.scale, bias: self.bias.as_deref(), zero: self.y_zero };
            conv_quantized(ctx.exec, images, self.x_zero, &self.packed, &how, out);
        }
        Ok(())
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
        let zeros;
        let zero = match (&self.to, optional(inputs, 2)?) {
            (Some((zero, ..)), _) => Zero::All(*zero),
            (None, None) => Zero::All(T::narrow(0)),
            (None, Some(view)) => {
                zeros = view.slice::<T>()?;
                match zeros.len() {
                    1 => Zero::All(zeros[0]),
                    len if len == rows && outer.len() == 1 => Zero::Rows(zeros),
                    len => return Err(KernelError::invalid(format!("{len} zero points for {rows} rows"))),
                }
            }
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
