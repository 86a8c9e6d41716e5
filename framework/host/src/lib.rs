//! Finds, loads and contains vendor plugins.
//!
//! [`search`] names candidates, [`Library::load`] reads and opens one, [`Plugin`] and [`Compiled`] are safe calls
//! into it over neutral data ([`RegionData`], [`TensorRef`]). A plugin that panics is poisoned: it is not called
//! again. A stack overflow, a failed allocation, `abort()` and a hang are contained where the plugin is loaded in a
//! process of its own ([`Library::isolate`]).

pub mod adapt;
pub mod border;
mod calls;
mod compiled;
mod constants;
mod device;
mod elf;
mod error;
mod fp_mode;
mod host_table;
pub mod isolate;
mod last_words;
mod library;
mod memory;
mod plugin;
mod pool;
mod region;
pub mod search;
mod snapshot;
mod tensor;
mod version;

pub use byoc_plugin::{
    Category, DType, DeviceId, Dim, HOST, OptionKind, RegionAnswer, ThreadPolicy,
    table::{PatternTable, TableError},
};
pub use calls::{CallEnv, DeviceSpan, LogSink, set_log_sink};
pub use compiled::{
    ArtefactBytes, Compiled, Executed, ExecutionContext, IoSpec, Output, OutputMemory, Signature,
};
pub use device::{CopyEnd, DeviceMemory, Event, Freed, Stream};
pub use error::{LoadError, OptionError, PluginError};
pub use host_table::{Handles, handles};
pub use last_words::explain_crashes_while_loading;
pub use library::{Library, OptionInfo, PluginFile};
pub use memory::{AlignedBuffer, heap_in_use};
pub use plugin::{ArtefactFit, CompileRequest, DeviceInfo, Plugin};
pub use pool::{SerialPool, ThreadPool};
pub use region::{
    AttributeContent, AttributeData, CompositeData, ConstantData, NodeData, OnnxSource, RegionData,
    SymbolData, ValueData,
};
pub use tensor::{TensorData, TensorRef};
pub use version::HostVersion;
