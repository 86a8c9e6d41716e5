//! A compiled region: safe calls into an executable's table, or to the worker that has it.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use byoc_plugin::abi::{self, AbiStruct, NONE};
use byoc_plugin::{DType, DeviceId, Error};

use crate::calls::{Call, CallEnv, DeviceSpan, OutputState};
use crate::constants::ConstantSet;
use crate::device::Stream;
use crate::error::PluginError;
use crate::host_table::free_memory;
use crate::isolate::RemoteExecutable;
use crate::memory::AlignedBuffer;
use crate::plugin::Plugin;
use crate::region::RegionData;
use crate::tensor::{Place, TensorArrays, TensorRef};

/// An executable of a plugin's. Destroyed before its constants and its plugin are.
pub struct Compiled {
    plugin: Arc<Plugin>,
    table: abi::ExecutableTable,
    executable: *mut c_void,
    // Lent to the executable.
    _constants: Box<ConstantSet>,
    signature: Signature,
    inputs: Vec<IoSpec>,
    outputs: Vec<IoSpec>,
    /// Held during an execution where the executable does not take several at once.
    turnstile: Option<Mutex<()>>,
    /// Where it is in a worker; all functions of the table are absent then.
    remote: Option<RemoteExecutable>,
}

// SAFETY: the interface lets an executable be called from any thread; one at a time, unless it says otherwise.
unsafe impl Send for Compiled {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}

/// The values that go in and out, by their indices in the region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

impl Signature {
    pub fn of(region: &RegionData) -> Self {
        Signature { inputs: region.inputs.clone(), outputs: region.outputs.clone() }
    }
}

/// What the executable wants of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoSpec {
    pub device: DeviceId,
    pub align: usize,
    /// For an output: the input whose memory it may be given.
    pub alias: Option<usize>,
}

/// An output, as the host asks for it.
#[derive(Debug)]
pub struct Output<'a> {
    pub dtype: DType,
    /// Not looked at where the memory is pending.
    pub shape: &'a [i64],
    pub memory: OutputMemory<'a>,
}

#[derive(Debug)]
pub enum OutputMemory<'a> {
    Host(&'a mut [u8]),
    Device {
        device: DeviceId,
        address: u64,
        offset: u64,
        len: u64,
    },
    /// The plugin allocates it, since only it can tell the shape.
    Pending,
}

/// What an execution leaves behind.
#[derive(Debug, Default)]
pub struct Executed {
    /// By output: shape and content of those that were pending.
    pub allocated: Vec<Option<(Vec<i64>, AlignedBuffer)>>,
    pub spans: Vec<DeviceSpan>,
}

/// Bytes of an artefact, and what it needs to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtefactBytes {
    pub bytes: Vec<u8>,
    pub compatibility: String,
}

impl Compiled {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        table: *const abi::ExecutableTable,
        executable: *mut c_void,
        constants: Box<ConstantSet>,
        signature: Signature,
        device: DeviceId,
    ) -> Result<Self, PluginError> {
        // SAFETY: the table lives as long as the library.
        let table = unsafe { abi::ExecutableTable::read(table) }
            .filter(|table| table.execute.is_some() && table.destroy.is_some())
            .ok_or_else(|| {
                plugin.error("compile", Error::internal("it gave no executable with `execute` and `destroy`"))
            })?;
        let concurrent = table.head.flags & abi::CONCURRENT != 0;
        let turnstile = (!concurrent).then(Mutex::default);
        let (inputs, outputs) = (Vec::new(), Vec::new());
        let mut compiled = Compiled {
            plugin,
            table,
            executable,
            _constants: constants,
            signature,
            inputs,
            outputs,
            turnstile,
            remote: None,
        };
        let (inputs, outputs) = compiled.read_io(device)?;
        (compiled.inputs, compiled.outputs) = (inputs, outputs);
        Ok(compiled)
    }

    /// An executable in a worker.
    pub(crate) fn remote(plugin: Arc<Plugin>, remote: RemoteExecutable, signature: Signature) -> Self {
        let (inputs, outputs) = remote.io();
        Compiled {
            plugin,
            table: AbiStruct::empty(),
            executable: std::ptr::null_mut(),
            _constants: Box::new(ConstantSet::new(&[])),
            signature,
            inputs,
            outputs,
            turnstile: (!remote.is_concurrent()).then(Mutex::default),
            remote: Some(remote),
        }
    }

    fn read_io(&self, device: DeviceId) -> Result<(Vec<IoSpec>, Vec<IoSpec>), PluginError> {
        let mut args = abi::IoArgs { executable: self.executable, ..AbiStruct::empty() };
        if self.table.io.is_some() {
            self.plugin.call("io", self.table.io, &mut args)?;
        }
        let is_memory = self.plugin.devices().iter().any(|info| info.id == device && info.has_memory());
        let default = IoSpec {
            device: if is_memory { device } else { byoc_plugin::HOST },
            align: AlignedBuffer::ALIGN,
            alias: None,
        };
        let read = |specs: *const *const abi::IoSpec, len: u64, count: usize| {
            if len == 0 {
                return Ok(vec![default; count]);
            }
            // SAFETY: the arrays live as long as the executable.
            let specs = unsafe { abi::slice(specs, len) };
            // SAFETY: as above.
            let specs: Option<Vec<IoSpec>> =
                specs.iter().map(|spec| io_spec(unsafe { abi::IoSpec::read(*spec) }?, default)).collect();
            let specs = specs.filter(|specs| specs.len() == count);
            specs.ok_or_else(|| {
                self.plugin.error("io", Error::internal("its inputs or outputs are not those of the region"))
            })
        };
        Ok((
            read(args.inputs, args.inputs_len, self.signature.inputs.len())?,
            read(args.outputs, args.outputs_len, self.signature.outputs.len())?,
        ))
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What it wants of each input, in order.
    pub fn inputs(&self) -> &[IoSpec] {
        &self.inputs
    }

    /// What it wants of each output, in order.
    pub fn outputs(&self) -> &[IoSpec] {
        &self.outputs
    }

    /// Whether several executions may be under way at once.
    pub fn is_concurrent(&self) -> bool {
        self.turnstile.is_none()
    }

    /// Size and alignment of the scratch memory for inputs of these shapes; their content is not looked at.
    pub fn workspace(&self, inputs: &[TensorRef<'_>]) -> Result<(usize, usize), PluginError> {
        if self.table.workspace.is_none() {
            return Ok((0, 1));
        }
        let mut tensors = TensorArrays::inputs(inputs, &self.signature.inputs);
        let pointers = tensors.pointers();
        let mut args = abi::WorkspaceArgs {
            executable: self.executable,
            inputs: pointers.as_ptr().cast(),
            inputs_len: pointers.len() as u64,
            ..AbiStruct::empty()
        };
        self.plugin.call("workspace", self.table.workspace, &mut args)?;
        let parts = usize::try_from(args.size).ok().zip(usize::try_from(args.align.max(1)).ok());
        let parts = parts.filter(|(_, align)| align.is_power_of_two());
        parts.ok_or_else(|| {
            self.plugin.error("workspace", Error::internal("it asks for an impossible workspace"))
        })
    }

    /// Shapes of the outputs for these inputs, where the executable can tell.
    pub fn output_shapes(
        &self,
        inputs: &[TensorRef<'_>],
        env: CallEnv<'_>,
    ) -> Result<Option<Vec<Vec<i64>>>, PluginError> {
        if let Some(remote) = &self.remote {
            let _turn = self.plugin.turn();
            return remote.output_shapes(inputs);
        }
        if self.table.output_shapes.is_none() {
            return Ok(None);
        }
        let states = self.signature.outputs.iter().map(|_| OutputState::default()).collect();
        let call = Call::new(env, states);
        let mut tensors = TensorArrays::inputs(inputs, &self.signature.inputs);
        let pointers = tensors.pointers();
        let mut args = abi::OutputShapesArgs {
            call: call.token(),
            executable: self.executable,
            inputs: pointers.as_ptr().cast(),
            inputs_len: pointers.len() as u64,
            ..AbiStruct::empty()
        };
        match self.plugin.call("output_shapes", self.table.output_shapes, &mut args) {
            Err(error) if error.category() == byoc_plugin::Category::Unsupported => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(call.into_outputs().0.into_iter().map(|state| state.shape).collect()),
        }
    }

    /// Computes; everything is done when it returns.
    pub fn execute(
        &self,
        context: Option<&mut ExecutionContext>,
        inputs: &[TensorRef<'_>],
        outputs: &mut [Output<'_>],
        workspace: &mut [u8],
        env: CallEnv<'_>,
    ) -> Result<Executed, PluginError> {
        // SAFETY: without a stream nothing is in use when the call returns.
        unsafe { self.enqueue(context, inputs, outputs, workspace, None, env) }
    }

    /// Computes, in the order of a stream where there is one.
    ///
    /// # Safety
    /// With a stream, all memory given here stays valid and untouched until an event recorded behind has completed.
    pub unsafe fn enqueue(
        &self,
        context: Option<&mut ExecutionContext>,
        inputs: &[TensorRef<'_>],
        outputs: &mut [Output<'_>],
        workspace: &mut [u8],
        stream: Option<&Stream>,
        env: CallEnv<'_>,
    ) -> Result<Executed, PluginError> {
        if inputs.len() != self.signature.inputs.len() || outputs.len() != self.signature.outputs.len() {
            return Err(self.plugin.error("execute", Error::invalid("wrong number of inputs or outputs")));
        }
        if let Some(remote) = &self.remote {
            let _turn = self.turn();
            let _plugin_turn = self.plugin.turn();
            let (executed, device_time) = remote.execute(inputs, outputs)?;
            context.into_iter().for_each(|context| context.device_time = device_time);
            return Ok(executed);
        }
        if context.as_ref().is_some_and(|context| context.executable != self.executable) {
            return Err(self.plugin.error("execute", Error::invalid("the context is another executable's")));
        }
        let states = outputs.iter().map(|output| OutputState {
            dtype: Some(output.dtype),
            pending: matches!(output.memory, OutputMemory::Pending),
            ..OutputState::default()
        });
        let call = Call::new(env, states.collect());
        let mut input_tensors = TensorArrays::inputs(inputs, &self.signature.inputs);
        let mut output_tensors = self.output_tensors(outputs);
        let (input_pointers, output_pointers) = (input_tensors.pointers(), output_tensors.pointers());
        let mut args = abi::ExecuteArgs {
            call: call.token(),
            executable: self.executable,
            context: context.map_or(std::ptr::null_mut(), |context| context.raw),
            inputs: input_pointers.as_ptr().cast(),
            inputs_len: input_pointers.len() as u64,
            outputs: output_pointers.as_ptr(),
            outputs_len: output_pointers.len() as u64,
            workspace: workspace.as_mut_ptr().cast(),
            workspace_len: workspace.len() as u64,
            stream: stream.map_or(std::ptr::null_mut(), Stream::raw),
            ..AbiStruct::empty()
        };
        let turn = self.turn();
        self.plugin.call("execute", self.table.execute, &mut args)?;
        drop(turn);
        let (states, spans) = call.into_outputs();
        if let Some(missing) = states.iter().position(|state| state.pending && state.memory.is_none()) {
            let message = format!("it returned without output {missing}");
            return Err(self.plugin.error("execute", Error::internal(message)));
        }
        let allocated = states.into_iter().map(|state| state.shape.zip(state.memory)).collect();
        Ok(Executed { allocated, spans })
    }

    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turnstile.as_ref().map(|turnstile| turnstile.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn output_tensors(&self, outputs: &mut [Output<'_>]) -> TensorArrays {
        let mut arrays = TensorArrays::default();
        for (output, value) in outputs.iter_mut().zip(&self.signature.outputs) {
            let (shape, place) = match &mut output.memory {
                OutputMemory::Host(bytes) => (output.shape, Place::host(bytes.as_mut_ptr(), bytes.len())),
                OutputMemory::Device { device, address, offset, len } => (
                    output.shape,
                    Place { device: *device, data: *address, offset: *offset, len: *len, pending: false },
                ),
                OutputMemory::Pending => {
                    (&[][..], Place { pending: true, ..Place::host(std::ptr::null(), 0) })
                }
            };
            arrays.push(output.dtype, shape, *value, place);
        }
        arrays
    }

    /// State that one execution after the other may use; `None` where the executable has none.
    pub fn new_context(self: &Arc<Self>) -> Result<Option<ExecutionContext>, PluginError> {
        let mut args = abi::ContextArgs { executable: self.executable, ..AbiStruct::empty() };
        if self.remote.is_none() {
            if self.table.context_create.is_none() {
                return Ok(None);
            }
            self.plugin.call("context_create", self.table.context_create, &mut args)?;
        }
        let (executable, raw) = (self.executable, args.context);
        Ok(Some(ExecutionContext { compiled: Arc::clone(self), executable, raw, device_time: None }))
    }

    /// Bytes from which [`Plugin::load`] makes the executable again.
    pub fn serialise(&self) -> Result<ArtefactBytes, PluginError> {
        if let Some(remote) = &self.remote {
            let _turn = self.plugin.turn();
            return remote.serialise();
        }
        let mut args = abi::SerialiseArgs { executable: self.executable, ..AbiStruct::empty() };
        self.plugin.call("serialise", self.table.serialise, &mut args)?;
        // SAFETY: the plugin has filled so many bytes of memory that is the host's.
        let bytes = unsafe { abi::slice(args.data.cast::<u8>(), args.len) }.to_vec();
        // SAFETY: the memory is from the host's `alloc`, and given up by the plugin.
        unsafe { free_memory(args.data) };
        // SAFETY: the text lives as long as the executable.
        let compatibility = unsafe { args.compatibility.to_text() }.into_owned();
        Ok(ArtefactBytes { bytes, compatibility })
    }

    /// Device time of the last execution, where the plugin knows it.
    pub fn device_time(&self, context: Option<&ExecutionContext>) -> Result<Option<Duration>, PluginError> {
        if self.remote.is_some() {
            return Ok(context.and_then(|context| context.device_time));
        }
        if self.table.device_time.is_none() {
            return Ok(None);
        }
        let context = context.map_or(std::ptr::null_mut(), |context| context.raw);
        let mut args =
            abi::DeviceTimeArgs { executable: self.executable, context, ns: NONE, ..AbiStruct::empty() };
        self.plugin.call("device_time", self.table.device_time, &mut args)?;
        Ok((args.ns != NONE).then(|| Duration::from_nanos(args.ns)))
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let mut args = abi::ExecutableArgs { executable: self.executable, ..AbiStruct::empty() };
        self.plugin.notify(self.table.destroy, &mut args);
    }
}

/// State of an executable for one execution after the other. Destroyed before the executable.
pub struct ExecutionContext {
    compiled: Arc<Compiled>,
    executable: *mut c_void,
    raw: *mut c_void,
    /// Of the last execution, where it is in a worker.
    device_time: Option<Duration>,
}

// SAFETY: a context may be used from any thread, by one at a time: `execute` takes it exclusively.
unsafe impl Send for ExecutionContext {}

impl Drop for ExecutionContext {
    fn drop(&mut self) {
        let mut args =
            abi::ContextArgs { executable: self.executable, context: self.raw, ..AbiStruct::empty() };
        self.compiled.plugin.notify(self.compiled.table.context_destroy, &mut args);
    }
}

/// `None` for an alignment that is none.
fn io_spec(spec: abi::IoSpec, default: IoSpec) -> Option<IoSpec> {
    let device = if spec.device.kind == 0 { default.device } else { spec.device };
    let align = match spec.align {
        0 => default.align,
        align => usize::try_from(align).ok().filter(|align| align.is_power_of_two())?,
    };
    let has_alias = spec.head.flags & abi::IO_ALIAS != 0;
    let alias = if has_alias { Some(usize::try_from(spec.alias).ok()?) } else { None };
    Some(IoSpec { device, align, alias })
}
