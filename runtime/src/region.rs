//! What the runtime asks of a vendor's compiled region.

use std::sync::Arc;

use byoc_cpu::{Ctx, Kernel, KernelError, Outputs, View};
use byoc_graph::{DType, Node, StaticDims};
use byoc_host::{DeviceMemory, Stream};
use smallvec::SmallVec;

use crate::device::{Allocation, OnDevice};

/// A region that a vendor has compiled.
pub trait RegionExecutable: Send + Sync {
    /// Where it runs: `vendor` or `vendor:device`.
    fn target(&self) -> &str;

    /// Where it wants input `i`; `None` is host memory.
    fn input_location(&self, _input: usize) -> Option<Location<'_>> {
        None
    }

    /// Where it makes output `i`; `None` is host memory.
    fn output_location(&self, _output: usize) -> Option<Location<'_>> {
        None
    }

    /// Whether it computes on processors of its own, so that the host may go on with other steps meanwhile. Asked
    /// only where all operands are in host memory.
    fn is_aside(&self) -> bool {
        false
    }

    /// Runs it on host memory. Called from several threads at once, where no location is a device's.
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError>;

    /// Runs it, or enqueues it where a stream is given; called where a location is a device's. What it needs until it
    /// is done comes back.
    ///
    /// # Safety
    /// With a stream, device memory of the call stays valid, and touched only by what is ordered behind, until the
    /// stream is through; all operands are then on the stream's device.
    unsafe fn enqueue(&self, _ctx: &Ctx<'_>, _call: RegionCall<'_, '_, '_>) -> Result<InFlight, KernelError> {
        Err(KernelError::invalid(format!("{} has no device", self.target())))
    }
}

/// A memory, and how what lies there has to be aligned.
#[derive(Clone, Copy)]
pub struct Location<'a> {
    pub memory: &'a DeviceMemory,
    pub align: usize,
}

/// What an enqueued region needs until it is done; dropped then.
pub type InFlight = Option<Box<dyn Send>>;

/// One call of a region.
pub struct RegionCall<'a, 'c, 'm> {
    pub inputs: &'c [Option<Operand<'a>>],
    /// Outputs in host memory.
    pub host: &'c mut Outputs<'m>,
    /// By output: those that go to a device.
    pub device: &'c mut [Option<DeviceOutput<'a>>],
    pub stream: Option<&'a Stream>,
}

#[derive(Clone, Copy)]
pub enum Operand<'a> {
    Host(View<'a>),
    Device(DeviceTensor<'a>),
}

/// A tensor in the memory of a device.
#[derive(Clone, Copy)]
pub struct DeviceTensor<'a> {
    pub dtype: DType,
    pub dims: &'a [usize],
    pub address: u64,
    pub offset: u64,
    pub len: usize,
}

/// Where an output on a device goes: its planned place, or memory of its own.
pub struct DeviceOutput<'a> {
    location: Location<'a>,
    /// Element type, dimensions, address and offset.
    planned: Option<(DType, &'a [usize], u64, u64)>,
    made: Option<(DType, StaticDims, OnDevice)>,
}

impl<'a> DeviceOutput<'a> {
    pub(crate) fn new(location: Location<'a>, planned: Option<(DType, &'a [usize], u64, u64)>) -> Self {
        DeviceOutput { location, planned, made: None }
    }

    /// Memory for a tensor: address, offset and length.
    pub fn place(&mut self, dtype: DType, dims: &[usize]) -> Result<(u64, u64, usize), KernelError> {
        let len = byoc_graph::element_count(dims).and_then(|n| dtype.byte_len(n));
        let len = len.ok_or_else(|| KernelError::TooLarge { dtype, dims: dims.to_vec() })?;
        let on_device = match self.planned {
            Some((d, shape, address, offset)) if d == dtype && shape == dims => {
                OnDevice { address, offset, len, _owned: None }
            }
            _ => {
                let owned = Allocation::new(self.location.memory, len, self.location.align);
                let owned = owned.map_err(|e| KernelError::Other(Box::new(e)))?;
                OnDevice { address: owned.address, offset: 0, len, _owned: Some(owned) }
            }
        };
        let place = (on_device.address, on_device.offset, len);
        self.made = Some((dtype, dims.into(), on_device));
        Ok(place)
    }

    pub fn memory(&self) -> &'a DeviceMemory {
        self.location.memory
    }

    pub(crate) fn into_made(self) -> Option<(DType, StaticDims, OnDevice)> {
        self.made
    }
}

/// A region and how a call of it is to be read.
#[derive(Clone)]
pub struct Region {
    pub executable: Arc<dyn RegionExecutable>,
    /// Which of the call's inputs it takes when it runs; the others are constants that it holds.
    pub takes: Vec<bool>,
}

impl Region {
    /// By input of the call: which of the executable's it is.
    pub(crate) fn taken(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.takes.iter().scan(0, |next, &takes| {
            let at = *next;
            *next += usize::from(takes);
            Some(takes.then_some(at))
        })
    }

    /// Whether the host's memory is all that it knows.
    pub(crate) fn is_on_host(&self, outputs: usize) -> bool {
        self.taken().flatten().all(|i| self.executable.input_location(i).is_none())
            && (0..outputs).all(|i| self.executable.output_location(i).is_none())
    }
}

/// Finds the compiled region of a call of a function `byoc.<vendor>.<name>`.
pub trait Regions {
    /// `None`: there is none, and the host runs the function's body.
    fn region(&self, call: &Node) -> Option<Region>;
}

/// No regions: everything runs on the host.
pub struct NoRegions;

impl Regions for NoRegions {
    fn region(&self, _: &Node) -> Option<Region> {
        None
    }
}

/// A region on host memory as a step's kernel.
pub(crate) struct RegionKernel(pub Region);

impl Kernel for RegionKernel {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let taken = inputs.iter().zip(&self.0.takes).filter(|(_, takes)| **takes);
        let inputs: SmallVec<[_; 8]> = taken.map(|(input, _)| *input).collect();
        self.0.executable.run(ctx, &inputs, outputs)
    }

    fn owns_input(&self, input: usize) -> bool {
        !self.0.takes.get(input).copied().unwrap_or(false)
    }
}
