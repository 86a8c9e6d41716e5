//! What users and vendors have ruled out, by graph.

use std::collections::HashMap;

use byoc_graph::{Graph, Model, NodeId, schema};
use byoc_plugin::table::nearest;

use crate::choose::Rules;
use crate::options::{Answer, Check, Denied, PartitionError};
use crate::place::GraphPath;
use crate::program::Programs;
use crate::report::{Kind, Reason};
use crate::view::View;
use crate::will::{Cut, Forced, Side, Will};
use crate::{HostNode, Partition, Region};

#[derive(Debug, Default)]
struct GraphRules {
    /// By vendor and node.
    denied: HashMap<(usize, NodeId), (Kind, String)>,
    forced: HashMap<NodeId, usize>,
    /// Neighbours that no region may hold both of, the producer first.
    severed: Vec<(NodeId, NodeId)>,
}

pub struct AllRules<'a> {
    model: &'a Model,
    graphs: &'a [(GraphPath, &'a Graph)],
    vendors: Vec<&'a str>,
    targets: Vec<&'a str>,
    by_graph: Vec<GraphRules>,
}

/// What a vendor has against a region.
pub struct Objection {
    /// Index among the partition's regions.
    pub region: usize,
    /// Some of its nodes, or (empty) all of it.
    pub nodes: Vec<(NodeId, String)>,
    /// The first of the vendor's words.
    pub words: String,
}

impl<'a> AllRules<'a> {
    pub fn new(
        (model, graphs): (&'a Model, &'a [(GraphPath, &'a Graph)]),
        programs: &'a Programs,
        will: &Will,
        denied: &[Denied],
    ) -> Result<AllRules<'a>, PartitionError> {
        let vendors: Vec<&str> = programs.vendors.iter().map(|v| v.name.as_str()).collect();
        if let Some(twice) = (1..vendors.len()).find(|i| vendors[..*i].contains(&vendors[*i])) {
            return Err(PartitionError::DuplicateVendor(vendors[twice].to_owned()));
        }
        let by_graph = graphs.iter().map(|_| GraphRules::default()).collect();
        let targets = programs.vendors.iter().map(|v| v.target.as_str()).collect();
        let mut rules = AllRules { model, graphs, vendors, targets, by_graph };
        rules.only(&will.only_ops)?;
        for name in &will.exclude {
            let why = format!("`{name}` is excluded");
            let is_it =
                |graph: &Graph, id| *graph.node(id).label == **name || *graph.node(id).op.name == **name;
            if !rules.deny(None, &is_it, &why) {
                return Err(PartitionError::UnknownExclude(name.clone(), rules.hint(name, true)));
            }
        }
        will.force.iter().try_for_each(|forced| rules.force(forced))?;
        will.cuts.iter().try_for_each(|cut| rules.cut(cut))?;
        for denied in denied {
            let Some(vendor) = rules.vendors.iter().position(|v| *v == denied.vendor) else { continue };
            let why = (denied.kind, denied.detail.clone());
            rules.each(Some(&denied.graph), &denied.node, &mut |rules, _, id| {
                rules.denied.insert((vendor, id), why.clone());
            });
        }
        Ok(rules)
    }

    /// Only these operators may leave the host, where there are any.
    fn only(&mut self, ops: &[String]) -> Result<(), PartitionError> {
        let exists = |op: &str| {
            let nodes = self.graphs.iter().flat_map(|(_, g)| g.node_ids().map(|id| &*g.node(id).op.name));
            nodes.into_iter().any(|name| name == op) || !schema::versions("", op).is_empty()
        };
        if let Some(unknown) = ops.iter().find(|op| !exists(op)) {
            let hint = self.hint(unknown, true);
            return Err(PartitionError::UnknownOperator(unknown.clone(), hint));
        }
        if !ops.is_empty() {
            let why = format!("only {} may leave the host", ops.join(", "));
            let is_other = |graph: &Graph, id| !ops.iter().any(|op| **op == *graph.node(id).op.name);
            self.deny(None, &is_other, &why);
        }
        Ok(())
    }

    /// Keeps nodes from every vendor; whether there are any.
    fn deny(&mut self, graph: Option<&str>, is_it: &dyn Fn(&Graph, NodeId) -> bool, why: &str) -> bool {
        let (vendors, mut found) = (self.vendors.len(), false);
        for ((path, inner), rules) in self.graphs.iter().zip(&mut self.by_graph) {
            for id in inner.node_ids().filter(|id| graph.is_none_or(|g| g == path.text) && is_it(inner, *id))
            {
                found = true;
                (0..vendors).for_each(|v| drop(rules.denied.insert((v, id), (Kind::User, why.to_owned()))));
            }
        }
        found
    }

    /// The vendor that a target is of, with its device or without.
    fn vendor_of(&self, target: &str) -> Option<usize> {
        let is_it = |names: &[&str]| names.iter().position(|name| *name == target);
        is_it(&self.vendors).or_else(|| is_it(&self.targets))
    }

    fn force(&mut self, forced: &Forced) -> Result<(), PartitionError> {
        let Forced { node, target, graph, marked } = forced;
        let vendor = self.vendor_of(target);
        if vendor.is_none() && target != "host" && !marked {
            let known = self.targets.iter().map(|v| format!(", {v}")).collect::<String>();
            let hint = did_you_mean(nearest(target, self.vendors.iter().copied().chain(["host"])));
            return Err(PartitionError::UnknownTarget(node.clone(), target.clone(), known + &hint));
        }
        let found = match vendor {
            Some(vendor) => self.each(graph.as_deref(), node, &mut |rules, _, id| {
                rules.forced.insert(id, vendor);
            }),
            None => {
                let why = match target.as_str() {
                    "host" => format!("`{node}` is forced to the host"),
                    _ => format!("`{node}` is marked for {target}, which takes no part"),
                };
                self.deny(graph.as_deref(), &|graph, id| *graph.node(id).label == **node, &why)
            }
        };
        match found {
            true => Ok(()),
            false => Err(PartitionError::UnknownForce(node.clone(), target.clone(), self.hint(node, false))),
        }
    }

    fn cut(&mut self, cut: &Cut) -> Result<(), PartitionError> {
        let found = self.each(cut.graph.as_deref(), &cut.node, &mut |rules, graph, id| match cut.side {
            Side::Before => rules.severed.extend(graph.predecessors(id).into_iter().map(|p| (p, id))),
            Side::After => rules.severed.extend(graph.successors(id).into_iter().map(|s| (id, s))),
        });
        match found {
            true => Ok(()),
            false => Err(PartitionError::UnknownCut(cut.node.clone(), self.hint(&cut.node, false))),
        }
    }

    /// Keeps nodes from vendors that an earlier partition has asked already, unless a user wants them there.
    pub fn keep_placed(&mut self, placed: &[String]) {
        for (vendor, _) in self.vendors.iter().enumerate().filter(|(_, v)| placed.iter().any(|p| p == *v)) {
            for ((_, graph), rules) in self.graphs.iter().zip(&mut self.by_graph) {
                for id in graph.node_ids().filter(|id| rules.forced.get(id) != Some(&vendor)) {
                    let why = (Kind::Cost, "an earlier partition has left it on the host".to_owned());
                    rules.denied.entry((vendor, id)).or_insert(why);
                }
            }
        }
    }

    /// Calls `f` for the nodes of that name, of one graph or of all; whether there are any.
    fn each(
        &mut self,
        graph: Option<&str>,
        node: &str,
        f: &mut dyn FnMut(&mut GraphRules, &Graph, NodeId),
    ) -> bool {
        let mut found = false;
        for ((path, inner), rules) in self.graphs.iter().zip(&mut self.by_graph) {
            if graph.is_some_and(|g| g != path.text) {
                continue;
            }
            for id in inner.node_ids().filter(|id| *inner.node(*id).label == *node) {
                found = true;
                f(rules, inner, id);
            }
        }
        found
    }

    /// Where a node is that was asked for by a name; or the nearest node's name, or operator.
    fn hint(&self, wrong: &str, operators: bool) -> String {
        let is_there = |body: &Graph| body.node_ids().any(|id| *body.node(id).label == *wrong);
        let mut outlined = self.model.functions.iter().filter(|(id, _)| id.domain.starts_with("byoc."));
        if let Some((region, _)) = outlined.find(|(_, function)| is_there(&function.body)) {
            let stays = "of an earlier partition, which stays as it is; partition the original model instead";
            return format!(": it is in region {} {stays}", region.name);
        }
        let nodes = self.graphs.iter().flat_map(|(_, graph)| graph.node_ids().map(|id| graph.node(id)));
        let names = nodes.flat_map(|node| {
            let op = operators.then_some(&*node.op.name);
            [Some(&*node.label), op].into_iter().flatten()
        });
        did_you_mean(nearest(wrong, names))
    }

    /// The rules of one graph, by place.
    pub fn of(&self, graph: usize, view: &View<'_>) -> Rules {
        let rules = &self.by_graph[graph];
        let place = |id: &NodeId| view.place(*id);
        Rules {
            denied: rules.denied.iter().map(|((v, id), why)| ((*v, place(id)), why.clone())).collect(),
            forced: rules.forced.iter().map(|(id, v)| (place(id), *v)).collect(),
            severed: rules.severed.iter().map(|(from, to)| (place(from), place(to))).collect(),
        }
    }

    /// Puts what was ruled out first among a host node's reasons, though no pattern may have come near it.
    pub fn add_reasons(&self, host: &mut HostNode) {
        let rules = &self.by_graph[host.graph];
        for (vendor, name) in self.vendors.iter().enumerate() {
            let Some((kind, detail)) = rules.denied.get(&(vendor, host.node)) else { continue };
            let reasons = &mut host.report.reasons;
            if reasons.iter().any(|r| r.vendor == *name && r.kind == *kind && r.detail == *detail) {
                continue;
            }
            let at = reasons.iter().position(|r| r.vendor == *name).unwrap_or(reasons.len());
            reasons.insert(at, Reason::new(name, None, *kind, detail.as_str()));
        }
    }

    /// Takes what vendors object to away from them, for the next round.
    pub fn add(&mut self, partition: &Partition, objections: Vec<Objection>) {
        for Objection { region, nodes, words } in objections {
            let region = &partition.regions[region];
            let Some(graph) = self.graphs.iter().position(|(path, _)| *path == region.graph) else {
                continue;
            };
            let mut deny = |id: NodeId, words: String| {
                self.by_graph[graph].denied.insert((region.vendor, id), (Kind::Vendor, words));
            };
            if nodes.is_empty() {
                region.members.iter().for_each(|m| deny(m.node, words.clone()));
            }
            nodes.into_iter().for_each(|(id, words)| deny(id, words));
        }
    }

    /// An error where a node that a caller has forced to a vendor is not there.
    pub fn check_forced(&self, partition: &Partition, will: &Will) -> Result<(), PartitionError> {
        for forced in will.force.iter().filter(|f| !f.marked) {
            let is_it = |host: &&HostNode| {
                host.report.name == forced.node
                    && forced.graph.as_ref().is_none_or(|g| *g == host.report.graph)
            };
            let Some(host) = partition.host.iter().find(is_it).filter(|_| forced.target != "host") else {
                continue;
            };
            let vendor = self.vendor_of(&forced.target).map(|v| self.vendors[v]);
            let reason = host.report.reasons.iter().find(|r| Some(r.vendor.as_str()) == vendor);
            let why = reason.map_or(String::new(), |r| r.detail.clone());
            return Err(PartitionError::Unforced(forced.node.clone(), forced.target.clone(), why));
        }
        Ok(())
    }
}

/// What vendors object to; nothing where all are content.
pub fn ask(
    partition: &mut Partition,
    graphs: &[(GraphPath, &Graph)],
    check: &mut dyn Check,
) -> Vec<Objection> {
    let mut objections = Vec::new();
    for (index, region) in partition.regions.iter_mut().enumerate() {
        let Some((_, graph)) = graphs.iter().find(|(path, _)| *path == region.graph) else { continue };
        let (nodes, words) = match check.check_region(region, graph) {
            Answer::Accept(cost) => {
                region.answer = cost;
                continue;
            }
            Answer::Refuse(words) => (Vec::new(), words),
            Answer::Exclude(mut nodes) => {
                // A claim about a node outside the region says nothing about the region.
                nodes.retain(|(id, _)| holds(region, *id));
                match nodes.first().map(|(_, words)| words.clone()) {
                    Some(words) => (nodes, words),
                    None => continue,
                }
            }
        };
        objections.push(Objection { region: index, nodes, words });
    }
    objections
}

fn holds(region: &Region, id: NodeId) -> bool {
    region.members.iter().any(|m| m.node == id)
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}
