//! `byoc plan show` and `byoc plan diff`.

use std::fmt::Write;
use std::path::Path;

use byoc::Plan;
use byoc_partitioner::plan::{Difference, Step, difference};

use super::args::{PlanCommand, PlanDiffArgs, PlanShowArgs};
use super::ui::{self, Align, Table};

/// Nodes of a list that a row shows before it says how many there are.
const SHOWN: usize = 4;

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
    let left = Align::Left;
    let mut moved = Table::new(&[("node", left), ("graph", left), ("from", left), ("to", left)]);
    for node in &difference.moved {
        moved.row(vec![
            ui::shorten(&node.node, 40),
            ui::shorten(&node.graph, 24),
            node.from.clone(),
            node.to.clone(),
        ]);
    }
    if !moved.is_empty() {
        let _ = write!(text, "\n{}", moved.render(ui::colour()));
    }
    let mut regions = Table::new(&[
        ("", left),
        ("vendor", left),
        ("composites", Align::Right),
        ("nodes", Align::Right),
        ("region", left),
    ]);
    for (sign, list) in [("-", &difference.regions_before), ("+", &difference.regions_after)] {
        for region in list {
            let (composites, nodes) = (region.composites.to_string(), region.nodes.len().to_string());
            let row = [sign.to_owned(), region.vendor.clone(), composites, nodes, shown(&region.nodes)];
            regions.row(row.to_vec());
        }
    }
    if !regions.is_empty() {
        let _ = write!(text, "\n{}", regions.render(ui::colour()));
    }
    if let (Some(before), Some(after)) = (difference.predicted_before.us, difference.predicted_after.us) {
        let change = 100.0 * (after - before) / before;
        let _ = writeln!(text, "\npredicted {before:.1} µs → {after:.1} µs ({change:+.1} %)");
    } else {
        text.push_str("\npredicted times are not known for both\n");
    }
    text
}
