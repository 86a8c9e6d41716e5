//! Why a plugin could not be loaded, or a call into it failed.

use std::path::PathBuf;

use byoc_plugin::Category;
use byoc_plugin::table::TableError;
use thiserror::Error;

/// Why a library is no plugin that this host can load.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("no plugin named `{name}`; looked in {}", list(.searched))]
    NotFound { name: String, searched: Vec<PathBuf> },
    #[error("{}: cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: is not a shared library: {why}", .path.display())]
    NotALibrary { path: PathBuf, why: String },
    #[error("{}: is built for {found}, this host runs on {}", .path.display(), std::env::consts::ARCH)]
    WrongArchitecture { path: PathBuf, found: String },
    #[error("{}: cannot be loaded: {why}", .path.display())]
    Open { path: PathBuf, why: String },
    #[error("{}: exports no `byoc_plugin_entry`, so it is no BYOC plugin", .path.display())]
    NoEntry { path: PathBuf },
    #[error("{}: speaks epoch {theirs} of the plugin interface, this host epoch {ours}: build it anew for epoch {ours}, or use a host of epoch {theirs}", .path.display())]
    Epoch { path: PathBuf, theirs: u32, ours: u32 },
    #[error("{}: needs features of the plugin interface that this host does not have: bits {bits:#x}", .path.display())]
    Features { path: PathBuf, bits: u64 },
    #[error("{}: breaks the plugin interface: {why}", .path.display())]
    Broken { path: PathBuf, why: String },
    #[error("{}: its pattern table is refused: {source}", .path.display())]
    Table { path: PathBuf, source: TableError },
    #[error("{}: {why}", .path.display())]
    Worker { path: PathBuf, why: String },
    /// What the worker says, which names the path.
    #[error("{message}")]
    InWorker { message: String },
}

/// Why the options given for a plugin are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    #[error("plugin `{plugin}` has no option `{name}`; it has {known}")]
    Unknown { plugin: String, name: String, known: String },
    #[error("option `{name}` of plugin `{plugin}` must be {expected}, not `{value}`")]
    Value { plugin: String, name: String, expected: &'static str, value: String },
}

/// A call into a plugin that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("plugin `{plugin}` failed in {call} ({}): {}", .error.category, .error.message)]
pub struct PluginError {
    pub plugin: String,
    /// The interface's function.
    pub call: &'static str,
    pub error: byoc_plugin::Error,
    /// Nodes that the plugin has refused before it failed, with the reasons.
    pub refused: Vec<(usize, String)>,
    /// The plugin's worker is gone: it may be back later.
    pub lost: bool,
}

impl PluginError {
    pub fn category(&self) -> Category {
        self.error.category
    }

    /// The plugin panicked, now or before, and is not called again.
    pub fn is_poisoned(&self) -> bool {
        self.error.panicked
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if paths.is_empty() { "no folder".to_owned() } else { paths.join(", ") }
}
