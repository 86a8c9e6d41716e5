//! From a partitioned model and its compiled regions to a program.
//!
//! Inputs with defaults are seldom given, but may be, so nothing can be known of what hangs on them. Therefore two
//! programs are made of a model with such inputs: one that has the defaults for constants, and, once a run gives one of
//! those inputs, one that does not.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_cpu::fast::Isa;
use byoc_cpu::fast::gemm::Precision;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_cpu::{Observer, Registry};
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Datum, Model, Node, normalise};
use byoc_runtime::{
    InputError, Options, OutputBuffer, Program, Region, Regions, RunError, TOGETHER, View, prepare, signature,
};

use crate::Error;
use crate::loaded::SETTLE_DEFAULTS;
use crate::regions::VendorRegion;

/// Compiled regions by their names.
pub(crate) type RegionsByName = HashMap<Arc<str>, Arc<VendorRegion>>;

/// What a program is built with beside the model.
pub(crate) struct ProgramParts<'a> {
    pub regions: &'a RegionsByName,
    pub registry: &'a Registry,
    pub pool: &'a Arc<ThreadPool>,
    /// Which passes prepare the host's part.
    pub enables: &'a dyn Fn(&str) -> bool,
    /// How precisely weights of the host's products are kept.
    pub precision: Precision,
    /// Whether results are compared with the types that were inferred.
    pub check_types: bool,
}

/// A program, and which of the model's inputs it takes.
pub(crate) struct Runner {
    program: Program,
    /// How many inputs the model has.
    inputs: usize,
    /// `None`: all of them.
    takes: Option<Vec<usize>>,
}

impl Runner {
    /// Runs the program on the model's inputs.
    pub fn run(
        &self,
        inputs: &[Option<View<'_>>],
        buffers: &mut [Option<OutputBuffer<'_>>],
        observer: Option<&dyn Observer>,
    ) -> Result<Vec<Datum>, RunError> {
        let Some(takes) = &self.takes else { return self.program.run_observed(inputs, buffers, observer) };
        if inputs.len() != self.inputs {
            return Err(InputError::Count { expected: self.inputs, got: inputs.len() }.into());
        }
        let taken: Vec<_> = takes.iter().map(|&i| inputs[i]).collect();
        self.program.run_observed(&taken, buffers, observer)
    }
}

impl ProgramParts<'_> {
    /// The program of a partitioned model. If `settled`, inputs with defaults are never given to it.
    pub fn runner(&self, mut model: Model, settled: bool) -> Result<Runner, Error> {
        let (inputs, _) = signature(&model);
        let has_defaults = inputs.iter().any(|input| input.default.is_some());
        let takes = (settled && has_defaults && (self.enables)(SETTLE_DEFAULTS)).then(|| {
            let open = inputs.iter().enumerate().filter(|(_, input)| input.default.is_none());
            open.map(|(i, _)| i).collect()
        });
        if takes.is_some() {
            model.graph.fix_defaults();
            infer(&mut model, &InferOptions::default())?;
            normalise::normalise(&mut model, &ReferenceEvaluator, self.enables);
            infer(&mut model, &InferOptions::default())?;
        }
        Ok(Runner { program: self.build(model)?, inputs: inputs.len(), takes })
    }

    /// The program of a partitioned model.
    pub fn build(&self, mut model: Model) -> Result<Program, Error> {
        prepare::prepare(&mut model, self.enables);
        prepare::reduce(&mut model, self.precision);
        let options = Options {
            registry: self.registry,
            regions: &Calls { regions: self.regions },
            pool: self.pool.clone(),
            isa: Isa::detect(),
            check_types: self.check_types,
            together: (self.enables)(TOGETHER),
        };
        Ok(Program::build(&model, &options)?)
    }
}

/// The regions that calls in the partitioned model stand for.
struct Calls<'a> {
    regions: &'a RegionsByName,
}

impl Regions for Calls<'_> {
    fn region(&self, call: &Node) -> Option<Region> {
        let region = self.regions.get(&call.op.name)?;
        if call.op.domain.strip_prefix("byoc.") != Some(region.vendor()) {
            return None;
        }
        // The region's inputs come first; its constants, which the vendor holds, behind them.
        let takes = (0..call.inputs().len()).map(|i| i < region.input_count()).collect();
        Some(Region { executable: region.clone(), takes })
    }
}
