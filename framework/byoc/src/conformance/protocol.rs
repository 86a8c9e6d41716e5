//! What parent and child say to each other: a test, and how it ended.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Test, TestSession};
use crate::memory::peak_rss_mb;
use crate::worker;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed { reason: String },
    Skipped { reason: String },
}

/// A child's answer to a test.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The share of nodes of the model that ran on vendors.
    pub offloaded: usize,
    pub nodes: usize,
    pub ms: f64,
    /// The most memory that the child has had resident so far.
    pub peak_rss_mb: Option<f64>,
}

/// The child: answers the tests that come in until there are no more.
pub fn serve(session: &TestSession, input: impl BufRead, output: impl Write) -> io::Result<()> {
    worker::serve(input, output, |test: Test| {
        let start = Instant::now();
        let done = session.run(&test);
        Answer {
            outcome: done.outcome,
            offloaded: done.offloaded,
            nodes: done.nodes,
            ms: start.elapsed().as_secs_f64() * 1e3,
            peak_rss_mb: peak_rss_mb(),
        }
    })
}
