//! Limits that hold for whole regions and models: what exceeds them goes back to the host.

use std::collections::HashSet;

use byoc_graph::schema;

use crate::choose::Chosen;
use crate::merge::Group;
use crate::misses::Stage;
use crate::program::Programs;
use crate::report::Kind;
use crate::view::View;

/// One graph with its regions.
pub struct Merged<'g> {
    pub view: View<'g>,
    pub chosen: Chosen,
    pub groups: Vec<Group>,
}

/// Drops the regions that exceed a limit, and tells their nodes why.
pub fn apply(graphs: &mut [Merged<'_>], programs: &Programs) {
    for merged in graphs.iter_mut() {
        let refusals: Vec<Option<String>> = merged
            .groups
            .iter()
            .map(|group| refusal(&merged.view, &merged.chosen, group, programs))
            .collect();
        drop_groups(merged, |i| refusals[i].clone());
    }
    for vendor in 0..programs.vendors.len() {
        keep_best(graphs, vendor, max_regions(graphs.iter().map(|m| &m.view), programs, vendor));
    }
}

/// How many regions the vendor may have beside those of an earlier partition.
pub fn max_regions<'v, 'g: 'v>(
    views: impl Iterator<Item = &'v View<'g>>,
    programs: &Programs,
    vendor: usize,
) -> usize {
    let about = &programs.vendors[vendor];
    let before = views.map(|view| outlined(view, &about.name)).sum();
    about.limits.max_regions.saturating_sub(before)
}

/// Regions that the vendor has from an earlier partition.
fn outlined(view: &View<'_>, vendor: &str) -> usize {
    let is_theirs = |place: &u32| view.node(*place).op.domain.strip_prefix("byoc.") == Some(vendor);
    (0..view.order.len() as u32).filter(is_theirs).count()
}

/// Why the region is too small or too idle for its vendor.
pub fn refusal(view: &View<'_>, chosen: &Chosen, group: &Group, programs: &Programs) -> Option<String> {
    let limits = &programs.vendors[group.vendor].limits;
    if group.size < limits.min_region_nodes {
        let (size, min) = (group.size, limits.min_region_nodes);
        return Some(format!("the region has {size} nodes, fewer than min_region_nodes = {min}"));
    }
    let composites = group.composites.iter().map(|c| &chosen.composites[*c as usize]);
    let is_heavy = |place: &u32| {
        let node = view.node(*place);
        let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
        schema.is_some_and(schema::OpSchema::is_compute_heavy)
    };
    let idle = limits.require_compute && !composites.into_iter().any(|c| c.nodes.iter().any(is_heavy));
    idle.then(|| "the region has no compute-heavy operator, and require_compute is set".to_owned())
}

/// Over all graphs of the model: those that save most time where that is known, else those with most nodes,
/// then the earliest.
fn keep_best(graphs: &mut [Merged<'_>], vendor: usize, max: usize) {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (g, merged) in graphs.iter().enumerate() {
        all.extend((0..merged.groups.len()).filter(|i| merged.groups[*i].vendor == vendor).map(|i| (g, i)));
    }
    if all.len() <= max {
        return;
    }
    let worth = |(g, i): &(usize, usize)| {
        let group = &graphs[*g].groups[*i];
        group.saves_us.unwrap_or(group.size as f64)
    };
    all.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    let best = match graphs.iter().flat_map(|m| &m.groups).all(|g| g.saves_us.is_none()) {
        true => "largest",
        false => "best",
    };
    let dropped: HashSet<(usize, usize)> = all.split_off(max).into_iter().collect();
    for (g, merged) in graphs.iter_mut().enumerate() {
        drop_groups(merged, |i| {
            let why = || format!("the vendor keeps its {max} {best} regions (max_regions)");
            dropped.contains(&(g, i)).then(why)
        });
    }
}

fn drop_groups(merged: &mut Merged<'_>, why: impl Fn(usize) -> Option<String>) {
    let groups = std::mem::take(&mut merged.groups);
    for (i, group) in groups.into_iter().enumerate() {
        match why(i) {
            None => merged.groups.push(group),
            Some(detail) => give_back(&mut merged.chosen, &group, (Stage::Region, Kind::Limit), &detail),
        }
    }
}

/// The region's nodes stay on the host.
pub fn give_back(chosen: &mut Chosen, group: &Group, kind: (Stage, Kind), detail: &str) {
    for &id in &group.composites {
        let composite = &chosen.composites[id as usize];
        chosen.misses.told(group.vendor, &composite.nodes, None, kind, detail);
        composite.nodes.iter().for_each(|n| chosen.owner[*n as usize] = None);
        for copy in &composite.copies {
            chosen.copiers.entry(*copy).or_default().retain(|c| *c != id);
        }
    }
}
