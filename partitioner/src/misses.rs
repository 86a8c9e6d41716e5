//! Why nodes were not taken: for each vendor and node, the nearest misses, one a pattern.

use std::sync::Arc;

use crate::matcher::{NearestMiss, Why};
use crate::refusal::{Refusal, Taken};
use crate::report::Kind;
use crate::view::View;

/// Reasons kept for a node and vendor.
const MAX_REASONS: usize = 8;

#[derive(Debug, Clone)]
pub struct Miss {
    pub program: Option<u32>,
    /// How many nodes had been bound, and how far the match had come then.
    rank: (u32, Stage),
    pub cause: Cause,
}

#[derive(Debug, Clone)]
pub enum Cause {
    /// The search failed.
    Search(Why),
    /// A match was found and not taken.
    Refused(Arc<Refusal>),
    Told(Kind, Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The node itself went to another composite; of no interest once it is free again.
    Lost,
    Search,
    Taken,
    Where,
    Escape,
    Cycle,
    Cost,
    Limit,
    Vendor,
    /// What happened to a whole region.
    Region,
}

/// By vendor and place of a node.
pub struct Misses {
    all: Vec<Vec<Vec<Miss>>>,
    /// What was taken was chosen by cost: priorities and sizes had no say.
    pub by_cost: bool,
}

impl Misses {
    pub fn new(vendors: usize, nodes: usize) -> Misses {
        Misses { all: vec![vec![Vec::new(); nodes]; vendors], by_cost: false }
    }

    pub fn search(&mut self, view: &View<'_>, vendor: usize, program: usize, root: u32, miss: NearestMiss) {
        let mut places: Vec<u32> = Vec::new();
        for unit in miss.units.iter().chain([&root]) {
            places.extend(&view.units[*unit as usize].nodes);
        }
        places.sort_unstable();
        places.dedup();
        self.note(vendor, &places, Some(program), Stage::Search, Cause::Search(miss.why), places.len());
    }

    pub fn told(
        &mut self,
        vendor: usize,
        places: &[u32],
        program: Option<usize>,
        (stage, kind): (Stage, Kind),
        detail: &str,
    ) {
        self.note(vendor, places, program, stage, Cause::Told(kind, detail.into()), places.len());
    }

    /// A match of the program, with stages by places.
    pub fn refused(
        &mut self,
        vendor: usize,
        program: usize,
        places: [(&Vec<u32>, Stage); 2],
        refusal: Refusal,
    ) {
        let refusal = Arc::new(refusal);
        for (places, stage) in places {
            let cause = Cause::Refused(refusal.clone());
            self.note(vendor, places, Some(program), stage, cause, places.len());
        }
    }

    /// Calls `f` for every match that came too late.
    pub fn each_taken(&mut self, f: &mut dyn FnMut(&mut Taken)) {
        for miss in self.all.iter_mut().flatten().flatten() {
            if let Cause::Refused(refusal) = &mut miss.cause
                && matches!(**refusal, Refusal::Taken(_))
                && let Refusal::Taken(taken) = Arc::make_mut(refusal)
            {
                f(taken);
            }
        }
    }

    fn note(
        &mut self,
        vendor: usize,
        places: &[u32],
        program: Option<usize>,
        stage: Stage,
        cause: Cause,
        bound: usize,
    ) {
        let rank = match stage {
            Stage::Region => (u32::MAX, stage),
            Stage::Lost => (0, stage),
            _ => (bound as u32, stage),
        };
        let program = program.map(|p| p as u32);
        for &place in places {
            let misses = &mut self.all[vendor][place as usize];
            let miss = Miss { program, rank, cause: cause.clone() };
            if let Some(same) = misses.iter_mut().find(|m| m.program == program) {
                if same.rank < rank {
                    *same = miss;
                }
            } else if misses.len() < MAX_REASONS {
                misses.push(miss);
            } else if let Some(least) = misses.iter_mut().min_by_key(|m| m.rank)
                && least.rank < rank
            {
                *least = miss;
            }
        }
    }

    /// Whether a further pattern's reason would be kept, however far away its match is.
    pub fn has_room(&self, vendor: usize, place: u32) -> bool {
        let misses = &self.all[vendor][place as usize];
        misses.iter().filter(|m| m.rank.1 != Stage::Lost).count() < MAX_REASONS
    }

    /// What kept the vendor from a node that nobody has, the nearest first.
    pub fn of(&self, vendor: usize, place: u32) -> Vec<&Miss> {
        let mut misses = self.all(vendor, place);
        misses.retain(|m| m.rank.1 != Stage::Lost);
        misses
    }

    /// The same with matches that lost the node to another, which come last.
    pub fn all(&self, vendor: usize, place: u32) -> Vec<&Miss> {
        let mut misses: Vec<&Miss> = self.all[vendor][place as usize].iter().collect();
        misses.sort_by_key(|m| std::cmp::Reverse(m.rank));
        misses
    }
}
