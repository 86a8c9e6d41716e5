//! What is certain to lead to or from a region, found by looking no further than needed.
//!
//! Nodes are passed in model order, from the region's first one on. One that uses what leads from the region is
//! reached; and as soon as all that is left has to be, the rest need not be looked at. To tell, each node hangs on
//! the last of those that it uses: where all nodes that still hang on something passed hang on something reached,
//! they are reached themselves, and so is all behind them. In a deep graph that is so after a few nodes.
//!
//! Marks are certain but not complete: a path through a region that was merged may be missed.

use crate::quotient::Quotient;

const NONE: u32 = u32::MAX;

/// Each node hangs on the last one that it uses. Only those count on which a region of the vendor hangs.
pub struct Tree {
    /// By node: the last that it uses, where there is one.
    on: Vec<u32>,
    /// By node: what hangs on it, in model order.
    hanging: Vec<Vec<u32>>,
    /// By node: how many nodes behind it hang on it, on one before it, or on none.
    open: Vec<u32>,
}

impl Tree {
    pub fn new(quotient: &Quotient, is_vendors: &dyn Fn(usize) -> bool) -> Tree {
        let nodes = quotient.len();
        let last = |node: usize| quotient.before(node as u32).iter().copied().max().unwrap_or(NONE);
        let on: Vec<u32> = (0..nodes).map(last).collect();
        let mut counts: Vec<bool> = (0..nodes).map(is_vendors).collect();
        let mut hanging = vec![Vec::new(); nodes];
        let mut change = vec![0i64; nodes + 1];
        for node in (0..nodes).rev() {
            if !counts[node] {
                continue;
            }
            let on = on[node];
            if on != NONE {
                counts[on as usize] = true;
                hanging[on as usize].push(node as u32);
            }
            change[if on == NONE { 0 } else { on as usize }] += 1;
            change[node] -= 1;
        }
        hanging.iter_mut().for_each(|nodes: &mut Vec<u32>| nodes.reverse());
        let mut sum = 0;
        let open = change[..nodes].iter().map(|change| {
            sum += change;
            sum as u32
        });
        let open = open.collect();
        Tree { on, hanging, open }
    }
}

/// The marks of one region.
pub struct Sweep {
    /// The turn: marks of earlier ones are none.
    turn: u32,
    /// By block: when something was found to lead to it from the region, and from it to the region. A block that
    /// has been united since keeps the marks of the one that it goes by.
    reached: Vec<u32>,
    reaching: Vec<u32>,
    /// By node: when it was passed as reached.
    passed: Vec<u32>,
    first: u32,
    last: u32,
    /// How many nodes behind the last one passed hang on one that was passed as reached.
    held: u32,
}

impl Sweep {
    pub fn new(nodes: usize) -> Sweep {
        let none = || vec![0; nodes];
        Sweep { turn: 0, reached: none(), reaching: none(), passed: none(), first: 0, last: 0, held: 0 }
    }

    /// Begins with a region that has this first node.
    pub fn begin(&mut self, tree: &Tree, quotient: &Quotient, first: u32) {
        self.turn += 1;
        (self.first, self.last, self.held) = (first, first, 0);
        self.include(tree, quotient, quotient.members(quotient.block(first)));
    }

    /// Passes all nodes up to one; false where that one, and all behind it that count, lead from the region.
    pub fn reach(&mut self, tree: &Tree, quotient: &Quotient, node: u32) -> bool {
        while self.last < node {
            if tree.open[self.last as usize] == self.held {
                return false;
            }
            self.last += 1;
            let on = tree.on[self.last as usize];
            let is_held = on != NONE && self.passed[on as usize] == self.turn;
            if is_held && tree.hanging[on as usize].binary_search(&self.last).is_ok() {
                self.held -= 1;
            }
            let is_reached = |n: &u32| self.reached[quotient.block(*n) as usize] == self.turn;
            if is_reached(&self.last) || quotient.before(self.last).iter().any(is_reached) {
                self.pass(tree, quotient, self.last);
            }
        }
        true
    }

    /// Whether the block of a node is known to lead to the region or from it.
    pub fn is_related(&self, quotient: &Quotient, node: u32) -> bool {
        let block = quotient.block(node) as usize;
        self.reached[block] == self.turn || self.reaching[block] == self.turn
    }

    /// Counts nodes among the region, and marks what leads from and to them among the nodes passed.
    pub fn include(&mut self, tree: &Tree, quotient: &Quotient, nodes: &[u32]) {
        let mut open: Vec<u32> = Vec::new();
        for &node in nodes {
            self.reached[quotient.block(node) as usize] = self.turn;
            if node <= self.last {
                self.pass(tree, quotient, node);
                open.push(node);
            }
        }
        let mut before = nodes.to_vec();
        while let Some(node) = open.pop() {
            for &next in quotient.after(node) {
                if next <= self.last && self.passed[next as usize] != self.turn {
                    self.pass(tree, quotient, next);
                    open.push(next);
                }
            }
        }
        while let Some(node) = before.pop() {
            for &next in quotient.before(node).iter().filter(|n| **n > self.first) {
                let mark = &mut self.reaching[quotient.block(next) as usize];
                if std::mem::replace(mark, self.turn) != self.turn {
                    before.push(next);
                }
            }
        }
    }

    fn pass(&mut self, tree: &Tree, quotient: &Quotient, node: u32) {
        self.reached[quotient.block(node) as usize] = self.turn;
        if std::mem::replace(&mut self.passed[node as usize], self.turn) != self.turn {
            let hanging = &tree.hanging[node as usize];
            self.held += (hanging.len() - hanging.partition_point(|n| *n <= self.last)) as u32;
        }
    }
}
