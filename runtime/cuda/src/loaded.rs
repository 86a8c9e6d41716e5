//! The kernels of a program's steps, each compiled and loaded when it is first wanted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use byoc_plugin::{CompileContext, Error, Result};

use crate::artefact::FAMILY;
use crate::cache::{Cache, digest};
use crate::driver::Function;
use crate::gpu::Gpu;
use crate::kernel::Source;
use crate::nvrtc::Nvrtc;
use crate::program::{Action, Program};

/// What makes kernels of sources.
pub struct Maker {
    pub nvrtc: Nvrtc,
    pub cache: Cache,
    /// From artefacts, by the digest of the source.
    pub kept: Mutex<BTreeMap<String, Vec<u8>>>,
}

pub struct Kernels {
    gpu: Arc<Gpu>,
    maker: Arc<Maker>,
    /// By step, then as the step's kernel has them; none for views.
    sources: Vec<Vec<Source>>,
    loaded: Vec<Vec<OnceLock<Function>>>,
}

impl Maker {
    pub fn compatibility(&self, gpu: &Gpu) -> String {
        let (major, minor) = self.nvrtc.version;
        format!("{FAMILY}{} nvrtc {major}.{minor}", gpu.architecture)
    }

    /// Takes code that was made before.
    pub fn keep(&self, images: BTreeMap<String, Vec<u8>>) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(images);
    }

    /// Code that was taken.
    pub fn kept(&self, source: &Source) -> Option<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key(source)).cloned()
    }
}

fn key(source: &Source) -> String {
    digest([source.whole().as_bytes()])
}

impl Kernels {
    pub fn new(program: &Program, gpu: &Arc<Gpu>, maker: &Arc<Maker>) -> Kernels {
        let sources = program.steps.iter().map(|step| match &step.action {
            Action::Kernel(kernel) => kernel.sources(),
            Action::View(_) => Vec::new(),
        });
        let sources: Vec<Vec<Source>> = sources.collect();
        let loaded = sources.iter().map(|own| own.iter().map(|_| OnceLock::new()).collect()).collect();
        Kernels { gpu: Arc::clone(gpu), maker: Arc::clone(maker), sources, loaded }
    }

    /// All sources, each by its step and its place there.
    pub fn all(&self) -> Vec<(usize, usize)> {
        let own = |(step, own): (usize, &Vec<Source>)| (0..own.len()).map(move |source| (step, source));
        self.sources.iter().enumerate().flat_map(own).collect()
    }

    pub fn get(&self, step: usize, source: usize) -> Result<Function> {
        let (Some(text), Some(place)) = (self.sources[step].get(source), self.loaded[step].get(source))
        else {
            return Err(Error::internal("a step has no such kernel"));
        };
        if let Some(function) = place.get() {
            return Ok(*function);
        }
        let function = self.gpu.kernel(text, &self.maker)?;
        Ok(*place.get_or_init(|| function))
    }

    /// Compiles what is wanted, on as many threads as the host lends.
    pub fn prepare(&self, wanted: &[(usize, usize)], context: &CompileContext<'_>) -> Result<()> {
        let text = |(step, source): &(usize, usize)| &self.sources[*step][*source];
        // Each text once, by its first step.
        let first = |at: &usize| !wanted[..*at].iter().any(|earlier| text(earlier) == text(&wanted[*at]));
        let first: Vec<usize> = (0..wanted.len()).filter(first).collect();
        let failed = Mutex::new(None);
        context.call.parallel_for(first.len(), |index| {
            let (step, source) = wanted[first[index]];
            if let Err(error) = self.get(step, source) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        })?;
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => wanted.iter().try_for_each(|(step, source)| self.get(*step, *source).map(drop)),
        }
    }

    /// The code of what is loaded, by the digest of its source.
    pub fn images(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let each = self.sources.iter().flatten().zip(self.loaded.iter().flatten());
        let there = each.filter(|(_, loaded)| loaded.get().is_some());
        there.map(|(source, _)| Ok((key(source), self.gpu.image(source, &self.maker)?))).collect()
    }

    /// What tells code that runs here.
    pub fn compatibility(&self) -> String {
        self.maker.compatibility(&self.gpu)
    }

    /// Writes all sources to a folder, for people to read.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let written = self.sources.iter().flatten().try_for_each(|source| source.write(folder));
        written.map_err(|e| Error::invalid(format!("cuda.sources={}: {e}", folder.display())))
    }
}
