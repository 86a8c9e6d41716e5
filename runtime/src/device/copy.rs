//! A transfer as a step: a value's bytes go to another memory.

use byoc_cpu::{Buffer, KernelError, View};
use byoc_host::{Category, CopyEnd, PluginError};

use super::{Allocation, HOST, OnDevice, Space};
use crate::execute::{Io, Values};
use crate::frame::{Frame, Held, bytes_of};
use crate::memory::{Pieces, Storage, ValueIndex};
use crate::program::{Program, Step};

/// What goes where.
struct Transfer {
    source: ValueIndex,
    copy: ValueIndex,
    len: usize,
}

pub(crate) fn run(
    program: &Program,
    frame: &mut Frame,
    io: &mut Io<'_, '_, '_>,
    index: usize,
    step: &Step,
    (from, to): (Space, Space),
) -> Result<(), KernelError> {
    let (Some(Some(source)), Some(Some(copy))) = (step.inputs.first(), step.outputs.first()) else {
        return Ok(());
    };
    let (source, copy) = (*source, *copy);
    let (dtype, dims) = (frame.dtypes[source], frame.dims[source].clone());
    let len = bytes_of(dtype, &dims)
        .ok_or_else(|| KernelError::invalid(format!("{dtype}{dims:?} cannot lie on a device")))?;
    let transfer = Transfer { source, copy, len };
    let held = match (from, to) {
        (HOST, to) => transfer.to_device(program, frame, io, index, step, to)?,
        (from, HOST) => transfer.to_host(program, frame, io, index, step, from)?,
        (from, to) => transfer.across(program, frame, step, from, to)?,
    };
    (frame.dtypes[copy], frame.dims[copy]) = (dtype, dims);
    let storage = program.values[copy].storage.expect("copies have a storage");
    frame.held[storage] = held;
    Ok(())
}

impl Transfer {
    fn to_device(
        &self,
        program: &Program,
        frame: &mut Frame,
        io: &Io<'_, '_, '_>,
        index: usize,
        step: &Step,
        to: Space,
    ) -> Result<Held, KernelError> {
        let place = self.place(program, frame, to)?;
        let Frame { plan, device, arena, held, dims, dtypes, .. } = &mut *frame;
        let cuts = &plan.steps[index];
        let mut pieces = Pieces::new();
        cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
        let values = Values { program, held, dims, dtypes, io, over: None };
        let view = values.view(self.source, || cuts.read(&pieces, 0));
        let bytes = match view {
            Some(View::Tensor(tensor)) => tensor.bytes(),
            Some(other) => return Err(KernelError::NotATensor { input: 0, got: other.kind() }),
            None => return Err(KernelError::MissingInput(0)),
        };
        if self.len > 0 {
            let from = CopyEnd::Host(bytes.as_ptr().cast_mut());
            let to_end = CopyEnd::Device { address: place.address, offset: place.offset };
            let memory = &program.devices.get(to).expect("a device's space").memory;
            // SAFETY: as many bytes as the value has. What lies in the arena or is lent stays as it is until steps
            // ordered behind; what is the caller's, until the frame has been drained.
            let done = unsafe { memory.copy(from, to_end, self.len as u64, device.stream(step.queue)) };
            done.map_err(other)?;
        }
        Ok(Held::Device(place))
    }

    /// The copy's place on a device.
    fn place(&self, program: &Program, frame: &Frame, to: Space) -> Result<OnDevice, KernelError> {
        let storage = program.values[self.copy].storage.expect("copies have a storage");
        let planned = frame.plan.places[storage].as_ref().filter(|place| place.len() == self.len);
        if let (Some(place), Some(address)) = (planned, frame.device.arena(to)) {
            return Ok(OnDevice { address, offset: place.start as u64, len: self.len, _owned: None });
        }
        let device = program.devices.get(to).expect("a device's space");
        let owned = Allocation::new(&device.memory, self.len, device.align).map_err(other)?;
        Ok(OnDevice { address: owned.address, offset: 0, len: self.len, _owned: Some(owned) })
    }

    fn to_host(
        &self,
        program: &Program,
        frame: &mut Frame,
        io: &mut Io<'_, '_, '_>,
        index: usize,
        step: &Step,
        from: Space,
    ) -> Result<Held, KernelError> {
        let (address, offset) = self.source(program, frame)?;
        let from_end = CopyEnd::Device { address, offset };
        let storage = program.values[self.copy].storage.expect("copies have a storage");
        let memory = &program.devices.get(from).expect("a device's space").memory;
        let Frame { plan, device, arena, pools, dtypes, dims, .. } = &mut *frame;
        let copy = |target: &mut [u8]| {
            if target.is_empty() {
                return Ok(());
            }
            let to = CopyEnd::Host(target.as_mut_ptr());
            // SAFETY: as many bytes as the value has; nobody touches them but steps ordered behind.
            let done = unsafe { memory.copy(from_end, to, target.len() as u64, device.stream(step.queue)) };
            done.map_err(other)
        };
        if let Storage::Made { output: Some(o), .. } = program.storages[storage]
            && let Some(Some(buffer)) = io.buffers.get_mut(o)
            && buffer.dtype == dtypes[self.source]
            && *buffer.dims == dims[self.source][..]
        {
            copy(buffer.bytes)?;
            return Ok(Held::Bound(o));
        }
        let cuts = &plan.steps[index];
        let mut pieces = Pieces::new();
        cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
        let piece = cuts.outputs[0].and_then(|p| pieces[usize::from(p)].write());
        if let Some(piece) = piece.filter(|piece| piece.len() == self.len) {
            copy(piece)?;
            return Ok(Held::Arena);
        }
        let mut buffer = pools[0].take(self.len)?;
        copy(buffer.bytes_mut())?;
        Ok(Held::Buffer(buffer))
    }

    fn source(&self, program: &Program, frame: &Frame) -> Result<(u64, u64), KernelError> {
        match program.values[self.source].storage.map(|s| &frame.held[s]) {
            Some(Held::Device(at)) => Ok((at.address, at.offset)),
            _ => Err(KernelError::MissingInput(0)),
        }
    }

    /// From one device to another of the same plugin; through host memory where the plugin cannot do that.
    fn across(
        &self,
        program: &Program,
        frame: &mut Frame,
        step: &Step,
        from: Space,
        to: Space,
    ) -> Result<Held, KernelError> {
        let place = self.place(program, frame, to)?;
        let (address, offset) = self.source(program, frame)?;
        let both = program.devices.get(from).zip(program.devices.get(to)).expect("spaces of devices");
        let (from, to) = (&both.0.memory, &both.1.memory);
        if self.len == 0 {
            return Ok(Held::Device(place));
        }
        let target = CopyEnd::Device { address: place.address, offset: place.offset };
        let peer = CopyEnd::Peer { device: from.id(), address, offset };
        let (stream, len) = (frame.device.stream(step.queue), self.len as u64);
        // SAFETY: no host memory is involved.
        match unsafe { to.copy(peer, target, len, stream) } {
            Err(error) if error.category() == Category::Unsupported => {}
            done => return done.map(|()| Held::Device(place)).map_err(other),
        }
        let mut staged: Buffer = frame.pools[0].take(self.len)?;
        // What comes before on the source's queues has been waited for: its queue is another device's.
        from.copy_out(address, offset, staged.bytes_mut()).map_err(other)?;
        let source = CopyEnd::Host(staged.bytes_mut().as_mut_ptr());
        // SAFETY: the buffer has as many bytes, and is kept below until the frame has been drained.
        let done = unsafe { to.copy(source, target, len, stream) };
        frame.device.deferred.push(Held::Buffer(staged));
        done.map(|()| Held::Device(place)).map_err(other)
    }
}

fn other(error: PluginError) -> KernelError {
    KernelError::Other(Box::new(error))
}
