//! From measured times to rates.
//!
//! The model is `fixed + max(flops / gflops, bytes / gbps)`. It is fitted by least absolute deviations of the
//! logarithm, which a few disturbed samples do not move. Such a fit passes through samples (Bloomfield and
//! Steiger, "Least Absolute Deviations", section 1.3), so the rates that the samples imply are all there is to
//! try.

use byoc_partitioner::cost::{Rates, Work};

/// One measured piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// An operator of the host, or a pattern of a vendor.
    pub key: String,
    /// It has a compute-heavy operator.
    pub heavy: bool,
    pub work: Work,
    pub us: f64,
    /// How much longer it may take where nothing is fused with it, as a logarithm.
    pub fusion: f64,
}

impl Sample {
    /// Whether its work is known, as far as it may bound the time.
    pub fn is_known(&self) -> bool {
        self.work.bytes.is_some() && (self.work.flops.is_some() || !self.heavy)
    }
}

/// Samples that a fit looks at; more say little more, and cost their cube.
const MAX_SAMPLES: usize = 24;
/// Shares of the shortest time that are tried as the fixed part.
const FIXED_STEPS: u32 = 10;
/// What a further figure has to gain, as a mean error: about one percent.
const FIGURE: f64 = 0.01;
/// Nothing takes less.
const LEAST_US: f64 = 1e-3;

/// How far rates that are fitted to such samples are off for work that was not among them: each sample is left out in
/// turn. `None` where there is but one.
pub fn error_elsewhere(samples: &[&Sample]) -> Option<f64> {
    let samples = thinned(samples);
    let mut sum = 0.0;
    for (i, sample) in samples.iter().enumerate() {
        let others: Vec<&Sample> = [&samples[..i], &samples[i + 1..]].concat();
        sum += deviation(sample, &fit(&others)?)?;
    }
    (samples.len() > 1).then(|| sum / samples.len() as f64)
}

/// Rates that explain the samples; `None` without any. A rate is found only where all samples' work is known,
/// and arithmetic bounds only what has a compute-heavy operator.
pub fn fit(samples: &[&Sample]) -> Option<Rates> {
    let samples = thinned(samples);
    let shortest = samples.first()?.us;
    let flops = |work: Work| work.flops.filter(|n| *n > 0);
    let heavy = samples.iter().any(|s| s.heavy);
    let mut best: Option<(f64, Rates)> = None;
    for step in 0..=FIXED_STEPS {
        let fixed = shortest * f64::from(step) / f64::from(FIXED_STEPS);
        let gflops = if heavy { implied(&samples, fixed, &flops) } else { vec![None] };
        for gflops in gflops {
            for gbps in implied(&samples, fixed, &|work| work.bytes) {
                let fixed_us = (fixed > 0.0).then_some(fixed);
                let rates = Rates { fixed_us, gflops, gbps, error: None };
                let Some(error) = error(&samples, &rates) else { continue };
                if best.as_ref().is_none_or(|(least, _)| error < *least) {
                    best = Some((error, rates));
                }
            }
        }
    }
    best.map(|(_, rates)| Rates {
        fixed_us: rates.fixed_us.map(rounded),
        gflops: rates.gflops.map(rounded),
        gbps: rates.gbps.map(rounded),
        error: None,
    })
}

/// By time, and evenly spread over the times where there are many.
fn thinned<'a>(samples: &[&'a Sample]) -> Vec<&'a Sample> {
    let mut samples: Vec<&Sample> = samples.iter().copied().filter(|s| s.us.is_finite()).collect();
    samples.sort_by(|a, b| a.us.total_cmp(&b.us));
    let count = samples.len();
    if count <= MAX_SAMPLES {
        return samples;
    }
    (0..MAX_SAMPLES).map(|i| samples[i * (count - 1) / (MAX_SAMPLES - 1)]).collect()
}

/// Rates in 10⁹ a second at which some sample's amount takes its time, and no rate at all.
fn implied(samples: &[&Sample], fixed: f64, amount: &dyn Fn(Work) -> Option<u64>) -> Vec<Option<f64>> {
    let mut rates = vec![None];
    if samples.iter().all(|s| amount(s.work).is_some()) {
        let of = |s: &&&Sample| Some(amount(s.work)? as f64 / (s.us - fixed) / 1e3);
        rates.extend(samples.iter().filter_map(|s| of(&s)).filter(|r| r.is_finite() && *r > 0.0).map(Some));
    }
    rates
}

/// Of the logarithm.
fn deviation(sample: &Sample, rates: &Rates) -> Option<f64> {
    let predicted = rates.time(sample.work)?;
    Some((predicted.max(LEAST_US) / sample.us.max(LEAST_US)).ln().abs())
}

/// The mean error, with what each figure has to gain; `None` where the rates say nothing.
fn error(samples: &[&Sample], rates: &Rates) -> Option<f64> {
    let mut sum = 0.0;
    for sample in samples {
        sum += deviation(sample, rates)?;
    }
    // Of two explanations that are as good, one that grows with the work is preferred.
    let figures = [rates.fixed_us.map(|_| 1.5), rates.gflops.map(|_| 1.0), rates.gbps.map(|_| 1.25)];
    Some(sum / samples.len() as f64 + FIGURE * figures.iter().flatten().sum::<f64>())
}

/// Four digits: more than a measurement has.
pub fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().unwrap_or(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(heavy: bool, flops: u64, bytes: u64, us: f64) -> Sample {
        Sample {
            key: "x".into(),
            heavy,
            work: Work { flops: Some(flops), bytes: Some(bytes) },
            us,
            fusion: 0.0,
        }
    }

    /// Samples of somebody with these rates.
    fn samples(heavy: bool, truth: Rates) -> Vec<Sample> {
        let works = [(1, 4), (10, 40), (100, 50), (1000, 900), (5000, 10), (20, 8000), (9000, 9000)];
        let of = |(flops, bytes): (u64, u64)| {
            let work = Work { flops: Some(flops * 100_000), bytes: Some(bytes * 1000) };
            Sample { key: "x".into(), heavy, work, us: truth.time(work).unwrap(), fusion: 0.0 }
        };
        works.map(of).to_vec()
    }

    fn fitted(samples: &[Sample]) -> Rates {
        fit(&samples.iter().collect::<Vec<_>>()).unwrap()
    }

    #[track_caller]
    fn near(got: Option<f64>, want: f64, share: f64) {
        let got = got.expect("a figure");
        assert!((got / want - 1.0).abs() < share, "{got} is not {want}");
    }

    #[test]
    fn rates_come_back() {
        let truth = Rates { fixed_us: Some(3.0), gflops: Some(50.0), gbps: Some(8.0), error: None };
        let got = fitted(&samples(true, truth));
        near(got.fixed_us, 3.0, 0.2);
        near(got.gflops, 50.0, 0.02);
        near(got.gbps, 8.0, 0.02);
    }

    #[test]
    fn disturbed_samples_do_not_count() {
        let truth = Rates { gflops: Some(50.0), gbps: Some(8.0), ..Rates::default() };
        let mut all = samples(true, truth);
        all[3].us *= 20.0;
        let got = fitted(&all);
        near(got.gflops, 50.0, 0.02);
        near(got.gbps, 8.0, 0.02);
    }

    #[test]
    fn what_was_not_fitted_to_tells_the_error() {
        let error = |samples: &[Sample]| error_elsewhere(&samples.iter().collect::<Vec<_>>());
        // One rate for all: each sample is foretold by the others.
        let mut all = samples(true, Rates { gflops: Some(50.0), ..Rates::default() });
        assert!(error(&all).unwrap() < 0.01, "{:?}", error(&all));
        all.iter_mut().step_by(2).for_each(|s| s.us *= 4.0);
        assert!(error(&all).unwrap() > 0.5, "{:?}", error(&all));
        assert_eq!(error(&all[..1]), None);
        assert_eq!(error(&[]), None);
    }

    #[test]
    fn one_sample_gives_a_rate_rather_than_a_time() {
        let heavy = fitted(&[sample(true, 1_000_000, 1000, 10.0)]);
        assert_eq!(heavy, Rates { gflops: Some(100.0), ..Rates::default() });
        let light = fitted(&[sample(false, 1_000_000, 1_000_000, 10.0)]);
        assert_eq!(light, Rates { gbps: Some(100.0), ..Rates::default() });
    }

    #[test]
    fn work_that_is_not_known_gets_no_rate() {
        let work = Work { flops: None, bytes: None };
        let unknown = Sample { key: "x".into(), heavy: true, work, us: 7.0, fusion: 0.0 };
        assert_eq!(fitted(&[unknown]), Rates { fixed_us: Some(7.0), ..Rates::default() });
        assert_eq!(fit(&[]), None);
    }

    #[test]
    fn many_samples_are_thinned_and_the_order_does_not_matter() {
        let mut all: Vec<Sample> = (1..500).map(|n| sample(false, 0, n * 10_000, n as f64 + 1.0)).collect();
        let got = fitted(&all);
        near(got.gbps, 10.0, 0.05);
        all.reverse();
        assert_eq!(fitted(&all), got);
    }
}
