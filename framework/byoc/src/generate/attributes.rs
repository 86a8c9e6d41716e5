//! Attributes of generated nodes: those that a pattern demands, and candidates for those that are free.

use byoc_graph::schema::OpSchema;
use byoc_graph::{Attr, AttrKind};
use byoc_plugin::table::{Attribute, Literal};
use bytes::Bytes;

use super::choices::Chooser;
use super::draft::Node;
use super::words::Words;

/// Attributes that any rank and shape goes with, and what is tried beside their default.
const FREE: [(&str, &[Candidate]); 15] = [
    ("alpha", &[Candidate::Float(0.5), Candidate::Float(0.1)]),
    ("beta", &[Candidate::Float(0.5), Candidate::Float(2.0)]),
    ("epsilon", &[Candidate::Float(0.01)]),
    ("gamma", &[Candidate::Float(1.5)]),
    ("size", &[Candidate::Int(3), Candidate::Int(5)]),
    ("keepdims", &[Candidate::Int(0), Candidate::Int(1)]),
    ("ceil_mode", &[Candidate::Int(1)]),
    ("count_include_pad", &[Candidate::Int(1)]),
    ("transA", &[Candidate::Int(1)]),
    ("transB", &[Candidate::Int(1)]),
    ("approximate", &[Candidate::Text("tanh")]),
    ("coordinate_transformation_mode", &[Candidate::Text("asymmetric"), Candidate::Text("align_corners")]),
    ("nearest_mode", &[Candidate::Text("floor"), Candidate::Text("ceil")]),
    ("layout", &[Candidate::Int(1)]),
    ("mode", &[Candidate::Text("linear"), Candidate::Text("cubic")]),
];

/// Operators whose attributes of these names mean something else, and their candidates.
const OF_OPERATORS: [(&str, &str, &[Candidate]); 2] = [
    ("DepthToSpace", "mode", &[Candidate::Text("CRD"), Candidate::Text("DCR")]),
    ("SpaceToDepth", "mode", &[Candidate::Text("CRD"), Candidate::Text("DCR")]),
];

/// What is tried beside the default.
fn usual(op: &str, attribute: &str) -> &'static [Candidate] {
    let own = OF_OPERATORS.iter().find(|(of, name, _)| (*of, *name) == (op, attribute)).map(|(.., c)| *c);
    own.or_else(|| FREE.iter().find(|(name, _)| *name == attribute).map(|(_, c)| *c)).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Candidate {
    Int(i64),
    Float(f32),
    Text(&'static str),
}

impl Candidate {
    fn attr(self) -> Attr {
        match self {
            Candidate::Int(n) => Attr::Int(n),
            Candidate::Float(x) => Attr::Float(x),
            Candidate::Text(text) => Attr::str(text),
        }
    }
}

/// An attribute as a pattern demands it; `None` where the operator has no such one.
pub fn fixed(schema: &OpSchema, attribute: &Attribute) -> Option<(std::sync::Arc<str>, Attr)> {
    let kind = schema.attribute(&attribute.name)?.kind;
    let attr = match (&attribute.value, kind) {
        (Literal::Int(n), AttrKind::Float) => Attr::Float(*n as f32),
        (Literal::Int(n), _) => Attr::Int(*n),
        (Literal::Float(x), _) => Attr::Float(*x),
        (Literal::String(text), _) => Attr::str(text),
        (Literal::Ints(list), AttrKind::Floats) if list.is_empty() => Attr::Floats(Vec::new()),
        (Literal::Ints(list), AttrKind::Strs) if list.is_empty() => Attr::Strs(Vec::new()),
        (Literal::Ints(list), _) => Attr::Ints(list.clone()),
        (Literal::Floats(list), _) => Attr::Floats(list.clone()),
        (Literal::Strings(list), _) => {
            Attr::Strs(list.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect())
        }
    };
    (attr.kind() == kind).then(|| (attribute.name.as_str().into(), attr))
}

/// Settles what is free and stands on no shape; `output` is how the pattern calls what the node makes.
pub fn settle_free(node: &mut Node, output: &str, words: &Words, chooser: &mut Chooser<'_>) {
    for attribute in node.schema.attributes {
        if node.attrs.contains_key(attribute.name) || is_shaped(attribute.name) {
            continue;
        }
        let mut candidates: Vec<Option<Attr>> = vec![None];
        candidates.extend(usual(node.schema.name, attribute.name).iter().map(|c| Some(c.attr())));
        if words.mention(output, attribute.name) {
            candidates.extend(spoken(words, attribute.kind).into_iter().map(Some));
        }
        candidates.retain(|c| c.as_ref().is_none_or(|attr| attr.kind() == attribute.kind));
        if candidates.len() > 1 {
            let choice = format!("{}.attr.{}", node.name, attribute.name);
            if let Some(Some(attr)) = chooser.of(&choice, &candidates) {
                node.attrs.insert(attribute.name.into(), attr.clone());
            }
        }
    }
}

/// What clauses speak of, as attributes of a kind.
fn spoken(words: &Words, kind: AttrKind) -> Vec<Attr> {
    match kind {
        AttrKind::Int => words.ints.iter().flat_map(|n| [*n, n + 1, n - 1]).map(Attr::Int).collect(),
        AttrKind::Float => {
            let whole = words.ints.iter().map(|n| *n as f32);
            whole.chain(words.floats.iter().copied()).flat_map(|x| [x, x + 1.0]).map(Attr::Float).collect()
        }
        AttrKind::Str => words.texts.iter().map(|t| Attr::str(t)).collect(),
        _ => Vec::new(),
    }
}

/// Attributes whose values depend on shapes, which their operators' rules settle.
fn is_shaped(name: &str) -> bool {
    const SHAPED: [&str; 20] = [
        "group",
        "strides",
        "dilations",
        "pads",
        "auto_pad",
        "kernel_shape",
        "axis",
        "axes",
        "perm",
        "to",
        "output_dtype",
        "num_outputs",
        "split",
        "output_padding",
        "output_shape",
        "block_size",
        "blocksize",
        "direction",
        "equation",
        "hidden_size",
    ];
    SHAPED.contains(&name)
}
