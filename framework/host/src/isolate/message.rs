//! What host and worker say to each other.

use std::borrow::Cow;

use byoc_plugin::{Category, DType, DeviceId, Error, OptionKind, RegionAnswer, ThreadPolicy};
use serde::{Deserialize, Serialize};

use crate::calls::DeviceSpan;
use crate::error::PluginError;
use crate::library::OptionInfo;
use crate::region::RegionData;

/// Which messages there are, and what they mean.
pub(super) const PROTOCOL: u32 = 1;
pub(super) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// What the host asks; each is answered by the reply named behind it, or by `Failed`.
#[derive(Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// `Hello`. First of all, on the control line.
    Hello { protocol: u32, build: Cow<'a, str>, threads: u32, memory: Option<u64> },
    /// `Loaded`.
    Load { path: Cow<'a, str> },
    /// `Opened`.
    Open { options: Cow<'a, [(String, String)]> },
    /// `Done`; a descriptor comes with it: the socket of a new line.
    Line,
    /// `Done`, and the worker ends.
    Close,

    /// `Done`; a descriptor comes with it: a segment of constants.
    Map { segment: u64, len: u64 },
    /// `Done`.
    Unmap { segments: Vec<u64> },
    /// `Done`; a descriptor comes with it: memory for the tensors of this line.
    Memory { len: u64 },

    /// `Done`.
    CheckMatch { region: Shown<'a> },
    /// `Answer`.
    CheckRegion { region: Shown<'a>, device: Device },
    /// `Made`.
    Compile { id: u64, region: Shown<'a>, device: Device, threads: u32, timeout_ns: Option<u64> },
    /// `Made`.
    LoadArtefact {
        id: u64,
        artefact: Cow<'a, [u8]>,
        constants: Vec<Constant>,
        inputs: Cow<'a, [usize]>,
        outputs: Cow<'a, [usize]>,
        device: Device,
    },
    /// `Fit`.
    CheckArtefact { compatibility: Cow<'a, str>, device: Device },
    /// The answer to the worker's `NeedOnnx`: the length of what lies in the descriptor that comes with it, or why
    /// there is none. The next reply is to what was asked before.
    Onnx { len: Result<u64, String> },

    /// `Shapes`.
    OutputShapes { id: u64, inputs: Vec<Typed> },
    /// `Executed`.
    Execute { id: u64, inputs: Vec<Placed>, outputs: Vec<Wanted> },
    /// `Done`: copies outputs that the plugin has allocated to these places.
    Fetch { offsets: Vec<Option<u64>> },
    /// `Artefact`.
    Serialise { id: u64 },
    /// `Done`.
    Destroy { id: u64 },
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Hello {
        protocol: u32,
        build: String,
    },
    Loaded(Info),
    Opened {
        devices: Vec<DeviceText>,
    },
    Done,
    Answer(RegionAnswer),
    Made(Made),
    Fit(Fit),
    NeedOnnx,
    Shapes(Option<Vec<Vec<i64>>>),
    Executed {
        pending: Vec<Option<Pending>>,
        spans: Vec<DeviceSpan>,
        device_ns: Option<u64>,
    },
    Artefact {
        bytes: Vec<u8>,
        compatibility: String,
    },
    /// The plugin's own error.
    Failed {
        error: Error,
        refused: Vec<(usize, String)>,
    },
    /// The worker could not do it.
    Refused(String),
}

/// A device by kind and number.
pub(super) type Device = (u32, u32);

pub(super) fn device(id: DeviceId) -> Device {
    (id.kind, id.id)
}

pub(super) fn device_id((kind, id): Device) -> DeviceId {
    DeviceId { kind, id }
}

/// A region, with its constants by where they lie.
#[derive(Serialize, Deserialize)]
pub(super) struct Shown<'a> {
    pub region: Cow<'a, RegionData>,
    pub constants: Vec<Constant>,
    pub has_onnx: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Constant {
    pub dtype: DType,
    pub segment: u64,
    pub offset: u64,
    pub len: u64,
}

/// What a library is, as a worker has found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Info {
    pub name: String,
    pub version: String,
    pub options: Vec<(String, OptionKind, String, String)>,
    pub threads: ThreadPolicy,
    pub minor: u32,
    pub concurrent: bool,
    pub checks_matches: bool,
}

impl Info {
    pub fn options(&self) -> Vec<OptionInfo> {
        let info = |(name, kind, default, help): &(String, OptionKind, String, String)| OptionInfo {
            name: name.clone(),
            kind: *kind,
            default: default.clone(),
            help: help.clone(),
        };
        self.options.iter().map(info).collect()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeviceText {
    pub device: Device,
    pub name: String,
    pub memory_bytes: Option<u64>,
}

/// A compiled region: the alignment of each input and output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub inputs: Vec<u64>,
    pub outputs: Vec<u64>,
    pub concurrent: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Fit {
    Best,
    Works,
    Recompile,
    Foreign,
}

/// An input without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Typed {
    pub dtype: DType,
    pub shape: Vec<i64>,
}

/// A tensor in the line's memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    pub tensor: Typed,
    pub offset: u64,
    pub len: u64,
}

/// An output: where it goes, or that the plugin allocates it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub tensor: Typed,
    pub place: Option<(u64, u64)>,
}

/// An output that the plugin has allocated.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    pub shape: Vec<i64>,
    pub len: u64,
}

impl From<PluginError> for Reply {
    fn from(error: PluginError) -> Self {
        Reply::Failed { error: error.error, refused: error.refused }
    }
}

impl Reply {
    /// An error of the plugin's that is the host's fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Reply::Failed { error: Error::new(Category::Invalid, message), refused: Vec::new() }
    }
}
