//! cuDNN with owners and errors: convolutions by NVIDIA's own kernels.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

use byoc_plugin::{Category, DType, Error, Result};

use crate::api::{Address, CudnnApi, Found, Raw, Status};
use crate::convolve::{Convolve, Form};
use crate::kernel::Operands;

/// Workspace that a convolution may have.
const MOST_WORKSPACE: usize = 64 << 20;

/// Numbers of the library's.
mod number {
    use std::ffi::c_int;

    pub const FLOAT: c_int = 0;
    pub const DOUBLE: c_int = 1;
    pub const HALF: c_int = 2;
    pub const BRAIN: c_int = 9;
    /// Sizes and strides from the slowest axis on.
    pub const ROW_MAJOR: c_int = 0;
    /// Windows are not mirrored.
    pub const CROSS_CORRELATION: c_int = 1;
    pub const TENSOR_CORES: c_int = 1;
    pub const TENSOR_CORES_ROUNDING: c_int = 2;
    pub const PLAIN_ARITHMETIC: c_int = 3;
    pub const DETERMINISTIC: c_int = 1;
    pub const RELU: c_int = 1;
    pub const IDENTITY: c_int = 5;
    pub const KEEP_NAN: c_int = 1;
    /// The only algorithm that ends without an activation.
    pub const IMPLICIT_PRECOMPUTED: c_int = 1;
    pub const ALGORITHMS: usize = 8;
    pub const NO_HOST_MEMORY: c_int = 4003;
    pub const NO_DEVICE_MEMORY: c_int = 4004;
}

fn check(call: &str, status: Status) -> Result<()> {
    let category = match status {
        0 => return Ok(()),
        number::NO_HOST_MEMORY | number::NO_DEVICE_MEMORY => Category::OutOfMemory,
        _ => Category::Internal,
    };
    Err(Error::new(category, format!("{call}: cuDNN's error {status}")))
}

/// Calls a function of the library's and makes an error of its status.
macro_rules! call {
    ($api:expr, $name:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: as the library's header says: descriptors are whole, addresses the plan's, and all outlive the call.
        check(stringify!($name), unsafe { ($api.$name)($($argument),*) })
    };
}

/// The library on one GPU, whose context is this thread's in all calls.
pub struct Dnn {
    api: Arc<CudnnApi>,
    /// One thread at a time: it remembers its stream.
    handle: Mutex<Handle>,
    /// Factors of float32 may be rounded to what tensor cores take.
    tf32: bool,
    prepared: Mutex<HashMap<Form, Option<Arc<Prepared>>>>,
}

struct Handle(Raw);

// SAFETY: it belongs to no thread; whoever uses it has it alone.
unsafe impl Send for Handle {}

impl Dnn {
    pub fn new(api: &Arc<CudnnApi>, tf32: bool) -> Result<Dnn> {
        let mut handle = null_mut();
        call!(api, cudnnCreate(&mut handle))?;
        Ok(Dnn { api: Arc::clone(api), handle: Mutex::new(Handle(handle)), tf32, prepared: Mutex::default() })
    }

    /// How a convolution is done; `None` where the library has no way.
    pub fn prepare(&self, form: &Form) -> Option<Arc<Prepared>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = prepared.get(form) {
            return known.clone();
        }
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let made = Prepared::new(&self.api, handle.0, form, self.tf32).ok().map(Arc::new);
        prepared.insert(form.clone(), made.clone());
        made
    }

    /// Enqueues a convolution; addresses are those of `Call::Library`.
    pub fn enqueue(
        &self,
        convolve: &Convolve,
        addresses: &[Address],
        workspace: u64,
        stream: u64,
    ) -> Result<()> {
        let form = &convolve.form;
        let lost = || Error::internal("a convolution that was planned cannot be done");
        let prepared = self.prepare(form).ok_or_else(lost)?;
        let operands = Operands::new(addresses, [form.bias, form.addend, workspace > 0])?;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        call!(self.api, cudnnSetStream(handle.0, stream as usize as Raw))?;
        prepared.enqueue(&self.api, handle.0, convolve, &operands, workspace as usize)
    }
}

impl Drop for Dnn {
    fn drop(&mut self) {
        let handle = self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What was enqueued is done; an error has nobody to be told to.
        let _ = call!(self.api, cudnnDestroy(handle.0));
    }
}

/// A convolution's description and the way to do it.
pub struct Prepared {
    image: Descriptor,
    weights: Descriptor,
    output: Descriptor,
    windows: Descriptor,
    /// Bias and activation, where the convolution ends in any.
    end: Option<[Descriptor; 2]>,
    found: Found,
    double: bool,
}

impl Prepared {
    fn new(api: &Arc<CudnnApi>, handle: Raw, form: &Form, tf32: bool) -> Result<Prepared> {
        let (dtype, sums) = match form.dtype {
            DType::F32 => (number::FLOAT, number::FLOAT),
            DType::F64 => (number::DOUBLE, number::DOUBLE),
            DType::F16 => (number::HALF, number::FLOAT),
            DType::BF16 => (number::BRAIN, number::FLOAT),
            other => return Err(Error::unsupported(format!("convolutions of {other}"))),
        };
        // A bias is part of what the call with an activation takes, which is the one that takes an addend, too.
        let ends = form.bias || form.addend || form.relu;
        if ends && !form.bias {
            return Err(Error::unsupported("an end without a bias"));
        }
        let bias: Vec<usize> =
            (0..form.output.len()).map(|axis| if axis == 1 { form.output[1] } else { 1 }).collect();
        let mut prepared = Prepared {
            image: Descriptor::tensor(api, dtype, &form.image)?,
            weights: Descriptor::filter(api, dtype, &form.weights)?,
            output: Descriptor::tensor(api, dtype, &form.output)?,
            windows: Descriptor::windows(api, sums, form)?,
            end: match ends {
                true => {
                    Some([Descriptor::tensor(api, dtype, &bias)?, Descriptor::activation(api, form.relu)?])
                }
                false => None,
            },
            found: Found::default(),
            double: form.dtype == DType::F64,
        };
        let exact = form.dtype == DType::F32 && !tf32;
        let math = if exact { number::PLAIN_ARITHMETIC } else { number::TENSOR_CORES };
        call!(api, cudnnSetConvolutionMathType(prepared.windows.raw, math))?;
        prepared.found = prepared.choose(api, handle, exact, ends && !form.relu)?;
        if !exact {
            call!(api, cudnnSetConvolutionMathType(prepared.windows.raw, prepared.found.math))?;
        }
        Ok(prepared)
    }

    /// The way that the library expects to be fastest, of those that give the same bits each time.
    fn choose(&self, api: &CudnnApi, handle: Raw, exact: bool, linear_end: bool) -> Result<Found> {
        let (mut found, mut count) = ([Found::default(); number::ALGORITHMS], 0);
        call!(
            api,
            cudnnGetConvolutionForwardAlgorithm_v7(
                handle,
                self.image.raw,
                self.weights.raw,
                self.windows.raw,
                self.output.raw,
                number::ALGORITHMS as c_int,
                &mut count,
                found.as_mut_ptr(),
            )
        )?;
        let rounds = [number::TENSOR_CORES, number::TENSOR_CORES_ROUNDING];
        let fits = |way: &&Found| {
            way.status == 0
                && way.determinism == number::DETERMINISTIC
                && way.memory <= MOST_WORKSPACE
                && !(exact && rounds.contains(&way.math))
                && (!linear_end || way.algorithm == number::IMPLICIT_PRECOMPUTED)
        };
        let count = usize::try_from(count).unwrap_or(0).min(found.len());
        let chosen = found[..count].iter().find(fits).copied();
        chosen.ok_or_else(|| Error::unsupported("cuDNN has no way to do this convolution"))
    }

    pub fn workspace(&self) -> u64 {
        self.found.memory as u64
    }

    fn enqueue(
        &self,
        api: &CudnnApi,
        handle: Raw,
        convolve: &Convolve,
        &Operands { factors: [image, weights], bias, addend, output, workspace: scratch }: &Operands,
        workspace: usize,
    ) -> Result<()> {
        let (alpha, beta) = (convolve.alpha, if convolve.form.addend { convolve.beta } else { 0.0 });
        let (narrow, wide) = ([alpha as f32, beta as f32], [alpha, beta]);
        let scalar = |place: usize| match self.double {
            true => from_ref(&wide[place]).cast::<c_void>(),
            false => from_ref(&narrow[place]).cast::<c_void>(),
        };
        let (x, w, y, windows) = (self.image.raw, self.weights.raw, self.output.raw, self.windows.raw);
        let algorithm = self.found.algorithm;
        let Some([bias_lies, activation]) = &self.end else {
            return call!(
                api,
                cudnnConvolutionForward(
                    handle,
                    scalar(0),
                    x,
                    image,
                    w,
                    weights,
                    windows,
                    algorithm,
                    scratch,
                    workspace,
                    scalar(1),
                    y,
                    output,
                )
            );
        };
        // Without an addend it is not read, but has to be somewhere.
        let addend = if convolve.form.addend { addend } else { output };
        call!(
            api,
            cudnnConvolutionBiasActivationForward(
                handle,
                scalar(0),
                x,
                image,
                w,
                weights,
                windows,
                algorithm,
                scratch,
                workspace,
                scalar(1),
                y,
                addend,
                bias_lies.raw,
                bias,
                activation.raw,
                y,
                output,
            )
        )
    }
}

/// A description of the library's, destroyed when it goes.
struct Descriptor {
    raw: Raw,
    destroy: unsafe extern "C" fn(Raw) -> Status,
}

// SAFETY: descriptions belong to no thread, and are not changed once they are made.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed once; the library is never unloaded.
        unsafe { (self.destroy)(self.raw) };
    }
}

/// Sizes as the library takes them; whoever made the form has seen that they fit.
fn ints(sizes: &[usize]) -> Vec<c_int> {
    sizes.iter().map(|size| *size as c_int).collect()
}

impl Descriptor {
    fn tensor(api: &CudnnApi, dtype: c_int, sizes: &[usize]) -> Result<Descriptor> {
        let mut raw = null_mut();
        call!(api, cudnnCreateTensorDescriptor(&mut raw))?;
        let made = Descriptor { raw, destroy: api.cudnnDestroyTensorDescriptor };
        let behind = |axis: usize| sizes[axis + 1..].iter().product::<usize>();
        let strides: Vec<usize> = (0..sizes.len()).map(behind).collect();
        let (sizes, strides) = (ints(sizes), ints(&strides));
        let rank = sizes.len() as c_int;
        call!(api, cudnnSetTensorNdDescriptor(raw, dtype, rank, sizes.as_ptr(), strides.as_ptr()))?;
        Ok(made)
    }

    fn filter(api: &CudnnApi, dtype: c_int, sizes: &[usize]) -> Result<Descriptor> {
        let mut raw = null_mut();
        call!(api, cudnnCreateFilterDescriptor(&mut raw))?;
        let made = Descriptor { raw, destroy: api.cudnnDestroyFilterDescriptor };
        let (sizes, rank) = (ints(sizes), sizes.len() as c_int);
        call!(api, cudnnSetFilterNdDescriptor(raw, dtype, number::ROW_MAJOR, rank, sizes.as_ptr()))?;
        Ok(made)
    }

    fn windows(api: &CudnnApi, sums: c_int, form: &Form) -> Result<Descriptor> {
        let mut raw = null_mut();
        call!(api, cudnnCreateConvolutionDescriptor(&mut raw))?;
        let made = Descriptor { raw, destroy: api.cudnnDestroyConvolutionDescriptor };
        let [pads, strides, dilations] = [&form.pads, &form.strides, &form.dilations].map(|list| ints(list));
        let (axes, mode) = (pads.len() as c_int, number::CROSS_CORRELATION);
        let [pads, strides, dilations] = [&pads, &strides, &dilations].map(|list| list.as_ptr());
        call!(api, cudnnSetConvolutionNdDescriptor(raw, axes, pads, strides, dilations, mode, sums))?;
        call!(api, cudnnSetConvolutionGroupCount(raw, form.groups as c_int))?;
        Ok(made)
    }

    fn activation(api: &CudnnApi, relu: bool) -> Result<Descriptor> {
        let mut raw = null_mut();
        call!(api, cudnnCreateActivationDescriptor(&mut raw))?;
        let made = Descriptor { raw, destroy: api.cudnnDestroyActivationDescriptor };
        let mode = if relu { number::RELU } else { number::IDENTITY };
        call!(api, cudnnSetActivationDescriptor(raw, mode, number::KEEP_NAN, 0.0))?;
        Ok(made)
    }
}
