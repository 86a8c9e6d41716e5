//! `byoc plan show` and `byoc plan diff`.

use std::fmt::Write;
use std::path::Path;

use byoc::Plan;
use byoc_partitioner::plan::{Change, Difference, Placement, RegionNodes, Step, difference};
use indexmap::IndexMap;

use super::args::{PlanCommand, PlanDiffArgs, PlanShowArgs};
use super::ui::{self, Align, Table};

/// Nodes of a list that a row shows before it says how many there are.
const SHOWN: usize = 4;
/// Changes that are shown without `--json`, and regions of one on either side.
const CHANGES: usize = 20;
const REGIONS: usize = 8;

pub fn run(command: &PlanCommand) -> anyhow::Result<()> {
    match command {
        PlanCommand::Show(args) => show(args),
        PlanCommand::Diff(args) => diff(args),
    }
}

/// Reads a plan from a file.
pub fn read(path: &Path) -> Result<Plan, byoc::Error> {
    let bytes = std::fs::read(path).map_err(|e| byoc::Error::file(path, e))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| byoc::Error::Other(format!("{}: is not text: {e}", path.display())))?;
    Plan::parse(&path.display().to_string(), &text).map_err(|e| byoc::Error::Partition(e.into()))
}

fn show(args: &PlanShowArgs) -> anyhow::Result<()> {
    let plan = read(&args.plan)?;
    match args.json {
        true => ui::print(&format!("{}\n", serde_json::to_string_pretty(&plan)?)),
        false => ui::print(&describe(&plan)),
    }
    Ok(())
}

fn describe(plan: &Plan) -> String {
    let regions = plan.regions();
    let mut text =
        format!("model    {} ({})\n", ui::count(plan.model.nodes, "node"), ui::shorten(&plan.model.hash, 24));
    for vendor in &plan.vendors {
        let version = vendor.version.as_deref().unwrap_or("no version");
        let _ = writeln!(text, "vendor   {} ({version})", vendor.name);
    }
    let on_host = ui::count(plan.host.len(), "node");
    let _ = writeln!(text, "plan     {}, {on_host} on the host", ui::count(regions.len(), "region"));
    if let Some(us) = plan.predicted.us {
        let _ = writeln!(text, "predicted {us:.1} µs");
    }
    if let Some(bytes) = plan.boundary_bytes() {
        let _ = writeln!(text, "border   {}", ui::bytes(bytes));
    }
    let left = Align::Left;
    let mut steps =
        Table::new(&[("step", Align::Right), ("line", Align::Right), ("what", left), ("nodes", left)]);
    for (i, step) in plan.steps.iter().enumerate() {
        let nodes = match step {
            Step::Place { nodes, .. } => shown(nodes),
            Step::Merge { roots, .. } => shown(roots),
            _ => String::new(),
        };
        let line = plan.lines.get(i).map_or(String::new(), usize::to_string);
        steps.row(vec![(i + 1).to_string(), line, ui::shorten(&step.describe(), 60), nodes]);
    }
    if !steps.is_empty() {
        let _ = write!(text, "\n{}", steps.render(ui::colour()));
    }
    text
}

fn shown(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(|n| ui::shorten(n, 28)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, ", … ({})", names.len());
    }
    text
}

fn diff(args: &PlanDiffArgs) -> anyhow::Result<()> {
    let difference = difference(&read(&args.before)?, &read(&args.after)?);
    match args.json {
        true => ui::print(&format!("{}\n", serde_json::to_string_pretty(&difference)?)),
        false => ui::print(&describe_difference(&difference)),
    }
    Ok(())
}

fn describe_difference(difference: &Difference) -> String {
    if difference.is_empty() {
        return "the plans decide the same\n".to_owned();
    }
    let mut text = String::new();
    if !difference.same_model {
        text.push_str("the plans are for different models\n");
    }
    for vendor in &difference.vendors {
        let _ = writeln!(text, "vendor {vendor} is not the same");
    }
    for (sign, wishes) in [('-', &difference.will_before), ('+', &difference.will_after)] {
        for wish in wishes {
            let _ = writeln!(text, "{sign} {wish}");
        }
    }
    let changes = alike(&difference.changes);
    for (number, (times, change)) in (1..).zip(changes.iter().take(CHANGES)) {
        let apart = if *times > 1 { format!("in {times} places: ") } else { String::new() };
        let _ = write!(text, "\n{number}. {apart}{}\n{}", headline(change), describe_change(change));
    }
    if changes.len() > CHANGES {
        let _ = writeln!(text, "\n{} more; all of them with --json", changes.len() - CHANGES);
    }
    text.push('\n');
    match (difference.predicted_before.us, difference.predicted_after.us) {
        (Some(before), Some(after)) => {
            let change = 100.0 * (after - before) / before;
            let _ = writeln!(text, "predicted {before:.1} µs → {after:.1} µs ({change:+.1} %)");
        }
        _ => text.push_str("predicted times are not known for both\n"),
    }
    if let (Some(before), Some(after)) = (difference.boundary_before, difference.boundary_after) {
        let _ = writeln!(text, "cross the border: {} → {}", ui::bytes(before), ui::bytes(after));
    }
    text
}

/// What makes changes alike: the graph, moves, and the vendors of regions.
type Shape = (String, Vec<(Placement, Placement, usize)>, Vec<String>, Vec<String>);

/// Changes of one shape as one, with how many there are.
fn alike(changes: &[Change]) -> Vec<(usize, Change)> {
    let mut found: IndexMap<Shape, (usize, Change)> = IndexMap::new();
    for change in changes {
        let vendors = |list: &[RegionNodes]| list.iter().map(|r| r.vendor.clone()).collect();
        let moves = routes(change).into_iter().map(|((a, b), n)| (a.clone(), b.clone(), n.len())).collect();
        let shape =
            (change.graph.clone(), moves, vendors(&change.regions_before), vendors(&change.regions_after));
        match found.entry(shape) {
            indexmap::map::Entry::Vacant(first) => drop(first.insert((1, change.clone()))),
            indexmap::map::Entry::Occupied(mut more) => {
                let (times, all) = more.get_mut();
                *times += 1;
                all.moved.extend_from_slice(&change.moved);
                all.regions_before.extend_from_slice(&change.regions_before);
                all.regions_after.extend_from_slice(&change.regions_after);
                all.us = all.us.zip(change.us).map(|(a, b)| a + b);
                let bytes = all.boundary_bytes.zip(change.boundary_bytes);
                all.boundary_bytes = bytes.map(|(a, b)| a.saturating_add(b));
            }
        }
    }
    found.into_values().collect()
}

/// What happens, in one line, and what it costs.
fn headline(change: &Change) -> String {
    let mut parts: Vec<String> = routes(change)
        .into_iter()
        .filter(|((from, to), _)| from.target != to.target)
        .fold(IndexMap::new(), |mut by_target: IndexMap<_, usize>, ((from, to), nodes)| {
            *by_target.entry((&from.target, &to.target)).or_default() += nodes.len();
            by_target
        })
        .into_iter()
        .map(|((from, to), nodes)| {
            let verb = if nodes == 1 { "goes" } else { "go" };
            format!("{} {verb} from {from} to {to}", ui::count(nodes, "node"))
        })
        .collect();
    let stay = change.moved.iter().filter(|m| m.from.target == m.to.target).count();
    if stay > 0 {
        parts.push(format!("{} matched by another pattern", ui::count(stay, "node")));
    }
    let regions = match (change.regions_before.len(), change.regions_after.len()) {
        (0, 0) => None,
        (1, 1) if !change.moved.is_empty() => None,
        (0, n) => Some(format!("{} more", ui::count(n, "region"))),
        (n, 0) => Some(format!("{} fewer", ui::count(n, "region"))),
        (n, 1) => Some(format!("{} become one", ui::count(n, "region"))),
        (1, n) => Some(format!("a region falls into {n}")),
        (n, m) => Some(format!("{} become {m}", ui::count(n, "region"))),
    };
    parts.extend(regions);
    let mut costs: Vec<String> = change.us.iter().map(|us| format!("{us:+.1} µs")).collect();
    if let Some(bytes) = change.boundary_bytes.filter(|bytes| *bytes != 0) {
        let sign = if bytes < 0 { '-' } else { '+' };
        costs.push(format!("{sign}{} over the border", ui::bytes(bytes.unsigned_abs())));
    }
    let place = if change.graph == "main" { String::new() } else { format!(" in {}", change.graph) };
    let costs = if costs.is_empty() { String::new() } else { format!("  ({})", costs.join(", ")) };
    format!("{}{place}{costs}", parts.join("; "))
}

/// Nodes by where they come from and go to.
fn routes(change: &Change) -> IndexMap<(&Placement, &Placement), Vec<String>> {
    let mut routes: IndexMap<_, Vec<String>> = IndexMap::new();
    for moved in &change.moved {
        routes.entry((&moved.from, &moved.to)).or_default().push(moved.node.clone());
    }
    routes
}

fn describe_change(change: &Change) -> String {
    let left = Align::Left;
    let mut moved = Table::new(&[("from", left), ("to", left), ("nodes", left)]);
    for ((from, to), nodes) in routes(change) {
        moved.row(vec![placement(from), placement(to), shown(&nodes)]);
    }
    let mut text = String::new();
    if !moved.is_empty() {
        text += &moved.render(ui::colour());
    }
    let right = Align::Right;
    let mut regions = Table::new(&[
        ("", left),
        ("region of", left),
        ("nodes", right),
        ("predicted", right),
        ("with", left),
    ]);
    for (sign, list) in [("-", &change.regions_before), ("+", &change.regions_after)] {
        for region in list.iter().take(REGIONS) {
            let us = region.us.map_or("-".to_owned(), |us| format!("{us:.1} µs"));
            let nodes = region.nodes.len().to_string();
            regions.row(vec![sign.to_owned(), region.vendor.clone(), nodes, us, shown(&region.nodes)]);
        }
        if list.len() > REGIONS {
            let more = format!("{} more", list.len() - REGIONS);
            regions.row(vec![sign.to_owned(), more, String::new(), String::new(), String::new()]);
        }
    }
    if !regions.is_empty() {
        text += &regions.render(ui::colour());
    }
    text
}

fn placement(placement: &Placement) -> String {
    match &placement.pattern {
        Some(pattern) => format!("{} {pattern}", placement.target),
        None => placement.target.clone(),
    }
}
