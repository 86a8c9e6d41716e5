//! What a vendor implements: a plugin, and the executables that it makes.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::device::Device;
use super::error::{Error, Result};
use super::host::CallRef;
use super::options::{OptionDecl, Options};
use super::region::Region;
use super::tensor::{TensorView, TensorViewMut};
use crate::abi::DeviceId;

/// A vendor's plugin. Exported by [`export_plugin!`](crate::export_plugin).
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The options that it has; the host passes valid values for all of them.
    const OPTIONS: &'static [OptionDecl] = &[];
    const THREADS: ThreadPolicy = ThreadPolicy::Host;

    fn open(options: &Options) -> Result<Self>;

    /// By default one device, which computes in host memory.
    fn devices(&self) -> Vec<DeviceDecl> {
        Vec::new()
    }

    /// May this match be taken? `region` is the match alone; an error of category unsupported says why not.
    fn check_match(&self, region: &Region<'_>, context: &MatchContext<'_>) -> Result<()> {
        let _ = (region, context);
        Ok(())
    }

    /// What would this region cost, and which of its nodes cannot be taken after all?
    fn check_region(&self, region: &Region<'_>, context: &CheckContext<'_>) -> Result<RegionAnswer> {
        let _ = (region, context);
        Ok(RegionAnswer::default())
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>>;

    /// Makes an executable of what [`Executable::serialise`] gave; constants keep their indices.
    fn load(&self, artefact: &[u8], context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let _ = (artefact, context);
        Err(Error::unsupported("this plugin loads no artefacts"))
    }

    /// Would an artefact with this compatibility string run here? By default nothing does.
    fn check_artefact(&self, compatibility: &str) -> ArtefactAnswer {
        let _ = compatibility;
        ArtefactAnswer::Foreign
    }
}

/// Whose threads the plugin computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThreadPolicy {
    /// The host's, within its budget, through [`CallRef::parallel_for`].
    Host,
    /// So many of its own; the host parks its workers meanwhile.
    Own(u32),
}

/// A device of the plugin.
pub struct DeviceDecl {
    pub id: DeviceId,
    pub name: String,
    pub memory_bytes: Option<u64>,
    /// `None`: it computes in host memory.
    pub device: Option<Arc<dyn Device>>,
}

/// What a plugin says of a region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RegionAnswer {
    /// Time per execution that does not depend on the work; `None` where it is not known.
    pub fixed_us: Option<f64>,
    /// Time of the work itself.
    pub compute_us: Option<f64>,
    /// Nodes that it cannot take, with the reasons; the host keeps them.
    pub refused: Vec<(usize, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtefactAnswer {
    /// As good as compiled here.
    Best,
    /// It works; compiling again would give a better one.
    Works,
    /// It was made by this plugin and does not run here.
    Recompile,
    /// It is none of this plugin's.
    Foreign,
}

/// What `check_match` gets beside the match.
pub struct MatchContext<'a> {
    pub call: CallRef<'a>,
    pub(crate) region: *const crate::abi::Region,
}

/// What `check_region` gets beside the region.
pub struct CheckContext<'a> {
    pub device: DeviceId,
    pub call: CallRef<'a>,
    pub(crate) region: *const crate::abi::Region,
}

impl MatchContext<'_> {
    /// The match as an ONNX model.
    pub fn onnx(&self) -> Result<&[u8]> {
        self.call.region_onnx(self.region)
    }
}

impl CheckContext<'_> {
    /// The region as an ONNX model.
    pub fn onnx(&self) -> Result<&[u8]> {
        self.call.region_onnx(self.region)
    }
}

/// What `compile` and `load` get beside the region.
pub struct CompileContext<'a> {
    pub device: DeviceId,
    pub options: &'a Options,
    /// How many threads compiling may use.
    pub threads: usize,
    pub deadline: Option<Instant>,
    pub call: CallRef<'a>,
    pub(crate) region: Option<*const crate::abi::Region>,
    pub(crate) released: std::cell::RefCell<Vec<usize>>,
}

impl CompileContext<'_> {
    /// Says that the executable will not ask for this constant: the host may give its memory back once this call has
    /// succeeded.
    pub fn release_constant(&self, index: usize) {
        self.released.borrow_mut().push(index);
    }

    /// The region as an ONNX model; not there in `load`.
    pub fn onnx(&self) -> Result<&[u8]> {
        let region = self.region.ok_or_else(|| Error::invalid("a loaded artefact has no region"))?;
        self.call.region_onnx(region)
    }
}

/// A compiled region. Executions may overlap.
pub trait Executable: Send + Sync + 'static {
    /// Computes the outputs, in the order of the region's inputs and outputs.
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()>;

    /// What it wants of its inputs and outputs; by default dense host memory, 64-byte aligned.
    fn io(&self) -> Option<Io> {
        None
    }

    /// Bytes and alignment of scratch memory for inputs of these shapes.
    fn workspace(&self, inputs: &[TensorView<'_>]) -> Result<(usize, usize)> {
        let _ = inputs;
        Ok((0, 64))
    }

    /// Shapes of the outputs from those of the inputs; `None`: the host infers them, or leaves outputs pending.
    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        let _ = inputs;
        Ok(None)
    }

    fn serialise(&self) -> Result<Artefact> {
        Err(Error::unsupported("this executable cannot be serialised"))
    }

    /// Device time of the last execution in the given context.
    fn device_time(&self) -> Option<Duration> {
        None
    }

    /// State that one execution after the other may use; see [`ExecuteContext::state`].
    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(()))
    }
}

/// Bytes from which an executable can be made again, and what they need to run. Large constants belong to the
/// bundle, not in here: they keep their indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    pub bytes: Vec<u8>,
    pub compatibility: String,
}

/// What an executable wants of each input and output.
#[derive(Debug, Clone, Default)]
pub struct Io {
    pub inputs: Vec<IoSpec>,
    pub outputs: Vec<IoSpec>,
}

#[derive(Debug, Clone, Copy)]
pub struct IoSpec {
    pub device: DeviceId,
    /// A power of two.
    pub align: usize,
    /// For an output: the input whose memory it may be given.
    pub alias: Option<usize>,
}

/// What `execute` gets beside its tensors.
pub struct ExecuteContext<'a> {
    pub call: CallRef<'a>,
    /// Scratch memory of the size that `workspace` asked for.
    pub workspace: &'a mut [u8],
    /// The stream to enqueue on; `None`: be done on return.
    pub stream: Option<u64>,
    pub(crate) constants: &'a [Option<&'a [u8]>],
    pub(crate) state: Option<&'a mut (dyn Any + Send)>,
}

impl<'a> ExecuteContext<'a> {
    /// The content of a constant of the region, by its index there; `None` for one that was released.
    pub fn constant(&self, index: usize) -> Option<&'a [u8]> {
        self.constants.get(index).copied().flatten()
    }

    /// What [`Executable::new_context`] made, where the host has asked for it.
    pub fn state<T: Any>(&mut self) -> Option<&mut T> {
        self.state.as_mut()?.downcast_mut()
    }
}
