//! `byoc partition`: which vendor takes which part of a model, and why not the rest.

use std::fmt::Write;

use anyhow::bail;
use byoc::{Report, Timings, files, onnx, partition_file};

use super::args::PartitionArgs;
use super::place;
use super::ui::{self, Align, Table};

/// Nodes of a region that a row shows before it says how many there are.
const SHOWN: usize = 3;

pub fn run(args: &PartitionArgs) -> anyhow::Result<()> {
    let mut timings = Timings::default();
    let job = &args.job;
    let done = partition_file(
        &job.model.model,
        &job.model.options(),
        &job.vendors.sources,
        &job.vendors.options(),
        &job.placement.placement()?,
        &mut timings,
    )?;
    for warning in done.warnings.iter().filter(|_| !job.common.quiet) {
        ui::note(&format!("warning: {warning}"));
    }
    let report = &done.report;
    if let Some(node) = args.explain.iter().flatten().next() {
        ui::print(&explain_node(report, node)?);
    } else if args.json {
        ui::print(&place::json(report));
    } else if !job.common.quiet {
        ui::print(&describe(report, args.explain.is_some()));
    }
    timings.time("write", || -> anyhow::Result<()> {
        if let Some(path) = &args.report {
            files::write_whole(path, place::json(report).as_bytes())
                .map_err(|e| byoc::Error::file(path, e))?;
        }
        if let Some(path) = &args.output {
            onnx::save(&done.partitioned()?, path)?;
        }
        job.placement.save_plan(|| done.plan())?;
        Ok(())
    })?;
    place::write_timings(&job.common, &timings)?;
    if job.placement.strict && !report.host.is_empty() {
        bail!("{} on the host: {}", ui::count(report.host.len(), "node"), place::summary(report));
    }
    Ok(())
}

fn describe(report: &Report, explain: bool) -> String {
    let mut text = format!("{}\n", place::summary(report));
    let mut regions = Table::new(&[
        ("region", Align::Left),
        ("nodes", Align::Right),
        ("composites", Align::Right),
        ("inputs", Align::Right),
        ("outputs", Align::Right),
        ("from", Align::Left),
    ]);
    for region in &report.regions {
        let mut shown =
            region.nodes.iter().take(SHOWN).map(|n| ui::shorten(n, 28)).collect::<Vec<_>>().join(", ");
        if region.nodes.len() > SHOWN {
            shown += ", …";
        }
        regions.row(vec![
            region.name.clone(),
            region.nodes.len().to_string(),
            region.composites.len().to_string(),
            region.inputs.len().to_string(),
            region.outputs.len().to_string(),
            shown,
        ]);
    }
    if !regions.is_empty() {
        let _ = write!(text, "\n{}", regions.render(ui::colour()));
    }
    if explain {
        text += &explain_host(report);
    }
    let summary = &report.summary;
    if summary.boundary_bytes > 0 {
        let _ = write!(text, "\ncross the border: {}", ui::bytes(summary.boundary_bytes));
    }
    if let Some(share) = summary.offloaded_flops {
        let _ = write!(text, "\narithmetic off the host: {:.1} %", 100.0 * share);
    }
    text.push('\n');
    text
}

/// Every node on the host with its nearest miss.
fn explain_host(report: &Report) -> String {
    let mut table = Table::new(&[
        ("on the host", Align::Left),
        ("operator", Align::Left),
        ("vendor", Align::Left),
        ("why", Align::Left),
    ]);
    for node in &report.nodes {
        let mut seen: Vec<&str> = Vec::new();
        for reason in &node.reasons {
            if seen.contains(&reason.vendor.as_str()) {
                continue;
            }
            seen.push(&reason.vendor);
            let pattern = reason.pattern.as_ref().map(|p| format!("{p}: ")).unwrap_or_default();
            let why = ui::shorten(&format!("{pattern}{}", reason.detail), 120);
            table.row(vec![ui::shorten(&node.name, 32), node.op.clone(), reason.vendor.clone(), why]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render(ui::colour())) }
}

/// All that is known of one node.
fn explain_node(report: &Report, name: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for region in report.regions.iter().filter(|r| r.nodes.iter().any(|n| n == name)) {
        let _ = writeln!(text, "{name} ({}) is in region {} of {}", region.graph, region.name, region.vendor);
        for composite in region.composites.iter().filter(|c| c.nodes.iter().any(|n| n == name)) {
            let _ = writeln!(text, "  pattern {}: {}", composite.pattern, composite.nodes.join(", "));
            for (leaf, value) in &composite.bindings {
                let _ = writeln!(text, "    {leaf} = {value}");
            }
        }
    }
    for node in report.nodes.iter().filter(|n| n.name == name) {
        let _ = writeln!(text, "{name} ({}, {}) stays on the host", node.op, node.graph);
        for reason in &node.reasons {
            let pattern = reason.pattern.as_ref().map(|p| format!(", pattern {p}")).unwrap_or_default();
            let _ = writeln!(text, "  {}{pattern}: {}", reason.vendor, reason.detail);
        }
    }
    for node in report.removed.iter().filter(|n| n.name == name) {
        let _ = writeln!(
            text,
            "{name} ({}, {}) was taken away before matching: {:?}",
            node.op, node.graph, node.why
        );
    }
    if text.is_empty() {
        bail!(
            "no node is named `{name}`; nodes are called by their ONNX names, or by their first output where that is empty or not unique"
        );
    }
    Ok(text)
}
