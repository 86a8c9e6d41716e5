//! What two plans decide differently, gathered into changes that have nothing to do with each other.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde::Serialize;

use super::figures::Figures;
use super::{Plan, Predicted, Step};

/// How the second plan differs from the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Whether both were made for one model.
    pub same_model: bool,
    /// Vendors whose version or table differs, or that only one plan has.
    pub vendors: Vec<String>,
    /// What the user wants, in words, that only one of the plans has.
    pub will_before: Vec<String>,
    pub will_after: Vec<String>,
    /// Those that change the predicted time most first, then those that change what crosses the border most.
    pub changes: Vec<Change>,
    pub predicted_before: Predicted,
    pub predicted_after: Predicted,
    /// Bytes that cross between targets.
    pub boundary_before: Option<u64>,
    pub boundary_after: Option<u64>,
}

/// Nodes and regions that share nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub graph: String,
    /// Nodes that go elsewhere, or with another pattern.
    pub moved: Vec<Moved>,
    /// Regions that only one of the plans has.
    pub regions_before: Vec<RegionNodes>,
    pub regions_after: Vec<RegionNodes>,
    /// What it adds to the predicted time, transfers apart.
    pub us: Option<f64>,
    /// What it adds to the bytes that cross between targets.
    pub boundary_bytes: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub node: String,
    pub from: Placement,
    pub to: Placement,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Placement {
    /// A vendor, or `host`.
    pub target: String,
    pub pattern: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionNodes {
    pub graph: String,
    pub vendor: String,
    pub nodes: Vec<String>,
    /// Composites in it.
    pub composites: usize,
    pub us: Option<f64>,
    pub bytes: Option<u64>,
}

type Key<'p> = (&'p str, &'p str);

pub fn difference(a: &Plan, b: &Plan) -> Difference {
    let (will_a, will_b) = (will(a), will(b));
    let mut changes = Changes::new(a, b).collect();
    let weight = |c: &Change| (c.us.unwrap_or(0.0).abs(), c.boundary_bytes.unwrap_or(0).unsigned_abs());
    changes.sort_by(|x, y| {
        let (x, y) = (weight(x), weight(y));
        y.0.total_cmp(&x.0).then(y.1.cmp(&x.1))
    });
    Difference {
        same_model: a.model == b.model,
        vendors: vendors(a, b),
        will_before: without(&will_a, &will_b),
        will_after: without(&will_b, &will_a),
        changes,
        predicted_before: a.predicted,
        predicted_after: b.predicted,
        boundary_before: a.boundary_bytes(),
        boundary_after: b.boundary_bytes(),
    }
}

impl Difference {
    /// Whether the plans decide the same, for the same model and vendors.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.will_before, &self.will_after, &self.vendors];
        self.same_model && self.changes.is_empty() && lists.iter().all(|list| list.is_empty())
    }
}

/// Gathers what differs; nodes of one region belong together.
struct Changes<'p> {
    before: Figures<'p>,
    after: Figures<'p>,
    moved: IndexMap<Key<'p>, Moved>,
    regions_before: Vec<RegionNodes>,
    regions_after: Vec<RegionNodes>,
}

impl<'p> Changes<'p> {
    fn new(a: &'p Plan, b: &'p Plan) -> Changes<'p> {
        let (places_a, places_b) = (placements(a), placements(b));
        let host = Placement { target: "host".to_owned(), pattern: None };
        let mut moved = IndexMap::new();
        let only_b = places_b.keys().filter(|key| !places_a.contains_key(*key));
        for key in places_a.keys().chain(only_b) {
            let (from, to) = (places_a.get(key).unwrap_or(&host), places_b.get(key).unwrap_or(&host));
            if from != to {
                let (node, from, to) = (key.1.to_owned(), from.clone(), to.clone());
                moved.insert(*key, Moved { node, from, to });
            }
        }
        let (regions_a, regions_b) = (a.regions(), b.regions());
        Changes {
            before: Figures::of(a),
            after: Figures::of(b),
            moved,
            regions_before: other_regions(&regions_a, &regions_b),
            regions_after: other_regions(&regions_b, &regions_a),
        }
    }

    fn collect(self) -> Vec<Change> {
        let mut groups = Groups::default();
        for region in self.regions_before.iter().chain(&self.regions_after) {
            let nodes: Vec<usize> = region.nodes.iter().map(|n| groups.id(&region.graph, n)).collect();
            nodes.windows(2).for_each(|pair| groups.join(pair[0], pair[1]));
        }
        let mut changes: IndexMap<usize, Change> = IndexMap::new();
        let mut change = |groups: &mut Groups, graph: &str, node: &str, add: &mut dyn FnMut(&mut Change)| {
            let id = groups.id(graph, node);
            add(changes.entry(groups.find(id)).or_insert_with(|| Change {
                graph: graph.to_owned(),
                moved: Vec::new(),
                regions_before: Vec::new(),
                regions_after: Vec::new(),
                us: None,
                boundary_bytes: None,
            }));
        };
        for ((graph, node), moved) in &self.moved {
            change(&mut groups, graph, node, &mut |c| c.moved.push(moved.clone()));
        }
        for region in &self.regions_before {
            let first = &region.nodes[0];
            change(&mut groups, &region.graph, first, &mut |c| c.regions_before.push(region.clone()));
        }
        for region in &self.regions_after {
            let first = &region.nodes[0];
            change(&mut groups, &region.graph, first, &mut |c| c.regions_after.push(region.clone()));
        }
        let mut changes: Vec<Change> = changes.into_values().collect();
        changes.iter_mut().for_each(|change| self.price(change));
        changes
    }

    fn price(&self, change: &mut Change) {
        let side = |regions: &[RegionNodes], figures: &Figures<'_>, placement: fn(&Moved) -> &Placement| {
            let nodes = change.moved.iter().filter(|m| placement(m).pattern.is_none());
            let host: Vec<_> = nodes.map(|m| figures.host(&change.graph, &m.node)).collect();
            let us = regions.iter().map(|r| r.us).chain(host.iter().map(|h| h.us));
            let bytes = regions.iter().map(|r| r.bytes).chain(host.iter().map(|h| Some(h.bytes)));
            let bytes = bytes.map(|b| b.map(i128::from)).sum::<Option<i128>>();
            (us.sum::<Option<f64>>(), bytes)
        };
        let before = side(&change.regions_before, &self.before, |m| &m.from);
        let after = side(&change.regions_after, &self.after, |m| &m.to);
        change.us = before.0.zip(after.0).map(|(before, after)| after - before);
        let bytes = before.1.zip(after.1).map(|(before, after)| after - before);
        change.boundary_bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok());
    }
}

/// Nodes by graph and name, and which of them belong together: a union-find.
#[derive(Default)]
struct Groups {
    ids: HashMap<(String, String), usize>,
    parent: Vec<usize>,
}

impl Groups {
    fn id(&mut self, graph: &str, node: &str) -> usize {
        let next = self.parent.len();
        let id = *self.ids.entry((graph.to_owned(), node.to_owned())).or_insert(next);
        if id == next {
            self.parent.push(id);
        }
        id
    }

    fn find(&mut self, mut id: usize) -> usize {
        while self.parent[id] != id {
            self.parent[id] = self.parent[self.parent[id]];
            id = self.parent[id];
        }
        id
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

/// Regions of the first list that are not in the second, whatever they cost.
fn other_regions(list: &[RegionNodes], other: &[RegionNodes]) -> Vec<RegionNodes> {
    let key = |region: &RegionNodes| {
        let mut nodes = region.nodes.clone();
        nodes.sort_unstable();
        (region.graph.clone(), region.vendor.clone(), nodes)
    };
    let known: std::collections::HashSet<_> = other.iter().map(key).collect();
    list.iter().filter(|region| !known.contains(&key(region))).cloned().collect()
}

fn without(list: &[String], other: &[String]) -> Vec<String> {
    list.iter().filter(|item| !other.contains(item)).cloned().collect()
}

fn placements(plan: &Plan) -> IndexMap<Key<'_>, Placement> {
    let mut places = IndexMap::new();
    for step in &plan.steps {
        let Step::Place { graph, vendor, pattern, nodes, .. } = step else { continue };
        for node in nodes {
            let place = || Placement { target: vendor.clone(), pattern: Some(pattern.clone()) };
            // A node that several composites have a copy of belongs to the first.
            places.entry((graph.as_str(), node.as_str())).or_insert_with(place);
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
        let figures = Figures::of(self);
        let mut regions: Vec<RegionNodes> = Vec::new();
        let mut by_root: HashMap<Key<'_>, usize> = HashMap::new();
        for step in &self.steps {
            match step {
                Step::Place { graph, vendor, root, nodes, .. } => {
                    by_root.insert((graph, root), regions.len());
                    let known = figures.region(graph, root);
                    regions.push(RegionNodes {
                        graph: graph.clone(),
                        vendor: vendor.clone(),
                        nodes: nodes.clone(),
                        composites: 1,
                        us: known.and_then(|f| f.us),
                        bytes: known.map(|f| f.bytes),
                    });
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
        regions.retain(|region| region.composites > 0 && !region.nodes.is_empty());
        regions
    }

    /// Bytes that cross between targets, where they are known of every region.
    pub fn boundary_bytes(&self) -> Option<u64> {
        let host = self.host.iter().map(|h| Some(h.bytes));
        let mut all = self.regions().into_iter().map(|r| r.bytes).chain(host);
        all.try_fold(0u64, |sum, bytes| Some(sum.saturating_add(bytes?)))
    }
}
