//! The worker: loads one library, opens one plugin, and does what its host asks.

mod executables;
mod filter;
mod line;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Resource, Rlimit, Signal, getpgrp, getpid, kill_current_process_group, kill_process, setrlimit,
};

use super::Limits;
use super::frame::{Broken, Channel};
use super::message::{BUILD, DeviceText, Info, PROTOCOL, Reply, Request, device};
use super::process::lock;
use super::shared::only;
use crate::library::Library;
use crate::plugin::Plugin;
use crate::pool::ThreadPool;
use line::Line;

/// Stack of a thread that calls the plugin, as large as a process's first.
const STACK: usize = 8 << 20;

/// What the lines of a worker share.
#[derive(Default)]
struct Server {
    pool: OnceLock<Arc<dyn ThreadPool>>,
    /// Questions that are being answered.
    active: Mutex<usize>,
    plugin: Mutex<Option<Arc<Plugin>>>,
    segments: line::Segments,
    executables: executables::Executables,
}

/// As [`serve`] for a connection that is this process's standard input, which is empty from now on.
pub fn serve_standard_input(make_pool: &dyn Fn(usize) -> Arc<dyn ThreadPool>) -> io::Result<()> {
    let connection = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    serve(connection, make_pool)
}

/// Serves a plugin until the host is gone. `make_pool` makes threads for a plugin that computes on the host's.
pub fn serve(connection: OwnedFd, make_pool: &dyn Fn(usize) -> Arc<dyn ThreadPool>) -> io::Result<()> {
    let connection = UnixStream::from(connection);
    end_with(connection.try_clone()?)?;
    let mut control = Channel::new(connection);
    let server = Arc::new(Server::default());
    let mut library = None;
    loop {
        let (request, fds) = match control.receive::<Request<'static>>() {
            Ok(received) => received,
            Err(Broken::Gone) => return Ok(()),
            Err(broken) => return Err(io::Error::other(broken)),
        };
        let is_close = matches!(request, Request::Close);
        let reply = match request {
            Request::Hello { protocol, build, threads, limits } if protocol == PROTOCOL && build == BUILD => {
                let _ = server.pool.set(make_pool(threads as usize));
                restrict(limits).map_or_else(|e| Reply::Refused(e.to_string()), |()| hello())
            }
            Request::Hello { .. } => hello(),
            Request::Load { path } => match Library::load(Path::new(&*path)) {
                Ok(loaded) => {
                    let info = info(&loaded);
                    library = Some(loaded);
                    Reply::Loaded(info)
                }
                Err(error) => Reply::Refused(error.to_string()),
            },
            Request::Open { options } => match &library {
                Some(library) => open(&server, library, options.into_owned()),
                None => Reply::Refused("nothing has been loaded".into()),
            },
            Request::Line => match only(fds) {
                Some(fd) => {
                    attend(&server, fd).map_or_else(|e| Reply::Refused(e.to_string()), |()| Reply::Done)
                }
                None => Reply::Refused("there is no descriptor of a line".into()),
            },
            Request::Close => {
                server.executables.clear();
                // With the last of them the plugin closes.
                drop(lock(&server.plugin).take());
                Reply::Done
            }
            _ => Reply::Refused("that belongs on a line".into()),
        };
        if control.send(&reply, &[]).is_err() || is_close {
            return Ok(());
        }
    }
}

impl Server {
    /// Counts the questions that are being answered; with none, the pool is idle.
    fn count(&self, begins: bool) {
        let mut active = lock(&self.active);
        let before = *active;
        *active = if begins { before + 1 } else { before - 1 };
        if before + *active == 1
            && let Some(pool) = self.pool.get()
        {
            pool.set_idle(!begins);
        }
    }
}

fn hello() -> Reply {
    Reply::Hello { protocol: PROTOCOL, build: BUILD.to_owned() }
}

fn info(library: &Library) -> Info {
    let options = library.options.iter();
    Info {
        name: library.name.clone(),
        version: library.version.clone(),
        options: options.map(|o| (o.name.clone(), o.kind, o.default.clone(), o.help.clone())).collect(),
        threads: library.threads,
        minor: library.minor,
        concurrent: library.concurrent,
        checks_matches: library.raw.check_match.is_some(),
    }
}

fn open(server: &Server, library: &Arc<Library>, options: Vec<(String, String)>) -> Reply {
    let plugin = match Plugin::open(library, options) {
        Ok(plugin) => plugin,
        Err(error) => return error.into(),
    };
    let device = |info: &crate::DeviceInfo| DeviceText {
        device: device(info.id),
        name: info.name.clone(),
        memory_bytes: info.memory_bytes,
    };
    let devices = plugin.devices().iter().map(device).collect();
    match lock(&server.plugin).replace(plugin) {
        None => Reply::Opened { devices },
        Some(_) => Reply::Refused("a plugin has been opened already".into()),
    }
}

/// Has a thread answer on a new line.
fn attend(server: &Arc<Server>, fd: OwnedFd) -> io::Result<()> {
    let line = Line::new(Arc::clone(server), Channel::new(UnixStream::from(fd)));
    std::thread::Builder::new()
        .name("byoc-line".into())
        .stack_size(STACK)
        .spawn(move || line.serve())
        .map(drop)
}

/// Sets what the process may take and do, and that it is the first to go where the machine runs out of memory.
fn restrict(limits: Limits) -> io::Result<()> {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if let Some(bytes) = limits.memory {
        setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) })?;
    }
    if limits.seccomp { filter::apply() } else { Ok(()) }
}

/// Ends this process, and what it has started, with its host: whatever the plugin is doing at that moment.
fn end_with(connection: UnixStream) -> io::Result<()> {
    let watch = move || {
        loop {
            let mut polled = [PollFd::new(&connection, PollFlags::RDHUP)];
            let hung_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
            if poll(&mut polled, None).is_ok() && polled[0].revents().intersects(hung_up) {
                break;
            }
        }
        if getpgrp() == getpid() {
            let _ = kill_current_process_group(Signal::KILL);
        }
        let _ = kill_process(getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("byoc-watch".into()).spawn(watch).map(drop)
}
