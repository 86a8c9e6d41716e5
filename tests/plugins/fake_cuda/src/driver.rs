//! The driver's functions, as CUDA's header has them.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use crate::machine::{
    End, INVALID_HANDLE, INVALID_VALUE, Machine, NO_CONTEXT, NOT_READY, OUT_OF_MEMORY, Status, Work, machine,
};
use crate::memory::CAPACITY;
use crate::module::Module;

type Raw = *mut c_void;

const NAME: &[u8] = b"fake GPU\0";
/// What is asked of the device, and what it answers: clocks, multiprocessors, bus, capability 9.0, memory pools.
const ATTRIBUTES: [(c_int, c_int); 7] =
    [(13, 1_980_000), (16, 132), (36, 2_619_000), (37, 6144), (75, 9), (76, 0), (115, 1)];
const DEVICES: c_int = 2;
/// The context of the first device; others follow.
const CONTEXTS: usize = 0x1000;

/// One call: what it does, unless it is to fail.
pub fn call(name: &str, body: impl FnOnce(&mut Machine) -> Result<(), Status>) -> Status {
    let mut machine = machine();
    let done = machine.begin(name).and_then(|()| body(&mut machine));
    done.err().unwrap_or(0)
}

macro_rules! functions {
    ($($name:ident($($argument:ident: $ty:ty),*) $machine:ident $body:block)*) => {
        $(
            /// # Safety
            /// As CUDA's header says of the function of this name.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "the names are CUDA's")]
            pub unsafe extern "C" fn $name($($argument: $ty),*) -> Status {
                call(stringify!($name), |$machine| $body)
            }
        )*
    };
}

/// # Safety
/// The place may be written to.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

functions! {
    cuInit(flags: c_uint) _machine { if flags == 0 { Ok(()) } else { Err(INVALID_VALUE) } }
    cuDeviceGetCount(count: *mut c_int) _machine {
        // SAFETY: the caller's promise; so in all of these.
        unsafe { put(count, DEVICES) }
    }
    cuDeviceGet(device: *mut c_int, ordinal: c_int) _machine {
        // SAFETY: as above.
        if (0..DEVICES).contains(&ordinal) { unsafe { put(device, ordinal) } } else { Err(INVALID_VALUE) }
    }
    cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) _machine {
        let count = NAME.len().min(len as usize);
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(NAME.as_ptr().cast(), name, count) };
        Ok(())
    }
    cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) _machine {
        // SAFETY: as above.
        unsafe { put(bytes, CAPACITY as usize) }
    }
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _device: c_int) _machine {
        let known = ATTRIBUTES.iter().find(|(number, _)| *number == attribute).ok_or(INVALID_VALUE)?;
        // SAFETY: as above.
        unsafe { put(value, known.1) }
    }
    cuDevicePrimaryCtxRetain(context: *mut Raw, device: c_int) _machine {
        // SAFETY: as above.
        unsafe { put(context, (CONTEXTS + device as usize) as Raw) }
    }
    cuDevicePrimaryCtxRelease_v2(_device: c_int) _machine { Ok(()) }
    cuCtxSetCurrent(context: Raw) _machine {
        CURRENT.set(context as usize);
        Ok(())
    }
    cuCtxSynchronize() machine { machine.synchronise(None) }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) machine {
        // SAFETY: as above.
        unsafe { put(free, (CAPACITY - machine.memory.used) as usize)? };
        // SAFETY: as above.
        unsafe { put(total, CAPACITY as usize) }
    }
    cuMemAlloc_v2(address: *mut u64, size: usize) machine {
        // SAFETY: as above.
        unsafe { alloc(machine, address, size) }
    }
    cuMemFree_v2(address: u64) machine {
        if machine.is_in_use(address) {
            let fault = format!("{address:#x} is freed while work that uses it waits to be done");
            return Err(machine.fault(fault));
        }
        machine.memory.free(address).map_err(|fault| machine.fault(fault))
    }
    cuMemAllocAsync(address: *mut u64, size: usize, _stream: Raw) machine {
        // SAFETY: as above.
        unsafe { alloc(machine, address, size) }
    }
    cuMemFreeAsync(address: u64, stream: Raw) machine { machine.enqueue(stream as u64, Work::Free(address)) }
    cuMemHostAlloc(address: *mut *mut c_void, size: usize, _flags: c_uint) machine {
        // SAFETY: as above.
        unsafe { put(address, machine.pin(size) as *mut c_void) }
    }
    cuMemFreeHost(address: *mut c_void) machine { machine.unpin(address as u64) }
    cuLaunchHostFunc(stream: Raw, function: unsafe extern "C" fn(*mut c_void), with: *mut c_void) machine {
        machine.enqueue(stream as u64, Work::Call { function, with: with as u64 })
    }
    cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, size: usize, stream: Raw) machine {
        copy(machine, End::Device(device()?, to), End::Host(from as u64), size, stream)
    }
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, size: usize, stream: Raw) machine {
        copy(machine, End::Host(to as u64), End::Device(device()?, from), size, stream)
    }
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, size: usize, stream: Raw) machine {
        let device = device()?;
        copy(machine, End::Device(device, to), End::Device(device, from), size, stream)
    }
    cuMemcpyPeerAsync(to: u64, ours: Raw, from: u64, theirs: Raw, size: usize, stream: Raw) machine {
        let [to, from] = [(ours, to), (theirs, from)].map(|(c, address)| End::Device(c as usize - CONTEXTS, address));
        copy(machine, to, from, size, stream)
    }
    cuStreamCreate(stream: *mut Raw, _flags: c_uint) machine {
        // SAFETY: as above.
        unsafe { put(stream, machine.create_stream() as Raw) }
    }
    cuStreamDestroy_v2(stream: Raw) machine { machine.destroy_stream(stream as u64) }
    cuStreamSynchronize(stream: Raw) machine { machine.synchronise(Some(stream as u64)) }
    cuStreamWaitEvent(stream: Raw, event: Raw, _flags: c_uint) machine {
        machine.wait(stream as u64, event as u64)
    }
    cuStreamBeginCapture_v2(stream: Raw, _mode: c_int) machine { machine.begin_recording(stream as u64) }
    cuStreamEndCapture(stream: Raw, graph: *mut Raw) machine {
        // SAFETY: as above.
        unsafe { put(graph, machine.end_recording(stream as u64)? as Raw) }
    }
    cuGraphInstantiateWithFlags(made: *mut Raw, graph: Raw, _flags: u64) machine {
        // SAFETY: as above.
        unsafe { put(made, machine.copy_graph(graph as u64)? as Raw) }
    }
    cuGraphDestroy(graph: Raw) machine { machine.destroy_graph(graph as u64) }
    cuGraphExecDestroy(graph: Raw) machine { machine.destroy_graph(graph as u64) }
    cuGraphLaunch(graph: Raw, stream: Raw) machine { machine.launch_graph(graph as u64, stream as u64) }
    cuEventCreate(event: *mut Raw, _flags: c_uint) machine {
        // SAFETY: as above.
        unsafe { put(event, machine.create_event() as Raw) }
    }
    cuEventDestroy_v2(event: Raw) machine { machine.destroy_event(event as u64) }
    cuEventRecord(event: Raw, stream: Raw) machine { machine.record(event as u64, stream as u64) }
    cuEventQuery(event: Raw) machine {
        if machine.query(event as u64)? { Ok(()) } else { Err(NOT_READY) }
    }
    cuEventSynchronize(event: Raw) machine { machine.wait_for_event(event as u64) }
    cuModuleLoadData(module: *mut Raw, image: *const c_void) machine {
        device()?;
        // SAFETY: as above; images are those of the compiler here.
        let loaded = unsafe { Module::load(image.cast()) };
        let number = machine.number();
        machine.modules.insert(number, Arc::new(loaded.map_err(|_| INVALID_VALUE)?));
        // SAFETY: as above.
        unsafe { put(module, number as Raw) }
    }
    cuModuleUnload(module: Raw) machine {
        machine.modules.remove(&(module as u64)).map(drop).ok_or(INVALID_HANDLE)
    }
    cuModuleGetFunction(function: *mut Raw, module: Raw, name: *const c_char) machine {
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let known = machine.modules.get(&(module as u64));
        known.filter(|module| module.name == name).ok_or(INVALID_HANDLE)?;
        // SAFETY: as above.
        unsafe { put(function, module) }
    }
    cuLaunchKernel(
        function: Raw, x: c_uint, y: c_uint, z: c_uint, threads: c_uint, ty: c_uint, tz: c_uint, shared: c_uint,
        stream: Raw, arguments: *mut Raw, _extra: *mut Raw
    ) machine {
        let device = device()?;
        let known = machine.modules.get(&(function as u64));
        let module = Arc::clone(known.ok_or(INVALID_HANDLE)?);
        if (ty, tz, shared) != (1, 1, 0) || !(1..=1024).contains(&threads) || x == 0 || y > 65535 || z > 65535 {
            return Err(INVALID_VALUE);
        }
        let (mut copied, mut addresses) = (Vec::new(), Vec::new());
        for (place, argument) in module.arguments().iter().enumerate() {
            // SAFETY: as above; the sizes are those of the kernel.
            let bytes = unsafe {
                std::slice::from_raw_parts((*arguments.add(place)).cast::<u8>(), argument.size).to_vec()
            };
            if argument.address.is_some() {
                let address = <[u8; 8]>::try_from(bytes.as_slice()).map(u64::from_le_bytes);
                addresses.push(address.map_err(|_| INVALID_VALUE)?);
            }
            copied.push(bytes);
        }
        let grid = [x, y, z, threads];
        machine.enqueue(stream as u64, Work::Launch { module, device, grid, arguments: copied, addresses })
    }
}

thread_local! {
    /// The context of this thread.
    static CURRENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The device whose context this thread has.
pub fn device() -> Result<usize, Status> {
    CURRENT.get().checked_sub(CONTEXTS).ok_or(NO_CONTEXT)
}

/// # Safety
/// The place may be written to.
unsafe fn alloc(machine: &mut Machine, address: *mut u64, size: usize) -> Result<(), Status> {
    machine.allocations += 1;
    let place = machine.memory.alloc(size as u64, device()?).ok_or(OUT_OF_MEMORY)?;
    // SAFETY: the caller's promise.
    unsafe { put(address, place) }
}

fn copy(machine: &mut Machine, to: End, from: End, size: usize, stream: Raw) -> Result<(), Status> {
    machine.enqueue(stream as u64, Work::Copy { to, from, size })
}

/// # Safety
/// As CUDA's header says of the function of this name.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is CUDA's")]
pub unsafe extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    let name = match status {
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        crate::machine::LAUNCH_FAILED => c"CUDA_ERROR_LAUNCH_FAILED",
        _ => c"CUDA_ERROR_OF_THE_FAKE",
    };
    // SAFETY: the caller's promise.
    unsafe { text.write(name.as_ptr()) };
    0
}

/// The first fault, where there is one.
///
/// # Safety
/// As CUDA's header says of the function of this name.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is CUDA's")]
pub unsafe extern "C" fn cuGetErrorString(_status: Status, text: *mut *const c_char) -> Status {
    let first = machine().faults.first().cloned().unwrap_or_else(|| "an injected failure".into());
    let words = std::ffi::CString::new(first).unwrap_or_default();
    // SAFETY: the caller's promise. The words stay, as the driver's do.
    unsafe { text.write(words.into_raw()) };
    0
}
