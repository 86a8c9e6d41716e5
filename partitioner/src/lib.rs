//! Matches pattern tables, chooses composites, merges regions and explains the result.
//!
//! [`partition`] takes a normalised [`Model`] and the vendors' pattern tables, and says which nodes go to which
//! vendor in which regions, and why the others stay on the host. It knows no device and runs nothing; vendors
//! are asked through [`Check`]. Each step is a module of its own, in this order: `view` and `program` (what is
//! matched with what), `matcher`, `candidates`, `choose`, `merge`, `limits`, `region`, `verify`; then `report`
//! and `outline`.

mod attribute;
mod candidates;
mod choose;
mod copies;
mod explain;
mod fold;
mod limits;
mod matcher;
mod merge;
mod misses;
mod options;
mod outline;
mod place;
mod program;
mod quotient;
mod region;
mod report;
mod rules;
mod verify;
mod view;
pub mod where_clause;

use std::collections::HashMap;

use byoc_graph::recognise::{Form, recognise};
use byoc_graph::{FunctionId, Graph, Model};
use byoc_plugin::table::PatternTable;

pub use options::{Answer, Check, Denied, MatchView, NoCheck, Options, PartitionError, Policy};
pub use place::GraphPath;
pub use region::{Member, Region, RegionComposite, Subgraph};
pub use report::{
    CompositeReport, HostNode, Kind, ModelReport, NodeReport, Reason, RegionReport, Report, SCHEMA, Summary,
};

use limits::Merged;
use program::Programs;
use rules::AllRules;
use view::View;

/// How often regions are shown to vendors again.
const MAX_ROUNDS: usize = 8;

/// Which nodes go where, and why.
#[derive(Debug, Clone)]
pub struct Partition {
    /// In the order of the tables.
    pub vendors: Vec<String>,
    /// The graphs that were partitioned.
    pub graphs: Vec<GraphPath>,
    /// By graph, then by first node.
    pub regions: Vec<Region>,
    /// By graph, in model order.
    pub host: Vec<HostNode>,
    /// Nodes of all graphs.
    pub node_count: usize,
}

/// Partitions a normalised model. The result is verified before it is returned.
pub fn partition(
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
    check: &mut dyn Check,
) -> Result<Partition, PartitionError> {
    let programs = Programs::compile(tables);
    let graphs = place::graphs(model);
    let enabled = |name: &str| !options.disabled_passes.iter().any(|p| p == name);
    let forms: Vec<Vec<Form>> = graphs.iter().map(|(_, graph)| recognise(graph, &enabled)).collect();
    let mut rules = AllRules::new(&graphs, &programs, options)?;
    for round in 0.. {
        let merged = cut(&graphs, &forms, &programs, &rules, options, check);
        let partition = describe(model, &graphs, &programs, &merged);
        if round == MAX_ROUNDS || !rules.add_objections(&partition, &graphs, check, round + 1 == MAX_ROUNDS) {
            verify(&partition, &graphs)?;
            return Ok(partition);
        }
    }
    unreachable!("the last round returns")
}

/// Regions of all graphs, after limits.
fn cut<'g>(
    graphs: &[(GraphPath, &'g Graph)],
    forms: &'g [Vec<Form>],
    programs: &Programs,
    rules: &AllRules,
    options: &Options,
    check: &mut dyn Check,
) -> Vec<Merged<'g>> {
    let mut all = Vec::new();
    for (i, (_, graph)) in graphs.iter().enumerate() {
        let view = View::new(graph, &forms[i], programs);
        let rules = rules.of(i, &view);
        let mut chosen = match options.policy {
            Policy::Greedy => choose::choose(&view, programs, &rules, check),
        };
        let groups = merge::merge(&view, programs, &mut chosen, options.merge_siblings);
        all.push(Merged { view, chosen, groups });
    }
    limits::apply(&mut all, programs);
    all.iter_mut().for_each(|m| copies::settle(&m.view, &mut m.chosen));
    all
}

fn describe(
    model: &Model,
    graphs: &[(GraphPath, &Graph)],
    programs: &Programs,
    merged: &[Merged<'_>],
) -> Partition {
    let mut partition = Partition {
        vendors: programs.vendors.iter().map(|v| v.name.clone()).collect(),
        graphs: graphs.iter().map(|(path, _)| path.clone()).collect(),
        regions: Vec::new(),
        host: Vec::new(),
        node_count: graphs.iter().map(|(_, graph)| graph.node_count()).sum(),
    };
    let mut names = Names { model, next: HashMap::new() };
    for (index, (Merged { view, chosen, groups }, (path, _))) in merged.iter().zip(graphs).enumerate() {
        for group in groups {
            let name = names.next(&programs.vendors[group.vendor].name);
            partition.regions.push(region::build(view, programs, chosen, group, name, path));
        }
        for place in 0..view.order.len() as u32 {
            if chosen.owner[place as usize].is_some() {
                continue;
            }
            let report = NodeReport {
                name: view.label(place).to_owned(),
                op: view.node(place).op.name.to_string(),
                graph: path.text.clone(),
                target: "host".to_owned(),
                reasons: explain::reasons(view, programs, &chosen.misses, place),
            };
            let node = view.order[place as usize];
            partition.host.push(HostNode { graph: index, node, report });
        }
    }
    partition
}

fn verify(partition: &Partition, graphs: &[(GraphPath, &Graph)]) -> Result<(), PartitionError> {
    for (path, graph) in graphs {
        let regions: Vec<&Region> = partition.regions.iter().filter(|r| r.graph == *path).collect();
        verify::verify(graph, &regions).map_err(PartitionError::Invalid)?;
    }
    Ok(())
}

/// Names for regions: the vendor's, as an identifier, with a counter over all graphs.
struct Names<'m> {
    model: &'m Model,
    next: HashMap<String, usize>,
}

impl Names<'_> {
    fn next(&mut self, vendor: &str) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let mut base: String = vendor.chars().map(word).collect();
        if base.starts_with(|c: char| c.is_ascii_digit()) {
            base.insert(0, '_');
        }
        let next = self.next.entry(base.clone()).or_default();
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            let domain = format!("byoc.{vendor}");
            let id = FunctionId { domain: domain.into(), name: name.as_str().into(), overload: "".into() };
            if !self.model.functions.contains_key(&id) {
                return name;
            }
        }
    }
}
