//! The cost policy: of all that vendors offer, what is predicted to take the least time.
//!
//! `offers` prices every match; `problem` says what a selection of them costs; `search` looks for the best one,
//! with `cut` for its large moves. What the greedy policy has is where it starts, and what is not known stays
//! as that has it.

mod caution;
mod cut;
pub mod offers;
mod problem;
mod search;

use byoc_graph::NodeId;

use super::{Chosen, Rules, greedily};
use crate::cost::{Estimate, Prices};
use crate::merge::Group;
use crate::misses::Stage;
use crate::options::Check;
use crate::place::GraphPath;
use crate::program::Programs;
use crate::report::Kind;
use crate::view::View;
use offers::Offer;
use problem::{Evaluated, Figures, Problem};
use search::Search;

/// What the choice is made for.
#[derive(Clone, Copy)]
pub struct Setting<'a, 'g> {
    pub view: &'a View<'g>,
    pub path: &'a GraphPath,
    pub programs: &'a Programs,
    pub rules: &'a Rules,
    pub prices: &'a Prices,
    /// Merge regions that no edge joins.
    pub siblings: bool,
    /// By vendor: regions that it may have in this graph.
    pub max_regions: &'a [usize],
}

/// Composites and their regions.
pub fn choose(setting: &Setting<'_, '_>, budget_ms: u64, check: &mut dyn Check) -> (Chosen, Vec<Group>) {
    let Setting { view, programs, rules, prices, siblings, .. } = *setting;
    let mut chosen = greedily(view, programs, rules, check);
    let host: Vec<Option<Estimate>> =
        view.order.iter().map(|id| prices.host(setting.path, view.graph, *id)).collect();
    let is_known = |(us, id): (&Option<Estimate>, &NodeId)| {
        us.is_some() && !prices.is_guess(setting.path, view.graph, *id)
    };
    let known: Vec<bool> = host.iter().zip(&view.order).map(is_known).collect();
    let host: Vec<Estimate> = host.into_iter().map(|us| us.unwrap_or(Estimate::exact(0.0))).collect();
    let (offers, greedy) = offers::collect(setting, &known, &chosen, check);
    let cautious = caution::problem(setting, &offers, &host, &chosen, &greedy);
    let best = Search::new(&cautious, budget_ms).run(&greedy);
    let problem = as_told(setting, &offers, &host);
    if let Some(best) = &best {
        let mut better = Chosen::nothing(view, chosen.misses);
        for &id in &best.taken.list {
            // It was taken like this when it was evaluated.
            let _ = better.take(view, problem.offer(id).composite.clone());
        }
        tell((&problem, &cautious), best, &mut better);
        better.misses.by_cost = true;
        chosen = better;
    }
    let mut groups = problem::regions(setting, &mut chosen, siblings);
    if let Some(best) = best {
        problem.appraise(&best.taken.list, &best.taken, &mut groups);
    }
    (chosen, groups)
}

/// The problem with every time as it is predicted.
fn as_told<'a, 'g>(setting: &'a Setting<'a, 'g>, offers: &'a [Offer], host: &[Estimate]) -> Problem<'a, 'g> {
    let figures = Figures {
        work_us: offers.iter().map(|offer| offer.work.us).collect(),
        host_us: host.iter().map(|us| us.us).collect(),
        switch_us: setting.prices.vendors.iter().map(|v| v.switch.us).collect(),
    };
    Problem::new(setting, offers, figures)
}

/// Says of every offer that would have been possible why it was not taken.
fn tell((problem, cautious): (&Problem<'_, '_>, &Problem<'_, '_>), best: &Evaluated, chosen: &mut Chosen) {
    let mut taken = best.taken.clone();
    let mut copiers = problem.copiers(&taken);
    for (id, offer) in problem.offers.iter().enumerate() {
        let open = |n: &&u32| chosen.owner[**n as usize].is_none();
        let open: Vec<u32> = offer.composite.nodes.iter().filter(open).copied().collect();
        if open.is_empty() {
            continue;
        }
        let host: f64 = open.iter().map(|n| problem.host_us[*n as usize]).sum();
        let detail = if problem.is_free(&taken, id as u32) {
            let mut rise =
                |p: &Problem<'_, '_>| p.rise_us(&mut taken, &mut copiers, id as u32) + p.call_us(id as u32);
            let (there, is_unsure) = (rise(problem), rise(cautious) >= 0.0);
            let unsure = if there < 0.0 && is_unsure { ", which is less than these may be off" } else { "" };
            let there = there + host;
            format!("{there:.1} µs with its call and transfers, {host:.1} µs on the host{unsure}")
        } else {
            format!("{:.1} µs and other regions cut apart, {host:.1} µs on the host", offer.work.us)
        };
        let program = offer.composite.program;
        chosen.misses.told(offer.vendor, &open, Some(program), (Stage::Cost, Kind::Cost), &detail);
    }
}
