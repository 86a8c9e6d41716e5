//! A region with operands on a device, as a step.

use byoc_cpu::{Ctx, KernelError, Outputs, View};
use byoc_graph::{DType, StaticDims};
use smallvec::SmallVec;

use super::{Devices, HOST, OnDevice, Queue, Space};
use crate::frame::Held;
use crate::memory::{MemoryPlan, ValueIndex};
use crate::program::{Program, Step};
use crate::region::{DeviceOutput, DeviceTensor, InFlight, Operand, Region, RegionCall};

pub(crate) struct DeviceRegion {
    pub region: Region,
    /// By input of the call.
    pub inputs: SmallVec<[Space; 4]>,
    pub outputs: SmallVec<[Space; 2]>,
}

/// What a region made of its outputs on devices, by output.
pub(crate) type DeviceMade = SmallVec<[Option<(DType, StaticDims, OnDevice)>; 2]>;

impl DeviceRegion {
    pub fn new(region: Region, outputs: usize, devices: &mut Devices) -> DeviceRegion {
        let executable = &region.executable;
        let input = |taken: Option<usize>| taken.and_then(|i| executable.input_location(i));
        let inputs = region.taken().map(|taken| devices.space(input(taken))).collect();
        let outputs = (0..outputs).map(|i| devices.space(executable.output_location(i))).collect();
        DeviceRegion { inputs, outputs, region }
    }

    /// It is enqueued where all that it touches is on one device with streams. Memory of the host's would have to
    /// stay as it is until the device has come to it.
    pub fn queue(&self, devices: &Devices) -> Option<Queue> {
        let taken = self.inputs.iter().zip(&self.region.takes).filter(|(_, takes)| **takes);
        let mut spaces = taken.map(|(space, _)| *space).chain(self.outputs.iter().copied());
        let first = spaces.next()?;
        if spaces.all(|space| space == first) { devices.compute_queue(first) } else { None }
    }

    /// Runs or enqueues the region; `views` are its inputs in host memory.
    #[expect(clippy::too_many_arguments, reason = "the parts of a frame are borrowed one by one")]
    pub fn run<'a>(
        &'a self,
        program: &'a Program,
        ctx: &Ctx<'_>,
        step: &Step,
        plan: &'a MemoryPlan,
        frame: &'a super::DeviceFrame,
        (held, dims, dtypes): (&'a [Held], &'a [StaticDims], &'a [DType]),
        views: &[Option<View<'a>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(InFlight, DeviceMade), KernelError> {
        let operand = |i: usize, value: Option<ValueIndex>| {
            if self.inputs[i] == HOST {
                return views[i].map(Operand::Host);
            }
            let value = value?;
            let Held::Device(at) = &held[program.values[value].storage?] else { return None };
            let OnDevice { address, offset, len, .. } = *at;
            let (dtype, dims) = (dtypes[value], &dims[value][..]);
            Some(Operand::Device(DeviceTensor { dtype, dims, address, offset, len }))
        };
        let taken = step.inputs.iter().enumerate().filter(|(i, _)| self.region.takes[*i]);
        let inputs: SmallVec<[_; 8]> = taken.map(|(i, value)| operand(i, *value)).collect();
        let executable = &self.region.executable;
        let output = |j: usize, value: Option<ValueIndex>| {
            let location = executable.output_location(j)?;
            let planned = || {
                let value = value?;
                let place = plan.places[program.values[value].storage?].as_ref()?;
                let address = frame.arena(self.outputs[j])?;
                let dims = plan.dims[value].as_deref()?;
                Some((program.values[value].dtype?, dims, address, place.start as u64))
            };
            Some(DeviceOutput::new(location, planned()))
        };
        let device = step.outputs.iter().enumerate().map(|(j, value)| output(j, *value));
        let mut device: SmallVec<[_; 2]> = device.collect();
        let call = RegionCall {
            inputs: &inputs,
            host: outputs,
            device: &mut device,
            stream: frame.stream(step.queue),
        };
        // SAFETY: places of the arena and memory of their own stay until the frame has been drained; steps that
        // touch them wait as `order` says; `queue` lets only regions on one device be enqueued.
        let in_flight = unsafe { executable.enqueue(ctx, call)? };
        Ok((in_flight, device.into_iter().map(|d| d.and_then(DeviceOutput::into_made)).collect()))
    }
}
