//! What vendors offer, priced: every match that passes its own tests, whatever else is taken.

use std::collections::HashMap;

use byoc_graph::NodeId;

use super::Setting;
use crate::candidates::{self, Candidates};
use crate::choose::{Chooser, Chosen, Composite};
use crate::cost::{Estimate, RegionCost};
use crate::merge::Group;
use crate::misses::Misses;
use crate::options::{Answer, Check};
use crate::quotient::Quotient;
use crate::region;

/// The name of a match that is shown to its vendor as a region.
pub const ALONE: &str = "match";

pub struct Offer {
    pub composite: Composite,
    pub vendor: usize,
    /// Its work alone.
    pub work: Estimate,
    /// What a call takes the vendor of a region that has it.
    pub launch_us: f64,
    /// It stays as the greedy policy has it, since something about it is not known or a user wants it.
    pub frozen: bool,
}

/// All matches that could be taken, each set of nodes once a vendor: the cheapest. Also which of them `greedy`
/// has. `is_known` says by place of which nodes the host's time is known.
pub fn collect(
    setting: &Setting<'_, '_>,
    is_known: &[bool],
    greedy: &Chosen,
    check: &mut dyn Check,
) -> (Vec<Offer>, Vec<u32>) {
    let mut collector = Collector::new(setting, is_known, greedy);
    for composite in admitted(setting, check) {
        collector.add(composite, check);
    }
    let taken = greedy.composites.iter().filter_map(|c| collector.index.get(&collector.key(c)).copied());
    let mut taken: Vec<u32> = taken.collect();
    taken.sort_unstable();
    (collector.offers, taken)
}

fn admitted(setting: &Setting<'_, '_>, check: &mut dyn Check) -> Vec<Composite> {
    let Setting { view, programs, rules, .. } = *setting;
    let mut misses = Misses::new(programs.vendors.len(), view.order.len());
    let mut found: Candidates = candidates::find(view, programs, &mut misses);
    candidates::sort(&mut found, view, programs, &|_, _| false);
    let Ok(mut chooser) = Chooser::new(view, programs, rules, check, misses) else { return Vec::new() };
    let admit = |c| chooser.admit(c, found.nodes(c), false).ok();
    found.list.iter().filter_map(admit).collect()
}

type Key = (usize, Vec<u32>, Vec<u32>);

struct Collector<'a, 'g> {
    setting: &'a Setting<'a, 'g>,
    greedy: &'a Chosen,
    /// By place: the node stays where it is.
    is_fixed: Vec<bool>,
    offers: Vec<Offer>,
    index: HashMap<Key, u32>,
    /// Holds one match at a time, while its vendor is asked.
    alone: Chosen,
}

impl<'a, 'g> Collector<'a, 'g> {
    fn new(setting: &'a Setting<'a, 'g>, is_known: &'a [bool], greedy: &'a Chosen) -> Self {
        let nodes = setting.view.order.len();
        let mut collector = Collector {
            setting,
            greedy,
            is_fixed: (0..nodes).map(|n| !is_known[n] && greedy.owner[n].is_none()).collect(),
            offers: Vec::new(),
            index: HashMap::new(),
            alone: Chosen {
                composites: Vec::new(),
                owner: vec![None; nodes],
                copiers: HashMap::new(),
                quotient: Quotient::new(Vec::new()),
                misses: Misses::new(0, 0),
            },
        };
        for composite in &greedy.composites {
            let wanted = |n: &u32| setting.rules.forced.contains_key(n) || !is_known[*n as usize];
            if composite.nodes.iter().any(wanted) {
                composite.nodes.iter().for_each(|n| collector.is_fixed[*n as usize] = true);
            }
        }
        collector
    }

    fn key(&self, composite: &Composite) -> Key {
        let vendor = self.setting.programs.all[composite.program].vendor;
        (vendor, composite.nodes.clone(), composite.copies.clone())
    }

    fn price(&self, composite: &Composite, answer: RegionCost) -> Option<Estimate> {
        let Setting { view, programs, prices, .. } = *self.setting;
        let program = &programs.all[composite.program];
        let mut nodes: Vec<NodeId> =
            composite.nodes.iter().chain(&composite.copies).map(|n| view.order[*n as usize]).collect();
        nodes.sort_unstable();
        prices.composite(view.graph, (program.vendor, program.place), &nodes, answer)
    }

    fn add(&mut self, composite: Composite, check: &mut dyn Check) {
        let key = self.key(&composite);
        let in_greedy = self.greedy.owner[composite.nodes[0] as usize]
            .is_some_and(|o| self.key(&self.greedy.composites[o as usize]) == key);
        let fixed = composite.nodes.iter().any(|n| self.is_fixed[*n as usize]);
        if fixed && !in_greedy {
            return;
        }
        let nothing =
            (Estimate::exact(0.0), self.setting.prices.vendors[key.0].launch_us(RegionCost::default()));
        let price = if fixed { Some(nothing) } else { self.ask(&composite, check) };
        let (work, launch_us) = match price {
            Some(price) => price,
            None if in_greedy => nothing,
            None => return,
        };
        let frozen = fixed || price.is_none();
        let offer = Offer { vendor: key.0, work, launch_us, frozen, composite };
        match self.index.get(&key) {
            Some(&same) if self.offers[same as usize].work.us <= work.us => {}
            Some(&same) => self.offers[same as usize] = offer,
            None => {
                self.index.insert(key, self.offers.len() as u32);
                self.offers.push(offer);
            }
        }
    }

    /// What the match and its call take; nothing where that is not known or its vendor would not have it.
    fn ask(&mut self, composite: &Composite, check: &mut dyn Check) -> Option<(Estimate, f64)> {
        let Setting { view, programs, prices, path, .. } = *self.setting;
        let program = &programs.all[composite.program];
        let vendor = program.vendor;
        let size = composite.nodes.len() + composite.copies.len();
        let group = Group { vendor, composites: vec![0], size, first: composite.nodes[0], saves_us: None };
        composite.nodes.iter().for_each(|n| self.alone.owner[*n as usize] = Some(0));
        self.alone.composites = vec![composite.clone()];
        let region = region::build(view, programs, &self.alone, &group, ALONE.to_owned(), path);
        composite.nodes.iter().for_each(|n| self.alone.owner[*n as usize] = None);
        match check.check_region(&region, view.graph) {
            Answer::Accept(answer) => {
                Some((self.price(composite, answer)?, prices.vendors[vendor].launch_us(answer)))
            }
            Answer::Exclude(_) | Answer::Refuse(_) => None,
        }
    }
}
