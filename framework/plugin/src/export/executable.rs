//! The functions of an executable's table; one table serves all executables.

use std::any::Any;
use std::ffi::c_void;
use std::sync::OnceLock;

use super::runtime::Runtime;
use crate::abi::{self, AbiStruct};
use crate::sdk::{CallRef, Error, Executable, ExecuteContext, HostRef, Result, tensor};

type Context = Box<dyn Any + Send>;

struct State {
    runtime: &'static Runtime,
    host: HostRef,
    executable: Box<dyn Executable>,
    constants: Vec<Option<&'static [u8]>>,
    io: OnceLock<IoArrays>,
    compatibility: OnceLock<String>,
}

pub(super) static TABLE: abi::ExecutableTable = abi::ExecutableTable {
    // A Rust executable can be shared between threads by its type.
    head: abi::Head { flags: abi::CONCURRENT, ..abi::Head::sized(size_of::<abi::ExecutableTable>()) },
    execute: Some(execute),
    destroy: Some(destroy),
    io: Some(io),
    workspace: Some(workspace),
    output_shapes: Some(output_shapes),
    serialise: Some(serialise),
    device_time: Some(device_time),
    context_create: Some(context_create),
    context_destroy: Some(context_destroy),
};

/// An executable as the host gets it.
pub(super) fn into_raw(
    runtime: &'static Runtime,
    host: HostRef,
    executable: Box<dyn Executable>,
    constants: Vec<Option<&'static [u8]>>,
) -> *mut c_void {
    let state =
        State { runtime, host, executable, constants, io: OnceLock::new(), compatibility: OnceLock::new() };
    Box::into_raw(Box::new(state)).cast()
}

/// What `io` answers, in the interface's form.
struct IoArrays {
    inputs: Pointers<abi::IoSpec>,
    outputs: Pointers<abi::IoSpec>,
}

/// Structs that stay where they are, and the array of pointers to them.
pub(super) struct Pointers<T> {
    array: Vec<*const T>,
    _structs: Box<[T]>,
}

// SAFETY: the structs are never changed, and the pointers lead to them alone.
unsafe impl<T> Send for Pointers<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pointers<T> {}

impl<T> Pointers<T> {
    pub(super) fn new(structs: impl IntoIterator<Item = T>) -> Self {
        let structs: Box<[T]> = structs.into_iter().collect();
        let start = structs.as_ptr();
        Pointers {
            array: (0..structs.len()).map(|index| start.wrapping_add(index)).collect(),
            _structs: structs,
        }
    }

    pub(super) fn raw(&self) -> (*const *const T, u64) {
        (self.array.as_ptr(), self.array.len() as u64)
    }
}

/// Runs one call on an executable: reads the arguments, answers into them.
///
/// # Safety
/// `args` follow the interface, and `executable` takes the executable out of them.
unsafe fn with_state<A: AbiStruct>(
    what: &str,
    args: *mut A,
    executable: impl FnOnce(&A) -> *mut c_void,
    body: impl FnOnce(&State, &mut A) -> Result<()>,
) -> *mut abi::Error {
    // SAFETY: the caller's promise. Without an executable there is no host to make an error with.
    let Some(mut own) = (unsafe { A::read(args) }) else { return std::ptr::null_mut() };
    // SAFETY: an executable is what `into_raw` made, and not destroyed.
    let Some(state) = (unsafe { executable(&own).cast::<State>().as_ref() }) else {
        return std::ptr::null_mut();
    };
    state.runtime.guard(state.host, what, || {
        body(state, &mut own)?;
        // SAFETY: read above.
        unsafe { own.write_back(args) };
        Ok(())
    })
}

unsafe extern "C" fn execute(args: *mut abi::ExecuteArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::ExecuteArgs| {
        let call = CallRef::new(state.host, args.call);
        // SAFETY: the host lends tensors and all behind them for the call, and outputs to it alone.
        let inputs = unsafe { tensor::inputs(args.inputs, args.inputs_len)? };
        // SAFETY: as above.
        let mut outputs = unsafe { tensor::outputs(args.outputs, args.outputs_len, call)? };
        let mut context = ExecuteContext {
            call,
            // SAFETY: the host lends the workspace to this call alone.
            workspace: unsafe { abi::slice_mut(args.workspace.cast::<u8>(), args.workspace_len) },
            stream: (!args.stream.is_null()).then_some(args.stream as u64),
            constants: &state.constants,
            // SAFETY: a context is what `context_create` made, and serves one execution at a time.
            state: unsafe { args.context.cast::<Context>().as_mut() }.map(|context| &mut **context),
        };
        state.executable.execute(&inputs, &mut outputs, &mut context)?;
        match outputs.iter().position(|output| output.is_pending()) {
            Some(index) => Err(Error::internal(format!("output {index} was never allocated"))),
            None => Ok(()),
        }
    };
    // SAFETY: the host's promise.
    unsafe { with_state("execute", args, |args| args.executable, body) }
}

unsafe extern "C" fn destroy(args: *mut abi::ExecutableArgs) {
    // SAFETY: the host's promise.
    let Some(own) = (unsafe { abi::ExecutableArgs::read(args) }) else { return };
    if own.executable.is_null() {
        return;
    }
    // SAFETY: an executable is what `into_raw` made, and the host destroys it once.
    let state = unsafe { Box::from_raw(own.executable.cast::<State>()) };
    let (runtime, host) = (state.runtime, state.host);
    runtime.guard_silent(host, "destroy", || drop(state));
}

unsafe extern "C" fn io(args: *mut abi::IoArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::IoArgs| {
        let arrays = state.io.get_or_init(|| {
            let io = state.executable.io().unwrap_or_default();
            let spec = |spec: crate::sdk::IoSpec| {
                let (device, align) = (spec.device, spec.align as u64);
                let mut raw = abi::IoSpec { device, align, ..AbiStruct::empty() };
                if let Some(input) = spec.alias {
                    raw.head.flags |= abi::IO_ALIAS;
                    raw.alias = input as u64;
                }
                raw
            };
            IoArrays {
                inputs: Pointers::new(io.inputs.into_iter().map(spec)),
                outputs: Pointers::new(io.outputs.into_iter().map(spec)),
            }
        });
        (args.inputs, args.inputs_len) = arrays.inputs.raw();
        (args.outputs, args.outputs_len) = arrays.outputs.raw();
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state("io", args, |args| args.executable, body) }
}

unsafe extern "C" fn workspace(args: *mut abi::WorkspaceArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::WorkspaceArgs| {
        // SAFETY: the host lends the tensors for the call.
        let inputs = unsafe { tensor::inputs(args.inputs, args.inputs_len)? };
        let (size, align) = state.executable.workspace(&inputs)?;
        (args.size, args.align) = (size as u64, align as u64);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state("workspace", args, |args| args.executable, body) }
}

unsafe extern "C" fn output_shapes(args: *mut abi::OutputShapesArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::OutputShapesArgs| {
        // SAFETY: the host lends the tensors for the call.
        let inputs = unsafe { tensor::inputs(args.inputs, args.inputs_len)? };
        let shapes = state.executable.output_shapes(&inputs)?;
        let shapes =
            shapes.ok_or_else(|| Error::unsupported("this executable does not infer output shapes"))?;
        let call = CallRef::new(state.host, args.call);
        shapes.iter().enumerate().try_for_each(|(output, shape)| call.output_shape(output, shape))
    };
    // SAFETY: the host's promise.
    unsafe { with_state("output_shapes", args, |args| args.executable, body) }
}

unsafe extern "C" fn serialise(args: *mut abi::SerialiseArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::SerialiseArgs| {
        let artefact = state.executable.serialise()?;
        let compatibility = state.compatibility.get_or_init(|| artefact.compatibility);
        args.data = state.host.copy_out(&artefact.bytes)?;
        args.len = artefact.bytes.len() as u64;
        args.compatibility = abi::Str::new(compatibility);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state("serialise", args, |args| args.executable, body) }
}

unsafe extern "C" fn device_time(args: *mut abi::DeviceTimeArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::DeviceTimeArgs| {
        let time = state.executable.device_time();
        args.ns = time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(abi::NONE);
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state("device_time", args, |args| args.executable, body) }
}

unsafe extern "C" fn context_create(args: *mut abi::ContextArgs) -> *mut abi::Error {
    let body = |state: &State, args: &mut abi::ContextArgs| {
        let context: Context = state.executable.new_context()?;
        args.context = Box::into_raw(Box::new(context)).cast();
        Ok(())
    };
    // SAFETY: the host's promise.
    unsafe { with_state("context_create", args, |args| args.executable, body) }
}

unsafe extern "C" fn context_destroy(args: *mut abi::ContextArgs) {
    // SAFETY: the host's promise.
    let Some(own) = (unsafe { abi::ContextArgs::read(args) }) else { return };
    // SAFETY: the executable outlives its contexts.
    let Some(state) = (unsafe { own.executable.cast::<State>().as_ref() }) else { return };
    state.runtime.guard_silent(state.host, "context_destroy", || {
        if !own.context.is_null() {
            // SAFETY: a context is what `context_create` made, and the host destroys it once.
            drop(unsafe { Box::from_raw(own.context.cast::<Context>()) });
        }
    });
}
