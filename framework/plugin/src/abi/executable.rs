//! A compiled region. Every function but `execute` and `destroy` may be absent, and has a default then.

use std::ffi::c_void;

use super::head::{Call, CallToken, DType, DeviceId, Head, Notify, Str};

abi_structs! {
    /// A tensor with DLPack's fields; in an execution every dimension is known. `head.flags` may hold
    /// `TENSOR_PENDING`. Elements below 8 bits are packed as ONNX packs them, the first in the lowest bits.
    head 96 struct Tensor {
        head: Head,
        /// Null for an output that `output_alloc` is to allocate; of no meaning where there are no elements.
        data: *mut c_void,
        byte_offset: u64,
        byte_len: u64,
        device: DeviceId,
        dtype: DType,
        rank: u64,
        shape: *const i64,
        /// In elements; always there where the rank is not 0.
        strides: *const i64,
        /// The region's value.
        value: u64,
    }

    head 96 struct ExecuteArgs {
        head: Head,
        call: *mut CallToken,
        executable: *mut c_void,
        /// Null where the executable has no contexts.
        context: *mut c_void,
        inputs: *const *const Tensor,
        inputs_len: u64,
        outputs: *const *mut Tensor,
        outputs_len: u64,
        /// Host memory, as `workspace` has asked for it; nothing is kept in it from one execution to the next.
        workspace: *mut c_void,
        workspace_len: u64,
        /// Null: complete on return. Else enqueued on return; inputs and workspace stay valid until the event behind.
        stream: *mut c_void,
    }

    /// For `destroy` and for questions without further arguments.
    head 24 struct ExecutableArgs {
        head: Head,
        executable: *mut c_void,
    }

    head 32 struct ContextArgs {
        head: Head,
        executable: *mut c_void,
        context: *mut c_void,
    }

    /// What the executable wants of one input or output; all zeros are the default. `head.flags` may hold `IO_ALIAS`.
    head 40 struct IoSpec {
        head: Head,
        /// Of kind 0 for where it was compiled for, or host memory where that device has none of its own.
        device: DeviceId,
        /// In bytes, a power of two; 0 for 64.
        align: u64,
        /// For an output with `IO_ALIAS`: the input whose memory it may be given.
        alias: u64,
    }

    /// The arrays live as long as the executable; empty ones stand for the default.
    head 56 struct IoArgs {
        head: Head,
        executable: *mut c_void,
        inputs: *const *const IoSpec,
        inputs_len: u64,
        outputs: *const *const IoSpec,
        outputs_len: u64,
    }

    /// Scratch memory for one execution with inputs of these shapes, in host memory. What a device needs of its own the
    /// executable allocates there.
    head 56 struct WorkspaceArgs {
        head: Head,
        executable: *mut c_void,
        inputs: *const *const Tensor,
        inputs_len: u64,
        size: u64,
        align: u64,
    }

    /// Shapes of the outputs from shapes (and perhaps content) of inputs, told through the host's `output_shape`.
    head 48 struct OutputShapesArgs {
        head: Head,
        call: *mut CallToken,
        executable: *mut c_void,
        inputs: *const *const Tensor,
        inputs_len: u64,
    }

    /// The artefact is in memory from the host's `alloc`, which the host frees; the compatibility string lives as long as
    /// the executable.
    head 56 struct SerialiseArgs {
        head: Head,
        executable: *mut c_void,
        data: *mut c_void,
        len: u64,
        compatibility: Str,
    }

    /// Device time of the last completed execution, `NONE` where it is not known.
    head 40 struct DeviceTimeArgs {
        head: Head,
        executable: *mut c_void,
        context: *mut c_void,
        ns: u64,
    }

    /// `head.flags` may hold `CONCURRENT`.
    head 88 struct ExecutableTable {
        head: Head,
        execute: Call<ExecuteArgs>,
        destroy: Notify<ExecutableArgs>,
        /// Default: dense host memory, 64-byte aligned, no aliasing.
        io: Call<IoArgs>,
        /// Default: none.
        workspace: Call<WorkspaceArgs>,
        /// Default: the host infers, or outputs are pending.
        output_shapes: Call<OutputShapesArgs>,
        /// Default: not serialisable.
        serialise: Call<SerialiseArgs>,
        /// Default: unknown.
        device_time: Call<DeviceTimeArgs>,
        /// Default: null contexts, one execution at a time unless `CONCURRENT`.
        context_create: Call<ContextArgs>,
        context_destroy: Notify<ContextArgs>,
    }
}

abi_constants! {
    /// Flag of a tensor: the output has no memory yet.
    TENSOR_PENDING: u32 = 1;
    /// Flag of an `IoSpec`: `alias` counts.
    IO_ALIAS: u32 = 1;
    /// Flag of an executable, and of a plugin: calls may overlap.
    CONCURRENT: u32 = 1;
}
