//! What two plans decide differently.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde::Serialize;

use super::{Plan, Predicted, Step};

/// Differences between two plans, in the order of the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Whether both were made for one model.
    pub same_model: bool,
    /// Vendors whose version or table differs, or that only one plan has.
    pub vendors: Vec<String>,
    /// Nodes that go elsewhere, or with another pattern.
    pub moved: Vec<Moved>,
    /// Regions, each by its nodes, that only one of the plans has.
    pub regions_before: Vec<RegionNodes>,
    pub regions_after: Vec<RegionNodes>,
    /// What the user wants, in words, that only one of the plans has.
    pub will_before: Vec<String>,
    pub will_after: Vec<String>,
    pub predicted_before: Predicted,
    pub predicted_after: Predicted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub graph: String,
    pub node: String,
    /// `host`, or the vendor and the pattern.
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegionNodes {
    pub graph: String,
    pub vendor: String,
    pub nodes: Vec<String>,
    /// Composites in it.
    pub composites: usize,
}

type Key<'p> = (&'p str, &'p str);

pub fn difference(a: &Plan, b: &Plan) -> Difference {
    let (places_a, places_b) = (placements(a), placements(b));
    let host = "host".to_owned();
    let mut moved = Vec::new();
    let only_b = places_b.keys().filter(|key| !places_a.contains_key(*key));
    for key in places_a.keys().chain(only_b) {
        let (from, to) = (places_a.get(key).unwrap_or(&host), places_b.get(key).unwrap_or(&host));
        if from != to {
            let (graph, node) = (key.0.to_owned(), key.1.to_owned());
            moved.push(Moved { graph, node, from: from.clone(), to: to.clone() });
        }
    }
    let (regions_a, regions_b) = (a.regions(), b.regions());
    let (will_a, will_b) = (will(a), will(b));
    Difference {
        same_model: a.model == b.model,
        vendors: vendors(a, b),
        moved,
        regions_before: without(&regions_a, &regions_b),
        regions_after: without(&regions_b, &regions_a),
        will_before: without(&will_a, &will_b),
        will_after: without(&will_b, &will_a),
        predicted_before: a.predicted,
        predicted_after: b.predicted,
    }
}

impl Difference {
    /// Whether the plans decide the same, for the same model and vendors.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.will_before, &self.will_after, &self.vendors];
        self.same_model
            && self.moved.is_empty()
            && self.regions_before.is_empty()
            && self.regions_after.is_empty()
            && lists.iter().all(|list| list.is_empty())
    }
}

fn without<T: PartialEq + Clone>(list: &[T], other: &[T]) -> Vec<T> {
    list.iter().filter(|item| !other.contains(item)).cloned().collect()
}

fn placements(plan: &Plan) -> IndexMap<Key<'_>, String> {
    let mut places = IndexMap::new();
    for step in &plan.steps {
        let Step::Place { graph, vendor, pattern, nodes, .. } = step else { continue };
        for node in nodes {
            // A node that several composites have a copy of belongs to the first.
            places.entry((graph.as_str(), node.as_str())).or_insert_with(|| format!("{vendor} {pattern}"));
        }
    }
    places
}

fn will(plan: &Plan) -> Vec<String> {
    let is_will = |step: &&Step| {
        matches!(
            step,
            Step::Exclude { .. } | Step::Only { .. } | Step::Force(_) | Step::Cut(_) | Step::Deny { .. }
        )
    };
    plan.steps.iter().filter(is_will).map(Step::describe).collect()
}

fn vendors(a: &Plan, b: &Plan) -> Vec<String> {
    let mut changed = Vec::new();
    for vendor in
        a.vendors.iter().chain(&b.vendors).filter(|v| !a.vendors.contains(v) || !b.vendors.contains(v))
    {
        if !changed.contains(&vendor.name) {
            changed.push(vendor.name.clone());
        }
    }
    changed
}

impl Plan {
    /// The regions that the plan makes, in the order of their first steps.
    pub fn regions(&self) -> Vec<RegionNodes> {
        let mut regions: Vec<RegionNodes> = Vec::new();
        let mut by_root: HashMap<Key<'_>, usize> = HashMap::new();
        for step in &self.steps {
            match step {
                Step::Place { graph, vendor, root, nodes, .. } => {
                    by_root.insert((graph, root), regions.len());
                    let (graph, vendor, nodes) = (graph.clone(), vendor.clone(), nodes.clone());
                    regions.push(RegionNodes { graph, vendor, nodes, composites: 1 });
                }
                Step::Merge { graph, roots } => {
                    let mut found = roots.iter().filter_map(|root| by_root.get(&(graph, root)).copied());
                    let Some(first) = found.next() else { continue };
                    for other in found.filter(|other| *other != first) {
                        let (nodes, count) =
                            (std::mem::take(&mut regions[other].nodes), regions[other].composites);
                        regions[other].composites = 0;
                        regions[first].nodes.extend(nodes);
                        regions[first].composites += count;
                    }
                }
                _ => {}
            }
        }
        regions.retain(|region| region.composites > 0);
        regions
    }
}
