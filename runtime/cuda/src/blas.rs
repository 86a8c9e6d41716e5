//! cuBLASLt with owners and errors: products of matrices by NVIDIA's own kernels.
//!
//! The library counts in columns where everything here counts in rows: what it is told to be the left factor is the right
//! one, and every matrix is its transpose. So `yᵀ = bᵀ · aᵀ`, and a bias for each row there is one for each column here.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

use byoc_plugin::{Category, DType, Error, Result};

use crate::api::{Address, CublasLtApi, Heuristic, Raw, Status};
use crate::kernel::Operands;
use crate::multiply::{Activation, Form, Multiply};

/// Workspace that the library may ask for, as NVIDIA advises for its larger GPUs.
const MOST_WORKSPACE: u64 = 32 << 20;

/// Numbers of the library's.
mod number {
    use std::ffi::c_int;

    pub const COMPUTE_FLOAT: c_int = 68;
    pub const COMPUTE_DOUBLE: c_int = 70;
    pub const COMPUTE_TF32: c_int = 77;
    pub const DESC_TRANSPOSE_A: c_int = 3;
    pub const DESC_TRANSPOSE_B: c_int = 4;
    pub const DESC_EPILOGUE: c_int = 7;
    pub const DESC_BIAS_POINTER: c_int = 8;
    pub const LAYOUT_BATCH_COUNT: c_int = 5;
    pub const LAYOUT_BATCH_STRIDE: c_int = 6;
    pub const PREFERENCE_WORKSPACE: c_int = 1;
    pub const PREFERENCE_REDUCTIONS: c_int = 3;
    /// Parts of a sum are joined in the type of the sum, in a fixed order.
    pub const REDUCTION_IN_ORDER: u32 = 2;
    pub const EPILOGUE_DEFAULT: u32 = 1;
    pub const EPILOGUE_RELU: u32 = 2;
    pub const EPILOGUE_BIAS: u32 = 4;
    pub const EPILOGUE_GELU: u32 = 32;
    pub const OUT_OF_MEMORY: c_int = 3;
}

/// An element type's number, what sums are computed in, and the type of the factors.
fn types(dtype: DType, tf32: bool) -> Option<(c_int, c_int, c_int)> {
    const FLOAT: c_int = 0;
    const DOUBLE: c_int = 1;
    Some(match dtype {
        DType::F32 if tf32 => (FLOAT, number::COMPUTE_TF32, FLOAT),
        DType::F32 => (FLOAT, number::COMPUTE_FLOAT, FLOAT),
        DType::F64 => (DOUBLE, number::COMPUTE_DOUBLE, DOUBLE),
        DType::F16 => (2, number::COMPUTE_FLOAT, FLOAT),
        DType::BF16 => (14, number::COMPUTE_FLOAT, FLOAT),
        _ => return None,
    })
}

fn check(call: &str, status: Status) -> Result<()> {
    let category = match status {
        0 => return Ok(()),
        number::OUT_OF_MEMORY => Category::OutOfMemory,
        _ => Category::Internal,
    };
    Err(Error::new(category, format!("{call}: cuBLASLt's error {status}")))
}

/// The library on one GPU, whose context is this thread's in all calls.
pub struct Blas {
    api: Arc<CublasLtApi>,
    handle: Raw,
    /// Factors of float32 may be rounded to what tensor cores take.
    tf32: bool,
    prepared: Mutex<HashMap<Form, Option<Arc<Prepared>>>>,
}

// SAFETY: the library's handles may be used by several threads at once.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    pub fn new(api: &Arc<CublasLtApi>, tf32: bool) -> Result<Blas> {
        let mut handle = null_mut();
        // SAFETY: as the library's header says; so in all of this file.
        check("cublasLtCreate", unsafe { (api.cublasLtCreate)(&mut handle) })?;
        Ok(Blas { api: Arc::clone(api), handle, tf32, prepared: Mutex::default() })
    }

    /// How a product is done; `None` where the library has no way.
    pub fn prepare(&self, form: &Form) -> Option<Arc<Prepared>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = prepared.get(form) {
            return known.clone();
        }
        let made = Prepared::new(&self.api, self.handle, form, self.tf32).ok().map(Arc::new);
        prepared.insert(form.clone(), made.clone());
        made
    }

    /// Enqueues a product; addresses are those of `Call::Library`.
    pub fn enqueue(
        &self,
        product: &Multiply,
        addresses: &[Address],
        workspace: u64,
        stream: u64,
    ) -> Result<()> {
        let form = &product.form;
        let lost = || Error::internal("a product that was planned cannot be done");
        let prepared = self.prepare(form).ok_or_else(lost)?;
        let operands = Operands::new(addresses, [form.bias, form.addend, workspace > 0])?;
        prepared.enqueue(self.handle, product, &operands, workspace, stream)
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: as above; what was enqueued is done, and the handle is destroyed once.
        unsafe { (self.api.cublasLtDestroy)(self.handle) };
    }
}

/// A product's description and the way to do it.
pub struct Prepared {
    description: Mutex<Description>,
    /// Of the right factor, the left one, and the output with what is added to it.
    layouts: [Layout; 3],
    heuristic: Heuristic,
    double: bool,
}

impl Prepared {
    fn new(api: &Arc<CublasLtApi>, handle: Raw, form: &Form, tf32: bool) -> Result<Prepared> {
        let unknown = || Error::unsupported(format!("products of {}", form.dtype));
        let (dtype, compute, scale) = types(form.dtype, tf32).ok_or_else(unknown)?;
        let description = Description::new(api, compute, scale)?;
        description.set(number::DESC_TRANSPOSE_A, &c_int::from(form.transposed[1]))?;
        description.set(number::DESC_TRANSPOSE_B, &c_int::from(form.transposed[0]))?;
        description.set(number::DESC_EPILOGUE, &epilogue(form))?;
        if form.bias {
            // Ways may differ by whether there is one; the address itself is set before each call.
            description.set(number::DESC_BIAS_POINTER, &Address::from(u64::from(u32::MAX) + 1))?;
        }
        let layout = |rows: usize, columns: usize, stride: usize| {
            Layout::new(api, dtype, [rows, columns], form.batch, stride)
        };
        // A matrix of rows, seen by columns.
        let seen = |rows: usize, columns: usize, transposed: bool, stride: usize| match transposed {
            true => layout(rows, columns, stride),
            false => layout(columns, rows, stride),
        };
        let layouts = [
            seen(form.k, form.n, form.transposed[1], form.strides[1])?,
            seen(form.m, form.k, form.transposed[0], form.strides[0])?,
            layout(form.n, form.m, form.m * form.n)?,
        ];
        let preference = Preference::new(api)?;
        preference.set(number::PREFERENCE_WORKSPACE, &MOST_WORKSPACE)?;
        preference.set(number::PREFERENCE_REDUCTIONS, &number::REDUCTION_IN_ORDER)?;
        let (mut heuristic, mut found) = (Heuristic::default(), 0);
        let [right, left, output] = [&layouts[0], &layouts[1], &layouts[2]].map(|layout| layout.raw);
        // SAFETY: as above; there is room for the one answer that is asked for.
        let status = unsafe {
            (api.cublasLtMatmulAlgoGetHeuristic)(
                handle,
                description.raw,
                right,
                left,
                output,
                output,
                preference.raw,
                1,
                &mut heuristic,
                &mut found,
            )
        };
        check("cublasLtMatmulAlgoGetHeuristic", status)?;
        if found < 1 || heuristic.state != 0 {
            return Err(Error::unsupported("cuBLASLt has no way to do this product"));
        }
        let double = form.dtype == DType::F64;
        Ok(Prepared { description: Mutex::new(description), layouts, heuristic, double })
    }

    pub fn workspace(&self) -> u64 {
        self.heuristic.workspace as u64
    }

    fn enqueue(
        &self,
        handle: Raw,
        product: &Multiply,
        &Operands { factors: [left, right], bias, addend, output, workspace: scratch }: &Operands,
        workspace: u64,
        stream: u64,
    ) -> Result<()> {
        // The address of the bias is part of the description: others wait until the library has read it.
        let description = self.description.lock().unwrap_or_else(PoisonError::into_inner);
        if product.form.bias {
            description.set(number::DESC_BIAS_POINTER, &bias)?;
        }
        let (alpha, beta) = (product.alpha, if product.form.addend { product.beta } else { 0.0 });
        let (narrow, wide) = ([alpha as f32, beta as f32], [alpha, beta]);
        let scalar = |place: usize| match self.double {
            true => from_ref(&wide[place]).cast::<c_void>(),
            false => from_ref(&narrow[place]).cast::<c_void>(),
        };
        let [right_lies, left_lies, output_lies] = [0, 1, 2].map(|place: usize| self.layouts[place].raw);
        // Without an addend it is not read, but has to be somewhere.
        let addend = if product.form.addend { addend } else { output };
        // SAFETY: as above; addresses are the plan's, with room for what the form says.
        let status = unsafe {
            (description.api.cublasLtMatmul)(
                handle,
                description.raw,
                scalar(0),
                right,
                right_lies,
                left,
                left_lies,
                scalar(1),
                addend,
                output_lies,
                output,
                output_lies,
                &self.heuristic.algorithm,
                scratch,
                workspace as usize,
                stream as usize as Raw,
            )
        };
        check("cublasLtMatmul", status)
    }
}

fn epilogue(form: &Form) -> u32 {
    let activation = match form.activation {
        Activation::None => 0,
        Activation::Relu => number::EPILOGUE_RELU,
        Activation::Gelu => number::EPILOGUE_GELU,
    };
    let bias = if form.bias { number::EPILOGUE_BIAS } else { 0 };
    if activation | bias == 0 { number::EPILOGUE_DEFAULT } else { activation | bias }
}

/// A description of the library's: made with some numbers, set by attributes, destroyed when it goes.
macro_rules! described {
    ($(#[$doc:meta])* $name:ident, $set:ident, $destroy:ident) => {
        $(#[$doc])*
        struct $name {
            api: Arc<CublasLtApi>,
            raw: Raw,
        }

        // SAFETY: descriptions belong to no thread; whoever changes one has it alone.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl $name {
            fn set<T>(&self, attribute: c_int, value: &T) -> Result<()> {
                let (value, size) = (from_ref(value).cast(), size_of::<T>());
                // SAFETY: as the library's header says; the value has the type that it asks for.
                check(stringify!($set), unsafe { (self.api.$set)(self.raw, attribute, value, size) })
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: as above; it is ours, and destroyed once.
                unsafe { (self.api.$destroy)(self.raw) };
            }
        }
    };
}

described!(
    /// What a product does.
    Description, cublasLtMatmulDescSetAttribute, cublasLtMatmulDescDestroy
);
described!(
    /// How a matrix lies.
    Layout, cublasLtMatrixLayoutSetAttribute, cublasLtMatrixLayoutDestroy
);
described!(
    /// What matters in the choice of a way.
    Preference, cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreferenceDestroy
);

impl Description {
    fn new(api: &Arc<CublasLtApi>, compute: c_int, scale: c_int) -> Result<Description> {
        let mut raw = null_mut();
        // SAFETY: as above.
        let status = unsafe { (api.cublasLtMatmulDescCreate)(&mut raw, compute, scale) };
        check("cublasLtMatmulDescCreate", status)?;
        Ok(Description { api: Arc::clone(api), raw })
    }
}

impl Layout {
    /// Columns behind each other, matrices of a batch so many elements apart.
    fn new(
        api: &Arc<CublasLtApi>,
        dtype: c_int,
        [rows, columns]: [usize; 2],
        batch: usize,
        stride: usize,
    ) -> Result<Layout> {
        let mut raw = null_mut();
        // SAFETY: as above.
        let status = unsafe {
            (api.cublasLtMatrixLayoutCreate)(&mut raw, dtype, rows as u64, columns as u64, rows as i64)
        };
        check("cublasLtMatrixLayoutCreate", status)?;
        let layout = Layout { api: Arc::clone(api), raw };
        if batch > 1 {
            layout.set(number::LAYOUT_BATCH_COUNT, &(batch as i32))?;
            layout.set(number::LAYOUT_BATCH_STRIDE, &(stride as i64))?;
        }
        Ok(layout)
    }
}

impl Preference {
    fn new(api: &Arc<CublasLtApi>) -> Result<Preference> {
        let mut raw = null_mut();
        // SAFETY: as above.
        check("cublasLtMatmulPreferenceCreate", unsafe { (api.cublasLtMatmulPreferenceCreate)(&mut raw) })?;
        Ok(Preference { api: Arc::clone(api), raw })
    }
}
