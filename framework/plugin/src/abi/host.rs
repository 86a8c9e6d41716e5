//! What the host offers a plugin. The table lives until the process ends; every function works from any thread.

use std::ffi::c_void;

use super::head::{Call, CallToken, Constants, Error, Head, LoopBody, Notify, Str};
use super::region::{
    RegionAttrArgs, RegionCompositeArgs, RegionInfoArgs, RegionNodeArgs, RegionOnnxArgs, RegionSymbolArgs,
    RegionValueArgs,
};

abi_structs! {
    /// Makes an error; it is what the function returns. `head.flags` may hold `ERROR_RETRY` and `ERROR_PANICKED`.
    head 48 struct ErrorNewArgs {
        head: Head,
        /// One of `ERROR_*`; an unknown one is `ERROR_INTERNAL`.
        category: u32,
        reserved: u32,
        /// The region's node that is at fault, or `NONE`.
        node: u64,
        message: Str,
    }

    head 56 struct ErrorInfoArgs {
        head: Head,
        error: *const Error,
        category: u32,
        /// `ERROR_RETRY` and `ERROR_PANICKED`.
        error_flags: u32,
        node: u64,
        /// Valid until the error is dropped.
        message: Str,
    }

    head 24 struct ErrorDropArgs {
        head: Head,
        error: *mut Error,
    }

    /// Lines may be lost; a log is no way to tell an error.
    head 40 struct LogArgs {
        head: Head,
        /// One of `LOG_*`.
        level: u32,
        reserved: u32,
        message: Str,
    }

    /// Memory that may outlive a call. Size 0 gives a pointer of its own, too.
    head 40 struct AllocArgs {
        head: Head,
        size: u64,
        align: u64,
        data: *mut c_void,
    }

    head 24 struct FreeArgs {
        head: Head,
        data: *mut c_void,
    }

    head 32 struct ThreadsArgs {
        head: Head,
        call: *mut CallToken,
        /// How many threads `parallel_for` may use in this call, the caller's own included.
        count: u32,
        reserved: u32,
    }

    /// Calls `body(user, i)` for every i below `count`, on the host's threads, and returns when all are done.
    head 48 struct ParallelForArgs {
        head: Head,
        call: *mut CallToken,
        count: u64,
        body: LoopBody,
        user: *mut c_void,
    }

    head 32 struct StopRequestedArgs {
        head: Head,
        call: *mut CallToken,
        /// 1 where the caller no longer wants the result.
        stop: u32,
        reserved: u32,
    }

    /// Refuses a node of the region; in `check_region` and `compile`.
    head 48 struct RefuseNodeArgs {
        head: Head,
        call: *mut CallToken,
        node: u64,
        reason: Str,
    }

    /// A constant's content: never to be written, valid until the executable is destroyed or the constant released.
    head 56 struct ConstantArgs {
        head: Head,
        constants: *mut Constants,
        index: u64,
        data: Str,
        /// In bytes; never less than the element type needs.
        align: u64,
    }

    /// Says that a constant is no longer needed. Doing so again does nothing.
    head 32 struct ConstantReleaseArgs {
        head: Head,
        constants: *mut Constants,
        index: u64,
    }

    /// Allocates an output whose tensor came without data; at most once an output, before `execute` returns.
    head 64 struct OutputAllocArgs {
        head: Head,
        call: *mut CallToken,
        output: u64,
        rank: u64,
        shape: *const i64,
        data: *mut c_void,
        byte_len: u64,
    }

    /// Tells an output's shape; in `output_shapes`.
    head 48 struct OutputShapeArgs {
        head: Head,
        call: *mut CallToken,
        output: u64,
        rank: u64,
        shape: *const i64,
    }

    /// A span of device time within an execution, in nanoseconds of a clock of the plugin's own.
    head 56 struct ProfileEventArgs {
        head: Head,
        call: *mut CallToken,
        name: Str,
        start_ns: u64,
        end_ns: u64,
    }

    /// Asks for a table by name and version, as `byoc.kernel/1`.
    head 40 struct GetExtensionArgs {
        head: Head,
        name: Str,
        /// A struct with a head; null, and no error, where the name is not known.
        table: *const c_void,
    }

    head 200 struct Host {
        head: Head,
        error_new: Call<ErrorNewArgs>,
        error_info: Call<ErrorInfoArgs>,
        error_drop: Notify<ErrorDropArgs>,
        log: Notify<LogArgs>,
        alloc: Call<AllocArgs>,
        free: Notify<FreeArgs>,
        threads: Call<ThreadsArgs>,
        parallel_for: Call<ParallelForArgs>,
        stop_requested: Call<StopRequestedArgs>,
        region_info: Call<RegionInfoArgs>,
        region_node: Call<RegionNodeArgs>,
        region_attr: Call<RegionAttrArgs>,
        region_value: Call<RegionValueArgs>,
        region_composite: Call<RegionCompositeArgs>,
        region_symbol: Call<RegionSymbolArgs>,
        region_onnx: Call<RegionOnnxArgs>,
        refuse_node: Call<RefuseNodeArgs>,
        constant: Call<ConstantArgs>,
        constant_release: Call<ConstantReleaseArgs>,
        output_alloc: Call<OutputAllocArgs>,
        output_shape: Call<OutputShapeArgs>,
        profile_event: Call<ProfileEventArgs>,
        get_extension: Call<GetExtensionArgs>,
    }
}

abi_constants! {
    /// The plugin does not do this; the region or node goes elsewhere.
    ERROR_UNSUPPORTED: u32 = 1;
    /// The caller broke the contract, or the data is not valid.
    ERROR_INVALID: u32 = 2;
    ERROR_OUT_OF_MEMORY: u32 = 3;
    ERROR_TIMEOUT: u32 = 4;
    ERROR_CANCELLED: u32 = 5;
    ERROR_DEVICE_LOST: u32 = 6;
    ERROR_INTERNAL: u32 = 7;
    /// Flag: trying again may help.
    ERROR_RETRY: u32 = 1;
    /// Flag: a panic or an exception was caught; the plugin is not called again.
    ERROR_PANICKED: u32 = 2;
    LOG_ERROR: u32 = 1;
    LOG_WARN: u32 = 2;
    LOG_INFO: u32 = 3;
    LOG_DEBUG: u32 = 4;
}
