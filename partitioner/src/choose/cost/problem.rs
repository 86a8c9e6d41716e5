//! The choice as a problem of its own: offers to take or leave, and what each selection of them costs.

use std::collections::HashMap;

use byoc_graph::ValueId;

use super::Setting;
use super::caution::Caution;
use super::offers::Offer;
use crate::choose::{Chosen, Composite};
use crate::cost;
use crate::limits;
use crate::merge::{self, Group};
use crate::misses::Misses;

/// Sibling regions are looked at only up to so many regions: each selection that is tried has its own.
const MAX_SIBLINGS: usize = 64;

pub struct Problem<'a, 'g> {
    pub setting: &'a Setting<'a, 'g>,
    pub offers: &'a [Offer],
    /// By offer: its work.
    pub work_us: Vec<f64>,
    /// By place: offers that would own the node.
    pub by_node: Vec<Vec<u32>>,
    /// By place.
    pub host_us: Vec<f64>,
    /// By vendor: what each of its regions costs the host.
    switch_us: Vec<f64>,
    pub caution: Option<Caution>,
    pub flows: Vec<Flow>,
    /// By place: flows that the node makes or uses.
    touching: Vec<Vec<u32>>,
}

/// What work takes, by offer and by place, and a switch, by vendor.
pub struct Figures {
    pub work_us: Vec<f64>,
    pub host_us: Vec<f64>,
    pub switch_us: Vec<f64>,
}

/// By place of a copied node: the offers with a copy.
pub type Copiers = HashMap<u32, Vec<u32>>;

/// A value on its way from its maker to its users.
pub struct Flow {
    pub maker: Option<u32>,
    pub users: Vec<u32>,
    pub is_output: bool,
    /// Nothing where it is not known.
    pub bytes: u64,
}

/// Offers that are taken, none of which share a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Taken {
    /// Rising.
    pub list: Vec<u32>,
    /// By place.
    pub owner: Vec<Option<u32>>,
}

impl Taken {
    pub fn new(nodes: usize) -> Taken {
        Taken { list: Vec::new(), owner: vec![None; nodes] }
    }

    pub fn has(&self, offer: u32) -> bool {
        self.list.binary_search(&offer).is_ok()
    }
}

/// A selection that can be carried out.
pub struct Evaluated {
    pub us: f64,
    pub chosen: Chosen,
    pub groups: Vec<Group>,
    /// Without what limits have taken away.
    pub taken: Taken,
}

impl<'a, 'g> Problem<'a, 'g> {
    pub fn new(setting: &'a Setting<'a, 'g>, offers: &'a [Offer], figures: Figures) -> Self {
        let view = setting.view;
        let mut by_node = vec![Vec::new(); view.order.len()];
        for (i, offer) in offers.iter().enumerate() {
            offer.composite.nodes.iter().for_each(|n| by_node[*n as usize].push(i as u32));
        }
        let values = view.graph.values().map(|(id, _)| id).filter(|id| !view.graph.is_constant(*id));
        let flow = |value: ValueId| {
            let mut users: Vec<u32> = view.users(value).collect();
            users.sort_unstable();
            users.dedup();
            let bytes = cost::size(view.graph, value).unwrap_or(0);
            Flow { maker: view.producer(value), users, is_output: view.is_output(value), bytes }
        };
        let flows: Vec<Flow> = values.map(flow).filter(|f| !f.users.is_empty() || f.is_output).collect();
        let mut touching = vec![Vec::new(); view.order.len()];
        for (i, flow) in flows.iter().enumerate() {
            flow.maker.iter().chain(&flow.users).for_each(|n| touching[*n as usize].push(i as u32));
        }
        let Figures { work_us, host_us, switch_us } = figures;
        let caution = None;
        Problem { setting, offers, work_us, switch_us, caution, by_node, host_us, flows, touching }
    }

    pub fn offer(&self, id: u32) -> &Offer {
        &self.offers[id as usize]
    }

    /// What a region of this offer alone takes beside its work.
    pub fn call_us(&self, id: u32) -> f64 {
        let offer = self.offer(id);
        offer.launch_us + self.switch_us[offer.vendor]
    }

    /// The memory that an offer's values lie in; the host's without one.
    pub fn memory(&self, offer: Option<u32>) -> usize {
        offer.map_or(0, |o| self.setting.prices.vendors[self.offer(o).vendor].memory)
    }

    pub fn insert(&self, taken: &mut Taken, offer: u32) {
        if let Err(at) = taken.list.binary_search(&offer) {
            taken.list.insert(at, offer);
            self.offer(offer).composite.nodes.iter().for_each(|n| taken.owner[*n as usize] = Some(offer));
        }
    }

    pub fn remove(&self, taken: &mut Taken, offer: u32) {
        if let Ok(at) = taken.list.binary_search(&offer) {
            taken.list.remove(at);
            self.offer(offer).composite.nodes.iter().for_each(|n| taken.owner[*n as usize] = None);
        }
    }

    pub fn all_of(&self, list: &[u32]) -> Taken {
        let mut taken = Taken::new(self.host_us.len());
        list.iter().for_each(|o| self.insert(&mut taken, *o));
        taken
    }

    pub fn is_free(&self, taken: &Taken, offer: u32) -> bool {
        self.offer(offer).composite.nodes.iter().all(|n| taken.owner[*n as usize].is_none())
    }

    /// Time of work and transfers; the calls of regions come on top.
    pub fn flat_us(&self, taken: &Taken) -> f64 {
        let copiers = self.copiers(taken);
        let offers: f64 = taken.list.iter().map(|id| self.work_us[*id as usize]).sum();
        let host = (0..taken.owner.len() as u32).map(|place| self.on_host_us(taken, &copiers, place));
        let flows = self.flows.iter().map(|flow| self.flow_us(taken, &copiers, flow));
        offers + host.sum::<f64>() + flows.sum::<f64>()
    }

    /// By how much [`Problem::flat_us`] rises with one more offer, for which there is room. `copiers` are those of
    /// `taken`; both come back as they were.
    pub fn rise_us(&self, taken: &mut Taken, copiers: &mut Copiers, id: u32) -> f64 {
        let Composite { nodes, copies, .. } = &self.offer(id).composite;
        let places = || nodes.iter().chain(copies);
        let mut flows: Vec<u32> = places().flat_map(|n| self.touching[*n as usize].iter().copied()).collect();
        flows.sort_unstable();
        flows.dedup();
        let sum = |taken: &Taken, copiers: &Copiers| {
            let host = places().map(|n| self.on_host_us(taken, copiers, *n)).sum::<f64>();
            host + flows.iter().map(|f| self.flow_us(taken, copiers, &self.flows[*f as usize])).sum::<f64>()
        };
        let before = sum(taken, copiers);
        self.insert(taken, id);
        copies.iter().for_each(|c| copiers.entry(*c).or_default().push(id));
        let after = sum(taken, copiers) + self.work_us[id as usize];
        copies.iter().for_each(|c| copiers.entry(*c).or_default().retain(|other| *other != id));
        self.remove(taken, id);
        after - before
    }

    pub fn copiers(&self, taken: &Taken) -> Copiers {
        let mut copiers = Copiers::new();
        for &id in &taken.list {
            self.offer(id).composite.copies.iter().for_each(|c| copiers.entry(*c).or_default().push(id));
        }
        copiers
    }

    /// A node that nobody needs any more takes no time.
    fn on_host_us(&self, taken: &Taken, copiers: &Copiers, place: u32) -> f64 {
        match taken.owner[place as usize].is_none() && self.is_alive(taken, copiers, place) {
            true => self.host_us[place as usize],
            false => 0.0,
        }
    }

    fn flow_us(&self, taken: &Taken, copiers: &Copiers, flow: &Flow) -> f64 {
        let mut wanted: smallvec::SmallVec<[usize; 8]> = smallvec::SmallVec::new();
        for &user in &flow.users {
            let owner = taken.owner[user as usize];
            let copies = owner.zip(flow.maker);
            let copies = copies.is_some_and(|(o, m)| self.offer(o).composite.copies.contains(&m));
            if !copies && (owner.is_some() || self.is_alive(taken, copiers, user)) {
                wanted.push(self.memory(owner));
            }
            let theirs = copiers.get(&user).into_iter().flatten();
            wanted.extend(theirs.map(|c| self.memory(Some(*c))));
        }
        wanted.extend(flow.is_output.then_some(0));
        let from = self.memory(flow.maker.and_then(|m| taken.owner[m as usize]));
        self.setting.prices.transfer_us(from, wanted, flow.bytes)
    }

    /// Whether a copied node is still wanted itself: somebody without a copy uses it.
    fn is_alive(&self, taken: &Taken, copiers: &Copiers, place: u32) -> bool {
        let Some(copiers) = copiers.get(&place).filter(|c| !c.is_empty()) else { return true };
        let Some(value) = self.setting.view.node(place).output(0) else { return true };
        let has_copy = |u: u32| taken.owner[u as usize].is_some_and(|o| copiers.contains(&o));
        self.setting.view.is_output(value) || !self.setting.view.users(value).all(has_copy)
    }

    /// Carries a selection out, without what closes a cycle; nothing where that may not be left out.
    pub fn evaluate(&self, taken: &Taken) -> Option<Evaluated> {
        let Setting { view, programs, siblings, .. } = *self.setting;
        let mut chosen = Chosen::nothing(view, Misses::new(0, 0));
        let (mut left, mut list) = (taken.clone(), Vec::with_capacity(taken.list.len()));
        for &id in &taken.list {
            let offer = self.offer(id);
            match chosen.take(view, offer.composite.clone()) {
                Ok(()) => list.push(id),
                Err(_) if offer.frozen => return None,
                Err(_) => self.remove(&mut left, id),
            }
        }
        let mut groups = regions(self.setting, &mut chosen, siblings);
        let drop = |left: &mut Taken, group: &Group| {
            group.composites.iter().for_each(|c| self.remove(left, list[*c as usize]));
        };
        groups.retain(|group| {
            let is_refused = limits::refusal(view, &chosen, group, programs).is_some();
            if is_refused {
                drop(&mut left, group);
            }
            !is_refused
        });
        for vendor in 0..programs.vendors.len() {
            let max = self.setting.max_regions[vendor];
            if groups.iter().filter(|g| g.vendor == vendor).count() <= max {
                continue;
            }
            self.appraise(&list, &left, &mut groups);
            let mut saved: Vec<f64> =
                groups.iter().filter(|g| g.vendor == vendor).filter_map(|g| g.saves_us).collect();
            saved.sort_by(|a, b| b.total_cmp(a));
            let (least, mut kept) = (saved[max.saturating_sub(1)], 0);
            groups.retain(|group| {
                let fits = group.vendor != vendor || (kept < max && group.saves_us >= Some(least));
                match fits {
                    true => kept += usize::from(group.vendor == vendor),
                    false => drop(&mut left, group),
                }
                fits
            });
        }
        let calls: f64 = groups.iter().map(|group| self.region_call_us(&list, group)).sum();
        let caution = self.caution.as_ref().map(|c| c.us(self.setting, &left, &groups));
        let us = self.flat_us(&left) + calls + caution.unwrap_or(0.0);
        Some(Evaluated { us, chosen, groups, taken: left })
    }

    /// What a call of a region takes, whose composites are `list` by their numbers.
    fn region_call_us(&self, list: &[u32], group: &Group) -> f64 {
        let calls = group.composites.iter().map(|c| self.call_us(list[*c as usize]));
        calls.fold(0.0, f64::max)
    }

    /// Notes what each region saves over its nodes being on the host, all else being as it is.
    pub fn appraise(&self, list: &[u32], taken: &Taken, groups: &mut [Group]) {
        let mut region: HashMap<u32, usize> = HashMap::new();
        let mut saves = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let mut us = -self.region_call_us(list, group);
            for &composite in &group.composites {
                let id = list[composite as usize];
                let nodes = self.offer(id).composite.nodes.iter();
                us += nodes.map(|n| self.host_us[*n as usize]).sum::<f64>() - self.work_us[id as usize];
                region.insert(id, i);
            }
            saves.push(us);
        }
        let of = |place: u32| taken.owner[place as usize].and_then(|o| region.get(&o)).copied();
        let memory = |region: Option<usize>| {
            region.map_or(0, |r| self.setting.prices.vendors[groups[r].vendor].memory)
        };
        for flow in &self.flows {
            let maker = flow.maker.and_then(of);
            let mut users: Vec<Option<usize>> = flow.users.iter().map(|u| of(*u)).collect();
            users.extend(flow.is_output.then_some(None));
            users.sort_unstable();
            users.dedup();
            let mut ends = users.clone();
            ends.extend(maker.map(Some));
            ends.sort_unstable();
            ends.dedup();
            let us = |without: Option<usize>| {
                let at = |r: Option<usize>| memory(r.filter(|r| Some(*r) != without));
                let prices = self.setting.prices;
                prices.transfer_us(at(maker), users.iter().map(|u| at(*u)), flow.bytes)
            };
            for end in ends.into_iter().flatten() {
                saves[end] += us(Some(end)) - us(None);
            }
        }
        groups.iter_mut().zip(saves).for_each(|(group, us)| group.saves_us = Some(us));
    }
}

/// Merges producers with users, then, where there are few enough, regions that no edge joins.
pub fn regions(setting: &Setting<'_, '_>, chosen: &mut Chosen, siblings: bool) -> Vec<Group> {
    let Setting { view, programs, rules, .. } = *setting;
    let groups = merge::merge(view, programs, chosen, rules, false);
    match siblings && groups.len() <= MAX_SIBLINGS {
        true => merge::merge(view, programs, chosen, rules, true),
        false => groups,
    }
}
