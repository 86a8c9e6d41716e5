//! The calls into an isolated plugin, as [`Plugin`](crate::Plugin) and [`Compiled`](crate::Compiled) make them.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use byoc_plugin::{Category, DType, DeviceId, Error, RegionAnswer};

use super::frame::{Broken, encode};
use super::keeper::{Keeper, Question, Recipe};
use super::message::{
    Constant, Device, Fit, Made, Pending, Placed, Reply, Request, Shown, Typed, Wanted, device,
};
use super::process::{Line, lock, unexpected};
use super::weights::Place;
use crate::compiled::{ArtefactBytes, Executed, IoSpec, Output, OutputMemory, Signature};
use crate::error::PluginError;
use crate::memory::AlignedBuffer;
use crate::plugin::{ArtefactFit, CompileRequest};
use crate::region::{ConstantData, OnnxSource, RegionData};
use crate::tensor::{TensorData, TensorRef};

/// What an executable in a worker may want of the alignment of its tensors: a page.
const MOST_ALIGN: u64 = 4096;
/// What has taken so long to compile is kept as an artefact, for the worker after this one.
const SLOW: Duration = Duration::from_secs(1);

impl Keeper {
    pub(crate) fn check_match(self: &Arc<Self>, match_: &RegionData) -> Result<(), PluginError> {
        let make = |region| Request::CheckMatch { region };
        match self.ask_about("check_match", match_, make)?.0 {
            Reply::Done => Ok(()),
            _ => Err(self.confused("check_match")),
        }
    }

    pub(crate) fn check_region(
        self: &Arc<Self>,
        region: &RegionData,
        on: DeviceId,
    ) -> Result<RegionAnswer, PluginError> {
        let make = |region| Request::CheckRegion { region, device: device(on) };
        match self.ask_about("check_region", region, make)?.0 {
            Reply::Answer(mut answer) => {
                answer.refused.retain(|(node, _)| *node < region.nodes.len());
                Ok(answer)
            }
            _ => Err(self.confused("check_region")),
        }
    }

    pub(crate) fn compile(
        self: &Arc<Self>,
        request: &CompileRequest<'_>,
    ) -> Result<RemoteExecutable, PluginError> {
        let (id, start) = (self.new_executable(), Instant::now());
        let timeout_ns = request.timeout.map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        let (on, threads) = (device(request.device), request.threads);
        let make = |region| Request::Compile { id, region, device: on, threads, timeout_ns };
        let (reply, message, places) = self.ask_about("compile", request.region, make)?;
        let reload = Reload {
            constants: placed(&request.region.constants, &places),
            signature: Signature::of(request.region),
            device: on,
        };
        let recipe = (message, places, request.region.onnx.clone());
        let executable = self.executable("compile", id, reply, recipe, reload)?;
        if start.elapsed() >= SLOW {
            // Not every plugin has artefacts.
            let _ = executable.serialise();
        }
        Ok(executable)
    }

    pub(crate) fn load(
        self: &Arc<Self>,
        artefact: &[u8],
        constants: &[ConstantData],
        signature: &Signature,
        on: DeviceId,
    ) -> Result<RemoteExecutable, PluginError> {
        let id = self.new_executable();
        let places = self.places("load", constants)?;
        let (constants, signature, device) = (placed(constants, &places), signature.clone(), device(on));
        let reload = Reload { constants, signature, device };
        let message = reload.message(id, artefact).map_err(|e| self.confused_by("load", &e))?;
        let subject = ("load", 0);
        let reply = self.ask(&Question { subject, message: &message, places: &places, onnx: None })?;
        self.executable("load", id, reply, (message, places, None), reload)
    }

    pub(crate) fn check_artefact(
        self: &Arc<Self>,
        compatibility: &str,
        on: DeviceId,
    ) -> Result<ArtefactFit, PluginError> {
        let request = Request::CheckArtefact { compatibility: compatibility.into(), device: device(on) };
        let message = encode(&request).map_err(|e| self.confused_by("check_artefact", &e))?;
        let subject = ("check_artefact", 0);
        match self.ask(&Question { subject, message: &message, places: &[], onnx: None })? {
            Reply::Fit(Fit::Best) => Ok(ArtefactFit::Best),
            Reply::Fit(Fit::Works) => Ok(ArtefactFit::Works),
            Reply::Fit(Fit::Recompile) => Ok(ArtefactFit::Recompile),
            Reply::Fit(Fit::Foreign) => Ok(ArtefactFit::Foreign),
            _ => Err(self.confused("check_artefact")),
        }
    }

    /// Asks about a region; gives what the question was, too.
    fn ask_about<'a>(
        self: &Arc<Self>,
        call: &'static str,
        region: &'a RegionData,
        make: impl FnOnce(Shown<'a>) -> Request<'a>,
    ) -> Result<(Reply, Vec<u8>, Vec<Place>), PluginError> {
        let places = self.places(call, &region.constants)?;
        let shown = Shown {
            region: Cow::Borrowed(region),
            constants: placed(&region.constants, &places),
            has_onnx: region.onnx.is_some(),
        };
        let message = encode(&make(shown)).map_err(|e| self.confused_by(call, &e))?;
        let (subject, onnx) = ((call, 0), region.onnx.as_ref());
        let reply = self.ask(&Question { subject, message: &message, places: &places, onnx })?;
        Ok((reply, message, places))
    }

    fn places(&self, call: &'static str, constants: &[ConstantData]) -> Result<Vec<Place>, PluginError> {
        let places = self.store().places(constants);
        places.map_err(|e| {
            let message = format!("no shared memory for the constants: {e}");
            self.error(call, Error::new(Category::OutOfMemory, message))
        })
    }

    fn executable(
        self: &Arc<Self>,
        call: &'static str,
        id: u64,
        reply: Reply,
        (message, places, onnx): (Vec<u8>, Vec<Place>, Option<OnnxSource>),
        reload: Reload,
    ) -> Result<RemoteExecutable, PluginError> {
        let Reply::Made(made) = reply else { return Err(self.confused(call)) };
        let good = |aligns: &[u64], count: usize| {
            aligns.len() == count && aligns.iter().all(|a| a.is_power_of_two() && *a <= MOST_ALIGN)
        };
        let keeper = Arc::clone(self);
        // Destroyed where it is of no use.
        let (inputs, outputs) = (reload.signature.inputs.len(), reload.signature.outputs.len());
        let shapes = Mutex::new(None);
        let executable = RemoteExecutable { keeper, id, made: made.clone(), shapes, reload };
        if !good(&made.inputs, inputs) || !good(&made.outputs, outputs) {
            let what =
                "its inputs or outputs are not those of the region, or want more than a page of alignment";
            return Err(self.error(call, Error::internal(what)));
        }
        let (loads, artefact) = (call == "load", OnceLock::new());
        self.keep(id, Recipe { message, places, onnx, made, loads, artefact });
        Ok(executable)
    }

    fn confused(&self, call: &'static str) -> PluginError {
        self.confused_by(call, &unexpected())
    }

    fn confused_by(&self, call: &'static str, what: &Broken) -> PluginError {
        self.error(call, Error::internal(what.to_string()))
    }
}

fn placed(constants: &[ConstantData], places: &[Place]) -> Vec<Constant> {
    let constant = |(constant, place): (&ConstantData, &Place)| Constant {
        dtype: constant.dtype,
        segment: place.segment.id,
        offset: place.offset,
        len: place.len,
    };
    constants.iter().zip(places).map(constant).collect()
}

/// Shapes of the outputs, where an executable can tell.
type OutputShapes = Option<Vec<Vec<i64>>>;

/// A compiled region in a worker.
pub(crate) struct RemoteExecutable {
    keeper: Arc<Keeper>,
    id: u64,
    made: Made,
    /// The last input shapes that it was asked about, and the answer.
    shapes: Mutex<Option<(Vec<Typed>, OutputShapes)>>,
    reload: Reload,
}

/// What a region needs beside its artefact.
struct Reload {
    constants: Vec<Constant>,
    signature: Signature,
    device: Device,
}

impl Reload {
    fn message(&self, id: u64, artefact: &[u8]) -> Result<Vec<u8>, Broken> {
        encode(&Request::LoadArtefact {
            id,
            artefact: artefact.into(),
            constants: self.constants.clone(),
            inputs: Cow::Borrowed(&self.signature.inputs),
            outputs: Cow::Borrowed(&self.signature.outputs),
            device: self.device,
        })
    }
}

impl RemoteExecutable {
    pub fn is_concurrent(&self) -> bool {
        self.made.concurrent
    }

    /// What it wants of inputs and outputs: all are in host memory.
    pub fn io(&self) -> (Vec<IoSpec>, Vec<IoSpec>) {
        let spec = |align: &u64| IoSpec { device: byoc_plugin::HOST, align: *align as usize, alias: None };
        (self.made.inputs.iter().map(spec).collect(), self.made.outputs.iter().map(spec).collect())
    }

    pub fn output_shapes(&self, inputs: &[TensorRef<'_>]) -> Result<OutputShapes, PluginError> {
        let known = lock(&self.shapes);
        if let Some((asked, shapes)) = known.as_ref()
            && asked.len() == inputs.len()
            && asked.iter().zip(inputs).all(|(a, b)| a.dtype == b.dtype && a.shape == b.shape)
        {
            return Ok(shapes.clone());
        }
        drop(known);
        let asked: Vec<Typed> = inputs.iter().map(typed).collect();
        let request = Request::OutputShapes { id: self.id, inputs: asked.clone() };
        let reply = self.keeper.talk(("output_shapes", self.id), |line| line.ask(&request, &[]))?;
        let Reply::Shapes(shapes) = reply else { return Err(self.keeper.confused("output_shapes")) };
        if shapes.as_ref().is_some_and(|shapes| shapes.len() != self.made.outputs.len()) {
            return Err(self.keeper.confused("output_shapes"));
        }
        *lock(&self.shapes) = Some((asked, shapes.clone()));
        Ok(shapes)
    }

    /// Computes; the device's time comes beside what it leaves behind.
    pub fn execute(
        &self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(Executed, Option<Duration>), PluginError> {
        let Layout { inputs: placed, outputs: wanted, len } = self.layout(inputs, outputs)?;
        let places: Vec<Option<u64>> = wanted.iter().map(|w| w.place.map(|(offset, _)| offset)).collect();
        let request = |placed, wanted| Request::Execute { id: self.id, inputs: placed, outputs: wanted };
        let mut allocated = Vec::new();
        let reply = self.keeper.talk(("execute", self.id), |line| {
            let memory = line.memory(len)?;
            for (input, placed) in inputs.iter().zip(&placed) {
                if let TensorData::Host(bytes) = input.data {
                    memory.write(placed.offset as usize, bytes);
                }
            }
            let reply = line.ask(&request(placed, wanted), &[])?;
            if let Reply::Executed { pending, .. } = &reply {
                let memory = line.memory(len)?;
                for (output, place) in outputs.iter_mut().zip(&places) {
                    if let (OutputMemory::Host(bytes), Some(offset)) = (&mut output.memory, place) {
                        memory.read(*offset as usize, bytes);
                    }
                }
                allocated = fetch(line, outputs, pending)?;
            }
            Ok(reply)
        })?;
        match reply {
            Reply::Executed { spans, device_ns, .. } => {
                Ok((Executed { allocated, spans }, device_ns.map(Duration::from_nanos)))
            }
            _ => Err(self.keeper.confused("execute")),
        }
    }

    /// Where everything lies in the line's memory.
    fn layout(&self, inputs: &[TensorRef<'_>], outputs: &[Output<'_>]) -> Result<Layout, PluginError> {
        let error = |what: &str| self.keeper.error("execute", Error::invalid(what));
        let mut layout = Layout { inputs: Vec::new(), outputs: Vec::new(), len: 0 };
        for (input, align) in inputs.iter().zip(&self.made.inputs) {
            let TensorData::Host(bytes) = input.data else {
                return Err(error("an isolated plugin takes host memory"));
            };
            let place = layout.place(bytes.len(), *align);
            let (offset, len) = place.ok_or_else(|| error("the inputs are too large"))?;
            layout.inputs.push(Placed { tensor: typed(input), offset, len });
        }
        for (output, align) in outputs.iter().zip(&self.made.outputs) {
            let place = match &output.memory {
                OutputMemory::Host(bytes) => {
                    let place = layout.place(bytes.len(), *align);
                    Some(place.ok_or_else(|| error("the outputs are too large"))?)
                }
                OutputMemory::Pending => None,
                OutputMemory::Device { .. } => return Err(error("an isolated plugin makes host memory")),
            };
            let tensor = Typed { dtype: output.dtype, shape: output.shape.to_vec() };
            layout.outputs.push(Wanted { tensor, place });
        }
        Ok(layout)
    }

    pub fn serialise(&self) -> Result<ArtefactBytes, PluginError> {
        let request = Request::Serialise { id: self.id };
        match self.keeper.talk(("serialise", self.id), |line| line.ask(&request, &[]))? {
            Reply::Artefact { bytes, compatibility } => {
                if let Ok(message) = self.reload.message(self.id, &bytes) {
                    self.keeper.keep_artefact(self.id, message);
                }
                Ok(ArtefactBytes { bytes, compatibility })
            }
            _ => Err(self.keeper.confused("serialise")),
        }
    }
}

impl Drop for RemoteExecutable {
    fn drop(&mut self) {
        self.keeper.destroy(self.id);
    }
}

struct Layout {
    inputs: Vec<Placed>,
    outputs: Vec<Wanted>,
    len: usize,
}

impl Layout {
    /// Room for so many bytes: offset and length.
    fn place(&mut self, len: usize, align: u64) -> Option<(u64, u64)> {
        let align = (align as usize).max(AlignedBuffer::ALIGN);
        let offset = self.len.checked_next_multiple_of(align)?;
        self.len = offset.checked_add(len)?;
        Some((offset as u64, len as u64))
    }
}

fn typed(tensor: &TensorRef<'_>) -> Typed {
    Typed { dtype: tensor.dtype, shape: tensor.shape.to_vec() }
}

type Allocated = Vec<Option<(Vec<i64>, AlignedBuffer)>>;

/// Gets the outputs that the plugin has allocated. The line's memory is theirs from now on.
fn fetch(line: &mut Line, outputs: &[Output<'_>], pending: &[Option<Pending>]) -> Result<Allocated, Broken> {
    if pending.len() != outputs.len() {
        return Err(unexpected());
    }
    let mut layout = Layout { inputs: Vec::new(), outputs: Vec::new(), len: 0 };
    let mut offsets = Vec::new();
    for (output, pending) in outputs.iter().zip(pending) {
        let offset = match (&output.memory, pending) {
            (OutputMemory::Pending, Some(pending)) => {
                let len = byte_len(output.dtype, &pending.shape).filter(|len| *len as u64 == pending.len);
                let place = len.and_then(|len| layout.place(len, 1));
                Some(place.ok_or_else(unexpected)?.0)
            }
            (OutputMemory::Pending, None) | (_, Some(_)) => return Err(unexpected()),
            _ => None,
        };
        offsets.push(offset);
    }
    if offsets.iter().all(Option::is_none) {
        return Ok(pending.iter().map(|_| None).collect());
    }
    line.memory(layout.len)?;
    line.expect_done(&Request::Fetch { offsets: offsets.clone() }, &[])?;
    let memory = line.memory(layout.len)?;
    let copy = |(pending, offset): (&Option<Pending>, &Option<u64>)| {
        let (Some(pending), Some(offset)) = (pending, offset) else { return Ok(None) };
        let buffer = AlignedBuffer::new(pending.len as usize, AlignedBuffer::ALIGN);
        let mut buffer =
            buffer.ok_or_else(|| Broken::Malformed("it made more than there is memory".into()))?;
        memory.read(*offset as usize, buffer.as_mut_slice());
        Ok(Some((pending.shape.clone(), buffer)))
    };
    pending.iter().zip(&offsets).map(copy).collect()
}

fn byte_len(dtype: DType, shape: &[i64]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?));
    dtype.byte_len(elements?)
}
