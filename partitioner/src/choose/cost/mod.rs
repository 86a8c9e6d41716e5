//! The cost policy: of all that vendors offer, what is predicted to take the least time.
//!
//! `offers` prices every match; `problem` says what a selection of them costs; `search` looks for the best one,
//! with `cut` for its large moves. What the greedy policy has is where it starts, and what is not known stays
//! as that has it.

mod cut;
pub mod offers;
mod problem;
mod search;

use byoc_graph::NodeId;

use super::{Chosen, Rules, greedily};
use crate::cost::Prices;
use crate::merge::Group;
use crate::misses::Stage;
use crate::options::Check;
use crate::place::GraphPath;
use crate::program::Programs;
use crate::report::Kind;
use crate::view::View;
use problem::{Evaluated, Problem};
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
    let host_us: Vec<Option<f64>> =
        view.order.iter().map(|id| prices.host_us(setting.path, view.graph, *id)).collect();
    let is_known =
        |(us, id): (&Option<f64>, &NodeId)| us.is_some() && !prices.is_guess(setting.path, view.graph, *id);
    let known: Vec<bool> = host_us.iter().zip(&view.order).map(is_known).collect();
    let (offers, greedy) = offers::collect(setting, &known, &chosen, check);
    let problem = Problem::new(setting, offers, &host_us);
    let best = Search::new(&problem, budget_ms).run(&greedy);
    if let Some(best) = &best {
        let mut better = Chosen::nothing(view, chosen.misses);
        for &id in &best.taken.list {
            // It was taken like this when it was evaluated.
            let _ = better.take(view, problem.offer(id).composite.clone());
        }
        tell(&problem, best, &mut better);
        better.misses.by_cost = true;
        chosen = better;
    }
    let mut groups = problem::regions(setting, &mut chosen, siblings);
    if let Some(best) = best {
        problem.appraise(&best.taken.list, &best.taken, &mut groups);
    }
    (chosen, groups)
}

/// Says of every offer that would have been possible why it was not taken.
fn tell(problem: &Problem<'_, '_>, best: &Evaluated, chosen: &mut Chosen) {
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
            let there = problem.rise_us(&mut taken, &mut copiers, id as u32) + host + offer.call_us;
            format!("{there:.1} µs with its call and transfers, {host:.1} µs on the host")
        } else {
            format!("{:.1} µs and other regions cut apart, {host:.1} µs on the host", offer.us)
        };
        let program = offer.composite.program;
        chosen.misses.told(offer.vendor, &open, Some(program), (Stage::Cost, Kind::Cost), &detail);
    }
}
