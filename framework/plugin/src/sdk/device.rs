//! A device with memory of its own.

use super::error::{Error, Result};
use crate::abi::DeviceId;

/// Memory of a device. Addresses are the device's own: the host never looks at what is there.
pub trait Device: Send + Sync + 'static {
    /// Even 0 bytes have an address of their own.
    fn alloc(&self, size: u64, align: u64) -> Result<u64>;

    /// Called only when everything that uses the memory is known to have completed.
    fn free(&self, address: u64) -> FreeAnswer;

    /// Copies within a stream, or completely before it returns where there is none.
    fn copy(&self, from: CopyEnd, to: CopyEnd, size: u64, stream: Option<u64>) -> Result<()>;

    /// Copies from another device of this plugin; without it the host copies through its own memory.
    fn copy_from_peer(
        &self,
        _peer: DeviceId,
        _from: CopyEnd,
        _to: CopyEnd,
        _size: u64,
        _stream: Option<u64>,
    ) -> Result<()> {
        Err(Error::unsupported("this device does not copy from others"))
    }

    /// Waits for a stream, or for all of them.
    fn sync(&self, stream: Option<u64>) -> Result<()>;

    /// Free and total bytes.
    fn memory_info(&self) -> Option<(u64, u64)> {
        None
    }

    /// `None`: every call is complete when it returns.
    fn streams(&self) -> Option<&dyn Streams> {
        None
    }
}

/// Streams and events of a device, named by numbers of the device's own choice, never 0.
pub trait Streams: Send + Sync {
    fn create(&self) -> Result<u64>;
    fn destroy(&self, stream: u64);
    /// What is enqueued from now on waits for the event.
    fn wait(&self, stream: u64, event: u64) -> Result<()>;
    fn event_create(&self) -> Result<u64>;
    fn event_destroy(&self, event: u64);
    /// The event is done when all that is in the stream by now is.
    fn event_record(&self, stream: u64, event: u64) -> Result<()>;
    fn event_query(&self, event: u64) -> Result<bool>;
    fn event_wait(&self, event: u64) -> Result<()>;
}

/// One end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEnd {
    /// An address in host memory, valid until the copy has completed.
    Host(u64),
    /// An address in the device's memory, and an offset behind it.
    Device { address: u64, offset: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeAnswer {
    Done,
    /// The address must never be used again.
    Quarantined,
    /// Nothing has changed.
    Failed,
}
