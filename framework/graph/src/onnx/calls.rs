//! Local functions may call each other, but not in a circle.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::error::{Error, Result};
use crate::{Attr, Function, FunctionId, Graph};

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    Open,
    Done,
}

pub(super) fn check_acyclic(functions: &IndexMap<FunctionId, Function>) -> Result<()> {
    let called: HashMap<&FunctionId, Vec<FunctionId>> =
        functions.iter().map(|(id, function)| (id, calls(&function.body))).collect();
    let mut state: HashMap<&FunctionId, Visit> = HashMap::new();
    for start in functions.keys() {
        // Depth first; a function stays on the stack until all that it calls is done.
        let mut stack = vec![start];
        while let Some(&id) = stack.last() {
            if state.get(id) == Some(&Visit::Done) {
                stack.pop();
                continue;
            }
            if state.insert(id, Visit::Open) == Some(Visit::Open) {
                state.insert(id, Visit::Done);
                stack.pop();
                continue;
            }
            for callee in &called[id] {
                let Some((callee, _)) = functions.get_key_value(callee) else { continue };
                match state.get(callee) {
                    Some(Visit::Open) => {
                        return Err(Error::invalid(
                            id.to_string(),
                            format!("calls {callee}, which calls it again"),
                        ));
                    }
                    Some(Visit::Done) => {}
                    None => stack.push(callee),
                }
            }
        }
    }
    Ok(())
}

/// What the nodes of a graph and of all bodies inside call.
fn calls(graph: &Graph) -> Vec<FunctionId> {
    let mut found = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        found.push(FunctionId::of(&node.op));
        found.extend(node.attrs.values().flat_map(Attr::graphs).flat_map(calls));
    }
    found
}
