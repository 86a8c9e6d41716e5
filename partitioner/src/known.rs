//! What is known of the values that a match binds, for its `where` clauses.

use byoc_graph::{Attr, ValueId};

use crate::matcher::Match;
use crate::program::Program;
use crate::view::View;
use crate::where_clause::Known;

/// What a name of the pattern stands for in a match; `None` where it is not bound.
pub fn named<'g>(view: &'g View<'_>, program: &Program, found: &Match, name: &str) -> Option<Known<'g>> {
    let index = program.names.iter().position(|n| n == name)?;
    Some(of_value(view, found, found.names[index]?))
}

fn of_value<'g>(view: &'g View<'_>, found: &Match, value: ValueId) -> Known<'g> {
    let graph = view.graph;
    let mut known = Known {
        ty: graph.value(value).ty.as_ref(),
        constant: graph.constant(value).map(|t| &**t),
        attrs: Vec::new(),
        opset: None,
    };
    let mut units = found.units.iter().map(|u| &view.units[*u as usize]);
    if let Some(unit) = units.find(|u| u.outputs.contains(&Some(value))) {
        let mut attrs: Vec<(String, Attr)> =
            unit.attrs.iter().map(|(name, attr)| (name.to_string(), attr.clone())).collect();
        for schema in unit.schema.iter().flat_map(|s| s.attributes) {
            if let (Some(default), None) = (schema.default, unit.attrs.get(schema.name)) {
                attrs.push((schema.name.to_owned(), default.to_attr()));
            }
        }
        (known.attrs, known.opset) = (attrs, Some(unit.opset));
    }
    known
}
