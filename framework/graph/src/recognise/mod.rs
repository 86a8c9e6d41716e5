//! Decomposed forms: groups of nodes that compute what one standard operator computes.
//!
//! Exporters write Gelu, LayerNormalization and others as chains of small operators. A recogniser finds
//! such a chain and says which operator it amounts to; nothing in the graph changes. The partitioner lets a
//! pattern that names the operator match the whole form, and the host runs it with the operator's kernel.
//!
//! A form is only recognised where nothing outside uses a value inside. Every node is in at most one form;
//! a larger form goes before a smaller one, then an earlier before a later.

use std::sync::Arc;

use crate::{Attributes, Graph, NodeId, ValueId};

mod attention;
mod gelu;
mod hard_swish;
mod layer_normalization;
mod mish;
mod rms_normalization;
mod swish;
mod template;

use template::{Found, Template};

/// Nodes that together compute one call of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The recogniser's name, as `--disable-pass` takes it.
    pub recogniser: &'static str,
    pub domain: Arc<str>,
    pub op: Arc<str>,
    /// Version of the operator that the form is equal to.
    pub opset: i64,
    pub attrs: Attributes,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    /// All nodes of the form, in model order. The last one makes `outputs[0]`.
    pub nodes: Vec<NodeId>,
}

/// One way of finding forms.
pub struct Recogniser {
    /// As `--disable-pass` takes it.
    pub name: &'static str,
    pub about: &'static str,
    /// The operator of the default domain that the form amounts to, and since when it exists.
    op: &'static str,
    opset: i64,
    /// Ways in which exporters write it, see `template`.
    templates: &'static [&'static str],
    /// What a template cannot say: checks a match and reads inputs and attributes off it.
    read: fn(&Graph, &Found) -> Option<Call>,
}

/// Inputs and attributes of the operator that a form amounts to.
#[derive(Default)]
struct Call {
    inputs: Vec<Option<ValueId>>,
    attrs: Attributes,
}

/// All recognisers.
pub const RECOGNISERS: &[Recogniser] = &[
    attention::RECOGNISER,
    gelu::RECOGNISER,
    hard_swish::RECOGNISER,
    layer_normalization::RECOGNISER,
    mish::RECOGNISER,
    rms_normalization::RECOGNISER,
    swish::RECOGNISER,
];

/// The forms in one graph (not in its bodies), in model order of their last nodes.
pub fn recognise(graph: &Graph, enabled: &dyn Fn(&str) -> bool) -> Vec<Form> {
    let order = graph.model_order();
    let mut place = vec![0; graph.node_bound()];
    for (i, id) in order.iter().enumerate() {
        place[id.index()] = i;
    }
    let recognisers: Vec<(&Recogniser, Vec<Template>)> = RECOGNISERS
        .iter()
        .filter(|r| enabled(r.name))
        .map(|r| (r, r.templates.iter().map(|t| Template::parse(t)).collect()))
        .collect();

    let mut candidates = Vec::new();
    for &root in &order {
        for (recogniser, templates) in &recognisers {
            candidates.extend(templates.iter().find_map(|t| find(graph, root, recogniser, t, &place)));
        }
    }
    candidates.sort_by_key(|form| std::cmp::Reverse(form.nodes.len()));
    let mut taken = vec![false; graph.node_bound()];
    let mut forms = Vec::new();
    for form in candidates {
        if form.nodes.iter().all(|id| !taken[id.index()]) {
            form.nodes.iter().for_each(|id| taken[id.index()] = true);
            forms.push(form);
        }
    }
    forms.sort_by_key(|form| place[form.nodes[form.nodes.len() - 1].index()]);
    forms
}

fn find(graph: &Graph, root: NodeId, by: &Recogniser, template: &Template, place: &[usize]) -> Option<Form> {
    let mut found = template.find(graph, root)?;
    let call = (by.read)(graph, &found)?;
    found.nodes.sort_by_key(|id| place[id.index()]);
    if !is_closed(graph, root, &found.nodes) {
        return None;
    }
    Some(Form {
        recogniser: by.name,
        domain: "".into(),
        op: by.op.into(),
        opset: by.opset,
        attrs: call.attrs,
        inputs: call.inputs,
        outputs: vec![graph.node(root).output(0)?],
        nodes: found.nodes,
    })
}

/// Whether only the root's result is used outside.
fn is_closed(graph: &Graph, root: NodeId, nodes: &[NodeId]) -> bool {
    nodes.iter().filter(|&&id| id != root).all(|&id| {
        graph.node(id).outputs().iter().flatten().all(|&value| {
            let inside = graph.value(value).uses().iter().all(|u| nodes.contains(&u.node));
            inside && !graph.is_output(value)
        })
    })
}
