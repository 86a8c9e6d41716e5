//! `byoc partition --compare`: what each policy chooses, side by side.

use byoc::{Placement, Policy, Report, Timings};

use super::args::PartitionArgs;
use super::place;
use super::ui::{self, Align, Table};

const POLICIES: [(&str, Policy); 2] = [("greedy", Policy::Greedy), ("cost", Policy::Cost)];

pub fn run(args: &PartitionArgs) -> anyhow::Result<()> {
    let job = &args.job;
    let mut timings = Timings::default();
    let mut reports = Vec::new();
    for (name, policy) in POLICIES {
        let placement = Placement { policy, ..job.placement.placement()? };
        let done = place::partitioned(job, &placement, &mut timings)?;
        for warning in done.warnings.iter().filter(|_| !job.common.quiet) {
            ui::note(&format!("warning: {name}: {warning}"));
        }
        reports.push((name, done.report));
    }
    match args.json {
        true => ui::print(&json(&reports)),
        false => ui::print(&table(&reports)),
    }
    place::write_timings(&job.common, &timings)
}

fn json(reports: &[(&str, Report)]) -> String {
    let summaries = reports.iter().map(|(name, report)| (*name, &report.summary));
    let summaries: indexmap::IndexMap<&str, _> = summaries.collect();
    let mut json = serde_json::to_string_pretty(&summaries).expect("a summary is plain data");
    json.push('\n');
    json
}

fn table(reports: &[(&str, Report)]) -> String {
    let mut table = Table::new(&[
        ("policy", Align::Left),
        ("regions", Align::Right),
        ("on vendors", Align::Right),
        ("cross the border", Align::Right),
        ("predicted", Align::Right),
    ]);
    for (name, report) in reports {
        let summary = &report.summary;
        table.row(vec![
            (*name).to_owned(),
            summary.regions.to_string(),
            format!("{} of {}", summary.offloaded, summary.nodes),
            ui::bytes(summary.boundary_bytes),
            predicted(report),
        ]);
    }
    table.render(ui::colour())
}

/// The predicted time; a sum that lacks what nobody knows is a lower bound.
fn predicted(report: &Report) -> String {
    match report.summary.predicted_us {
        None => "not known".to_owned(),
        Some(us) if report.summary.predicted_partial => format!("≥ {us:.1} µs"),
        Some(us) => format!("{us:.1} µs"),
    }
}
