//! Carries out the steps of a plan: the matches and merges that it names, each tested as if newly found.

use std::collections::HashMap;
use std::ops::ControlFlow;

use byoc_graph::recognise::Form;
use byoc_graph::{Graph, Model};

use super::Step;
use crate::candidates::Candidate;
use crate::choose::{Chooser, Rules};
use crate::explain;
use crate::limits::{self, Merged};
use crate::misses::Misses;
use crate::options::Check;
use crate::place::GraphPath;
use crate::program::Programs;
use crate::rules::AllRules;
use crate::view::View;
use crate::{copies, merge};

/// A step, by its index, that does not fit.
pub struct StepError {
    pub step: usize,
    pub why: String,
}

/// What steps are carried out on.
pub struct Replay<'a, 'g> {
    pub model: &'a Model,
    pub graphs: &'a [(GraphPath, &'g Graph)],
    pub forms: &'g [Vec<Form>],
    pub programs: &'a Programs,
    pub rules: &'a AllRules<'a>,
}

impl<'g> Replay<'_, 'g> {
    /// The regions that the steps make, in every graph.
    pub fn run(&self, steps: &[Step], check: &mut dyn Check) -> Result<Vec<Merged<'g>>, StepError> {
        self.check_names(steps)?;
        let mut all = Vec::new();
        let mut places = Vec::new();
        for (index, (path, graph)) in self.graphs.iter().enumerate() {
            let view = View::new(self.model, graph, &self.forms[index], self.programs);
            let rules = self.rules.of(index, &view);
            let mut hand = Hand::new(&view, self.programs, &rules);
            let merged = hand.play(steps, &path.text, check)?;
            places.push(hand.placed);
            let (chosen, groups) = merged;
            all.push(Merged { view, chosen, groups });
        }
        self.check_limits(&all, &places)?;
        all.iter_mut().for_each(|m| copies::settle(&m.view, &mut m.chosen));
        Ok(all)
    }

    /// Graphs and vendors have to be there, whether or not anything can be matched in them.
    fn check_names(&self, steps: &[Step]) -> Result<(), StepError> {
        for (step, what) in steps.iter().enumerate() {
            let (graph, vendor) = match what {
                Step::Place { graph, vendor, .. } => (graph, Some(vendor)),
                Step::Merge { graph, .. } => (graph, None),
                _ => continue,
            };
            if !self.graphs.iter().any(|(path, _)| path.text == *graph) {
                return Err(StepError { step, why: format!("the model has no graph `{graph}`") });
            }
            let absent = |v: &&String| !self.programs.vendors.iter().any(|known| known.name == **v);
            if let Some(vendor) = vendor.filter(absent) {
                let why = format!("no vendor is named `{vendor}`; give its --plugin or --table");
                return Err(StepError { step, why });
            }
        }
        Ok(())
    }

    /// Limits of vendors hold for plans as well: a region that breaks one is named by its first step.
    fn check_limits(&self, all: &[Merged<'_>], placed: &[Vec<usize>]) -> Result<(), StepError> {
        let step = |graph: usize, composites: &[u32]| {
            let steps = composites.iter().map(|c| placed[graph][*c as usize]);
            steps.min().unwrap_or_default()
        };
        for (graph, merged) in all.iter().enumerate() {
            for group in &merged.groups {
                if let Some(why) = limits::refusal(&merged.view, &merged.chosen, group, self.programs) {
                    return Err(StepError { step: step(graph, &group.composites), why });
                }
            }
        }
        for (vendor, about) in self.programs.vendors.iter().enumerate() {
            let max = limits::max_regions(all.iter().map(|m| &m.view), self.programs, vendor);
            let regions = all.iter().enumerate().flat_map(|(g, m)| m.groups.iter().map(move |r| (g, r)));
            if let Some((graph, group)) = regions.filter(|(_, r)| r.vendor == vendor).nth(max) {
                let why = format!("{} takes {max} regions at most (max_regions)", about.name);
                return Err(StepError { step: step(graph, &group.composites), why });
            }
        }
        Ok(())
    }
}

/// Places and merges in one graph.
struct Hand<'a, 'g> {
    view: &'a View<'g>,
    programs: &'a Programs,
    rules: &'a Rules,
    /// Places of nodes by name.
    by_name: HashMap<&'g str, u32>,
    /// Units by the place of their last node.
    by_root: HashMap<u32, Vec<u32>>,
    /// By composite: the step that placed it.
    placed: Vec<usize>,
}

impl<'a, 'g> Hand<'a, 'g> {
    fn new(view: &'a View<'g>, programs: &'a Programs, rules: &'a Rules) -> Hand<'a, 'g> {
        let by_name = (0..view.order.len() as u32).map(|place| (view.label(place), place)).collect();
        let mut by_root: HashMap<u32, Vec<u32>> = HashMap::new();
        for (id, unit) in view.units.iter().enumerate() {
            if let Some(root) = unit.nodes.last() {
                by_root.entry(*root).or_default().push(id as u32);
            }
        }
        Hand { view, programs, rules, by_name, by_root, placed: Vec::new() }
    }

    fn play(
        &mut self,
        steps: &[Step],
        path: &str,
        check: &mut dyn Check,
    ) -> Result<(crate::choose::Chosen, Vec<merge::Group>), StepError> {
        let misses = Misses::new(self.programs.vendors.len(), self.view.order.len());
        let mut chooser = match Chooser::new(self.view, self.programs, self.rules, check, misses) {
            Ok(chooser) => chooser,
            Err(nothing) => {
                let is_here = |s: &Step| matches!(s, Step::Place { graph, .. } if graph == path);
                return match steps.iter().position(is_here) {
                    None => Ok((*nothing, Vec::new())),
                    Some(step) => Err(StepError { step, why: "nothing can be matched there".to_owned() }),
                };
            }
        };
        for (step, what) in steps.iter().enumerate() {
            let done = match what {
                Step::Place { graph, vendor, pattern, root, nodes } if graph == path => {
                    self.placed.push(step);
                    self.place(&mut chooser, (vendor, pattern), root, nodes)
                }
                Step::Merge { graph, roots } if graph == path => self.merge(&mut chooser, roots),
                _ => Ok(()),
            };
            done.map_err(|why| StepError { step, why })?;
        }
        let mut chosen = chooser.chosen;
        let groups = merge::groups(self.view, self.programs, &mut chosen);
        Ok((chosen, groups))
    }

    fn node(&self, name: &str) -> Result<u32, String> {
        self.by_name.get(name).copied().ok_or_else(|| format!("no node is named `{name}`"))
    }

    fn place(
        &self,
        chooser: &mut Chooser<'_, '_, '_>,
        (vendor, pattern): (&str, &str),
        root: &str,
        nodes: &[String],
    ) -> Result<(), String> {
        let vendor_index = self.programs.vendors.iter().position(|v| v.name == vendor);
        let is_it = |p: &usize| {
            let program = &self.programs.all[*p];
            Some(program.vendor) == vendor_index && program.name == pattern
        };
        let programs: Vec<usize> = (0..self.programs.all.len()).filter(is_it).collect();
        if programs.is_empty() {
            return Err(format!("the table of {vendor} has no pattern `{pattern}`"));
        }
        let root = self.node(root)?;
        let mut wanted = nodes.iter().map(|n| self.node(n)).collect::<Result<Vec<u32>, _>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let mut why = None;
        for program in programs {
            for &unit in &self.by_root[&root] {
                match self.place_at(chooser, program, unit, &wanted) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => why = why.max(Some(refusal)),
                }
            }
        }
        Err(why.map_or(String::new(), |(_, words)| words))
    }

    /// `Err` says why not, behind how near it came.
    fn place_at(
        &self,
        chooser: &mut Chooser<'_, '_, '_>,
        program: usize,
        unit: u32,
        wanted: &[u32],
    ) -> Result<(), (u8, String)> {
        let (mut ways, mut others, mut count) = (Vec::new(), None, 0);
        let miss = chooser.matcher.search(program, unit, &mut |found| {
            match *found.nodes == *wanted {
                true => ways.push(count),
                false => others = others.take().or_else(|| Some(found.nodes.to_vec())),
            }
            count += 1;
            ControlFlow::Continue(())
        });
        let mut refusal = match (others, miss) {
            (Some(nodes), _) => (1, format!("the pattern matches other nodes there: {}", self.names(&nodes))),
            (None, Some(miss)) => (0, self.words(program, unit, miss)),
            (None, None) => {
                let op = self.view.units[unit as usize].op;
                (0, format!("the pattern does not match there: its root is no {op}"))
            }
        };
        for way in ways {
            let candidate = Candidate::single(program as u32, unit, way);
            match chooser.consider(&candidate, wanted) {
                Ok(()) => return Ok(()),
                Err(why) => refusal = (2, why.words(self.view, self.programs)),
            }
        }
        Err(refusal)
    }

    fn words(&self, program: usize, unit: u32, miss: crate::matcher::NearestMiss) -> String {
        let vendor = self.programs.all[program].vendor;
        let place = self.view.units[unit as usize].nodes.last().copied().unwrap_or_default();
        let mut misses = Misses::new(self.programs.vendors.len(), self.view.order.len());
        misses.search(self.view, vendor, program, unit, miss);
        let reasons = explain::reasons(self.view, self.programs, &misses, place);
        let own = reasons.into_iter().find(|r| r.vendor == self.programs.vendors[vendor].name);
        format!("the pattern does not match there: {}", own.map_or(String::new(), |r| r.detail))
    }

    fn names(&self, places: &[u32]) -> String {
        places.iter().map(|p| format!("`{}`", self.view.label(*p))).collect::<Vec<_>>().join(", ")
    }

    /// All at once: of some regions, no two composites can be merged without the third.
    fn merge(&self, chooser: &mut Chooser<'_, '_, '_>, roots: &[String]) -> Result<(), String> {
        let chosen = &mut chooser.chosen;
        let (mut all, mut vendors, mut size) = (Vec::new(), Vec::new(), 0);
        for name in roots {
            let root = self.node(name)?;
            let owner = chosen.owner[root as usize].map(|o| &chosen.composites[o as usize]);
            let composite = owner.filter(|c| c.root == root);
            let composite = composite.ok_or_else(|| format!("no composite has its root at `{name}`"))?;
            all.extend(&composite.nodes);
            size += composite.nodes.len() + composite.copies.len();
            vendors.push(self.programs.all[composite.program].vendor);
        }
        let Some(&vendor) = vendors.first() else { return Ok(()) };
        let about = &self.programs.vendors[vendor];
        if let Some(other) = vendors.iter().find(|v| **v != vendor) {
            let other = &self.programs.vendors[*other].name;
            return Err(format!("it has composites of {} and of {other}", about.name));
        }
        if size > about.limits.max_region_nodes {
            let max = about.limits.max_region_nodes;
            return Err(format!("{size} nodes are more than max_region_nodes = {max}"));
        }
        all.sort_unstable();
        let inside = |place: &u32| all.binary_search(place).is_ok();
        if let Some((from, to)) = self.rules.severed.iter().find(|(from, to)| inside(from) && inside(to)) {
            return Err(format!("there is a cut between {}", self.names(&[*from, *to])));
        }
        match chosen.quotient.contract(&all) {
            Ok(_) => Ok(()),
            Err(path) => Err(format!("the region would wait for itself through {}", self.names(&path))),
        }
    }
}
