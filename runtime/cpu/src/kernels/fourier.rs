//! DFT and STFT of f32, by fast transforms in f64: what should be nothing is nothing. Each lane is one thread's.

use std::sync::{Arc, Mutex, PoisonError};

use byoc_graph::{DType, StaticDims};
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftDirection, FftPlanner};

use super::runs::wrap;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(op: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "fourier", domain: "", ops: op, since: 17, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["DFT"], |node| {
        let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
        let (inverse, onesided) = (flag("inverse"), flag("onesided"));
        let axis = if node.opset() < 20 { node.int("axis").unwrap_or(1) } else { -2 };
        // A real signal from half of its spectrum is the reference's.
        let dft = Dft { axis, inverse, onesided, plan: Plan::default() };
        (!(inverse && onesided)).then(|| Box::new(dft) as Box<dyn Kernel>)
    }),
    entry(&["STFT"], |node| {
        let onesided = node.int("onesided").unwrap_or(1) != 0;
        Some(Box::new(Stft { onesided, plan: Plan::default() }))
    }),
];

/// Longer transforms are refused: their tables would take more than a few gigabytes.
const LONGEST: usize = 1 << 26;

/// The plan of the length that was met last.
#[derive(Default)]
struct Plan(Mutex<Option<Arc<dyn Fft<f64>>>>);

impl Plan {
    fn of(&self, len: usize, inverse: bool) -> Result<Arc<dyn Fft<f64>>, KernelError> {
        if len > LONGEST {
            return Err(KernelError::OutOfMemory { bytes: len.saturating_mul(size_of::<Complex64>()) });
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = kept.as_ref().filter(|plan| plan.len() == len) {
            return Ok(plan.clone());
        }
        let direction = if inverse { FftDirection::Inverse } else { FftDirection::Forward };
        let plan = FftPlanner::new().plan_fft(len, direction);
        *kept = Some(plan.clone());
        Ok(plan)
    }
}

/// The terms that tell all others of a real signal's transform.
fn half(len: usize) -> usize {
    len / 2 + 1
}

/// A whole number that is not negative.
fn size(view: TensorView<'_>) -> Result<usize, KernelError> {
    let all = view.to_i64s().unwrap_or_default();
    let size = if let [one] = all[..] { usize::try_from(one).ok() } else { None };
    size.ok_or_else(|| KernelError::invalid("a length is one whole number"))
}

/// A number of one part, or of a real and an imaginary one.
fn complex(parts: &[f32]) -> Complex64 {
    Complex64::new(parts[0].into(), parts.get(1).copied().unwrap_or(0.0).into())
}

/// Dimensions before the last one, which holds one or two parts, and how many.
fn parts_of(dims: &[usize]) -> Result<(&[usize], usize), KernelError> {
    match dims {
        [dims @ .., parts @ (1 | 2)] => Ok((dims, *parts)),
        _ => {
            Err(KernelError::invalid(format!("the last axis of {dims:?} does not hold the parts of numbers")))
        }
    }
}

struct Dft {
    axis: i64,
    inverse: bool,
    onesided: bool,
    plan: Plan,
}

impl Kernel for Dft {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (dims, parts) = parts_of(x.dims)?;
        let axis = match optional(inputs, 2)?.map(|axis| axis.to_i64s()) {
            None => self.axis,
            Some(Some(axis)) if axis.len() == 1 => axis[0],
            Some(_) => return Err(KernelError::invalid("the axis is one whole number")),
        };
        let axis = wrap(axis, x.rank())?;
        let Some(&along) = dims.get(axis) else {
            return Err(KernelError::invalid("the axis of the parts of numbers cannot be transformed"));
        };
        let len = optional(inputs, 1)?.map_or(Ok(along), size)?;
        if len == 0 {
            return Err(KernelError::invalid("a transform of no elements"));
        }
        let wanted = if self.onesided { half(len) } else { len };
        let mut to: StaticDims = dims.into();
        to[axis] = wanted;
        to.push(2);
        let plan = self.plan.of(len, self.inverse)?;
        let (source, out) = (x.slice::<f32>()?, outputs.tensor::<f32>(0, &to)?);
        if out.is_empty() {
            return Ok(());
        }
        let inner: usize = dims[axis + 1..].iter().product();
        let scale = if self.inverse { 1.0 / len as f64 } else { 1.0 };
        ctx.exec.pool.parallel_chunks(out, wanted * inner * 2, &|outer, out| {
            let source = &source[outer * along * inner * parts..][..along * inner * parts];
            let mut signal = vec![Complex64::default(); len];
            let mut scratch = vec![Complex64::default(); plan.get_inplace_scratch_len()];
            for lane in 0..inner {
                let given = source.chunks_exact(parts).skip(lane).step_by(inner);
                signal.fill(Complex64::default());
                signal.iter_mut().zip(given).for_each(|(to, x)| *to = complex(x));
                plan.process_with_scratch(&mut signal, &mut scratch);
                let places = out.chunks_exact_mut(2).skip(lane).step_by(inner);
                places.zip(&signal).for_each(|(out, x)| {
                    out.copy_from_slice(&[x.re * scale, x.im * scale].map(|x| x as f32))
                });
            }
        });
        Ok(())
    }
}

struct Stft {
    onesided: bool,
    plan: Plan,
}

impl Kernel for Stft {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, step) = (tensor(inputs, 0)?, size(tensor(inputs, 1)?)?);
        let (dims, parts) = if x.rank() == 2 { (x.dims, 1) } else { parts_of(x.dims)? };
        let &[batch, len] = dims else {
            return Err(KernelError::invalid(format!("a signal of shape {:?}", x.dims)));
        };
        let window = optional(inputs, 2)?.map(|window| window.slice::<f32>()).transpose()?;
        let frame = match (optional(inputs, 3)?, window) {
            (Some(frame), _) => size(frame)?,
            (None, Some(window)) => window.len(),
            (None, None) => return Err(KernelError::invalid("one of window and frame length is needed")),
        };
        let fits =
            step > 0 && (1..=len).contains(&frame) && window.is_none_or(|window| window.len() <= frame);
        if !fits {
            let message = format!("frames of {frame} every {step} in a signal of {len}");
            return Err(KernelError::invalid(message));
        }
        let (frames, bins) = ((len - frame) / step + 1, if self.onesided { half(frame) } else { frame });
        let plan = self.plan.of(frame, false)?;
        let (source, out) = (x.slice::<f32>()?, outputs.tensor::<f32>(0, &[batch, frames, bins, 2])?);
        // A shorter window stands in the middle of its frame.
        let before = window.map_or(0, |window| (frame - window.len()) / 2);
        ctx.exec.pool.parallel_chunks(out, bins * 2, &|index, out| {
            let start = index / frames * len + index % frames * step;
            let given = source[start * parts..][..frame * parts].chunks_exact(parts);
            let mut signal = vec![Complex64::default(); frame];
            match window {
                None => signal.iter_mut().zip(given).for_each(|(to, x)| *to = complex(x)),
                Some(window) => {
                    let given = given.skip(before).zip(window);
                    signal[before..]
                        .iter_mut()
                        .zip(given)
                        .for_each(|(to, (x, w))| *to = complex(x) * f64::from(*w));
                }
            }
            let mut scratch = vec![Complex64::default(); plan.get_inplace_scratch_len()];
            plan.process_with_scratch(&mut signal, &mut scratch);
            out.chunks_exact_mut(2)
                .zip(&signal)
                .for_each(|(out, x)| out.copy_from_slice(&[x.re as f32, x.im as f32]));
        });
        Ok(())
    }
}
