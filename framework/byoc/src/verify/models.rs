//! Networks of several regions: those that measuring uses, too.

use std::collections::HashMap;

use super::case::compare_with_host;
use super::job::{Answer, Subject};
use crate::{Loaded, ModelOptions, Timings, measure, random};
use byoc_cpu::reference::ReferenceEvaluator;

/// The networks by name.
pub(super) fn names() -> Result<Vec<String>, crate::Error> {
    Ok(measure::networks()?.into_iter().map(|(name, _)| name).collect())
}

/// Runs a network with the plugin and on the host.
pub(super) fn run(subject: &Subject, name: &str) -> Result<Answer, String> {
    let networks = measure::networks().map_err(|e| e.to_string())?;
    let (_, model) = networks.into_iter().find(|(n, _)| n == name).ok_or("there is no such network")?;
    let mut timings = Timings::default();
    let options = ModelOptions::default();
    let loaded = Loaded::from_model(
        std::path::Path::new(name),
        model.clone(),
        &options,
        &ReferenceEvaluator,
        &mut timings,
    )
    .map_err(|e| e.to_string())?;
    let inputs = random::fill(&loaded.model.graph, &HashMap::new(), &mut HashMap::new(), 1);
    let inputs: Vec<_> = inputs.map_err(|e| e.to_string())?.into_iter().collect();
    compare_with_host(subject, &model, &inputs)
}
