//! What a region costs beside its call: the host hands over, finds its caches cold, and fuses less.
//!
//! It is found from whole runs of a model: one with as few regions as there are, others with every second or third
//! composite left on the host. By what they take longer than their parts is due to the regions that were added.

use byoc_graph::Model;
use byoc_partitioner::cost::Estimate;
use byoc_partitioner::{CostModel, Denied, Kind, Options, Partition, predict};
use byoc_plugin::table::PatternTable;

use super::fit::rounded;
use super::median;
use super::vendor::RegionTimer;
use crate::Error;

/// Of so many composites one stays on the host, the first of them at this place.
const THINNED: [(usize, usize); 3] = [(2, 0), (2, 1), (3, 1)];

/// A factor of ten: nothing is known then but that a switch takes something.
const MAX_ERROR: f64 = std::f64::consts::LN_10;

/// Placements of one model over one vendor, and the microseconds that each takes as a whole.
pub(crate) struct Whole {
    placements: Vec<Partition>,
    times: Vec<f64>,
}

impl Whole {
    /// Runs a placement beside sparser ones, which `place` makes; `None` where there are none that differ, or the
    /// vendor cannot run them.
    pub fn measure(
        timer: &RegionTimer<'_>,
        placed: &Partition,
        place: &dyn Fn(&Options) -> Result<Partition, Error>,
    ) -> Result<Option<Whole>, Error> {
        let mut placements = vec![placed.clone()];
        for (of, first) in THINNED {
            let denied = every(timer.model, placed, of, first);
            let sparser = place(&Options { denied, ..Options::default() })?;
            if sparser.regions.len() > placed.regions.len() {
                placements.push(sparser);
            }
        }
        if placements.len() < 2 {
            return Ok(None);
        }
        let times = timer.time_placements(&placements.iter().collect::<Vec<_>>())?;
        // What disturbs a run only ever makes it longer.
        let least = |times: Vec<f64>| times.into_iter().fold(f64::INFINITY, f64::min);
        Ok(times.map(|times| Whole { placements, times: times.into_iter().map(least).collect() }))
    }

    /// Microseconds that each added region takes beyond what is predicted, by placement.
    pub fn excess(&self, model: &Model, table: &PatternTable, cost: &CostModel) -> Vec<f64> {
        let options = Options { cost: cost.clone(), ..Options::default() };
        let beyond = |(placement, us): (&Partition, &f64)| {
            let predicted = predict(model, std::slice::from_ref(table), &options, placement)?;
            Some((placement.regions.len() as f64, us - predicted.us))
        };
        let all: Option<Vec<(f64, f64)>> = self.placements.iter().zip(&self.times).map(beyond).collect();
        let all = all.unwrap_or_default();
        let Some(((least, own), sparser)) = all.split_first() else { return Vec::new() };
        sparser.iter().map(|(regions, beyond)| (beyond - own) / (regions - least)).collect()
    }
}

/// The median of what added regions were found to take; `None` where that is nothing, or nobody looked. Its error is
/// the largest deviation.
pub(crate) fn estimate(mut excess: Vec<f64>) -> Option<Estimate> {
    let us = rounded(median(&mut excess));
    let off = |e: &f64| if *e > 0.0 { (e / us).ln().abs().min(MAX_ERROR) } else { MAX_ERROR };
    let error = excess.iter().map(off).fold(0.0, f64::max);
    (us > 0.0).then(|| Estimate { us, error: rounded(error) })
}

/// The nodes of every so many composites.
fn every(model: &Model, placed: &Partition, of: usize, first: usize) -> Vec<Denied> {
    let mut denied = Vec::new();
    let all = placed.regions.iter().flat_map(|region| region.composites.iter().map(move |c| (region, c)));
    for (region, composite) in all.skip(first).step_by(of) {
        let Some(graph) = region.graph.get(model) else { continue };
        denied.extend(composite.members.iter().map(|member| Denied {
            graph: region.graph.text.clone(),
            node: graph.node(member.node).label.to_string(),
            vendor: region.vendor_name.clone(),
            kind: Kind::User,
            detail: String::new(),
        }));
    }
    denied
}
