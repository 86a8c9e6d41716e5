//! Matches pattern tables, chooses composites, merges regions and explains the result.
//!
//! [`partition`] takes a normalised [`Model`] and the vendors' pattern tables, and says which nodes go to which
//! vendor in which regions, and why the others stay on the host. It knows no device and runs nothing; vendors
//! are asked through [`Check`]. Each step is a module of its own, in this order: `view` and `program` (what is
//! matched with what), `matcher`, `candidates`, `choose`, `merge`, `limits`, `region`, `verify`; then `report`
//! and `outline`, and for people `story` (of one node) and `road_map` (what a vendor should add).

mod advice;
mod attribute;
mod candidates;
mod choose;
mod copies;
pub mod cost;
mod explain;
mod fold;
mod index;
mod known;
mod limits;
mod matcher;
mod measured;
mod merge;
mod misses;
mod options;
mod outline;
mod place;
pub mod plan;
mod program;
mod quotient;
mod refusal;
mod region;
mod region_story;
mod report;
mod road_map;
mod rules;
mod story;
mod trial;
mod verify;
mod view;
pub mod where_clause;
pub mod will;

use std::collections::HashMap;

use byoc_graph::normalise::Removed;
use byoc_graph::recognise::{Form, recognise};
use byoc_graph::{FunctionId, Graph, Model};
use byoc_plugin::table::PatternTable;

pub use attribute::show as show_attribute;
pub use cost::{CostModel, Link, Profile, ProfileError, Rates, RegionCost, TargetProfile, Times, Total};
pub use fold::{Folded, fold_into_product};
pub use measured::{Measure, partition_measured};
pub use options::{Answer, Check, Denied, MatchView, NoCheck, Options, PartitionError, Policy};
pub use place::GraphPath;
pub use plan::{Plan, PlanError};
pub use region::{Member, Region, RegionComposite, Subgraph};
pub use region_story::{Neighbour, RegionStory};
pub use report::{
    Ahead, CompositeReport, HostNode, Kind, ModelReport, NodeReport, OffloadedNode, Reason, RegionReport,
    Report, Rival, SCHEMA, Summary,
};
pub use road_map::{Obstacle, RoadMap};
pub use story::{Operand, Story, Taker, Told, UnknownNode};
pub use trial::{Trial, Way};

use choose::cost::Setting;
use cost::Prices;
use limits::Merged;
use plan::{Replay, StepError};
use program::Programs;
use rules::AllRules;
use view::View;
use will::Will;

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
    /// The others, with what else was considered for them; empty unless `Options::rivals`.
    pub offloaded: Vec<OffloadedNode>,
    /// Nodes of all graphs.
    pub node_count: usize,
    /// What chose among the vendors' offers; greedy where nothing is known of costs.
    pub policy: Policy,
    /// The time that one run is predicted to take, where rates of vendors are known.
    pub predicted: Option<Total>,
    /// The same of what the greedy policy chooses; not known of what was made from steps.
    pub greedy_predicted: Option<Total>,
}

/// Partitions a normalised model. The result is verified before it is returned.
pub fn partition(
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
    check: &mut dyn Check,
) -> Result<Partition, PartitionError> {
    let job = Job::new(model, tables, options);
    let will = Will::of(options, model, &job.graphs)?;
    let mut settle = |policy| {
        let mut rules = AllRules::new((model, &job.graphs), &job.programs, &will, &options.denied)?;
        if options.policy != Policy::Greedy {
            rules.keep_placed(&will.placed);
        }
        let partition = job.settle(&mut rules, &Options { policy, ..options.clone() }, check)?;
        job.verify(&partition)?;
        rules.check_forced(&partition, &will)?;
        Ok::<_, PartitionError>(partition)
    };
    let mut best = settle(Policy::Greedy)?;
    best.greedy_predicted = best.predicted;
    let is_known = best.predicted.is_some() || options.policy == Policy::Measured;
    if options.policy != Policy::Greedy && is_known {
        // What vendors ask for on the way may turn the best choice into a bad one.
        let other = settle(options.policy)?;
        if other.predicted.map(|total| total.us) < best.predicted.map(|total| total.us) {
            best = Partition { greedy_predicted: best.predicted, ..other };
        }
    }
    if best.predicted.is_some() {
        best.policy = options.policy;
    }
    Ok(best)
}

/// What a partition of the model takes at the costs that the options have; `None` where nothing is known of any.
pub fn predict(
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
    partition: &Partition,
) -> Option<Total> {
    let mut partition = partition.clone();
    Job::new(model, tables, options).predict(&mut partition);
    partition.predicted
}

/// Carries out a plan on a normalised model, which lost `removed` to normalisation. The options' own wishes
/// hold beside those of the plan, its policy does not.
pub fn replay(
    model: &Model,
    tables: &[PatternTable],
    removed: &[Removed],
    plan: &Plan,
    options: &Options,
    check: &mut dyn Check,
) -> Result<Partition, PartitionError> {
    let options = plan.options(options);
    let job = Job::new(model, tables, &options);
    let will = Will::of(&options, model, &job.graphs)?;
    let rules = AllRules::new((model, &job.graphs), &job.programs, &will, &options.denied)?;
    let told = |error| PartitionError::Plan(plan.error(error, model, tables));
    plan.check_folds(removed).map_err(told)?;
    let merged = job.replay(&rules).run(&plan.steps, check).map_err(told)?;
    let mut partition = job.describe(&merged, &rules);
    partition.recall(&plan.reasons(), (Kind::User, "the plan keeps it on the host"));
    if let Some(objection) = rules::ask(&mut partition, &job.graphs, check).into_iter().next() {
        let region = &partition.regions[objection.region];
        let why = format!("{} refuses region {}: {}", region.vendor_name, region.name, objection.words);
        return Err(told(StepError { step: plan.step_of(region, model), why }));
    }
    job.predict(&mut partition);
    // What greedy would have made of it is known from when the plan was made.
    partition.greedy_predicted = plan.predicted.greedy_us.map(|us| Total { us, ..Total::default() });
    partition.policy = plan.options.policy;
    job.verify(&partition)?;
    rules.check_forced(&partition, &will)?;
    Ok(partition)
}

/// The partition without some of its regions, whose nodes go to the host. Nothing else changes but what
/// follows from that, and vendors are not asked.
pub fn drop_regions(
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
    partition: &Partition,
    dropped: &[Dropped],
) -> Result<Partition, PartitionError> {
    let job = Job::new(model, tables, options);
    let rules = AllRules::new((model, &job.graphs), &job.programs, &Will::default(), &[])?;
    let mut left = job.without(partition, dropped, &rules)?;
    job.predict(&mut left);
    left.greedy_predicted = partition.greedy_predicted;
    left.policy = partition.policy;
    job.verify(&left)?;
    Ok(left)
}

/// A region that a vendor loses, and why.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// Index among the partition's regions.
    pub region: usize,
    pub kind: Kind,
    pub detail: String,
}

/// A model on its way to a partition.
struct Job<'m> {
    model: &'m Model,
    graphs: Vec<(GraphPath, &'m Graph)>,
    forms: Vec<Vec<Form>>,
    programs: Programs,
    prices: Prices,
    rivals: bool,
}

impl<'m> Job<'m> {
    fn new(model: &'m Model, tables: &[PatternTable], options: &Options) -> Job<'m> {
        let graphs = place::graphs(model);
        let enabled = |name: &str| !options.disabled_passes.iter().any(|p| p == name);
        let forms = graphs.iter().map(|(_, graph)| recognise(graph, &enabled)).collect();
        let prices = Prices::new(&options.cost, tables, &options.times);
        let programs = Programs::compile(tables, &options.targets);
        Job { model, graphs, forms, programs, prices, rivals: options.rivals }
    }

    fn replay<'a>(&'a self, rules: &'a AllRules<'a>) -> Replay<'a, 'a> {
        let Job { model, graphs, forms, programs, .. } = self;
        Replay { model, graphs, forms, programs, rules }
    }

    /// Cuts and asks the vendors, until all of them are content.
    fn settle(
        &self,
        rules: &mut AllRules<'_>,
        options: &Options,
        check: &mut dyn Check,
    ) -> Result<Partition, PartitionError> {
        let mut round = 1;
        loop {
            let merged = self.cut(rules, options, check);
            let mut partition = self.describe(&merged, rules);
            let objections = rules::ask(&mut partition, &self.graphs, check);
            if objections.is_empty() || round == MAX_ROUNDS {
                let mut partition = self.keep_accepted(partition, objections, rules, check)?;
                self.predict(&mut partition);
                return Ok(partition);
            }
            rules.add(&partition, objections);
            round += 1;
        }
    }

    /// What the partition is going to take, where that is known.
    fn predict(&self, partition: &mut Partition) {
        if !self.prices.any {
            return;
        }
        let mut total = Total::default();
        for (path, graph) in &self.graphs {
            let regions: Vec<&Region> = partition.regions.iter().filter(|r| r.graph == *path).collect();
            let predicted = cost::predict(path, graph, &regions, &self.prices);
            total.us += predicted.total.us;
            total.partial |= predicted.total.partial;
            let here = partition.regions.iter_mut().filter(|r| r.graph == *path);
            here.zip(predicted.regions).for_each(|(region, us)| region.predicted_us = us);
        }
        partition.predicted = Some(total);
    }

    /// After the last round: regions that a vendor still refuses go to the host whole, until none is left. As
    /// regions only go, this ends.
    fn keep_accepted(
        &self,
        mut partition: Partition,
        mut objections: Vec<rules::Objection>,
        rules: &AllRules<'_>,
        check: &mut dyn Check,
    ) -> Result<Partition, PartitionError> {
        while !objections.is_empty() {
            let dropped = objections.into_iter().map(|o| Dropped {
                region: o.region,
                kind: Kind::Vendor,
                detail: o.words,
            });
            partition = self.without(&partition, &dropped.collect::<Vec<_>>(), rules)?;
            objections = rules::ask(&mut partition, &self.graphs, check);
        }
        Ok(partition)
    }

    fn without(
        &self,
        partition: &Partition,
        dropped: &[Dropped],
        rules: &AllRules<'_>,
    ) -> Result<Partition, PartitionError> {
        let is_dropped = |i: &usize| dropped.iter().any(|d| d.region == *i);
        let kept = (0..partition.regions.len()).filter(|i| !is_dropped(i)).map(|i| &partition.regions[i]);
        let steps = plan::steps_of(self.model, kept);
        // Each match has been accepted before.
        let merged = self.replay(rules).run(&steps, &mut NoCheck);
        let merged = merged.map_err(|e| PartitionError::Invalid(e.why))?;
        let mut left = self.describe(&merged, rules);
        let known = partition.reasons(dropped, self.model);
        left.recall(&known, (Kind::Taken, "every region that needs it had a copy of its own"));
        Ok(left)
    }

    /// Regions of all graphs, after limits.
    fn cut(&self, rules: &AllRules<'_>, options: &Options, check: &mut dyn Check) -> Vec<Merged<'_>> {
        let programs = &self.programs;
        let mut all = Vec::new();
        let view = |(i, (_, graph)): (usize, &(GraphPath, &'m Graph))| {
            View::new(self.model, graph, &self.forms[i], programs)
        };
        let views: Vec<View<'_>> = self.graphs.iter().enumerate().map(view).collect();
        let max_regions = |vendor| limits::max_regions(views.iter(), programs, vendor);
        let max_regions: Vec<usize> = (0..programs.vendors.len()).map(max_regions).collect();
        for ((i, (path, _)), view) in self.graphs.iter().enumerate().zip(views) {
            let rules = rules.of(i, &view);
            let (chosen, groups) = match options.policy {
                Policy::Greedy => {
                    let mut chosen = choose::greedily(&view, programs, &rules, check);
                    let groups = merge::merge(&view, programs, &mut chosen, &rules, options.merge_siblings);
                    (chosen, groups)
                }
                Policy::Cost | Policy::Measured => {
                    let setting = Setting {
                        view: &view,
                        path,
                        programs,
                        rules: &rules,
                        prices: &self.prices,
                        siblings: options.merge_siblings || self.prices.has_launches(),
                        max_regions: &max_regions,
                    };
                    choose::cost::choose(&setting, options.budget_ms, check)
                }
            };
            all.push(Merged { view, chosen, groups });
        }
        limits::apply(&mut all, programs);
        all.iter_mut().for_each(|m| copies::settle(&m.view, &mut m.chosen));
        all.iter_mut().for_each(|m| candidates::note_passed_over(&m.view, programs, &mut m.chosen));
        if self.rivals {
            for (i, m) in all.iter_mut().enumerate() {
                choose::look_past_takers(&m.view, programs, &rules.of(i, &m.view), &mut m.chosen);
            }
        }
        all
    }

    fn describe(&self, merged: &[Merged<'_>], rules: &AllRules<'_>) -> Partition {
        let (model, graphs, programs) = (self.model, &self.graphs, &self.programs);
        let mut partition = Partition {
            vendors: programs.vendors.iter().map(|v| v.name.clone()).collect(),
            graphs: graphs.iter().map(|(path, _)| path.clone()).collect(),
            regions: Vec::new(),
            host: Vec::new(),
            offloaded: Vec::new(),
            node_count: graphs.iter().map(|(_, graph)| graph.node_count()).sum(),
            policy: Policy::Greedy,
            predicted: None,
            greedy_predicted: None,
        };
        let mut names = Names { model, next: HashMap::new() };
        for (index, (Merged { view, chosen, groups }, (path, _))) in merged.iter().zip(graphs).enumerate() {
            for group in groups {
                let name = names.next(&programs.vendors[group.vendor].name);
                partition.regions.push(region::build(view, programs, chosen, group, name, path));
            }
            for place in 0..view.order.len() as u32 {
                let node = view.order[place as usize];
                if let Some(owner) = chosen.owner[place as usize] {
                    if self.rivals {
                        let taker = chosen.composites[owner as usize].program;
                        let reasons = explain::rivals(view, programs, &chosen.misses, place, taker);
                        partition.offloaded.push(OffloadedNode { graph: index, node, reasons });
                    }
                    continue;
                }
                let report = NodeReport {
                    name: view.label(place).to_owned(),
                    op: view.node(place).op.name.to_string(),
                    graph: path.text.clone(),
                    target: "host".to_owned(),
                    reasons: explain::reasons(view, programs, &chosen.misses, place),
                };
                let mut host = HostNode { graph: index, node, report };
                rules.add_reasons(&mut host);
                partition.host.push(host);
            }
        }
        partition
    }

    fn verify(&self, partition: &Partition) -> Result<(), PartitionError> {
        for (path, graph) in &self.graphs {
            let regions: Vec<&Region> = partition.regions.iter().filter(|r| r.graph == *path).collect();
            verify::verify(graph, &regions).map_err(PartitionError::Invalid)?;
        }
        Ok(())
    }
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
