//! How fast somebody works, and how long an amount of work takes at that rate.

use byoc_plugin::table::CostRate;
use serde::{Deserialize, Serialize};

/// 10⁹ a second is 10³ a microsecond.
const GIGA_PER_US: f64 = 1e3;

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Work {
    /// Arithmetic operations; `None` is unknown.
    pub flops: Option<u64>,
    /// Bytes read and written; `None` is unknown.
    pub bytes: Option<u64>,
}

/// `fixed_us + max(flops / gflops, bytes / gbps)`; what is left out does not bound the time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
    /// How far a time at these rates may be off, as a deviation of its logarithm; exact where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

impl Rates {
    /// Microseconds; unknown where no figure is there, or where a rate meets work that is not known.
    pub fn time(&self, work: Work) -> Option<f64> {
        if (self.fixed_us, self.gflops, self.gbps) == (None, None, None) {
            return None;
        }
        let part = |rate: Option<f64>, amount: Option<u64>| match rate {
            None => Some(0.0),
            Some(rate) => amount.map(|amount| amount as f64 / (rate * GIGA_PER_US)),
        };
        let compute = part(self.gflops, work.flops)?;
        let memory = part(self.gbps, work.bytes)?;
        Some(self.fixed_us.unwrap_or(0.0) + compute.max(memory))
    }

    pub fn estimate(&self, work: Work) -> Option<Estimate> {
        Some(Estimate { us: self.time(work)?, error: self.error.unwrap_or(0.0) })
    }
}

/// A predicted time, and how far it may be off: a deviation of its logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    pub us: f64,
    #[serde(default)]
    pub error: f64,
}

impl Estimate {
    pub fn exact(us: f64) -> Estimate {
        Estimate { us, error: 0.0 }
    }

    pub fn at_best(self) -> f64 {
        self.us / self.error.exp()
    }

    pub fn at_worst(self) -> f64 {
        self.us * self.error.exp()
    }
}

impl From<CostRate> for Rates {
    fn from(rate: CostRate) -> Rates {
        Rates { fixed_us: rate.fixed_us, gflops: rate.gflops, gbps: rate.gbps, error: None }
    }
}

/// One direction of a path between two memories.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Latency of one copy.
    #[serde(default)]
    pub fixed_us: f64,
    /// Without it a copy takes its latency only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
}

impl Link {
    pub fn time(&self, bytes: u64) -> f64 {
        self.fixed_us + self.gbps.map_or(0.0, |gbps| bytes as f64 / (gbps * GIGA_PER_US))
    }
}

/// A vendor's own prediction for one region.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RegionCost {
    /// Once per call, whatever the region does.
    pub fixed_us: Option<f64>,
    pub compute_us: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_part_counts() {
        let rates = Rates { fixed_us: Some(1.0), gflops: Some(2.0), gbps: Some(4.0), error: None };
        let time = |flops, bytes| rates.time(Work { flops, bytes });
        assert_eq!(time(Some(6000), Some(4000)), Some(4.0));
        assert_eq!(time(Some(2000), Some(8000)), Some(3.0));
        assert_eq!(time(None, Some(8000)), None);
    }

    #[test]
    fn what_is_left_out_does_not_bound_and_nothing_is_unknown() {
        let work = Work { flops: Some(1000), bytes: None };
        assert_eq!(Rates { gflops: Some(1.0), ..Rates::default() }.time(work), Some(1.0));
        assert_eq!(Rates { fixed_us: Some(5.0), ..Rates::default() }.time(work), Some(5.0));
        assert_eq!(Rates::default().time(work), None);
        assert_eq!(Rates { error: Some(1.0), ..Rates::default() }.time(work), None);
    }
}
