//! `byoc partition --compare`: what each policy chooses, side by side, and what each placement takes.

use std::collections::HashMap;

use byoc::html::{self, Section};
use byoc::{Error, Placement, Policy, Report, Session, Timings, files, measure, random};
use byoc_partitioner::{CompositeReport, Summary};
use serde::Serialize;

use super::args::PartitionArgs;
use super::place;
use super::ui::{self, Align, Table};

const POLICIES: [(&str, Policy); 3] =
    [("greedy", Policy::Greedy), ("cost", Policy::Cost), ("measured", Policy::Measured)];

/// One policy's placement.
struct Choice {
    policy: &'static str,
    session: Session,
    /// Of one run; `None` where nothing could be measured.
    measured_us: Option<f64>,
}

pub fn run(args: &PartitionArgs) -> anyhow::Result<()> {
    let job = &args.job;
    let mut timings = Timings::default();
    let mut choices = Vec::new();
    for (name, policy) in POLICIES {
        let placement = Placement { policy: Some(policy), ..job.placement.placement()? };
        let session = place::placed(job, placement, place::HostOptions::default(), &mut timings)?;
        for warning in session.warnings().iter().filter(|_| !job.common.quiet) {
            ui::note(&format!("warning: {name}: {warning}"));
        }
        choices.push(Choice { policy: name, session, measured_us: None });
    }
    if let Err(error) = timings.time("measure", || measure_all(&mut choices)) {
        ui::note(&format!("warning: the placements cannot be timed: {error}"));
    }
    match args.json {
        true => ui::print(&json(&choices)),
        false => ui::print(&table(&choices)),
    }
    if let Some(path) = &args.html {
        let placement = Placement { rivals: true, ..job.placement.placement()? };
        let done = place::partitioned(job, &placement, &mut timings)?;
        let page = html::page(&done, &[section(&choices)])?;
        files::write_whole(path, page.as_bytes()).map_err(|e| Error::file(path, e))?;
    }
    place::write_timings(&job.common, &timings)
}

/// Runs the placements in turn; those that are the same count once, and those of vendors without code not at all.
fn measure_all(choices: &mut [Choice]) -> Result<(), Error> {
    let placed: Vec<_> = choices.iter().map(|c| placement(c.session.report())).collect();
    let first = |regions| placed.iter().position(|p| p == regions);
    let same: Vec<usize> = placed.iter().filter_map(first).collect();
    let runs = |i: &usize| same[*i] == *i && choices[*i].session.runs_as_placed();
    let different: Vec<usize> = (0..choices.len()).filter(runs).collect();
    let sessions: Vec<&Session> = different.iter().map(|i| &choices[*i].session).collect();
    let graph = choices[0].session.graph();
    let inputs = random::fill(graph, &HashMap::new(), &mut HashMap::new(), 0)?;
    let times = measure::sessions_in_turn(&sessions, &inputs.into_iter().collect::<Vec<_>>())?;
    for (choice, same) in choices.iter_mut().zip(same) {
        choice.measured_us = different.iter().position(|i| *i == same).map(|at| times[at]);
    }
    Ok(())
}

/// Who has which composites together.
fn placement(report: &Report) -> Vec<(&str, &str, &[CompositeReport])> {
    report.regions.iter().map(|r| (&*r.vendor, &*r.graph, &*r.composites)).collect()
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    measured_us: Option<f64>,
}

fn json(choices: &[Choice]) -> String {
    let mut rows: indexmap::IndexMap<&str, Row<'_>> = indexmap::IndexMap::new();
    for choice in choices {
        let (summary, measured_us) = (&choice.session.report().summary, choice.measured_us);
        rows.insert(choice.policy, Row { summary, measured_us });
    }
    let mut json = serde_json::to_string_pretty(&rows).expect("a summary is plain data");
    json.push('\n');
    json
}

const HEADING: [&str; 6] = ["policy", "regions", "on vendors", "cross the border", "predicted", "measured"];

impl Choice {
    fn row(&self) -> Vec<String> {
        let report = self.session.report();
        let summary = &report.summary;
        vec![
            self.policy.to_owned(),
            summary.regions.to_string(),
            format!("{} of {}", summary.offloaded, summary.nodes),
            ui::bytes(summary.boundary_bytes),
            predicted(report),
            self.measured_us.map_or("not known".to_owned(), |us| format!("{us:.1} µs")),
        ]
    }
}

fn table(choices: &[Choice]) -> String {
    let align = |i| if i == 0 { Align::Left } else { Align::Right };
    let heading: Vec<_> = HEADING.iter().enumerate().map(|(i, name)| (*name, align(i))).collect();
    let mut table = Table::new(&heading);
    choices.iter().for_each(|choice| table.row(choice.row()));
    table.render(ui::colour())
}

/// The same for the page.
fn section(choices: &[Choice]) -> Section {
    Section {
        title: "Policies".to_owned(),
        note: "What each policy chooses for this model, and what one run of it takes.".to_owned(),
        heading: HEADING.map(str::to_owned).to_vec(),
        rows: choices.iter().map(Choice::row).collect(),
    }
}

/// The predicted time; a sum that lacks what nobody knows is a lower bound.
fn predicted(report: &Report) -> String {
    match report.summary.predicted_us {
        None => "not known".to_owned(),
        Some(us) if report.summary.predicted_partial => format!("≥ {us:.1} µs"),
        Some(us) => format!("{us:.1} µs"),
    }
}
