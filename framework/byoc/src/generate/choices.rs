//! Choices by name: what makes one generated model another, and what is changed to find, vary and shrink it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::Rng;

/// Which candidate was taken at each choice. Candidates stand in an order from simple to intricate, so that lower
/// numbers mean simpler models.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, u32>);

/// Makes choices: those that are given, and others at random or, without a source of chance, the simplest.
pub struct Chooser<'a> {
    given: &'a Choices,
    chance: Option<&'a mut Rng>,
    made: Choices,
}

impl Choices {
    /// With some choices left open: one to three, picked by `rng`.
    pub fn loosened(&self, rng: &mut Rng) -> Choices {
        let mut left = self.clone();
        for _ in 0..rng.range(1, 4) {
            let at = rng.range(0, left.0.len().max(1) as i64) as usize;
            if let Some(name) = left.0.keys().nth(at).cloned() {
                left.0.remove(&name);
            }
        }
        left
    }

    /// Simpler variants, boldest first: groups of choices, then single ones, at their simplest or a little simpler.
    pub fn simpler(&self) -> Vec<Choices> {
        let intricate: Vec<&String> = self.0.iter().filter(|(_, n)| **n > 0).map(|(name, _)| name).collect();
        let mut variants = Vec::new();
        let mut size = intricate.len();
        while size >= 1 {
            for group in intricate.chunks(size) {
                variants.push(self.with(group, |_| 0));
            }
            size /= 2;
        }
        for name in intricate {
            variants.extend([self.with(&[name], |n| n / 2), self.with(&[name], |n| n - 1)]);
        }
        variants.retain(|v| v != self);
        variants.dedup();
        variants
    }

    fn with(&self, names: &[&String], change: impl Fn(u32) -> u32) -> Choices {
        let mut changed = self.clone();
        for (name, n) in &mut changed.0 {
            if names.contains(&name) {
                *n = change(*n);
            }
        }
        changed
    }
}

impl<'a> Chooser<'a> {
    /// Repeats the given choices.
    pub fn repeat(given: &'a Choices) -> Chooser<'a> {
        Chooser { given, chance: None, made: Choices::default() }
    }

    /// Keeps the given choices and draws the others.
    pub fn draw(given: &'a Choices, rng: &'a mut Rng) -> Chooser<'a> {
        Chooser { given, chance: Some(rng), made: Choices::default() }
    }

    /// One of `count` candidates.
    pub fn pick(&mut self, name: &str, count: usize) -> usize {
        if let Some(made) = self.made.0.get(name) {
            return *made as usize;
        }
        let most = count.saturating_sub(1) as u32;
        let choice = match (self.given.0.get(name), &mut self.chance) {
            (Some(given), _) => (*given).min(most),
            (None, None) => 0,
            (None, Some(rng)) => {
                // Half of the time one of the simplest, so that much of a model is simple.
                let simple = rng.next_u64() & 1 == 0;
                rng.range(0, i64::from(if simple { most.min(1) } else { most }) + 1) as u32
            }
        };
        self.made.0.insert(name.to_owned(), choice);
        choice as usize
    }

    /// One of the candidates.
    pub fn of<'t, T>(&mut self, name: &str, candidates: &'t [T]) -> Option<&'t T> {
        candidates.get(self.pick(name, candidates.len()))
    }

    /// All choices that were made.
    pub fn done(self) -> Choices {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_choices_repeat_themselves_and_simpler_ones_are_simpler() {
        let mut rng = Rng::new(3);
        let none = Choices::default();
        let mut chooser = Chooser::draw(&none, &mut rng);
        let first: Vec<usize> = (0..9).map(|i| chooser.pick(&format!("c{i}"), 10)).collect();
        let made = chooser.done();
        let mut again = Chooser::repeat(&made);
        assert_eq!(first, (0..9).map(|i| again.pick(&format!("c{i}"), 10)).collect::<Vec<_>>());
        let sum = |c: &Choices| c.0.values().sum::<u32>();
        assert!(sum(&made) > 0 && made.simpler().iter().all(|simpler| sum(simpler) < sum(&made)));
    }
}
