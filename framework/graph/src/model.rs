//! A model: its main graph, local functions, and what surrounds them in the file.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::{Attr, Attributes, Graph, MappedFiles, Node, Operator};

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

/// A local function: a graph that nodes call by name. Its values have the types that the file tells, or that
/// [`specialise`](crate::infer::specialise) finds; inputs and outputs have none in files before IR version 10.
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

    /// The local function that a node calls, if it calls one.
    pub fn function_of(&self, node: &Node) -> Option<&Function> {
        if self.functions.is_empty() { None } else { self.functions.get(&FunctionId::of(&node.op)) }
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

impl FunctionId {
    /// The function that an operator is a call of, whether there is one or not.
    pub fn of(op: &Operator) -> FunctionId {
        FunctionId { domain: op.domain.clone(), name: op.name.clone(), overload: op.overload.clone() }
    }
}

impl Function {
    /// The attributes that the body sees: those of a call, then the function's defaults.
    pub fn with_defaults(&self, mut attrs: Attributes) -> Attributes {
        for (name, default) in &self.attribute_defaults {
            attrs.entry(name.clone()).or_insert_with(|| default.clone());
        }
        attrs
    }

    /// The body with references to attributes replaced by what they refer to; where that is not given, the
    /// attribute is left out.
    pub fn with_attributes(&self, attrs: &Attributes) -> Graph {
        let mut body = self.body.clone();
        put_attributes(&mut body, attrs);
        body
    }
}

fn put_attributes(graph: &mut Graph, attrs: &Attributes) {
    let nodes: Vec<_> = graph.node_ids().collect();
    for id in nodes {
        let node = graph.node_mut(id);
        node.attrs.retain(|_, attr| !matches!(attr, Attr::Ref { name, .. } if !attrs.contains_key(name)));
        for attr in node.attrs.values_mut() {
            if let Attr::Ref { name, .. } = attr {
                *attr = attrs[&*name].clone();
            } else {
                attr.graphs_mut().iter_mut().for_each(|body| put_attributes(body, attrs));
            }
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
