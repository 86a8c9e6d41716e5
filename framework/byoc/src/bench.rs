//! Latency of a session: runs for a while, and says where the time went.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use byoc_cpu::{Observed, Observer, Work};
use byoc_graph::Datum;
use indexmap::IndexMap;
use serde::Serialize;

use crate::memory::peak_rss_mb;
use crate::profile::Profile;
use crate::{Error, Session};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    pub warmup: usize,
    pub seconds: f64,
}

/// What was measured. Times by target are medians of a run with every step timed.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    pub median_ms: f64,
    pub p90_ms: f64,
    pub min_ms: f64,
    pub iterations: usize,
    pub threads: usize,
    pub load_ms: f64,
    pub peak_rss_mb: Option<f64>,
    /// Milliseconds on `host`, on each vendor, and in `transfer`.
    pub by_target: IndexMap<String, f64>,
    /// Time each vendor's device says it took for one run, where it says so.
    pub device_ms: BTreeMap<String, f64>,
    /// How vendors failed meanwhile, and were replaced by the host.
    pub fallbacks: Vec<String>,
    /// What a stream of requests gets, where that was measured as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Pipeline>,
    /// Every step beside the limits of the machine, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    #[serde(skip)]
    pub steps: Vec<StepTime>,
}

/// A stream of requests, several of them on their way at a time: while one is with a vendor, others are with the other
/// vendors and the host.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Requests that are on their way at a time.
    pub in_flight: usize,
    pub requests: usize,
    pub per_second: f64,
    /// Of requests one after the other.
    pub alone_per_second: f64,
    pub median_ms: f64,
    pub p90_ms: f64,
    /// The share of the time that each target works, going by what one request takes there.
    pub busy: IndexMap<String, f64>,
}

/// The time of one step of the program.
#[derive(Clone, Debug)]
pub struct StepTime {
    pub label: String,
    pub op: String,
    pub by: String,
    pub target: String,
    pub ms: f64,
    /// What there was to do, where that is known.
    pub work: Work,
}

/// Runs that are timed step by step, behind the ones that count.
const PROFILED: usize = 5;

/// Measures a session on one set of inputs.
pub fn bench(session: &Session, inputs: &[(String, Datum)], options: BenchOptions) -> Result<Bench, Error> {
    let inputs = session.arrange(inputs)?;
    for _ in 0..options.warmup {
        session.run_arranged(&inputs)?;
    }
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(options.seconds.clamp(0.0, 86_400.0));
    while times.len() < 3 || Instant::now() < end {
        let start = Instant::now();
        session.run_arranged(&inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let iterations = times.len();
    let profile = profile(session, &inputs)?;
    let mut by_target = IndexMap::from([("host".to_owned(), 0.0)]);
    for step in &profile {
        *by_target.entry(step.target.clone()).or_default() += step.ms;
    }
    by_target.entry("transfer".to_owned()).or_default();
    Ok(Bench {
        median_ms: percentile(&mut times, 0.5),
        p90_ms: percentile(&mut times, 0.9),
        min_ms: percentile(&mut times, 0.0),
        iterations,
        threads: session.threads(),
        load_ms: session.load_ms(),
        peak_rss_mb: peak_rss_mb(),
        by_target,
        device_ms: session.device_ms(),
        fallbacks: session.fallbacks(),
        pipeline: None,
        profile: None,
        steps: profile,
    })
}

/// Measures a stream of requests, `in_flight` of them at a time; `alone` is what was measured of single ones.
pub fn pipeline(
    session: &Session,
    inputs: &[(String, Datum)],
    options: BenchOptions,
    in_flight: usize,
    alone: &Bench,
) -> Result<Pipeline, Error> {
    let inputs = session.arrange(inputs)?;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds.clamp(0.0, 86_400.0));
    // Each of these has one request on its way after the other. Whoever computes one at a time makes the others wait.
    let requests = || -> Result<Vec<f64>, Error> {
        let mut times = Vec::new();
        while times.len() < 3 || Instant::now() < end {
            let start = Instant::now();
            session.run_arranged(&inputs)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    };
    let done: Vec<Result<Vec<f64>, Error>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..in_flight).map(|_| scope.spawn(requests)).collect();
        let panicked = || Err(Error::Other("a request panicked".into()));
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| panicked())).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut times = done.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let per_second = times.len() as f64 / seconds;
    Ok(Pipeline {
        in_flight,
        requests: times.len(),
        per_second,
        alone_per_second: 1e3 / alone.median_ms,
        median_ms: percentile(&mut times, 0.5),
        p90_ms: percentile(&mut times, 0.9),
        busy: alone.by_target.iter().map(|(target, ms)| (target.clone(), ms / 1e3 * per_second)).collect(),
    })
}

/// The median time of each step over a few runs.
pub(crate) fn profile(session: &Session, inputs: &[Option<Datum>]) -> Result<Vec<StepTime>, Error> {
    let mut runs = Vec::new();
    for _ in 0..PROFILED {
        let recorder = Recorder::default();
        session.run_observed(inputs, &recorder)?;
        runs.push(recorder.steps.into_inner().unwrap_or_default());
    }
    let mut steps = runs.pop().unwrap_or_default();
    // Loops may take another number of rounds only where inputs differ, and they do not.
    runs.retain(|run| run.len() == steps.len());
    for (i, step) in steps.iter_mut().enumerate() {
        let mut times: Vec<f64> = runs.iter().map(|run| run[i].ms).chain([step.ms]).collect();
        step.ms = percentile(&mut times, 0.5);
    }
    Ok(steps)
}

#[derive(Default)]
struct Recorder {
    steps: Mutex<Vec<StepTime>>,
}

impl Observer for Recorder {
    fn step(&self, &Observed { label, op, by, target, elapsed, work }: &Observed<'_>) {
        let step = StepTime {
            label: label.to_owned(),
            op: op.to_owned(),
            by: by.to_owned(),
            target: target.to_owned(),
            ms: elapsed.as_secs_f64() * 1e3,
            work,
        };
        if let Ok(mut steps) = self.steps.lock() {
            steps.push(step);
        }
    }
}

/// The value that this share of the others does not exceed.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 - 1.0) * share;
    values.get(at.round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles() {
        let mut values = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(percentile(&mut values, 0.5), 3.0);
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 0.9), 5.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}
