//! `byoc partition`: which vendor takes which part of a model, and why not the rest.

use std::fmt::Write;

use anyhow::bail;
use byoc::{Placement, Report, Timings, files, html, onnx};

use super::args::PartitionArgs;
use super::ui::{self, Align, Table};
use super::{compare, explain, place};

/// Nodes of a region that a row shows before it says how many there are.
const SHOWN: usize = 3;

pub fn run(args: &PartitionArgs) -> anyhow::Result<()> {
    if args.compare {
        return compare::run(args);
    }
    let mut timings = Timings::default();
    let job = &args.job;
    let rivals = args.explain.is_some() || args.html.is_some();
    let placement = Placement { rivals, ..job.placement.placement()? };
    let done = place::partitioned(job, &placement, &mut timings)?;
    for warning in done.warnings.iter().filter(|_| !job.common.quiet) {
        ui::note(&format!("warning: {warning}"));
    }
    let report = &done.report;
    match &args.explain {
        Some(Some(node)) => ui::print(&explain::name(&done, node, args.json)?),
        Some(None) if args.json => ui::print(&explain::road_map(&done, true)?),
        Some(None) => ui::print(&format!("{}\n{}", describe(report), explain::road_map(&done, false)?)),
        None if args.json => ui::print(&place::json(report)),
        None if job.common.quiet => {}
        None => ui::print(&describe(report)),
    }
    timings.time("write", || -> anyhow::Result<()> {
        if let Some(path) = &args.report {
            files::write_whole(path, place::json(report).as_bytes())
                .map_err(|e| byoc::Error::file(path, e))?;
        }
        if let Some(path) = &args.html {
            let page = html::page(&done, &[])?;
            files::write_whole(path, page.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
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

fn describe(report: &Report) -> String {
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
