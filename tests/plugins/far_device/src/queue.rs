//! Streams and events. Work is checked when it is enqueued and done as late as can be: when somebody waits for it.
//! Whoever reads a result too early therefore never sees it, and whoever forgets an event is told.

use std::collections::{BTreeMap, VecDeque};

use byoc_plugin::{Category, CopyEnd, Error, Result};

use crate::clock::{Clock, HOST};
use crate::memory::Memory;

/// Work of a stream.
pub enum Work {
    Copy {
        from: CopyEnd,
        to: CopyEnd,
        size: u64,
    },
    Kernel(Kernel),
    /// Frees memory behind what uses it.
    Free(u64),
}

/// `result = op(left, right)` over float32 elements, by addresses and offsets.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub op: fn(f32, f32) -> f32,
    pub left: (u64, u64),
    pub right: (u64, u64),
    pub result: (u64, u64),
    pub elements: u64,
}

enum Entry {
    Work(Work),
    Wait(u64),
}

#[derive(Default)]
struct Stream {
    clock: Clock,
    entries: VecDeque<Entry>,
    enqueued: u64,
    done: u64,
}

#[derive(Default)]
struct Event {
    /// Stream, entries that come before, and what is known behind them.
    recorded: Option<(u64, u64, Clock)>,
}

/// The whole device.
#[derive(Default)]
pub struct Queues {
    pub memory: Memory,
    streams: BTreeMap<u64, Stream>,
    events: BTreeMap<u64, Event>,
    host: Clock,
    next: u64,
    /// The first mistake; from then on nothing succeeds.
    fault: Option<Error>,
}

impl Queues {
    pub fn healthy(&self) -> Result<()> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: Error) {
        let lost = Error::new(Category::DeviceLost, error.message);
        self.fault.get_or_insert(lost);
    }

    pub fn create_stream(&mut self) -> u64 {
        self.next += 1;
        self.streams.insert(self.next, Stream::default());
        self.next
    }

    pub fn destroy_stream(&mut self, stream: u64) {
        match self.streams.remove(&stream) {
            Some(stream) if stream.entries.is_empty() => {}
            Some(_) => self.fail(Error::invalid("a stream was destroyed with work in it")),
            None => self.fail(Error::invalid("a stream was destroyed twice")),
        }
    }

    pub fn create_event(&mut self) -> u64 {
        self.next += 1;
        self.events.insert(self.next, Event::default());
        self.next
    }

    pub fn destroy_event(&mut self, event: u64) {
        let waited_for = |stream: &Stream| {
            stream.entries.iter().any(|entry| matches!(entry, Entry::Wait(e) if *e == event))
        };
        if self.streams.values().any(waited_for) {
            self.fail(Error::invalid("an event was destroyed while a stream waits for it"));
        }
        if self.events.remove(&event).is_none() {
            self.fail(Error::invalid("an event was destroyed twice"));
        }
    }

    pub fn record(&mut self, stream: u64, event: u64) -> Result<()> {
        let queue = self.streams.get(&stream).ok_or_else(|| no_such("stream", stream))?;
        let event = self.events.get_mut(&event).ok_or_else(|| no_such("event", event))?;
        event.recorded = Some((stream, queue.enqueued, queue.clock.clone()));
        Ok(())
    }

    pub fn wait(&mut self, stream: u64, event: u64) -> Result<()> {
        let (_, _, clock) = self.recorded(event)?;
        let queue = self.streams.get_mut(&stream).ok_or_else(|| no_such("stream", stream))?;
        queue.clock.learn(&clock);
        queue.entries.push_back(Entry::Wait(event));
        queue.enqueued += 1;
        Ok(())
    }

    fn recorded(&self, event: u64) -> Result<(u64, u64, Clock)> {
        let event = self.events.get(&event).ok_or_else(|| no_such("event", event))?;
        event.recorded.clone().ok_or_else(|| Error::invalid("an event is waited for that was never recorded"))
    }

    /// Enqueues work, or does it at once where there is no stream.
    pub fn submit(&mut self, work: Work, stream: Option<u64>) -> Result<()> {
        let Some(id) = stream else {
            self.host.step(HOST);
            let clock = self.host.clone();
            self.check(&work, HOST, &clock)?;
            return self.perform(work);
        };
        let queue = self.streams.get_mut(&id).ok_or_else(|| no_such("stream", id))?;
        // What the host has done so far comes before what it enqueues now.
        queue.clock.learn(&self.host);
        queue.clock.step(id);
        let clock = queue.clock.clone();
        self.check(&work, id, &clock)?;
        if let Some(queue) = self.streams.get_mut(&id) {
            queue.entries.push_back(Entry::Work(work));
            queue.enqueued += 1;
        }
        Ok(())
    }

    /// Bounds, and the order of everything that touches the same memory.
    fn check(&mut self, work: &Work, stream: u64, clock: &Clock) -> Result<()> {
        for (address, offset, size, writes) in accesses(work) {
            let piece = self.memory.piece(address)?;
            let range = piece.range(offset, size.unwrap_or(piece.len()))?;
            if !piece.accesses.note(stream, clock, range, writes) {
                let error = Error::invalid(format!(
                    "race: {address:#x} is used by two streams without an event between"
                ));
                self.fail(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn perform(&mut self, work: Work) -> Result<()> {
        match work {
            Work::Copy { from, to, size } => {
                let content = match from {
                    CopyEnd::Device { address, offset } => self.memory.read(address, offset, size)?,
                    // SAFETY: the host keeps its memory valid until the copy has completed.
                    CopyEnd::Host(address) => unsafe {
                        std::slice::from_raw_parts(address as usize as *const u8, size as usize).to_vec()
                    },
                };
                match to {
                    CopyEnd::Device { address, offset } => self.memory.write(address, offset, &content),
                    CopyEnd::Host(address) => {
                        // SAFETY: as above.
                        unsafe {
                            std::ptr::copy_nonoverlapping(
                                content.as_ptr(),
                                address as usize as *mut u8,
                                content.len(),
                            )
                        };
                        Ok(())
                    }
                }
            }
            Work::Kernel(kernel) => {
                let size = kernel.elements * 4;
                let left = floats(&self.memory.read(kernel.left.0, kernel.left.1, size)?);
                let right = floats(&self.memory.read(kernel.right.0, kernel.right.1, size)?);
                let result: Vec<u8> =
                    left.iter().zip(&right).flat_map(|(l, r)| (kernel.op)(*l, *r).to_le_bytes()).collect();
                self.memory.write(kernel.result.0, kernel.result.1, &result)
            }
            Work::Free(address) => self.memory.free(address),
        }
    }

    /// Does the work of a stream up to an entry, and first what that waits for.
    fn run(&mut self, stream: u64, until: u64) {
        while let Some(queue) = self.streams.get_mut(&stream) {
            if queue.done >= until {
                return;
            }
            let Some(entry) = queue.entries.pop_front() else { return };
            queue.done += 1;
            match entry {
                Entry::Wait(event) => {
                    if let Ok((other, before, _)) = self.recorded(event) {
                        self.run(other, before);
                    }
                }
                Entry::Work(work) => {
                    if self.fault.is_none()
                        && let Err(error) = self.perform(work)
                    {
                        self.fail(error);
                    }
                }
            }
        }
    }

    pub fn sync(&mut self, stream: Option<u64>) -> Result<()> {
        let ids: Vec<u64> =
            stream.map_or_else(|| self.streams.keys().copied().collect(), |stream| vec![stream]);
        for id in ids {
            self.run(id, u64::MAX);
            let queue = self.streams.get(&id).ok_or_else(|| no_such("stream", id))?;
            self.host.learn(&queue.clock);
        }
        self.healthy()
    }

    pub fn event_wait(&mut self, event: u64) -> Result<()> {
        let (stream, before, clock) = self.recorded(event)?;
        self.run(stream, before);
        self.host.learn(&clock);
        self.healthy()
    }

    /// Each question lets one more piece of work be done.
    pub fn event_query(&mut self, event: u64) -> Result<bool> {
        self.healthy()?;
        let (stream, before, clock) = self.recorded(event)?;
        let done = self.streams.get(&stream).map_or(before, |queue| queue.done);
        if done < before {
            self.run(stream, done + 1);
            return Ok(false);
        }
        self.host.learn(&clock);
        Ok(true)
    }

    /// Frees memory that must no longer be in use.
    pub fn free(&mut self, address: u64) -> Result<()> {
        let host = self.host.clone();
        if !self.memory.piece(address)?.accesses.all_before(&host) {
            let error = Error::invalid(format!("{address:#x} is freed while it may be in use"));
            self.fail(error.clone());
            return Err(error);
        }
        self.memory.free(address)
    }
}

/// Address, offset, size (none for the whole piece) and whether it is written, of all device memory that work touches.
fn accesses(work: &Work) -> Vec<(u64, u64, Option<u64>, bool)> {
    match work {
        Work::Copy { from, to, size } => {
            let end = |end: &CopyEnd, writes: bool| match end {
                CopyEnd::Device { address, offset } => Some((*address, *offset, Some(*size), writes)),
                CopyEnd::Host(_) => None,
            };
            end(from, false).into_iter().chain(end(to, true)).collect()
        }
        Work::Kernel(kernel) => {
            let size = kernel.elements * 4;
            let access = |(address, offset): (u64, u64), writes| (address, offset, Some(size), writes);
            vec![access(kernel.left, false), access(kernel.right, false), access(kernel.result, true)]
        }
        Work::Free(address) => vec![(*address, 0, None, true)],
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

fn no_such(what: &str, number: u64) -> Error {
    Error::invalid(format!("there is no {what} {number}"))
}
