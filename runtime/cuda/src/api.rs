//! The functions of CUDA's driver, of NVRTC, cuBLASLt and cuDNN that are used here, by their names there. The libraries are
//! looked up at run time and never unloaded.

use std::error::Error;
use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// A handle of CUDA's: context, module, function, stream, event, program.
pub type Raw = *mut c_void;
pub type Status = c_int;
/// An address on the device.
pub type Address = u64;
pub type Text = *const c_char;
type Out<T> = *mut T;

/// `RTLD_NODELETE`: the driver's own threads may outlive every handle.
const FOR_GOOD: i32 = 0x1000;

/// Loads a library for good.
pub fn open(path: &Path) -> Result<Library, String> {
    // SAFETY: neither library's initialisers have demands on the process.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | FOR_GOOD) };
    // The reason is behind the error.
    library.map_err(|error| error.source().map_or_else(|| error.to_string(), ToString::to_string))
}

/// The first library that can be loaded; what was tried, where none can.
pub fn first<Api>(
    candidates: &[PathBuf],
    mut load: impl FnMut(&Path) -> Result<Api, String>,
) -> Result<Api, String> {
    let mut tried = Vec::new();
    for path in candidates {
        match load(path) {
            Ok(api) => return Ok(api),
            Err(error) => tried.push(error),
        }
    }
    Err(tried.join("; "))
}

macro_rules! functions {
    ($(#[$doc:meta])* $api:ident { $($name:ident($($argument:ty),*);)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case, reason = "the names are CUDA's")]
        pub struct $api {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl $api {
            /// Loads a library and looks all functions up.
            #[allow(non_snake_case, reason = "the names are CUDA's")]
            pub fn load(path: &Path) -> Result<$api, String> {
                let library = open(path)?;
                $(
                    // SAFETY: the type is that of the function in CUDA's headers.
                    let $name = unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> Status>(
                            concat!(stringify!($name), "\0").as_bytes(),
                        )
                    };
                    let $name =
                        *$name.map_err(|_| format!("{} has no {}", path.display(), stringify!($name)))?;
                )*
                Ok($api { $($name,)* })
            }
        }
    };
}

functions! {
    /// `libcuda.so.1`, which comes with the driver.
    DriverApi {
        cuInit(c_uint);
        cuGetErrorName(Status, Out<Text>);
        cuGetErrorString(Status, Out<Text>);
        cuDeviceGetCount(Out<c_int>);
        cuDeviceGet(Out<c_int>, c_int);
        cuDeviceGetName(*mut c_char, c_int, c_int);
        cuDeviceTotalMem_v2(Out<usize>, c_int);
        cuDeviceGetAttribute(Out<c_int>, c_int, c_int);
        cuDevicePrimaryCtxRetain(Out<Raw>, c_int);
        cuDevicePrimaryCtxRelease_v2(c_int);
        cuCtxSetCurrent(Raw);
        cuCtxSynchronize();
        cuMemGetInfo_v2(Out<usize>, Out<usize>);
        cuMemAlloc_v2(Out<Address>, usize);
        cuMemFree_v2(Address);
        cuMemAllocAsync(Out<Address>, usize, Raw);
        cuMemFreeAsync(Address, Raw);
        cuMemHostAlloc(Out<*mut c_void>, usize, c_uint);
        cuMemFreeHost(*mut c_void);
        cuLaunchHostFunc(Raw, unsafe extern "C" fn(*mut c_void), *mut c_void);
        cuMemcpyHtoDAsync_v2(Address, *const c_void, usize, Raw);
        cuMemcpyDtoHAsync_v2(*mut c_void, Address, usize, Raw);
        cuMemcpyDtoDAsync_v2(Address, Address, usize, Raw);
        cuMemcpyPeerAsync(Address, Raw, Address, Raw, usize, Raw);
        cuStreamCreate(Out<Raw>, c_uint);
        cuStreamDestroy_v2(Raw);
        cuStreamSynchronize(Raw);
        cuStreamWaitEvent(Raw, Raw, c_uint);
        cuStreamBeginCapture_v2(Raw, c_int);
        cuStreamEndCapture(Raw, Out<Raw>);
        cuGraphInstantiateWithFlags(Out<Raw>, Raw, c_ulonglong);
        cuGraphDestroy(Raw);
        cuGraphLaunch(Raw, Raw);
        cuGraphExecDestroy(Raw);
        cuEventCreate(Out<Raw>, c_uint);
        cuEventDestroy_v2(Raw);
        cuEventRecord(Raw, Raw);
        cuEventQuery(Raw);
        cuEventSynchronize(Raw);
        cuModuleLoadData(Out<Raw>, *const c_void);
        cuModuleUnload(Raw);
        cuModuleGetFunction(Out<Raw>, Raw, Text);
        cuLaunchKernel(
            Raw, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Raw, *mut *mut c_void, *mut *mut c_void
        );
    }
}

functions! {
    /// `libnvrtc.so`, which compiles CUDA C.
    NvrtcApi {
        nvrtcVersion(Out<c_int>, Out<c_int>);
        nvrtcCreateProgram(Out<Raw>, Text, Text, c_int, *const Text, *const Text);
        nvrtcDestroyProgram(Out<Raw>);
        nvrtcCompileProgram(Raw, c_int, *const Text);
        nvrtcGetCUBINSize(Raw, Out<usize>);
        nvrtcGetCUBIN(Raw, *mut c_char);
        nvrtcGetProgramLogSize(Raw, Out<usize>);
        nvrtcGetProgramLog(Raw, *mut c_char);
    }
}

/// A way of cuBLASLt's to do a product.
pub type Algorithm = [u64; 8];

/// What cuBLASLt answers when it is asked for a way: `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Heuristic {
    pub algorithm: Algorithm,
    pub workspace: usize,
    pub state: Status,
    pub waves: f32,
    reserved: [c_int; 4],
}

functions! {
    /// `libcublasLt.so`, which multiplies matrices.
    CublasLtApi {
        cublasLtCreate(Out<Raw>);
        cublasLtDestroy(Raw);
        cublasLtMatrixLayoutCreate(Out<Raw>, c_int, u64, u64, i64);
        cublasLtMatrixLayoutDestroy(Raw);
        cublasLtMatrixLayoutSetAttribute(Raw, c_int, *const c_void, usize);
        cublasLtMatmulDescCreate(Out<Raw>, c_int, c_int);
        cublasLtMatmulDescDestroy(Raw);
        cublasLtMatmulDescSetAttribute(Raw, c_int, *const c_void, usize);
        cublasLtMatmulPreferenceCreate(Out<Raw>);
        cublasLtMatmulPreferenceDestroy(Raw);
        cublasLtMatmulPreferenceSetAttribute(Raw, c_int, *const c_void, usize);
        cublasLtMatmulAlgoGetHeuristic(Raw, Raw, Raw, Raw, Raw, Raw, Raw, c_int, Out<Heuristic>, Out<c_int>);
        cublasLtMatmul(
            Raw, Raw, *const c_void, Address, Raw, Address, Raw, *const c_void, Address, Raw, Address, Raw,
            *const Algorithm, Address, usize, Raw
        );
    }
}

/// What cuDNN answers when it is asked for a way to convolve: `cudnnConvolutionFwdAlgoPerf_t`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Found {
    pub algorithm: c_int,
    pub status: Status,
    pub time: f32,
    pub memory: usize,
    pub determinism: c_int,
    pub math: c_int,
    reserved: [c_int; 3],
}

functions! {
    /// `libcudnn.so`, of which convolutions are wanted.
    CudnnApi {
        cudnnCreate(Out<Raw>);
        cudnnDestroy(Raw);
        cudnnSetStream(Raw, Raw);
        cudnnCreateTensorDescriptor(Out<Raw>);
        cudnnDestroyTensorDescriptor(Raw);
        cudnnSetTensorNdDescriptor(Raw, c_int, c_int, *const c_int, *const c_int);
        cudnnCreateFilterDescriptor(Out<Raw>);
        cudnnDestroyFilterDescriptor(Raw);
        cudnnSetFilterNdDescriptor(Raw, c_int, c_int, c_int, *const c_int);
        cudnnCreateConvolutionDescriptor(Out<Raw>);
        cudnnDestroyConvolutionDescriptor(Raw);
        cudnnSetConvolutionNdDescriptor(
            Raw, c_int, *const c_int, *const c_int, *const c_int, c_int, c_int
        );
        cudnnSetConvolutionGroupCount(Raw, c_int);
        cudnnSetConvolutionMathType(Raw, c_int);
        cudnnCreateActivationDescriptor(Out<Raw>);
        cudnnDestroyActivationDescriptor(Raw);
        cudnnSetActivationDescriptor(Raw, c_int, c_int, f64);
        cudnnGetConvolutionForwardAlgorithm_v7(Raw, Raw, Raw, Raw, Raw, c_int, Out<c_int>, Out<Found>);
        cudnnConvolutionForward(
            Raw, *const c_void, Raw, Address, Raw, Address, Raw, c_int, Address, usize, *const c_void, Raw, Address
        );
        cudnnConvolutionBiasActivationForward(
            Raw, *const c_void, Raw, Address, Raw, Address, Raw, c_int, Address, usize, *const c_void, Raw, Address,
            Raw, Address, Raw, Raw, Address
        );
    }
}
