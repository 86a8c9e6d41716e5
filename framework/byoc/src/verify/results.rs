//! What the checks have shown, as text, JSON and JUnit's XML.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::page;
use crate::junit::{self, Case, Outcome};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Fail,
    Skip,
    Crash,
    Hang,
}

impl Verdict {
    pub const ALL: [(Verdict, &'static str, &'static str); 5] = [
        (Verdict::Pass, "pass", "passed"),
        (Verdict::Fail, "fail", "failed"),
        (Verdict::Skip, "skip", "skipped"),
        (Verdict::Crash, "crash", "crashed"),
        (Verdict::Hang, "hang", "hung"),
    ];

    pub fn word(self) -> &'static str {
        Verdict::ALL.iter().find(|(v, ..)| *v == self).map_or("", |(_, word, _)| word)
    }

    pub fn is_bad(self) -> bool {
        !matches!(self, Verdict::Pass | Verdict::Skip)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    pub group: String,
    pub name: String,
    pub verdict: Verdict,
    /// What was seen; of a failure, what is wrong.
    pub detail: String,
    /// The command that shows the failure again.
    pub repeat: Option<String>,
    pub ms: f64,
}

impl Check {
    /// `group/name`, by which a filter picks it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub plugin: String,
    pub seed: u64,
    pub seconds: f64,
    pub checks: Vec<Check>,
}

impl Results {
    pub fn new(plugin: String, seed: u64, took: Duration, checks: Vec<Check>) -> Results {
        Results { plugin, seed, seconds: took.as_secs_f64(), checks }
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|c| c.verdict == verdict).count()
    }

    pub fn bad(&self) -> usize {
        self.checks.iter().filter(|c| c.verdict.is_bad()).count()
    }

    pub fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("results are plain data");
        json.push('\n');
        json
    }

    pub fn junit(&self) -> String {
        let case = |check: &Check| Case {
            class: check.group.clone(),
            name: check.name.clone(),
            seconds: check.ms / 1e3,
            outcome: match check.verdict {
                Verdict::Pass => Outcome::Passed,
                Verdict::Skip => Outcome::Skipped(check.detail.clone()),
                bad => Outcome::Failed(format!("{}: {}", bad.word(), check.detail)),
            },
        };
        junit::write("verify", self.seconds, &self.checks.iter().map(case).collect::<Vec<_>>())
    }

    pub fn html(&self) -> String {
        page::page(self)
    }
}

/// `12 passed, 1 failed, 0 skipped, 0 crashed, 0 hung`.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = Verdict::ALL.map(|(verdict, _, word)| format!("{} {word}", self.count(verdict)));
        f.write_str(&parts.join(", "))
    }
}
