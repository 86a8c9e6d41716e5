//! QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear between f32 and 8 bits.

use byoc_graph::{DType, Element};

use crate::fast::Isa;
use crate::fast::gemm::Quantized;
use crate::fast::quantize::nearest;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::reference::parameters_of_range;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    ops: &'static [&'static str],
    dtypes: &'static [DType],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "quantisation", domain: "", ops, since: 10, dtypes, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["QuantizeLinear"], &[DType::F32], prepare_quantize),
    entry(&["DequantizeLinear"], &[DType::U8, DType::I8], prepare_dequantize),
    entry(&["DynamicQuantizeLinear"], &[DType::F32], |_| Some(Box::new(Dynamic))),
];

/// Where the scales lie in the tensor.
struct Scales {
    axis: i64,
}

impl Scales {
    fn read(node: &NodeDesc<'_>) -> Option<Scales> {
        let plain = node.int("block_size").unwrap_or(0) == 0 && node.dtype(1) == Some(DType::F32);
        plain.then(|| Scales { axis: node.int("axis").unwrap_or(1) })
    }

    /// Elements that share a scale, and the number of scales.
    fn runs(&self, x: TensorView<'_>, scales: TensorView<'_>) -> Result<(usize, usize), KernelError> {
        let wrong = || {
            KernelError::invalid(format!(
                "scales of {:?} along axis {} of {:?}",
                scales.dims, self.axis, x.dims
            ))
        };
        match *scales.dims {
            [] | [1] => Ok((x.len(), 1)),
            [n] => {
                let axis = if self.axis < 0 { self.axis + x.rank() as i64 } else { self.axis };
                let axis =
                    usize::try_from(axis).ok().filter(|&a| x.dims.get(a) == Some(&n)).ok_or_else(wrong)?;
                Ok((x.dims[axis + 1..].iter().product(), n))
            }
            _ => Err(wrong()),
        }
    }
}

fn prepare_quantize(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let scales = Scales::read(node)?;
    let float = node.int("precision").unwrap_or(0) == 0;
    match node.dtype(2) {
        Some(DType::I8) if float => Some(Box::new(Quantize::<i8> { scales, to: std::marker::PhantomData })),
        Some(DType::U8) if float => Some(Box::new(Quantize::<u8> { scales, to: std::marker::PhantomData })),
        None if float && !node.has_input(2) && node.int("output_dtype").unwrap_or(0) == 0 => {
            Some(Box::new(Quantize::<u8> { scales, to: std::marker::PhantomData }))
        }
        _ => None,
    }
}

struct Quantize<T> {
    scales: Scales,
    to: std::marker::PhantomData<fn() -> T>,
}

/// `saturate(round_to_even(x / scale) + zero)`.
fn quantize<T: Quantized>(isa: Isa, x: &[f32], scale: f32, zero: i32, out: &mut [T]) {
    let (low, high) = ((T::MIN - zero) as f32, (T::MAX - zero) as f32);
    loops::vectorised(
        isa,
        #[inline(always)]
        || {
            out.iter_mut().zip(x).for_each(|(out, &x)| {
                *out = T::narrow(nearest((x / scale).max(low).min(high)) + zero);
            });
        },
    );
}

impl<T: Quantized + Element> Kernel for Quantize<T> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, scales) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let (run, count) = self.scales.runs(x, scales)?;
        let zeros = optional(inputs, 2)?.map(|z| z.slice::<T>()).transpose()?;
        let (source, scales, isa) = (x.slice::<f32>()?, scales.slice::<f32>()?, ctx.exec.isa);
        let zero = |i: usize| zeros.and_then(|z| z.get(i)).map_or(0, |z| z.widen());
        let out = outputs.tensor::<T>(0, x.dims)?;
        if count == 1 {
            loops::split(ctx.exec, out, &|range, out| quantize(isa, &source[range], scales[0], zero(0), out));
        } else {
            loops::rows(ctx.exec, out, run, &|row, out| {
                let i = row % count;
                quantize(isa, &source[row * run..][..run], scales[i], zero(i), out);
            });
        }
        Ok(())
    }
}

fn prepare_dequantize(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let scales = Scales::read(node)?;
    match node.dtype(0)? {
        DType::I8 => Some(Box::new(Dequantize::<i8> { scales, from: std::marker::PhantomData })),
        DType::U8 => Some(Box::new(Dequantize::<u8> { scales, from: std::marker::PhantomData })),
        _ => None,
    }
}

struct Dequantize<T> {
    scales: Scales,
    from: std::marker::PhantomData<fn(T)>,
}

/// `(x - zero) · scale`.
fn dequantize<T: Quantized>(isa: Isa, x: &[T], scale: f32, zero: i32, out: &mut [f32]) {
    loops::vectorised(
        isa,
        #[inline(always)]
        || out.iter_mut().zip(x).for_each(|(out, x)| *out = (x.widen() - zero) as f32 * scale),
    );
}

impl<T: Quantized + Element> Kernel for Dequantize<T> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, scales) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let (run, count) = self.scales.runs(x, scales)?;
        let zeros = optional(inputs, 2)?.map(|z| z.slice::<T>()).transpose()?;
        let (source, scales, isa) = (x.slice::<T>()?, scales.slice::<f32>()?, ctx.exec.isa);
        let zero = |i: usize| zeros.and_then(|z| z.get(i)).map_or(0, |z| z.widen());
        let out = outputs.tensor::<f32>(0, x.dims)?;
        if count == 1 {
            loops::split(ctx.exec, out, &|range, out| {
                dequantize(isa, &source[range], scales[0], zero(0), out)
            });
        } else {
            loops::rows(ctx.exec, out, run, &|row, out| {
                let i = row % count;
                dequantize(isa, &source[row * run..][..run], scales[i], zero(i), out);
            });
        }
        Ok(())
    }
}

/// Quantises to u8 over the range that the input has.
struct Dynamic;

impl Kernel for Dynamic {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (source, isa) = (x.slice::<f32>()?, ctx.exec.isa);
        let (low, high) = loops::vectorised(
            isa,
            #[inline(always)]
            || {
                let (mut low, mut high) = ([0f32; 16], [0f32; 16]);
                for chunk in source.chunks(16) {
                    for (i, &x) in chunk.iter().enumerate() {
                        low[i] = if x < low[i] { x } else { low[i] };
                        high[i] = if x > high[i] { x } else { high[i] };
                    }
                }
                (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max))
            },
        );
        let (scale, zero) = parameters_of_range(low, high);
        outputs.tensor::<f32>(1, &[])?[0] = scale;
        outputs.tensor::<u8>(2, &[])?[0] = zero;
        let out = outputs.tensor::<u8>(0, x.dims)?;
        loops::split(ctx.exec, out, &|range, out| quantize(isa, &source[range], scale, zero.into(), out));
        Ok(())
    }
}
