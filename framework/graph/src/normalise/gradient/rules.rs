//! How operators pass gradients on: local functions in ONNX's textual syntax, and what these need of a node.

use std::collections::BTreeSet;

use crate::{Attr, Attributes, Function, FunctionId, Graph, Model, Node, ValueId, onnx};

/// A function `Op (a, b, y, dy) => (da, db)` says how operator `Op` passes the gradient `dy` of its result `y` on to
/// its operands. An operand called `each` stands for every one of a list, one called `first` for the first, the others
/// having no gradient. Attributes beyond the operator's own are those of [`derived`].
const RULES: &str = include_str!("rules.onnxtxt");

/// Operators of the default domain whose result does not change with small changes of their operands.
const FLAT: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "Ceil",
    "ConstantOfShape",
    "Equal",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonZero",
    "Not",
    "Or",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];

/// The domain of the functions.
pub(in crate::normalise) const DOMAIN: &str = "ai.onnx.preview.training.gradient";

pub(super) struct Rules(Model);

/// How one operator passes gradients on.
pub(super) enum Rule<'a> {
    Flat,
    All(&'a FunctionId, &'a Function),
    Each(&'a FunctionId, &'a Function),
    First(&'a FunctionId, &'a Function),
}

/// A call of a rule's function for a node. Its arguments are some operands, the axes where an attribute has them, the
/// result and the result's gradient.
pub(super) struct Call<'a> {
    pub function: &'a FunctionId,
    pub attrs: Attributes,
    pub operands: Vec<usize>,
    pub axes: Option<&'a [i64]>,
    /// For each result, the argument that it is the gradient of.
    pub gradients: Vec<usize>,
}

impl Rules {
    pub fn new() -> Rules {
        Rules(onnx::from_text(RULES, None).expect("the rules are part of the program"))
    }

    /// The function that other rules call by this name.
    pub fn helper(name: &str) -> FunctionId {
        FunctionId { domain: DOMAIN.into(), name: name.into(), overload: "".into() }
    }

    pub fn of(&self, graph: &Graph, node: &Node) -> Option<Rule<'_>> {
        if !node.op.domain.is_empty() || !node.captures().is_empty() || !is_covered(graph, node) {
            return None;
        }
        if FLAT.contains(&&*node.op.name) {
            return Some(Rule::Flat);
        }
        let operands = node.inputs().len() + usize::from(axes(node).is_some());
        let attrs = derived(node);
        let of_node = self.0.functions.iter().filter(|(id, function)| {
            id.name == node.op.name && function.attributes.iter().all(|name| attrs.contains_key(name))
        });
        of_node.into_iter().find_map(|(id, function)| match operand_name(function, 0) {
            "each" => Some(Rule::Each(id, function)),
            "first" => Some(Rule::First(id, function)),
            _ => (function.body.inputs().len() == operands + 2).then_some(Rule::All(id, function)),
        })
    }

    /// These functions and those that they call.
    pub fn with_helpers(mut self, called: &BTreeSet<FunctionId>) -> Vec<(FunctionId, Function)> {
        let (mut open, mut found) = (called.clone(), vec![]);
        while let Some(id) = open.pop_first() {
            let Some(function) = self.0.functions.shift_remove(&id) else { continue };
            let body = &function.body;
            let calls = body.node_ids().map(|id| FunctionId::of(&body.node(id).op));
            open.extend(calls.filter(|id| &*id.domain == DOMAIN));
            found.push((id, function));
        }
        found
    }
}

impl<'a> Rule<'a> {
    /// Whether operand `i` gets a gradient.
    pub fn passes_on(&self, i: usize) -> bool {
        match self {
            Rule::Flat => false,
            Rule::Each(..) => true,
            Rule::First(..) => i == 0,
            Rule::All(_, function) => gradients(function).contains(&i),
        }
    }

    /// The calls that compute the gradients of a node's operands.
    pub fn calls(&self, node: &'a Node) -> Vec<Call<'a>> {
        let (Rule::All(id, function) | Rule::Each(id, function) | Rule::First(id, function)) = *self else {
            return vec![];
        };
        let mut attrs = derived(node);
        attrs.retain(|name, _| {
            function.attributes.contains(name) || function.attribute_defaults.contains_key(name)
        });
        let (all, axes) = match self {
            Rule::All(..) => (vec![(0..node.inputs().len()).collect()], axes(node)),
            Rule::First(..) => (vec![vec![0]], None),
            _ => ((0..node.inputs().len()).map(|i| vec![i]).collect(), None),
        };
        let call = |operands: Vec<usize>| Call {
            function: id,
            attrs: attrs.clone(),
            operands,
            axes,
            gradients: gradients(function),
        };
        all.into_iter().map(call).collect()
    }
}

/// For each result of a rule, the operand that it is the gradient of: the one whose name it has behind a `d`.
fn gradients(function: &Function) -> Vec<usize> {
    let name = |id: &ValueId| &*function.body.value(*id).name;
    let operand = |result: &ValueId| {
        let wanted = name(result).strip_prefix('d');
        function.body.inputs().iter().position(|operand| Some(name(operand)) == wanted)
    };
    function.body.outputs().iter().map(|result| operand(result).expect("results are named so")).collect()
}

fn operand_name(function: &Function, i: usize) -> &str {
    &function.body.value(function.body.inputs()[i]).name
}

/// Whether the rules speak of this form of an operator: the versions before had other ones.
fn is_covered(graph: &Graph, node: &Node) -> bool {
    let rank = |i: usize| graph.value(node.input(i)?).ty.as_ref()?.shape().map(|shape| shape.len());
    match &*node.op.name {
        // Broadcasting as in NumPy came with opset 7.
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Gemm" | "Max" | "Min" | "Sum" | "Mean" => {
            node.opset >= 7 && node.inputs().iter().all(Option::is_some)
        }
        "Softmax" | "LogSoftmax" => node.opset >= 13,
        // A vector has no axes to exchange.
        "MatMul" => [0, 1].iter().all(|&i| rank(i).is_some_and(|rank| rank >= 2)),
        _ => node.inputs().iter().all(Option::is_some),
    }
}

/// The axes of a reduction, where they are an attribute.
fn axes(node: &Node) -> Option<&[i64]> {
    match node.attrs.get("axes")? {
        Attr::Ints(axes) if node.op.name.starts_with("Reduce") => Some(axes),
        _ => None,
    }
}

/// The attributes of a node and what rules need that follows from them: `count` operands, the permutation that is the
/// `inverse` of a transposition, and the sums that lead Gemm's gradient `to_a` and `to_b`.
fn derived(node: &Node) -> Attributes {
    let mut attrs = node.attrs.clone();
    attrs.insert("count".into(), Attr::Float(node.inputs().len() as f32));
    if let Some(Attr::Ints(perm)) = node.attrs.get("perm") {
        let mut inverse = vec![0; perm.len()];
        for (i, &axis) in perm.iter().enumerate() {
            if let Some(place) = usize::try_from(axis).ok().and_then(|axis| inverse.get_mut(axis)) {
                *place = i as i64;
            }
        }
        attrs.insert("inverse".into(), Attr::Ints(inverse));
    }
    let is_set = |name: &str| matches!(node.attrs.get(name), Some(Attr::Int(1..)));
    let (a, b) = (if is_set("transA") { "ki" } else { "ik" }, if is_set("transB") { "jk" } else { "kj" });
    attrs.insert("to_a".into(), Attr::Str(format!("ij,{b}->{a}").into()));
    attrs.insert("to_b".into(), Attr::Str(format!("{a},ij->{b}").into()));
    attrs
}
