//! What one run holds of devices: arenas, streams, events, and work that is under way.

use byoc_host::{DeviceMemory, Event, PluginError, Stream};

use super::{Devices, Queue, Space, device_of};
use crate::frame::Held;
use crate::memory::MemoryPlan;
use crate::region::InFlight;

/// Memory of a device, freed when it is dropped; nothing may be using it then.
pub(crate) struct Allocation {
    memory: DeviceMemory,
    pub address: u64,
    pub len: usize,
}

impl Allocation {
    pub fn new(memory: &DeviceMemory, len: usize, align: usize) -> Result<Allocation, PluginError> {
        // Even a tensor without elements has an address.
        let address = memory.alloc(len.max(1) as u64, align as u64)?;
        Ok(Allocation { memory: memory.clone(), address, len })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // An address that the device does not take back is lost, and never used again.
        let _ = self.memory.free(self.address);
    }
}

/// Where the bytes of a value lie on a device.
pub(crate) struct OnDevice {
    pub address: u64,
    pub offset: u64,
    pub len: usize,
    /// The memory itself, where it is no part of an arena.
    pub _owned: Option<Allocation>,
}

/// Dropped in this order: what uses events, events, what uses streams, streams, and memory last.
#[derive(Default)]
pub(crate) struct DeviceFrame {
    /// What enqueued regions need until they are done.
    pub in_flight: Vec<InFlight>,
    /// By step.
    events: Vec<Option<Event>>,
    /// By queue.
    streams: Vec<Option<Stream>>,
    /// By device.
    arenas: Vec<Option<Allocation>>,
    /// Memory that enqueued steps may still use.
    pub deferred: Vec<Held>,
    /// Queues with something in them since the last time that all was done.
    busy: Vec<bool>,
}

impl DeviceFrame {
    /// Makes what a plan needs and is not there yet. Nothing is under way.
    pub fn adopt(&mut self, devices: &Devices, plan: &MemoryPlan) -> Result<(), PluginError> {
        for (i, device) in devices.iter().enumerate() {
            if self.arenas.len() == i {
                let stream = || device.memory.has_streams().then(|| device.memory.new_stream()).transpose();
                self.streams.extend([stream()?, stream()?]);
                self.arenas.push(None);
            }
            let size = plan.device_sizes[i];
            let enough = self.arenas[i].as_ref().is_some_and(|arena| arena.len >= size);
            if size > 0 && !enough {
                self.arenas[i] = None;
                self.arenas[i] = Some(Allocation::new(&device.memory, size, device.align)?);
            }
        }
        self.busy.resize(self.streams.len(), false);
        Ok(())
    }

    pub fn arena(&self, space: Space) -> Option<u64> {
        Some(self.arenas.get(space.checked_sub(1)?)?.as_ref()?.address)
    }

    pub fn stream(&self, queue: Option<Queue>) -> Option<&Stream> {
        self.streams.get(queue?)?.as_ref()
    }

    /// Notes that a queue has got something, before it does.
    pub fn mark_busy(&mut self, queue: Option<Queue>) {
        if let Some(queue) = queue {
            self.busy[queue] = true;
        }
    }

    /// Lets a step of `queue` come behind step `before` of `other`.
    pub fn wait(&mut self, queue: Option<Queue>, before: usize, other: Queue) -> Result<(), PluginError> {
        let Some(Some(event)) = self.events.get(before) else { return Ok(()) };
        match self.stream(queue).filter(|_| super::order::waits_on_device(queue, other)) {
            Some(stream) => stream.wait(event),
            None => event.wait(),
        }
    }

    /// Records the event of a step that has just been enqueued.
    pub fn record(&mut self, devices: &Devices, queue: Queue, step: usize) -> Result<(), PluginError> {
        if self.events.len() <= step {
            self.events.resize_with(step + 1, || None);
        }
        let device = devices.iter().nth(device_of(queue));
        if let (None, Some(device)) = (&self.events[step], device) {
            self.events[step] = Some(device.memory.new_event()?);
        }
        match (self.stream(Some(queue)), &self.events[step]) {
            (Some(stream), Some(event)) => stream.record(event),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is under way in a queue.
    pub fn sync(&mut self, devices: &Devices, queue: Queue) -> Result<(), PluginError> {
        let device = devices.iter().nth(device_of(queue));
        match (self.stream(Some(queue)), device) {
            (Some(stream), Some(device)) if self.busy[queue] => device.memory.sync(Some(stream)),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is under way at all; the first error, if there is one.
    pub fn drain(&mut self, devices: &Devices) -> Result<(), PluginError> {
        let mut result = Ok(());
        for queue in 0..self.streams.len() {
            let done = self.sync(devices, queue);
            self.busy[queue] = false;
            result = result.and(done);
        }
        self.in_flight.clear();
        result
    }
}
