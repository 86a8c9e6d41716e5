//! A compiled region as the host runs it: everything is enqueued, nothing is waited for.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use byoc_plugin::{
    Device, Error, Executable, ExecuteContext, Io, IoSpec, Result, TensorInfo, TensorView, TensorViewMut,
};

use crate::driver::{Driver, Function};
use crate::gpu::Gpu;
use crate::graph::{Graph, Key};
use crate::plan::{Place, Plan, Work};
use crate::program::Program;
use crate::shape::Shape;

/// Alignment of inputs and outputs, as the driver has it.
const ALIGN: usize = 256;
/// Plans that are kept; when there are more, all are made again.
const MOST_PLANS: usize = 64;

pub struct Compiled {
    pub gpu: Arc<Gpu>,
    pub program: Program,
    /// By step; none for views.
    pub kernels: Vec<Option<Function>>,
    pub constants: Constants,
    /// Work that comes again is recorded.
    pub graphs: bool,
    /// By the shapes of the inputs.
    pub plans: Mutex<HashMap<Vec<Shape>, Arc<Plan>>>,
}

/// The constants on the device, in the order of the program's.
pub struct Constants {
    pub gpu: Arc<Gpu>,
    pub addresses: Vec<u64>,
    pub shapes: HashMap<usize, Shape>,
}

impl Drop for Constants {
    fn drop(&mut self) {
        for address in &self.addresses {
            self.gpu.free(*address);
        }
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
        let stream = context.stream.unwrap_or(0);
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

    fn io(&self) -> Option<Io> {
        let spec = IoSpec { device: self.gpu.id(), align: ALIGN, alias: None };
        let count = |values: &[usize]| vec![spec; values.len()];
        Some(Io { inputs: count(&self.program.inputs), outputs: count(&self.program.outputs) })
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Shape>>> {
        Ok(Some(self.plan(&shapes(inputs)?)?.outputs.clone()))
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
    /// The plan for inputs of these shapes.
    pub fn plan(&self, inputs: &[Shape]) -> Result<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(inputs) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(&self.program, &self.shapes(inputs)?)?);
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
            Place::Input(place) => inputs[place],
            Place::Output(place) => outputs[place],
            Place::Constant(place) => self.constants.addresses[place],
            Place::Arena(offset) => arena + offset,
        };
        let enqueue = || {
            plan.work.iter().try_for_each(|work| match work {
                Work::Launch { step, launch, addresses } => {
                    let function =
                        self.kernels[*step].ok_or_else(|| Error::internal("a step has no kernel"))?;
                    let addresses: Vec<u64> = addresses.iter().map(address).collect();
                    driver.launch(function, launch.grid, &addresses, &launch.structs, stream)
                }
                Work::Copy { from, to, bytes } => {
                    driver.copy_within(address(to), address(from), *bytes, stream)
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
