//! Finds every way in which a pattern matches with a given node as its root.
//!
//! A backtracking search over explicit goals: each goal either binds something or offers moves, and moves that
//! were not taken are kept on a stack with what to undo. Nothing recurses, so long chains are no danger. Ways
//! come in the order that the pattern language promises: what is written first, present before absent, longest
//! chain first, written operand order first. The failure that had bound most nodes is kept as the nearest miss.

mod bind;
mod chain;
mod forward;
mod moves;
mod node;
mod search;
mod why;

use std::ops::ControlFlow;

use byoc_graph::ValueId;
use smallvec::SmallVec;

use crate::program::{Program, Programs};
use crate::view::View;
use bind::Binding;
use chain::Link;
use search::{Choice, Goal, Step, Undo};

pub use search::MAX_STEPS;
pub use why::{NearestMiss, Why};

/// One way in which a pattern matches.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// Units in the order in which they were matched; the root is first.
    pub units: SmallVec<[u32; 4]>,
    /// Places of all nodes that the units cover, in model order.
    pub nodes: SmallVec<[u32; 4]>,
    /// By name of the pattern.
    pub names: SmallVec<[Option<ValueId>; 6]>,
}

/// A searcher with memory that is kept from search to search.
pub struct Matcher<'v, 'g> {
    view: &'v View<'g>,
    programs: &'v Programs,
    program: &'v Program,
    names: Vec<Binding>,
    done: Vec<bool>,
    units: Vec<u32>,
    leaves: Vec<ValueId>,
    /// Open goals: a list that shares its tails with the choices.
    goals: Vec<(Goal, Option<usize>)>,
    first_goal: Option<usize>,
    links: Vec<Link>,
    trail: Vec<Undo>,
    choices: Vec<Choice>,
    steps: usize,
    miss: Option<NearestMiss>,
}

impl<'v, 'g> Matcher<'v, 'g> {
    /// `None` where there is no pattern at all.
    pub fn new(view: &'v View<'g>, programs: &'v Programs) -> Option<Matcher<'v, 'g>> {
        Some(Matcher {
            view,
            programs,
            program: programs.all.first()?,
            names: Vec::new(),
            done: Vec::new(),
            units: Vec::new(),
            leaves: Vec::new(),
            goals: Vec::new(),
            first_goal: None,
            links: Vec::new(),
            trail: Vec::new(),
            choices: Vec::new(),
            steps: 0,
            miss: None,
        })
    }

    /// Calls `found` with every way in which the pattern matches with its root at `root`; the nearest miss
    /// is what failed with most nodes bound, in any of the ways tried.
    pub fn search(
        &mut self,
        program: usize,
        root: u32,
        found: &mut dyn FnMut(&Match) -> ControlFlow<()>,
    ) -> Option<NearestMiss> {
        self.begin(&self.programs.all[program]);
        let moves = self.root_moves(root);
        self.choose(moves);
        while self.next_move() {
            loop {
                match self.step() {
                    Ok(Step::Bound) => {}
                    Ok(Step::Moves(moves)) => {
                        self.choose(moves);
                        break;
                    }
                    Ok(Step::Solved) => {
                        if let Some(found_match) = self.solved()
                            && found(&found_match).is_break()
                        {
                            return None;
                        }
                        break;
                    }
                    Err(why) => {
                        self.fail(why);
                        break;
                    }
                }
            }
        }
        self.miss.take()
    }

    /// The way with this number.
    pub fn nth(&mut self, program: usize, root: u32, way: usize) -> Option<Match> {
        let (mut at, mut result) = (0, None);
        self.search(program, root, &mut |m| {
            if at == way {
                result = Some(m.clone());
                return ControlFlow::Break(());
            }
            at += 1;
            ControlFlow::Continue(())
        });
        result
    }

    fn begin(&mut self, program: &'v Program) {
        self.program = program;
        self.names.clear();
        self.names.resize(program.names.len(), Binding::Free);
        self.done.clear();
        self.done.resize(program.statements.len(), false);
        self.units.clear();
        self.leaves.clear();
        self.goals.clear();
        self.first_goal = None;
        self.links.clear();
        self.trail.clear();
        self.choices.clear();
        self.steps = 0;
        self.miss = None;
    }
}
