//! Memories that the host cannot read: which a program has to do with, and what one run holds of them.

pub(crate) mod copy;
mod frame;
pub(crate) mod insert;
mod order;
mod region;

pub(crate) use frame::{Allocation, DeviceFrame, OnDevice};
pub(crate) use order::{Access, StepOrder, Touch, What, order};
pub(crate) use region::{DeviceMade, DeviceRegion};

use byoc_host::DeviceMemory;

use crate::region::Location;

/// A memory of a program's: 0 is the host's, `n` that of device `n - 1`.
pub(crate) type Space = usize;
pub(crate) const HOST: Space = 0;

/// A queue of work: each device has one for computing and one for transfers.
pub(crate) type Queue = usize;

/// The devices of a program, each once.
#[derive(Default)]
pub(crate) struct Devices(Vec<Device>);

pub(crate) struct Device {
    pub memory: DeviceMemory,
    /// What its executables ask for.
    pub align: usize,
}

impl Devices {
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.0.iter()
    }

    /// The space at a location, which may be new.
    pub fn space(&mut self, location: Option<Location<'_>>) -> Space {
        let Some(Location { memory, align }) = location else { return HOST };
        let known = self.0.iter().position(|d| d.memory.is(memory));
        let at = known.unwrap_or_else(|| {
            self.0.push(Device { memory: memory.clone(), align: 64 });
            self.0.len() - 1
        });
        self.0[at].align = self.0[at].align.max(align);
        at + 1
    }

    pub fn get(&self, space: Space) -> Option<&Device> {
        self.0.get(space.checked_sub(1)?)
    }

    /// Where copies between two spaces are enqueued; `None` where they are complete when the call returns.
    pub fn transfer_queue(&self, from: Space, to: Space) -> Option<Queue> {
        let space = if to == HOST { from } else { to };
        self.get(space)?.memory.has_streams().then(|| transfer_queue(space))
    }

    /// Where a region on this device is enqueued.
    pub fn compute_queue(&self, space: Space) -> Option<Queue> {
        self.get(space)?.memory.has_streams().then(|| compute_queue(space))
    }

    /// Whether one device may copy from the other without the host between.
    pub fn are_peers(&self, from: Space, to: Space) -> bool {
        let both = self.get(from).zip(self.get(to));
        both.is_some_and(|(from, to)| from.memory.is_peer_of(&to.memory))
    }
}

fn compute_queue(space: Space) -> Queue {
    2 * (space - 1)
}

fn transfer_queue(space: Space) -> Queue {
    2 * (space - 1) + 1
}

/// The device that a queue belongs to, by its index.
pub(crate) fn device_of(queue: Queue) -> usize {
    queue / 2
}
