//! What vendors take of a quantised model.

use std::collections::HashSet;
use std::path::Path;

use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::Model;

use super::QuantizeOptions;
use crate::compile::partition_loaded;
use crate::loaded::{Loaded, ModelOptions};
use crate::measure::ProfileSource;
use crate::{Error, Placement, Policy, Timings};

/// The names of all nodes that vendors take of the main graph.
pub fn taken(path: &Path, model: &Model, options: &QuantizeOptions) -> Result<HashSet<String>, Error> {
    let (mut timings, model_options) = (Timings::default(), ModelOptions::default());
    let loaded = Loaded::from_model(path, model.clone(), &model_options, &ReferenceEvaluator, &mut timings)?;
    let placement =
        Placement { policy: Some(Policy::Greedy), profile: ProfileSource::None, ..Placement::default() };
    let (vendors, plugins) = (&options.vendors, &options.plugin_options);
    let placed = partition_loaded(loaded, &model_options, vendors, plugins, &placement, &mut timings)?;
    let regions = placed.report.regions.into_iter().filter(|region| region.graph == "main");
    Ok(regions.flat_map(|region| region.nodes).collect())
}
