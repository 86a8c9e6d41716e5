//! The originals of copied nodes, once it is known which composites remain.

use crate::choose::Chosen;
use crate::view::View;

/// A copied node that nothing but composites with copies uses becomes part of the first of them, in the place
/// of its copy: it feeds nothing else, so nothing else comes to wait for that region.
pub fn settle(view: &View<'_>, chosen: &mut Chosen) {
    let mut copied: Vec<u32> = chosen.copiers.keys().copied().collect();
    copied.sort_unstable();
    for node in copied {
        let copiers = &chosen.copiers[&node];
        let Some(value) = view.node(node).output(0) else { continue };
        let has_copy = |u: u32| chosen.owner[u as usize].is_some_and(|o| copiers.contains(&o));
        if view.is_output(value) || chosen.owner[node as usize].is_some() || !view.users(value).all(has_copy)
        {
            continue;
        }
        let first = view.users(value).min();
        let Some(owner) = first.and_then(|u| chosen.owner[u as usize]) else { continue };
        let composite = &mut chosen.composites[owner as usize];
        composite.copies.retain(|c| *c != node);
        composite.nodes.push(node);
        composite.nodes.sort_unstable();
        chosen.owner[node as usize] = Some(owner);
        chosen.copiers.entry(node).or_default().retain(|c| *c != owner);
    }
}
