//! What every command that places a model does: settle a session, and say what ran where.

use byoc::measure::ProfileSource;
use byoc::{
    Partitioned, Placement, Plan, Policy, Precision, Report, Session, Timings, files, partition_file,
};
use byoc_partitioner::RegionReport;

use super::args::{CommonArgs, JobArgs, PlacementArgs, PolicyArg};
use super::{plan, ui};

impl PlacementArgs {
    pub fn placement(&self) -> anyhow::Result<Placement> {
        Ok(Placement {
            policy: self.policy.map(|policy| match policy {
                PolicyArg::Greedy => Policy::Greedy,
                PolicyArg::Cost => Policy::Cost,
                PolicyArg::Measured => Policy::Measured,
            }),
            budget_ms: self.budget_ms,
            merge_siblings: self.merge_siblings,
            exclude: self.exclude.clone(),
            force: self.force.clone(),
            only_ops: self.only_ops.clone(),
            cuts: self.cuts.concat(),
            profile: match (&self.calibration, self.no_calibration) {
                (Some(path), _) => ProfileSource::File(path.clone()),
                (None, true) => ProfileSource::None,
                (None, false) => ProfileSource::Default,
            },
            plan: self.plan.as_deref().map(plan::read).transpose()?,
            strict: self.strict,
            ..Placement::default()
        })
    }

    /// Writes the plan where the command line asks for it.
    pub fn save_plan(&self, plan: impl FnOnce() -> Result<Plan, byoc::Error>) -> anyhow::Result<()> {
        if let Some(path) = &self.save_plan {
            files::write_whole(path, plan()?.to_text().as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
        }
        Ok(())
    }
}

/// The partition that the command line asks for, with a placement of the caller's.
pub fn partitioned(
    job: &JobArgs,
    placement: &Placement,
    timings: &mut Timings,
) -> Result<Partitioned, byoc::Error> {
    let (model, vendors) = (&job.model, &job.vendors);
    let (model_options, plugin_options) = (model.options(), vendors.options());
    partition_file(&model.model, &model_options, &vendors.sources, &plugin_options, placement, timings)
}

/// How the host runs its part.
#[derive(Clone, Copy, Default)]
pub struct HostOptions {
    pub threads: Option<u16>,
    pub reference: bool,
    pub precision: Precision,
    pub check_types: bool,
}

/// The session that the command line asks for; its plan is written where that is asked for as well.
pub fn session(job: &JobArgs, host: HostOptions, timings: &mut Timings) -> anyhow::Result<Session> {
    let session = placed(job, job.placement.placement()?, host, timings)?;
    job.placement.save_plan(|| session.plan())?;
    Ok(session)
}

/// As [`session`], with a placement of the caller's.
pub fn placed(
    job: &JobArgs,
    placement: Placement,
    host: HostOptions,
    timings: &mut Timings,
) -> Result<Session, byoc::Error> {
    let mut builder = Session::builder(&job.model.model)
        .model_options(job.model.options())
        .vendors(job.vendors.sources.clone())
        .plugin_options(job.vendors.options())
        .placement(placement)
        .reference(host.reference)
        .precision(host.precision)
        .check_types(host.check_types);
    if let Some(threads) = host.threads {
        builder = builder.threads(threads.into());
    }
    let session = builder.build()?;
    timings.extend(session.timings());
    Ok(session)
}

/// The report as it is written.
pub fn json(report: &Report) -> String {
    let mut json = serde_json::to_string_pretty(report).expect("a report is plain data");
    json.push('\n');
    json
}

/// One line on standard error: what runs where, and why the rest does not.
pub fn print_summary(session: &Session, common: &CommonArgs) {
    if !common.quiet {
        ui::note(&summary(session.report()));
        session.warnings().iter().for_each(|w| ui::note(&format!("warning: {w}")));
    }
}

/// `refnpu: 9 of 11 nodes in 1 region; host: 2 (Softmax: no pattern begins or continues with Softmax)`.
pub fn summary(report: &Report) -> String {
    let total = report.summary.nodes;
    let nodes = |n: usize| ui::count(n, "node");
    if report.vendors.is_empty() {
        return format!("host: {}", nodes(total));
    }
    let mut parts = Vec::new();
    for vendor in &report.vendors {
        let regions = report.regions.iter().filter(|r| r.vendor == *vendor);
        let (count, taken) = regions.fold((0, 0), |(c, n), r| (c + 1, n + own_nodes(r)));
        parts.push(format!("{vendor}: {taken} of {} in {}", nodes(total), ui::count(count, "region")));
    }
    let mut host = format!("host: {}", nodes(report.host.len()));
    if let Some((op, reason)) = commonest_reason(report) {
        host += &format!(" ({op}: {})", ui::shorten(&reason, 80));
    }
    parts.push(host);
    parts.join("; ")
}

/// Nodes of a region without the copies `node@consumer`, whose originals are counted elsewhere.
fn own_nodes(region: &RegionReport) -> usize {
    let is_copy = |name: &&String| {
        name.rsplit_once('@').is_some_and(|(_, consumer)| region.nodes.iter().any(|n| n == consumer))
    };
    region.nodes.len() - region.nodes.iter().filter(is_copy).count()
}

/// The operator that stays on the host most often, with the first reason of its first node.
fn commonest_reason(report: &Report) -> Option<(String, String)> {
    let mut counts: indexmap::IndexMap<&str, usize> = indexmap::IndexMap::new();
    for node in &report.nodes {
        *counts.entry(&node.op).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let (op, _) = counts.iter().find(|(_, n)| **n == most)?;
    let node = report.nodes.iter().find(|n| n.op == **op)?;
    let reason = node.reasons.first()?;
    Some(((*op).to_owned(), reason.detail.clone()))
}

/// Vendors that failed while the model ran.
pub fn print_fallbacks(session: &Session) {
    for fallback in session.fallbacks() {
        ui::note(&format!("warning: {fallback}"));
    }
}

/// Writes the stages where the command line asks for them.
pub fn write_timings(common: &CommonArgs, timings: &Timings) -> anyhow::Result<()> {
    if let Some(path) = &common.timings {
        let json = serde_json::to_string_pretty(timings)?;
        files::write_whole(path, json.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    Ok(())
}
