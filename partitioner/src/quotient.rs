//! The graph with each region contracted to one block, kept free of cycles while blocks are contracted.
//!
//! A topological order of the blocks is maintained. Contracting a set closes a cycle just if some path leaves
//! the set and comes back; such a path lies, in the order, between the first and the last block of the set.
//! Two searches look for it, forwards from the set and backwards from it, one edge each in turn; the first to
//! run dry proves that there is none, and only the blocks it has seen move. This is the two-way search of
//! Bender, Fineman, Gilbert and Tarjan, "A New Approach to Incremental Cycle Detection and Related Problems"
//! (2015), section 2, carried over from adding edges to contracting.

use smallvec::SmallVec;

/// Space between neighbours when labels are given anew.
const GAP: u64 = 1 << 32;
const NONE: u32 = u32::MAX;

/// A graph over nodes `0..n`, given in a topological order, whose nodes are contracted into blocks.
#[cfg_attr(test, derive(Clone))]
pub struct Quotient {
    successors: Vec<SmallVec<[u32; 4]>>,
    predecessors: Vec<SmallVec<[u32; 4]>>,
    /// Union-find parents; a block goes by its representative.
    parent: Vec<u32>,
    /// Nodes of a block, at its representative.
    members: Vec<Vec<u32>>,
    order: Order,
    forward: Search,
    backward: Search,
    /// By block: the contraction in which it was last in the set.
    in_set: Vec<u32>,
    round: u32,
}

/// The order of blocks: a doubly linked list with labels that rise along it.
#[cfg_attr(test, derive(Clone))]
struct Order {
    before: Vec<u32>,
    after: Vec<u32>,
    label: Vec<u64>,
}

/// One direction of the search.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
struct Search {
    /// The set, then the blocks that were reached, in order.
    queue: Vec<u32>,
    block: usize,
    member: usize,
    edge: usize,
    /// By block: the round in which it was reached.
    seen: Vec<u32>,
    /// By block: the edge by which it was reached.
    via: Vec<(u32, u32)>,
}

impl Search {
    fn new(n: usize) -> Search {
        Search { seen: vec![0; n], via: vec![(0, 0); n], ..Search::default() }
    }

    fn begin(&mut self, set: &[u32]) {
        self.queue.clear();
        self.queue.extend_from_slice(set);
        (self.block, self.member, self.edge) = (0, 0, 0);
    }

    /// The next edge from the blocks reached so far.
    fn next(&mut self, members: &[Vec<u32>], edges: &[SmallVec<[u32; 4]>]) -> Option<(u32, u32)> {
        loop {
            let block = *self.queue.get(self.block)?;
            let Some(&node) = members[block as usize].get(self.member) else {
                (self.block, self.member, self.edge) = (self.block + 1, 0, 0);
                continue;
            };
            let Some(&to) = edges[node as usize].get(self.edge) else {
                (self.member, self.edge) = (self.member + 1, 0);
                continue;
            };
            self.edge += 1;
            return Some((node, to));
        }
    }
}

/// What one step of a search found.
enum Found {
    Nothing,
    Dry,
    /// An edge that closes a path.
    Path(u32, u32),
}

impl AsRef<Quotient> for Quotient {
    fn as_ref(&self) -> &Quotient {
        self
    }
}

impl Quotient {
    /// `predecessors` lists, for each node, nodes before it.
    pub fn new(predecessors: Vec<SmallVec<[u32; 4]>>) -> Quotient {
        let n = predecessors.len();
        let mut successors = vec![SmallVec::new(); n];
        for (node, before) in predecessors.iter().enumerate() {
            for &p in before {
                debug_assert!((p as usize) < node);
                successors[p as usize].push(node as u32);
            }
        }
        Quotient {
            successors,
            predecessors,
            parent: (0..n as u32).collect(),
            members: (0..n as u32).map(|i| vec![i]).collect(),
            order: Order::new(n),
            forward: Search::new(n),
            backward: Search::new(n),
            in_set: vec![0; n],
            round: 0,
        }
    }

    /// The block that a node is in.
    pub fn block(&self, node: u32) -> u32 {
        let mut at = node;
        while self.parent[at as usize] != at {
            at = self.parent[at as usize];
        }
        at
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// Nodes with an edge to a node.
    pub fn before(&self, node: u32) -> &[u32] {
        &self.predecessors[node as usize]
    }

    /// Nodes with an edge from a node.
    pub fn after(&self, node: u32) -> &[u32] {
        &self.successors[node as usize]
    }

    /// The nodes of a block.
    pub fn members(&self, block: u32) -> &[u32] {
        &self.members[block as usize]
    }

    /// Takes the edges from `through` to `node` away and gives `node` those into `through` instead, as where
    /// `node` gets a copy of `through` for itself.
    pub fn bypass(&mut self, through: u32, node: u32) {
        self.successors[through as usize].retain(|s| *s != node);
        self.predecessors[node as usize].retain(|p| *p != through);
        for p in self.predecessors[through as usize].clone() {
            self.successors[p as usize].push(node);
            self.predecessors[node as usize].push(p);
        }
    }

    /// Undoes `bypass`.
    pub fn restore(&mut self, through: u32, node: u32) {
        for p in self.predecessors[through as usize].clone() {
            remove_last(&mut self.successors[p as usize], node);
            remove_last(&mut self.predecessors[node as usize], p);
        }
        self.successors[through as usize].push(node);
        self.predecessors[node as usize].push(through);
    }

    /// Makes one block of the blocks in `set`. `Err` is a path of nodes that leaves the set and comes back.
    pub fn contract(&mut self, set: &[u32]) -> Result<u32, Vec<u32>> {
        let mut blocks: SmallVec<[u32; 4]> = set.iter().map(|n| self.block(*n)).collect();
        blocks.sort_unstable_by_key(|b| self.order.label[*b as usize]);
        blocks.dedup();
        if blocks.len() == 1 {
            return Ok(blocks[0]);
        }
        self.round += 1;
        blocks.iter().for_each(|b| self.in_set[*b as usize] = self.round);
        // No path comes back to the first block or leaves from the last: the order forbids it. So joining one
        // node to a large region costs what that node has.
        let others = blocks.len() - 1;
        self.forward.begin(&blocks[..others]);
        self.backward.begin(&blocks[1..]);
        let (first, last) = (blocks[0], blocks[others]);
        loop {
            match self.step_back(first) {
                Found::Nothing => {}
                Found::Path(from, to) => return Err(self.path(from, to)),
                Found::Dry => {
                    let mut moved = self.backward.queue.split_off(others);
                    moved.sort_unstable_by_key(|b| self.order.label[*b as usize]);
                    self.order.move_before(&moved, first);
                    return Ok(self.unite(&blocks, first));
                }
            }
            match self.step_on(last) {
                Found::Nothing => {}
                Found::Path(from, to) => return Err(self.path(from, to)),
                Found::Dry => {
                    let mut moved = self.forward.queue.split_off(others);
                    moved.sort_unstable_by_key(|b| self.order.label[*b as usize]);
                    self.order.move_after(&moved, last);
                    return Ok(self.unite(&blocks, last));
                }
            }
        }
    }

    fn step_on(&mut self, last: u32) -> Found {
        let Some((from, to)) = self.forward.next(&self.members, &self.successors) else { return Found::Dry };
        let (source, target) = (self.block(from), self.block(to));
        if self.is_in_set(target) {
            return if self.is_in_set(source) { Found::Nothing } else { Found::Path(from, to) };
        }
        if self.backward.seen[target as usize] == self.round {
            return Found::Path(from, to);
        }
        let near = self.order.label[target as usize] < self.order.label[last as usize];
        if near && self.forward.seen[target as usize] != self.round {
            self.forward.seen[target as usize] = self.round;
            self.forward.via[target as usize] = (from, to);
            self.forward.queue.push(target);
        }
        Found::Nothing
    }

    fn step_back(&mut self, first: u32) -> Found {
        let Some((to, from)) = self.backward.next(&self.members, &self.predecessors) else {
            return Found::Dry;
        };
        let (source, target) = (self.block(from), self.block(to));
        if self.is_in_set(source) {
            return if self.is_in_set(target) { Found::Nothing } else { Found::Path(from, to) };
        }
        if self.forward.seen[source as usize] == self.round {
            return Found::Path(from, to);
        }
        let near = self.order.label[source as usize] > self.order.label[first as usize];
        if near && self.backward.seen[source as usize] != self.round {
            self.backward.seen[source as usize] = self.round;
            self.backward.via[source as usize] = (from, to);
            self.backward.queue.push(source);
        }
        Found::Nothing
    }

    fn is_in_set(&self, block: u32) -> bool {
        self.in_set[block as usize] == self.round
    }

    /// The path that the edge `from → to` closes, from the node it leaves the set at to where it comes back.
    fn path(&self, from: u32, to: u32) -> Vec<u32> {
        let mut path = vec![to, from];
        let mut block = self.block(from);
        while !self.is_in_set(block) {
            let (before, at) = self.forward.via[block as usize];
            if at != path[path.len() - 1] {
                path.push(at);
            }
            path.push(before);
            block = self.block(before);
        }
        path.reverse();
        let mut block = self.block(to);
        while !self.is_in_set(block) {
            let (at, behind) = self.backward.via[block as usize];
            if at != path[path.len() - 1] {
                path.push(at);
            }
            path.push(behind);
            block = self.block(behind);
        }
        path
    }

    /// The largest block takes the others in; it stands in the order where `place` stands.
    fn unite(&mut self, blocks: &[u32], place: u32) -> u32 {
        let size = |b: &&u32| self.members[**b as usize].len();
        let &keeper = blocks.iter().max_by_key(size).expect("a set is not empty");
        for &block in blocks.iter().filter(|b| **b != keeper) {
            let members = std::mem::take(&mut self.members[block as usize]);
            self.members[keeper as usize].extend(members);
            self.parent[block as usize] = keeper;
        }
        for &block in blocks.iter().filter(|b| **b != place) {
            self.order.remove(block);
        }
        if keeper != place {
            self.order.replace(place, keeper);
        }
        keeper
    }
}

fn remove_last(list: &mut SmallVec<[u32; 4]>, item: u32) {
    if let Some(at) = list.iter().rposition(|i| *i == item) {
        list.remove(at);
    }
}

impl Order {
    fn new(n: usize) -> Order {
        let n = n as u32;
        Order {
            before: (0..n).map(|i| i.checked_sub(1).unwrap_or(NONE)).collect(),
            after: (0..n).map(|i| if i + 1 < n { i + 1 } else { NONE }).collect(),
            label: (0..n).map(|i| (u64::from(i) + 1) * GAP).collect(),
        }
    }

    fn link(&mut self, a: u32, b: u32) {
        if a != NONE {
            self.after[a as usize] = b;
        }
        if b != NONE {
            self.before[b as usize] = a;
        }
    }

    fn remove(&mut self, at: u32) {
        self.link(self.before[at as usize], self.after[at as usize]);
    }

    fn replace(&mut self, old: u32, new: u32) {
        let (before, after) = (self.before[old as usize], self.after[old as usize]);
        self.link(before, new);
        self.link(new, after);
        if before == NONE {
            self.before[new as usize] = NONE;
        }
        if after == NONE {
            self.after[new as usize] = NONE;
        }
        self.label[new as usize] = self.label[old as usize];
    }

    fn move_before(&mut self, moved: &[u32], place: u32) {
        moved.iter().for_each(|b| self.remove(*b));
        self.insert(moved, self.before[place as usize], place);
    }

    fn move_after(&mut self, moved: &[u32], place: u32) {
        moved.iter().for_each(|b| self.remove(*b));
        self.insert(moved, place, self.after[place as usize]);
    }

    /// Puts blocks between two neighbours.
    fn insert(&mut self, moved: &[u32], before: u32, after: u32) {
        let mut last = before;
        for &block in moved {
            self.link(last, block);
            if last == NONE {
                self.before[block as usize] = NONE;
            }
            last = block;
        }
        if moved.is_empty() {
            return;
        }
        self.link(last, after);
        if after == NONE {
            self.after[last as usize] = NONE;
        }
        let low = if before == NONE { 0 } else { self.label[before as usize] };
        let high = if after == NONE { u64::MAX } else { self.label[after as usize] };
        let step = (high - low) / (moved.len() as u64 + 1);
        if step == 0 {
            return self.relabel(moved[0]);
        }
        for (i, &block) in moved.iter().enumerate() {
            self.label[block as usize] = low + step.min(GAP) * (i as u64 + 1);
        }
    }

    /// Spreads all labels evenly again.
    fn relabel(&mut self, any: u32) {
        let mut at = any;
        while self.before[at as usize] != NONE {
            at = self.before[at as usize];
        }
        let mut label = 0;
        while at != NONE {
            label += GAP;
            self.label[at as usize] = label;
            at = self.after[at as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diamond() -> Quotient {
        // 0 → 1 → 3, 0 → 2 → 3
        let edges: [&[u32]; 4] = [&[], &[0], &[0], &[1, 2]];
        Quotient::new(edges.iter().map(|p| p.iter().copied().collect()).collect())
    }

    #[test]
    fn a_path_around_is_found() {
        assert_eq!(diamond().contract(&[0, 1, 3]), Err(vec![0, 2, 3]));
        assert!(diamond().contract(&[0, 1]).is_ok());
        assert!(diamond().contract(&[1, 2]).is_ok());
        assert!(diamond().contract(&[0, 1, 2, 3]).is_ok());
    }

    #[test]
    fn two_contractions_do_not_cross() {
        // 0 → 1, 2 → 3: {0, 3} and {1, 2} would wait for each other.
        let edges: [&[u32]; 4] = [&[], &[0], &[], &[2]];
        let mut quotient = Quotient::new(edges.iter().map(|p| p.iter().copied().collect()).collect());
        quotient.contract(&[0, 3]).unwrap();
        assert_eq!(quotient.contract(&[1, 2]).unwrap_err().len(), 4);
    }

    #[test]
    fn bypass_can_be_undone() {
        let mut quotient = diamond();
        quotient.bypass(2, 3);
        assert!(quotient.contract(&[0, 1, 3]).is_ok());
        let mut quotient = diamond();
        quotient.bypass(2, 3);
        quotient.restore(2, 3);
        assert_eq!(quotient.contract(&[0, 1, 3]), Err(vec![0, 2, 3]));
    }
}
