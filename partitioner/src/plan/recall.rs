//! What is known of nodes on the host, kept when a partition is made from steps instead of by a search.

use std::collections::HashMap;

use byoc_graph::Model;

use super::{Plan, Step};
use crate::options::Options;
use crate::report::{Kind, Reason};
use crate::{Dropped, Partition, Region};

/// Reasons by graph and node.
pub type Reasons = HashMap<(String, String), Vec<Reason>>;

impl Partition {
    /// Gives host nodes the reasons that are known. Of the others, `otherwise` is all that can be said, unless
    /// somebody has ruled them out.
    pub(crate) fn recall(&mut self, known: &Reasons, otherwise: (Kind, &str)) {
        for host in &mut self.host {
            let key = (host.report.graph.clone(), host.report.name.clone());
            let known = known.get(&key).map_or(&[][..], |reasons| reasons);
            let ruled = std::mem::take(&mut host.report.reasons);
            let ruled: Vec<Reason> = ruled
                .into_iter()
                .filter(|r| matches!(r.kind, Kind::User | Kind::Vendor | Kind::Compile))
                .collect();
            let mut reasons: Vec<Reason> =
                known.iter().filter(|r| self.vendors.contains(&r.vendor)).cloned().collect();
            for vendor in &self.vendors {
                if reasons.iter().any(|r| r.vendor == *vendor) {
                    continue;
                }
                let before = reasons.len();
                reasons.extend(ruled.iter().filter(|r| r.vendor == *vendor).cloned());
                if reasons.len() == before {
                    reasons.push(Reason::new(vendor, None, otherwise.0, otherwise.1));
                }
            }
            host.report.reasons = reasons;
        }
    }

    /// What is known of the nodes on the host, and of those that join them with `dropped`.
    pub(crate) fn reasons(&self, dropped: &[Dropped], model: &Model) -> Reasons {
        let key = |graph: &str, node: &str| (graph.to_owned(), node.to_owned());
        let mut known: Reasons = self
            .host
            .iter()
            .map(|host| (key(&host.report.graph, &host.report.name), host.report.reasons.clone()))
            .collect();
        for Dropped { region, kind, detail } in dropped {
            let region = &self.regions[*region];
            let Some(graph) = region.graph.get(model) else { continue };
            let lost = Reason::new(&region.vendor_name, None, *kind, detail.as_str());
            let words = format!("it was in region {}, which {} lost", region.name, region.vendor_name);
            let others = self.vendors.iter().filter(|v| **v != region.vendor_name);
            let others = others.map(|vendor| Reason::new(vendor, None, Kind::Taken, words.as_str()));
            let reasons: Vec<Reason> = [lost].into_iter().chain(others).collect();
            for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
                known.insert(key(&region.graph.text, &graph.node(member.node).label), reasons.clone());
            }
        }
        known
    }
}

impl Plan {
    /// The reasons that the plan has recorded.
    pub(crate) fn reasons(&self) -> Reasons {
        let entry = |h: &super::HostReasons| ((h.graph.clone(), h.node.clone()), h.why.clone());
        self.host.iter().map(entry).collect()
    }

    /// The options of a replay: the plan's wishes beside those of `given`.
    pub fn options(&self, given: &Options) -> Options {
        let mut options = given.clone();
        options.policy = self.options.policy;
        options.merge_siblings = self.options.merge_siblings;
        for step in &self.steps {
            match step {
                Step::Exclude { what } => push_new(&mut options.exclude, what.clone()),
                Step::Only { op } if given.only_ops.is_empty() => push_new(&mut options.only_ops, op.clone()),
                // What is marked in the model is read there again.
                Step::Force(forced) if !forced.marked => {
                    push_new(&mut options.force, (forced.node.clone(), forced.target.clone()));
                }
                Step::Cut(cut) => push_new(&mut options.cuts, cut.clone()),
                Step::Deny { graph, node, vendor, kind, why } => {
                    let denied = crate::Denied {
                        graph: graph.clone(),
                        node: node.clone(),
                        vendor: vendor.clone(),
                        kind: *kind,
                        detail: why.clone(),
                    };
                    push_new(&mut options.denied, denied);
                }
                _ => {}
            }
        }
        options
    }

    /// The step that places the first composite of a region.
    pub(crate) fn step_of(&self, region: &Region, model: &Model) -> usize {
        let graph = region.graph.get(model);
        let root = region.composites.first().zip(graph).map(|(c, graph)| &*graph.node(c.root).label);
        let is_it = |step: &Step| match step {
            Step::Place { graph, root: r, .. } => *graph == region.graph.text && Some(r.as_str()) == root,
            _ => false,
        };
        self.steps.iter().position(is_it).unwrap_or_default()
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
