//! From a partitioned model and its compiled regions to a program.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_graph::{Model, Node};
use byoc_runtime::{Options, Program, Region, Regions, prepare};

use crate::Error;
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
    /// Whether results are compared with the types that were inferred.
    pub check_types: bool,
}

impl ProgramParts<'_> {
    /// The program of a partitioned model.
    pub fn build(&self, mut model: Model) -> Result<Program, Error> {
        prepare::prepare(&mut model, self.enables);
        let options = Options {
            registry: self.registry,
            regions: &Calls { regions: self.regions },
            pool: self.pool.clone(),
            isa: Isa::detect(),
            check_types: self.check_types,
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
