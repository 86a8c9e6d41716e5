//! Moves: how a statement or a nested call may be matched, in the order that the language promises.

use byoc_graph::ValueId;
use byoc_plugin::table::Quantifier;
use smallvec::SmallVec;

use super::bind::Binding;
use super::search::{Goal, Undo};
use super::{Matcher, Why};
use crate::program::{Call, CallId};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    Statement(usize),
    /// A nested call.
    Call,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Move {
    pub(super) target: Target,
    pub(super) call: CallId,
    pub(super) kind: MoveKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum MoveKind {
    Node {
        unit: u32,
        swapped: bool,
    },
    /// The optional node is not there: the value is its input and its output.
    Absent {
        value: ValueId,
        only: Option<u32>,
    },
    /// A chain of nodes that ends at `link`.
    Chain {
        link: usize,
        output: ValueId,
        input: ValueId,
    },
}

impl<'v, 'g> Matcher<'v, 'g> {
    pub(super) fn root_moves(&mut self, root: u32) -> SmallVec<[Move; 4]> {
        let program = self.program;
        let statement = program.root();
        self.mark_done(statement);
        let mut moves = SmallVec::new();
        let target = Target::Statement(statement);
        for &id in &program.statements[statement].alternatives {
            let call = &program.calls[id];
            if call.quantifier == Quantifier::One {
                if self.fits(call, root) {
                    moves.push(Move {
                        target,
                        call: id,
                        kind: MoveKind::Node { unit: root, swapped: false },
                    });
                    if self.may_swap(call, root) {
                        let kind = MoveKind::Node { unit: root, swapped: true };
                        moves.push(Move { target, call: id, kind });
                    }
                }
                continue;
            }
            // Which output an absent root stands for is known only where the node before it is.
            let outputs: SmallVec<[ValueId; 2]> =
                self.view.units[root as usize].outputs.iter().flatten().copied().collect();
            for value in outputs {
                let output = self.view.makers(value).find(|(u, _)| *u == root).map_or(0, |(_, o)| o as usize);
                if output == 0 {
                    self.moves_to(target, id, value, 0, Some(root), &mut moves);
                } else {
                    let kind = MoveKind::Absent { value, only: Some(root) };
                    moves.push(Move { target, call: id, kind });
                }
            }
        }
        moves
    }

    /// Ways in which a call may have made the value, in search order.
    pub(super) fn moves_to(
        &mut self,
        target: Target,
        id: CallId,
        value: ValueId,
        output: usize,
        only: Option<u32>,
        moves: &mut SmallVec<[Move; 4]>,
    ) {
        let program = self.program;
        let call = &program.calls[id];
        let mut push = |kind| moves.push(Move { target, call: id, kind });
        if call.quantifier == Quantifier::Chain {
            let from = self.links.len();
            self.grow_chain(call, value, only);
            let mut ends: Vec<usize> = (from..self.links.len()).collect();
            ends.sort_by_key(|&link| std::cmp::Reverse(self.links[link].depth));
            for link in ends {
                push(MoveKind::Chain { link, output: value, input: self.links[link].value });
            }
        } else {
            for (unit, made) in self.view.makers(value) {
                if only.is_none_or(|o| o == unit) && made as usize == output && self.fits(call, unit) {
                    push(MoveKind::Node { unit, swapped: false });
                    if self.may_swap(call, unit) {
                        push(MoveKind::Node { unit, swapped: true });
                    }
                }
            }
        }
        if call.quantifier != Quantifier::One {
            push(MoveKind::Absent { value, only });
        }
    }

    pub(super) fn may_swap(&self, call: &Call, unit: u32) -> bool {
        call.args.len() + usize::from(call.rest) >= 2 && self.view.units[unit as usize].is_commutative()
    }

    pub(super) fn make(&mut self, made: Move) -> Result<(), Why> {
        let Move { target, call: id, kind } = made;
        match kind {
            MoveKind::Node { unit, swapped } => self.match_node(target, id, unit, swapped),
            MoveKind::Absent { value, only } => {
                self.bind_output(target, value)?;
                self.push_goal(Goal::Input { call: id, arg: 0, unit: u32::MAX, value: Some(value), only });
                Ok(())
            }
            MoveKind::Chain { link, output, input } => {
                self.bind_output(target, output)?;
                self.match_chain(id, link, input)?;
                let value = Some(input);
                self.push_goal(Goal::Input { call: id, arg: 0, unit: u32::MAX, value, only: None });
                Ok(())
            }
        }
    }

    pub(super) fn match_node(
        &mut self,
        target: Target,
        id: CallId,
        unit: u32,
        swapped: bool,
    ) -> Result<(), Why> {
        let (program, view) = (self.program, self.view);
        let (call, found) = (&program.calls[id], &view.units[unit as usize]);
        self.take(id, unit)?;
        if let Some(why) = self.failure(id, unit) {
            return Err(why);
        }
        if let Target::Statement(statement) = target {
            for (output, name) in program.statements[statement].outputs.iter().enumerate() {
                let Some(name) = name else { continue };
                let value = found.output(output).ok_or(Why::NoOutput { call: id, unit, output })?;
                self.bind(*name, Binding::Value(value))?;
            }
        }
        let further = found.inputs.iter().skip(call.args.len());
        if !call.rest && further.clone().any(Option::is_some) {
            return Err(Why::TooMany { call: id, unit });
        }
        further.flatten().for_each(|value| self.leaf(*value));
        for arg in (0..call.args.len()).rev() {
            let value = found.input(arg, swapped);
            self.push_goal(Goal::Input { call: id, arg, unit, value, only: None });
        }
        Ok(())
    }

    /// Claims a node's places for this match.
    pub(super) fn take(&mut self, call: CallId, unit: u32) -> Result<(), Why> {
        let nodes = &self.view.units[unit as usize].nodes;
        let overlaps = |other: &u32| {
            *other == unit || self.view.units[*other as usize].nodes.iter().any(|n| nodes.contains(n))
        };
        if self.units.iter().any(overlaps) {
            return Err(Why::Twice { call, unit });
        }
        self.units.push(unit);
        self.trail.push(Undo::Unit);
        Ok(())
    }
}
