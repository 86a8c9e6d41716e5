//! One line of a worker: a thread that answers one question after the other.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::frame::{Broken, Channel};
use super::super::message::{self, Constant, Fit, Pending, Reply, Request, Shown, device_id};
use super::super::process::lock;
use super::super::shared::{Shared, only, piece};
use super::Server;
use crate::calls::CallEnv;
use crate::compiled::Signature;
use crate::memory::AlignedBuffer;
use crate::plugin::{ArtefactFit, CompileRequest};
use crate::region::{ConstantData, OnnxSource, RegionData};

/// Constants that are mapped, by segment.
pub(super) type Segments = Mutex<HashMap<u64, Arc<Shared>>>;

pub(super) struct Line {
    server: Arc<Server>,
    /// The plugin may need it while a question is being answered: for the ONNX form.
    channel: Arc<Mutex<Channel>>,
    /// For tensors.
    memory: Option<Shared>,
    /// Outputs of the last execution that the plugin has allocated.
    pending: Vec<Option<(Vec<i64>, AlignedBuffer)>>,
}

/// What a question comes to: its answer, or the answer that there is none.
type Answer = Result<Reply, Reply>;

impl Line {
    pub fn new(server: Arc<Server>, channel: Channel) -> Self {
        Line { server, channel: Arc::new(Mutex::new(channel)), memory: None, pending: Vec::new() }
    }

    pub fn serve(mut self) {
        loop {
            let received = lock(&self.channel).receive::<Request<'static>>();
            let Ok((request, fds)) = received else { return };
            self.server.count(true);
            let reply = self.answer(request, fds).unwrap_or_else(|reply| reply);
            self.server.count(false);
            if lock(&self.channel).send(&reply, &[]).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, request: Request<'static>, fds: Vec<OwnedFd>) -> Answer {
        match request {
            Request::Map { segment, len } => {
                let shared = map(fds, len, false)?;
                lock(&self.server.segments).insert(segment, Arc::new(shared));
                Ok(Reply::Done)
            }
            Request::Unmap { segments } => {
                // Constants that are still lent hold on to theirs.
                segments.iter().for_each(|id| drop(lock(&self.server.segments).remove(id)));
                Ok(Reply::Done)
            }
            Request::Memory { len } => {
                self.memory = Some(map(fds, len, true)?);
                Ok(Reply::Done)
            }
            Request::Fetch { offsets } => self.fetch(&offsets),
            Request::Execute { id, inputs, outputs } => {
                let memory = self.memory.as_ref().ok_or_else(|| Reply::invalid("the line has no memory"))?;
                let held = self.server.executables.get(id)?;
                let done = held.execute(memory, &inputs, &outputs, self.env())?;
                let pending = |(shape, buffer): &(Vec<i64>, AlignedBuffer)| Pending {
                    shape: shape.clone(),
                    len: buffer.len() as u64,
                };
                self.pending = done.allocated;
                let pending = self.pending.iter().map(|made| made.as_ref().map(pending)).collect();
                Ok(Reply::Executed { pending, spans: done.spans, device_ns: done.device_ns })
            }
            Request::OutputShapes { id, inputs } => {
                Ok(Reply::Shapes(self.server.executables.get(id)?.output_shapes(&inputs, self.env())?))
            }
            Request::Serialise { id } => self.server.executables.get(id)?.serialise(),
            Request::Destroy { id } => {
                self.server.executables.destroy(id);
                Ok(Reply::Done)
            }
            other => self.ask_plugin(other),
        }
    }

    fn ask_plugin(&self, request: Request<'static>) -> Answer {
        let plugin = lock(&self.server.plugin).clone();
        let plugin = plugin.ok_or_else(|| Reply::Refused("no plugin is open".into()))?;
        match request {
            Request::CheckMatch { region } => {
                let region = self.region(region)?;
                plugin.check_match(&region, self.env())?;
                Ok(Reply::Done)
            }
            Request::CheckRegion { region, device } => {
                let region = self.region(region)?;
                Ok(Reply::Answer(plugin.check_region(&region, device_id(device), self.env())?))
            }
            Request::Compile { id, region, device, threads, timeout_ns } => {
                let (region, timeout) = (self.region(region)?, timeout_ns.map(Duration::from_nanos));
                let (device, env) = (device_id(device), self.env());
                let request = CompileRequest { region: &region, device, threads, timeout, env };
                Ok(self.server.executables.add(id, plugin.compile(&request)?))
            }
            Request::LoadArtefact { id, artefact, constants, inputs, outputs, device } => {
                let signature = Signature { inputs: inputs.into_owned(), outputs: outputs.into_owned() };
                let (constants, device) = (self.constants(&constants)?, device_id(device));
                let loaded = plugin.load(&artefact, &constants, signature, device, self.env())?;
                Ok(self.server.executables.add(id, loaded))
            }
            Request::CheckArtefact { compatibility, device } => {
                Ok(Reply::Fit(match plugin.check_artefact(&compatibility, device_id(device))? {
                    ArtefactFit::Best => Fit::Best,
                    ArtefactFit::Works => Fit::Works,
                    ArtefactFit::Recompile => Fit::Recompile,
                    ArtefactFit::Foreign => Fit::Foreign,
                }))
            }
            _ => Err(Reply::Refused("that belongs on the control line".into())),
        }
    }

    fn env(&self) -> CallEnv<'_> {
        match self.server.pool.get() {
            Some(pool) => CallEnv { pool: &**pool, stop: None },
            None => CallEnv::default(),
        }
    }

    /// The region as it was shown to the host.
    fn region(&self, shown: Shown<'static>) -> Result<RegionData, Reply> {
        let constants = self.constants(&shown.constants)?;
        let onnx = shown.has_onnx.then(|| {
            let channel = Arc::clone(&self.channel);
            OnnxSource(Arc::new(move || ask_for_onnx(&channel)))
        });
        Ok(RegionData { constants, onnx, ..shown.region.into_owned() })
    }

    fn constants(&self, constants: &[Constant]) -> Result<Vec<ConstantData>, Reply> {
        let segments = lock(&self.server.segments);
        let constant = |constant: &Constant| {
            let shared = segments.get(&constant.segment)?;
            Some(ConstantData { dtype: constant.dtype, bytes: piece(shared, constant.offset, constant.len)? })
        };
        let all: Option<Vec<_>> = constants.iter().map(constant).collect();
        all.ok_or_else(|| Reply::Refused("a constant lies nowhere".into()))
    }

    fn fetch(&mut self, offsets: &[Option<u64>]) -> Answer {
        let memory = self.memory.as_ref().ok_or_else(|| Reply::invalid("the line has no memory"))?;
        for (made, offset) in std::mem::take(&mut self.pending).iter().zip(offsets) {
            if let (Some((_, buffer)), Some(offset)) = (made, offset)
                && !memory.write(usize::try_from(*offset).unwrap_or(usize::MAX), buffer)
            {
                return Err(Reply::Refused("an output does not fit the line's memory".into()));
            }
        }
        Ok(Reply::Done)
    }
}

fn map(fds: Vec<OwnedFd>, len: u64, writable: bool) -> Result<Shared, Reply> {
    let refused = |why: String| Reply::Refused(why);
    let fd = only(fds).ok_or_else(|| refused("there is no descriptor of memory".into()))?;
    let len = usize::try_from(len).map_err(|_| refused("memory is too large".into()))?;
    Shared::map(fd.as_fd(), len, writable).map_err(|e| refused(e.to_string()))
}

/// Asks the host for the ONNX form of the region that it is asking about.
fn ask_for_onnx(channel: &Mutex<Channel>) -> Result<Vec<u8>, String> {
    let text = |broken: Broken| broken.to_string();
    let mut channel = lock(channel);
    channel.send(&Reply::NeedOnnx, &[]).map_err(text)?;
    let (message::Request::Onnx { len }, fds) = channel.receive().map_err(text)? else {
        return Err("the host gives no ONNX form".into());
    };
    let len = usize::try_from(len?).map_err(|e| e.to_string())?;
    let fd = only(fds).ok_or("the host gives no descriptor of the ONNX form")?;
    let shared = Shared::map(fd.as_fd(), len.max(1), false).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; len];
    shared.read(0, &mut bytes);
    Ok(bytes)
}
