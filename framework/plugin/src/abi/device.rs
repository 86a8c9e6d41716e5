//! A device's own memory, streams and events. The host decides when they are made, used and destroyed; everything
//! that crosses a stream crosses by event. An event is recorded before anybody waits for it or asks; recorded again, it
//! stands for the later point. Handles are the plugin's own and never null.

use std::ffi::c_void;

use super::head::{Call, DeviceId, Head, Notify};

abi_structs! {
    head 48 struct DeviceAllocArgs {
        head: Head,
        device: *mut c_void,
        /// 0 gives an address of its own, too.
        size: u64,
        align: u64,
        /// Never null. Perhaps no address that can be followed or added to: offsets are given beside it.
        data: *mut c_void,
    }

    /// Called only when everything that uses the memory is known to have completed.
    head 40 struct DeviceFreeArgs {
        head: Head,
        device: *mut c_void,
        data: *mut c_void,
        /// One of `FREE_*`.
        answer: u32,
        reserved: u32,
    }

    /// A copy between host memory and the device, within the device, or to it from another device of the plugin; an
    /// error of category unsupported says that it cannot reach that one. Offsets are in bytes; the ends do not overlap.
    head 88 struct DeviceCopyArgs {
        head: Head,
        device: *mut c_void,
        dst: *mut c_void,
        dst_offset: u64,
        dst_device: DeviceId,
        src: *const c_void,
        src_offset: u64,
        src_device: DeviceId,
        size: u64,
        /// Null: complete on return.
        stream: *mut c_void,
    }

    head 32 struct DeviceSyncArgs {
        head: Head,
        device: *mut c_void,
        /// Null: every stream of the device.
        stream: *mut c_void,
    }

    head 40 struct DeviceMemoryInfoArgs {
        head: Head,
        device: *mut c_void,
        /// In bytes, both `NONE` where they are not known.
        free: u64,
        total: u64,
    }

    /// Makes or destroys a stream.
    head 32 struct StreamArgs {
        head: Head,
        device: *mut c_void,
        stream: *mut c_void,
    }

    /// Makes, destroys, queries or waits for an event.
    head 40 struct EventArgs {
        head: Head,
        device: *mut c_void,
        event: *mut c_void,
        /// Answer of `event_query`: 1 where all before the event is done.
        done: u32,
        reserved: u32,
    }

    /// Records an event behind what is in the stream, or makes the stream wait for it.
    head 40 struct StreamEventArgs {
        head: Head,
        device: *mut c_void,
        stream: *mut c_void,
        event: *mut c_void,
    }

    /// Streams and events are there all together or not at all; without them every call is complete on return.
    head 120 struct DeviceTable {
        head: Head,
        alloc: Call<DeviceAllocArgs>,
        free: Notify<DeviceFreeArgs>,
        copy: Call<DeviceCopyArgs>,
        sync: Call<DeviceSyncArgs>,
        memory_info: Call<DeviceMemoryInfoArgs>,
        stream_create: Call<StreamArgs>,
        stream_destroy: Notify<StreamArgs>,
        stream_wait: Call<StreamEventArgs>,
        event_create: Call<EventArgs>,
        event_destroy: Notify<EventArgs>,
        event_record: Call<StreamEventArgs>,
        event_query: Call<EventArgs>,
        event_wait: Call<EventArgs>,
    }
}

abi_constants! {
    FREE_DONE: u32 = 0;
    /// The address must never be used again. What an unknown answer means, too.
    FREE_QUARANTINED: u32 = 1;
    /// Nothing has changed.
    FREE_FAILED: u32 = 2;
}
