//! What one exported plugin knows of its host, and how its panics are contained.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::abi::{self, PluginTable};
use crate::sdk::{Error, HostRef, LogLevel, Result};

/// The one object that an exported plugin keeps beside its state.
#[derive(Debug)]
pub struct Runtime {
    host: OnceLock<HostRef>,
    table: OnceLock<PluginTable>,
    poisoned: AtomicBool,
}

impl Runtime {
    pub const fn new() -> Self {
        Runtime { host: OnceLock::new(), table: OnceLock::new(), poisoned: AtomicBool::new(false) }
    }

    /// The host, from the first entry on.
    pub(super) fn host(&self) -> Option<HostRef> {
        self.host.get().copied()
    }

    pub(super) fn enter(
        &'static self,
        host: HostRef,
        table: impl FnOnce() -> PluginTable,
    ) -> &'static PluginTable {
        self.host.get_or_init(|| {
            // The plugin has a standard library of its own, and so a panic hook of its own.
            std::panic::set_hook(Box::new(move |info| host.log(LogLevel::Error, &info.to_string())));
            host
        });
        self.table.get_or_init(table)
    }

    /// Runs a call of the host's; its failure or panic becomes an error of the host's.
    pub(super) fn guard(
        &self,
        host: HostRef,
        what: &str,
        body: impl FnOnce() -> Result<()>,
    ) -> *mut abi::Error {
        if self.poisoned.load(Ordering::Acquire) {
            return host.make_error(&panic_error(format!("{what}: the plugin has panicked before")));
        }
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => std::ptr::null_mut(),
            Ok(Err(error)) => host.make_error(&error),
            Err(payload) => {
                self.poisoned.store(true, Ordering::Release);
                host.make_error(&panic_error(format!("the plugin panicked in {what}: {}", describe(payload))))
            }
        }
    }

    /// Runs a call that has no answer; its panic poisons the plugin all the same.
    pub(super) fn guard_silent(&self, host: HostRef, what: &str, body: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
            self.poisoned.store(true, Ordering::Release);
            host.log(LogLevel::Error, &format!("the plugin panicked in {what}: {}", describe(payload)));
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

fn panic_error(message: String) -> Error {
    Error { panicked: true, ..Error::internal(message) }
}

/// The text of a panic; its payload is dropped with care, since that may panic again.
fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic without a message".to_owned(),
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping this one could panic as well.
        std::mem::forget(second);
    }
    text
}
