//! Vendors' compiled regions as steps of a program.

use std::sync::{Arc, Mutex, PoisonError};

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Ctx, KernelError, Outputs, View};
use byoc_graph::{DType, Dim, Expr, Graph, StaticDims, Tensor, TensorType};
use byoc_host::{
    CallEnv, Compiled, DeviceMemory, ExecutionContext, HOST, Output, OutputMemory, PluginError, TensorData,
    TensorRef, adapt,
};
use byoc_runtime::RegionExecutable;
use bytes::Bytes;

/// A compiled region, with what is needed to call it.
pub struct VendorRegion {
    target: String,
    compiled: Arc<Compiled>,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
    /// Contexts that no run uses at the moment.
    contexts: Mutex<Vec<ExecutionContext>>,
    device_ns: Mutex<Option<u64>>,
}

/// What stands for a device's tensor while a region runs.
struct OnDevice {
    memory: DeviceMemory,
    address: u64,
    len: u64,
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        // An address that the device will not take back is lost, and never used again.
        let _ = self.memory.free(self.address);
    }
}

impl VendorRegion {
    /// `graph` is the region as a graph of its own, whose inputs and outputs `compiled` has.
    pub fn new(target: String, compiled: Compiled, graph: &Graph) -> VendorRegion {
        let tensor = |v: &byoc_graph::ValueId| {
            graph.value(*v).ty.as_ref().and_then(|t| t.as_tensor()).cloned().unwrap_or_default()
        };
        VendorRegion {
            target,
            compiled: Arc::new(compiled),
            inputs: graph.inputs().iter().map(tensor).collect(),
            outputs: graph.outputs().iter().map(tensor).collect(),
            contexts: Mutex::default(),
            device_ns: Mutex::default(),
        }
    }

    /// The vendor's name.
    pub fn vendor(&self) -> &str {
        self.compiled.plugin().vendor()
    }

    /// How many values it takes when it runs.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Device time of the last run, where the vendor tells it.
    pub fn device_ms(&self) -> Option<f64> {
        let ns = *self.device_ns.lock().unwrap_or_else(PoisonError::into_inner);
        ns.map(|ns| ns as f64 / 1e6)
    }

    fn context(&self) -> Result<Option<ExecutionContext>, PluginError> {
        let spare = self.contexts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(context) => Ok(Some(context)),
            None => self.compiled.new_context(),
        }
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

    /// Memory of the device that input or output wants; `None` for host memory.
    fn device_memory(&self, device: byoc_host::DeviceId) -> Option<DeviceMemory> {
        (device != HOST).then(|| self.compiled.plugin().memory(device)).flatten()
    }

    fn to_device(&self, memory: DeviceMemory, content: &[u8]) -> Result<OnDevice, PluginError> {
        let on_device = self.on_device(memory, content.len())?;
        on_device.memory.copy_in(content, on_device.address, 0)?;
        Ok(on_device)
    }

    fn on_device(&self, memory: DeviceMemory, len: usize) -> Result<OnDevice, PluginError> {
        let len = len as u64;
        let address = memory.alloc(len, 64)?;
        Ok(OnDevice { memory, address, len })
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

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let pool = Pool(ctx.exec.pool);
        let env = CallEnv { pool: &pool, stop: None };
        let views = inputs.iter().enumerate().map(|(i, view)| match view {
            Some(View::Tensor(tensor)) => Ok(*tensor),
            Some(other) => Err(KernelError::NotATensor { input: i, got: other.kind() }),
            None => Err(KernelError::MissingInput(i)),
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<Vec<i64>> =
            views.iter().map(|v| v.dims.iter().map(|&d| d as i64).collect()).collect();
        let dims: Vec<StaticDims> = views.iter().map(|v| v.dims.into()).collect();

        let mut lent = Vec::new();
        for (view, spec) in views.iter().zip(self.compiled.inputs()) {
            let memory = self.device_memory(spec.device);
            lent.push(memory.map(|m| self.to_device(m, view.bytes())).transpose().map_err(other)?);
        }
        let tensors: Vec<TensorRef<'_>> = (views.iter().zip(&shapes).zip(&lent).zip(self.compiled.inputs()))
            .map(|(((view, shape), lent), spec)| TensorRef {
                dtype: adapt::dtype(view.dtype),
                shape,
                data: match lent {
                    Some(d) => {
                        TensorData::Device { device: spec.device, address: d.address, offset: 0, len: d.len }
                    }
                    None => TensorData::Host(view.bytes()),
                },
            })
            .collect();
        let out_dims = self.output_dims(&tensors, &dims, env).map_err(other)?;
        self.execute(env, &tensors, &out_dims, outputs)
    }
}

impl VendorRegion {
    /// Computes into buffers of the right size, and hands them over.
    fn execute(
        &self,
        env: CallEnv<'_>,
        tensors: &[TensorRef<'_>],
        dims: &[Option<StaticDims>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let shapes: Vec<Vec<i64>> =
            dims.iter().map(|d| d.iter().flatten().map(|&d| d as i64).collect()).collect();
        let mut buffers = Vec::new();
        let mut on_device = Vec::new();
        for (i, dims) in dims.iter().enumerate() {
            let len = dims.as_ref().map(|dims| self.output_len(i, dims)).transpose()?;
            let memory = len.and_then(|_| self.device_memory(self.compiled.outputs()[i].device));
            let device = memory.map(|m| self.on_device(m, len.unwrap_or(0))).transpose().map_err(other)?;
            buffers.push(len.map(|len| outputs.scratch(len)).transpose()?);
            on_device.push(device);
        }
        let mut wanted = Vec::new();
        for (i, (buffer, device)) in buffers.iter_mut().zip(&on_device).enumerate() {
            let memory = match (buffer, device) {
                (Some(_), Some(d)) => {
                    let device = self.compiled.outputs()[i].device;
                    OutputMemory::Device { device, address: d.address, offset: 0, len: d.len }
                }
                (Some(buffer), None) => OutputMemory::Host(buffer.bytes_mut()),
                (None, _) => OutputMemory::Pending,
            };
            wanted.push(Output { dtype: adapt::dtype(self.output_dtype(i)?), shape: &shapes[i], memory });
        }
        let (size, _) = self.compiled.workspace(tensors).map_err(other)?;
        let mut workspace = outputs.scratch(size)?;
        let mut context = self.context().map_err(other)?;
        let done = self.compiled.execute(context.as_mut(), tensors, &mut wanted, workspace.bytes_mut(), env);
        let done = done.map_err(other)?;
        let time = self.compiled.device_time(context.as_ref()).map_err(other)?;
        *self.device_ns.lock().unwrap_or_else(PoisonError::into_inner) =
            time.and_then(|t| u64::try_from(t.as_nanos()).ok());
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner).extend(context);
        outputs.recycle(workspace);

        let mut allocated = done.allocated.into_iter();
        for (i, buffer) in buffers.into_iter().enumerate() {
            let pending = allocated.next().flatten();
            let tensor = match (buffer, pending) {
                (Some(mut buffer), _) => {
                    if let Some(d) = &on_device[i] {
                        d.memory.copy_out(d.address, 0, buffer.bytes_mut()).map_err(other)?;
                    }
                    let dims = dims[i].as_ref().expect("a buffer is made for known dimensions");
                    buffer.into_tensor(self.output_dtype(i)?, dims)
                }
                (None, Some((shape, content))) => self.pending_tensor(i, &shape, &content)?,
                (None, None) => {
                    return Err(KernelError::invalid(format!("{} made no output {i}", self.target)));
                }
            };
            let tensor = tensor.map_err(|e| KernelError::invalid(e.to_string()))?;
            outputs.set(i, tensor.into())?;
        }
        Ok(())
    }

    fn pending_tensor(
        &self,
        i: usize,
        shape: &[i64],
        content: &byoc_host::AlignedBuffer,
    ) -> Result<Result<Tensor, byoc_graph::TensorError>, KernelError> {
        let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims =
            dims.ok_or_else(|| KernelError::invalid(format!("{} gave a negative size", self.target)))?;
        Ok(Tensor::from_bytes(self.output_dtype(i)?, &dims, Bytes::copy_from_slice(content.as_slice())))
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
