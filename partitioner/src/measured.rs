//! The measured policy: the cost policy at prices that are taken from the very regions it chooses.
//!
//! What vendors offer is timed match by match, what the greedy policy chooses region by region; with these times
//! the cost policy chooses, what it chooses is timed, and so on until nothing is left to be timed or the rounds
//! are used up. Of all placements that were seen, those that take least by the times then known, and the greedy
//! one, are run as a whole, and the fastest is the result.

use std::collections::{HashMap, HashSet};

use byoc_graph::{Graph, Model, NodeId};
use byoc_plugin::table::PatternTable;

use crate::choose::cost::offers::ALONE;
use crate::cost::{Part, RegionKey, Times, parts};
use crate::options::{Answer, Check, MatchView, Options, PartitionError, Policy};
use crate::place::{self, GraphPath};
use crate::{Job, Partition, Region, partition};

const MAX_ROUNDS: usize = 8;
/// Matches of one pattern that are timed alone, each of which has other work than the others.
const MAX_OF_PATTERN: usize = 12;
/// Placements beside the greedy one that are run as a whole.
const MAX_WHOLE: usize = 3;

/// Compiles and times, supplied by whoever can run the model.
pub trait Measure {
    /// Microseconds of one call of the region, transfers apart; `None` where it cannot be timed.
    fn region_us(&mut self, region: &Region, graph: &Graph) -> Option<f64>;

    /// Microseconds of a node on the host.
    fn host_us(&mut self, _: &GraphPath, _: NodeId) -> Option<f64> {
        None
    }

    /// Microseconds of one run of each whole placement, transfers and all; `None` where they cannot be run.
    fn placements_us(&mut self, _: &[&Partition]) -> Option<Vec<f64>> {
        None
    }
}

/// Partitions by measured times: those that `options` has, and those that it takes. Also all times.
pub fn partition_measured(
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
    check: &mut dyn Check,
    measure: &mut dyn Measure,
) -> Result<(Partition, Times), PartitionError> {
    let mut timer = Timer::new(model, measure, options.times.clone());
    let with = |policy, times: &Times| Options { policy, times: times.clone(), ..options.clone() };
    let greedy = partition(model, tables, &with(Policy::Greedy, &timer.times), check)?;
    timer.time(&greedy.regions);
    let mut found = vec![greedy];
    for round in 1..MAX_ROUNDS {
        let mut offers =
            Offers { check, model, regions: Vec::new(), seen: HashSet::new(), counts: HashMap::new() };
        let next = partition(model, tables, &with(Policy::Measured, &timer.times), &mut offers)?;
        let mut is_news = timer.time(&next.regions);
        if round == 1 {
            is_news |= timer.time(&offers.regions);
        }
        found.push(next);
        if !is_news {
            break;
        }
    }
    let options = with(Policy::Measured, &timer.times);
    let job = Job::new(model, tables, &options);
    found.iter_mut().for_each(|partition| job.predict(partition));
    let greedy_predicted = found[0].predicted;
    let mut least = least_first(&found);
    if least.len() > 1 {
        let placements: Vec<&Partition> = least.iter().map(|i| &found[*i]).collect();
        if let Some(us) = timer.measure.placements_us(&placements) {
            let fastest = (0..least.len()).min_by(|a, b| us[*a].total_cmp(&us[*b]));
            least.swap(0, fastest.unwrap_or(0));
        }
    }
    let best = found.swap_remove(least[0]);
    Ok((Partition { greedy_predicted, policy: Policy::Measured, ..best }, options.times))
}

/// Placements that differ, by their numbers: those that are predicted to take least, and the greedy one, which is
/// the first of `found`.
fn least_first(found: &[Partition]) -> Vec<usize> {
    let us = |i: &usize| found[*i].predicted.map_or(f64::INFINITY, |total| total.us);
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| us(a).total_cmp(&us(b)));
    let mut seen = HashSet::new();
    order.retain(|i| seen.insert(found[*i].regions.iter().map(RegionKey::of).collect::<Vec<_>>()));
    let mut beside = 0;
    let greedy: Vec<RegionKey> = found[0].regions.iter().map(RegionKey::of).collect();
    order.retain(|i| {
        let is_greedy = found[*i].regions.iter().map(RegionKey::of).eq(greedy.iter().cloned());
        beside += usize::from(!is_greedy);
        is_greedy || beside <= MAX_WHOLE
    });
    order
}

struct Timer<'a> {
    model: &'a Model,
    measure: &'a mut dyn Measure,
    times: Times,
    /// Regions that could not be timed: their patterns and nodes.
    failed: HashSet<String>,
}

impl<'a> Timer<'a> {
    fn new(model: &'a Model, measure: &'a mut dyn Measure, mut times: Times) -> Timer<'a> {
        for (path, graph) in place::graphs(model) {
            for id in graph.node_ids() {
                if let Some(us) = measure.host_us(&path, id) {
                    times.put_host(&path, id, us);
                }
            }
        }
        Timer { model, measure, times, failed: HashSet::new() }
    }

    /// Times regions that have not been timed; whether anything new is known.
    fn time(&mut self, regions: &[Region]) -> bool {
        let mut is_news = false;
        for region in regions {
            let Some(graph) = region.graph.get(self.model) else { continue };
            let content = || format!("{} {:?} {:?}", region.graph.text, region.vendor, region.members);
            if self.times.region_us(region).is_some() || self.failed.contains(&content()) {
                continue;
            }
            match self.measure.region_us(region, graph) {
                Some(us) => {
                    self.times.put_region(region, graph, us);
                    is_news = true;
                }
                None => drop(self.failed.insert(content())),
            }
        }
        is_news
    }
}

/// Passes questions on, and keeps the matches among them that are worth timing.
struct Offers<'a> {
    check: &'a mut dyn Check,
    model: &'a Model,
    regions: Vec<Region>,
    seen: HashSet<(usize, Part)>,
    counts: HashMap<(usize, usize), usize>,
}

impl Check for Offers<'_> {
    fn check_match(&mut self, view: &MatchView<'_>) -> Result<(), String> {
        self.check.check_match(view)
    }

    fn check_region(&mut self, region: &Region, graph: &Graph) -> Answer {
        let answer = self.check.check_region(region, graph);
        if let (ALONE, Answer::Accept(_)) = (region.name.as_str(), &answer)
            && region.graph.get(self.model).is_some()
        {
            let part = parts(region, graph)[0];
            let count = self.counts.entry((region.vendor, part.0)).or_default();
            if *count < MAX_OF_PATTERN && self.seen.insert((region.vendor, part)) {
                *count += 1;
                self.regions.push(region.clone());
            }
        }
        answer
    }
}
