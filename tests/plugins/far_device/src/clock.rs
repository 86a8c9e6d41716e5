//! Who comes before whom: vector clocks (Fidge 1988, Mattern 1989) over the host and all streams.

use std::collections::BTreeMap;

/// The host's own place among the streams.
pub const HOST: u64 = 0;

/// For each stream (and the host), how many of its steps are known to come before.
#[derive(Clone, Debug, Default)]
pub struct Clock(BTreeMap<u64, u64>);

impl Clock {
    pub fn step(&mut self, stream: u64) {
        *self.0.entry(stream).or_default() += 1;
    }

    pub fn learn(&mut self, other: &Clock) {
        for (stream, count) in &other.0 {
            let known = self.0.entry(*stream).or_default();
            *known = (*known).max(*count);
        }
    }

    /// The step that its owner is at.
    fn at(&self, stream: u64) -> u64 {
        self.0.get(&stream).copied().unwrap_or(0)
    }
}

/// The last accesses of one piece of memory.
#[derive(Debug, Default)]
pub struct Accesses {
    /// By stream: the steps of the last write and the last read.
    writes: BTreeMap<u64, u64>,
    reads: BTreeMap<u64, u64>,
}

impl Accesses {
    /// Notes an access at a stream's present step; false where an earlier one that it conflicts with may still run.
    pub fn note(&mut self, stream: u64, clock: &Clock, writes: bool) -> bool {
        let ordered = before(&self.writes, clock) && (!writes || before(&self.reads, clock));
        let noted = if writes { &mut self.writes } else { &mut self.reads };
        noted.insert(stream, clock.at(stream));
        ordered
    }

    /// Has every access so far completed, as far as `clock` knows?
    pub fn all_before(&self, clock: &Clock) -> bool {
        before(&self.writes, clock) && before(&self.reads, clock)
    }
}

fn before(accesses: &BTreeMap<u64, u64>, clock: &Clock) -> bool {
    accesses.iter().all(|(stream, step)| *step <= clock.at(*stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_after_an_unknown_read_is_a_race() {
        let (mut first, mut second) = (Clock::default(), Clock::default());
        first.step(1);
        second.step(2);
        let mut accesses = Accesses::default();
        assert!(accesses.note(1, &first, false));
        assert!(accesses.note(2, &second, false));
        assert!(!accesses.note(2, &second, true));
        second.learn(&first);
        assert!(accesses.note(2, &second, true));
        assert!(!accesses.all_before(&first) && accesses.all_before(&second));
    }
}
