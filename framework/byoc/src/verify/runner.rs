//! Has jobs done by child processes, and turns what became of them into verdicts.

use std::ffi::OsString;
use std::time::Duration;

use super::Verdict;
use super::job::{Answer, Job};
use crate::Error;
use crate::worker::{Lost, Reply, Worker};

/// Without caches by thread, the C heap says exactly how much of it is in use.
const ENVIRONMENT: [(&str, &str); 1] = [("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")];

pub(super) struct Runner {
    command: Vec<OsString>,
    limit: Duration,
    worker: Option<Worker<Answer>>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub verdict: Verdict,
    pub detail: String,
}

impl Runner {
    pub fn new(command: Vec<OsString>, limit: Duration) -> Runner {
        Runner { command, limit, worker: None }
    }

    /// Has a job done, by the child of the last one if that is still there.
    pub fn run(&mut self, job: &Job) -> Result<Ended, Error> {
        self.run_within(job, self.limit)
    }

    /// As [`Runner::run`], in a child that has done nothing before and does nothing after.
    pub fn run_afresh(&mut self, job: &Job) -> Result<Ended, Error> {
        self.run_long(job, 1)
    }

    /// As [`Runner::run_afresh`], with so many times the limit.
    pub fn run_long(&mut self, job: &Job, times: u32) -> Result<Ended, Error> {
        self.worker = None;
        let ended = self.run_within(job, self.limit * times);
        self.worker = None;
        ended
    }

    fn run_within(&mut self, job: &Job, limit: Duration) -> Result<Ended, Error> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(&self.command, &ENVIRONMENT)?,
        };
        let (verdict, detail) = match worker.run(job, limit)? {
            Reply::Answer(answer) => {
                self.worker = Some(worker);
                match answer {
                    Answer::Pass(detail) => (Verdict::Pass, detail),
                    Answer::Fail(detail) => (Verdict::Fail, detail),
                    Answer::Skip(detail) => (Verdict::Skip, detail),
                }
            }
            Reply::Lost(lost @ Lost::Crash { .. }) => (Verdict::Crash, lost.to_string()),
            Reply::Lost(lost @ Lost::Hang(_)) => (Verdict::Hang, lost.to_string()),
        };
        Ok(Ended { verdict, detail })
    }
}
