//! What the user wants of a placement: from the options, and from markers in the model's metadata.
//!
//! A node's marker is about that node; a model's marker holds lines that name what they are about. Markers on
//! values and graphs have no meaning.

use byoc_graph::{Graph, Metadata, Model};
use serde::{Deserialize, Serialize};

use crate::options::{Options, PartitionError};
use crate::place::GraphPath;

/// On a node: the target that it has to go to. On a model: lines `NODE=TARGET`.
pub const TARGET: &str = "byoc.target";
/// On a node: `before`, `after` or `both`. On a model: lines `before NODE` or `after NODE`.
pub const BOUNDARY: &str = "byoc.boundary";
/// On a model: lines with a node or an operator each, which stay on the host.
pub const EXCLUDE: &str = "byoc.exclude";
/// On a model: lines with an operator each; no other is offloaded.
pub const ONLY_OP: &str = "byoc.only_op";
/// Vendors of an earlier partition by cost, one a line: what it left on the host stays there.
pub const PLACED: &str = "byoc.placed";

/// A border that regions do not cross.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    pub side: Side,
    pub node: String,
    /// Every graph that has such a node, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
}

impl Cut {
    /// Reads `before:NODE`, `after:NODE` or `both:NODE`, which is two.
    pub fn parse(text: &str) -> Result<Vec<Cut>, String> {
        let parts = text.split_once(':').filter(|(_, node)| !node.is_empty());
        let parts = parts.and_then(|(side, node)| Some((sides(side)?, node)));
        let (sides, node) = parts.ok_or("expected before:NODE, after:NODE or both:NODE")?;
        Ok(sides.iter().map(|side| Cut { side: *side, node: node.to_owned(), graph: None }).collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Between the node and what makes its inputs.
    Before,
    /// Between the node and what uses its outputs.
    After,
}

/// A node that has to go to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    pub node: String,
    /// A vendor, or `host`.
    pub target: String,
    /// Every graph that has such a node, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// By a marker: the target may be missing, and the node then stays on the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// Everything that the user wants, in the order in which it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Will {
    /// Nodes, by name, or operators.
    pub exclude: Vec<String>,
    pub only_ops: Vec<String>,
    pub force: Vec<Forced>,
    pub cuts: Vec<Cut>,
    /// Vendors that an earlier partition by cost has asked.
    pub placed: Vec<String>,
}

impl Will {
    /// Options first, then the model's own markers, then those of its nodes.
    pub fn of(
        options: &Options,
        model: &Model,
        graphs: &[(GraphPath, &Graph)],
    ) -> Result<Will, PartitionError> {
        let forced = options.force.iter().map(|(node, target)| Forced {
            node: node.clone(),
            target: target.clone(),
            graph: None,
            marked: false,
        });
        let mut will = Will {
            exclude: options.exclude.clone(),
            only_ops: options.only_ops.clone(),
            force: forced.collect(),
            cuts: options.cuts.clone(),
            placed: Vec::new(),
        };
        will.read_model(&model.metadata, &|name| is_gone(name, model, graphs))?;
        for (path, graph) in graphs {
            for id in graph.model_order() {
                let node = graph.node(id);
                will.read_node(&node.metadata, &node.label, &path.text)?;
            }
        }
        Ok(will)
    }

    /// Lines about what an earlier partition has taken in have been heeded then.
    fn read_model(
        &mut self,
        metadata: &Metadata,
        is_gone: &dyn Fn(&str) -> bool,
    ) -> Result<(), PartitionError> {
        for (key, value) in metadata {
            for line in value.lines().map(str::trim).filter(|l| !l.is_empty()) {
                match key.as_str() {
                    EXCLUDE if is_gone(line) => {}
                    EXCLUDE => push_new(&mut self.exclude, line.to_owned()),
                    ONLY_OP => push_new(&mut self.only_ops, line.to_owned()),
                    PLACED => push_new(&mut self.placed, line.to_owned()),
                    TARGET => {
                        let (node, target) = line.rsplit_once('=').ok_or_else(|| {
                            bad_marker("the model", key, line, "lines NODE=TARGET are wanted")
                        })?;
                        if !is_gone(node.trim()) {
                            self.force_marked(node.trim(), target.trim(), None);
                        }
                    }
                    BOUNDARY => {
                        let wanted = "lines `before NODE` or `after NODE` are wanted";
                        let parts = line.split_once(char::is_whitespace);
                        let parts = parts.and_then(|(side, node)| Some((sides(side)?, node.trim())));
                        let (sides, node) =
                            parts.ok_or_else(|| bad_marker("the model", key, line, wanted))?;
                        if !is_gone(node) {
                            self.cut(sides, node, None);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read_node(&mut self, metadata: &Metadata, node: &str, graph: &str) -> Result<(), PartitionError> {
        for (key, value) in metadata {
            let value = value.trim();
            match key.as_str() {
                TARGET if value.is_empty() => {
                    let of = format!("node `{node}`");
                    return Err(bad_marker(&of, key, value, "a vendor's name or `host` is wanted"));
                }
                TARGET => self.force_marked(node, value, Some(graph)),
                BOUNDARY => {
                    let wanted = "`before`, `after` or `both` is wanted";
                    let sides = sides(value);
                    let sides =
                        sides.ok_or_else(|| bad_marker(&format!("node `{node}`"), key, value, wanted))?;
                    self.cut(sides, node, Some(graph));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn force_marked(&mut self, node: &str, target: &str, graph: Option<&str>) {
        let (node, target, graph) = (node.to_owned(), target.to_owned(), graph.map(str::to_owned));
        push_new(&mut self.force, Forced { node, target, graph, marked: true });
    }

    fn cut(&mut self, sides: &[Side], node: &str, graph: Option<&str>) {
        for &side in sides {
            push_new(&mut self.cuts, Cut { side, node: node.to_owned(), graph: graph.map(str::to_owned) });
        }
    }
}

/// Whether a node or operator is in the regions of an earlier partition alone.
fn is_gone(name: &str, model: &Model, graphs: &[(GraphPath, &Graph)]) -> bool {
    let has = |graph: &Graph| {
        let mut nodes = graph.node_ids().map(|id| graph.node(id));
        nodes.any(|node| *node.label == *name || *node.op.name == *name)
    };
    let regions = model.functions.iter().filter(|(id, _)| id.domain.starts_with("byoc."));
    !graphs.iter().any(|(_, graph)| has(graph)) && regions.map(|(_, f)| &f.body).any(has)
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn sides(text: &str) -> Option<&'static [Side]> {
    match text {
        "before" => Some(&[Side::Before]),
        "after" => Some(&[Side::After]),
        "both" => Some(&[Side::Before, Side::After]),
        _ => None,
    }
}

fn bad_marker(of: &str, key: &str, value: &str, wanted: &str) -> PartitionError {
    PartitionError::Marker(format!("`{key}` of {of} is `{value}`, but {wanted}"))
}
