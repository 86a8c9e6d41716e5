//! The functions of a device's table; one table with streams and one without serve all devices.

use std::ffi::c_void;
use std::sync::Arc;

use super::executable::Pointers;
use super::runtime::Runtime;
use crate::abi::{self, AbiStruct};
use crate::sdk::{CopyEnd, Device, DeviceDecl, Error, FreeAnswer, HOST, HostRef, Result, Streams};

/// The devices of a plugin in the interface's form; lives as long as the plugin's state.
pub(super) struct DeviceList {
    infos: Pointers<abi::DeviceInfo>,
    // The infos point at these.
    _names: Vec<Box<str>>,
    _states: Vec<Arc<State>>,
}

struct State {
    device: Arc<dyn Device>,
    id: abi::DeviceId,
    runtime: &'static Runtime,
    host: HostRef,
}

impl DeviceList {
    pub(super) fn new(devices: Vec<DeviceDecl>, runtime: &'static Runtime, host: HostRef) -> Self {
        let mut names = Vec::new();
        let mut states = Vec::new();
        let infos = devices.into_iter().map(|declared| {
            let name = declared.name.into_boxed_str();
            let mut info = abi::DeviceInfo {
                id: declared.id,
                name: abi::Str::new(&name),
                memory_bytes: declared.memory_bytes.unwrap_or(0),
                ..AbiStruct::empty()
            };
            names.push(name);
            if let Some(device) = declared.device {
                info.table = if device.streams().is_some() { &WITH_STREAMS } else { &SYNCHRONOUS };
                let state = Arc::new(State { device, id: declared.id, runtime, host });
                info.device = Arc::as_ptr(&state).cast_mut().cast();
                states.push(state);
            }
            info
        });
        let infos = Pointers::new(infos.collect::<Vec<_>>());
        DeviceList { infos, _names: names, _states: states }
    }

    pub(super) fn raw(&self) -> (*const *const abi::DeviceInfo, u64) {
        self.infos.raw()
    }
}

static WITH_STREAMS: abi::DeviceTable = abi::DeviceTable {
    stream_create: Some(stream_create),
    stream_destroy: Some(stream_destroy),
    stream_wait: Some(stream_wait),
    event_create: Some(event_create),
    event_destroy: Some(event_destroy),
    event_record: Some(event_record),
    event_query: Some(event_query),
    event_wait: Some(event_wait),
    ..SYNCHRONOUS_TABLE
};

static SYNCHRONOUS: abi::DeviceTable = SYNCHRONOUS_TABLE;

const SYNCHRONOUS_TABLE: abi::DeviceTable = abi::DeviceTable {
    head: abi::Head::sized(size_of::<abi::DeviceTable>()),
    alloc: Some(alloc),
    free: Some(free),
    copy: Some(copy),
    sync: Some(sync),
    memory_info: Some(memory_info),
    stream_create: None,
    stream_destroy: None,
    stream_wait: None,
    event_create: None,
    event_destroy: None,
    event_record: None,
    event_query: None,
    event_wait: None,
};

/// Runs one call on a device: reads the arguments, answers into them.
///
/// # Safety
/// `args` follow the interface, and `device` takes the device out of them.
unsafe fn with_device<A: AbiStruct>(
    what: &str,
    args: *mut A,
    device: impl FnOnce(&A) -> *mut c_void,
    body: impl FnOnce(&State, &mut A) -> Result<()>,
) -> *mut abi::Error {
    // SAFETY: the caller's promise. Without a device there is no host to make an error with.
    let Some(mut own) = (unsafe { A::read(args) }) else { return std::ptr::null_mut() };
    // SAFETY: a device is one of a list, which lives as long as the plugin is open.
    let Some(state) = (unsafe { device(&own).cast::<State>().as_ref() }) else { return std::ptr::null_mut() };
    state.runtime.guard(state.host, what, || {
        body(state, &mut own)?;
        // SAFETY: read above.
        unsafe { own.write_back(args) };
        Ok(())
    })
}

/// As [`with_device`], for the calls that need streams.
///
/// # Safety
/// As [`with_device`].
unsafe fn with_streams<A: AbiStruct>(
    what: &str,
    args: *mut A,
    device: impl FnOnce(&A) -> *mut c_void,
    body: impl FnOnce(&dyn Streams, &mut A) -> Result<()>,
) -> *mut abi::Error {
    let on_device = |state: &State, args: &mut A| {
        let streams =
            state.device.streams().ok_or_else(|| Error::unsupported("this device has no streams"))?;
        body(streams, args)
    };
    // SAFETY: the caller's promise.
    unsafe { with_device(what, args, device, on_device) }
}

fn number(handle: *mut c_void) -> Option<u64> {
    (!handle.is_null()).then_some(handle as u64)
}

fn handle(number: u64) -> *mut c_void {
    // Numbers are the plugin's own; the host only hands them back.
    std::ptr::without_provenance_mut(number as usize)
}

unsafe extern "C" fn alloc(args: *mut abi::DeviceAllocArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::DeviceAllocArgs| {
        args.data = handle(state.device.alloc(args.size, args.align)?);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_device("alloc", args, |args| args.device, body) }
}

unsafe extern "C" fn free(args: *mut abi::DeviceFreeArgs) {
    // SAFETY: the host's promise.
    let Some(mut own) = (unsafe { abi::DeviceFreeArgs::read(args) }) else { return };
    // SAFETY: as in `with_device`.
    let Some(state) = (unsafe { own.device.cast::<State>().as_ref() }) else { return };
    own.answer = abi::FREE_QUARANTINED;
    state.runtime.guard_silent(state.host, "free", || {
        own.answer = match state.device.free(own.data as u64) {
            FreeAnswer::Done => abi::FREE_DONE,
            FreeAnswer::Quarantined => abi::FREE_QUARANTINED,
            FreeAnswer::Failed => abi::FREE_FAILED,
        };
    });
    // SAFETY: read above.
    unsafe { own.write_back(args) };
}

unsafe extern "C" fn copy(args: *mut abi::DeviceCopyArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::DeviceCopyArgs| {
        let end = |address: u64, offset: u64, id: abi::DeviceId| match id {
            id if id == state.id => Ok(CopyEnd::Device { address, offset }),
            id if id == HOST => address
                .checked_add(offset)
                .map(CopyEnd::Host)
                .ok_or_else(|| Error::invalid("address overflow")),
            other => Err(Error::invalid(format!("copy: device {}:{} is another's", other.kind, other.id))),
        };
        let to = end(args.dst as u64, args.dst_offset, args.dst_device)?;
        let (size, stream) = (args.size, number(args.stream));
        match (args.src_device, to) {
            (peer, CopyEnd::Device { .. }) if peer != state.id && peer != HOST => {
                let from = CopyEnd::Device { address: args.src as u64, offset: args.src_offset };
                state.device.copy_from_peer(peer, from, to, size, stream)
            }
            (own, _) => state.device.copy(end(args.src as u64, args.src_offset, own)?, to, size, stream),
        }
    };
    // SAFETY: the host's promise.
    unsafe { with_device("copy", args, |args| args.device, body) }
}

unsafe extern "C" fn sync(args: *mut abi::DeviceSyncArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::DeviceSyncArgs| state.device.sync(number(args.stream));
    // SAFETY: the host's promise.
    unsafe { with_device("sync", args, |args| args.device, body) }
}

unsafe extern "C" fn memory_info(args: *mut abi::DeviceMemoryInfoArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::DeviceMemoryInfoArgs| {
        (args.free, args.total) = state.device.memory_info().unwrap_or((abi::NONE, abi::NONE));
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_device("memory_info", args, |args| args.device, body) }
}

unsafe extern "C" fn stream_create(args: *mut abi::StreamArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::StreamArgs| {
        args.stream = handle(streams.create()?);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_streams("stream_create", args, |args| args.device, body) }
}

unsafe extern "C" fn stream_destroy(args: *mut abi::StreamArgs) {
    // SAFETY: the host's promise.
    let Some(own) = (unsafe { abi::StreamArgs::read(args) }) else { return };
    // SAFETY: as in `with_device`.
    let Some(state) = (unsafe { own.device.cast::<State>().as_ref() }) else { return };
    state.runtime.guard_silent(state.host, "stream_destroy", || {
        if let (Some(streams), Some(stream)) = (state.device.streams(), number(own.stream)) {
            streams.destroy(stream);
        }
    });
}

unsafe extern "C" fn stream_wait(args: *mut abi::StreamEventArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::StreamEventArgs| {
        streams.wait(args.stream as u64, args.event as u64)
    };
    // SAFETY: the host's promise.
    unsafe { with_streams("stream_wait", args, |args| args.device, body) }
}

unsafe extern "C" fn event_create(args: *mut abi::EventArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::EventArgs| {
        args.event = handle(streams.event_create()?);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_streams("event_create", args, |args| args.device, body) }
}

unsafe extern "C" fn event_destroy(args: *mut abi::EventArgs) {
    // SAFETY: the host's promise.
    let Some(own) = (unsafe { abi::EventArgs::read(args) }) else { return };
    // SAFETY: as in `with_device`.
    let Some(state) = (unsafe { own.device.cast::<State>().as_ref() }) else { return };
    state.runtime.guard_silent(state.host, "event_destroy", || {
        if let (Some(streams), Some(event)) = (state.device.streams(), number(own.event)) {
            streams.event_destroy(event);
        }
    });
}

unsafe extern "C" fn event_record(args: *mut abi::StreamEventArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::StreamEventArgs| {
        streams.event_record(args.stream as u64, args.event as u64)
    };
    // SAFETY: the host's promise.
    unsafe { with_streams("event_record", args, |args| args.device, body) }
}

unsafe extern "C" fn event_query(args: *mut abi::EventArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::EventArgs| {
        args.done = u32::from(streams.event_query(args.event as u64)?);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_streams("event_query", args, |args| args.device, body) }
}

unsafe extern "C" fn event_wait(args: *mut abi::EventArgs) -> *mut abi::Error {
    let body = |streams: &dyn Streams, args: &mut abi::EventArgs| streams.event_wait(args.event as u64);
    // SAFETY: the host's promise.
    unsafe { with_streams("event_wait", args, |args| args.device, body) }
}
