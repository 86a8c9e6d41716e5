//! Milliseconds of each stage of a command.

use std::time::Instant;

use indexmap::IndexMap;

/// Stages in the order in which they were first entered.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Timings {
    stages: IndexMap<&'static str, f64>,
}

impl Timings {
    /// Runs `work` and adds its time to `stage`.
    pub fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(stage, start.elapsed().as_secs_f64() * 1e3);
        result
    }

    pub fn add(&mut self, stage: &'static str, ms: f64) {
        *self.stages.entry(stage).or_default() += ms;
    }

    /// Adds the stages of another part of the work.
    pub fn extend(&mut self, other: &Timings) {
        other.stages.iter().for_each(|(stage, ms)| self.add(stage, *ms));
    }

    pub fn get(&self, stage: &str) -> Option<f64> {
        self.stages.get(stage).copied()
    }
}
