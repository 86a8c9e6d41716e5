//! cuDNN's functions around convolutions, as its documentation has them: each element is summed up when its stream gets
//! there.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use crate::blas::{make, unmake};
use crate::driver::{call, device};
use crate::float::{Float, tf32};
use crate::machine::{Machine, Status, Work};

type Raw = *mut c_void;

const INVALID: Status = 2000;
const NOT_SUPPORTED: Status = 3000;
/// What the ways ask for that ask for any, and write to.
const WORKSPACE: usize = 512;

const FLOAT: c_int = 0;
const DOUBLE: c_int = 1;
const CROSS_CORRELATION: c_int = 1;
const TENSOR_CORES: c_int = 1;
const PLAIN_ARITHMETIC: c_int = 3;
const RELU: c_int = 1;
const IDENTITY: c_int = 5;
/// Of the ways there are two: this one, and one that adds atomically.
const IMPLICIT_PRECOMPUTED: c_int = 1;
const ATOMIC: c_int = 2;

#[derive(Default)]
struct Handle {
    stream: u64,
}

/// How a tensor, or weights, lie.
#[derive(Clone, Default, PartialEq)]
struct Lies {
    dtype: Option<Float>,
    sizes: Vec<usize>,
}

#[derive(Clone, Default)]
struct Windows {
    pads: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    sums: c_int,
    groups: usize,
    math: c_int,
}

#[derive(Clone, Copy, Default)]
struct Activation {
    mode: c_int,
}

#[repr(C)]
pub struct Found {
    algorithm: c_int,
    status: Status,
    time: f32,
    memory: usize,
    determinism: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

fn float(dtype: c_int) -> Option<Float> {
    match dtype {
        0 => Some(Float::Single),
        1 => Some(Float::Double),
        2 => Some(Float::Half),
        9 => Some(Float::Brain),
        _ => None,
    }
}

/// # Safety
/// There are as many.
unsafe fn sizes(count: c_int, list: *const c_int) -> Vec<usize> {
    // SAFETY: the caller's promise.
    (0..count as usize).map(|i| unsafe { *list.add(i) } as usize).collect()
}

/// What makes and unmakes descriptions that begin empty.
macro_rules! descriptions {
    ($($create:ident, $destroy:ident: $ty:ty;)*) => {
        $(
            /// # Safety
            /// As cuDNN's documentation says of the function of this name; so of all here.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the names are cuDNN's")]
            pub unsafe extern "C" fn $create(place: *mut Raw) -> Status {
                // SAFETY: the caller's promise.
                unsafe { make(place, <$ty>::default()) }
            }

            /// # Safety
            /// As above.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the names are cuDNN's")]
            pub unsafe extern "C" fn $destroy(raw: Raw) -> Status {
                // SAFETY: the caller's promise.
                unsafe { unmake::<$ty>(raw) }
            }
        )*
    };
}

descriptions! {
    cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor: Lies;
    cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor: Lies;
    cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor: Windows;
    cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor: Activation;
}

exports! {
    cudnnCreate(handle: *mut Raw) {
        call("cudnnCreate", |_| {
            device()?;
            // SAFETY: the caller's promise; so in all of these.
            match unsafe { make(handle, Handle::default()) } { 0 => Ok(()), status => Err(status) }
        })
    }
    cudnnDestroy(handle: Raw) {
        // SAFETY: as above.
        unsafe { unmake::<Handle>(handle) }
    }
    cudnnSetStream(handle: Raw, stream: Raw) {
        // SAFETY: as above.
        unsafe { (*handle.cast::<Handle>()).stream = stream as u64 };
        0
    }
    cudnnSetTensorNdDescriptor(
        tensor: Raw, dtype: c_int, rank: c_int, list: *const c_int, strides: *const c_int,
    ) {
        // SAFETY: as above.
        let (sizes, strides) = unsafe { (sizes(rank, list), sizes(rank, strides)) };
        let behind = |axis: usize| sizes[axis + 1..].iter().product::<usize>();
        let dense = (0..sizes.len()).all(|axis| strides[axis] == behind(axis));
        if !(4..=8).contains(&rank) || float(dtype).is_none() || !dense {
            return NOT_SUPPORTED;
        }
        // SAFETY: as above.
        unsafe { *tensor.cast::<Lies>() = Lies { dtype: float(dtype), sizes } };
        0
    }
    cudnnSetFilterNdDescriptor(filter: Raw, dtype: c_int, format: c_int, rank: c_int, list: *const c_int) {
        if !(4..=8).contains(&rank) || float(dtype).is_none() || format != 0 {
            return NOT_SUPPORTED;
        }
        // SAFETY: as above.
        unsafe { *filter.cast::<Lies>() = Lies { dtype: float(dtype), sizes: sizes(rank, list) } };
        0
    }
    cudnnSetConvolutionNdDescriptor(
        windows: Raw, axes: c_int, pads: *const c_int, strides: *const c_int, dilations: *const c_int, mode: c_int,
        sums: c_int,
    ) {
        if mode != CROSS_CORRELATION || !(2..=6).contains(&axes) {
            return NOT_SUPPORTED;
        }
        // SAFETY: as above.
        let windows = unsafe { &mut *windows.cast::<Windows>() };
        // SAFETY: as above.
        let [pads, strides, dilations] = [pads, strides, dilations].map(|list| unsafe { sizes(axes, list) });
        *windows = Windows { pads, strides, dilations, sums, groups: 1, math: 0 };
        0
    }
    cudnnSetConvolutionGroupCount(windows: Raw, groups: c_int) {
        if groups < 1 {
            return INVALID;
        }
        // SAFETY: as above.
        unsafe { (*windows.cast::<Windows>()).groups = groups as usize };
        0
    }
    cudnnSetConvolutionMathType(windows: Raw, math: c_int) {
        // SAFETY: as above.
        unsafe { (*windows.cast::<Windows>()).math = math };
        0
    }
    cudnnSetActivationDescriptor(activation: Raw, mode: c_int, nan: c_int, _coefficient: f64) {
        if ![RELU, IDENTITY].contains(&mode) || nan != 1 {
            return NOT_SUPPORTED;
        }
        // SAFETY: as above.
        unsafe { (*activation.cast::<Activation>()).mode = mode };
        0
    }
    cudnnGetConvolutionForwardAlgorithm_v7(
        _handle: Raw, x: Raw, w: Raw, windows: Raw, y: Raw, wanted: c_int, count: *mut c_int, found: *mut Found,
    ) {
        call("cudnnGetConvolutionForwardAlgorithm_v7", |_| {
            // SAFETY: as above.
            let convolution = unsafe { Convolution::new(x, w, windows, y)? };
            let math = convolution.windows.math;
            // What is fastest is not the same each time; what comes after it is.
            let ways = [(ATOMIC, 0, 0, math), (IMPLICIT_PRECOMPUTED, 1, WORKSPACE, math)];
            let count_of = ways.len().min(wanted.max(0) as usize);
            for (place, (algorithm, determinism, memory, math)) in ways.into_iter().take(count_of).enumerate() {
                let time = place as f32 + 1.0;
                let way = Found { algorithm, status: 0, time, memory, determinism, math, reserved: [0; 3] };
                // SAFETY: as above; there is room for as many as are wanted.
                unsafe { found.add(place).write(way) };
            }
            // SAFETY: as above.
            unsafe { count.write(count_of as c_int) };
            Ok(())
        })
    }
    cudnnConvolutionForward(
        handle: Raw, alpha: *const c_void, x: Raw, x_at: u64, w: Raw, w_at: u64, windows: Raw, algorithm: c_int,
        workspace: u64, room: usize, beta: *const c_void, y: Raw, y_at: u64,
    ) {
        call("cudnnConvolutionForward", |machine| {
            // SAFETY: as above.
            let convolution = unsafe { Convolution::new(x, w, windows, y)? };
            let (alpha, beta) = (convolution.scalar(alpha), convolution.scalar(beta));
            let name = "cudnnConvolutionForward";
            let end = End { name, alpha, beta: 0.0, addend: 0, bias: None, relu: false };
            if beta != 0.0 {
                return Err(NOT_SUPPORTED);
            }
            // SAFETY: as above.
            let stream = unsafe { (*handle.cast::<Handle>()).stream };
            convolution.enqueue(machine, end, algorithm, [x_at, w_at, y_at], (workspace, room), stream)
        })
    }
    cudnnConvolutionBiasActivationForward(
        handle: Raw, alpha: *const c_void, x: Raw, x_at: u64, w: Raw, w_at: u64, windows: Raw, algorithm: c_int,
        workspace: u64, room: usize, beta: *const c_void, z: Raw, z_at: u64, bias: Raw, bias_at: u64, activation: Raw,
        y: Raw, y_at: u64,
    ) {
        call("cudnnConvolutionBiasActivationForward", |machine| {
            // SAFETY: as above.
            let (convolution, z, bias, activation, stream) = unsafe {
                (
                    Convolution::new(x, w, windows, y)?,
                    (*z.cast::<Lies>()).clone(),
                    (*bias.cast::<Lies>()).clone(),
                    *activation.cast::<Activation>(),
                    (*handle.cast::<Handle>()).stream,
                )
            };
            let channels = convolution.output.sizes[1];
            let by_channel = bias.sizes.iter().enumerate().all(|(axis, &size)| size == if axis == 1 { channels } else { 1 });
            let linear = activation.mode == IDENTITY;
            if z != convolution.output || !by_channel || linear && algorithm != IMPLICIT_PRECOMPUTED {
                return Err(NOT_SUPPORTED);
            }
            let end = End {
                name: "cudnnConvolutionBiasActivationForward",
                alpha: convolution.scalar(alpha),
                beta: convolution.scalar(beta),
                addend: z_at,
                bias: Some(bias_at),
                relu: !linear,
            };
            convolution.enqueue(machine, end, algorithm, [x_at, w_at, y_at], (workspace, room), stream)
        })
    }
}

/// A convolution that is described whole.
#[derive(Clone)]
struct Convolution {
    image: Lies,
    weights: Lies,
    windows: Windows,
    output: Lies,
    dtype: Float,
}

#[derive(Clone, Copy)]
struct End {
    /// The call that has it.
    name: &'static str,
    alpha: f64,
    beta: f64,
    addend: u64,
    bias: Option<u64>,
    relu: bool,
}

impl Lies {
    fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

impl Convolution {
    /// # Safety
    /// They are what was made here.
    unsafe fn new(x: Raw, w: Raw, windows: Raw, y: Raw) -> Result<Convolution, Status> {
        // SAFETY: the caller's promise.
        let (image, weights, windows, output) = unsafe {
            (
                (*x.cast::<Lies>()).clone(),
                (*w.cast::<Lies>()).clone(),
                (*windows.cast::<Windows>()).clone(),
                (*y.cast::<Lies>()).clone(),
            )
        };
        let dtype = image.dtype.ok_or(INVALID)?;
        let convolution = Convolution { image, weights, windows, output, dtype };
        if convolution.fits() { Ok(convolution) } else { Err(INVALID) }
    }

    fn fits(&self) -> bool {
        let Convolution { image, weights, windows, output, dtype } = self;
        let axes = windows.pads.len();
        let size = |axis: usize| {
            let reach = (weights.sizes[2 + axis] - 1) * windows.dilations[axis] + 1;
            let room = (image.sizes[2 + axis] + 2 * windows.pads[axis]).checked_sub(reach)?;
            Some(room / windows.strides[axis] + 1)
        };
        let sums = if *dtype == Float::Double { DOUBLE } else { FLOAT };
        let one_type = [weights, output].iter().all(|lies| lies.dtype == Some(*dtype));
        let rank = [image, weights, output].iter().all(|lies| lies.sizes.len() == axes + 2);
        one_type
            && rank
            && windows.sums == sums
            && weights.sizes[1] * windows.groups == image.sizes[1]
            && weights.sizes[0].is_multiple_of(windows.groups)
            && output.sizes[..2] == [image.sizes[0], weights.sizes[0]]
            && (0..axes).all(|axis| size(axis) == Some(output.sizes[2 + axis]))
    }

    fn scalar(&self, scalar: *const c_void) -> f64 {
        match self.dtype {
            // SAFETY: scalars of doubles are doubles.
            Float::Double => unsafe { scalar.cast::<f64>().read_unaligned() },
            // SAFETY: all others are floats.
            _ => f64::from(unsafe { scalar.cast::<f32>().read_unaligned() }),
        }
    }

    fn enqueue(
        self,
        machine: &mut Machine,
        end: End,
        algorithm: c_int,
        [x, w, y]: [u64; 3],
        (workspace, room): (u64, usize),
        stream: u64,
    ) -> Result<(), Status> {
        if algorithm != IMPLICIT_PRECOMPUTED || room < WORKSPACE {
            return Err(NOT_SUPPORTED);
        }
        let bytes = |lies: &Lies| (lies.count() * self.dtype.size()) as u64;
        let mut pieces = vec![(x, bytes(&self.image)), (w, bytes(&self.weights)), (y, bytes(&self.output))];
        pieces.push((workspace, WORKSPACE as u64));
        if end.beta != 0.0 {
            pieces.push((end.addend, bytes(&self.output)));
        }
        if let Some(bias) = end.bias {
            pieces.push((bias, (self.output.sizes[1] * self.dtype.size()) as u64));
        }
        // SAFETY: the driver looks the pieces up before it does this.
        let run = move || unsafe { self.run(end, [x, w, y, workspace]) };
        machine.enqueue(stream, Work::Host { name: end.name, device: device()?, pieces, run: Arc::new(run) })
    }

    /// # Safety
    /// The addresses have room for what is described.
    unsafe fn run(&self, end: End, [x, w, y, workspace]: [u64; 4]) {
        let Convolution { output, dtype, .. } = self;
        // SAFETY: the caller's promise; so below.
        unsafe { (workspace as *mut u8).write_bytes(0x77, WORKSPACE) };
        let plane: usize = output.sizes[2..].iter().product();
        for at in 0..output.count() {
            let (image, channel, pixel) =
                (at / plane / output.sizes[1], at / plane % output.sizes[1], at % plane);
            // SAFETY: as above.
            let mut value = end.alpha * unsafe { self.sum(image, channel, pixel, [x, w]) };
            // SAFETY: as above.
            unsafe {
                if end.beta != 0.0 {
                    value += end.beta * dtype.load(end.addend, at);
                }
                if let Some(bias) = end.bias {
                    value += dtype.load(bias, channel);
                }
                if end.relu && value < 0.0 {
                    value = 0.0;
                }
                dtype.store(y, at, value);
            }
        }
    }

    /// # Safety
    /// As above.
    unsafe fn sum(&self, image: usize, channel: usize, pixel: usize, [x, w]: [u64; 2]) -> f64 {
        let Convolution { image: images, weights, windows, output, dtype } = self;
        let rounded = match (dtype, windows.math) {
            (Float::Single, TENSOR_CORES) => tf32,
            (_, PLAIN_ARITHMETIC) | (Float::Half | Float::Brain | Float::Double, _) => |value| value,
            // The default may round, too.
            _ => tf32,
        };
        let group = channel / (weights.sizes[0] / windows.groups);
        let (per_group, axes) = (weights.sizes[1], windows.pads.len());
        let taps: usize = weights.sizes[2..].iter().product();
        let mut sum = 0.0;
        for step in 0..per_group * taps {
            let (mut tap, mut window) = (step % taps, pixel);
            let (mut place, mut stride, mut inside) = (0, 1, true);
            for axis in (0..axes).rev() {
                let (kernel, size) = (weights.sizes[2 + axis], images.sizes[2 + axis]);
                let seen = window % output.sizes[2 + axis] * windows.strides[axis]
                    + tap % kernel * windows.dilations[axis];
                window /= output.sizes[2 + axis];
                tap /= kernel;
                let seen = seen.checked_sub(windows.pads[axis]).filter(|&at| at < size);
                inside &= seen.is_some();
                place += seen.unwrap_or(0) * stride;
                stride *= size;
            }
            if inside {
                let of = image * images.sizes[1] + group * per_group + step / taps;
                // SAFETY: as above.
                sum += unsafe {
                    rounded(dtype.load(x, of * stride + place))
                        * rounded(dtype.load(w, channel * per_group * taps + step))
                };
            }
        }
        sum
    }
}
