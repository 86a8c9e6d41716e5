//! Vendors' compiled regions as steps of a program.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Buffer, Ctx, KernelError, Outputs, View};
use byoc_graph::{DType, Dim, Expr, Graph, StaticDims, Tensor, TensorType};
use byoc_host::{
    AlignedBuffer, ArtefactBytes, CallEnv, Compiled, DeviceMemory, Event, Executed, ExecutionContext, HOST,
    IoSpec, Output, OutputMemory, PluginError, Stream, TensorData, TensorRef, ThreadPolicy, adapt,
};
use byoc_runtime::{DeviceOutput, InFlight, Location, Operand, RegionCall, RegionExecutable};
use bytes::Bytes;

/// A compiled region, with what is needed to call it.
pub struct VendorRegion {
    target: String,
    compiled: Arc<Compiled>,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
    /// Where it wants its inputs and makes its outputs; `None` is host memory.
    input_memory: Vec<Option<DeviceMemory>>,
    output_memory: Vec<Option<DeviceMemory>>,
    state: Arc<State>,
}

/// What executions leave for the next ones.
#[derive(Default)]
struct State {
    /// Contexts and scratch memory that no run uses at the moment.
    spare: Mutex<Vec<(Option<ExecutionContext>, Buffer)>>,
    time: Mutex<Option<RunTime>>,
    /// By how much calls took longer than the device says that it did, all of them together.
    simulated_ns: AtomicI64,
    /// Behind the last execution, where one has to be done before the next begins.
    last: Mutex<Option<Arc<Event>>>,
}

/// What one run took.
#[derive(Clone, Copy)]
struct RunTime {
    /// As the vendor tells it.
    device: Option<Duration>,
    /// As the host sees it.
    host: Duration,
}

/// An execution until it is done.
struct Execution {
    compiled: Arc<Compiled>,
    state: Arc<State>,
    context: Option<ExecutionContext>,
    workspace: Buffer,
    /// Size and alignment of what is used of it.
    scratch: (usize, usize),
    /// What its stream waits for.
    before: Option<Arc<Event>>,
    start: Instant,
    /// How long the call took, where all was done when it returned.
    took: Option<Duration>,
}

impl Drop for Execution {
    fn drop(&mut self) {
        let device = self.compiled.device_time(self.context.as_ref()).ok().flatten();
        let host = self.took.unwrap_or_else(|| self.start.elapsed());
        if let (Some(device), Some(took)) = (device, self.took) {
            let ns = took.as_nanos() as i64 - device.as_nanos() as i64;
            self.state.simulated_ns.fetch_add(ns, Ordering::Relaxed);
        }
        *lock(&self.state.time) = Some(RunTime { device, host });
        lock(&self.state.spare).push((self.context.take(), std::mem::take(&mut self.workspace)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VendorRegion {
    /// `graph` is the region as a graph of its own, whose inputs and outputs `compiled` has.
    pub fn new(target: String, compiled: Compiled, graph: &Graph) -> VendorRegion {
        let tensor = |v: &byoc_graph::ValueId| {
            graph.value(*v).ty.as_ref().and_then(|t| t.as_tensor()).cloned().unwrap_or_default()
        };
        let memory = |spec: &IoSpec| (spec.device != HOST).then(|| compiled.plugin().memory(spec.device));
        VendorRegion {
            target,
            inputs: graph.inputs().iter().map(tensor).collect(),
            outputs: graph.outputs().iter().map(tensor).collect(),
            input_memory: compiled.inputs().iter().map(|spec| memory(spec).flatten()).collect(),
            output_memory: compiled.outputs().iter().map(|spec| memory(spec).flatten()).collect(),
            compiled: Arc::new(compiled),
            state: Arc::default(),
        }
    }

    /// The vendor's name.
    pub fn vendor(&self) -> &str {
        self.compiled.plugin().vendor()
    }

    /// Bytes from which the vendor makes it again.
    pub fn artefact(&self) -> Result<ArtefactBytes, PluginError> {
        self.compiled.serialise()
    }

    /// How many values it takes when it runs.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Device time of the last run, where the vendor tells it.
    pub fn device_ms(&self) -> Option<f64> {
        Some((*lock(&self.state.time))?.device?.as_secs_f64() * 1e3)
    }

    /// Microseconds by which calls that the host waited for took longer than the device says that it did, all
    /// calls so far together: what a simulator takes beyond the time it tells.
    pub fn simulated_us(&self) -> f64 {
        self.state.simulated_ns.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// How long the last run took: the vendor's device time, or what the host saw. Copies to and from its
    /// memory are not in it.
    pub fn last_time(&self) -> Option<Duration> {
        lock(&self.state.time).map(|time| time.device.unwrap_or(time.host))
    }

    /// An execution that has what it needs, from an earlier one where it can.
    fn execution(&self, tensors: &[TensorRef<'_>]) -> Result<Execution, KernelError> {
        let scratch = self.compiled.workspace(tensors).map_err(other)?;
        // The buffer's own alignment may be less than what is asked for.
        let size = if scratch.0 == 0 { 0 } else { scratch.0.saturating_add(scratch.1) };
        let spare = lock(&self.state.spare).pop();
        let (context, mut workspace) = match spare {
            Some(spare) => spare,
            None => (self.compiled.new_context().map_err(other)?, Buffer::default()),
        };
        workspace.resize(size)?;
        let (compiled, state) = (self.compiled.clone(), self.state.clone());
        let (start, took) = (Instant::now(), None);
        Ok(Execution { compiled, state, context, workspace, scratch, before: None, start, took })
    }

    /// Shapes of the outputs: as the vendor says, else as inference does; `None` for those that only running tells.
    fn output_dims(
        &self,
        tensors: &[TensorRef<'_>],
        dims: &[StaticDims],
        env: CallEnv<'_>,
    ) -> Result<Vec<Option<StaticDims>>, PluginError> {
        if let Some(shapes) = self.compiled.output_shapes(tensors, env)? {
            let shape = |s: &Vec<i64>| s.iter().map(|&d| usize::try_from(d).ok()).collect();
            return Ok(shapes.iter().map(shape).collect());
        }
        let lookup = |name: &str| self.symbol(name, dims);
        let evaluate = |dim: &Dim| {
            dim.substitute(&|name| lookup(name).map(Expr::constant)).value().and_then(|n| n.try_into().ok())
        };
        let shape = |ty: &TensorType| ty.shape.as_ref()?.iter().map(evaluate).collect();
        Ok(self.outputs.iter().map(shape).collect())
    }

    /// The size of a symbolic dimension, read off the inputs at hand.
    fn symbol(&self, name: &str, dims: &[StaticDims]) -> Option<i64> {
        self.inputs.iter().zip(dims).find_map(|(ty, dims)| {
            let shape = ty.shape.as_ref()?;
            let at = shape
                .iter()
                .position(|d| matches!(d, Dim::Symbolic(e) if e.as_symbol().is_some_and(|s| &**s == name)))?;
            i64::try_from(*dims.get(at)?).ok()
        })
    }
}

/// The runtime's threads, as plugins see them.
pub(crate) struct Pool<'a>(pub &'a ThreadPool);

impl byoc_host::ThreadPool for Pool<'_> {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync)) {
        self.0.parallel_for(n, body);
    }
}

impl RegionExecutable for VendorRegion {
    fn target(&self) -> &str {
        &self.target
    }

    /// A vendor that takes all of the host's processors leaves nothing to do beside it.
    fn is_aside(&self) -> bool {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        match self.compiled.plugin().library().threads {
            ThreadPolicy::Own(own) => (1..processors).contains(&(own as usize)),
            ThreadPolicy::Host => false,
        }
    }

    fn input_location(&self, input: usize) -> Option<Location<'_>> {
        location(&self.input_memory, self.compiled.inputs(), input)
    }

    fn output_location(&self, output: usize) -> Option<Location<'_>> {
        location(&self.output_memory, self.compiled.outputs(), output)
    }

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let inputs: Vec<_> = inputs.iter().map(|view| view.map(Operand::Host)).collect();
        let call = RegionCall { inputs: &inputs, host: outputs, device: &mut [], stream: None };
        // SAFETY: there is no stream.
        unsafe { self.enqueue(ctx, call) }.map(drop)
    }

    unsafe fn enqueue(&self, ctx: &Ctx<'_>, call: RegionCall<'_, '_, '_>) -> Result<InFlight, KernelError> {
        let RegionCall { inputs, host, device, stream } = call;
        let pool = Pool(ctx.exec.pool);
        let env = CallEnv { pool: &pool, stop: None };
        let operands = inputs.iter().enumerate().map(|(i, input)| match input {
            Some(Operand::Host(View::Tensor(tensor))) => {
                Ok((tensor.dtype, tensor.dims, TensorData::Host(tensor.bytes())))
            }
            Some(Operand::Host(other)) => Err(KernelError::NotATensor { input: i, got: other.kind() }),
            Some(Operand::Device(at)) => {
                let device = self.compiled.inputs()[i].device;
                let (address, offset, len) = (at.address, at.offset, at.len as u64);
                Ok((at.dtype, at.dims, TensorData::Device { device, address, offset, len }))
            }
            None => Err(KernelError::MissingInput(i)),
        });
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        let dims: Vec<StaticDims> = operands.iter().map(|(_, dims, _)| (*dims).into()).collect();
        let shapes: Vec<Vec<i64>> = dims.iter().map(|dims| shape_of(dims)).collect();
        let tensors: Vec<TensorRef<'_>> = operands
            .iter()
            .zip(&shapes)
            .map(|((dtype, _, data), shape)| TensorRef { dtype: adapt::dtype(*dtype), shape, data: *data })
            .collect();
        let dims = self.output_dims(&tensors, &dims, env).map_err(other)?;

        let mut buffers = self.buffers(&dims, host, device)?;
        let shapes: Vec<Vec<i64>> = dims.iter().map(|d| d.as_deref().map_or(Vec::new(), shape_of)).collect();
        let mut wanted = Vec::new();
        for (i, (buffer, shape)) in buffers.iter_mut().zip(&shapes).enumerate() {
            let memory = match buffer {
                Target::Host(buffer) => OutputMemory::Host(buffer.bytes_mut()),
                Target::Device((address, offset, len)) => {
                    let device = self.compiled.outputs()[i].device;
                    OutputMemory::Device { device, address: *address, offset: *offset, len: *len as u64 }
                }
                Target::Pending => OutputMemory::Pending,
            };
            wanted.push(Output { dtype: adapt::dtype(self.output_dtype(i)?), shape, memory });
        }
        let mut execution = self.execution(&tensors)?;
        let own_threads = matches!(self.compiled.plugin().library().threads, ThreadPolicy::Own(_));
        let rest = (own_threads && !self.is_aside()).then(|| ctx.exec.pool.rest());
        // SAFETY: device memory is the caller's promise; with a stream there is none of the host's but the
        // workspace, which the execution keeps.
        let done = unsafe { self.execute(&mut execution, &tensors, &mut wanted, stream, env) };
        drop(rest);
        let done = done.map_err(other)?;
        drop(wanted);
        if stream.is_some() && buffers.iter().any(|buffer| matches!(buffer, Target::Pending)) {
            // The plugin fills what it has allocated in the order of the stream.
            let memory = self.input_memory.iter().chain(&self.output_memory).flatten().next();
            memory.map_or(Ok(()), |memory| memory.sync(stream)).map_err(other)?;
        }
        self.hand_over(&dims, buffers, done, host, device)?;
        Ok(Some(Box::new(execution)))
    }
}

/// Where an output is computed.
enum Target {
    Host(Buffer),
    /// Address, offset and length.
    Device((u64, u64, usize)),
    /// Only the plugin can tell how large it is.
    Pending,
}

fn location<'a>(memory: &'a [Option<DeviceMemory>], specs: &[IoSpec], i: usize) -> Option<Location<'a>> {
    Some(Location { memory: memory.get(i)?.as_ref()?, align: specs.get(i)?.align })
}

fn shape_of(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&d| d as i64).collect()
}

impl VendorRegion {
    fn buffers(
        &self,
        dims: &[Option<StaticDims>],
        host: &mut Outputs<'_>,
        device: &mut [Option<DeviceOutput<'_>>],
    ) -> Result<Vec<Target>, KernelError> {
        let target = |(i, dims): (usize, &Option<StaticDims>)| {
            let Some(dims) = dims else { return Ok(Target::Pending) };
            match device.get_mut(i) {
                Some(Some(output)) => Ok(Target::Device(output.place(self.output_dtype(i)?, dims)?)),
                _ => Ok(Target::Host(host.scratch(self.output_len(i, dims)?)?)),
            }
        };
        dims.iter().enumerate().map(target).collect()
    }

    /// Calls the executable; one execution after the other where it does not take several at once.
    ///
    /// # Safety
    /// As for [`Compiled::enqueue`].
    unsafe fn execute(
        &self,
        execution: &mut Execution,
        tensors: &[TensorRef<'_>],
        wanted: &mut [Output<'_>],
        stream: Option<&Stream>,
        env: CallEnv<'_>,
    ) -> Result<Executed, PluginError> {
        let memory = self.output_memory.iter().flatten().next();
        let mut turn = (!self.compiled.is_concurrent()).then(|| lock(&self.state.last));
        if let (Some(last), Some(stream)) = (&mut turn, stream) {
            execution.before = last.take();
            execution.before.as_ref().map_or(Ok(()), |event| stream.wait(event))?;
        }
        execution.start = Instant::now();
        let (size, align) = execution.scratch;
        let buffer = execution.workspace.bytes_mut();
        let start = buffer.as_ptr().align_offset(align).min(buffer.len());
        let workspace = &mut buffer[start..][..size];
        let context = execution.context.as_mut();
        // SAFETY: the caller's promise.
        let done = unsafe { self.compiled.enqueue(context, tensors, wanted, workspace, stream, env)? };
        execution.took = stream.is_none().then(|| execution.start.elapsed());
        if let (Some(last), Some(stream), Some(memory)) = (&mut turn, stream, memory) {
            let event = memory.new_event()?;
            stream.record(&event)?;
            **last = Some(Arc::new(event));
        }
        Ok(done)
    }

    /// Hands over what lies in host memory, and copies what was to be on a device but could not be.
    fn hand_over(
        &self,
        dims: &[Option<StaticDims>],
        buffers: Vec<Target>,
        done: Executed,
        host: &mut Outputs<'_>,
        device: &mut [Option<DeviceOutput<'_>>],
    ) -> Result<(), KernelError> {
        let mut allocated = done.allocated.into_iter();
        for (i, buffer) in buffers.into_iter().enumerate() {
            let pending = allocated.next().flatten();
            let tensor = match (buffer, pending) {
                (Target::Device(_), _) => continue,
                (Target::Host(buffer), _) => {
                    let dims = dims[i].as_ref().expect("a buffer is made for known dimensions");
                    buffer.into_tensor(self.output_dtype(i)?, dims)
                }
                (Target::Pending, Some((shape, content))) => self.pending_tensor(i, &shape, content)?,
                (Target::Pending, None) => {
                    return Err(KernelError::invalid(format!("{} made no output {i}", self.target)));
                }
            };
            let tensor = tensor.map_err(|e| KernelError::invalid(e.to_string()))?;
            match device.get_mut(i) {
                Some(Some(output)) => {
                    let (address, offset, _) = output.place(tensor.dtype(), tensor.dims())?;
                    output.memory().copy_in(tensor.bytes(), address, offset).map_err(other)?;
                }
                _ => host.set(i, tensor.into())?,
            }
        }
        Ok(())
    }

    fn pending_tensor(
        &self,
        i: usize,
        shape: &[i64],
        content: AlignedBuffer,
    ) -> Result<Result<Tensor, byoc_graph::TensorError>, KernelError> {
        let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims =
            dims.ok_or_else(|| KernelError::invalid(format!("{} gave a negative size", self.target)))?;
        Ok(Tensor::from_bytes(self.output_dtype(i)?, &dims, Bytes::from_owner(content)))
    }

    fn output_dtype(&self, i: usize) -> Result<DType, KernelError> {
        let dtype = self.outputs.get(i).and_then(|ty| ty.dtype);
        dtype.ok_or_else(|| KernelError::invalid(format!("the element type of output {i} is not known")))
    }

    fn output_len(&self, i: usize, dims: &[usize]) -> Result<usize, KernelError> {
        let dtype = self.output_dtype(i)?;
        let len = byoc_graph::element_count(dims).and_then(|n| dtype.byte_len(n));
        len.ok_or_else(|| KernelError::TooLarge { dtype, dims: dims.to_vec() })
    }
}

fn other(error: PluginError) -> KernelError {
    KernelError::Other(Box::new(error))
}

#[cfg(test)]
mod tests;
