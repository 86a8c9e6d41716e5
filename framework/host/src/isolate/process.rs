//! One worker as the host sees it: its process, and the lines to it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Launch;
use super::frame::{Broken, Channel};
use super::message::{BUILD, PROTOCOL, Reply, Request};
use super::shared::{self, Shared, lend};
use super::weights::{Place, segments};
use crate::region::OnnxSource;

/// How long a worker that has closed its connection, or was asked to end, may take to do so.
const GRACE: Duration = Duration::from_secs(2);
/// How long a process may take to answer at all; no plugin has a part in that.
const START: Duration = Duration::from_secs(30);

pub(super) struct Worker {
    /// With how it was lost, once it is.
    child: Mutex<(Child, Option<Lost>)>,
    control: Mutex<Channel>,
    free: Mutex<Vec<Line>>,
    /// Segments that it has mapped.
    mapped: Mutex<HashSet<u64>>,
    limit: Duration,
}

/// A connection for one call at a time.
pub(super) struct Line {
    channel: Channel,
    /// Memory for tensors.
    pub memory: Option<Shared>,
}

/// How a worker was lost.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    Crashed(ExitStatus),
    Hung(Duration),
    /// It said what no worker says.
    Confused(String),
    /// It answered, but is not to be asked again.
    Panicked(String),
    /// It could not be started, or not brought to where the last one was.
    NotStarted(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Crashed(status) => write!(f, "its worker ended ({status})"),
            Lost::Hung(limit) => {
                write!(f, "its worker took longer than {} s and was ended", limit.as_secs_f64())
            }
            Lost::Confused(what) => write!(f, "its worker was ended: {what}"),
            Lost::Panicked(message) => write!(f, "it panicked: {message}"),
            Lost::NotStarted(why) => write!(f, "its worker cannot be started: {why}"),
        }
    }
}

impl Worker {
    /// Starts a process and greets it.
    pub fn start(launch: &Launch) -> Result<Worker, Lost> {
        let failed = |what: &dyn fmt::Display| {
            Lost::NotStarted(format!("{}: {what}", launch.worker.program.display()))
        };
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
        let child = Command::new(&launch.worker.program)
            .args(&launch.worker.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // What it has started ends with it, and an interrupt of the terminal is for the host alone.
            .process_group(0)
            .spawn()
            .map_err(|e| failed(&e))?;
        let control = Channel::new(ours);
        let worker = Worker {
            child: Mutex::new((child, None)),
            control: Mutex::new(control),
            free: Mutex::default(),
            mapped: Mutex::default(),
            limit: launch.timeout,
        };
        lock(&worker.control).set_limit(START).map_err(|e| failed(&e))?;
        let (threads, limits) = (launch.threads, launch.limits);
        let hello = Request::Hello { protocol: PROTOCOL, build: BUILD.into(), threads, limits };
        match worker.control(&hello, &[])? {
            Reply::Hello { protocol: PROTOCOL, build } if build == BUILD => {
                lock(&worker.control).set_limit(launch.timeout).map_err(|e| failed(&e))?;
                Ok(worker)
            }
            Reply::Hello { protocol, build } => Err(failed(&format!(
                "it is of version {build}, protocol {protocol}; this is {BUILD}, protocol {PROTOCOL}"
            ))),
            Reply::Refused(why) => Err(failed(&why)),
            _ => Err(worker.lose(unexpected())),
        }
    }

    /// Asks on the control line.
    pub fn control(&self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Result<Reply, Lost> {
        let mut control = lock(&self.control);
        let asked = control.send(request, fds).and_then(|()| control.receive());
        drop(control);
        match asked {
            Ok((reply, _)) => Ok(reply),
            Err(broken) => Err(self.lose(broken)),
        }
    }

    /// Talks on a line that nobody else uses meanwhile.
    pub fn converse<T>(&self, body: impl FnOnce(&mut Line) -> Result<T, Broken>) -> Result<T, Lost> {
        let free = lock(&self.free).pop();
        let mut line = match free {
            Some(line) => line,
            None => self.line()?,
        };
        match body(&mut line) {
            Ok(done) => {
                lock(&self.free).push(line);
                Ok(done)
            }
            Err(broken) => Err(self.lose(broken)),
        }
    }

    fn line(&self) -> Result<Line, Lost> {
        let failed = |e: io::Error| Lost::Confused(format!("no line to it can be made: {e}"));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let channel = Channel::new(ours);
        channel.set_limit(self.limit).map_err(failed)?;
        match self.control(&Request::Line, &lend(&OwnedFd::from(theirs)))? {
            Reply::Done => Ok(Line { channel, memory: None }),
            Reply::Refused(why) => Err(self.lose(Broken::Malformed(why))),
            _ => Err(self.lose(unexpected())),
        }
    }

    /// Sees to it that the worker has mapped where these lie.
    pub fn show(&self, line: &mut Line, places: &[Place]) -> Result<(), Broken> {
        for segment in segments(places) {
            if lock(&self.mapped).contains(&segment.id) {
                continue;
            }
            let request = Request::Map { segment: segment.id, len: segment.len() };
            line.expect_done(&request, &lend(&segment.fd))?;
            lock(&self.mapped).insert(segment.id);
        }
        Ok(())
    }

    /// Has it unmap what nobody needs any more.
    pub fn forget(&self, line: &mut Line, mut gone: Vec<u64>) -> Result<(), Broken> {
        gone.retain(|id| lock(&self.mapped).remove(id));
        if gone.is_empty() { Ok(()) } else { line.expect_done(&Request::Unmap { segments: gone }, &[]) }
    }

    /// Ends it for good; says how it was lost, which is the same however often it is asked.
    pub fn lose(&self, broken: Broken) -> Lost {
        let mut child = lock(&self.child);
        if let Some(lost) = &child.1 {
            return lost.clone();
        }
        let has_ended = matches!(broken, Broken::Gone) && await_end(&child.0, GRACE);
        let status = end(&mut child.0);
        let lost = match (broken, status) {
            (Broken::Gone, Ok(status)) if has_ended => Lost::Crashed(status),
            (Broken::Late, _) => Lost::Hung(self.limit),
            (broken, _) => Lost::Confused(broken.to_string()),
        };
        child.1 = Some(lost.clone());
        lost
    }

    /// Ends it after an answer with which it is not to go on.
    pub fn discard(&self, lost: Lost) -> Lost {
        let mut child = lock(&self.child);
        let _ = end(&mut child.0);
        child.1.get_or_insert(lost).clone()
    }

    /// Lets the plugin close, and the process end by itself.
    pub fn close(&self) {
        let limited = lock(&self.control).set_limit(self.limit.min(GRACE));
        if limited.is_ok() && matches!(self.control(&Request::Close, &[]), Ok(Reply::Done)) {
            await_end(&lock(&self.child).0, GRACE);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = end(&mut child.0);
    }
}

/// Whether the process ends within a time; it is still to be waited for then.
fn await_end(child: &Child, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(Pid::from_child(child)), options) {
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Ok(status) => return status.is_some(),
            // It has been waited for.
            Err(_) => return true,
        }
    }
}

/// Ends the process with all that it has started.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Once it has been waited for, its number may be another's.
    if waitid(WaitId::Pid(Pid::from_child(child)), options).is_ok() {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    child.wait()
}

impl Line {
    /// Asks, and answers what the worker has to know for it.
    pub fn ask(&mut self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Result<Reply, Broken> {
        self.channel.send(request, fds)?;
        Ok(self.channel.receive()?.0)
    }

    /// As [`Line::ask`] with a request that has been encoded, about a region that may have an ONNX form.
    pub fn ask_encoded(&mut self, request: &[u8], onnx: Option<&OnnxSource>) -> Result<Reply, Broken> {
        self.channel.send_encoded(request)?;
        loop {
            let (reply, _) = self.channel.receive()?;
            match (reply, onnx) {
                (Reply::NeedOnnx, Some(source)) => self.give_onnx((source.0)())?,
                (Reply::NeedOnnx, None) => return Err(unexpected()),
                (reply, _) => return Ok(reply),
            }
        }
    }

    fn give_onnx(&mut self, onnx: Result<Vec<u8>, String>) -> Result<(), Broken> {
        let held = onnx.and_then(|bytes| {
            let (_, fd) = shared::holding(&bytes).map_err(|e| e.to_string())?;
            Ok((bytes.len() as u64, fd))
        });
        match held {
            Ok((len, fd)) => self.channel.send(&Request::Onnx { len: Ok(len) }, &lend(&fd)),
            Err(why) => self.channel.send(&Request::Onnx { len: Err(why) }, &[]),
        }
    }

    pub fn expect_done(&mut self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        match self.ask(request, fds)? {
            Reply::Done => Ok(()),
            Reply::Refused(why) => Err(Broken::Malformed(why)),
            _ => Err(unexpected()),
        }
    }

    /// Memory for tensors, of at least this size.
    pub fn memory(&mut self, len: usize) -> Result<&Shared, Broken> {
        if self.memory.as_ref().is_none_or(|memory| memory.len() < len) {
            let size = len.max(1 << 16).checked_next_power_of_two().unwrap_or(len);
            let (memory, fd) = Shared::create(size).map_err(Broken::Io)?;
            self.expect_done(&Request::Memory { len: size as u64 }, &lend(&fd))?;
            self.memory = Some(memory);
        }
        self.memory.as_ref().ok_or_else(unexpected)
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected() -> Broken {
    Broken::Malformed("its answer does not fit the question".into())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
