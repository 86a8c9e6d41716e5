//! Whether one node is what a call of a pattern asks for, its inputs apart.

use super::{Matcher, Why};
use crate::attribute;
use crate::program::{Call, CallId};
use crate::view::Unit;

impl<'v, 'g> Matcher<'v, 'g> {
    pub(super) fn fits(&self, call: &Call, unit: u32) -> bool {
        let found = &self.view.units[unit as usize];
        let folded = |fold| self.programs.vendors[self.program.vendor].limits.fold.contains(fold);
        let is_ours = found.folds.as_ref().is_none_or(folded);
        is_ours
            && match &call.ops {
                None => !found.closed && (unit as usize) < self.view.order.len(),
                Some(ops) => found.symbol.is_some_and(|s| ops.contains(&s)),
            }
    }

    /// What of the operator itself does not fit: its version or an attribute.
    pub(super) fn failure(&self, id: CallId, unit: u32) -> Option<Why> {
        let call = &self.program.calls[id];
        self.plain_failure(call, unit).map(|attribute| match attribute {
            None => Why::Opset { call: id, unit },
            Some(attribute) => Why::Attribute { call: id, unit, attribute },
        })
    }

    /// `Some(None)` is a wrong version, `Some(Some(i))` attribute `i` of the call.
    pub(super) fn plain_failure(&self, call: &Call, unit: u32) -> Option<Option<usize>> {
        let found = &self.view.units[unit as usize];
        if !self.accepts_version(found) {
            return Some(None);
        }
        let differs = |(name, literal): &(String, _)| {
            !found.attribute(name).is_some_and(|attr| attribute::equals(&attr, literal))
        };
        call.attributes.iter().position(differs).map(Some)
    }

    /// Whether the operator is the same at the version that the vendor asks for.
    pub(super) fn accepts_version(&self, unit: &Unit<'_>) -> bool {
        let Some(&wanted) = self.programs.vendors[self.program.vendor].opset.get(unit.domain) else {
            return true;
        };
        let schema = byoc_graph::schema::lookup(unit.domain, unit.op, wanted);
        let own = byoc_graph::schema::lookup(unit.domain, unit.op, unit.opset);
        schema.map(|s| s.since_version) == own.map(|s| s.since_version)
    }
}
