//! All ways in which any pattern matches anywhere in a graph, in the order in which they are considered.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use crate::choose::Chosen;
use crate::matcher::Matcher;
use crate::misses::Misses;
use crate::program::Programs;
use crate::view::View;

/// One way of one pattern at one root. What its names are bound to is found again when it is needed.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub program: u32,
    /// The root unit.
    pub root: u32,
    /// Which of the ways at this root.
    pub way: u32,
    start: usize,
    len: u32,
}

impl Candidate {
    /// A candidate that is considered by itself, outside any list.
    pub fn single(program: u32, root: u32, way: u32) -> Candidate {
        Candidate { program, root, way, start: 0, len: 0 }
    }
}

#[derive(Debug, Default)]
pub struct Candidates {
    pub list: Vec<Candidate>,
    /// Places of the nodes of all candidates.
    places: Vec<u32>,
}

impl Candidates {
    /// Places of the candidate's nodes, in model order.
    pub fn nodes(&self, candidate: &Candidate) -> &[u32] {
        &self.places[candidate.start..candidate.start + candidate.len as usize]
    }
}

/// Finds all candidates, in the order of the last unit's place; what nearly matched goes to `misses`.
pub fn find(view: &View<'_>, programs: &Programs, misses: &mut Misses) -> Candidates {
    let mut candidates = Candidates::default();
    let Some(mut matcher) = Matcher::new(view, programs) else { return candidates };
    let mut to_try = Vec::new();
    for root in 0..view.units.len() as u32 {
        list_programs(view, programs, root, &mut to_try);
        for &program in &to_try {
            let before = candidates.list.len();
            let miss = matcher.search(program, root, &mut |found| {
                let way = (candidates.list.len() - before) as u32;
                let start = candidates.places.len();
                candidates.places.extend_from_slice(&found.nodes);
                let len = found.nodes.len() as u32;
                candidates.list.push(Candidate { program: program as u32, root, way, start, len });
                ControlFlow::Continue(())
            });
            if candidates.list.len() == before
                && let Some(miss) = miss
            {
                misses.search(view, programs.all[program].vendor, program, root, miss);
            }
        }
    }
    candidates
}

/// The programs that are tried with the unit as their root.
fn list_programs(view: &View<'_>, programs: &Programs, root: u32, found: &mut Vec<usize>) {
    let unit = &view.units[root as usize];
    if view.is_virtual(root) {
        // More than the root is bound at once, so no reason may be lost.
        found.clear();
        return found.extend(programs.index.rooted_at(unit.symbol));
    }
    let makers = unit.inputs.iter().flatten().flat_map(|value| view.makers(*value));
    let before = makers.filter_map(|(maker, _)| view.units[maker as usize].symbol);
    programs.index.candidates(unit.symbol, before, found);
}

/// For nodes that stay on the host: why the patterns that the index has passed over do not match there, as many
/// as there is room for. Their searches bind the root alone, so these are the farthest misses.
pub fn note_passed_over(view: &View<'_>, programs: &Programs, chosen: &mut Chosen) {
    let Some(mut matcher) = Matcher::new(view, programs) else { return };
    let mut tried = Vec::new();
    for place in (0..view.order.len() as u32).filter(|p| chosen.owner[*p as usize].is_none()) {
        list_programs(view, programs, place, &mut tried);
        tried.sort_unstable();
        let symbol = view.units[place as usize].symbol;
        for (vendor, about) in programs.vendors.iter().enumerate() {
            let theirs = programs.index.passed_over(symbol, about.programs.start, &tried);
            for program in theirs.take_while(|p| about.programs.contains(p)) {
                if !chosen.misses.has_room(vendor, place) {
                    break;
                }
                let miss = matcher.search(program, place, &mut |_| ControlFlow::Break(()));
                if let Some(miss) = miss {
                    chosen.misses.search(view, vendor, program, place, miss);
                }
            }
        }
    }
}

/// Priority, more nodes, earlier root, order of tables, order in the table, search order. `forced` ones first.
pub fn sort(
    candidates: &mut Candidates,
    view: &View<'_>,
    programs: &Programs,
    forced: &dyn Fn(usize, &[u32]) -> bool,
) {
    let places = std::mem::take(&mut candidates.places);
    candidates.list.sort_by_cached_key(|c| {
        let program = &programs.all[c.program as usize];
        let nodes = &places[c.start..c.start + c.len as usize];
        let root = view.units[c.root as usize].nodes.last().copied();
        (
            Reverse(forced(program.vendor, nodes)),
            (Reverse(program.priority), Reverse(c.len)),
            (root, program.vendor, program.place, c.way),
        )
    });
    candidates.places = places;
}
