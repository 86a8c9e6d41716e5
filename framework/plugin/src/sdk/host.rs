//! The host's functions, as safe ones.

use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

use super::error::{Category, Error, Result};
use crate::abi::{self, AbiStruct, Call};

/// The host. Its functions may be called from any thread, until the process ends.
#[derive(Debug, Clone, Copy)]
pub struct HostRef(&'static abi::Host);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl HostRef {
    /// Takes a copy of the host's table, which is kept for good.
    ///
    /// # Safety
    /// As [`AbiStruct::read`]; the functions follow the interface.
    pub(crate) unsafe fn adopt(host: *const abi::Host) -> Option<Self> {
        // SAFETY: the caller's promise.
        let table = unsafe { abi::Host::read(host) }?;
        Some(HostRef(Box::leak(Box::new(table))))
    }

    pub(crate) fn table(self) -> &'static abi::Host {
        self.0
    }

    /// Calls a function of the host with arguments that are ours.
    pub(crate) fn invoke<A: AbiStruct>(self, function: Call<A>, args: &mut A) -> Result<()> {
        let Some(function) = function else {
            return Err(Error::unsupported(format!("this host has no function for {}", A::LAYOUT.name)));
        };
        // SAFETY: the arguments are a struct of our own with its size in the head, as the interface asks.
        let error = unsafe { function(args) };
        if error.is_null() { Ok(()) } else { Err(self.take_error(error)) }
    }

    /// Reads an error of the host's and drops it.
    fn take_error(self, error: *mut abi::Error) -> Error {
        let mut info = abi::ErrorInfoArgs { error, ..AbiStruct::empty() };
        let mut result = Error::internal("the host failed without a reason");
        if let Some(function) = self.0.error_info {
            // SAFETY: as in `invoke`; the error is ours.
            if unsafe { function(&mut info) }.is_null() {
                // SAFETY: the host keeps the message until the error is dropped.
                let message = unsafe { info.message.to_text() }.into_owned();
                result = Error::new(Category::from_abi(info.category), message);
                result.node = usize::try_from(info.node).ok().filter(|_| info.node != abi::NONE);
                result.retry = info.error_flags & abi::ERROR_RETRY != 0;
                result.panicked = info.error_flags & abi::ERROR_PANICKED != 0;
            }
        }
        if let Some(function) = self.0.error_drop {
            // SAFETY: the error is ours, and dropped once.
            unsafe { function(&mut abi::ErrorDropArgs { error, ..AbiStruct::empty() }) };
        }
        result
    }

    /// Turns an error into one of the host's, to be returned to it.
    pub(crate) fn make_error(self, error: &Error) -> *mut abi::Error {
        let mut args = abi::ErrorNewArgs {
            category: error.category.to_abi(),
            node: error.node.map_or(abi::NONE, |node| node as u64),
            message: abi::Str::new(&error.message),
            ..AbiStruct::empty()
        };
        args.head.flags = if error.retry { abi::ERROR_RETRY } else { 0 };
        args.head.flags |= if error.panicked { abi::ERROR_PANICKED } else { 0 };
        match self.0.error_new {
            // SAFETY: as in `invoke`.
            Some(function) => unsafe { function(&mut args) },
            // `error_new` is part of every host of this epoch; without it there is nothing to return.
            None => std::ptr::null_mut(),
        }
    }

    /// Writes to the host's log; lines may be lost.
    pub fn log(self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Error => abi::LOG_ERROR,
            LogLevel::Warn => abi::LOG_WARN,
            LogLevel::Info => abi::LOG_INFO,
            LogLevel::Debug => abi::LOG_DEBUG,
        };
        if let Some(function) = self.0.log {
            // SAFETY: as in `invoke`; the text is valid for the call.
            unsafe {
                function(&mut abi::LogArgs { level, message: abi::Str::new(message), ..AbiStruct::empty() })
            };
        }
    }

    /// Bytes in memory of the host's, which it frees.
    pub(crate) fn copy_out(self, bytes: &[u8]) -> Result<*mut c_void> {
        let mut args = abi::AllocArgs { size: bytes.len() as u64, align: 8, ..AbiStruct::empty() };
        self.invoke(self.0.alloc, &mut args)?;
        // SAFETY: the host has given so many bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), args.data.cast::<u8>(), bytes.len()) };
        Ok(args.data)
    }
}

/// What belongs to one call: threads, cancellation, outputs.
#[derive(Debug, Clone, Copy)]
pub struct CallRef<'a> {
    host: HostRef,
    token: *mut abi::CallToken,
    lifetime: PhantomData<&'a ()>,
}

// SAFETY: the host's functions may be called from any thread while the call lasts.
unsafe impl Send for CallRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for CallRef<'_> {}

pub(crate) struct Allocated {
    pub data: *mut c_void,
    pub byte_len: u64,
}

impl<'a> CallRef<'a> {
    pub(crate) fn new(host: HostRef, token: *mut abi::CallToken) -> Self {
        CallRef { host, token, lifetime: PhantomData }
    }

    pub fn host(&self) -> HostRef {
        self.host
    }

    /// How many threads `parallel_for` may use.
    pub fn threads(&self) -> usize {
        let mut args = abi::ThreadsArgs { call: self.token, ..AbiStruct::empty() };
        match self.host.invoke(self.host.table().threads, &mut args) {
            Ok(()) => args.count.max(1) as usize,
            Err(_) => 1,
        }
    }

    /// Calls `body` for every index below `count` on the host's threads. A panic of the body goes on in the caller
    /// when all others are done.
    pub fn parallel_for(&self, count: usize, body: impl Fn(usize) + Sync) -> Result<()> {
        let job = Job { body, panic: Mutex::new(None) };
        let mut args = abi::ParallelForArgs {
            call: self.token,
            count: count as u64,
            body: loop_body(&job),
            user: (&raw const job).cast::<c_void>().cast_mut(),
            ..AbiStruct::empty()
        };
        self.host.invoke(self.host.table().parallel_for, &mut args)?;
        match job.panic.into_inner() {
            Ok(Some(payload)) => resume_unwind(payload),
            _ => Ok(()),
        }
    }

    /// Does the caller no longer want the result?
    pub fn stop_requested(&self) -> bool {
        let mut args = abi::StopRequestedArgs { call: self.token, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().stop_requested, &mut args).is_ok() && args.stop != 0
    }

    /// Reports a span of device time, in nanoseconds of a clock of the plugin's own.
    pub fn profile_event(&self, name: &str, start_ns: u64, end_ns: u64) -> Result<()> {
        let name = abi::Str::new(name);
        let mut args =
            abi::ProfileEventArgs { call: self.token, name, start_ns, end_ns, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().profile_event, &mut args)
    }

    /// Refuses a node of the region, in `check_region` and `compile`.
    pub fn refuse_node(&self, node: usize, reason: &str) -> Result<()> {
        let reason = abi::Str::new(reason);
        let mut args =
            abi::RefuseNodeArgs { call: self.token, node: node as u64, reason, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().refuse_node, &mut args)
    }

    pub(crate) fn output_alloc(&self, output: usize, shape: &[usize]) -> Result<Allocated> {
        let shape = dims(shape)?;
        let mut args = abi::OutputAllocArgs {
            call: self.token,
            output: output as u64,
            rank: shape.len() as u64,
            shape: shape.as_ptr(),
            ..AbiStruct::empty()
        };
        self.host.invoke(self.host.table().output_alloc, &mut args)?;
        Ok(Allocated { data: args.data, byte_len: args.byte_len })
    }

    pub(crate) fn output_shape(&self, output: usize, shape: &[usize]) -> Result<()> {
        let shape = dims(shape)?;
        let mut args = abi::OutputShapeArgs {
            call: self.token,
            output: output as u64,
            rank: shape.len() as u64,
            shape: shape.as_ptr(),
            ..AbiStruct::empty()
        };
        self.host.invoke(self.host.table().output_shape, &mut args)
    }

    pub(crate) fn region_onnx(&self, region: *const abi::Region) -> Result<&'a [u8]> {
        let mut args = abi::RegionOnnxArgs { region, ..AbiStruct::empty() };
        self.host.invoke(self.host.table().region_onnx, &mut args)?;
        // SAFETY: the host keeps the bytes for the call.
        Ok(unsafe { args.bytes.as_bytes() })
    }
}

fn dims(shape: &[usize]) -> Result<Vec<i64>> {
    let dim =
        |size: &usize| i64::try_from(*size).map_err(|_| Error::invalid("a dimension does not fit 63 bits"));
    shape.iter().map(dim).collect()
}

/// A parallel loop: its body, and the first panic of it.
struct Job<F> {
    body: F,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

fn loop_body<F: Fn(usize) + Sync>(_: &Job<F>) -> abi::LoopBody {
    unsafe extern "C" fn run<F: Fn(usize) + Sync>(user: *mut c_void, index: u64) {
        // SAFETY: `parallel_for` has passed a job of this type, which lives until the loop is done.
        let job = unsafe { &*user.cast::<Job<F>>() };
        // A panic must not cross into the host.
        let result = catch_unwind(AssertUnwindSafe(|| (job.body)(index as usize)));
        if let (Err(payload), Ok(mut first)) = (result, job.panic.lock()) {
            first.get_or_insert(payload);
        }
    }
    Some(run::<F>)
}
