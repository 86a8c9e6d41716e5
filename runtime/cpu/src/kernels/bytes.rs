//! The host's own operators on 8-bit codes: between the integers of quantised operators, and at the ends.
//!
//! The attributes `scales` and `zeros` say what the codes of each input and then of the output mean;
//! `channels_last` says that images have their channels last.

use byoc_graph::{DType, StaticDims};
use smallvec::SmallVec;

use crate::fast::bytes::{self, BytesLast, Coded, Coding};
use crate::fast::conv::Window;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::codings::{ImageDims, channels_last, coding, compute_last, listed, output_dtype};
use crate::kernels::windows::{Windows, pair};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    op: &'static [&'static str],
    dtypes: &'static [DType],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "int8", domain: "host", ops: op, since: 1, dtypes, priority: 10, prepare }
}

const CODES: &[DType] = &[DType::U8, DType::I8];

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["QLinearAdd"], CODES, prepare_add),
    entry(&["QLinearConcat"], CODES, prepare_concat),
    entry(&["QLinearMaxPool"], CODES, prepare_largest),
    entry(&["QLinearGlobalAveragePool"], CODES, prepare_average),
    entry(&["QuantizeLinear"], &[DType::F32], prepare_quantise),
    entry(&["DequantizeLinear"], CODES, prepare_dequantise),
];

/// The codings of all inputs and the output, with the element type of that.
fn codings(node: &NodeDesc<'_>) -> Option<(Vec<Coding>, DType)> {
    let to = output_dtype(node)?;
    let inputs = (0..node.inputs.len()).map(|i| node.dtype(i));
    let dtypes: Vec<DType> = inputs.chain([Some(to)]).collect::<Option<_>>()?;
    Some((listed(node, &dtypes)?, to))
}

/// The bytes of input `i`, whose type was known when the kernel was prepared.
fn codes<'a>(inputs: &[Option<View<'a>>], i: usize, coding: Coding) -> Result<TensorView<'a>, KernelError> {
    let x = tensor(inputs, i)?;
    let expected = if coding.signed { DType::I8 } else { DType::U8 };
    if x.dtype == expected { Ok(x) } else { Err(KernelError::DType { expected, got: x.dtype }) }
}

struct Add {
    a: Coding,
    b: Coding,
    to: Coding,
    dtype: DType,
    bounds: [f32; 2],
}

fn prepare_add(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (codings, dtype) = codings(node)?;
    let &[a, b, to] = codings.as_slice() else { return None };
    let bounds =
        [node.float("low").unwrap_or(f32::NEG_INFINITY), node.float("high").unwrap_or(f32::INFINITY)];
    Some(Box::new(Add { a, b, to, dtype, bounds }))
}

impl Kernel for Add {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, b) = (codes(inputs, 0, self.a)?, codes(inputs, 1, self.b)?);
        if a.dims != b.dims {
            let message = format!("codes of {:?} and of {:?} cannot be added", a.dims, b.dims);
            return Err(KernelError::invalid(message));
        }
        let out = outputs.bytes(0, self.dtype, a.dims)?;
        bytes::add(ctx.exec, (a.bytes(), self.a), (b.bytes(), self.b), self.bounds, self.to, out);
        Ok(())
    }
}

struct Concat {
    axis: usize,
    parts: Vec<Coding>,
    to: Coding,
    dtype: DType,
}

fn prepare_concat(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (mut parts, dtype) = codings(node)?;
    let to = parts.pop().filter(|_| !parts.is_empty())?;
    Some(Box::new(Concat { axis: usize::try_from(node.int("axis")?).ok()?, parts, to, dtype }))
}

impl Kernel for Concat {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let mut dims = StaticDims::from_slice(codes(inputs, 0, self.parts[0])?.dims);
        let mut parts = SmallVec::<[(Coded<'_>, usize); 4]>::new();
        let mut joined = 0;
        for (i, &coding) in self.parts.iter().enumerate() {
            let x = codes(inputs, i, coding)?;
            let along = |at: usize| at == self.axis;
            let same =
                x.dims.len() == dims.len() && (0..dims.len()).all(|at| along(at) || x.dims[at] == dims[at]);
            if !same || self.axis >= dims.len() {
                let message =
                    format!("parts of {:?} and {dims:?} cannot be joined along {}", x.dims, self.axis);
                return Err(KernelError::invalid(message));
            }
            joined += x.dims[self.axis];
            parts.push(((x.bytes(), coding), x.dims[self.axis..].iter().product()));
        }
        dims[self.axis] = joined;
        bytes::concat(ctx.exec, &parts, self.to, outputs.bytes(0, self.dtype, &dims)?);
        Ok(())
    }
}

struct Largest {
    windows: Windows,
    kernel: [usize; 2],
    last: bool,
    from: Coding,
    to: Coding,
    dtype: DType,
}

fn prepare_largest(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (codings, dtype) = codings(node)?;
    let &[from, to] = codings.as_slice() else { return None };
    let windows = Windows::read(node, 4)?;
    let kernel = pair(node.ints("kernel_shape"), 2)?;
    Some(Box::new(Largest { windows, kernel, last: channels_last(node), from, to, dtype }))
}

impl Kernel for Largest {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = codes(inputs, 0, self.from)?;
        let from = ImageDims::read(x.dims, self.last)?;
        let window: Option<Window> = self.windows.window(self.kernel, from.size.map(Some));
        let fits = window.and_then(|window| Some((window, window.output(from.size)?)));
        let (window, size) = fits.ok_or_else(|| {
            KernelError::invalid(format!(
                "a window of {:?} does not fit an image of {:?}",
                self.kernel, from.size
            ))
        })?;
        let (channels, to) = (from.channels, from.with(from.channels, size));
        compute_last(ctx, x, (from, to, self.dtype), outputs, |x, out| {
            let images = BytesLast { data: x, count: from.count, size: from.size };
            bytes::largest(ctx.exec, images, channels, window, (self.from, self.to), out);
        })
    }
}

struct Average {
    last: bool,
    from: Coding,
    to: Coding,
    dtype: DType,
}

fn prepare_average(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (codings, dtype) = codings(node)?;
    let &[from, to] = codings.as_slice() else { return None };
    Some(Box::new(Average { last: channels_last(node), from, to, dtype }))
}

impl Kernel for Average {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = codes(inputs, 0, self.from)?;
        let from = ImageDims::read(x.dims, self.last)?;
        let to = from.with(from.channels, [1, 1]);
        compute_last(ctx, x, (from, to, self.dtype), outputs, |x, out| {
            let images = BytesLast { data: x, count: from.count, size: from.size };
            bytes::average(ctx.exec, images, from.channels, (self.from, self.to), out);
        })
    }
}

/// From numbers with their channels first to codes with their channels last.
struct Quantise {
    to: Coding,
    dtype: DType,
}

fn prepare_quantise(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let dtype = output_dtype(node)?;
    let (&[scale], &[zero]) = (node.floats("scales")?, node.ints("zeros")?) else { return None };
    Some(Box::new(Quantise { to: coding(dtype, zero.try_into().ok()?, scale)?, dtype }))
}

impl Kernel for Quantise {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let from = ImageDims::read(x.dims, false)?;
        let out = outputs.bytes(0, self.dtype, &from.turned().dims())?;
        bytes::quantise_last(ctx.exec, x.slice::<f32>()?, from.planes(), self.to, out);
        Ok(())
    }
}

/// From codes with their channels last to numbers with their channels first.
struct Dequantise {
    from: Coding,
}

fn prepare_dequantise(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (&[scale], &[zero]) = (node.floats("scales")?, node.ints("zeros")?) else { return None };
    Some(Box::new(Dequantise { from: coding(node.dtype(0)?, zero.try_into().ok()?, scale)? }))
}

impl Kernel for Dequantise {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = codes(inputs, 0, self.from)?;
        let from = ImageDims::read(x.dims, true)?;
        let out = outputs.tensor::<f32>(0, &from.turned().dims())?;
        bytes::dequantise_first(ctx.exec, x.bytes(), from.planes(), self.from, out);
        Ok(())
    }
}
