//! Statements that only their inputs lead to: found from the values that these are bound to.

use byoc_graph::ValueId;
use byoc_plugin::table::Quantifier;
use smallvec::SmallVec;

use super::bind::Binding;
use super::moves::{Move, MoveKind, Target};
use super::search::{MAX_STEPS, Step};
use super::{Matcher, Why};
use crate::program::{ArgKind, CallId};

impl<'v, 'g> Matcher<'v, 'g> {
    /// Moves for a statement that no output leads to, from the values that its inputs are bound to.
    pub(super) fn open_statement(&mut self) -> Result<Step, Why> {
        let program = self.program;
        let open = |s: &usize| !self.done[*s];
        let Some(first) = (0..program.statements.len()).find(open) else { return Ok(Step::Solved) };
        for statement in (first..program.statements.len()).filter(|s| !self.done[*s]).collect::<Vec<_>>() {
            let mut moves: SmallVec<[Move; 4]> = SmallVec::new();
            for &call in &program.statements[statement].alternatives {
                self.moves_from(statement, call, &mut moves);
            }
            if !moves.is_empty() {
                self.mark_done(statement);
                return Ok(Step::Moves(moves));
            }
        }
        Err(Why::Unreached { statement: first })
    }

    pub(super) fn moves_from(&mut self, statement: usize, id: CallId, moves: &mut SmallVec<[Move; 4]>) {
        let program = self.program;
        let call = &program.calls[id];
        let target = Target::Statement(statement);
        let mut push = |kind| {
            let next = Move { target, call: id, kind };
            if !moves.contains(&next) {
                moves.push(next);
            }
        };
        for (value, depth, is_first) in self.bound_inputs(id) {
            if call.quantifier == Quantifier::Chain {
                let from = self.links.len();
                self.grow_chain_forward(call, value);
                let mut ends: Vec<usize> = (from..self.links.len()).collect();
                ends.sort_by_key(|&link| std::cmp::Reverse(self.links[link].depth));
                for link in ends {
                    push(MoveKind::Chain { link, output: self.links[link].value, input: value });
                }
            } else {
                for unit in self.reach(value, depth) {
                    if self.fits(call, unit) {
                        push(MoveKind::Node { unit, swapped: false });
                        if self.may_swap(call, unit) {
                            push(MoveKind::Node { unit, swapped: true });
                        }
                    }
                }
            }
            if call.quantifier != Quantifier::One && is_first {
                push(MoveKind::Absent { value, only: None });
            }
        }
    }

    /// Values that inputs of a call are bound to, with how many nodes away the call's node is, and whether
    /// it is the first input.
    pub(super) fn bound_inputs(&self, id: CallId) -> SmallVec<[(ValueId, usize, bool); 4]> {
        let mut found = SmallVec::new();
        let mut open: SmallVec<[(CallId, usize); 4]> = SmallVec::new();
        open.push((id, 1));
        while let Some((call, depth)) = open.pop() {
            for (i, arg) in self.program.calls[call].args.iter().enumerate() {
                match arg.kind {
                    ArgKind::Name(name) => {
                        if let Binding::Value(value) = self.names[name]
                            && !self.view.graph.is_constant(value)
                        {
                            found.push((value, depth, depth == 1 && i == 0));
                        }
                    }
                    ArgKind::Call(inner) => open.push((inner, depth + 1)),
                    ArgKind::Any => {}
                }
            }
        }
        found
    }

    /// Units that take the value, or what comes of it, at most `depth` nodes away.
    pub(super) fn reach(&mut self, value: ValueId, depth: usize) -> Vec<u32> {
        let (mut found, mut values) = (Vec::new(), vec![value]);
        for _ in 0..depth {
            let mut next = Vec::new();
            for value in values {
                for unit in self.view.takers(value) {
                    self.steps += 1;
                    if self.steps > MAX_STEPS {
                        return found;
                    }
                    found.push(unit);
                    next.extend(self.view.units[unit as usize].outputs.iter().flatten().copied());
                }
            }
            values = next;
        }
        found
    }
}
