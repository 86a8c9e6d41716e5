//! The host's functions as plugins call them. None of them calls back into a plugin, but for the bodies of loops.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, Ordering};

use byoc_plugin::{Category, Error, abi};

use abi::{AbiStruct, Str};

use crate::calls::{Call, DeviceSpan, log};
use crate::constants::ConstantSet;
use crate::memory::AlignedBuffer;
use crate::snapshot::Snapshot;

/// Lives as long as the process; every plugin gets the same.
pub(crate) static HOST: abi::Host = abi::Host {
    head: abi::Head::sized(size_of::<abi::Host>()),
    error_new: Some(error_new),
    error_info: Some(error_info),
    error_drop: Some(error_drop),
    log: Some(log_line),
    alloc: Some(alloc),
    free: Some(free),
    threads: Some(threads),
    parallel_for: Some(parallel_for),
    stop_requested: Some(stop_requested),
    region_info: Some(region_info),
    region_node: Some(region_node),
    region_attr: Some(region_attr),
    region_value: Some(region_value),
    region_composite: Some(region_composite),
    region_symbol: Some(region_symbol),
    region_onnx: Some(region_onnx),
    refuse_node: Some(refuse_node),
    constant: Some(constant),
    constant_release: Some(constant_release),
    output_alloc: Some(output_alloc),
    output_shape: Some(output_shape),
    profile_event: Some(profile_event),
    get_extension: Some(get_extension),
};

/// Handles that plugins hold at the moment, or have given back more often than they got them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handles {
    pub errors: isize,
    pub allocations: isize,
}

static ERRORS: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicIsize = AtomicIsize::new(0);

/// Handles of all plugins of this process.
pub fn handles() -> Handles {
    Handles { errors: ERRORS.load(Ordering::Relaxed), allocations: ALLOCATIONS.load(Ordering::Relaxed) }
}

impl Handles {
    /// What has become of them, in words.
    pub fn since(&self, before: &Handles) -> String {
        let part = |now: isize, then: isize, what: &str| format!("{:+} {what}", now - then);
        let errors = part(self.errors, before.errors, "errors");
        format!("{errors}, {}", part(self.allocations, before.allocations, "allocations"))
    }
}

/// An error as a plugin holds it.
fn boxed(error: Error) -> *mut abi::Error {
    ERRORS.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(error)).cast()
}

/// Takes over an error that a plugin has returned. `None` for null.
///
/// # Safety
/// The error is null, or one that the host made and that nobody else has.
pub(crate) unsafe fn take_error(error: *mut abi::Error) -> Option<Error> {
    (!error.is_null()).then(|| {
        ERRORS.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        *unsafe { Box::from_raw(error.cast::<Error>()) }
    })
}

/// Answers one call of a plugin's: reads the arguments, writes them back.
///
/// # Safety
/// `args` follow the interface.
unsafe fn respond<A: AbiStruct>(
    args: *mut A,
    body: impl FnOnce(&mut A) -> Result<(), Error>,
) -> *mut abi::Error {
    // SAFETY: the caller's promise.
    let Some(mut own) = (unsafe { A::read(args) }) else {
        return boxed(Error::invalid(format!(
            "{} is null or shorter than {} bytes",
            A::LAYOUT.name,
            A::MIN_SIZE
        )));
    };
    match body(&mut own) {
        Ok(()) => {
            // SAFETY: read above.
            unsafe { own.write_back(args) };
            null_mut()
        }
        Err(error) => boxed(error),
    }
}

unsafe extern "C" fn error_new(args: *mut abi::ErrorNewArgs) -> *mut abi::Error {
    // SAFETY: the plugin's promise.
    let Some(own) = (unsafe { abi::ErrorNewArgs::read(args) }) else {
        return boxed(Error::internal("the plugin made an error without arguments"));
    };
    // SAFETY: the message is valid for the call.
    let message = unsafe { own.message.to_text() }.into_owned();
    boxed(Error {
        category: Category::from_abi(own.category),
        message,
        node: usize::try_from(own.node).ok().filter(|_| own.node != abi::NONE),
        retry: own.head.flags & abi::ERROR_RETRY != 0,
        panicked: own.head.flags & abi::ERROR_PANICKED != 0,
    })
}

unsafe extern "C" fn error_info(args: *mut abi::ErrorInfoArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ErrorInfoArgs| {
        // SAFETY: the plugin holds the error.
        let error = unsafe { args.error.cast::<Error>().as_ref() }
            .ok_or_else(|| Error::invalid("the error is null"))?;
        args.category = error.category.to_abi();
        args.error_flags = if error.retry { abi::ERROR_RETRY } else { 0 };
        args.error_flags |= if error.panicked { abi::ERROR_PANICKED } else { 0 };
        args.node = error.node.map_or(abi::NONE, |node| node as u64);
        args.message = Str::new(&error.message);
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn error_drop(args: *mut abi::ErrorDropArgs) {
    // SAFETY: the plugin's promise, and the error is its own.
    drop(unsafe { abi::ErrorDropArgs::read(args).and_then(|own| take_error(own.error)) });
}

unsafe extern "C" fn log_line(args: *mut abi::LogArgs) {
    // SAFETY: the plugin's promise.
    if let Some(own) = unsafe { abi::LogArgs::read(args) } {
        // SAFETY: the message is valid for the call.
        log(own.level, &unsafe { own.message.to_text() });
    }
}

/// In front of memory given by `alloc`: what `free` needs to know.
#[repr(C)]
struct Allocation {
    len: usize,
    align: usize,
    offset: usize,
}

unsafe extern "C" fn alloc(args: *mut abi::AllocArgs) -> *mut abi::Error {
    let body = |args: &mut abi::AllocArgs| {
        let out_of_memory = || Error::new(Category::OutOfMemory, format!("no {} bytes", args.size));
        let align = usize::try_from(args.align.max(16))
            .ok()
            .filter(|align| align.is_power_of_two() && *align <= 1 << 20);
        let align = align.ok_or_else(|| Error::invalid(format!("{} is no alignment", args.align)))?;
        let offset = align.max(size_of::<Allocation>().next_multiple_of(align));
        let len = usize::try_from(args.size).ok().and_then(|size| size.checked_add(offset));
        let buffer = len.and_then(|len| AlignedBuffer::new(len, align)).ok_or_else(out_of_memory)?;
        let (start, len, align) = buffer.into_raw();
        // SAFETY: the buffer has `offset` bytes in front, at least as many as the header takes.
        let data = unsafe { start.add(offset) };
        // SAFETY: as above; alignment of 16 or more suits the header.
        unsafe { data.cast::<Allocation>().sub(1).write(Allocation { len, align, offset }) };
        args.data = data.cast();
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn free(args: *mut abi::FreeArgs) {
    // SAFETY: the plugin's promise.
    if let Some(own) = unsafe { abi::FreeArgs::read(args) } {
        // SAFETY: the memory is from `alloc`, and freed once.
        unsafe { free_memory(own.data) };
    }
}

/// # Safety
/// Null, or memory from the host's `alloc` that nobody else has.
pub(crate) unsafe fn free_memory(data: *mut c_void) {
    if data.is_null() {
        return;
    }
    ALLOCATIONS.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: `alloc` has written the header.
    let header = unsafe { data.cast::<Allocation>().sub(1).read() };
    // SAFETY: the parts are those that `alloc` had.
    drop(unsafe { AlignedBuffer::from_raw(data.cast::<u8>().sub(header.offset), header.len, header.align) });
}

unsafe extern "C" fn threads(args: *mut abi::ThreadsArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ThreadsArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        args.count = u32::try_from(call.pool().threads()).unwrap_or(u32::MAX).max(1);
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

/// A loop's body and argument, which may be used from any thread.
struct LoopBody {
    body: unsafe extern "C" fn(*mut c_void, u64),
    user: *mut c_void,
}

// SAFETY: the interface lets `parallel_for` call the body from any thread.
unsafe impl Sync for LoopBody {}

impl LoopBody {
    fn run(&self, index: usize) {
        // SAFETY: body and argument are valid until `parallel_for` returns.
        unsafe { (self.body)(self.user, index as u64) };
    }
}

unsafe extern "C" fn parallel_for(args: *mut abi::ParallelForArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ParallelForArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        let count = usize::try_from(args.count).map_err(|_| Error::invalid("too many iterations"))?;
        let body = args.body.ok_or_else(|| Error::invalid("the loop has no body"))?;
        let job = LoopBody { body, user: args.user };
        call.pool().parallel_for(count, &|index| job.run(index));
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn stop_requested(args: *mut abi::StopRequestedArgs) -> *mut abi::Error {
    let body = |args: &mut abi::StopRequestedArgs| {
        // SAFETY: the token is the host's.
        args.stop = u32::from(unsafe { Call::from_token(args.call)? }.stop_requested());
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

/// A walker: the snapshot fills in what was asked for.
macro_rules! walkers {
    ($($function:ident($args:ident) = $method:ident;)*) => {
        $(unsafe extern "C" fn $function(args: *mut abi::$args) -> *mut abi::Error {
            // SAFETY: the region is the one that the host lent to the present call.
            let body = |args: &mut abi::$args| unsafe { Snapshot::from_region(args.region)? }.$method(args);
            // SAFETY: the plugin's promise.
            unsafe { respond(args, body) }
        })*
    };
}

walkers! {
    region_node(RegionNodeArgs) = node;
    region_attr(RegionAttrArgs) = attr;
    region_value(RegionValueArgs) = value;
    region_composite(RegionCompositeArgs) = composite;
    region_symbol(RegionSymbolArgs) = symbol;
    region_onnx(RegionOnnxArgs) = onnx;
    region_info(RegionInfoArgs) = info;
}

unsafe extern "C" fn refuse_node(args: *mut abi::RefuseNodeArgs) -> *mut abi::Error {
    let body = |args: &mut abi::RefuseNodeArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        let node = usize::try_from(args.node).map_err(|_| Error::invalid("there is no such node"))?;
        // SAFETY: the text is valid for the call.
        call.refuse(node, unsafe { args.reason.to_text() }.into_owned());
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

fn no_constants() -> Error {
    Error::invalid("the constants' token is null")
}

unsafe extern "C" fn constant(args: *mut abi::ConstantArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ConstantArgs| {
        // SAFETY: the token is the host's.
        let set = unsafe { ConstantSet::from_token(args.constants) }.ok_or_else(no_constants)?;
        let (data, len, align) = set.get(args.index)?;
        args.data = Str { data, len: len as u64 };
        args.align = align as u64;
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn constant_release(args: *mut abi::ConstantReleaseArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ConstantReleaseArgs| {
        // SAFETY: the token is the host's.
        unsafe { ConstantSet::from_token(args.constants) }.ok_or_else(no_constants)?.release(args.index)
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn output_alloc(args: *mut abi::OutputAllocArgs) -> *mut abi::Error {
    let body = |args: &mut abi::OutputAllocArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        // SAFETY: the shape is valid for the call.
        let (data, len) = call.allocate(args.output, unsafe { abi::slice(args.shape, args.rank) })?;
        (args.data, args.byte_len) = (data.cast(), len as u64);
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn output_shape(args: *mut abi::OutputShapeArgs) -> *mut abi::Error {
    let body = |args: &mut abi::OutputShapeArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        // SAFETY: the shape is valid for the call.
        call.set_shape(args.output, unsafe { abi::slice(args.shape, args.rank) })
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn profile_event(args: *mut abi::ProfileEventArgs) -> *mut abi::Error {
    let body = |args: &mut abi::ProfileEventArgs| {
        // SAFETY: the token is the host's.
        let call = unsafe { Call::from_token(args.call)? };
        // SAFETY: the name is valid for the call.
        let name = unsafe { args.name.to_text() }.into_owned();
        call.span(DeviceSpan { name, start_ns: args.start_ns, end_ns: args.end_ns });
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}

unsafe extern "C" fn get_extension(args: *mut abi::GetExtensionArgs) -> *mut abi::Error {
    let body = |args: &mut abi::GetExtensionArgs| {
        // This version of the host has no extension.
        args.table = std::ptr::null();
        Ok(())
    };
    // SAFETY: the plugin's promise.
    unsafe { respond(args, body) }
}
