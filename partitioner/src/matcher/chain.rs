//! Chains of nodes, as `Op*` asks for them.

use byoc_graph::ValueId;
use smallvec::SmallVec;

use super::search::{Goal, MAX_STEPS};
use super::{Matcher, Why};
use crate::program::{Call, CallId};

/// One node of a chain, behind the node at `before`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) unit: u32,
    pub(super) before: Option<usize>,
    pub(super) depth: usize,
    /// The value at the far end of the chain.
    pub(super) value: ValueId,
}

impl<'v, 'g> Matcher<'v, 'g> {
    /// All chains that end with the value: along the first input, or either where the operator commutes.
    pub(super) fn grow_chain(&mut self, call: &Call, value: ValueId, only: Option<u32>) {
        let mut open = vec![(value, None::<usize>)];
        while let Some((value, before)) = open.pop() {
            let makers: SmallVec<[u32; 2]> = self
                .view
                .makers(value)
                .filter(|(unit, output)| {
                    let wanted = before.is_some() || only.is_none_or(|o| o == *unit);
                    wanted
                        && *output == 0
                        && self.fits(call, *unit)
                        && self.plain_failure(call, *unit).is_none()
                })
                .map(|(unit, _)| unit)
                .collect();
            for unit in makers {
                let found = &self.view.units[unit as usize];
                let mut along: SmallVec<[Option<ValueId>; 2]> = SmallVec::new();
                along.push(found.input(0, false));
                if found.is_commutative() && found.input(1, false) != found.input(0, false) {
                    along.push(found.input(1, false));
                }
                for value in along.into_iter().flatten() {
                    if !self.count_chain_step() {
                        return;
                    }
                    let depth = before.map_or(1, |b| self.links[b].depth + 1);
                    self.links.push(Link { unit, before, depth, value });
                    open.push((value, Some(self.links.len() - 1)));
                }
            }
        }
    }

    /// All chains that begin with the value.
    pub(super) fn grow_chain_forward(&mut self, call: &Call, value: ValueId) {
        let mut open = vec![(value, None::<usize>)];
        while let Some((value, before)) = open.pop() {
            let takers: SmallVec<[u32; 4]> = self.view.takers(value).collect();
            for unit in takers {
                let found = &self.view.units[unit as usize];
                let first = found.input(0, false) == Some(value);
                let along = first || (found.is_commutative() && found.input(1, false) == Some(value));
                let Some(next) = found.output(0) else { continue };
                if !along || !self.fits(call, unit) || self.plain_failure(call, unit).is_some() {
                    continue;
                }
                if !self.count_chain_step() {
                    return;
                }
                let depth = before.map_or(1, |b| self.links[b].depth + 1);
                self.links.push(Link { unit, before, depth, value: next });
                open.push((next, Some(self.links.len() - 1)));
            }
        }
    }

    pub(super) fn count_chain_step(&mut self) -> bool {
        self.steps += 1;
        self.steps <= MAX_STEPS
    }

    /// The nodes of a chain; their inputs off the chain are leaves.
    pub(super) fn match_chain(&mut self, id: CallId, end: usize, along: ValueId) -> Result<(), Why> {
        let (program, view) = (self.program, self.view);
        let call = &program.calls[id];
        let (mut link, mut next) = (Some(end), along);
        while let Some(at) = link {
            let Link { unit, before, .. } = self.links[at];
            self.take(id, unit)?;
            let found = &view.units[unit as usize];
            let on_chain = |i: usize| i < 2 && found.input(i, false) == Some(next);
            let through = (0..found.inputs.len()).find(|i| on_chain(*i)).unwrap_or(0);
            let others: SmallVec<[Option<ValueId>; 4]> =
                (0..found.inputs.len()).filter(|i| *i != through).map(|i| found.input(i, false)).collect();
            others.iter().flatten().for_each(|value| self.leaf(*value));
            for arg in (1..call.args.len()).rev() {
                let value = others.get(arg - 1).copied().flatten();
                self.push_goal(Goal::Input { call: id, arg, unit, value, only: None });
            }
            next = found.output(0).unwrap_or(next);
            link = before;
        }
        Ok(())
    }
}
