//! A plugin for tests of the interface: element-wise float32 on a pretended device. The host cannot read its memory,
//! its streams do nothing until they must, and it notices every missing event, early free and stray address.

mod clock;
mod memory;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use byoc_plugin::{
    CompileContext, CopyEnd, Device, DeviceDecl, DeviceId, Error, Executable, ExecuteContext, FreeAnswer, Io,
    IoSpec, Node, Options, Plugin, Region, Result, Streams, TensorInfo, TensorView, TensorViewMut,
};

use queue::{Kernel, Queues, Work};

byoc_plugin::export_plugin!(FarDevice, table = include_str!("table.toml"));

/// DLPack's "extension device".
const ID: DeviceId = DeviceId { kind: 12, id: 0 };

pub struct FarDevice {
    simulator: Arc<Simulator>,
}

#[derive(Default)]
struct Simulator(Mutex<Queues>);

impl Simulator {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugin for FarDevice {
    fn open(_: &Options) -> Result<Self> {
        Ok(FarDevice { simulator: Arc::default() })
    }

    fn devices(&self) -> Vec<DeviceDecl> {
        let device = Some(Arc::clone(&self.simulator) as Arc<dyn Device>);
        vec![DeviceDecl { id: ID, name: "far".into(), memory_bytes: Some(memory::CAPACITY), device }]
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let steps = region.nodes.iter().map(|node| Step::new(region, node)).collect::<Result<Vec<_>>>()?;
        let elements = region.nodes.first().and_then(|node| region.output(node, 0)?.elements());
        let elements = elements.ok_or_else(|| Error::unsupported("an unknown shape"))? as u64;
        let mut program = Program {
            steps,
            elements,
            values: vec![None; region.values.len()],
            constants: Vec::new(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            simulator: Arc::clone(&self.simulator),
        };
        for value in &region.values {
            if let Some(constant) = value.constant {
                let address = program.simulator.alloc(constant.bytes.len() as u64, 64)?;
                program.constants.push(address);
                program.values[value.index] = Some((address, 0));
                let (from, to) =
                    (CopyEnd::Host(constant.bytes.as_ptr() as u64), CopyEnd::Device { address, offset: 0 });
                program.simulator.copy(from, to, constant.bytes.len() as u64, None)?;
            }
        }
        Ok(Box::new(program))
    }
}

struct Step {
    op: fn(f32, f32) -> f32,
    args: [usize; 2],
    result: usize,
}

impl Step {
    fn new(region: &Region<'_>, node: &Node<'_>) -> Result<Self> {
        let unsupported = || Error::unsupported(format!("operator {}", node.op)).at_node(node.index);
        let (op, arity): (fn(f32, f32) -> f32, usize) = match node.op {
            "Add" => (|left, right| left + right, 2),
            "Mul" => (|left, right| left * right, 2),
            "Relu" => (|left, _| left.max(0.0), 1),
            _ => return Err(unsupported()),
        };
        let input =
            |position: usize| region.input(node, position).map(|value| value.index).ok_or_else(unsupported);
        let result = region.output(node, 0).ok_or_else(unsupported)?.index;
        Ok(Step { op, args: [input(0)?, input(arity - 1)?], result })
    }
}

struct Program {
    steps: Vec<Step>,
    elements: u64,
    /// Where each value lies: constants from the beginning, others during an execution.
    values: Vec<Option<(u64, u64)>>,
    constants: Vec<u64>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    simulator: Arc<Simulator>,
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let mut values = self.values.clone();
        for (value, input) in self.inputs.iter().zip(inputs) {
            let (address, offset) = input.device_data();
            values[*value] = Some((on_device(&input.info, address as u64)?, offset));
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            let (address, offset) = output.device_data();
            values[*value] = Some((on_device(&output.info, address as u64)?, offset));
        }
        let mut simulator = self.simulator.lock();
        let mut scratch = Vec::new();
        for step in &self.steps {
            let result = match values[step.result] {
                Some(place) => place,
                None => {
                    let address = simulator.memory.alloc(self.elements * 4, 64)?;
                    scratch.push(address);
                    (address, 0)
                }
            };
            values[step.result] = Some(result);
            let place = |value: usize| values[value].ok_or_else(|| Error::internal("a value has no place"));
            let (left, right) = (place(step.args[0])?, place(step.args[1])?);
            let kernel = Kernel { op: step.op, left, right, result, elements: self.elements };
            simulator.submit(Work::Kernel(kernel), context.stream)?;
        }
        scratch.into_iter().try_for_each(|address| simulator.submit(Work::Free(address), context.stream))
    }

    fn io(&self) -> Option<Io> {
        let spec = IoSpec { device: ID, align: 64, alias: None };
        Some(Io { inputs: vec![spec; self.inputs.len()], outputs: vec![spec; self.outputs.len()] })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut simulator = self.simulator.lock();
        for address in &self.constants {
            // A mistake is kept by the device, which tells it to whoever waits next.
            let _ = simulator.free(*address);
        }
    }
}

fn on_device(info: &TensorInfo<'_>, address: u64) -> Result<u64> {
    if info.device == ID {
        Ok(address)
    } else {
        Err(Error::invalid(format!("value {} is not on this device", info.value)))
    }
}

impl Device for Simulator {
    fn alloc(&self, size: u64, align: u64) -> Result<u64> {
        self.lock().memory.alloc(size, align)
    }

    fn free(&self, address: u64) -> FreeAnswer {
        if self.lock().free(address).is_ok() { FreeAnswer::Done } else { FreeAnswer::Failed }
    }

    fn copy(&self, from: CopyEnd, to: CopyEnd, size: u64, stream: Option<u64>) -> Result<()> {
        let mut queues = self.lock();
        queues.healthy()?;
        queues.submit(Work::Copy { from, to, size }, stream)
    }

    fn sync(&self, stream: Option<u64>) -> Result<()> {
        self.lock().sync(stream)
    }

    fn memory_info(&self) -> Option<(u64, u64)> {
        Some((memory::CAPACITY - self.lock().memory.used(), memory::CAPACITY))
    }

    fn streams(&self) -> Option<&dyn Streams> {
        Some(self)
    }
}

impl Streams for Simulator {
    fn create(&self) -> Result<u64> {
        Ok(self.lock().create_stream())
    }

    fn destroy(&self, stream: u64) {
        self.lock().destroy_stream(stream);
    }

    fn wait(&self, stream: u64, event: u64) -> Result<()> {
        self.lock().wait(stream, event)
    }

    fn event_create(&self) -> Result<u64> {
        Ok(self.lock().create_event())
    }

    fn event_destroy(&self, event: u64) {
        self.lock().destroy_event(event);
    }

    fn event_record(&self, stream: u64, event: u64) -> Result<()> {
        self.lock().record(stream, event)
    }

    fn event_query(&self, event: u64) -> Result<bool> {
        self.lock().event_query(event)
    }

    fn event_wait(&self, event: u64) -> Result<()> {
        self.lock().event_wait(event)
    }
}
