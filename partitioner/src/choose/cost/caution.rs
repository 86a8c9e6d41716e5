//! How sure a choice has to be that is not the greedy policy's.
//!
//! What greedy has is priced at its best and all else at its worst, as far as times may be off: what then takes less
//! time does so in spite of the errors. Of calls, as many as greedy has count at their best. What is given back to the
//! host beside a region is a chain of its own there, which costs a switch as well.

use petgraph::unionfind::UnionFind;

use super::Setting;
use super::offers::Offer;
use super::problem::{Figures, Problem, Taken};
use crate::choose::Chosen;
use crate::cost::Estimate;
use crate::merge::Group;

pub struct Caution {
    /// By vendor: greedy's regions.
    regions: Vec<usize>,
    /// By vendor: what a region beyond those costs in addition.
    further_us: Vec<f64>,
    /// By vendor: what a chain of nodes costs that are given back to the host beside a region.
    back_us: Vec<f64>,
    /// By place: the vendor that greedy gives the node.
    vendor: Vec<Option<usize>>,
}

/// The problem at such prices. `chosen` and `greedy` are what the greedy policy has: composites, and offers.
pub fn problem<'a, 'g>(
    setting: &'a Setting<'a, 'g>,
    offers: &'a [Offer],
    host: &[Estimate],
    chosen: &Chosen,
    greedy: &[u32],
) -> Problem<'a, 'g> {
    let time = |us: Estimate, is_greedy: bool| if is_greedy { us.at_best() } else { us.at_worst() };
    let has = |id: usize| greedy.binary_search(&(id as u32)).is_ok();
    let work = offers.iter().enumerate().map(|(id, offer)| time(offer.work, has(id)));
    let host = host.iter().zip(&chosen.owner).map(|(us, owner)| time(*us, owner.is_none()));
    let switches: Vec<Estimate> = setting.prices.vendors.iter().map(|v| v.switch).collect();
    let figures = Figures {
        work_us: work.collect(),
        host_us: host.collect(),
        switch_us: switches.iter().map(|s| s.at_best()).collect(),
    };
    let mut problem = Problem::new(setting, offers, figures);
    if switches.iter().any(|s| s.us > 0.0 && s.error > 0.0)
        && let Some(first) = problem.evaluate(&problem.all_of(greedy))
    {
        let program = |owner: u32| chosen.composites[owner as usize].program;
        let vendor = |owner: &Option<u32>| Some(setting.programs.all[program((*owner)?)].vendor);
        problem.caution = Some(Caution {
            regions: counts(&first.groups, switches.len()),
            further_us: switches.iter().map(|s| s.at_worst() - s.at_best()).collect(),
            back_us: switches.iter().map(|s| s.at_worst()).collect(),
            vendor: chosen.owner.iter().map(vendor).collect(),
        });
    }
    problem
}

fn counts(groups: &[Group], vendors: usize) -> Vec<usize> {
    let mut counts = vec![0; vendors];
    groups.iter().for_each(|group| counts[group.vendor] += 1);
    counts
}

impl Caution {
    /// What a selection costs in addition for not being greedy's.
    pub fn us(&self, setting: &Setting<'_, '_>, taken: &Taken, groups: &[Group]) -> f64 {
        let regions = counts(groups, self.regions.len());
        let further = regions.iter().zip(&self.regions).zip(&self.further_us);
        let further: f64 = further.map(|((now, greedy), us)| now.saturating_sub(*greedy) as f64 * us).sum();
        further + self.given_back_us(setting, taken)
    }

    fn given_back_us(&self, setting: &Setting<'_, '_>, taken: &Taken) -> f64 {
        let back = |place: &u32| {
            let place = *place as usize;
            self.vendor[place].filter(|_| taken.owner[place].is_none())
        };
        let places: Vec<u32> = (0..self.vendor.len() as u32).filter(|place| back(place).is_some()).collect();
        if places.is_empty() {
            return 0.0;
        }
        let mut chains: UnionFind<u32> = UnionFind::new(self.vendor.len());
        let mut at_regions: Vec<u32> = Vec::new();
        for &place in &places {
            let node = setting.view.node(place);
            let makers = node.dependencies().filter_map(|v| setting.view.producer(v));
            let users = node.outputs().iter().flatten().flat_map(|v| setting.view.users(*v));
            for other in makers.chain(users) {
                if back(&other).is_some() {
                    chains.union(other, place);
                } else if taken.owner[other as usize].is_some() {
                    at_regions.push(place);
                }
            }
        }
        let mut seen: Vec<u32> = at_regions.iter().map(|place| chains.find(*place)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.iter().filter_map(back).map(|vendor| self.back_us[vendor]).sum()
    }
}
