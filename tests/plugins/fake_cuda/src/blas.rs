//! cuBLASLt's functions, as its documentation has them: matrices lie column by column, and a product is done element by
//! element when its stream gets there.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use crate::driver::{call, device};
use crate::float::{Float, tf32};
use crate::machine::{Machine, Status, Work};

type Raw = *mut c_void;

const INVALID: Status = 7;
const NOT_SUPPORTED: Status = 15;
/// What every product asks for, and writes to.
const WORKSPACE: usize = 1024;

/// Of scales.
const FLOAT: c_int = 0;
const DOUBLE: c_int = 1;
const COMPUTE_FLOAT: c_int = 68;
const COMPUTE_DOUBLE: c_int = 70;
const COMPUTE_TF32: c_int = 77;

const RELU: u32 = 2;
const BIAS: u32 = 4;
const GELU: u32 = 32;

#[derive(Clone, Copy)]
struct Description {
    compute: c_int,
    scale: c_int,
    transposed: [bool; 2],
    epilogue: u32,
    bias: u64,
}

#[derive(Clone, Copy, PartialEq)]
struct Layout {
    dtype: Float,
    rows: usize,
    columns: usize,
    leading: usize,
    batch: usize,
    stride: i64,
}

#[derive(Clone, Copy, Default)]
struct Preference {
    workspace: u64,
    reductions: u32,
}

#[repr(C)]
pub struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

/// # Safety
/// As cuBLASLt's documentation says of the function of this name; so of all here.
pub unsafe fn make<T>(place: *mut Raw, value: T) -> Status {
    // SAFETY: the caller's promise.
    unsafe { place.write(Box::into_raw(Box::new(value)).cast()) };
    0
}

/// # Safety
/// As above.
pub unsafe fn unmake<T>(raw: Raw) -> Status {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(raw.cast::<T>()) });
    0
}

/// A value of a type's size, or none.
///
/// # Safety
/// As above.
unsafe fn get<T: Copy>(value: *const c_void, size: usize) -> Option<T> {
    // SAFETY: the caller's promise.
    (size == size_of::<T>()).then(|| unsafe { value.cast::<T>().read_unaligned() })
}

exports! {
    cublasLtCreate(handle: *mut Raw) {
        call("cublasLtCreate", |_| {
            device()?;
            // SAFETY: the caller's promise; so in all of these.
            match unsafe { make(handle, 0u8) } { 0 => Ok(()), status => Err(status) }
        })
    }
    cublasLtDestroy(handle: Raw) {
        // SAFETY: as above.
        unsafe { unmake::<u8>(handle) }
    }
    cublasLtMatrixLayoutCreate(layout: *mut Raw, dtype: c_int, rows: u64, columns: u64, leading: i64) {
        let Ok(leading) = usize::try_from(leading) else { return INVALID };
        let (rows, columns) = (rows as usize, columns as usize);
        if leading < rows || rows == 0 || columns == 0 {
            return INVALID;
        }
        let dtype = match dtype {
            0 => Float::Single,
            1 => Float::Double,
            2 => Float::Half,
            14 => Float::Brain,
            _ => return NOT_SUPPORTED,
        };
        // SAFETY: as above.
        unsafe { make(layout, Layout { dtype, rows, columns, leading, batch: 1, stride: 0 }) }
    }
    cublasLtMatrixLayoutDestroy(layout: Raw) {
        // SAFETY: as above.
        unsafe { unmake::<Layout>(layout) }
    }
    cublasLtMatrixLayoutSetAttribute(layout: Raw, attribute: c_int, value: *const c_void, size: usize) {
        // SAFETY: as above.
        let (layout, number, long) = unsafe {
            (&mut *layout.cast::<Layout>(), get::<i32>(value, size), get::<i64>(value, size))
        };
        match (attribute, number, long) {
            (5, Some(batch), _) if batch > 0 => layout.batch = batch as usize,
            (6, _, Some(stride)) => layout.stride = stride,
            _ => return INVALID,
        }
        0
    }
    cublasLtMatmulDescCreate(description: *mut Raw, compute: c_int, scale: c_int) {
        let made = Description { compute, scale, transposed: [false; 2], epilogue: 1, bias: 0 };
        // SAFETY: as above.
        unsafe { make(description, made) }
    }
    cublasLtMatmulDescDestroy(description: Raw) {
        // SAFETY: as above.
        unsafe { unmake::<Description>(description) }
    }
    cublasLtMatmulDescSetAttribute(description: Raw, attribute: c_int, value: *const c_void, size: usize) {
        // SAFETY: as above.
        let (description, number, address) = unsafe {
            (&mut *description.cast::<Description>(), get::<u32>(value, size), get::<u64>(value, size))
        };
        match (attribute, number, address) {
            (3 | 4, Some(number @ 0..=1), _) => description.transposed[attribute as usize - 3] = number == 1,
            (7, Some(epilogue), _) => description.epilogue = epilogue,
            (8, _, Some(address)) => description.bias = address,
            _ => return INVALID,
        }
        0
    }
    cublasLtMatmulPreferenceCreate(preference: *mut Raw) {
        // SAFETY: as above.
        unsafe { make(preference, Preference::default()) }
    }
    cublasLtMatmulPreferenceDestroy(preference: Raw) {
        // SAFETY: as above.
        unsafe { unmake::<Preference>(preference) }
    }
    cublasLtMatmulPreferenceSetAttribute(preference: Raw, attribute: c_int, value: *const c_void, size: usize) {
        // SAFETY: as above.
        let (preference, number, long) = unsafe {
            (&mut *preference.cast::<Preference>(), get::<u32>(value, size), get::<u64>(value, size))
        };
        match (attribute, number, long) {
            (1, _, Some(bytes)) => preference.workspace = bytes,
            (3, Some(mask), _) => preference.reductions = mask,
            _ => return INVALID,
        }
        0
    }
    cublasLtMatmulAlgoGetHeuristic(
        _handle: Raw, description: Raw, a: Raw, b: Raw, c: Raw, d: Raw, preference: Raw, wanted: c_int,
        found: *mut Heuristic, count: *mut c_int,
    ) {
        call("cublasLtMatmulAlgoGetHeuristic", |_| {
            // SAFETY: as above.
            let (product, preference) = unsafe {
                (Product::new(description, [a, b, c, d])?, *preference.cast::<Preference>())
            };
            let possible = wanted > 0 && preference.workspace >= WORKSPACE as u64 && product.is_possible();
            // SAFETY: as above; there is room for as many as are wanted.
            unsafe {
                count.write(c_int::from(possible));
                if possible {
                    let algorithm = [u64::from(preference.reductions), 0, 0, 0, 0, 0, 0, 7];
                    let (state, waves, reserved) = (0, 1.0, [0; 4]);
                    found.write(Heuristic { algorithm, workspace: WORKSPACE, state, waves, reserved });
                }
            }
            if possible { Ok(()) } else { Err(NOT_SUPPORTED) }
        })
    }
    cublasLtMatmul(
        _handle: Raw, description: Raw, alpha: *const c_void, a: u64, a_lies: Raw, b: u64, b_lies: Raw,
        beta: *const c_void, c: u64, c_lies: Raw, d: u64, d_lies: Raw, algorithm: *const [u64; 8], workspace: u64,
        room: usize, stream: Raw,
    ) {
        call("cublasLtMatmul", |machine| {
            // SAFETY: as above.
            let (product, algorithm) = unsafe {
                (Product::new(description, [a_lies, b_lies, c_lies, d_lies])?, *algorithm)
            };
            if algorithm[7] != 7 || room < WORKSPACE || !product.is_possible() {
                return Err(INVALID);
            }
            let factor = |scalar: *const c_void| match product.description.scale {
                // SAFETY: as above; the scalars are of the scale's type.
                DOUBLE => unsafe { scalar.cast::<f64>().read_unaligned() },
                // SAFETY: as above.
                _ => f64::from(unsafe { scalar.cast::<f32>().read_unaligned() }),
            };
            let factors = [factor(alpha), factor(beta)];
            product.enqueue(machine, factors, [a, b, c, d, workspace], stream as u64)
        })
    }
}

/// A product that is described whole.
#[derive(Clone, Copy)]
struct Product {
    description: Description,
    /// Of both factors, what is added, and the result.
    layouts: [Layout; 4],
}

impl Product {
    /// # Safety
    /// They are what was made here.
    unsafe fn new(description: Raw, layouts: [Raw; 4]) -> Result<Product, Status> {
        // SAFETY: the caller's promise.
        let product = unsafe {
            Product {
                description: *description.cast::<Description>(),
                layouts: layouts.map(|layout| *layout.cast::<Layout>()),
            }
        };
        if product.fits() { Ok(product) } else { Err(INVALID) }
    }

    fn fits(&self) -> bool {
        let [a, b, c, d] = self.layouts;
        let seen = |layout: Layout, transposed: bool| match transposed {
            true => (layout.columns, layout.rows),
            false => (layout.rows, layout.columns),
        };
        let [(m, k), (k_too, n)] =
            [seen(a, self.description.transposed[0]), seen(b, self.description.transposed[1])];
        k == k_too && (m, n) == (d.rows, d.columns) && c == d && [a, b].iter().all(|x| x.batch == d.batch)
    }

    /// Whether the library has a way: in one type, and with nothing behind a product of doubles.
    fn is_possible(&self) -> bool {
        let [a, b, _, d] = self.layouts;
        let (compute, scale) = (self.description.compute, self.description.scale);
        let known = match a.dtype {
            Float::Single => [COMPUTE_FLOAT, COMPUTE_TF32].contains(&compute) && scale == FLOAT,
            Float::Half | Float::Brain => compute == COMPUTE_FLOAT && scale == FLOAT,
            Float::Double => compute == COMPUTE_DOUBLE && scale == DOUBLE && self.description.epilogue == 1,
        };
        let epilogue = self.description.epilogue;
        let epilogue = [1, RELU, GELU, BIAS, RELU | BIAS, GELU | BIAS].contains(&epilogue);
        let bias = self.description.epilogue & BIAS == 0 || self.description.bias != 0;
        known && epilogue && bias && a.dtype == b.dtype && a.dtype == d.dtype
    }

    fn enqueue(
        self,
        machine: &mut Machine,
        factors: [f64; 2],
        [a, b, c, d, workspace]: [u64; 5],
        stream: u64,
    ) -> Result<(), Status> {
        let [a_lies, b_lies, c_lies, d_lies] = self.layouts;
        let mut pieces = vec![(a, a_lies.bytes()), (b, b_lies.bytes()), (d, d_lies.bytes())];
        pieces.push((workspace, WORKSPACE as u64));
        if factors[1] != 0.0 {
            pieces.push((c, c_lies.bytes()));
        }
        if self.description.epilogue & BIAS != 0 {
            pieces.push((self.description.bias, (d_lies.rows * d_lies.dtype.size()) as u64));
        }
        // SAFETY: the driver looks the pieces up before it does this.
        let run = move || unsafe { self.run(factors, [a, b, c, d, workspace]) };
        let work = Work::Host { name: "cublasLtMatmul", device: device()?, pieces, run: Arc::new(run) };
        machine.enqueue(stream, work)
    }

    /// # Safety
    /// The addresses have room for what the layouts say.
    unsafe fn run(&self, [alpha, beta]: [f64; 2], [a, b, c, d, workspace]: [u64; 5]) {
        let [a_lies, b_lies, c_lies, d_lies] = self.layouts;
        let [a_turned, b_turned] = self.description.transposed;
        let k = if a_turned { a_lies.rows } else { a_lies.columns };
        let rounded = |value: f64| if self.description.compute == COMPUTE_TF32 { tf32(value) } else { value };
        // SAFETY: the caller's promise; so below.
        unsafe { (workspace as *mut u8).write_bytes(0x77, WORKSPACE) };
        for batch in 0..d_lies.batch {
            for column in 0..d_lies.columns {
                for row in 0..d_lies.rows {
                    let mut sum = 0.0;
                    for step in 0..k {
                        // SAFETY: as above.
                        let (left, right) = unsafe {
                            (
                                a_lies.read(a, batch, row, step, a_turned),
                                b_lies.read(b, batch, step, column, b_turned),
                            )
                        };
                        sum += rounded(left) * rounded(right);
                    }
                    let mut value = alpha * sum;
                    if beta != 0.0 {
                        // SAFETY: as above.
                        value += beta * unsafe { c_lies.read(c, batch, row, column, false) };
                    }
                    if self.description.epilogue & BIAS != 0 {
                        // SAFETY: as above.
                        value += unsafe { d_lies.dtype.load(self.description.bias, row) };
                    }
                    if self.description.epilogue & RELU != 0 {
                        value = value.max(0.0);
                    }
                    if self.description.epilogue & GELU != 0 {
                        let inner = 0.797_884_560_802_865_4 * (value + 0.044_715 * value * value * value);
                        value = 0.5 * value * (1.0 + inner.tanh());
                    }
                    // SAFETY: as above.
                    unsafe { d_lies.dtype.store(d, d_lies.place(batch, row, column), value) };
                }
            }
        }
    }
}

impl Layout {
    fn place(&self, batch: usize, row: usize, column: usize) -> usize {
        (batch as i64 * self.stride) as usize + column * self.leading + row
    }

    fn bytes(&self) -> u64 {
        let last = self.place(self.batch - 1, self.rows - 1, self.columns - 1);
        ((last + 1) * self.dtype.size()) as u64
    }

    /// # Safety
    /// There is a matrix.
    unsafe fn read(&self, address: u64, batch: usize, row: usize, column: usize, turned: bool) -> f64 {
        let (row, column) = if turned { (column, row) } else { (row, column) };
        // SAFETY: the caller's promise.
        unsafe { self.dtype.load(address, self.place(batch, row, column)) }
    }
}
