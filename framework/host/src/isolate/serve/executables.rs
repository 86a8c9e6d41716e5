//! Executables of a worker, and how they run on the line's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use byoc_plugin::HOST;

use super::super::message::{Made, Placed, Reply, Typed, Wanted};
use super::super::process::lock;
use super::super::shared::Shared;
use crate::calls::{CallEnv, DeviceSpan};
use crate::compiled::{Compiled, ExecutionContext, IoSpec, Output, OutputMemory};
use crate::device::DeviceMemory;
use crate::error::PluginError;
use crate::memory::AlignedBuffer;
use crate::tensor::{TensorData, TensorRef};

/// By the host's number.
#[derive(Default)]
pub(super) struct Executables(Mutex<HashMap<u64, Arc<Held>>>);

pub(super) struct Held {
    compiled: Arc<Compiled>,
    /// Contexts and scratch memory that no execution uses at the moment.
    spare: Mutex<Vec<Spare>>,
}

#[derive(Default)]
struct Spare {
    context: Option<ExecutionContext>,
    workspace: Option<AlignedBuffer>,
}

/// What an execution leaves behind.
pub(super) struct Done {
    pub allocated: Vec<Option<(Vec<i64>, AlignedBuffer)>>,
    pub spans: Vec<DeviceSpan>,
    pub device_ns: Option<u64>,
}

impl Executables {
    pub fn add(&self, id: u64, compiled: Compiled) -> Reply {
        let align = |spec: &IoSpec| if spec.device == HOST { spec.align as u64 } else { 1 };
        let made = Made {
            inputs: compiled.inputs().iter().map(align).collect(),
            outputs: compiled.outputs().iter().map(align).collect(),
            concurrent: compiled.is_concurrent(),
        };
        let held = Held { compiled: Arc::new(compiled), spare: Mutex::default() };
        lock(&self.0).insert(id, Arc::new(held));
        Reply::Made(made)
    }

    pub fn get(&self, id: u64) -> Result<Arc<Held>, Reply> {
        lock(&self.0).get(&id).cloned().ok_or_else(|| Reply::Refused(format!("there is no executable {id}")))
    }

    pub fn destroy(&self, id: u64) {
        let held = lock(&self.0).remove(&id);
        // Outside of the lock: the plugin is called.
        drop(held);
    }

    pub fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        drop(all);
    }
}

impl Held {
    pub fn output_shapes(
        &self,
        inputs: &[Typed],
        env: CallEnv<'_>,
    ) -> Result<Option<Vec<Vec<i64>>>, PluginError> {
        let tensor = |t: &Typed| TensorRef { dtype: t.dtype, shape: &[], data: TensorData::Host(&[]) };
        let mut tensors: Vec<TensorRef<'_>> = inputs.iter().map(tensor).collect();
        tensors.iter_mut().zip(inputs).for_each(|(tensor, typed)| tensor.shape = &typed.shape);
        self.compiled.output_shapes(&tensors, env)
    }

    pub fn serialise(&self) -> Result<Reply, Reply> {
        let artefact = self.compiled.serialise()?;
        Ok(Reply::Artefact { bytes: artefact.bytes, compatibility: artefact.compatibility })
    }

    pub fn execute(
        &self,
        memory: &Shared,
        inputs: &[Placed],
        outputs: &[Wanted],
        env: CallEnv<'_>,
    ) -> Result<Done, Reply> {
        let (from, to) = (self.compiled.inputs(), self.compiled.outputs());
        if from.len() != inputs.len() || to.len() != outputs.len() || !are_apart(inputs, outputs) {
            return Err(Reply::Refused("inputs and outputs are not those of the executable".into()));
        }
        let plugin = self.compiled.plugin();
        let device = |spec: &IoSpec| (spec.device != HOST).then(|| plugin.memory(spec.device)).flatten();
        let nowhere = || Reply::Refused("a tensor lies outside of the line's memory".into());
        let (mut tensors, mut wanted, mut copies_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut on_device = Vec::new();
        for (input, spec) in inputs.iter().zip(from) {
            // SAFETY: nobody writes inputs while the host waits for the answer.
            let bytes = unsafe { slice(memory, input.offset, input.len) }.ok_or_else(nowhere)?;
            let data = match device(spec) {
                None => TensorData::Host(bytes),
                Some(memory) => {
                    let at = OnDevice::new(memory, input.len, spec.align)?;
                    at.memory.copy_in(bytes, at.address, 0)?;
                    let (device, address) = (at.memory.id(), at.address);
                    on_device.push(at);
                    TensorData::Device { device, address, offset: 0, len: input.len }
                }
            };
            tensors.push(TensorRef { dtype: input.tensor.dtype, shape: &input.tensor.shape, data });
        }
        for (output, spec) in outputs.iter().zip(to) {
            let output_memory = match output.place {
                None => OutputMemory::Pending,
                Some((offset, len)) => {
                    // SAFETY: places are apart, and the host waits for the answer.
                    let bytes = unsafe { slice_mut(memory, offset, len) }.ok_or_else(nowhere)?;
                    match device(spec) {
                        None => OutputMemory::Host(bytes),
                        Some(memory) => {
                            let at = OnDevice::new(memory, len, spec.align)?;
                            let (device, address) = (at.memory.id(), at.address);
                            copies_out.push((at, bytes));
                            OutputMemory::Device { device, address, offset: 0, len }
                        }
                    }
                }
            };
            let (dtype, shape) = (output.tensor.dtype, output.tensor.shape.as_slice());
            wanted.push(Output { dtype, shape, memory: output_memory });
        }
        let done = self.run(&tensors, &mut wanted, env)?;
        drop(wanted);
        for (at, bytes) in copies_out {
            at.memory.copy_out(at.address, 0, bytes)?;
        }
        Ok(done)
    }

    fn run(
        &self,
        tensors: &[TensorRef<'_>],
        wanted: &mut [Output<'_>],
        env: CallEnv<'_>,
    ) -> Result<Done, PluginError> {
        let (size, align) = self.compiled.workspace(tensors)?;
        let mut spare = match lock(&self.spare).pop() {
            Some(spare) => spare,
            None => Spare { context: self.compiled.new_context()?, workspace: None },
        };
        if spare
            .workspace
            .as_ref()
            .is_none_or(|w| w.len() < size || !(w.as_ptr() as usize).is_multiple_of(align))
        {
            spare.workspace = AlignedBuffer::new(size, align);
        }
        let workspace = match &mut spare.workspace {
            Some(workspace) => &mut workspace.as_mut_slice()[..size],
            None => {
                let error = byoc_plugin::Error::new(byoc_plugin::Category::OutOfMemory, "no workspace");
                return Err(self.compiled.plugin().error("execute", error));
            }
        };
        let executed = self.compiled.execute(spare.context.as_mut(), tensors, wanted, workspace, env)?;
        let device_time: Option<Duration> = self.compiled.device_time(spare.context.as_ref()).ok().flatten();
        lock(&self.spare).push(spare);
        let device_ns = device_time.and_then(|time| u64::try_from(time.as_nanos()).ok());
        Ok(Done { allocated: executed.allocated, spans: executed.spans, device_ns })
    }
}

/// Whether all places come one behind the other.
fn are_apart(inputs: &[Placed], outputs: &[Wanted]) -> bool {
    let inputs = inputs.iter().map(|input| (input.offset, input.len));
    let mut end = 0;
    inputs.chain(outputs.iter().filter_map(|output| output.place)).all(|(offset, len)| {
        let follows = offset >= end;
        end = offset.saturating_add(len);
        follows
    })
}

/// # Safety
/// Nobody writes there as long as the slice lives.
unsafe fn slice(memory: &Shared, offset: u64, len: u64) -> Option<&[u8]> {
    let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
    // SAFETY: `at` has found so many bytes there; the rest is the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(memory.at(offset, len)?, len) })
}

/// # Safety
/// Nobody else uses what is there as long as the slice lives.
#[allow(clippy::mut_from_ref, reason = "the memory is another process's as well, whoever holds it")]
unsafe fn slice_mut(memory: &Shared, offset: u64, len: u64) -> Option<&mut [u8]> {
    let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
    // SAFETY: as above.
    Some(unsafe { std::slice::from_raw_parts_mut(memory.at(offset, len)?, len) })
}

/// Memory of the plugin's device for one execution.
struct OnDevice {
    memory: DeviceMemory,
    address: u64,
}

impl OnDevice {
    fn new(memory: DeviceMemory, len: u64, align: usize) -> Result<Self, PluginError> {
        let address = memory.alloc(len.max(1), align as u64)?;
        Ok(OnDevice { memory, address })
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        // What cannot be freed is the plugin's.
        let _ = self.memory.free(self.address);
    }
}
