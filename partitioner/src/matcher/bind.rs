//! What names of the pattern stand for, and arguments that have to match inputs.

use byoc_graph::ValueId;
use byoc_plugin::table::Constness;

use super::moves::Target;
use super::search::{Goal, Step, Undo};
use super::{Matcher, Why};
use crate::program::{ArgKind, CallId, NameId};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Binding {
    Free,
    Missing,
    Value(ValueId),
}

impl<'v, 'g> Matcher<'v, 'g> {
    pub(super) fn mark_done(&mut self, statement: usize) {
        if !self.done[statement] {
            self.done[statement] = true;
            self.trail.push(Undo::Statement(statement));
        }
    }

    pub(super) fn leaf(&mut self, value: ValueId) {
        self.leaves.push(value);
        self.trail.push(Undo::Leaf);
    }

    pub(super) fn bind(&mut self, name: NameId, to: Binding) -> Result<(), Why> {
        match (self.names[name], to) {
            (Binding::Free, _) => {
                self.names[name] = to;
                self.trail.push(Undo::Name(name));
                Ok(())
            }
            (bound, _) if bound == to => Ok(()),
            (Binding::Value(value), _) | (_, Binding::Value(value)) => Err(Why::Differs { name, value }),
            _ => Ok(()),
        }
    }

    /// The first output of an absent node or a chain.
    pub(super) fn bind_output(&mut self, target: Target, value: ValueId) -> Result<(), Why> {
        if let Target::Statement(statement) = target
            && let Some(Some(name)) = self.program.statements[statement].outputs.first()
        {
            return self.bind(*name, Binding::Value(value));
        }
        Ok(())
    }

    pub(super) fn input(
        &mut self,
        id: CallId,
        arg_index: usize,
        unit: u32,
        value: Option<ValueId>,
        only: Option<u32>,
    ) -> Result<Step, Why> {
        let program = self.program;
        let arg = &program.calls[id].args[arg_index];
        let Some(value) = value else {
            if !arg.optional {
                return Err(Why::Missing { call: id, arg: arg_index, unit });
            }
            if let ArgKind::Name(name) = arg.kind {
                self.bind(name, Binding::Missing)?;
                if let Some((statement, _)) = program.defined[name] {
                    self.mark_done(statement);
                }
            }
            return Ok(Step::Bound);
        };
        let constant = self.view.graph.is_constant(value);
        let wanted = arg.constness;
        if (wanted == Constness::Const && !constant) || (wanted == Constness::Input && constant) {
            let name = if let ArgKind::Name(name) = arg.kind { Some(name) } else { None };
            return Err(Why::Const { name, value, wanted });
        }
        let is_leaf = match arg.kind {
            ArgKind::Any => true,
            ArgKind::Name(name) => program.defined[name].is_none(),
            ArgKind::Call(_) => false,
        };
        if is_leaf && only.is_some() {
            // The root may be absent only where another node of the match stands for it.
            return Err(Why::Maker { call: id, value });
        }
        match arg.kind {
            ArgKind::Any => self.leaf(value),
            ArgKind::Call(call) => self.push_goal(Goal::Nested { call, value, only }),
            ArgKind::Name(name) => match program.defined[name] {
                Some((statement, output)) if !self.done[statement] => {
                    self.push_goal(Goal::Statement { statement, value, output, only });
                }
                Some(_) => self.bind(name, Binding::Value(value))?,
                None => {
                    self.bind(name, Binding::Value(value))?;
                    self.leaf(value);
                }
            },
        }
        Ok(Step::Bound)
    }
}
