//! Looks for choices whose model a pattern matches, or just misses.

use std::path::Path;

use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::Model;
use byoc_partitioner::{Trial, Way};
use byoc_plugin::table::PatternTable;

use super::{Choices, Generator, Made, Unmade};
use crate::random::Rng;
use crate::{Loaded, ModelOptions, Timings};

/// Models that are made before a search is given up.
const MOST_TRIES: usize = 5000;
/// The same of models whose ranks are not known.
const MOST_UNRANKED: usize = 200;
/// Tries without a better one before a search begins anew.
const PATIENCE: usize = 60;

/// What a search has come to.
pub enum Found {
    Model(Box<Made>),
    /// No model; what stood against the nearest one.
    Nothing(String),
}

/// Looks for models of one pattern.
pub struct Searcher<'t> {
    generator: Generator<'t>,
    trial: &'t Trial,
    place: usize,
}

/// What clauses should say: all should hold but perhaps one, which should not.
#[derive(Clone, Copy, PartialEq)]
struct Wish {
    broken: Option<usize>,
}

impl Wish {
    /// How many clauses are as wished.
    fn score(self, way: &Way) -> usize {
        let clauses = way.clauses.iter().enumerate();
        clauses.filter(|(i, clause)| clause.is_err() == (self.broken == Some(*i))).count()
    }
}

impl<'t> Searcher<'t> {
    pub fn new(table: &'t PatternTable, trial: &'t Trial, place: usize) -> Searcher<'t> {
        Searcher { generator: Generator::new(table, place), trial, place }
    }

    pub fn generator(&self) -> &Generator<'t> {
        &self.generator
    }

    /// A model that the pattern matches.
    pub fn matching(&self, rng: &mut Rng) -> Result<Found, Unmade> {
        self.search(Wish { broken: None }, None, false, rng)
    }

    /// A model that it would match without this clause, as near as possible to one that it does match.
    /// Where no shape makes the clause false, not knowing a rank may.
    pub fn missing(&self, clause: usize, near: &Choices, rng: &mut Rng) -> Result<Found, Unmade> {
        let wish = Wish { broken: Some(clause) };
        let found = self.search(wish, Some(near), false, rng)?;
        if matches!(found, Found::Model(_)) {
            return Ok(found);
        }
        match self.search(wish, Some(near), true, rng)? {
            Found::Nothing(_) => Ok(found),
            model => Ok(model),
        }
    }

    /// Whether the pattern matches a model with all of its clauses.
    pub fn matches(&self, model: &Model) -> bool {
        self.ways(model).iter().any(Way::holds)
    }

    /// A model that the pattern matches, another with every call: all of it `new` if that is found soon, else near
    /// one that it matches.
    pub fn varied(&self, near: &Choices, new: bool, rng: &mut Rng) -> Option<Made> {
        for round in 0..50 {
            let start = if new && round < 10 { Choices::default() } else { near.loosened(rng) };
            let made = self.generator.draw(&start, rng).ok();
            if let Some(made) = made.filter(|m| self.matches(&m.model)) {
                return Some(made);
            }
        }
        None
    }

    fn ways(&self, model: &Model) -> Vec<Way> {
        match normalised(model) {
            Some(loaded) => self.trial.ways(&loaded.model, self.place),
            None => Vec::new(),
        }
    }

    /// Models near one, or anywhere; `unranked`: such that hide the ranks that clauses speak of.
    fn search(
        &self,
        wish: Wish,
        near: Option<&Choices>,
        unranked: bool,
        rng: &mut Rng,
    ) -> Result<Found, Unmade> {
        let most = self.generator.pattern.where_.len();
        // The best so far; none of the model at first, so that any match is better.
        let mut best: Option<(usize, Choices)> = near.map(|choices| (0, choices.clone()));
        let (mut idle, mut nearest) = (0, (0, "no nodes that it matches".to_owned()));
        for _ in 0..if unranked { MOST_UNRANKED } else { MOST_TRIES } {
            let start = best.as_ref().map_or_else(Choices::default, |(_, choices)| choices.loosened(rng));
            let made = match self.generator.draw(&start, rng) {
                Ok(made) if unranked => {
                    self.generator.unranked(&made.model).map(|model| Made { model, ..made })
                }
                Ok(made) => Some(made),
                Err(Unmade::Clash) => None,
                Err(unknown) => return Err(unknown),
            };
            let ways = made.as_ref().map_or_else(Vec::new, |m| self.ways(&m.model));
            let way = ways.iter().max_by_key(|way| wish.score(way));
            // A clause is missed only where no way at all satisfies it.
            let spoilt = wish.broken.is_some() && ways.iter().any(Way::holds);
            idle += 1;
            if let (Some(made), Some(way), false) = (made, way, spoilt) {
                let score = wish.score(way);
                if score == most {
                    return Ok(Found::Model(Box::new(made)));
                }
                if score + 1 > nearest.0 {
                    nearest = (score + 1, obstacle(wish, way));
                }
                if best.as_ref().is_none_or(|(least, _)| score >= *least) {
                    let better = best.as_ref().is_none_or(|(least, _)| score > *least);
                    best = Some((score, made.choices));
                    idle = if better { 0 } else { idle };
                }
            }
            if idle > PATIENCE {
                (best, idle) = (near.map(|choices| (0, choices.clone())), 0);
            }
        }
        Ok(Found::Nothing(nearest.1))
    }
}

/// What stands against a way that is not as wished.
fn obstacle(wish: Wish, way: &Way) -> String {
    let clauses = way.clauses.iter().enumerate().filter(|(i, _)| wish.broken != Some(*i));
    let failed = clauses.filter_map(|(_, clause)| clause.as_ref().err());
    failed.into_iter().next().cloned().unwrap_or_else(|| "that clause held in every model".to_owned())
}

/// The model as the partitioner sees it.
fn normalised(model: &Model) -> Option<Loaded> {
    let mut timings = Timings::default();
    Loaded::from_model(
        Path::new("generated.onnx"),
        model.clone(),
        &ModelOptions::default(),
        &ReferenceEvaluator,
        &mut timings,
    )
    .ok()
}
