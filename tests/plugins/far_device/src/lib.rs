//! A plugin for tests of the interface: element-wise float32 on a pretended device. The host cannot read its memory,
//! its streams do nothing until they must, and it notices every missing event, early free and stray address.

mod clock;
mod memory;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use byoc_plugin::{
    CompileContext, CopyEnd, Device, DeviceDecl, DeviceId, Error, Executable, ExecuteContext, FreeAnswer, Io,
    IoSpec, Node, OptionDecl, OptionKind, Options, Plugin, Region, Result, Streams, TensorInfo, TensorView,
    TensorViewMut,
};

use queue::{Kernel, Queues, Work};

byoc_plugin::export_plugin!(FarDevice, table = include_str!("table.toml"));

/// DLPack's "extension device".
const KIND: u32 = 12;

pub struct FarDevice {
    devices: Vec<Arc<Far>>,
}

/// One of the devices, which share what does their work.
struct Far {
    simulator: Arc<Simulator>,
    id: u32,
    /// It copies from the others.
    peers: bool,
}

#[derive(Default)]
struct Simulator(Mutex<Queues>);

impl Simulator {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugin for FarDevice {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl {
            name: "devices",
            kind: OptionKind::Int,
            default: "1",
            help: "how many devices there are",
        },
        OptionDecl {
            name: "peers",
            kind: OptionKind::Bool,
            default: "true",
            help: "they copy from each other",
        },
    ];

    fn open(options: &Options) -> Result<Self> {
        let (simulator, peers) = (Arc::<Simulator>::default(), options.bool("peers")?);
        let count = u32::try_from(options.int("devices")?).map_err(|e| Error::invalid(e.to_string()))?;
        let far = |id| Arc::new(Far { simulator: Arc::clone(&simulator), id, peers });
        Ok(FarDevice { devices: (0..count).map(far).collect() })
    }

    fn devices(&self) -> Vec<DeviceDecl> {
        let declare = |far: &Arc<Far>| DeviceDecl {
            id: far.device_id(),
            name: format!("far {}", far.id),
            memory_bytes: Some(memory::CAPACITY),
            device: Some(Arc::clone(far) as Arc<dyn Device>),
        };
        self.devices.iter().map(declare).collect()
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let steps = region.nodes.iter().map(|node| Step::new(region, node)).collect::<Result<Vec<_>>>()?;
        let elements = region.nodes.first().and_then(|node| region.output(node, 0)?.elements());
        let elements = elements.ok_or_else(|| Error::unsupported("an unknown shape"))? as u64;
        let far = self.devices.iter().find(|far| far.device_id() == context.device);
        let far = far.ok_or_else(|| Error::invalid("there is no such device"))?;
        let mut program = Program {
            steps,
            elements,
            values: vec![None; region.values.len()],
            constants: Vec::new(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            far: Arc::clone(far),
        };
        for value in &region.values {
            if let Some(constant) = value.constant {
                let address = program.far.alloc(constant.bytes.len() as u64, 64)?;
                program.constants.push(address);
                program.values[value.index] = Some((address, 0));
                let (from, to) =
                    (CopyEnd::Host(constant.bytes.as_ptr() as u64), CopyEnd::Device { address, offset: 0 });
                program.far.copy(from, to, constant.bytes.len() as u64, None)?;
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
    far: Arc<Far>,
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
            values[*value] = Some((self.far.own(&input.info, address as u64)?, offset));
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            let (address, offset) = output.device_data();
            values[*value] = Some((self.far.own(&output.info, address as u64)?, offset));
        }
        let mut simulator = self.far.simulator.lock();
        let mut scratch = Vec::new();
        for step in &self.steps {
            let result = match values[step.result] {
                Some(place) => place,
                None => {
                    let address = simulator.memory.alloc(self.far.id, self.elements * 4, 64)?;
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
        let spec = IoSpec { device: self.far.device_id(), align: 64, alias: None };
        Some(Io { inputs: vec![spec; self.inputs.len()], outputs: vec![spec; self.outputs.len()] })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut simulator = self.far.simulator.lock();
        for address in &self.constants {
            // A mistake is kept by the device, which tells it to whoever waits next.
            let _ = simulator.free(*address);
        }
    }
}

impl Far {
    fn device_id(&self) -> DeviceId {
        DeviceId { kind: KIND, id: self.id }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.simulator.lock()
    }

    /// The address of a tensor, which has to be on this device.
    fn own(&self, info: &TensorInfo<'_>, address: u64) -> Result<u64> {
        if info.device == self.device_id() {
            self.lock().memory.expect_on(self.id, address)?;
            Ok(address)
        } else {
            Err(Error::invalid(format!("value {} is not on this device", info.value)))
        }
    }
}

impl Device for Far {
    fn alloc(&self, size: u64, align: u64) -> Result<u64> {
        self.lock().memory.alloc(self.id, size, align)
    }

    fn free(&self, address: u64) -> FreeAnswer {
        if self.lock().free(address).is_ok() { FreeAnswer::Done } else { FreeAnswer::Failed }
    }

    fn copy(&self, from: CopyEnd, to: CopyEnd, size: u64, stream: Option<u64>) -> Result<()> {
        let mut queues = self.lock();
        queues.healthy()?;
        for end in [from, to] {
            if let CopyEnd::Device { address, .. } = end {
                queues.memory.expect_on(self.id, address)?;
            }
        }
        queues.submit(Work::Copy { from, to, size }, stream)
    }

    fn copy_from_peer(
        &self,
        peer: DeviceId,
        from: CopyEnd,
        to: CopyEnd,
        size: u64,
        stream: Option<u64>,
    ) -> Result<()> {
        let mut queues = self.lock();
        queues.healthy()?;
        if !self.peers {
            return Err(Error::unsupported("the devices are not connected"));
        }
        for (end, id) in [(from, peer.id), (to, self.id)] {
            if let CopyEnd::Device { address, .. } = end {
                queues.memory.expect_on(id, address)?;
            }
        }
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

impl Streams for Far {
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
