//! Handing the tests of a suite out to children.

use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::Answer;
use super::{Outcome, Results, Suite, Test, TestResult};
use crate::Error;
use crate::worker::{Reply, Worker};

pub struct Options {
    /// The words that start a child which answers as [`super::serve`] does.
    pub command: Vec<OsString>,
    /// Children at a time.
    pub jobs: usize,
    /// How long one test may take.
    pub limit: Duration,
}

/// Runs every test of a suite, and tells `seen` of each as it ends. Results are in the suite's order.
pub fn run(suite: &Suite, options: &Options, seen: &(dyn Fn(&TestResult) + Sync)) -> Result<Results, Error> {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(suite.tests.len()));
    let drive = || -> Result<(), Error> {
        let mut worker = None;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(test) = suite.tests.get(at) else { return Ok(()) };
            let result = run_one(test, &mut worker, options)?;
            seen(&result);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    let jobs = options.jobs.clamp(1, suite.tests.len().max(1));
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..jobs).map(|_| scope.spawn(drive)).collect();
        let ended = drivers.into_iter().map(|d| d.join().expect("a driver does not panic"));
        ended.collect::<Result<Vec<()>, Error>>()
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(Results::new(done.into_iter().map(|(_, result)| result).collect(), start.elapsed()))
}

/// Runs a test in the worker, or in a new one where the last was lost.
fn run_one(test: &Test, worker: &mut Option<Worker<Answer>>, options: &Options) -> Result<TestResult, Error> {
    let start = Instant::now();
    let mut running = match worker.take() {
        Some(worker) => worker,
        None => Worker::start(&options.command, &[])?,
    };
    let answer = match running.run(test, options.limit)? {
        Reply::Answer(answer) => {
            *worker = Some(running);
            answer
        }
        Reply::Lost(lost) => Answer {
            outcome: Outcome::Failed { reason: lost.to_string() },
            offloaded: 0,
            nodes: 0,
            ms: start.elapsed().as_secs_f64() * 1e3,
            peak_rss_mb: None,
        },
    };
    Ok(TestResult {
        kind: test.kind.clone(),
        name: test.name.clone(),
        outcome: answer.outcome,
        offloaded: answer.offloaded,
        nodes: answer.nodes,
        ms: answer.ms,
        peak_rss_mb: answer.peak_rss_mb,
    })
}
