//! The search: goals that are open, choices to come back to, and what to undo then.

use byoc_graph::ValueId;
use smallvec::SmallVec;

use super::bind::Binding;
use super::moves::{Move, Target};
use super::{Match, Matcher, NearestMiss, Why};
use crate::program::{CallId, NameId};

/// Moves that one search may try.
pub const MAX_STEPS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// The argument of a call has to match this input of its node.
    Input { call: CallId, arg: usize, unit: u32, value: Option<ValueId>, only: Option<u32> },
    /// The value has to be made by a node of the statement; where `only` is given, by that unit.
    Statement { statement: usize, value: ValueId, output: usize, only: Option<u32> },
    /// The value has to be made by a node of the nested call.
    Nested { call: CallId, value: ValueId, only: Option<u32> },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Undo {
    Name(NameId),
    Statement(usize),
    Unit,
    Leaf,
}

/// A place to come back to.
pub(super) struct Choice {
    pub(super) moves: SmallVec<[Move; 4]>,
    pub(super) next: usize,
    pub(super) goals: Option<usize>,
    pub(super) goals_len: usize,
    pub(super) trail_len: usize,
}

pub(super) enum Step {
    Bound,
    Moves(SmallVec<[Move; 4]>),
    Solved,
}

impl<'v, 'g> Matcher<'v, 'g> {
    pub(super) fn choose(&mut self, moves: SmallVec<[Move; 4]>) {
        self.choices.push(Choice {
            moves,
            next: 0,
            goals: self.first_goal,
            goals_len: self.goals.len(),
            trail_len: self.trail.len(),
        });
    }

    /// Makes the next move that can be made; false where none is left.
    pub(super) fn next_move(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            let next = choice.moves.get(choice.next).copied();
            choice.next += 1;
            let (goals, goals_len, trail_len) = (choice.goals, choice.goals_len, choice.trail_len);
            self.first_goal = goals;
            self.goals.truncate(goals_len);
            self.undo(trail_len);
            let Some(next) = next else {
                self.choices.pop();
                continue;
            };
            if !self.count_step() {
                return false;
            }
            match self.make(next) {
                Ok(()) => return true,
                Err(why) => self.fail(why),
            }
        }
        false
    }

    pub(super) fn count_step(&mut self) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.miss = Some(NearestMiss { why: Why::Steps, units: self.units.iter().copied().collect() });
            self.choices.clear();
            return false;
        }
        true
    }

    pub(super) fn fail(&mut self, why: Why) {
        let before = self.miss.as_ref().map(|miss| miss.units.len());
        if before.is_none_or(|n| self.units.len() > n) {
            self.miss = Some(NearestMiss { why, units: self.units.iter().copied().collect() });
        }
    }

    pub(super) fn undo(&mut self, trail_len: usize) {
        for entry in self.trail.drain(trail_len..).rev() {
            match entry {
                Undo::Name(name) => self.names[name] = Binding::Free,
                Undo::Statement(statement) => self.done[statement] = false,
                Undo::Unit => drop(self.units.pop()),
                Undo::Leaf => drop(self.leaves.pop()),
            }
        }
    }

    pub(super) fn push_goal(&mut self, goal: Goal) {
        self.goals.push((goal, self.first_goal));
        self.first_goal = Some(self.goals.len() - 1);
    }

    /// Works on the first open goal.
    pub(super) fn step(&mut self) -> Result<Step, Why> {
        let Some(first) = self.first_goal else { return self.open_statement() };
        let (goal, rest) = self.goals[first];
        self.first_goal = rest;
        match goal {
            Goal::Input { call, arg, unit, value, only } => self.input(call, arg, unit, value, only),
            Goal::Statement { statement, value, output, only } => {
                self.mark_done(statement);
                let target = Target::Statement(statement);
                let calls = &self.program.statements[statement].alternatives;
                let mut moves = SmallVec::new();
                for &call in calls {
                    self.moves_to(target, call, value, output, only, &mut moves);
                }
                self.offer(moves, calls[0], value)
            }
            Goal::Nested { call, value, only } => {
                let mut moves = SmallVec::new();
                self.moves_to(Target::Call, call, value, 0, only, &mut moves);
                self.offer(moves, call, value)
            }
        }
    }

    pub(super) fn offer(
        &self,
        moves: SmallVec<[Move; 4]>,
        call: CallId,
        value: ValueId,
    ) -> Result<Step, Why> {
        if !moves.is_empty() {
            return Ok(Step::Moves(moves));
        }
        let call_fits = |(unit, _): (u32, u32)| self.fits(&self.program.calls[call], unit);
        match self.view.makers(value).any(call_fits) {
            true => Err(Why::Output { call, value }),
            false => Err(Why::Maker { call, value }),
        }
    }

    /// A complete match, unless a leaf stands for a value that is made inside.
    pub(super) fn solved(&mut self) -> Option<Match> {
        let mut nodes: SmallVec<[u32; 4]> = SmallVec::new();
        self.units.iter().for_each(|u| nodes.extend_from_slice(&self.view.units[*u as usize].nodes));
        nodes.sort_unstable();
        let made_inside =
            |value: &&ValueId| self.view.producer(**value).is_some_and(|p| nodes.binary_search(&p).is_ok());
        if let Some(&value) = self.leaves.iter().find(made_inside) {
            self.fail(Why::Inside { value });
            return None;
        }
        let value = |binding: &Binding| match binding {
            Binding::Value(value) => Some(*value),
            Binding::Free | Binding::Missing => None,
        };
        let units = self.units.iter().copied().collect();
        Some(Match { units, nodes, names: self.names.iter().map(value).collect() })
    }
}
