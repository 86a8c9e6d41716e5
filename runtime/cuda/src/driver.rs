//! The driver with owners and errors: what is called here is called as CUDA's headers say.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;

use byoc_plugin::{Category, Error, Result};

use crate::api::{Address, DriverApi, Raw, Status, Text, first};
use crate::trace::{Counts, count};

const OUT_OF_MEMORY: Status = 2;
const NOT_READY: Status = 600;
/// What ends a context: memory that cannot be corrected, illegal addresses and instructions, failed launches, time-outs.
const FATAL: [Status; 11] = [214, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719];
/// Streams that do not wait for the stream that everybody shares.
const NON_BLOCKING: u32 = 1;
/// Pinned memory for all contexts.
const PORTABLE: u32 = 1;
/// Events that keep no time.
const NO_TIMING: u32 = 2;

/// Other threads go on as if nothing were recorded.
const THREAD_LOCAL: i32 = 1;

/// Numbers of the driver's for what can be asked of a device.
#[derive(Clone, Copy)]
pub enum Attribute {
    ClockKilohertz = 13,
    Multiprocessors = 16,
    MemoryClockKilohertz = 36,
    MemoryBusBits = 37,
    CapabilityMajor = 75,
    CapabilityMinor = 76,
    MemoryPools = 115,
}

/// The driver of this machine.
pub struct Driver {
    api: DriverApi,
    pub counts: Counts,
}

/// A kernel, and the module that it lies in.
#[derive(Clone, Copy)]
pub struct Function {
    raw: Raw,
    module: Raw,
}

// SAFETY: functions belong to a context, not to a thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Work that was recorded, to be enqueued as one. Given back by `forget`.
#[derive(Clone, Copy)]
pub struct Recorded(Raw);

// SAFETY: as above.
unsafe impl Send for Recorded {}

/// A context of the driver's.
#[derive(Clone, Copy)]
pub struct Context(Raw);

// SAFETY: contexts may be current on several threads at once.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// Streams and events by number, as the interface to the host has them; stream 0 is the one that all share.
fn raw(handle: u64) -> Raw {
    handle as usize as Raw
}

/// Sizes of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub blocks: [u32; 3],
    pub threads: u32,
}

impl Driver {
    /// Loads the first library that can be; what was tried, where none can.
    pub fn load(candidates: &[PathBuf]) -> Result<Driver, String> {
        Driver::start(first(candidates, DriverApi::load)?).map_err(|e| e.message)
    }

    fn start(api: DriverApi) -> Result<Driver> {
        let driver = Driver { api, counts: Counts::default() };
        // SAFETY: see the head of this file; so in all of this file.
        driver.check("cuInit", unsafe { (driver.api.cuInit)(0) })?;
        Ok(driver)
    }

    /// The error of a call, with the driver's own words.
    fn check(&self, call: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let category = match status {
            OUT_OF_MEMORY => Category::OutOfMemory,
            _ if FATAL.contains(&status) => Category::DeviceLost,
            _ => Category::Internal,
        };
        let words = |function: unsafe extern "C" fn(Status, *mut Text) -> Status| {
            let mut text: Text = std::ptr::null();
            // SAFETY: the driver gives null or a text that lives as long as the process.
            let told = unsafe { function(status, &mut text) } == 0 && !text.is_null();
            // SAFETY: as above.
            told.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        let name = words(self.api.cuGetErrorName).unwrap_or_else(|| format!("error {status}"));
        let words = words(self.api.cuGetErrorString).unwrap_or_default();
        Err(Error::new(category, format!("{call}: {name} ({words})")))
    }

    pub fn device_count(&self) -> Result<i32> {
        let mut count = 0;
        // SAFETY: as above.
        self.check("cuDeviceGetCount", unsafe { (self.api.cuDeviceGetCount)(&mut count) })?;
        Ok(count)
    }

    pub fn device(&self, ordinal: i32) -> Result<i32> {
        let mut device = 0;
        // SAFETY: as above.
        self.check("cuDeviceGet", unsafe { (self.api.cuDeviceGet)(&mut device, ordinal) })?;
        Ok(device)
    }

    pub fn device_name(&self, device: i32) -> Result<String> {
        let mut name = [0u8; 256];
        let (start, len) = (name.as_mut_ptr().cast::<c_char>(), name.len() as i32);
        // SAFETY: as above.
        self.check("cuDeviceGetName", unsafe { (self.api.cuDeviceGetName)(start, len, device) })?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    pub fn total_memory(&self, device: i32) -> Result<u64> {
        let mut bytes = 0;
        // SAFETY: as above.
        self.check("cuDeviceTotalMem", unsafe { (self.api.cuDeviceTotalMem_v2)(&mut bytes, device) })?;
        Ok(bytes as u64)
    }

    pub fn attribute(&self, device: i32, attribute: Attribute) -> Result<i32> {
        let mut value = 0;
        // SAFETY: as above.
        let status = unsafe { (self.api.cuDeviceGetAttribute)(&mut value, attribute as i32, device) };
        self.check("cuDeviceGetAttribute", status)?;
        Ok(value)
    }

    /// The context that everybody in this process shares on a device. Given back by `release`.
    pub fn retain(&self, device: i32) -> Result<Context> {
        let mut context = null_mut();
        // SAFETY: as above.
        let status = unsafe { (self.api.cuDevicePrimaryCtxRetain)(&mut context, device) };
        self.check("cuDevicePrimaryCtxRetain", status)?;
        Ok(Context(context))
    }

    pub fn release(&self, device: i32) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuDevicePrimaryCtxRelease_v2)(device) };
    }

    /// Makes a context the one of this thread. The host restores what was current before.
    pub fn enter(&self, context: Context) -> Result<()> {
        // SAFETY: as above.
        self.check("cuCtxSetCurrent", unsafe { (self.api.cuCtxSetCurrent)(context.0) })
    }

    pub fn synchronise_all(&self) -> Result<()> {
        count(&self.counts.waits);
        // SAFETY: as above.
        self.check("cuCtxSynchronize", unsafe { (self.api.cuCtxSynchronize)() })
    }

    /// Free and total bytes.
    pub fn memory_info(&self) -> Result<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: as above.
        self.check("cuMemGetInfo", unsafe { (self.api.cuMemGetInfo_v2)(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    pub fn alloc(&self, bytes: u64) -> Result<Address> {
        count(&self.counts.allocations);
        let mut address = 0;
        // SAFETY: as above.
        let status = unsafe { (self.api.cuMemAlloc_v2)(&mut address, bytes as usize) };
        self.check(&format!("{bytes} bytes: cuMemAlloc"), status)?;
        Ok(address)
    }

    pub fn free(&self, address: Address) -> Result<()> {
        // SAFETY: as above; the host, or the owner here, frees what nobody uses any more.
        self.check("cuMemFree", unsafe { (self.api.cuMemFree_v2)(address) })
    }

    /// Memory from the device's pool, there for what follows in the stream.
    pub fn alloc_in(&self, bytes: u64, stream: u64) -> Result<Address> {
        count(&self.counts.allocations);
        let mut address = 0;
        // SAFETY: as above.
        let status = unsafe { (self.api.cuMemAllocAsync)(&mut address, bytes as usize, raw(stream)) };
        self.check(&format!("{bytes} bytes: cuMemAllocAsync"), status)?;
        Ok(address)
    }

    /// Gives memory back to the pool behind what is in the stream.
    pub fn free_in(&self, address: Address, stream: u64) -> Result<()> {
        // SAFETY: as above.
        self.check("cuMemFreeAsync", unsafe { (self.api.cuMemFreeAsync)(address, raw(stream)) })
    }

    /// Memory of the host's that every GPU reaches by itself. Given back by `pinned_free`.
    pub fn pinned_alloc(&self, bytes: usize) -> Result<*mut c_void> {
        let mut address = null_mut();
        // SAFETY: as above.
        let status = unsafe { (self.api.cuMemHostAlloc)(&mut address, bytes, PORTABLE) };
        self.check(&format!("{bytes} bytes: cuMemHostAlloc"), status)?;
        Ok(address)
    }

    /// Nothing that uses the memory is under way.
    pub fn pinned_free(&self, address: *mut c_void) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuMemFreeHost)(address) };
    }

    /// Has the driver call a function when a stream gets there.
    ///
    /// # Safety
    /// The function may be called with that from another thread, and calls nothing of the driver's.
    pub unsafe fn call_host(
        &self,
        stream: u64,
        function: unsafe extern "C" fn(*mut c_void),
        with: *mut c_void,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        self.check("cuLaunchHostFunc", unsafe { (self.api.cuLaunchHostFunc)(raw(stream), function, with) })
    }

    /// What tells this driver from others in the process.
    pub fn id(&self) -> usize {
        self.api.cuMemAlloc_v2 as usize
    }

    /// # Safety
    /// The bytes stay valid and unchanged until the copy has completed.
    pub unsafe fn copy_in(&self, to: Address, from: *const c_void, bytes: u64, stream: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let status = unsafe { (self.api.cuMemcpyHtoDAsync_v2)(to, from, bytes as usize, raw(stream)) };
        self.check("cuMemcpyHtoDAsync", status)
    }

    /// # Safety
    /// The bytes stay valid and untouched until the copy has completed.
    pub unsafe fn copy_out(&self, to: *mut c_void, from: Address, bytes: u64, stream: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let status = unsafe { (self.api.cuMemcpyDtoHAsync_v2)(to, from, bytes as usize, raw(stream)) };
        self.check("cuMemcpyDtoHAsync", status)
    }

    pub fn copy_within(&self, to: Address, from: Address, bytes: u64, stream: u64) -> Result<()> {
        // SAFETY: as above.
        let status = unsafe { (self.api.cuMemcpyDtoDAsync_v2)(to, from, bytes as usize, raw(stream)) };
        self.check("cuMemcpyDtoDAsync", status)
    }

    pub fn copy_between(
        &self,
        to: (Address, Context),
        from: (Address, Context),
        bytes: u64,
        stream: u64,
    ) -> Result<()> {
        let (bytes, stream) = (bytes as usize, raw(stream));
        // SAFETY: as above.
        let status = unsafe { (self.api.cuMemcpyPeerAsync)(to.0, to.1.0, from.0, from.1.0, bytes, stream) };
        self.check("cuMemcpyPeerAsync", status)
    }

    pub fn stream_create(&self) -> Result<u64> {
        let mut stream = null_mut();
        // SAFETY: as above.
        self.check("cuStreamCreate", unsafe { (self.api.cuStreamCreate)(&mut stream, NON_BLOCKING) })?;
        Ok(stream as u64)
    }

    pub fn stream_destroy(&self, stream: u64) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuStreamDestroy_v2)(raw(stream)) };
    }

    pub fn stream_wait(&self, stream: u64, event: u64) -> Result<()> {
        // SAFETY: as above.
        let status = unsafe { (self.api.cuStreamWaitEvent)(raw(stream), raw(event), 0) };
        self.check("cuStreamWaitEvent", status)
    }

    pub fn synchronise(&self, stream: u64) -> Result<()> {
        count(&self.counts.waits);
        // SAFETY: as above.
        self.check("cuStreamSynchronize", unsafe { (self.api.cuStreamSynchronize)(raw(stream)) })
    }

    pub fn event_create(&self) -> Result<u64> {
        let mut event = null_mut();
        // SAFETY: as above.
        self.check("cuEventCreate", unsafe { (self.api.cuEventCreate)(&mut event, NO_TIMING) })?;
        Ok(event as u64)
    }

    pub fn event_destroy(&self, event: u64) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuEventDestroy_v2)(raw(event)) };
    }

    pub fn event_record(&self, event: u64, stream: u64) -> Result<()> {
        // SAFETY: as above.
        self.check("cuEventRecord", unsafe { (self.api.cuEventRecord)(raw(event), raw(stream)) })
    }

    pub fn event_query(&self, event: u64) -> Result<bool> {
        // SAFETY: as above.
        match unsafe { (self.api.cuEventQuery)(raw(event)) } {
            NOT_READY => Ok(false),
            status => self.check("cuEventQuery", status).map(|()| true),
        }
    }

    pub fn event_wait(&self, event: u64) -> Result<()> {
        count(&self.counts.waits);
        // SAFETY: as above.
        self.check("cuEventSynchronize", unsafe { (self.api.cuEventSynchronize)(raw(event)) })
    }

    /// Loads a compiled module, and finds its kernel. Given back by `unload`.
    pub fn load_kernel(&self, image: &[u8], name: &str) -> Result<Function> {
        let name = CString::new(name).map_err(|_| Error::internal("a kernel's name holds a zero byte"))?;
        let (mut module, mut function) = (null_mut(), null_mut());
        // SAFETY: as above; the driver copies the image, whose end it reads from its head.
        let status = unsafe { (self.api.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
        self.check("cuModuleLoadData", status)?;
        // SAFETY: as above.
        let status = unsafe { (self.api.cuModuleGetFunction)(&mut function, module, name.as_ptr()) };
        if status != 0 {
            // SAFETY: as above; nobody has anything of the module.
            unsafe { (self.api.cuModuleUnload)(module) };
        }
        self.check("cuModuleGetFunction", status)?;
        Ok(Function { raw: function, module })
    }

    /// Nothing that uses the kernel runs any more.
    pub fn unload(&self, function: Function) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuModuleUnload)(function.module) };
    }

    /// Records what `work` enqueues in a stream, which does none of it.
    pub fn record_work(&self, stream: u64, work: impl FnOnce() -> Result<()>) -> Result<Recorded> {
        // SAFETY: as above.
        let begun = unsafe { (self.api.cuStreamBeginCapture_v2)(raw(stream), THREAD_LOCAL) };
        self.check("cuStreamBeginCapture", begun)?;
        let enqueued = work();
        let (mut graph, mut recorded) = (null_mut(), null_mut());
        // SAFETY: as above.
        let ended = unsafe { (self.api.cuStreamEndCapture)(raw(stream), &mut graph) };
        let ended = enqueued.and(self.check("cuStreamEndCapture", ended)).and_then(|()| {
            // SAFETY: as above.
            let made = unsafe { (self.api.cuGraphInstantiateWithFlags)(&mut recorded, graph, 0) };
            self.check("cuGraphInstantiate", made)
        });
        if !graph.is_null() {
            // SAFETY: as above; what was made of the graph does not need it.
            unsafe { (self.api.cuGraphDestroy)(graph) };
        }
        ended.map(|()| Recorded(recorded))
    }

    pub fn replay(&self, recorded: Recorded, stream: u64) -> Result<()> {
        count(&self.counts.launches);
        // SAFETY: as above.
        self.check("cuGraphLaunch", unsafe { (self.api.cuGraphLaunch)(recorded.0, raw(stream)) })
    }

    /// Nothing of it runs any more.
    pub fn forget(&self, recorded: Recorded) {
        // SAFETY: as above. An error here changes nothing any more.
        unsafe { (self.api.cuGraphExecDestroy)(recorded.0) };
    }

    /// Enqueues a kernel: addresses first, then structs of 32-bit numbers, as generated kernels take them.
    pub fn launch(
        &self,
        function: Function,
        grid: Grid,
        addresses: &[Address],
        structs: &[Vec<u32>],
        stream: u64,
    ) -> Result<()> {
        count(&self.counts.launches);
        let pointers = addresses.iter().map(|address| std::ptr::from_ref(address).cast::<c_void>());
        let structs = structs.iter().map(|fields| fields.as_ptr().cast::<c_void>());
        let mut arguments: Vec<*mut c_void> =
            pointers.chain(structs).map(<*const c_void>::cast_mut).collect();
        let [x, y, z] = grid.blocks;
        // SAFETY: as above; the driver copies the arguments, whose number and sizes are those of the kernel.
        let status = unsafe {
            (self.api.cuLaunchKernel)(
                function.raw,
                x,
                y,
                z,
                grid.threads,
                1,
                1,
                0,
                raw(stream),
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        self.check("cuLaunchKernel", status)
    }
}
