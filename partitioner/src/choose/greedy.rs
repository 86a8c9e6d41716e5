//! The greedy policy: candidates are taken in their order.
//!
//! Each is tested only when its turn comes, so clauses are evaluated for nodes that are still free. What is
//! taken is contracted in the quotient at once, which is where cycles show.

use super::{Chosen, Composite, Refusal, Rules};
use crate::candidates::{self, Candidate};
use crate::fold::{self, Folded};
use crate::matcher::{Match, Matcher};
use crate::misses::{Misses, Stage};
use crate::options::{Check, MatchView};
use crate::program::{Program, Programs};
use crate::report::Kind;
use crate::view::{View, is_outlined};
use crate::where_clause::{Known, Language};
use byoc_graph::{Attr, NodeId, Type, ValueId};

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
        if let Err((stage, kind, detail)) = chooser.consider(candidate, nodes) {
            let program = candidate.program as usize;
            let (open, lost): (Vec<u32>, Vec<u32>) = match kind {
                Kind::Taken => nodes.iter().partition(|n| chooser.chosen.owner[**n as usize].is_none()),
                _ => (nodes.to_vec(), Vec::new()),
            };
            let vendor = programs.all[program].vendor;
            let misses = &mut chooser.chosen.misses;
            misses.told(vendor, &open, Some(program), (stage, kind), &detail);
            misses.told(vendor, &lost, Some(program), (Stage::Lost, kind), &detail);
        }
    }
    chooser.chosen
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
            self.test_free(&owned)?;
        }
        let max = self.programs.vendors[program.vendor].limits.max_region_nodes;
        if nodes.len() > max {
            let detail = format!("{} nodes are more than max_region_nodes = {max}", nodes.len());
            return Err((Stage::Limit, Kind::Limit, detail));
        }
        self.test_static(program, nodes)?;
        let (id, root, way) = (candidate.program as usize, candidate.root, candidate.way as usize);
        let Some(found) = self.matcher.nth(id, root, way) else {
            return Err((Stage::Limit, Kind::Limit, "the search was given up".to_owned()));
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
                return Err((Stage::Vendor, *kind, detail.clone()));
            }
            if let Some(&vendor) = self.rules.forced.get(&n)
                && vendor != program.vendor
            {
                let wanted = &self.programs.vendors[vendor].name;
                let detail = format!("`{}` is forced to {wanted}", self.view.label(n));
                return Err((Stage::Vendor, Kind::User, detail));
            }
            if is_outlined(self.view.node(n)) {
                let detail = format!("`{}` calls a region of an earlier partition", self.view.label(n));
                return Err((Stage::Taken, Kind::Taken, detail));
            }
        }
        let inside = |place: &u32| nodes.binary_search(place).is_ok();
        if let Some((from, to)) = self.rules.severed.iter().find(|(from, to)| inside(from) && inside(to)) {
            let (from, to) = (self.view.label(*from), self.view.label(*to));
            return Err((Stage::Vendor, Kind::User, format!("there is a cut between `{from}` and `{to}`")));
        }
        Ok(())
    }

    fn test_free(&self, owned: &[u32]) -> Result<(), Refusal> {
        let taken = owned.iter().find_map(|n| Some((*n, self.chosen.owner[*n as usize]?)));
        let Some((node, owner)) = taken else { return Ok(()) };
        let program = &self.programs.all[self.chosen.composites[owner as usize].program];
        let vendor = &self.programs.vendors[program.vendor].name;
        let node = self.view.label(node);
        let detail = format!("`{node}` is part of a composite `{}` of {vendor}", program.name);
        Err((Stage::Taken, Kind::Taken, detail))
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
                    let ty = ty.map_or("not known".to_owned(), |t| format!("{t}"));
                    let name = self.view.value_name(value);
                    let detail =
                        format!("the type of `{name}` is {ty}, and the vendor takes static shapes only");
                    return Err((Stage::Limit, Kind::Limit, detail));
                }
            }
        }
        Ok(())
    }

    fn test_clauses(&self, program: &Program, found: &Match) -> Result<(), Refusal> {
        let known = |name: &str| {
            let index = program.names.iter().position(|n| n == name)?;
            Some(self.known(found, found.names[index]?))
        };
        for clause in &program.clauses {
            let outcome = clause.evaluate(&self.language, &known);
            outcome.map_err(|detail| (Stage::Where, Kind::Where, detail))?;
        }
        Ok(())
    }

    fn known(&self, found: &Match, value: ValueId) -> Known<'_> {
        let graph = self.view.graph;
        let mut known = Known {
            ty: graph.value(value).ty.as_ref(),
            constant: graph.constant(value).map(|t| &**t),
            attrs: Vec::new(),
            opset: None,
        };
        let units = found.units.iter().map(|u| &self.view.units[*u as usize]);
        if let Some(unit) = units.into_iter().find(|u| u.outputs.contains(&Some(value))) {
            let mut attrs: Vec<(String, Attr)> =
                unit.attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
            for schema in unit.schema.iter().flat_map(|s| s.attributes) {
                if let (Some(default), None) = (schema.default, unit.attrs.get(schema.name)) {
                    attrs.push((schema.name.to_owned(), default.to_attr()));
                }
            }
            (known.attrs, known.opset) = (attrs, Some(unit.opset));
        }
        known
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
                    let name = self.view.value_name(value);
                    let detail = match user {
                        Some(user) => format!("`{name}` is used by `{}` outside", self.view.label(user)),
                        None => format!("`{name}` is an output of the graph"),
                    };
                    return Err((Stage::Escape, Kind::Escape, detail));
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
        self.check.check_match(&view).map_err(|words| (Stage::Vendor, Kind::Vendor, words))
    }
}
