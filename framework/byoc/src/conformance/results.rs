//! What a run of a suite has shown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::junit::{self, Case};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestResult {
    pub kind: String,
    pub name: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Nodes of the model that ran on vendors, of all its nodes.
    pub offloaded: usize,
    pub nodes: usize,
    pub ms: f64,
    /// The most memory that the test's process had had resident when the test ended.
    #[serde(skip)]
    pub peak_rss_mb: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub seconds: f64,
    /// Of the largest process.
    pub peak_rss_mb: Option<f64>,
    pub tests: Vec<TestResult>,
}

impl Results {
    pub(super) fn new(tests: Vec<TestResult>, took: Duration) -> Results {
        let count = |wanted: fn(&Outcome) -> bool| tests.iter().filter(|t| wanted(&t.outcome)).count();
        Results {
            passed: count(|o| matches!(o, Outcome::Passed)),
            failed: count(|o| matches!(o, Outcome::Failed { .. })),
            skipped: count(|o| matches!(o, Outcome::Skipped { .. })),
            seconds: took.as_secs_f64(),
            peak_rss_mb: tests.iter().filter_map(|t| t.peak_rss_mb).reduce(f64::max),
            tests,
        }
    }

    pub fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("results are plain data");
        json.push('\n');
        json
    }

    pub fn junit(&self) -> String {
        let case = |test: &TestResult| Case {
            class: test.kind.clone(),
            name: test.name.clone(),
            seconds: test.ms / 1e3,
            outcome: match &test.outcome {
                Outcome::Passed => junit::Outcome::Passed,
                Outcome::Failed { reason } => junit::Outcome::Failed(reason.clone()),
                Outcome::Skipped { reason } => junit::Outcome::Skipped(reason.clone()),
            },
        };
        junit::write("conformance", self.seconds, &self.tests.iter().map(case).collect::<Vec<_>>())
    }
}

/// `12 passed, 1 failed, 0 skipped`.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}
