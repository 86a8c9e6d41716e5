//! Who comes before whom: vector clocks (Fidge 1988, Mattern 1989) over the host and all streams.

use std::collections::BTreeMap;
use std::ops::Range;

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
pub struct Accesses(Vec<Access>);

/// The last access of a stream to a range of bytes.
#[derive(Debug)]
struct Access {
    range: Range<usize>,
    stream: u64,
    step: u64,
    writes: bool,
}

impl Accesses {
    /// Notes an access at a stream's present step; false where an earlier one that it conflicts with may still run.
    pub fn note(&mut self, stream: u64, clock: &Clock, range: Range<usize>, writes: bool) -> bool {
        let meets = |a: &&Access| a.range.start < range.end && range.start < a.range.end;
        let conflicts = |a: &&Access| (writes || a.writes) && a.step > clock.at(a.stream);
        let ordered = !self.0.iter().filter(meets).any(|a| conflicts(&a));
        self.0.retain(|a| (a.stream, a.writes) != (stream, writes) || a.range != range);
        self.0.push(Access { range, stream, step: clock.at(stream), writes });
        ordered
    }

    /// Has every access so far completed, as far as `clock` knows?
    pub fn all_before(&self, clock: &Clock) -> bool {
        self.0.iter().all(|a| a.step <= clock.at(a.stream))
    }
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
        assert!(accesses.note(1, &first, 0..8, false));
        assert!(accesses.note(2, &second, 4..12, false));
        assert!(accesses.note(2, &second, 8..12, true));
        assert!(!accesses.note(2, &second, 4..12, true));
        second.learn(&first);
        assert!(accesses.note(2, &second, 4..12, true));
        assert!(!accesses.all_before(&first) && accesses.all_before(&second));
    }
}
