//! What would stand against a match that came too late, were it there first.

use std::collections::{HashMap, VecDeque};

use super::Chosen;

/// The path by which a match of `nodes` would wait for itself in the place of the composites that have them now,
/// all others being as they are.
pub fn cycle(chosen: &Chosen, nodes: &[u32]) -> Option<Vec<u32>> {
    let last = *nodes.iter().max()?;
    let owner = |node: u32| chosen.owner[node as usize];
    let freed: Vec<u32> = nodes.iter().filter_map(|n| owner(*n)).collect();
    // What moves with a node: its composite, unless that has to give way.
    let together = |node: u32| match owner(node).filter(|o| !freed.contains(o)) {
        Some(composite) => &chosen.composites[composite as usize].nodes[..],
        None => &[],
    };
    let mut via: HashMap<u32, u32> = HashMap::new();
    let mut open: VecDeque<u32> = nodes.iter().copied().collect();
    while let Some(at) = open.pop_front() {
        let beside = together(at).iter();
        for (&next, is_edge) in
            chosen.quotient.after(at).iter().map(|n| (n, true)).chain(beside.map(|n| (n, false)))
        {
            let is_inside = nodes.contains(&next);
            if is_inside && is_edge && !nodes.contains(&at) {
                return Some(path(&via, at, next));
            }
            // Whatever is behind the match comes back to it only with a composite that begins before.
            let is_near = next <= last || together(next).iter().any(|n| *n <= last);
            if !is_inside && is_near && !via.contains_key(&next) {
                via.insert(next, at);
                open.push_back(next);
            }
        }
    }
    None
}

/// The way from the match to `end`, and back into it at `back`.
fn path(via: &HashMap<u32, u32>, end: u32, back: u32) -> Vec<u32> {
    let mut path = vec![back, end];
    let mut at = end;
    while let Some(&before) = via.get(&at) {
        path.push(before);
        at = before;
    }
    path.reverse();
    path
}
