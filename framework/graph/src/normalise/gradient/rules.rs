//! How operators pass gradients on: local functions in ONNX's textual syntax, and what these need of a node.

use std::collections::BTreeSet;

use crate::{Attributes, Function, FunctionId, Graph, Model, Node, ValueId, onnx};

use super::derived::{ABSENT, absent, attributes, axes};
use super::resized::{Along, Resized};

/// A function `Op (a, b, y, dy) => (da, db)` says how operator `Op` passes the gradient `dy` of its result `y` on to
/// its operands. An operand called `each` stands for every one of a list, one called `first` for the first, the others
/// having no gradient. `Op (part, rest) => (dpart, left)` cuts the gradient of one operand after the other off that of
/// the result, and `Op (before, next) => (both)` joins those of several results. `Op (along, dy) => (next)` is called for
/// one axis after the other, and passes on what the axes before have left. Operands that a node leaves out are no inputs
/// of its rule, which has an attribute for each instead: `without_1`. Attributes beyond the operator's own are those of
/// [`attributes`].
///
/// A function of the domain [`FORM`] says by what other operators, which have rules, its operator can be computed.
const RULES: &str = concat!(
    include_str!("rules/helpers.onnxtxt"),
    include_str!("rules/elementwise.onnxtxt"),
    include_str!("rules/movement.onnxtxt"),
    include_str!("rules/matrix.onnxtxt"),
    include_str!("rules/reductions.onnxtxt"),
    include_str!("rules/windows.onnxtxt"),
    include_str!("rules/resizing.onnxtxt"),
    include_str!("rules/forms.onnxtxt"),
    include_str!("rules/norms.onnxtxt"),
    include_str!("rules/losses.onnxtxt"),
);

/// Operators of the default domain whose result does not change with small changes of their operands.
const FLAT: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "Ceil",
    "ConstantOfShape",
    "Equal",
    "EyeLike",
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
    "RandomNormalLike",
    "RandomUniformLike",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];

/// The domain of the rules, and of what these share.
pub(in crate::normalise) const DOMAIN: &str = "ai.onnx.preview.training.gradient";
const FORM: &str = "ai.onnx.preview.training.form";

pub(super) struct Rules(Model);

/// How one operator passes gradients on.
pub(super) enum Rule<'a> {
    Flat,
    All(&'a FunctionId, &'a Function),
    Each(&'a FunctionId, &'a Function),
    First(&'a FunctionId, &'a Function),
    /// Cuts operands' gradients off the result's.
    Parts(&'a FunctionId, &'a Function),
    /// Joins the gradients of several results.
    Joined(&'a FunctionId, &'a Function),
    /// Passes the gradient on along one axis after the other.
    Along(&'a FunctionId, &'a Function),
}

/// A call of a rule's function for a node. Its arguments are some operands, the axes where an attribute has them, the
/// result and the result's gradient.
pub(super) struct Call<'a> {
    pub function: &'a FunctionId,
    pub attrs: Attributes,
    pub operands: Vec<usize>,
    pub axes: Option<&'a [i64]>,
    /// For each result, the argument that it is the gradient of, if it is one.
    pub gradients: Vec<Option<usize>>,
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
        if !is_covered(node) {
            return None;
        }
        if is_flat(node) {
            return Some(Rule::Flat);
        }
        self.fitting(graph, node, DOMAIN).find_map(|(id, function)| match operand_name(function, 0) {
            "each" => Some(Rule::Each(id, function)),
            "first" => Some(Rule::First(id, function)),
            "part" => Some(Rule::Parts(id, function)),
            "before" => Some(Rule::Joined(id, function)),
            "along" => Some(Rule::Along(id, function)),
            _ => (function.body.inputs().len() == operands(node) + 2).then_some(Rule::All(id, function)),
        })
    }

    /// The operators that a node can be computed by instead.
    pub fn form(&self, graph: &Graph, node: &Node) -> Option<&Function> {
        if !is_covered(node) {
            return None;
        }
        if absent(node).next().is_some() {
            return None;
        }
        let mut fitting = self.fitting(graph, node, FORM);
        fitting.find(|(_, function)| function.body.inputs().len() == operands(node)).map(|found| found.1)
    }

    /// The functions that speak of a node's operator, as far as attributes tell.
    fn fitting<'a>(
        &'a self,
        graph: &Graph,
        node: &Node,
        domain: &'static str,
    ) -> impl Iterator<Item = (&'a FunctionId, &'a Function)> {
        let (attrs, name) = (attributes(graph, node), node.op.name.clone());
        self.0.functions.iter().filter(move |(id, function)| {
            *id.domain == *domain
                && id.name == name
                && function.attributes.iter().all(|name| attrs.contains_key(name))
                && (attrs.keys().all(|name| !name.starts_with(ABSENT) || function.attributes.contains(name))
                    // It is called with those that it speaks of.
                    || operand_name(function, 0) == "along")
        })
    }

    /// A function by its name.
    pub fn function(&self, id: &FunctionId) -> Option<&Function> {
        self.0.functions.get(id)
    }

    /// The operators of the default domain that gradients are passed on by.
    pub fn operators(&self) -> BTreeSet<&str> {
        let named = self.0.functions.keys().map(|id| &*id.name);
        named.chain(FLAT.iter().copied()).filter(|name| crate::schema::exists("", name)).collect()
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
    /// Whether operand `i`, of those that are there, gets a gradient.
    pub fn passes_on(&self, i: usize) -> bool {
        match self {
            Rule::Flat => false,
            Rule::Each(..) | Rule::Parts(..) => true,
            Rule::First(..) | Rule::Joined(..) | Rule::Along(..) => i == 0,
            Rule::All(_, function) => gradients(function).contains(&Some(i)),
        }
    }

    /// Whether it knows of more results than the first.
    pub fn takes_all_results(&self) -> bool {
        matches!(self, Rule::Flat | Rule::Joined(..))
    }

    fn function(&self) -> Option<(&'a FunctionId, &'a Function)> {
        match *self {
            Rule::Flat => None,
            Rule::All(id, f)
            | Rule::Each(id, f)
            | Rule::First(id, f)
            | Rule::Parts(id, f)
            | Rule::Joined(id, f)
            | Rule::Along(id, f) => Some((id, f)),
        }
    }

    /// The calls that compute the gradients of a node's operands.
    pub fn calls(&self, graph: &Graph, node: &'a Node) -> Vec<Call<'a>> {
        let Some((id, function)) = self.function() else { return vec![] };
        let mut attrs = attributes(graph, node);
        attrs.retain(|name, _| {
            function.attributes.contains(name) || function.attribute_defaults.contains_key(name)
        });
        let every = (0..node.inputs().len()).filter(|&i| node.input(i).is_some());
        if let (Rule::Along(..), Some(resized)) = (self, Resized::of(graph, node)) {
            let operands: Vec<usize> = std::iter::once(0).chain(resized.scales).collect();
            let along = |along: Along| {
                let mut attrs = attrs.clone();
                attrs.extend(along.attributes().map(|(name, attr)| (name.into(), attr)));
                attrs.retain(|name, _| function.attributes.contains(name));
                Call { function: id, attrs, operands: operands.clone(), axes: None, gradients: vec![] }
            };
            return resized.axes.into_iter().map(along).collect();
        }
        let (all, axes) = match self {
            Rule::All(..) => (vec![every.collect()], axes(node)),
            Rule::Each(..) | Rule::Parts(..) => (every.map(|i| vec![i]).collect(), None),
            _ => (vec![vec![0]], None),
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
fn gradients(function: &Function) -> Vec<Option<usize>> {
    let name = |id: &ValueId| &*function.body.value(*id).name;
    let operand = |result: &ValueId| {
        let wanted = name(result).strip_prefix('d');
        function.body.inputs().iter().position(|operand| Some(name(operand)) == wanted)
    };
    function.body.outputs().iter().map(operand).collect()
}

fn operand_name(function: &Function, i: usize) -> &str {
    &function.body.value(function.body.inputs()[i]).name
}

/// How many operands rules see of a node.
fn operands(node: &Node) -> usize {
    node.inputs().iter().flatten().count() + usize::from(axes(node).is_some())
}

/// Whether a node's results do not change with small changes of its operands.
pub(super) fn is_flat(node: &Node) -> bool {
    node.op.domain.is_empty() && FLAT.contains(&&*node.op.name)
}

/// Whether the rules speak of this form of an operator: older versions had other ones.
fn is_covered(node: &Node) -> bool {
    let flag = |name: &str| matches!(node.attrs.get(name), Some(crate::Attr::Int(1..)));
    let suits = match &*node.op.name {
        // Broadcasting as in NumPy came with opset 7.
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Gemm" | "Max" | "Min" | "Sum" | "Mean" | "PRelu" => {
            node.opset >= 7
        }
        "BatchNormalization" => {
            let results = node.outputs().iter().flatten().count();
            node.opset >= 9 && results == 1 && !flag("training_mode")
        }
        // Before, there was a scale for each group.
        "GroupNormalization" => node.opset >= 21,
        // The third operand asks for training.
        "Dropout" => node.opset >= 7 && node.inputs().len() < 3,
        "TopK" => node.opset >= 10,
        "Split" => !node.outputs().is_empty() && node.outputs().iter().all(Option::is_some),
        _ => true,
    };
    let plain = node.op.domain.is_empty() && node.captures().is_empty();
    plain && suits
}
