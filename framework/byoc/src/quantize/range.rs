//! From what was seen of a tensor to its range, and from that to scale and zero point.

use super::Activations;
use super::histogram::Histogram;

/// How a range follows from what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// All of it.
    #[default]
    MinMax,
    /// All but what lies beyond this percentile, at either end.
    Percentile(f64),
    /// What loses least of the distribution, by the divergence of Kullback and Leibler.
    Entropy,
}

/// How a tensor is stored: `real = (stored − zero_point) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    pub scale: f32,
    pub zero_point: i32,
    pub activations: Activations,
}

/// Steps between the least and the greatest code.
const STEPS: f64 = 255.0;
/// Codes, as which the entropy method sees a distribution.
const LEVELS: usize = 256;
/// The entropy method cuts at so many hundredths of the value that is farthest from zero.
const TRIED: std::ops::RangeInclusive<u32> = 20..=100;

impl Method {
    /// The least and the greatest value to keep; `None` where nothing was seen.
    pub fn range(self, seen: &Histogram) -> Option<(f64, f64)> {
        let (low, high) = seen.range?;
        let (low, high) = (f64::from(low).min(0.0), f64::from(high).max(0.0));
        Some(match self {
            Method::MinMax => (low, high),
            Method::Percentile(percent) => percentile(seen, percent, low, high),
            Method::Entropy => entropy(seen, low, high),
        })
    }
}

/// Cuts off the bins at either end that hold no more than the share beyond the percentile.
fn percentile(seen: &Histogram, percent: f64, low: f64, high: f64) -> (f64, f64) {
    let share = (1.0 - percent / 100.0).max(0.0) * seen.total() as f64;
    let counts = seen.counts();
    let beyond = |bins: Box<dyn Iterator<Item = usize>>| {
        let mut sum = 0.0;
        bins.skip_while(move |bin| {
            sum += counts[*bin] as f64;
            sum <= share
        })
    };
    let first = beyond(Box::new(0..counts.len())).next().map_or(low, |bin| seen.edge(bin));
    let last = beyond(Box::new((0..counts.len()).rev())).next().map_or(high, |bin| seen.edge(bin + 1));
    (low.max(first.min(0.0)), high.min(last.max(0.0)))
}

fn entropy(seen: &Histogram, low: f64, high: f64) -> (f64, f64) {
    let mut best = (f64::INFINITY, (low, high));
    // Zero is stored as it is, so that many zeros are no reason for a finer scale.
    let mut counts = seen.counts().to_vec();
    let zero = seen.bin(0.0);
    let beside = [zero.checked_sub(1), Some(zero + 1)].into_iter().flatten();
    let most = beside.filter_map(|bin| counts.get(bin).copied()).max().unwrap_or(0);
    counts[zero] = counts[zero].min(most);
    let farthest = high.max(-low);
    for hundredths in TRIED.rev() {
        let limit = farthest * f64::from(hundredths) / 100.0;
        let (low, high) = (low.max(-limit), high.min(limit));
        let (first, last) = (seen.bin(low), seen.bin(high));
        if last + 1 - first < LEVELS {
            break;
        }
        let lost = divergence(&counts, first, last);
        if lost < best.0 {
            best = (lost, (low, high));
        }
    }
    best.1
}

/// How far the bins from `first` to `last`, stored with [`LEVELS`] codes, are from all bins with what lies
/// beyond at the ends.
fn divergence(counts: &[u64], first: usize, last: usize) -> f64 {
    let kept = &counts[first..=last];
    let mut want: Vec<f64> = kept.iter().map(|c| *c as f64).collect();
    want[0] += counts[..first].iter().sum::<u64>() as f64;
    *want.last_mut().expect("at least one bin") += counts[last + 1..].iter().sum::<u64>() as f64;
    let (all, inside) = (want.iter().sum::<f64>(), kept.iter().sum::<u64>() as f64);
    if inside == 0.0 {
        return f64::INFINITY;
    }
    let mut lost = 0.0;
    for level in 0..LEVELS {
        let (begin, end) = (level * kept.len() / LEVELS, (level + 1) * kept.len() / LEVELS);
        // A code stands for its bins alike, as far as they were seen at all.
        let sum: u64 = kept[begin..end].iter().sum();
        let seen = want[begin..end].iter().filter(|w| **w > 0.0).count();
        let got = sum as f64 / seen.max(1) as f64 / inside;
        for want in want[begin..end].iter().filter(|w| **w > 0.0) {
            let want = want / all;
            lost += want * (want / got.max(1e-9)).ln();
        }
    }
    lost
}

impl Params {
    /// The finest scale whose codes cover a range, which holds zero.
    pub fn of((low, high): (f64, f64), activations: Activations) -> Params {
        let least = match activations {
            Activations::U8 => 0,
            Activations::I8 => -128,
        };
        let scale = ((high - low) / STEPS) as f32;
        // All zero, or as good as that.
        let scale = if scale >= f32::MIN_POSITIVE && scale.is_finite() { scale } else { 1.0 };
        let zero = (-low / f64::from(scale)).round_ties_even().clamp(0.0, STEPS) as i32;
        Params { scale, zero_point: zero + least, activations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: impl Iterator<Item = f32>) -> Histogram {
        let mut seen = Histogram::default();
        seen.add(&values.collect::<Vec<_>>());
        seen
    }

    /// What a value becomes when it is stored.
    fn rounded(params: &Params, value: f32) -> f32 {
        let (least, greatest) = match params.activations {
            Activations::U8 => (0.0, 255.0),
            Activations::I8 => (-128.0, 127.0),
        };
        let zero = params.zero_point as f32;
        let code = ((value / params.scale).round_ties_even() + zero).clamp(least, greatest);
        (code - zero) * params.scale
    }

    #[test]
    fn the_range_holds_zero() {
        let seen = seen((0..100).map(|i| 3.0 + i as f32 / 100.0));
        assert_eq!(Method::MinMax.range(&seen), Some((0.0, f64::from(3.99f32))));
        let params = Params::of((0.0, 3.99), Activations::I8);
        assert_eq!((params.zero_point, rounded(&params, 0.0)), (-128, 0.0));
        assert!((rounded(&params, 3.99) - 3.99).abs() < 1e-6);
    }

    #[test]
    fn outliers_are_cut_off() {
        let values = (0..100_000).map(|i| if i == 7 { 1000.0 } else { (i % 1000) as f32 / 500.0 - 1.0 });
        let seen = seen(values);
        let Some((low, high)) = Method::Percentile(99.99).range(&seen) else { panic!("a range") };
        assert!((-1.3..=-0.9).contains(&low) && (0.9..1.3).contains(&high), "{low} {high}");
        let Some((_, high)) = Method::Entropy.range(&seen) else { panic!("a range") };
        assert!(high <= 1000.0);
    }

    #[test]
    fn entropy_narrows_a_long_tail_and_keeps_an_even_one() {
        // A bell, and very few values far away from it.
        let bell = (0..200_000u32).map(|i| {
            let unit = |k: u32| f64::from(i.wrapping_mul(k) % 100_003) / 100_003.0;
            let sum: f64 = [7919, 104_729, 15_485, 32_452].map(unit).iter().sum();
            if i % 100_000 == 0 { 60.0 } else { (sum - 2.0) as f32 }
        });
        let Some((_, high)) = Method::Entropy.range(&seen(bell)) else { panic!("a range") };
        assert!(high < 20.0, "{high}");
        let even = (0..100_000).map(|i| i as f32 / 100_000.0);
        let Some((_, high)) = Method::Entropy.range(&seen(even)) else { panic!("a range") };
        assert!(high > 0.9, "{high}");
    }

    #[test]
    fn nothing_but_zero_has_a_scale_all_the_same() {
        let params = Params::of((0.0, 0.0), Activations::U8);
        assert_eq!((params.scale, rounded(&params, 0.0)), (1.0, 0.0));
    }
}
