//! Looks for the selection that takes the least time: from several starts, by cuts and then by single moves.
//!
//! Moves are counted, not timed, so the result is the same on every machine. Only what is evaluated in full,
//! cycles, regions, limits and calls included, is ever accepted.

use super::cut;
use super::problem::{Evaluated, Problem, Taken};

/// One unit is about a microsecond.
const UNITS_PER_MS: u64 = 1000;
/// Units a node that is carried out.
const EVALUATION_UNITS: u64 = 4;
/// Units a node that a cut takes.
const CUT_UNITS: u64 = 20;
/// Networks beyond this take longer than they are worth.
const MAX_CUT_NODES: usize = 20_000;
/// What counts as less time.
const EPSILON: f64 = 1e-9;

pub struct Search<'a, 'p, 'g> {
    problem: &'a Problem<'p, 'g>,
    units: u64,
    /// Offers, the one that saves most first.
    by_saving: Vec<u32>,
}

impl<'a, 'p, 'g> Search<'a, 'p, 'g> {
    pub fn new(problem: &'a Problem<'p, 'g>, budget_ms: u64) -> Self {
        let saving = |id: u32| {
            let offer = problem.offer(id);
            offer.composite.nodes.iter().map(|n| problem.host_us[*n as usize]).sum::<f64>()
                - problem.work_us[id as usize]
        };
        let mut by_saving: Vec<u32> = (0..problem.offers.len() as u32).collect();
        by_saving.sort_by(|a, b| saving(*b).total_cmp(&saving(*a)));
        Search { problem, units: budget_ms.saturating_mul(UNITS_PER_MS), by_saving }
    }

    /// The best that is found from what the greedy policy has, and never worse.
    pub fn run(&mut self, greedy: &[u32]) -> Option<Evaluated> {
        let frozen: Vec<u32> =
            (0..self.problem.offers.len() as u32).filter(|id| self.problem.offer(*id).frozen).collect();
        let base = self.problem.all_of(&frozen);
        let first = self.problem.evaluate(&self.problem.all_of(greedy))?;
        let mut starts = vec![base.clone(), self.filled(&base, &|_| true)];
        let vendors = self.problem.setting.programs.vendors.len();
        if vendors > 1 {
            starts.extend((0..vendors).map(|v| self.filled(&base, &|id| self.problem.offer(id).vendor == v)));
        }
        // All of them are looked at before any is improved, which on a large graph takes the whole budget.
        let mut starts: Vec<Evaluated> = starts.iter().filter_map(|start| self.try_out(start)).collect();
        starts.insert(0, first);
        starts.sort_by(|a, b| a.us.total_cmp(&b.us));
        let left = starts.len();
        let ends = starts.into_iter().enumerate().map(|(i, start)| self.descend(start, (left - i) as u64));
        ends.reduce(|best, end| if end.us < best.us - EPSILON { end } else { best })
    }

    fn spend(&mut self, units: u64) -> bool {
        let enough = self.units >= units;
        self.units = self.units.saturating_sub(units);
        enough
    }

    fn try_out(&mut self, taken: &Taken) -> Option<Evaluated> {
        let nodes = taken.owner.len() as u64;
        if self.spend(EVALUATION_UNITS * nodes) { self.problem.evaluate(taken) } else { None }
    }

    /// Accepts a selection if it takes less time, at a fraction of the price where it cannot.
    fn improve(&mut self, at: &mut Evaluated, taken: &Taken) -> bool {
        let nodes = taken.owner.len() as u64;
        if !self.spend(1 + nodes / 8) {
            return false;
        }
        let mut calls: Vec<Option<f64>> = vec![None; self.problem.setting.programs.vendors.len()];
        for &id in &taken.list {
            let offer = self.problem.offer(id);
            let call_us = self.problem.call_us(id);
            let least = calls[offer.vendor].get_or_insert(call_us);
            *least = least.min(call_us);
        }
        let launches: f64 = calls.iter().flatten().sum();
        if self.problem.flat_us(taken) + launches >= at.us - EPSILON && !self.has_limits() {
            return false;
        }
        match self.try_out(taken) {
            Some(better) if better.us < at.us - EPSILON => {
                *at = better;
                true
            }
            _ => false,
        }
    }

    /// Limits can take away what costs more than it saves.
    fn has_limits(&self) -> bool {
        let vendors = &self.problem.setting.programs.vendors;
        vendors.iter().any(|v| v.limits.min_region_nodes > 1 || v.limits.require_compute)
    }

    /// The selection with every further offer that fits beside it, the one that saves most first.
    fn filled(&self, taken: &Taken, wanted: &dyn Fn(u32) -> bool) -> Taken {
        let mut filled = taken.clone();
        for &id in self.by_saving.iter().filter(|id| wanted(**id)) {
            if self.problem.is_free(&filled, id) {
                self.problem.insert(&mut filled, id);
            }
        }
        filled
    }

    /// Improves a selection, with one of so many shares of the budget that is left.
    fn descend(&mut self, start: Evaluated, shares: u64) -> Evaluated {
        let mut at = start;
        let share = self.units / shares;
        let later = self.units - share;
        self.units = share;
        self.cut(&mut at);
        while self.units > 0 && (self.move_offers(&mut at) | self.move_regions(&mut at)) {}
        self.units += later;
        at
    }

    /// Expansions towards the host and towards each vendor, until none helps.
    fn cut(&mut self, at: &mut Evaluated) {
        let problem = self.problem;
        let nodes = at.taken.owner.len();
        let vendors = problem.setting.programs.vendors.len();
        let mut better = nodes <= MAX_CUT_NODES;
        while std::mem::take(&mut better) {
            for target in (0..vendors).map(Some).chain([None]) {
                let kept = problem.all_of(
                    &at.taken.list.iter().copied().filter(|id| problem.offer(*id).frozen).collect::<Vec<_>>(),
                );
                let of_target = |id: u32| Some(problem.offer(id).vendor) == target;
                let proposed = self.filled(&kept, &of_target);
                for launch in [0.0, 1.0] {
                    if !self.spend(CUT_UNITS * nodes as u64) {
                        return;
                    }
                    let mixed = cut::expand(problem, &at.taken, &proposed, launch);
                    better |= self.improve(at, &mixed);
                }
            }
        }
    }

    /// Takes or leaves single offers; a new one also together with a neighbour, or with what fits in the place
    /// of what it drives out.
    fn move_offers(&mut self, at: &mut Evaluated) -> bool {
        let problem = self.problem;
        let mut any = false;
        for id in 0..problem.offers.len() as u32 {
            if self.units == 0 {
                break;
            }
            if problem.offer(id).frozen {
                continue;
            }
            if at.taken.has(id) {
                let mut taken = at.taken.clone();
                problem.remove(&mut taken, id);
                any |= self.improve(at, &taken) || {
                    let filled = self.filled(&taken, &|other| other != id && self.overlap(other, id));
                    filled != taken && self.improve(at, &filled)
                };
                continue;
            }
            let Some(with) = self.with(&at.taken, id) else { continue };
            if self.improve(at, &with) {
                any = true;
                continue;
            }
            let filled = self.filled(&with, &|other| self.near(other, id, &at.taken));
            if filled != with && self.improve(at, &filled) {
                any = true;
                continue;
            }
            for other in self.neighbours(id) {
                let Some(both) = self.with(&with, other).filter(|t| t.has(id)) else { continue };
                if self.improve(at, &both) {
                    any = true;
                    break;
                }
            }
        }
        any
    }

    fn overlap(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.problem.offer(a).composite.nodes, &self.problem.offer(b).composite.nodes);
        a.iter().any(|n| b.contains(n))
    }

    /// Whether an offer could stand where `id` has driven something out of `before`.
    fn near(&self, other: u32, id: u32, before: &Taken) -> bool {
        let driven = self.problem.offer(id).composite.nodes.iter().filter_map(|n| before.owner[*n as usize]);
        let mut driven = driven.peekable();
        driven.peek().is_some() && driven.any(|d| d != other && self.overlap(d, other))
    }

    /// The selection with an offer in the place of what it overlaps; nothing where that is frozen.
    fn with(&self, taken: &Taken, id: u32) -> Option<Taken> {
        let mut with = taken.clone();
        for n in &self.problem.offer(id).composite.nodes {
            if let Some(other) = with.owner[*n as usize] {
                if self.problem.offer(other).frozen {
                    return None;
                }
                self.problem.remove(&mut with, other);
            }
        }
        self.problem.insert(&mut with, id);
        Some(with)
    }

    /// Offers of the same vendor that an edge joins with this one.
    fn neighbours(&self, id: u32) -> Vec<u32> {
        let view = self.problem.setting.view;
        let offer = self.problem.offer(id);
        let mut found = Vec::new();
        for n in &offer.composite.nodes {
            let node = view.node(*n);
            let makers = node.dependencies().filter_map(|v| view.producer(v));
            let users = node.outputs().iter().flatten().flat_map(|v| view.users(*v));
            for place in makers.chain(users) {
                found.extend(self.problem.by_node[place as usize].iter().copied());
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|other| *other != id && self.problem.offer(*other).vendor == offer.vendor);
        found.retain(|other| !self.overlap(*other, id));
        found
    }

    /// Gives whole regions to the host or to another vendor.
    fn move_regions(&mut self, at: &mut Evaluated) -> bool {
        let problem = self.problem;
        let vendors = problem.setting.programs.vendors.len();
        let mut any = false;
        let regions: Vec<Vec<u32>> = at
            .groups
            .iter()
            .map(|g| {
                g.composites.iter().flat_map(|c| at.chosen.composites[*c as usize].nodes.clone()).collect()
            })
            .collect();
        let mut inside = vec![None; at.taken.owner.len()];
        for (region, nodes) in regions.into_iter().enumerate() {
            if self.units == 0 {
                break;
            }
            nodes.iter().for_each(|n| inside[*n as usize] = Some(region));
            let mut without = at.taken.clone();
            for id in nodes.iter().filter_map(|n| at.taken.owner[*n as usize]) {
                if !problem.offer(id).frozen {
                    problem.remove(&mut without, id);
                }
            }
            any |= self.improve(at, &without);
            for vendor in 0..vendors {
                let here = |id: u32| {
                    let offer = problem.offer(id);
                    offer.vendor == vendor
                        && offer.composite.nodes.iter().all(|n| inside[*n as usize] == Some(region))
                };
                let moved = self.filled(&without, &here);
                any |= moved != without && self.improve(at, &moved);
            }
        }
        any
    }
}
