//! The safe side: what a vendor writes in Rust. Everything here is at the crate's root, too.

mod device;
mod dtype;
mod error;
mod host;
mod options;
mod plugin;
pub(crate) mod read_region;
mod region;
pub(crate) mod tensor;

pub use crate::abi::DeviceId;
pub use device::{CopyEnd, Device, FreeAnswer, Streams};
pub use dtype::{DType, Element};
pub use error::{Category, Error, Result};
pub use host::{CallRef, HostRef, LogLevel};
pub use options::{OptionDecl, OptionKind, Options};
pub use plugin::{
    Artefact, ArtefactAnswer, CheckContext, CompileContext, DeviceDecl, Executable, ExecuteContext, Io,
    IoSpec, MatchContext, Plugin, RegionAnswer, ThreadPolicy,
};
pub use region::{Attribute, AttributeValue, Composite, Constant, Dim, Node, Region, Symbol, Value};
pub use tensor::{TensorInfo, TensorView, TensorViewMut};

/// Host memory.
pub const HOST: DeviceId = DeviceId { kind: crate::abi::DEVICE_HOST, id: 0 };
