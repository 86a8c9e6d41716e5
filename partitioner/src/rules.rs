//! What users and vendors have ruled out, by graph.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId};

use crate::choose::Rules;
use crate::options::{Answer, Check, Options, PartitionError};
use crate::place::GraphPath;
use crate::program::Programs;
use crate::report::Kind;
use crate::view::View;
use crate::{Partition, Region};

#[derive(Debug, Default)]
struct GraphRules {
    /// By vendor and node.
    denied: HashMap<(usize, NodeId), (Kind, String)>,
    forced: HashMap<NodeId, usize>,
}

pub struct AllRules(Vec<GraphRules>);

impl AllRules {
    pub fn new(
        graphs: &[(GraphPath, &Graph)],
        programs: &Programs,
        options: &Options,
    ) -> Result<AllRules, PartitionError> {
        let vendors: Vec<&str> = programs.vendors.iter().map(|v| v.name.as_str()).collect();
        if let Some(twice) = (1..vendors.len()).find(|i| vendors[..*i].contains(&vendors[*i])) {
            return Err(PartitionError::DuplicateVendor(vendors[twice].to_owned()));
        }
        let mut rules = AllRules(graphs.iter().map(|_| GraphRules::default()).collect());
        for name in &options.exclude {
            let why = (Kind::User, format!("`{name}` is excluded"));
            let is_it =
                |graph: &Graph, id| *graph.node(id).label == **name || *graph.node(id).op.name == **name;
            if !rules.deny_everywhere(graphs, vendors.len(), &is_it, &why) {
                return Err(PartitionError::UnknownExclude(name.clone()));
            }
        }
        for (name, target) in &options.force {
            let vendor = vendors.iter().position(|v| v == target);
            if vendor.is_none() && target != "host" {
                let known = vendors.iter().map(|v| format!(", {v}")).collect();
                return Err(PartitionError::UnknownTarget(name.clone(), target.clone(), known));
            }
            let is_it = |graph: &Graph, id| *graph.node(id).label == **name;
            let found = match vendor {
                Some(vendor) => rules.force_everywhere(graphs, vendor, &is_it),
                None => {
                    let why = (Kind::User, format!("`{name}` is forced to the host"));
                    rules.deny_everywhere(graphs, vendors.len(), &is_it, &why)
                }
            };
            if !found {
                return Err(PartitionError::UnknownForce(name.clone(), target.clone()));
            }
        }
        for denied in &options.denied {
            let Some(vendor) = vendors.iter().position(|v| *v == denied.vendor) else { continue };
            for ((path, graph), rules) in graphs.iter().zip(&mut rules.0) {
                let here = graph.node_ids().filter(|id| *graph.node(*id).label == *denied.node);
                for id in here.filter(|_| path.text == denied.graph) {
                    rules.denied.insert((vendor, id), (denied.kind, denied.detail.clone()));
                }
            }
        }
        Ok(rules)
    }

    /// Whether there is any such node.
    fn deny_everywhere(
        &mut self,
        graphs: &[(GraphPath, &Graph)],
        vendors: usize,
        is_it: &dyn Fn(&Graph, NodeId) -> bool,
        why: &(Kind, String),
    ) -> bool {
        let mut found = false;
        for ((_, graph), rules) in graphs.iter().zip(&mut self.0) {
            for id in graph.node_ids().filter(|id| is_it(graph, *id)) {
                found = true;
                (0..vendors).for_each(|v| drop(rules.denied.insert((v, id), why.clone())));
            }
        }
        found
    }

    fn force_everywhere(
        &mut self,
        graphs: &[(GraphPath, &Graph)],
        vendor: usize,
        is_it: &dyn Fn(&Graph, NodeId) -> bool,
    ) -> bool {
        let mut found = false;
        for ((_, graph), rules) in graphs.iter().zip(&mut self.0) {
            for id in graph.node_ids().filter(|id| is_it(graph, *id)) {
                found = true;
                rules.forced.insert(id, vendor);
            }
        }
        found
    }

    /// The rules of one graph, by place.
    pub fn of(&self, graph: usize, view: &View<'_>) -> Rules {
        let rules = &self.0[graph];
        let denied = rules.denied.iter().map(|((v, id), why)| ((*v, view.place(*id)), why.clone()));
        let forced = rules.forced.iter().map(|(id, v)| (view.place(*id), *v));
        Rules { denied: denied.collect(), forced: forced.collect() }
    }

    /// Asks the vendors about their regions; false where all are content. In the last round a vendor loses
    /// every region that it still objects to.
    pub fn add_objections(
        &mut self,
        partition: &Partition,
        graphs: &[(GraphPath, &Graph)],
        check: &mut dyn Check,
        last: bool,
    ) -> bool {
        let mut any = false;
        for region in &partition.regions {
            let Some(index) = partition.graphs.iter().position(|p| *p == region.graph) else { continue };
            let (nodes, refused) = match check.check_region(region, graphs[index].1) {
                Answer::Accept => continue,
                Answer::Exclude(nodes) if last => (Vec::new(), nodes.first().map(|(_, w)| w.clone())),
                Answer::Exclude(nodes) => (nodes, None),
                Answer::Refuse(words) => (Vec::new(), Some(words)),
            };
            let rules = &mut self.0[index];
            let mut deny = |id: NodeId, words: String| {
                any |= rules.denied.insert((region.vendor, id), (Kind::Vendor, words)).is_none();
            };
            let inside = |region: &Region, id: NodeId| region.members.iter().any(|m| m.node == id);
            for (id, words) in nodes.into_iter().filter(|(id, _)| inside(region, *id)) {
                deny(id, words);
            }
            if let Some(words) = refused {
                region.members.iter().for_each(|m| deny(m.node, words.clone()));
            }
        }
        any
    }
}
