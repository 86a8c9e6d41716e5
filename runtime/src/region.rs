//! What the runtime asks of a vendor's compiled region.

use std::sync::Arc;

use byoc_cpu::{Ctx, Kernel, KernelError, Outputs, View};
use byoc_graph::Node;

/// A region that a vendor has compiled.
pub trait RegionExecutable: Send + Sync {
    /// Where it runs: `vendor` or `vendor:device`.
    fn target(&self) -> &str;

    /// Runs it on host memory. Called from several threads at once.
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError>;
}

/// A region and how a call of it is to be read.
#[derive(Clone)]
pub struct Region {
    pub executable: Arc<dyn RegionExecutable>,
    /// Which of the call's inputs it takes when it runs; the others are constants that it holds.
    pub takes: Vec<bool>,
}

/// Finds the compiled region of a call of a function `byoc.<vendor>.<name>`.
pub trait Regions {
    /// `None`: there is none, and the host runs the function's body.
    fn region(&self, call: &Node) -> Option<Region>;
}

/// No regions: everything runs on the host.
pub struct NoRegions;

impl Regions for NoRegions {
    fn region(&self, _: &Node) -> Option<Region> {
        None
    }
}

/// A region as a step's kernel.
pub(crate) struct RegionKernel(pub Region);

impl Kernel for RegionKernel {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let taken = inputs.iter().zip(&self.0.takes).filter(|(_, takes)| **takes);
        let inputs: smallvec::SmallVec<[_; 8]> = taken.map(|(input, _)| *input).collect();
        self.0.executable.run(ctx, &inputs, outputs)
    }

    fn owns_input(&self, input: usize) -> bool {
        !self.0.takes.get(input).copied().unwrap_or(false)
    }
}
