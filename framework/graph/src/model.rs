//! A model: its main graph, local functions, and what surrounds them in the file.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::{Attributes, Graph, MappedFiles};

/// Key-value pairs that come with a model, graph, node or value; kept as they are.
pub type Metadata = Vec<(String, String)>;

/// Opset versions by domain; the default domain is `""`.
pub type Opsets = IndexMap<Arc<str>, i64>;

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub graph: Graph,
    pub functions: IndexMap<FunctionId, Function>,
    pub opsets: Opsets,
    pub ir_version: i64,
    pub producer_name: String,
    pub producer_version: String,
    pub domain: String,
    pub model_version: i64,
    pub doc: String,
    pub metadata: Metadata,
    /// Parts of the file that are carried along unread (training information, device configurations).
    pub opaque: Bytes,
    /// The files that content of tensors may lie in.
    pub files: MappedFiles,
}

/// What names a local function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId {
    pub domain: Arc<str>,
    pub name: Arc<str>,
    pub overload: Arc<str>,
}

/// A local function: a graph that nodes call by name. Inputs and outputs of `body` carry no types.
#[derive(Clone, Debug, Default)]
pub struct Function {
    pub body: Graph,
    pub opsets: Opsets,
    /// Attributes that a call has to give.
    pub attributes: Vec<Arc<str>>,
    /// Attributes that a call may give, with their defaults.
    pub attribute_defaults: Attributes,
    pub doc: String,
    pub metadata: Metadata,
    /// Parts of the file that are carried along unread.
    pub opaque: Bytes,
}

impl Model {
    /// The opset version of a domain in the main graph.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.get(domain).copied()
    }

    /// Calls `f` for the main graph, each function's body and all bodies inside, with the name that
    /// reports give them: `main`, `main/if_3.then_branch`, `function:<domain>.<name>`.
    pub fn for_each_graph<'m>(&'m self, f: &mut dyn FnMut(&str, &'m Graph)) {
        walk("main", &self.graph, f);
        for (id, function) in &self.functions {
            walk(&id.to_string(), &function.body, f);
        }
    }
}

fn walk<'m>(path: &str, graph: &'m Graph, f: &mut dyn FnMut(&str, &'m Graph)) {
    f(path, graph);
    for id in graph.model_order() {
        let node = graph.node(id);
        for (name, attr) in &node.attrs {
            let bodies = attr.graphs();
            for (i, body) in bodies.iter().enumerate() {
                let index = if bodies.len() > 1 { format!("[{i}]") } else { String::new() };
                walk(&format!("{path}/{}.{name}{index}", node.label), body, f);
            }
        }
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function:{}.{}", self.domain, self.name)?;
        if !self.overload.is_empty() {
            write!(f, ":{}", self.overload)?;
        }
        Ok(())
    }
}
