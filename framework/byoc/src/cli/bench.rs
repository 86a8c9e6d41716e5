//! `byoc bench`: latency, memory and where the time goes.

use std::collections::HashMap;

use byoc::dataset::{self, DataSet};
use byoc::{Bench, BenchOptions, Pipeline, StepTime, files, random};
use indexmap::IndexMap;

use super::args::BenchArgs;
use super::place::{self, HostOptions, session};
use super::ui::{self, Align, Table};

/// Rows of a profile that are shown.
const ROWS: usize = 25;

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let mut timings = byoc::Timings::default();
    let session =
        session(&args.job, HostOptions { threads: args.threads, ..HostOptions::default() }, &mut timings)?;
    place::print_summary(&session, &args.job.common);
    let graph = session.graph();
    let inputs = match &args.data {
        Some(data) => DataSet::read(&dataset::folders(data)?[0], graph)?.inputs,
        None => {
            let made = random::fill(graph, &HashMap::new(), &mut HashMap::new(), 0)?;
            made.into_iter().collect()
        }
    };
    let options = BenchOptions { warmup: args.warmup, seconds: args.seconds };
    let mut bench = timings.time("bench", || byoc::bench(&session, &inputs, options))?;
    if let Some(n) = args.pipeline {
        let measured =
            timings.time("pipeline", || byoc::pipeline(&session, &inputs, options, n.into(), &bench))?;
        bench.pipeline = Some(measured);
    }
    place::print_fallbacks(&session);
    ui::print(&describe(&bench));
    if args.profile {
        ui::print(&profile(&bench.steps));
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&bench)?;
        files::write_whole(path, json.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    place::write_timings(&args.job.common, &timings)?;
    Ok(())
}

fn describe(bench: &Bench) -> String {
    let mut text = format!(
        "median {:.3} ms, p90 {:.3} ms, min {:.3} ms over {} runs on {}\nload {:.0} ms",
        bench.median_ms,
        bench.p90_ms,
        bench.min_ms,
        bench.iterations,
        ui::count(bench.threads, "thread"),
        bench.load_ms
    );
    if let Some(rss) = bench.peak_rss_mb {
        text += &format!(", peak memory {rss:.0} MiB");
    }
    let by_target: Vec<String> = bench.by_target.iter().map(|(t, ms)| format!("{t} {ms:.3} ms")).collect();
    text += &format!("\nby target: {}\n", by_target.join(", "));
    for (vendor, ms) in &bench.device_ms {
        text += &format!("device time of {vendor}: {ms:.3} ms\n");
    }
    if let Some(pipeline) = &bench.pipeline {
        text += &describe_pipeline(pipeline);
    }
    text
}

fn describe_pipeline(pipeline: &Pipeline) -> String {
    let Pipeline { in_flight, requests, per_second, alone_per_second, median_ms, p90_ms, busy } = pipeline;
    let busy: Vec<String> = busy.iter().map(|(t, share)| format!("{t} {:.0} %", 100.0 * share)).collect();
    format!(
        "pipeline of {in_flight}: {per_second:.1} a second over {requests} requests, {alone_per_second:.1} one after \
         the other ({:.2} times); median {median_ms:.3} ms, p90 {p90_ms:.3} ms; busy: {}\n",
        per_second / alone_per_second,
        busy.join(", ")
    )
}

/// Time by operator and by who ran it, the longest first.
fn profile(steps: &[StepTime]) -> String {
    let total: f64 = steps.iter().map(|s| s.ms).sum();
    let mut groups: IndexMap<(String, String, String), (usize, f64)> = IndexMap::new();
    for step in steps {
        let key = (step.op.clone(), step.by.clone(), step.target.clone());
        let (calls, ms) = groups.entry(key).or_default();
        *calls += 1;
        *ms += step.ms;
    }
    groups.sort_by(|_, a, _, b| b.1.total_cmp(&a.1));
    let mut table = Table::new(&[
        ("operator", Align::Left),
        ("by", Align::Left),
        ("target", Align::Left),
        ("calls", Align::Right),
        ("ms", Align::Right),
        ("share", Align::Right),
    ]);
    for ((op, by, target), (calls, ms)) in groups.into_iter().take(ROWS) {
        let share = format!("{:.1} %", if total > 0.0 { 100.0 * ms / total } else { 0.0 });
        table.row(vec![op, by, target, calls.to_string(), format!("{ms:.3}"), share]);
    }
    format!("\n{}", table.render(ui::colour()))
}
