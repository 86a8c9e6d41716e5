//! What was seen of a tensor: least and greatest value, and how often which values came.

/// Bins on either side of zero.
const HALF: usize = 4096;

/// Counts in bins of one width over [−limit, limit), where the limit is a power of two. A value beyond it doubles
/// the limit and joins bins in pairs, so the counts do not depend on the order of what is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub range: Option<(f32, f32)>,
    /// The exponent of the limit.
    exponent: i32,
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts finite values.
    pub fn add(&mut self, values: &[f32]) {
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let Some(least) = finite().reduce(f32::min) else { return };
        let greatest = finite().reduce(f32::max).unwrap_or(least);
        let (low, high) = self.range.unwrap_or((least, greatest));
        self.range = Some((low.min(least), high.max(greatest)));
        self.widen(f64::from(least.abs().max(greatest.abs())));
        let per_unit = HALF as f64 / 2f64.powi(self.exponent);
        for value in finite() {
            let bin = (f64::from(value) * per_unit).floor() as i64 + HALF as i64;
            self.counts[bin.clamp(0, 2 * HALF as i64 - 1) as usize] += 1;
        }
    }

    /// Makes room for a value.
    fn widen(&mut self, largest: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; 2 * HALF];
            self.exponent = -126;
        }
        while largest >= 2f64.powi(self.exponent) {
            // Bin `i` lies at `i − HALF` widths; half of that, rounded down, is its new place.
            let mut joined = vec![0; 2 * HALF];
            for (bin, count) in self.counts.iter().enumerate() {
                let place = (bin as i64 - HALF as i64).div_euclid(2) + HALF as i64;
                joined[place as usize] += count;
            }
            self.counts = joined;
            self.exponent += 1;
        }
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The lower edge of a bin.
    pub fn edge(&self, bin: usize) -> f64 {
        (bin as f64 - HALF as f64) * 2f64.powi(self.exponent) / HALF as f64
    }

    /// The bin that a value falls into.
    pub fn bin(&self, value: f64) -> usize {
        let place = (value * HALF as f64 / 2f64.powi(self.exponent)).floor() as i64 + HALF as i64;
        place.clamp(0, self.counts.len() as i64 - 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_values_does_not_matter() {
        let values: Vec<f32> = (0..4000).map(|i| ((i * 37 % 4001) as f32 - 1500.0) / 77.0).collect();
        let (mut whole, mut parts) = (Histogram::default(), Histogram::default());
        whole.add(&values);
        values.chunks(7).rev().for_each(|part| parts.add(part));
        assert_eq!(whole, parts);
        assert_eq!(whole.total(), 4000);
        assert_eq!(whole.range, Some((-1500.0 / 77.0, 2500.0 / 77.0)));
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        let mut seen = Histogram::default();
        seen.add(&[f32::NAN, f32::INFINITY]);
        assert_eq!(seen.range, None);
        seen.add(&[1.0, f32::NEG_INFINITY, 0.0]);
        assert_eq!((seen.total(), seen.range), (2, Some((0.0, 1.0))));
        assert_eq!(seen.bin(1.0), seen.counts().iter().rposition(|c| *c > 0).unwrap());
        assert!(seen.edge(seen.bin(1.0)) <= 1.0);
    }
}
