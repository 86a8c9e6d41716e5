//! Plugins in processes of their own. See `docs/isolation.md`.

mod frame;
mod keeper;
mod message;
mod process;
mod remote;
mod serve;
mod shared;
mod weights;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use keeper::Restored;
pub(crate) use keeper::{Keeper, Origin};
pub(crate) use remote::RemoteExecutable;
pub use serve::{serve, serve_standard_input};

/// A program that serves a plugin: it calls [`serve_standard_input`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl WorkerCommand {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        WorkerCommand { program: program.into(), arguments: Vec::new() }
    }

    /// Adds a word to its command line.
    pub fn argument(mut self, word: impl Into<OsString>) -> Self {
        self.arguments.push(word.into());
        self
    }
}

/// What a worker may take and do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of private memory.
    pub memory: Option<u64>,
    /// Whether it may not reach a network, start programs or change files.
    pub seccomp: bool,
}

/// How workers are started, and what they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub worker: WorkerCommand,
    /// How long one call may take.
    pub timeout: Duration,
    pub limits: Limits,
    /// Threads that a plugin which computes on the host's gets.
    pub threads: u32,
}
