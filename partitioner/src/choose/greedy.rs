//! The greedy policy: candidates are taken in their order.
//!
//! Each is tested only when its turn comes, so clauses are evaluated for nodes that are still free. What is
//! taken is contracted in the quotient at once, which is where cycles show.

use std::collections::HashMap;

use super::{Chosen, Composite, Rules, foresee};
use crate::candidates::{self, Candidate};
use crate::fold::{self, Folded};
use crate::known;
use crate::matcher::{Match, Matcher};
use crate::misses::{Misses, Stage};
use crate::options::{Check, MatchView, NoCheck};
use crate::program::{Program, Programs};
use crate::refusal::{Refusal, Taken};
use crate::view::{View, is_outlined};
use crate::where_clause::Language;
use byoc_graph::{NodeId, Type, ValueId};

pub fn choose(view: &View<'_>, programs: &Programs, rules: &Rules, check: &mut dyn Check) -> Chosen {
    let mut misses = Misses::new(programs.vendors.len(), view.order.len());
    let mut candidates = candidates::find(view, programs, &mut misses);
    let forced = |vendor: usize, nodes: &[u32]| nodes.iter().any(|n| rules.forced.get(n) == Some(&vendor));
    candidates::sort(&mut candidates, view, programs, &forced);
    let mut chooser = match Chooser::new(view, programs, rules, check, misses) {
        Ok(chooser) => chooser,
        Err(nothing) => return *nothing,
    };
    for candidate in &candidates.list {
        let nodes = candidates.nodes(candidate);
        if let Err(refusal) = chooser.consider(candidate, nodes) {
            let program = candidate.program as usize;
            let (open, lost): (Vec<u32>, Vec<u32>) = match refusal {
                Refusal::Taken(_) => nodes.iter().partition(|n| chooser.chosen.owner[**n as usize].is_none()),
                _ => (nodes.to_vec(), Vec::new()),
            };
            let (vendor, stage) = (programs.all[program].vendor, refusal.stage());
            chooser.chosen.misses.refused(vendor, program, [(&open, stage), (&lost, Stage::Lost)], refusal);
        }
    }
    chooser.chosen
}

/// Says of matches whose nodes another composite has whether anything else stands against them: clauses and
/// cycles are not tested while nodes are not free.
pub fn look_past_takers(view: &View<'_>, programs: &Programs, rules: &Rules, chosen: &mut Chosen) {
    let mut misses = std::mem::replace(&mut chosen.misses, Misses::new(0, 0));
    let nothing = Misses::new(programs.vendors.len(), view.order.len());
    let mut check = NoCheck;
    if let Ok(mut chooser) = Chooser::new(view, programs, rules, &mut check, nothing) {
        let mut known: HashMap<(u32, u32, u32), Option<Refusal>> = HashMap::new();
        misses.each_taken(&mut |taken| {
            let Candidate { program, root, way, .. } = taken.candidate;
            let besides = known.entry((program, root, way)).or_insert_with(|| {
                let nodes = chooser.matcher.nth(program as usize, root, way as usize)?.nodes.to_vec();
                let cycle = || foresee::cycle(chosen, &nodes).map(Refusal::Cycle);
                chooser.admit(&taken.candidate, &nodes, false).err().or_else(cycle)
            });
            taken.besides = besides.clone().map(Box::new);
        });
    }
    chosen.misses = misses;
}

/// Takes matches one by one; each is tested against those that were taken before.
pub struct Chooser<'a, 'v, 'g> {
    view: &'v View<'g>,
    programs: &'v Programs,
    rules: &'a Rules,
    check: &'a mut dyn Check,
    pub matcher: Matcher<'v, 'g>,
    language: Language,
    pub chosen: Chosen,
}

impl<'a, 'v, 'g> Chooser<'a, 'v, 'g> {
    /// `Err` is a choice of nothing, where the graph cannot be matched at all.
    pub fn new(
        view: &'v View<'g>,
        programs: &'v Programs,
        rules: &'a Rules,
        check: &'a mut dyn Check,
        misses: Misses,
    ) -> Result<Self, Box<Chosen>> {
        let chosen = Chosen::nothing(view, misses);
        match Matcher::new(view, programs) {
            Some(matcher) => {
                let language = Language::default();
                Ok(Chooser { view, programs, rules, check, matcher, language, chosen })
            }
            None => Err(Box::new(chosen)),
        }
    }

    /// Takes the match, or says why not.
    pub fn consider(&mut self, candidate: &Candidate, nodes: &[u32]) -> Result<(), Refusal> {
        let composite = self.admit(candidate, nodes, true)?;
        self.chosen.take(self.view, composite)
    }

    /// The match with its names, if rules, clauses and vendor let it pass; whether its nodes are `free`, and
    /// cycles, depend on what else is taken.
    pub fn admit(&mut self, candidate: &Candidate, nodes: &[u32], free: bool) -> Result<Composite, Refusal> {
        let program = &self.programs.all[candidate.program as usize];
        let copies = self.copied(program, candidate.root, nodes);
        let owned: Vec<u32> = nodes.iter().copied().filter(|n| !copies.contains(n)).collect();
        self.test_rules(program, nodes)?;
        if free {
            self.test_free(candidate, &owned)?;
        }
        let max = self.programs.vendors[program.vendor].limits.max_region_nodes;
        if nodes.len() > max {
            return Err(Refusal::TooLarge { nodes: nodes.len(), max });
        }
        self.test_static(program, nodes)?;
        let (id, root, way) = (candidate.program as usize, candidate.root, candidate.way as usize);
        let Some(found) = self.matcher.nth(id, root, way) else {
            return Err(Refusal::Steps);
        };
        self.test_clauses(program, &found)?;
        self.test_escape(program, nodes, &owned)?;
        let name = |n: usize| Some((program.names[n].clone(), found.names[n]?));
        let bindings: Vec<(String, ValueId)> = (0..program.names.len()).filter_map(name).collect();
        let folded = fold::folded(self.view, program, &found);
        self.ask_vendor(program, nodes, &bindings, &folded)?;
        let root = self.view.units[root as usize].nodes.last().copied().unwrap_or_default();
        Ok(Composite { program: id, root, nodes: owned, copies, bindings, folded })
    }

    /// DequantizeLinear inside that is used outside as well: the composite gets a copy of its own.
    fn copied(&self, program: &Program, root: u32, nodes: &[u32]) -> Vec<u32> {
        if program.allow_taps || nodes.len() < 2 {
            return Vec::new();
        }
        let is_root = |n: u32| self.view.units[root as usize].nodes.contains(&n);
        let is_copied = |&n: &u32| {
            let node = self.view.node(n);
            &*node.op.name == "DequantizeLinear" && !is_root(n) && {
                let value = node.output(0);
                value.is_some_and(|v| self.user_outside(v, nodes).is_some())
            }
        };
        nodes.iter().copied().filter(is_copied).collect()
    }

    /// Who outside `nodes` uses the value: a node, or (`None` inside) the graph's caller.
    fn user_outside(&self, value: ValueId, nodes: &[u32]) -> Option<Option<u32>> {
        let outside = self.view.users(value).find(|u| nodes.binary_search(u).is_err());
        outside.map(Some).or_else(|| self.view.is_output(value).then_some(None))
    }

    fn test_rules(&self, program: &Program, nodes: &[u32]) -> Result<(), Refusal> {
        for &n in nodes {
            if let Some((kind, detail)) = self.rules.denied.get(&(program.vendor, n)) {
                return Err(Refusal::Denied(*kind, detail.clone()));
            }
            if let Some(&vendor) = self.rules.forced.get(&n)
                && vendor != program.vendor
            {
                return Err(Refusal::Forced { node: n, vendor });
            }
            if is_outlined(self.view.node(n)) {
                return Err(Refusal::Outlined { node: n });
            }
        }
        let inside = |place: &u32| nodes.binary_search(place).is_ok();
        match self.rules.severed.iter().find(|(from, to)| inside(from) && inside(to)) {
            Some(&(from, to)) => Err(Refusal::Cut { from, to }),
            None => Ok(()),
        }
    }

    fn test_free(&self, candidate: &Candidate, owned: &[u32]) -> Result<(), Refusal> {
        let composite =
            |n: &u32| Some((*n, &self.chosen.composites[self.chosen.owner[*n as usize]? as usize]));
        let mut takers = owned.iter().filter_map(composite).peekable();
        let Some(&(node, first)) = takers.peek() else { return Ok(()) };
        let mut taken = Taken {
            candidate: *candidate,
            node,
            program: first.program,
            root: first.root,
            priority: i64::MIN,
            same: false,
            forced: false,
            besides: None,
        };
        for (_, taker) in takers {
            let program = &self.programs.all[taker.program];
            taken.priority = taken.priority.max(program.priority);
            taken.same |= taker.program == candidate.program as usize;
            taken.forced |= taker.nodes.iter().any(|n| self.rules.forced.get(n) == Some(&program.vendor));
        }
        Err(Refusal::Taken(taken))
    }

    fn test_static(&self, program: &Program, nodes: &[u32]) -> Result<(), Refusal> {
        if !self.programs.vendors[program.vendor].limits.static_shapes {
            return Ok(());
        }
        let graph = self.view.graph;
        for &n in nodes {
            let node = self.view.node(n);
            for value in node.dependencies().chain(node.outputs().iter().flatten().copied()) {
                let ty = graph.value(value).ty.as_ref();
                if ty.and_then(Type::as_tensor).and_then(|t| t.static_dims()).is_none() {
                    return Err(Refusal::NotStatic { value });
                }
            }
        }
        Ok(())
    }

    fn test_clauses(&self, program: &Program, found: &Match) -> Result<(), Refusal> {
        let known = |name: &str| known::named(self.view, program, found, name);
        for clause in &program.clauses {
            let outcome = clause.evaluate(&self.language, &known);
            outcome.map_err(Refusal::Clause)?;
        }
        Ok(())
    }

    fn test_escape(&self, program: &Program, nodes: &[u32], owned: &[u32]) -> Result<(), Refusal> {
        if program.allow_taps {
            return Ok(());
        }
        for &n in owned {
            for &value in self.view.node(n).outputs().iter().flatten() {
                let used_inside = || self.view.users(value).any(|u| nodes.binary_search(&u).is_ok());
                if let Some(user) = self.user_outside(value, owned)
                    && used_inside()
                {
                    return Err(Refusal::Escape { value, user });
                }
            }
        }
        Ok(())
    }

    fn ask_vendor(
        &mut self,
        program: &Program,
        nodes: &[u32],
        bindings: &[(String, ValueId)],
        folded: &[Folded],
    ) -> Result<(), Refusal> {
        let nodes: Vec<NodeId> = nodes.iter().map(|n| self.view.order[*n as usize]).collect();
        let graph = self.view.graph;
        let view = MatchView {
            vendor: program.vendor,
            graph,
            pattern: &program.name,
            nodes: &nodes,
            bindings,
            folded,
        };
        self.check.check_match(&view).map_err(Refusal::Vendor)
    }
}
