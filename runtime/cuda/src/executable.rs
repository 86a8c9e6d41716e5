//! A compiled region as the host runs it: everything is enqueued, nothing is waited for.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use byoc_plugin::{
    Artefact, Error, Executable, ExecuteContext, Io, IoSpec, Result, TensorInfo, TensorView, TensorViewMut,
};

use crate::artefact::Stored;
use crate::driver::Driver;
use crate::gpu::Gpu;
use crate::graph::{Graph, Key};
use crate::loaded::Kernels;
use crate::plan::{Place, Plan, Work};
use crate::program::Program;
use crate::shape::Shape;
use crate::trace::{Trace, count};
use crate::weights::{self, Weight};

/// Alignment of inputs and outputs, as the driver has it.
const ALIGN: usize = 256;
/// Plans that are kept; when there are more, all are made again.
const MOST_PLANS: usize = 64;

pub struct Compiled {
    pub gpu: Arc<Gpu>,
    pub program: Program,
    pub kernels: Kernels,
    pub constants: Constants,
    /// Work that comes again is recorded.
    pub graphs: bool,
    pub name: String,
    pub trace: Option<Arc<Trace>>,
    /// The region, for artefacts.
    pub stored: Mutex<Stored>,
    /// By the shapes of the inputs.
    pub plans: Mutex<HashMap<Vec<Shape>, Arc<Plan>>>,
}

/// The constants on the device, in the order of the program's: each there from the first time on that somebody has it.
pub struct Constants {
    /// The host's numbers of them.
    pub indices: Vec<usize>,
    pub weights: Vec<OnceLock<Arc<Weight>>>,
    pub shapes: HashMap<usize, Shape>,
}

impl Constants {
    /// Has all of them on the device; `content` is asked for those that are not.
    pub fn load<'c>(&self, gpu: &Arc<Gpu>, content: impl Fn(usize) -> Option<&'c [u8]>) -> Result<()> {
        for (index, weight) in self.indices.iter().zip(&self.weights) {
            if weight.get().is_none() {
                let gone = || Error::internal(format!("constant {index} is neither here nor with the host"));
                let loaded = weights::get(gpu, content(*index).ok_or_else(gone)?)?;
                // Somebody else may have been faster: it is the same memory.
                let _ = weight.set(loaded);
            }
        }
        Ok(())
    }

    fn address(&self, place: usize) -> Result<u64> {
        let weight = self.weights[place].get();
        weight.map(|weight| weight.address).ok_or_else(|| Error::internal("a constant is not loaded"))
    }
}

/// Memory between the steps, kept from one execution to the next.
struct Scratch {
    gpu: Arc<Gpu>,
    address: Option<u64>,
    size: u64,
    /// Recorded behind the last execution.
    done: u64,
    /// `None`: every piece of work is enqueued by itself.
    graph: Option<Graph>,
}

impl Scratch {
    fn new(gpu: &Arc<Gpu>, graphs: bool) -> Result<Scratch> {
        let done = gpu.enter()?.event_create()?;
        let graph = graphs.then(|| Graph::new(gpu));
        Ok(Scratch { gpu: Arc::clone(gpu), address: None, size: 0, done, graph })
    }

    /// Memory of a size at least, for what follows in the stream.
    fn reserve(&mut self, size: u64, driver: &Driver, stream: u64) -> Result<u64> {
        if let Some(address) = self.address {
            // The last execution may have been in another stream.
            driver.stream_wait(stream, self.done)?;
            if self.size >= size {
                return Ok(address);
            }
            self.address = None;
            driver.free_in(address, stream)?;
        }
        let address = driver.alloc_in(size, stream)?;
        (self.address, self.size) = (Some(address), size);
        Ok(address)
    }
}

impl Scratch {
    /// Gives its memory back behind what is in the stream, without waiting for that.
    fn leave(mut self, stream: u64) -> Result<()> {
        let address = self.address.take();
        address.map_or(Ok(()), |address| self.gpu.enter()?.free_in(address, stream))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Ok(driver) = self.gpu.enter() else { return };
        if self.address.is_some() || self.graph.is_some() {
            // An error of the device has ended what used the memory, too.
            let _ = driver.event_wait(self.done);
        }
        self.graph = None;
        if let Some(address) = self.address {
            let _ = driver.free(address);
        }
        driver.event_destroy(self.done);
    }
}

impl Executable for Compiled {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        match &self.trace {
            Some(trace) => {
                let counts = &self.gpu.enter()?.counts;
                trace.note(&self.name, counts, || self.execute_now(inputs, outputs, context))
            }
            None => self.execute_now(inputs, outputs, context),
        }
    }

    fn io(&self) -> Option<Io> {
        let spec = IoSpec { device: self.gpu.id(), align: ALIGN, alias: None };
        let count = |values: &[usize]| vec![spec; values.len()];
        Some(Io { inputs: count(&self.program.inputs), outputs: count(&self.program.outputs) })
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Shape>>> {
        Ok(Some(self.plan(&shapes(inputs)?)?.outputs.clone()))
    }

    fn serialise(&self) -> Result<Artefact> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.images = self.kernels.images()?;
        let bytes = postcard::to_stdvec(&*stored);
        stored.images.clear();
        let bytes = bytes.map_err(|error| Error::internal(format!("an artefact: {error}")))?;
        Ok(Artefact { bytes, compatibility: self.kernels.compatibility() })
    }

    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(Scratch::new(&self.gpu, self.graphs)?))
    }
}

fn shapes(inputs: &[TensorView<'_>]) -> Result<Vec<Shape>> {
    let size = |size: &i64| {
        usize::try_from(*size).map_err(|_| Error::invalid("an input has a dimension that is not known"))
    };
    inputs.iter().map(|input| input.info.shape.iter().map(size).collect()).collect()
}

impl Compiled {
    fn execute_now(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &[TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let stream = context.stream.unwrap_or(0);
        self.constants.load(&self.gpu, |index| context.constant(index))?;
        let result = match context.state::<Scratch>() {
            Some(scratch) => self.enqueue(inputs, outputs, scratch, stream),
            None => {
                let mut scratch = Scratch::new(&self.gpu, false)?;
                let done = self.enqueue(inputs, outputs, &mut scratch, stream);
                done.and(scratch.leave(stream))
            }
        };
        result?;
        if context.stream.is_none() { self.gpu.enter()?.synchronise(stream) } else { Ok(()) }
    }

    /// The plan for inputs of these shapes.
    pub fn plan(&self, inputs: &[Shape]) -> Result<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(inputs) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(&self.program, &self.shapes(inputs)?, &*self.gpu)?);
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(inputs.to_vec(), Arc::clone(&plan));
        Ok(plan)
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Option<Shape>>> {
        self.program.shapes(|value| {
            let place = self.program.inputs.iter().position(|input| *input == value);
            place.and_then(|place| inputs.get(place)).or_else(|| self.constants.shapes.get(&value)).cloned()
        })
    }

    fn enqueue(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &[TensorViewMut<'_>],
        scratch: &mut Scratch,
        stream: u64,
    ) -> Result<()> {
        let plan = self.plan(&shapes(inputs)?)?;
        let own = |info: &TensorInfo<'_>, (data, offset): (u64, u64)| match info.device == self.gpu.id() {
            true => Ok(data + offset),
            false => Err(Error::invalid(format!("value {} is not on this device", info.value))),
        };
        let inputs = inputs.iter().map(|input| {
            let (data, offset) = input.device_data();
            own(&input.info, (data as u64, offset))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let outputs = outputs.iter().map(|output| {
            let (data, offset) = output.device_data();
            own(&output.info, (data as u64, offset))
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let driver = self.gpu.enter()?;
        let arena = if plan.arena > 0 { scratch.reserve(plan.arena, driver, stream)? } else { 0 };
        let address = |place: &Place| match *place {
            Place::Input(place) => Ok(inputs[place]),
            Place::Output(place) => Ok(outputs[place]),
            Place::Constant(place) => self.constants.address(place),
            Place::Arena(offset) => Ok(arena + offset),
        };
        let enqueue = || {
            plan.work.iter().try_for_each(|work| match work {
                Work::Launch { step, source, launch, addresses } => {
                    let function = self.kernels.get(*step, *source)?;
                    let addresses = addresses.iter().map(address).collect::<Result<Vec<_>>>()?;
                    driver.launch(function, launch.grid, &addresses, &launch.structs, stream)
                }
                Work::Library { task, addresses, workspace, .. } => {
                    let addresses = addresses.iter().map(address).collect::<Result<Vec<_>>>()?;
                    count(&driver.counts.launches);
                    self.gpu.enqueue(task, &addresses, *workspace, stream)
                }
                Work::Copy { from, to, bytes } => {
                    driver.copy_within(address(to)?, address(from)?, *bytes, stream)
                }
            })
        };
        let done = match &mut scratch.graph {
            // The stream that all share cannot be recorded.
            Some(graph) if stream != 0 && plan.work.len() > 1 => {
                let addresses = [inputs.as_slice(), &outputs, &[arena]].concat();
                let key = Key { plan: Arc::clone(&plan), addresses };
                graph.run(key, driver, stream, enqueue, || driver.event_wait(scratch.done))
            }
            _ => enqueue(),
        };
        // Behind what was enqueued, whether that was all or not.
        let recorded = driver.event_record(scratch.done, stream);
        done.and(recorded)
    }
}
