//! A layered drawing of a directed graph, top to bottom.
//!
//! The steps of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
//! Structures" (1981): layers by longest path, then fewer crossings by barycentres, then coordinates. Long edges
//! get a bend in every layer they pass; edges of one origin share them. Coordinates are the least-squares
//! positions near each box's neighbours that keep the order of its layer, found by pooling adjacent violators
//! (Ayer et al., 1955), with straight long edges weighing more as in Gansner et al., "A Technique for Drawing
//! Directed Graphs" (1993). All is deterministic, and linear in boxes and bends but for sorting. Cycles do no
//! harm: edges that go up are left without bends.

use std::collections::HashMap;

/// Space between neighbours of a layer.
const GAP: f32 = 24.0;
const BEND_WIDTH: f32 = 8.0;
/// Rounds of crossing reduction, each down and up.
const ORDER_ROUNDS: usize = 6;
const PLACE_ROUNDS: usize = 6;
/// Bends for each box, on average, before the longest edges are drawn without.
const BENDS_PER_BOX: usize = 8;

/// An edge between two boxes; where it leaves and enters is an offset from their centres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub leaves: f32,
    pub enters: f32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// By box.
    pub layer: Vec<usize>,
    /// By box: the centre.
    pub x: Vec<f32>,
    /// By edge: a bend in each layer that it passes.
    pub bends: Vec<Vec<Bend>>,
    pub width: f32,
    pub layers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bend {
    pub layer: usize,
    pub x: f32,
}

/// Places boxes of these widths. Edges name boxes that exist.
pub fn layout(widths: &[f32], edges: &[Edge]) -> Layout {
    let layer = layers(widths.len(), edges);
    let mut drawing = Drawing::new(widths, edges, layer);
    drawing.reduce_crossings();
    drawing.place();
    drawing.finish(widths.len())
}

/// The longest path from any source; what somebody uses then sinks to just above its first user.
fn layers(boxes: usize, edges: &[Edge]) -> Vec<usize> {
    let (mut next, mut before) = (vec![Vec::new(); boxes], vec![Vec::new(); boxes]);
    for edge in edges.iter().filter(|e| e.from != e.to) {
        next[edge.from].push(edge.to);
        before[edge.to].push(edge.from);
    }
    let order = topological(&next, &before);
    let mut at = vec![0; boxes];
    order.iter().enumerate().for_each(|(i, b)| at[*b] = i);
    let mut layer = vec![0usize; boxes];
    for &b in &order {
        let above = before[b].iter().filter(|p| at[**p] < at[b]).map(|p| layer[*p] + 1);
        layer[b] = above.max().unwrap_or(0);
    }
    for &b in order.iter().rev() {
        let below = next[b].iter().filter(|n| at[**n] > at[b]).map(|n| layer[*n]).min();
        layer[b] = below.map_or(layer[b], |l| l.saturating_sub(1).max(layer[b]));
    }
    layer
}

/// Every box once, before its users as far as there is no cycle.
fn topological(next: &[Vec<usize>], before: &[Vec<usize>]) -> Vec<usize> {
    let mut waits: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut done = vec![false; next.len()];
    let mut order = Vec::with_capacity(next.len());
    // A box that waits for itself starts in its turn all the same.
    for free_only in [true, false] {
        for start in 0..next.len() {
            if done[start] || (free_only && waits[start] > 0) {
                continue;
            }
            done[start] = true;
            let mut open = vec![start];
            while let Some(b) = open.pop() {
                order.push(b);
                for &n in next[b].iter().rev() {
                    waits[n] = waits[n].saturating_sub(1);
                    if waits[n] == 0 && !done[n] {
                        done[n] = true;
                        open.push(n);
                    }
                }
            }
        }
    }
    order
}

/// A piece of an edge between neighbouring layers.
#[derive(Clone, Copy)]
struct Piece {
    from: usize,
    to: usize,
    leaves: f32,
    enters: f32,
    weight: f32,
}

/// Boxes and bends, both called vertices.
struct Drawing {
    width: Vec<f32>,
    layer: Vec<usize>,
    rows: Vec<Vec<usize>>,
    pieces: Vec<Piece>,
    /// By vertex: pieces that enter it, and pieces that leave it.
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    x: Vec<f32>,
    /// By edge: its bends, from top to bottom.
    bends: Vec<Vec<usize>>,
}

impl Drawing {
    fn new(widths: &[f32], edges: &[Edge], layer: Vec<usize>) -> Drawing {
        let mut drawing = Drawing {
            width: widths.to_vec(),
            layer,
            rows: Vec::new(),
            pieces: Vec::new(),
            above: Vec::new(),
            below: Vec::new(),
            x: Vec::new(),
            bends: vec![Vec::new(); edges.len()],
        };
        drawing.add_edges(edges);
        let vertices = drawing.width.len();
        drawing.rows = vec![Vec::new(); drawing.layer.iter().max().map_or(0, |l| l + 1)];
        for vertex in 0..vertices {
            drawing.rows[drawing.layer[vertex]].push(vertex);
        }
        (drawing.above, drawing.below) = (vec![Vec::new(); vertices], vec![Vec::new(); vertices]);
        for (i, piece) in drawing.pieces.iter().enumerate() {
            drawing.below[piece.from].push(i);
            drawing.above[piece.to].push(i);
        }
        drawing
    }

    /// Splits edges at the layers that they pass; short ones first, so that the longest go without.
    fn add_edges(&mut self, edges: &[Edge]) {
        let span = |e: &Edge| self.layer[e.to].saturating_sub(self.layer[e.from]);
        let mut order: Vec<usize> = (0..edges.len()).filter(|i| span(&edges[*i]) > 0).collect();
        order.sort_by_key(|i| span(&edges[*i]));
        let budget = self.width.len() * BENDS_PER_BOX + 64;
        // By origin: the bends that there are, one a layer.
        let mut chains: HashMap<(usize, u32), Vec<usize>> = HashMap::new();
        for i in order {
            let edge = edges[i];
            let wanted = self.layer[edge.to] - self.layer[edge.from] - 1;
            let chain = chains.entry((edge.from, edge.leaves.to_bits())).or_default();
            if self.width.len() + wanted.saturating_sub(chain.len()) > budget {
                continue;
            }
            while chain.len() < wanted {
                let bend = self.width.len();
                self.width.push(BEND_WIDTH);
                self.layer.push(self.layer[edge.from] + chain.len() + 1);
                let (from, leaves, weight) = match chain.last() {
                    Some(&last) => (last, 0.0, 8.0),
                    None => (edge.from, edge.leaves, 2.0),
                };
                self.pieces.push(Piece { from, to: bend, leaves, enters: 0.0, weight });
                chain.push(bend);
            }
            let (from, leaves) = match wanted {
                0 => (edge.from, edge.leaves),
                n => (chain[n - 1], 0.0),
            };
            let weight = if wanted == 0 { 1.0 } else { 2.0 };
            self.pieces.push(Piece { from, to: edge.to, leaves, enters: edge.enters, weight });
            self.bends[i] = chain[..wanted].to_vec();
        }
    }

    /// Orders each layer by the mean place of its neighbours, keeping the best order seen.
    fn reduce_crossings(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for _ in 0..ORDER_ROUNDS {
            for down in [true, false] {
                self.sweep(down);
                let crossings = self.crossings();
                if crossings < best.0 {
                    best = (crossings, self.rows.clone());
                }
            }
            if best.0 == 0 {
                break;
            }
        }
        self.rows = best.1;
    }

    fn places(&self) -> Vec<f32> {
        let mut place = vec![0.0; self.width.len()];
        for row in &self.rows {
            row.iter().enumerate().for_each(|(i, v)| place[*v] = i as f32);
        }
        place
    }

    fn sweep(&mut self, down: bool) {
        let mut place = self.places();
        let count = self.rows.len();
        for step in 0..count {
            let l = if down { step } else { count - 1 - step };
            let mean = |v: usize| {
                let pieces = if down { &self.above[v] } else { &self.below[v] };
                let other = |p: &usize| if down { self.pieces[*p].from } else { self.pieces[*p].to };
                match pieces.len() {
                    0 => place[v],
                    n => pieces.iter().map(|p| place[other(p)]).sum::<f32>() / n as f32,
                }
            };
            let mut keyed: Vec<(f32, usize)> = self.rows[l].iter().map(|v| (mean(*v), *v)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.rows[l] = keyed.into_iter().map(|(_, v)| v).collect();
            self.rows[l].iter().enumerate().for_each(|(i, v)| place[*v] = i as f32);
        }
    }

    /// Crossings between all neighbouring layers, counted with a tree of prefix sums as by Barth, Jünger and
    /// Mutzel, "Simple and Efficient Bilayer Cross Counting" (2002).
    fn crossings(&self) -> u64 {
        let place = self.places();
        let mut total = 0;
        for row in &self.rows {
            let mut ends: Vec<usize> = Vec::new();
            for &v in row {
                let before = ends.len();
                ends.extend(self.below[v].iter().map(|p| place[self.pieces[*p].to] as usize));
                ends[before..].sort_unstable();
            }
            total += inversions(&ends);
        }
        total
    }

    fn place(&mut self) {
        self.x = vec![0.0; self.width.len()];
        for row in &self.rows {
            let mut left = -row.iter().map(|v| self.width[*v] + GAP).sum::<f32>() / 2.0;
            for &v in row {
                self.x[v] = left + self.width[v] / 2.0;
                left += self.width[v] + GAP;
            }
        }
        let count = self.rows.len();
        for round in 0..PLACE_ROUNDS {
            for step in 0..count {
                let l = if round % 2 == 0 { step } else { count - 1 - step };
                // The last two rounds look both ways.
                let (up, down) = (round % 2 == 0, round % 2 == 1);
                let both = round + 2 >= PLACE_ROUNDS;
                self.place_row(l, up || both, down || both);
            }
        }
    }

    fn place_row(&mut self, l: usize, look_up: bool, look_down: bool) {
        let row = &self.rows[l];
        let wish = |v: usize| {
            let (mut sum, mut weight) = (self.x[v] * 0.01, 0.01);
            for p in self.above[v].iter().filter(|_| look_up).map(|p| self.pieces[*p]) {
                sum += p.weight * (self.x[p.from] + p.leaves - p.enters);
                weight += p.weight;
            }
            for p in self.below[v].iter().filter(|_| look_down).map(|p| self.pieces[*p]) {
                sum += p.weight * (self.x[p.to] + p.enters - p.leaves);
                weight += p.weight;
            }
            (sum / weight, weight)
        };
        let wishes: Vec<(f32, f32)> = row.iter().map(|v| wish(*v)).collect();
        let widths: Vec<f32> = row.iter().map(|v| self.width[*v]).collect();
        for (v, x) in self.rows[l].iter().zip(apart(&wishes, &widths)) {
            self.x[*v] = x;
        }
    }

    fn finish(self, boxes: usize) -> Layout {
        let left = (0..self.x.len()).map(|v| self.x[v] - self.width[v] / 2.0).fold(f32::INFINITY, f32::min);
        let right = (0..self.x.len()).map(|v| self.x[v] + self.width[v] / 2.0).fold(0.0, f32::max);
        let left = if left.is_finite() { left } else { 0.0 };
        let bend = |v: &usize| Bend { layer: self.layer[*v], x: self.x[*v] - left };
        Layout {
            x: self.x[..boxes].iter().map(|x| x - left).collect(),
            bends: self.bends.iter().map(|bends| bends.iter().map(bend).collect()).collect(),
            layers: self.rows.len(),
            width: (right - left).max(0.0),
            layer: self.layer[..boxes].to_vec(),
        }
    }
}

/// Pairs that are out of order.
fn inversions(ends: &[usize]) -> u64 {
    let size = ends.iter().max().map_or(0, |m| m + 1);
    let mut tree = vec![0u64; size + 1];
    let mut total = 0;
    for (i, &end) in ends.iter().enumerate() {
        let (mut at, mut not_after) = (end + 1, 0);
        while at > 0 {
            not_after += tree[at];
            at &= at - 1;
        }
        total += i as u64 - not_after;
        let mut at = end + 1;
        while at <= size {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    total
}

/// Centres nearest to the weighted wishes that leave a gap between neighbours: what is too close is pooled and
/// placed at its mean.
fn apart(wishes: &[(f32, f32)], widths: &[f32]) -> Vec<f32> {
    let mut offsets = Vec::with_capacity(widths.len());
    let mut at = 0.0;
    for (i, width) in widths.iter().enumerate() {
        at += if i == 0 { 0.0 } else { (widths[i - 1] + width) / 2.0 + GAP };
        offsets.push(at);
    }
    // Mean, weight and number of each pool.
    let mut pools: Vec<(f32, f32, usize)> = Vec::new();
    for (&(wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut pool = (wish - offset, weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    let bases = pools.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count));
    bases.zip(offsets).map(|(base, offset)| base + offset).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge(from: usize, to: usize) -> Edge {
        Edge { from, to, leaves: 0.0, enters: 0.0 }
    }

    #[test]
    fn a_chain_is_straight() {
        let drawn = layout(&[80.0; 4], &[edge(0, 1), edge(1, 2), edge(2, 3)]);
        assert_eq!(drawn.layer, [0, 1, 2, 3]);
        assert!(drawn.x.windows(2).all(|x| (x[0] - x[1]).abs() < 0.5), "{:?}", drawn.x);
    }

    #[test]
    fn two_crossed_pairs_are_uncrossed() {
        let drawn = layout(&[80.0; 4], &[edge(0, 3), edge(1, 2)]);
        assert_eq!(drawn.x[0] < drawn.x[1], drawn.x[3] < drawn.x[2]);
    }

    #[test]
    fn crossings_are_counted() {
        assert_eq!(inversions(&[0, 1, 2]), 0);
        assert_eq!(inversions(&[2, 1, 0]), 3);
        assert_eq!(inversions(&[1, 1, 0]), 2);
    }

    #[test]
    fn a_cycle_is_drawn_all_the_same() {
        let drawn = layout(&[80.0; 3], &[edge(0, 1), edge(1, 2), edge(2, 0), edge(1, 1)]);
        assert_eq!(drawn.layer.len(), 3);
    }

    #[test]
    fn nothing_is_an_empty_drawing() {
        assert_eq!(layout(&[], &[]).width, 0.0);
    }

    proptest! {
        #[test]
        fn layers_go_down_and_boxes_stay_apart(
            widths in prop::collection::vec(20f32..200.0, 1..60),
            pairs in prop::collection::vec((0usize..60, 0usize..60), 0..150),
        ) {
            let n = widths.len();
            let pairs = pairs.into_iter().map(|(a, b)| (a % n, b % n)).filter(|(a, b)| a < b);
            let edges: Vec<Edge> = pairs.map(|(a, b)| edge(a, b)).collect();
            let drawn = layout(&widths, &edges);
            prop_assert_eq!(&drawn, &layout(&widths, &edges));
            for (e, bends) in edges.iter().zip(&drawn.bends) {
                prop_assert!(drawn.layer[e.from] < drawn.layer[e.to]);
                let between = drawn.layer[e.to] - drawn.layer[e.from] - 1;
                prop_assert!(bends.is_empty() || bends.len() == between);
                let expected = drawn.layer[e.from] + 1..;
                prop_assert!(bends.iter().zip(expected).all(|(b, l)| b.layer == l));
            }
            for a in 0..n {
                prop_assert!(drawn.x[a] - widths[a] / 2.0 > -0.1 && drawn.x[a] + widths[a] / 2.0 < drawn.width + 0.1);
                for b in (a + 1..n).filter(|b| drawn.layer[*b] == drawn.layer[a]) {
                    let gap = (drawn.x[a] - drawn.x[b]).abs() - (widths[a] + widths[b]) / 2.0;
                    prop_assert!(gap > GAP - 0.5, "boxes {a} and {b} are {gap} apart");
                }
            }
        }
    }
}
