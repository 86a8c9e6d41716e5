//! Plugins in worker processes. See `docs/isolation.md`.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use byoc_cpu::pool::{Rest, ThreadPool};
use byoc_host::PluginFile;
pub use byoc_host::isolate::{Launch, Limits, WorkerCommand};

use crate::Error;

/// How long a call into an isolated plugin may take, where nothing is said.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Which plugins run in workers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// As a plugin is given, or its vendor's name; all where there is none.
    pub plugins: Vec<String>,
    pub worker: WorkerCommand,
    /// How long one call may take.
    pub timeout: Duration,
    pub limits: Limits,
    /// Threads that a plugin which computes on the host's gets; as the session has, where nothing is said.
    pub threads: Option<usize>,
}

impl Isolation {
    /// Every plugin, in workers that this program serves.
    pub fn all(worker: WorkerCommand) -> Isolation {
        Isolation { plugins: Vec::new(), worker, timeout: TIMEOUT, limits: Limits::default(), threads: None }
    }

    /// How a plugin's worker is started; `None` where the plugin is not isolated.
    pub(crate) fn launch(&self, given: &str, path: &Path) -> Result<Option<Launch>, Error> {
        let named = |name: &str| self.plugins.iter().any(|plugin| plugin == name);
        if !self.plugins.is_empty() && !named(given) && !named(&PluginFile::read(path)?.table()?.vendor.name)
        {
            return Ok(None);
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = u32::try_from(self.threads.unwrap_or_else(cores)).unwrap_or(1);
        let (worker, timeout, limits) = (self.worker.clone(), self.timeout, self.limits);
        Ok(Some(Launch { worker, timeout, limits, threads }))
    }
}

/// The whole of a worker: serves a plugin to the host at the other end of standard input, and returns when that is
/// gone. A program that is named as a [`WorkerCommand`] calls this before anything else.
pub fn serve() -> io::Result<()> {
    byoc_host::isolate::serve_standard_input(&|threads| {
        // It is there as long as the process.
        let pool: &'static ThreadPool = Box::leak(Box::new(ThreadPool::new(threads)));
        Arc::new(Pool { pool, rest: Mutex::new(Some(pool.rest())) })
    })
}

struct Pool {
    pool: &'static ThreadPool,
    /// While no call is under way: the cores are the host's then.
    rest: Mutex<Option<Rest<'static>>>,
}

impl byoc_host::ThreadPool for Pool {
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync)) {
        self.pool.parallel_for(n, body);
    }

    fn set_idle(&self, idle: bool) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = idle.then(|| self.pool.rest());
    }
}
