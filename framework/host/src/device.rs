//! A plugin's own memory, streams and events, as safe as they can be: handles are freed once, and hold their device.

use std::ffi::c_void;
use std::sync::Arc;

use byoc_plugin::abi::{self, AbiStruct};
use byoc_plugin::{DeviceId, Error, HOST};

use crate::error::PluginError;
use crate::plugin::Plugin;

/// The memory of one device.
#[derive(Clone)]
pub struct DeviceMemory(Arc<Device>);

struct Device {
    plugin: Arc<Plugin>,
    id: DeviceId,
    table: abi::DeviceTable,
    raw: *mut c_void,
}

// SAFETY: the interface lets a device be called from any thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// One end of a copy.
#[derive(Debug, Clone, Copy)]
pub enum CopyEnd {
    Host(*mut u8),
    Device {
        address: u64,
        offset: u64,
    },
    /// Memory of another device of the same plugin; only a source.
    Peer {
        device: DeviceId,
        address: u64,
        offset: u64,
    },
}

/// What became of memory that was to be freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    Done,
    /// The address must never be used again.
    Quarantined,
    Failed,
}

impl Plugin {
    /// The memory of a device; `None` for one that computes in host memory, and for another's.
    pub fn memory(self: &Arc<Self>, device: DeviceId) -> Option<DeviceMemory> {
        let info = self.devices().iter().find(|info| info.id == device)?;
        let (table, raw) = (info.table?, info.raw);
        Some(DeviceMemory(Arc::new(Device { plugin: Arc::clone(self), id: device, table, raw })))
    }
}

impl DeviceMemory {
    pub fn id(&self) -> DeviceId {
        self.0.id
    }

    /// Whether both are the same device of the same open plugin.
    pub fn is(&self, other: &DeviceMemory) -> bool {
        self.id() == other.id() && self.is_peer_of(other)
    }

    /// Whether both are of the same open plugin, which may then know how to copy from one to the other.
    pub fn is_peer_of(&self, other: &DeviceMemory) -> bool {
        Arc::ptr_eq(&self.0.plugin, &other.0.plugin)
    }

    pub fn alloc(&self, size: u64, align: u64) -> Result<u64, PluginError> {
        let mut args = abi::DeviceAllocArgs { device: self.0.raw, size, align, ..AbiStruct::empty() };
        self.0.plugin.call("alloc", self.0.table.alloc, &mut args)?;
        let address = args.data as u64;
        let null = || self.0.plugin.error("alloc", Error::internal("it gave memory at address 0"));
        if address == 0 { Err(null()) } else { Ok(address) }
    }

    /// Frees memory that nothing uses any more.
    pub fn free(&self, address: u64) -> Freed {
        let mut args = abi::DeviceFreeArgs {
            device: self.0.raw,
            data: pointer(address),
            answer: abi::FREE_QUARANTINED,
            ..AbiStruct::empty()
        };
        self.0.plugin.notify(self.0.table.free, &mut args);
        match args.answer {
            abi::FREE_DONE => Freed::Done,
            abi::FREE_FAILED => Freed::Failed,
            _ => Freed::Quarantined,
        }
    }

    /// Copies from host memory and waits for it.
    pub fn copy_in(&self, src: &[u8], address: u64, offset: u64) -> Result<(), PluginError> {
        let (from, to) = (CopyEnd::Host(src.as_ptr().cast_mut()), CopyEnd::Device { address, offset });
        // SAFETY: without a stream the copy is complete when the call returns.
        unsafe { self.copy(from, to, src.len() as u64, None) }
    }

    /// Copies to host memory and waits for it.
    pub fn copy_out(&self, address: u64, offset: u64, dst: &mut [u8]) -> Result<(), PluginError> {
        let (from, to) = (CopyEnd::Device { address, offset }, CopyEnd::Host(dst.as_mut_ptr()));
        // SAFETY: as above.
        unsafe { self.copy(from, to, dst.len() as u64, None) }
    }

    /// Copies, in the order of a stream where there is one.
    ///
    /// # Safety
    /// Host memory is as large as the copy, and stays valid and untouched until the copy has completed.
    pub unsafe fn copy(
        &self,
        from: CopyEnd,
        to: CopyEnd,
        size: u64,
        stream: Option<&Stream>,
    ) -> Result<(), PluginError> {
        let end = |end: CopyEnd| match end {
            CopyEnd::Host(data) => (data.cast::<c_void>(), 0, HOST),
            CopyEnd::Device { address, offset } => (pointer(address), offset, self.0.id),
            CopyEnd::Peer { device, address, offset } => (pointer(address), offset, device),
        };
        let ((src, src_offset, src_device), (dst, dst_offset, dst_device)) = (end(from), end(to));
        let mut args = abi::DeviceCopyArgs {
            device: self.0.raw,
            dst,
            dst_offset,
            dst_device,
            src,
            src_offset,
            src_device,
            size,
            stream: stream.map_or(std::ptr::null_mut(), Stream::raw),
            ..AbiStruct::empty()
        };
        self.0.plugin.call("copy", self.0.table.copy, &mut args)
    }

    /// Waits for a stream, or for all of them.
    pub fn sync(&self, stream: Option<&Stream>) -> Result<(), PluginError> {
        let stream = stream.map_or(std::ptr::null_mut(), Stream::raw);
        let mut args = abi::DeviceSyncArgs { device: self.0.raw, stream, ..AbiStruct::empty() };
        self.0.plugin.call("sync", self.0.table.sync, &mut args)
    }

    /// Free and total bytes, where the device knows them.
    pub fn memory_info(&self) -> Result<Option<(u64, u64)>, PluginError> {
        if self.0.table.memory_info.is_none() {
            return Ok(None);
        }
        let mut args = abi::DeviceMemoryInfoArgs { device: self.0.raw, ..AbiStruct::empty() };
        self.0.plugin.call("memory_info", self.0.table.memory_info, &mut args)?;
        Ok((args.total != abi::NONE).then_some((args.free, args.total)))
    }

    /// Every call is complete when it returns, where there are no streams.
    pub fn has_streams(&self) -> bool {
        self.0.table.stream_create.is_some()
    }

    /// Null stands for no stream, and so can be none.
    fn given(&self, call: &'static str, handle: *mut c_void) -> Result<(), PluginError> {
        let null = || self.0.plugin.error(call, Error::internal("it gave a handle that is null"));
        if handle.is_null() { Err(null()) } else { Ok(()) }
    }

    pub fn new_stream(&self) -> Result<Stream, PluginError> {
        let mut args = abi::StreamArgs { device: self.0.raw, ..AbiStruct::empty() };
        self.0.plugin.call("stream_create", self.0.table.stream_create, &mut args)?;
        self.given("stream_create", args.stream)?;
        Ok(Stream { device: Arc::clone(&self.0), raw: args.stream })
    }

    pub fn new_event(&self) -> Result<Event, PluginError> {
        let mut args = abi::EventArgs { device: self.0.raw, ..AbiStruct::empty() };
        self.0.plugin.call("event_create", self.0.table.event_create, &mut args)?;
        self.given("event_create", args.event)?;
        Ok(Event { device: Arc::clone(&self.0), raw: args.event })
    }
}

/// A queue of work on a device.
pub struct Stream {
    device: Arc<Device>,
    raw: *mut c_void,
}

// SAFETY: the interface lets a stream be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn raw(&self) -> *mut c_void {
        self.raw
    }

    /// Records an event behind what is in the stream.
    pub fn record(&self, event: &Event) -> Result<(), PluginError> {
        self.with_event("event_record", self.device.table.event_record, event)
    }

    /// What is enqueued from now on waits for the event.
    pub fn wait(&self, event: &Event) -> Result<(), PluginError> {
        self.with_event("stream_wait", self.device.table.stream_wait, event)
    }

    fn with_event(
        &self,
        name: &'static str,
        function: abi::Call<abi::StreamEventArgs>,
        event: &Event,
    ) -> Result<(), PluginError> {
        let (device, stream, event) = (self.device.raw, self.raw, event.raw);
        let mut args = abi::StreamEventArgs { device, stream, event, ..AbiStruct::empty() };
        self.device.plugin.call(name, function, &mut args)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut args = abi::StreamArgs { device: self.device.raw, stream: self.raw, ..AbiStruct::empty() };
        self.device.plugin.notify(self.device.table.stream_destroy, &mut args);
    }
}

/// A point in a stream.
pub struct Event {
    device: Arc<Device>,
    raw: *mut c_void,
}

// SAFETY: the interface lets an event be used from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub fn is_done(&self) -> Result<bool, PluginError> {
        let mut args = abi::EventArgs { device: self.device.raw, event: self.raw, ..AbiStruct::empty() };
        self.device.plugin.call("event_query", self.device.table.event_query, &mut args)?;
        Ok(args.done != 0)
    }

    pub fn wait(&self) -> Result<(), PluginError> {
        let mut args = abi::EventArgs { device: self.device.raw, event: self.raw, ..AbiStruct::empty() };
        self.device.plugin.call("event_wait", self.device.table.event_wait, &mut args)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let mut args = abi::EventArgs { device: self.device.raw, event: self.raw, ..AbiStruct::empty() };
        self.device.plugin.notify(self.device.table.event_destroy, &mut args);
    }
}

fn pointer(address: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(address as usize)
}
