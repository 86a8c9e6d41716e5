//! The pretended GPU: streams that do nothing until somebody waits, events, and what went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::memory::Memory;
use crate::module::Module;

pub type Status = i32;
pub const INVALID_VALUE: Status = 1;
pub const OUT_OF_MEMORY: Status = 2;
pub const NO_CONTEXT: Status = 201;
pub const INVALID_HANDLE: Status = 400;
pub const NOT_READY: Status = 600;
pub const LAUNCH_FAILED: Status = 719;

/// The stream that all share.
pub const SHARED: u64 = 0;

#[derive(Clone)]
pub enum Work {
    Launch {
        module: Arc<Module>,
        device: usize,
        grid: [u32; 4],
        arguments: Vec<Vec<u8>>,
        addresses: Vec<u64>,
    },
    Copy {
        to: End,
        from: End,
        size: usize,
    },
    /// Something that a library does with some pieces of memory.
    Host {
        name: &'static str,
        device: usize,
        pieces: Vec<(u64, u64)>,
        run: Arc<dyn Fn() + Send + Sync>,
    },
    Call {
        function: unsafe extern "C" fn(*mut std::ffi::c_void),
        with: u64,
    },
    Free(u64),
    Wait {
        stream: u64,
        until: u64,
    },
}

#[derive(Clone, Copy)]
pub enum End {
    Host(u64),
    /// A device's number, and an address there.
    Device(usize, u64),
}

#[derive(Default)]
struct Stream {
    work: VecDeque<Work>,
    enqueued: u64,
    done: u64,
    /// What is recorded instead of being enqueued.
    recording: Option<Vec<Work>>,
}

#[derive(Default)]
pub struct Machine {
    pub memory: Memory,
    streams: BTreeMap<u64, Stream>,
    /// Stream and how much of it comes before, once recorded.
    events: BTreeMap<u64, Option<(u64, u64)>>,
    /// Pinned memory, by address.
    pinned: BTreeMap<u64, Vec<u64>>,
    /// By number.
    pub modules: BTreeMap<u64, Arc<Module>>,
    /// Recorded work, by number.
    graphs: BTreeMap<u64, Vec<Work>>,
    next: u64,
    pub faults: Vec<String>,
    /// Names of the kernels that were launched, where somebody wants to know.
    pub launches: Option<Vec<String>>,
    /// Where each kernel's name is written when it is launched.
    trace: Option<File>,
    /// Calls by name that are to fail: how many succeed before, and the error.
    pub failures: BTreeMap<String, (u64, Status)>,
    pub waits: u64,
    pub allocations: u64,
}

static MACHINE: LazyLock<Mutex<Machine>> = LazyLock::new(|| Mutex::new(Machine::new()));

pub fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    fn new() -> Machine {
        let file = std::env::var_os("FAKE_CUDA_TRACE");
        let trace = file.and_then(|path| File::options().create(true).append(true).open(path).ok());
        let mut machine = Machine { next: 1, trace, ..Machine::default() };
        machine.streams.insert(SHARED, Stream::default());
        for rule in std::env::var("FAKE_CUDA_FAIL").unwrap_or_default().split(',') {
            machine.add_failure(rule);
        }
        machine
    }

    /// Forgets everything but loaded modules, and notes launches from now on.
    pub fn reset(&mut self) {
        let (modules, next) = (std::mem::take(&mut self.modules), self.next);
        *self = Machine { modules, next, launches: Some(Vec::new()), ..Machine::new() };
    }

    /// `cuMemAlloc_v2:3:2` lets the fourth such call fail with error 2.
    pub fn add_failure(&mut self, rule: &str) {
        let parts: Vec<&str> = rule.split(':').collect();
        if let [call, after, status] = parts[..]
            && let (Ok(after), Ok(status)) = (after.parse(), status.parse())
        {
            self.failures.insert(call.to_owned(), (after, status));
        }
    }

    /// Whether a call may go on.
    pub fn begin(&mut self, call: &str) -> Result<(), Status> {
        if !self.faults.is_empty() {
            return Err(LAUNCH_FAILED);
        }
        match self.failures.get_mut(call) {
            Some((0, status)) => {
                let status = *status;
                self.failures.remove(call);
                Err(status)
            }
            Some((after, _)) => {
                *after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn fault(&mut self, fault: String) -> Status {
        self.faults.push(fault);
        LAUNCH_FAILED
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn create_stream(&mut self) -> u64 {
        let number = self.number();
        self.streams.insert(number, Stream::default());
        number
    }

    pub fn create_event(&mut self) -> u64 {
        let number = self.number();
        self.events.insert(number, None);
        number
    }

    pub fn counts(&self) -> [usize; 5] {
        let [streams, events] = [self.streams.len() - 1, self.events.len()];
        [self.memory.count(), streams, events, self.graphs.len(), self.pinned.len()]
    }

    pub fn pin(&mut self, size: usize) -> u64 {
        let content = vec![0; size.div_ceil(8)];
        let address = content.as_ptr() as u64;
        self.pinned.insert(address, content);
        address
    }

    /// Work that waits to be done may still use it: that is a fault.
    pub fn unpin(&mut self, address: u64) -> Result<(), Status> {
        let size = self.pinned.get(&address).ok_or(INVALID_VALUE)?.len() as u64 * 8;
        let inside = |end: &End| matches!(end, End::Host(at) if (address..address + size).contains(at));
        let uses = |work: &Work| matches!(work, Work::Copy { to, from, .. } if inside(to) || inside(from));
        if self.streams.values().flat_map(|stream| &stream.work).any(uses) {
            return Err(
                self.fault(format!("pinned memory at {address:#x} is freed while a copy waits for it"))
            );
        }
        self.pinned.remove(&address).map(drop).ok_or(INVALID_VALUE)
    }

    pub fn destroy_stream(&mut self, stream: u64) -> Result<(), Status> {
        // As the driver does: what is in the stream is still done.
        self.run(stream, u64::MAX);
        self.streams.remove(&stream).filter(|_| stream != SHARED).map(drop).ok_or(INVALID_HANDLE)
    }

    pub fn destroy_event(&mut self, event: u64) -> Result<(), Status> {
        self.events.remove(&event).map(drop).ok_or(INVALID_HANDLE)
    }

    pub fn record(&mut self, event: u64, stream: u64) -> Result<(), Status> {
        let enqueued = self.streams.get(&stream).ok_or(INVALID_HANDLE)?.enqueued;
        *self.events.get_mut(&event).ok_or(INVALID_HANDLE)? = Some((stream, enqueued));
        Ok(())
    }

    /// An event that was never recorded is done.
    pub fn wait(&mut self, stream: u64, event: u64) -> Result<(), Status> {
        match *self.events.get(&event).ok_or(INVALID_HANDLE)? {
            Some((of, until)) => self.enqueue(stream, Work::Wait { stream: of, until }),
            None => Ok(()),
        }
    }

    pub fn query(&mut self, event: u64) -> Result<bool, Status> {
        let Some((stream, until)) = *self.events.get(&event).ok_or(INVALID_HANDLE)? else { return Ok(true) };
        let done = self.streams.get(&stream).map_or(until, |stream| stream.done);
        if done < until {
            // Each question lets one more piece of work be done.
            self.run(stream, done + 1);
        }
        Ok(done >= until)
    }

    pub fn wait_for_event(&mut self, event: u64) -> Result<(), Status> {
        self.waits += 1;
        if let Some((stream, until)) = *self.events.get(&event).ok_or(INVALID_HANDLE)? {
            self.run(stream, until);
        }
        self.healthy()
    }

    pub fn synchronise(&mut self, stream: Option<u64>) -> Result<(), Status> {
        self.waits += 1;
        let all = || self.streams.keys().copied().collect();
        for stream in stream.map_or_else(all, |stream| vec![stream]) {
            if !self.streams.contains_key(&stream) {
                return Err(INVALID_HANDLE);
            }
            self.run(stream, u64::MAX);
        }
        self.healthy()
    }

    fn healthy(&self) -> Result<(), Status> {
        if self.faults.is_empty() { Ok(()) } else { Err(LAUNCH_FAILED) }
    }

    pub fn enqueue(&mut self, stream: u64, work: Work) -> Result<(), Status> {
        let stream = self.streams.get_mut(&stream).ok_or(INVALID_HANDLE)?;
        if let Some(recording) = &mut stream.recording {
            recording.push(work);
            return Ok(());
        }
        let name = match &work {
            Work::Launch { module, .. } => Some(module.name.clone()),
            Work::Host { name, .. } => Some((*name).to_owned()),
            _ => None,
        };
        if let (Some(trace), Some(name)) = (&mut self.trace, &name) {
            // Whoever reads it misses what cannot be written.
            let _ = writeln!(trace, "{name}");
        }
        if let Some(launches) = &mut self.launches {
            launches.extend(name);
        }
        stream.work.push_back(work);
        stream.enqueued += 1;
        Ok(())
    }

    pub fn begin_recording(&mut self, stream: u64) -> Result<(), Status> {
        let stream = self.streams.get_mut(&stream).filter(|_| stream != SHARED).ok_or(INVALID_HANDLE)?;
        if stream.recording.is_some() {
            return Err(INVALID_VALUE);
        }
        stream.recording = Some(Vec::new());
        Ok(())
    }

    pub fn end_recording(&mut self, stream: u64) -> Result<u64, Status> {
        let stream = self.streams.get_mut(&stream).ok_or(INVALID_HANDLE)?;
        let recorded = stream.recording.take().ok_or(INVALID_VALUE)?;
        Ok(self.add_graph(recorded))
    }

    pub fn copy_graph(&mut self, graph: u64) -> Result<u64, Status> {
        let work = self.graphs.get(&graph).cloned().ok_or(INVALID_HANDLE)?;
        Ok(self.add_graph(work))
    }

    fn add_graph(&mut self, work: Vec<Work>) -> u64 {
        let number = self.number();
        self.graphs.insert(number, work);
        number
    }

    pub fn destroy_graph(&mut self, graph: u64) -> Result<(), Status> {
        self.graphs.remove(&graph).map(drop).ok_or(INVALID_HANDLE)
    }

    /// One launch, of everything that was recorded.
    pub fn launch_graph(&mut self, graph: u64, stream: u64) -> Result<(), Status> {
        let work = self.graphs.get(&graph).cloned().ok_or(INVALID_HANDLE)?;
        if let Some(launches) = &mut self.launches {
            launches.push(format!("graph of {}", work.len()));
        }
        let noted = self.launches.take();
        let done = work.into_iter().try_for_each(|work| self.enqueue(stream, work));
        self.launches = noted;
        done
    }

    /// Whether work that waits to be done uses memory.
    pub fn is_in_use(&self, start: u64) -> bool {
        let piece = |address: u64| self.memory.piece(address, 0).ok();
        let uses = |work: &Work| match work {
            Work::Launch { addresses, .. } => addresses.iter().any(|address| piece(*address) == Some(start)),
            Work::Copy { to, from, .. } => [to, from].into_iter().any(|end| match end {
                End::Device(_, address) => piece(*address) == Some(start),
                End::Host(_) => false,
            }),
            Work::Host { pieces, .. } => pieces.iter().any(|(address, _)| piece(*address) == Some(start)),
            Work::Call { .. } | Work::Free(_) | Work::Wait { .. } => false,
        };
        self.streams.values().flat_map(|stream| &stream.work).any(uses)
    }

    /// Does the work of a stream up to a point, and first what that waits for.
    fn run(&mut self, stream: u64, until: u64) {
        while let Some(queue) = self.streams.get_mut(&stream) {
            if queue.done >= until {
                return;
            }
            let Some(work) = queue.work.pop_front() else { return };
            queue.done += 1;
            if let Work::Wait { stream, until } = work {
                self.run(stream, until);
            } else if self.faults.is_empty()
                && let Err(fault) = self.perform(work)
            {
                self.faults.push(fault);
            }
        }
    }

    fn perform(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::Launch { module, device, grid, arguments, addresses } => {
                let pieces: Vec<u64> = addresses
                    .iter()
                    .map(|address| {
                        self.memory.piece_on(device, *address, 0).map_err(|e| format!("{}: {e}", module.name))
                    })
                    .collect::<Result<_, _>>()?;
                module.run(grid, &arguments)?;
                let whole = pieces.iter().try_for_each(|piece| self.memory.check(*piece));
                whole.map_err(|e| format!("{}: {e}", module.name))
            }
            Work::Copy { to, from, size } => {
                for end in [to, from] {
                    if let End::Device(device, address) = end {
                        self.memory.piece_on(device, address, size as u64)?;
                    }
                }
                let address = |end| match end {
                    End::Host(address) | End::Device(_, address) => address as usize,
                };
                // SAFETY: device memory was looked up; the host's is the caller's promise to the driver.
                unsafe { std::ptr::copy(address(from) as *const u8, address(to) as *mut u8, size) };
                Ok(())
            }
            Work::Host { name, device, pieces, run } => {
                let named = |e: String| format!("{name}: {e}");
                let starts: Vec<u64> = pieces
                    .iter()
                    .map(|(address, size)| self.memory.piece_on(device, *address, *size).map_err(named))
                    .collect::<Result<_, _>>()?;
                run();
                starts.iter().try_for_each(|start| self.memory.check(*start)).map_err(named)
            }
            Work::Call { function, with } => {
                // SAFETY: the caller's promise to the driver.
                unsafe { function(with as usize as *mut std::ffi::c_void) };
                Ok(())
            }
            Work::Free(address) => self.memory.free(address),
            Work::Wait { .. } => Ok(()),
        }
    }
}
