//! What host and worker say to each other.

use std::borrow::Cow;

use byoc_plugin::{Category, DType, DeviceId, Error, HOST, OptionKind, RegionAnswer, ThreadPolicy};
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::calls::DeviceSpan;
use crate::error::PluginError;
use crate::library::OptionInfo;
use crate::region::RegionData;

/// Which messages there are, and what they mean.
pub(super) const PROTOCOL: u32 = 2;
pub(super) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// What the host asks; each is answered by the reply named behind it, or by `Failed`.
#[derive(Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// `Hello`. First of all, on the control line.
    Hello { protocol: u32, build: Cow<'a, str>, threads: u32, limits: Limits },
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

impl DeviceText {
    /// The device of a plugin that names none.
    pub fn host() -> Self {
        DeviceText { device: device(HOST), name: "host".into(), memory_bytes: None }
    }
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

#[cfg(test)]
mod tests {
    use byoc_plugin::Dim;

    use super::*;
    use crate::region::{AttributeContent, AttributeData, NodeData, ValueData};

    fn region() -> RegionData {
        let attributes = [
            AttributeContent::Ints(vec![1, -1]),
            AttributeContent::String(bytes::Bytes::from_static(b"text")),
            AttributeContent::Tensor { dtype: DType::F32, dims: vec![1], bytes: vec![0; 4].into() },
        ];
        let attribute = |content| AttributeData { name: "a".into(), content, is_default: false };
        let node = NodeData {
            op: "Add".into(),
            inputs: vec![Some(0), None],
            outputs: vec![Some(1)],
            attributes: attributes.into_iter().map(attribute).collect(),
            ..NodeData::default()
        };
        let dims = Some(vec![Dim::Known(4), Dim::Symbol(0), Dim::Unknown]);
        let value = ValueData { name: "x".into(), dtype: Some(DType::F32), dims, ..ValueData::default() };
        RegionData { nodes: vec![node], values: vec![value.clone(), value], ..RegionData::default() }
    }

    fn typed() -> Typed {
        Typed { dtype: DType::I64, shape: vec![1, 2, 3] }
    }

    fn requests() -> Vec<Vec<u8>> {
        let constant = Constant { dtype: DType::F32, segment: 1, offset: 64, len: 16 };
        let region = region();
        let shown = Shown { region: Cow::Borrowed(&region), constants: vec![constant], has_onnx: true };
        let limits = Limits { memory: Some(1 << 30), seccomp: true };
        let requests = [
            Request::Hello { protocol: 1, build: "1.0".into(), threads: 2, limits },
            Request::Open { options: Cow::Owned(vec![("key".into(), "value".into())]) },
            Request::Compile { id: 1, region: shown, device: (1, 0), threads: 2, timeout_ns: None },
            Request::Execute {
                id: 1,
                inputs: vec![Placed { tensor: typed(), offset: 0, len: 48 }],
                outputs: vec![Wanted { tensor: typed(), place: Some((64, 48)) }],
            },
        ];
        requests.iter().map(|request| postcard::to_stdvec(request).expect("encoded")).collect()
    }

    fn replies() -> Vec<Vec<u8>> {
        let pending = Some(Pending { shape: vec![2], len: 16 });
        let span = DeviceSpan { name: "span".into(), start_ns: 1, end_ns: 2 };
        let replies = [
            Reply::Made(Made { inputs: vec![64], outputs: vec![64], concurrent: true }),
            Reply::Shapes(Some(vec![vec![1, 2], vec![3]])),
            Reply::Executed { pending: vec![pending, None], spans: vec![span], device_ns: Some(1) },
            Reply::Failed { error: Error::internal("why").at_node(1), refused: vec![(0, "no".into())] },
        ];
        replies.iter().map(|reply| postcard::to_stdvec(reply).expect("encoded")).collect()
    }

    /// Damaged messages are read as others, or refused.
    #[test]
    fn damage_is_no_more_than_an_error() {
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let (requests, replies) = (requests(), replies());
        let (mut read, mut refused) = (0, 0);
        for round in 0..20_000 {
            let is_request = round % 2 == 0;
            let messages = if is_request { &requests } else { &replies };
            let mut bytes = messages[draw(messages.len())].clone();
            for _ in 0..=draw(4) {
                let at = draw(bytes.len());
                bytes[at] = draw(256) as u8;
            }
            bytes.truncate(bytes.len() - draw(2) * draw(bytes.len()));
            let is_read = match is_request {
                true => postcard::from_bytes::<Request<'_>>(&bytes).is_ok(),
                false => postcard::from_bytes::<Reply>(&bytes).is_ok(),
            };
            *(if is_read { &mut read } else { &mut refused }) += 1;
        }
        assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
    }
}
