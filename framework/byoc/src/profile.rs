//! Where the time of a run goes, beside what the machine can do at most.
//!
//! A step of the host cannot take less time than its arithmetic at the peak of multiply-adds, nor less than its bytes at
//! the rate of memory. The nearer of the two is its limit, and its share of the peak is the time at that limit by the
//! time that it took. Both are counted by the plain algorithm and with nothing in the caches, so a step may be beyond
//! its limit: Winograd's convolutions do with fewer multiplications, small operands come from a cache.

use byoc_cpu::peak::Peak;
use indexmap::IndexMap;
use serde::Serialize;

use crate::StepTime;

/// The steps of a run with their rates.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// Threads that the peaks are of.
    pub threads: usize,
    pub peak_gflops: f64,
    pub peak_gbps: f64,
    /// In the order in which they run.
    pub steps: Vec<Group>,
}

/// One step, or several that are of a kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Group {
    /// The step's label, or the operator.
    pub what: String,
    pub op: String,
    pub by: String,
    pub target: String,
    pub calls: usize,
    pub ms: f64,
    pub flops: Option<u64>,
    pub bytes: Option<u64>,
    #[serde(flatten)]
    pub rates: Rates,
    #[serde(skip)]
    counted: Counted,
}

/// How fast that is; `None` where nobody knows how much there was to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    pub gflops: Option<f64>,
    pub gbps: Option<f64>,
    /// The share of what is possible.
    pub of_peak: Option<f64>,
    pub limit: Option<Limit>,
}

/// What keeps a step from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Arithmetic,
    Memory,
}

impl Limit {
    pub fn name(self) -> &'static str {
        match self {
            Limit::Arithmetic => "arithmetic",
            Limit::Memory => "memory",
        }
    }
}

/// Sums over those steps whose work is known.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    ms: f64,
    flops: u64,
    bytes: u64,
    /// Time at the limit, of those that arithmetic limits and of those that memory does.
    least_ms: [f64; 2],
}

impl Counted {
    /// Nothing for steps whose work is unknown, and for those of vendors, whose limits are others.
    fn of(step: &StepTime, peak: Peak) -> Counted {
        let (Some(flops), Some(bytes)) = (step.work.flops, step.work.bytes) else {
            return Counted::default();
        };
        if step.target != "host" || step.ms <= 0.0 {
            return Counted::default();
        }
        let at = [flops as f64 / peak.flops * 1e3, bytes as f64 / peak.bytes * 1e3];
        let least_ms = if at[0] > at[1] { [at[0], 0.0] } else { [0.0, at[1]] };
        Counted { ms: step.ms, flops, bytes, least_ms }
    }

    fn add(&mut self, other: Counted) {
        self.ms += other.ms;
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
        (0..2).for_each(|i| self.least_ms[i] += other.least_ms[i]);
    }

    fn rates(&self) -> Rates {
        if self.ms <= 0.0 {
            return Rates::default();
        }
        let rate = |count: u64| Some(count as f64 / self.ms / 1e6);
        let [arithmetic, memory] = self.least_ms;
        Rates {
            gflops: rate(self.flops),
            gbps: rate(self.bytes),
            of_peak: Some((arithmetic + memory) / self.ms),
            limit: Some(if arithmetic > memory { Limit::Arithmetic } else { Limit::Memory }),
        }
    }
}

impl Profile {
    /// The profile of these steps on a machine with these limits.
    pub fn of(steps: &[StepTime], (peak, threads): (Peak, usize)) -> Profile {
        let step = |step: &StepTime| {
            let counted = Counted::of(step, peak);
            Group {
                what: step.label.clone(),
                op: step.op.clone(),
                by: step.by.clone(),
                target: step.target.clone(),
                calls: 1,
                ms: step.ms,
                flops: step.work.flops,
                bytes: step.work.bytes,
                rates: counted.rates(),
                counted,
            }
        };
        let (peak_gflops, peak_gbps) = (peak.flops / 1e9, peak.bytes / 1e9);
        Profile { threads, peak_gflops, peak_gbps, steps: steps.iter().map(step).collect() }
    }

    /// Steps together by operator and by who runs them, those that take longest first.
    pub fn by_operator(&self) -> Vec<Group> {
        let mut groups: IndexMap<(&str, &str, &str), Group> = IndexMap::new();
        for step in &self.steps {
            let group = groups.entry((&step.op, &step.by, &step.target)).or_insert_with(|| Group {
                what: step.op.clone(),
                op: step.op.clone(),
                by: step.by.clone(),
                target: step.target.clone(),
                ..Group::default()
            });
            group.add(step);
        }
        longest_first(groups.into_values().collect())
    }

    /// The steps, those that take longest first.
    pub fn by_step(&self) -> Vec<Group> {
        longest_first(self.steps.clone())
    }

    /// All steps together.
    pub fn all(&self) -> Group {
        let mut all = Group::default();
        self.steps.iter().for_each(|step| all.add(step));
        all
    }
}

impl Group {
    fn add(&mut self, step: &Group) {
        let sum = |so_far: Option<u64>, more: Option<u64>| so_far?.checked_add(more?);
        let none_yet = (self.calls == 0).then_some(0);
        self.flops = sum(none_yet.or(self.flops), step.flops);
        self.bytes = sum(none_yet.or(self.bytes), step.bytes);
        self.calls += 1;
        self.ms += step.ms;
        self.counted.add(step.counted);
        self.rates = self.counted.rates();
    }
}

fn longest_first(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    groups
}
