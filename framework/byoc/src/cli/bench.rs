//! `byoc bench`: latency, memory and where the time goes.

use std::collections::HashMap;

use byoc::dataset::{self, DataSet};
use byoc::{Bench, BenchOptions, Group, Limit, Pipeline, Profile, files, random};

use super::args::BenchArgs;
use super::place::{self, HostOptions, session};
use super::ui::{self, Align, Table};

/// Rows of a profile that are shown.
const ROWS: usize = 25;
/// The longest name that is shown whole.
const NAME: usize = 48;

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let mut timings = byoc::Timings::default();
    let (threads, precision) = (args.threads, args.precision.into());
    let host = HostOptions { threads, precision, ..HostOptions::default() };
    let session = session(&args.job, host, &mut timings)?;
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
        let profile = Profile::of(&bench.steps, (session.peak(), session.threads()));
        ui::print(&table(&profile, args.by_step).render(ui::colour()));
        ui::print(&limits(&profile));
        bench.profile = Some(profile);
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

/// Time by operator and by who ran it, or by step, the longest first, and of all together.
fn table(profile: &Profile, by_step: bool) -> Table {
    let mut table = Table::new(&[
        (if by_step { "step" } else { "operator" }, Align::Left),
        ("by", Align::Left),
        ("target", Align::Left),
        ("calls", Align::Right),
        ("ms", Align::Right),
        ("share", Align::Right),
        ("GFLOP/s", Align::Right),
        ("GB/s", Align::Right),
        ("of peak", Align::Right),
        ("limit", Align::Left),
    ]);
    let groups = if by_step { profile.by_step() } else { profile.by_operator() };
    let mut all = profile.all();
    all.what = "all".into();
    for group in groups.iter().take(ROWS).chain([&all]) {
        table.row(row(group, all.ms));
    }
    table
}

fn row(group: &Group, total: f64) -> Vec<String> {
    let known = |value: Option<f64>, unit: &str| value.map_or("-".into(), |x| format!("{x:.1}{unit}"));
    let rates = &group.rates;
    let share = if total > 0.0 { group.ms / total } else { 0.0 };
    vec![
        ui::shorten(&group.what, NAME),
        group.by.clone(),
        group.target.clone(),
        group.calls.to_string(),
        format!("{:.3}", group.ms),
        format!("{:.1} %", 100.0 * share),
        known(rates.gflops, ""),
        known(rates.gbps, ""),
        known(rates.of_peak.map(|share| 100.0 * share), " %"),
        rates.limit.map_or("-", Limit::name).to_owned(),
    ]
}

fn limits(profile: &Profile) -> String {
    format!(
        "measured peak of {}: {:.0} GFLOP/s in f32, {:.1} GB/s from memory\n",
        ui::count(profile.threads, "thread"),
        profile.peak_gflops,
        profile.peak_gbps
    )
}

#[cfg(test)]
mod tests {
    use byoc::{Peak, StepTime, Work};

    use super::*;

    fn step(op: &str, by: &str, target: &str, ms: f64, flops: Option<u64>, bytes: Option<u64>) -> StepTime {
        let (op, by, target) = (op.into(), by.into(), target.into());
        StepTime { label: format!("{op}_1"), op, by, target, ms, work: Work { flops, bytes } }
    }

    /// A machine of 100 GFLOP/s and 10 GB/s.
    fn profile() -> Profile {
        let steps = [
            step("MatMul", "gemm", "host", 1.0, Some(80_000_000), Some(1_000_000)),
            step("MatMul", "gemm", "host", 2.0, Some(10_000_000), Some(10_000_000)),
            step("Relu", "unary", "host", 0.5, Some(250_000), Some(2_000_000)),
            step("acme_0", "acme", "acme", 6.0, None, None),
            step("NonZero", "reference", "host", 0.5, Some(0), None),
        ];
        Profile::of(&steps, (Peak { flops: 100e9, bytes: 10e9 }, 2))
    }

    #[test]
    fn operators_stand_beside_the_nearer_limit() {
        let expected = "
  operator  by         target  calls      ms    share  GFLOP/s  GB/s  of peak  limit
  acme_0    acme       acme        1   6.000   60.0 %        -     -        -  -
  MatMul    gemm       host        2   3.000   30.0 %     30.0   3.7   60.0 %  memory
  Relu      unary      host        1   0.500    5.0 %      0.5   4.0   40.0 %  memory
  NonZero   reference  host        1   0.500    5.0 %        -     -        -  -
  all                              5  10.000  100.0 %     25.8   3.7   57.1 %  memory
";
        assert_eq!(format!("\n{}", table(&profile(), false).render(false)), expected);
        let peak = "measured peak of 2 threads: 100 GFLOP/s in f32, 10.0 GB/s from memory\n";
        assert_eq!(limits(&profile()), peak);
    }

    #[test]
    fn steps_have_a_limit_each() {
        let expected = "
  step       by         target  calls      ms    share  GFLOP/s  GB/s  of peak  limit
  acme_0_1   acme       acme        1   6.000   60.0 %        -     -        -  -
  MatMul_1   gemm       host        1   2.000   20.0 %      5.0   5.0   50.0 %  memory
  MatMul_1   gemm       host        1   1.000   10.0 %     80.0   1.0   80.0 %  arithmetic
  Relu_1     unary      host        1   0.500    5.0 %      0.5   4.0   40.0 %  memory
  NonZero_1  reference  host        1   0.500    5.0 %        -     -        -  -
  all                               5  10.000  100.0 %     25.8   3.7   57.1 %  memory
";
        assert_eq!(format!("\n{}", table(&profile(), true).render(false)), expected);
    }
}
