//! Merges regions of one vendor that do not feed each other, in model order.
//!
//! Before, producers have been merged with their users until none of them could be any more. So two regions can
//! still become one only where no path leads from either to the other: where one feeds the other, something
//! stands against it (a path around, a limit, a cut), and no merge of regions that are apart takes that away.
//! Paths are only ever added, so a pair that was refused once is refused for good, and each is looked at once.

use super::sweep::{Sweep, Tree};
use crate::quotient::Quotient;

/// A region before siblings are merged.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Its first node in model order.
    pub first: u32,
    pub vendor: usize,
}

/// What became of two regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    Joined,
    Refused,
    /// The first of them has no room for any other region.
    Full,
}

/// Has every pair of regions that may be apart tried, by their numbers, the first in model order first.
///
/// A region is done with when all that is left in model order is known to wait for it, which in a deep graph is
/// soon; what lies before is marked on the way, see [`Sweep`].
pub fn join<M: AsRef<Quotient>>(
    merger: &mut M,
    regions: &[Start],
    vendors: &[Option<usize>],
    try_join: &mut dyn FnMut(&mut M, usize, usize) -> Tried,
) {
    let count = regions.iter().map(|r| r.vendor + 1).max().unwrap_or(0);
    let mut of_vendor: Vec<Vec<usize>> = vec![Vec::new(); count];
    regions.iter().enumerate().for_each(|(i, region)| of_vendor[region.vendor].push(i));
    let trees: Vec<Tree> =
        (0..count).map(|v| Tree::new(merger.as_ref(), &|n| vendors[n] == Some(v))).collect();
    let mut joined = vec![false; regions.len()];
    let mut sweep = Sweep::new(vendors.len());
    for (i, Start { first, vendor }) in regions.iter().enumerate() {
        if joined[i] {
            continue;
        }
        let tree = &trees[*vendor];
        sweep.begin(tree, merger.as_ref(), *first);
        let others = &of_vendor[*vendor];
        for &other in &others[others.partition_point(|other| *other <= i)..] {
            let start = regions[other].first;
            if !sweep.reach(tree, merger.as_ref(), start) {
                break;
            }
            if joined[other] || sweep.is_related(merger.as_ref(), start) {
                continue;
            }
            let quotient = merger.as_ref();
            let nodes = quotient.members(quotient.block(start)).to_vec();
            match try_join(merger, i, other) {
                Tried::Full => break,
                Tried::Refused => {}
                Tried::Joined => {
                    joined[other] = true;
                    sweep.include(tree, merger.as_ref(), &nodes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::quotient::Quotient;

    /// A linear congruential generator, with the constants of Knuth's MMIX; its high bits are used.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % n
        }
    }

    /// Nodes whose inputs are near them or anywhere before; each node's vendor, or none.
    fn graph(random: &mut Random) -> (Vec<SmallVec<[u32; 4]>>, Vec<Option<usize>>) {
        let (nodes, reach) = (2 + random.below(60), 1 + random.below(12));
        let vendors = 1 + random.below(3);
        let mut edges = vec![SmallVec::new(); nodes];
        for (node, before) in edges.iter_mut().enumerate().skip(1) {
            for _ in 0..random.below(3) {
                let back = if random.below(8) == 0 { node } else { node.min(reach) };
                before.push((node - 1 - random.below(back)) as u32);
            }
        }
        let vendor = |_| Some(random.below(vendors + 1)).filter(|v| *v < vendors);
        let vendors = (0..nodes).map(vendor).collect();
        (edges, vendors)
    }

    /// Joins producers with users, as is done before siblings.
    fn join_producers(quotient: &mut Quotient, edges: &[SmallVec<[u32; 4]>], vendors: &[Option<usize>]) {
        let mut merged = true;
        while std::mem::take(&mut merged) {
            for node in 0..edges.len() as u32 {
                for &before in &edges[node as usize] {
                    let same = vendors[node as usize].is_some()
                        && vendors[node as usize] == vendors[before as usize];
                    if same && quotient.block(node) != quotient.block(before) {
                        merged |= quotient.contract(&[node, before]).is_ok();
                    }
                }
            }
        }
    }

    /// The first node of every region, in model order, with its vendor.
    fn starts(quotient: &Quotient, vendors: &[Option<usize>]) -> Vec<(u32, usize)> {
        let mut seen = Vec::new();
        let mut found = Vec::new();
        for (node, vendor) in vendors.iter().enumerate() {
            let block = quotient.block(node as u32);
            if let (Some(vendor), false) = (vendor, seen.contains(&block)) {
                seen.push(block);
                found.push((node as u32, *vendor));
            }
        }
        found
    }

    fn blocks(quotient: &Quotient, nodes: usize) -> Vec<u32> {
        let first = |node: u32| (0..=node).find(|n| quotient.block(*n) == quotient.block(node));
        (0..nodes as u32).filter_map(first).collect()
    }

    fn size(quotient: &Quotient, node: u32) -> usize {
        (0..quotient.len() as u32).filter(|n| quotient.block(*n) == quotient.block(node)).count()
    }

    /// Every pair, again and again until nothing changes.
    fn all_pairs(quotient: &mut Quotient, vendors: &[Option<usize>], room: usize) {
        let mut merged = true;
        while std::mem::take(&mut merged) {
            let starts = starts(quotient, vendors);
            for (i, (a, vendor)) in starts.iter().enumerate() {
                for (b, _) in starts[i + 1..].iter().filter(|(_, v)| v == vendor) {
                    if quotient.block(*a) != quotient.block(*b)
                        && size(quotient, *a) + size(quotient, *b) <= room
                    {
                        merged |= quotient.contract(&[*a, *b]).is_ok();
                    }
                }
            }
        }
    }

    /// How many pairs were tried that a path stood against.
    fn by_sweeps(quotient: &mut Quotient, vendors: &[Option<usize>], room: usize) -> usize {
        let firsts = starts(quotient, vendors);
        let start = |(first, vendor): &(u32, usize)| Start { first: *first, vendor: *vendor };
        let starts: Vec<Start> = firsts.iter().map(start).collect();
        let mut refused = 0;
        join(quotient, &starts, vendors, &mut |quotient: &mut Quotient, i, j| {
            let (a, b) = (firsts[i].0, firsts[j].0);
            if size(quotient, a) + size(quotient, b) > room {
                return Tried::Refused;
            }
            match quotient.contract(&[a, b]) {
                Ok(_) => Tried::Joined,
                Err(_) => {
                    refused += 1;
                    Tried::Refused
                }
            }
        });
        refused
    }

    /// The same regions as from trying all pairs, and few are tried in vain.
    #[test]
    fn every_pair_that_can_be_joined_is_joined() {
        let (mut refused, mut regions) = (0, 0);
        for seed in 0..4_000 {
            let mut random = Random(seed);
            let (edges, vendors) = graph(&mut random);
            let room = if random.below(3) == 0 { 2 + random.below(6) } else { usize::MAX };
            let mut one = Quotient::new(edges.clone());
            join_producers(&mut one, &edges, &vendors);
            let mut other = Quotient::clone(&one);
            all_pairs(&mut one, &vendors, room);
            regions += starts(&other, &vendors).len();
            refused += by_sweeps(&mut other, &vendors, room);
            assert_eq!(blocks(&one, edges.len()), blocks(&other, edges.len()), "seed {seed}");
        }
        println!("{refused} pairs refused of {regions} regions");
        assert!(refused < regions, "{refused} pairs tried in vain, of {regions} regions");
    }
}
