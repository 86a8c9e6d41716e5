//! One expansion move by a minimum cut: every piece of a selection keeps what it has or takes what is proposed,
//! all at once.
//!
//! Boykov, Veksler and Zabih, "Fast Approximate Energy Minimization via Graph Cuts" (2001): with one vendor and
//! the host this is exact for work and transfers, a value with many users included; with more, a term that is
//! not submodular is replaced by a bound from above. The calls of regions and cycles are left to the search.

use std::collections::VecDeque;

use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::unionfind::UnionFind;
use petgraph::visit::EdgeRef;

use super::problem::{Flow, Problem, Taken};

/// Capacities are whole numbers, so that the result does not depend on the order of additions.
const UNITS_PER_US: f64 = 1e4;
const INFINITE: u64 = 1 << 60;

/// A statement about one piece.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Literal {
    Never,
    Always,
    /// The piece takes the proposal, or (false) keeps what it has.
    If(u32, bool),
}

/// The best mixture of `now` and the offers `proposed`, with `launch` of each vendor's call for every offer.
pub fn expand(problem: &Problem<'_, '_>, now: &Taken, proposed: &Taken, launch: f64) -> Taken {
    let mut cut = Cut::new(problem, now, proposed);
    cut.add_work(launch);
    problem.flows.iter().for_each(|flow| cut.add_flow(flow));
    let changes = cut.solve();
    let mut taken = Taken::new(now.owner.len());
    let stays = |piece: Option<u32>, is_new: bool| piece.is_none_or(|p| changes[p as usize] == is_new);
    for &id in &now.list {
        if stays(cut.piece_of(id), false) {
            problem.insert(&mut taken, id);
        }
    }
    for &id in &proposed.list {
        if stays(cut.piece_of(id), true) {
            problem.insert(&mut taken, id);
        }
    }
    taken
}

struct Cut<'a, 'p, 'g> {
    problem: &'a Problem<'p, 'g>,
    now: &'a Taken,
    proposed: &'a Taken,
    /// By place: offers that overlap, over both selections, are one piece.
    piece: Vec<Option<u32>>,
    pieces: usize,
    network: DiGraph<(), u64>,
    source: NodeIndex,
    sink: NodeIndex,
}

impl<'a, 'p, 'g> Cut<'a, 'p, 'g> {
    fn new(problem: &'a Problem<'p, 'g>, now: &'a Taken, proposed: &'a Taken) -> Self {
        let nodes = now.owner.len();
        let mut sets: UnionFind<u32> = UnionFind::new(nodes);
        let mut is_open = vec![false; nodes];
        let differs = |id: &&u32| !(now.has(**id) && proposed.has(**id));
        for &id in now.list.iter().chain(&proposed.list).filter(differs) {
            let nodes = &problem.offer(id).composite.nodes;
            nodes.iter().for_each(|n| {
                is_open[*n as usize] = true;
                sets.union(nodes[0], *n);
            });
        }
        let mut numbers: Vec<Option<u32>> = vec![None; nodes];
        let (mut pieces, mut piece) = (0, vec![None; nodes]);
        for place in (0..nodes).filter(|p| is_open[*p]) {
            let number = numbers[sets.find(place as u32) as usize].get_or_insert(pieces);
            piece[place] = Some(*number);
            pieces = pieces.max(*number + 1);
        }
        let mut network = DiGraph::new();
        let (source, sink) = (network.add_node(()), network.add_node(()));
        for _ in 0..pieces {
            network.add_node(());
        }
        Cut { problem, now, proposed, piece, pieces: pieces as usize, network, source, sink }
    }

    fn piece_of(&self, offer: u32) -> Option<u32> {
        self.piece[self.problem.offer(offer).composite.nodes[0] as usize]
    }

    fn node(&self, piece: u32) -> NodeIndex {
        NodeIndex::new(piece as usize + 2)
    }

    /// `cost` is due where `from` keeps and `to` takes the proposal.
    fn edge(&mut self, from: NodeIndex, to: NodeIndex, us: f64) {
        let units = (us * UNITS_PER_US).round().clamp(0.0, (INFINITE >> 20) as f64) as u64;
        if units > 0 {
            self.network.add_edge(from, to, units);
        }
    }

    fn due_if(&mut self, piece: u32, takes: bool, us: f64) {
        let node = self.node(piece);
        match takes {
            true => self.edge(self.source, node, us),
            false => self.edge(node, self.sink, us),
        }
    }

    fn add_work(&mut self, launch: f64) {
        for (selection, takes) in [(self.now, false), (self.proposed, true)] {
            for &id in &selection.list {
                if let Some(piece) = self.piece_of(id) {
                    self.due_if(
                        piece,
                        takes,
                        self.problem.work_us[id as usize] + launch * self.problem.call_us(id),
                    );
                }
            }
            for place in 0..self.piece.len() {
                if let (Some(piece), None) = (self.piece[place], selection.owner[place]) {
                    self.due_if(piece, takes, self.problem.host_us[place]);
                }
            }
        }
    }

    /// When a node is in a memory, for which `test` asks.
    fn literal(&self, place: Option<u32>, test: &dyn Fn(usize) -> bool) -> Literal {
        let at = |taken: &Taken| place.and_then(|p| taken.owner[p as usize]);
        let before = test(self.problem.memory(at(self.now)));
        let Some(piece) = place.and_then(|p| self.piece[p as usize]) else {
            return if before { Literal::Always } else { Literal::Never };
        };
        match (before, test(self.problem.memory(at(self.proposed)))) {
            (true, true) => Literal::Always,
            (false, false) => Literal::Never,
            (_, takes) => Literal::If(piece, takes),
        }
    }

    fn add_flow(&mut self, flow: &Flow) {
        let prices = self.problem.setting.prices;
        let at = |taken: &Taken, place: u32| self.problem.memory(taken.owner[place as usize]);
        let mut memories: Vec<usize> = flow
            .users
            .iter()
            .chain(&flow.maker)
            .flat_map(|n| [at(self.now, *n), at(self.proposed, *n)])
            .collect();
        memories.sort_unstable();
        memories.dedup();
        for memory in memories {
            let output =
                |wanted: bool| if flow.is_output && wanted { Literal::Always } else { Literal::Never };
            let users = |test: &dyn Fn(usize) -> bool, wanted| {
                let users = flow.users.iter().map(|u| self.literal(Some(*u), test));
                users.chain([output(wanted)]).collect::<Vec<Literal>>()
            };
            let inward = users(&|m| m == memory, memory == 0);
            let outward = users(&|m| m != memory, memory != 0);
            let is_foreign = self.literal(flow.maker, &|m| m != memory);
            let is_own = self.literal(flow.maker, &|m| m == memory);
            self.add_term(prices.in_us(memory, flow.bytes), is_foreign, &inward);
            self.add_term(prices.out_us(memory, flow.bytes), is_own, &outward);
        }
    }

    /// `us` is due where `maker` holds and one of `users` does.
    fn add_term(&mut self, us: f64, maker: Literal, users: &[Literal]) {
        if us <= 0.0 || maker == Literal::Never {
            return;
        }
        let contrary = |u: &Literal| match (*u, maker) {
            (Literal::If(a, x), Literal::If(b, y)) => a == b && x != y,
            _ => *u == Literal::Never,
        };
        let users: Vec<Literal> = users.iter().copied().filter(|u| !contrary(u)).collect();
        let side = |takes| users.iter().any(|u| matches!(u, Literal::If(_, t) if *t == takes));
        let always =
            users.contains(&Literal::Always) || users.contains(&maker) || (side(true) && side(false));
        match maker {
            _ if users.is_empty() => {}
            Literal::If(piece, takes) if always => self.due_if(piece, takes, us),
            // The same whatever is chosen.
            _ if always => {}
            Literal::If(piece, takes) if !side(takes) => self.add_gadget(us, Some(piece), &users, !takes),
            // Not submodular where the maker is of the users' side: due whatever the maker does.
            _ => self.add_gadget(us, None, &users, side(true)),
        }
    }

    /// `us` is due where some of `users` are on the side `takes` and `maker` is on the other.
    fn add_gadget(&mut self, us: f64, maker: Option<u32>, users: &[Literal], takes: bool) {
        let any = self.network.add_node(());
        for user in users {
            let Literal::If(piece, _) = user else { continue };
            let user = self.node(*piece);
            match takes {
                true => self.network.add_edge(any, user, INFINITE),
                false => self.network.add_edge(user, any, INFINITE),
            };
        }
        match takes {
            true => self.edge(maker.map_or(self.source, |m| self.node(m)), any, us),
            false => self.edge(any, maker.map_or(self.sink, |m| self.node(m)), us),
        }
    }

    /// By piece: whether it takes the proposal.
    fn solve(&self) -> Vec<bool> {
        let (_, flows) = dinics(&self.network, self.source, self.sink);
        let mut keeps = vec![false; self.network.node_count()];
        keeps[self.source.index()] = true;
        let mut open = VecDeque::from([self.source]);
        while let Some(at) = open.pop_front() {
            let on =
                self.network.edges(at).filter(|e| flows[e.id().index()] < *e.weight()).map(|e| e.target());
            let incoming = self.network.edges_directed(at, petgraph::Direction::Incoming);
            let back = incoming.filter(|e| flows[e.id().index()] > 0).map(|e| e.source());
            for next in on.chain(back) {
                if !std::mem::replace(&mut keeps[next.index()], true) {
                    open.push_back(next);
                }
            }
        }
        (0..self.pieces).map(|p| !keeps[p + 2]).collect()
    }
}
