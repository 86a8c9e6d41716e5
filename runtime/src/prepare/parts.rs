//! Operators that are no more than a few others for which the host has fast kernels become these, which later passes
//! know. Types of what lies between them are inferred afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_graph::{Attr, DType, Function, Graph, Model, Node, NodeId, NodeSpec, Tensor, ValueId, onnx};

use super::Pass;

pub(super) const PASS: Pass =
    Pass { name: "parts", about: "writes operators out as those that have fast kernels", run };

/// Each operator as a function, one for each number of operands.
const RULES: &str = include_str!("parts.onnxtxt");

const DOMAIN: &str = "com.microsoft";
/// Those in the standard's domain, where ONNX Runtime has one of its own, too.
const OF_DEFAULT_DOMAIN: &[&str] = &["MeanVarianceNormalization", "SimplifiedLayerNormalization"];
/// Those of the rules, which are read only where one of them is met.
const OPERATORS: &[&str] = &[
    "BiasAdd",
    "BiasGelu",
    "BiasSplitGelu",
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "FastGelu",
    "Gelu",
    "MatMulIntegerToFloat",
    "MeanVarianceNormalization",
    "QAttention",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QuickGelu",
    "SimplifiedLayerNormalization",
];

fn run(graph: &mut Graph) {
    let meant: Vec<NodeId> = graph.model_order().into_iter().filter(|&id| is_meant(graph.node(id))).collect();
    if meant.is_empty() {
        return;
    }
    let rules = rules();
    for id in meant {
        let fitting = rules.functions.iter().find(|(rule, function)| {
            let node = graph.node(id);
            *rule.name == *node.op.name && fits(graph, node, function)
        });
        if let Some((_, function)) = fitting {
            write_out(graph, id, function);
        }
    }
}

fn rules() -> Model {
    onnx::from_text(RULES, None).expect("the rules are part of the program")
}

fn is_meant(node: &Node) -> bool {
    let domain = if OF_DEFAULT_DOMAIN.contains(&&*node.op.name) { "" } else { DOMAIN };
    let is_wanted = node.outputs().iter().any(Option::is_some);
    &*node.op.domain == domain && OPERATORS.contains(&&*node.op.name) && is_wanted
}

/// Whether a function has a node's operands and knows its attributes. What is computed in float32 has to come so. An
/// operand that a function does not use has to be absent.
fn fits(graph: &Graph, node: &Node, function: &Function) -> bool {
    let knows = |name: &Arc<str>| {
        function.attributes.contains(name) || function.attribute_defaults.contains_key(name)
    };
    let narrow = |value: ValueId| {
        matches!(super::dtype(graph, value), Some(DType::F32 | DType::U8 | DType::I8 | DType::I32))
    };
    let body = &function.body;
    let suits = |(given, operand): (&Option<ValueId>, &ValueId)| match given {
        Some(value) => narrow(*value) && !body.value(*operand).uses().is_empty(),
        None => body.value(*operand).uses().is_empty(),
    };
    node.inputs().len() == body.inputs().len()
        && node.outputs().len() <= body.outputs().len()
        && node.inputs().iter().zip(body.inputs()).all(suits)
        && node.attrs.keys().all(knows)
}

/// Puts a function's body in the place of a node.
fn write_out(graph: &mut Graph, id: NodeId, function: &Function) {
    let node = graph.remove_node(id);
    let body = function.with_attributes(&function.with_defaults(node.attrs.clone()));
    let given = node.inputs().iter().copied();
    let mut now: HashMap<ValueId, Option<ValueId>> = body.inputs().iter().copied().zip(given).collect();
    now.extend(body.outputs().iter().copied().zip(node.outputs().iter().copied()));
    for part in body.model_order() {
        let part = body.node(part);
        let mut copies = |graph: &mut Graph, values: &[Option<ValueId>]| -> Vec<Option<ValueId>> {
            values.iter().map(|value| copy_of(graph, &body, &mut now, (*value)?)).collect()
        };
        let (inputs, outputs) = (copies(graph, part.inputs()), copies(graph, part.outputs()));
        if let ("Constant", Some(tensor)) = (&*part.op.name, constant_of(part)) {
            outputs.into_iter().flatten().for_each(|value| graph.set_constant(value, tensor.clone()));
            continue;
        }
        let spec = NodeSpec {
            domain: part.op.domain.clone(),
            op: part.op.name.clone(),
            opset: part.opset,
            inputs,
            outputs,
            attrs: part.attrs.clone(),
            position: node.position,
            ..NodeSpec::default()
        };
        let new = graph.add_node(spec).expect("what it makes is made by nobody else");
        graph.node_mut(new).label = node.label.clone();
    }
}

/// What a node of a body makes that is a Constant.
fn constant_of(part: &Node) -> Option<Arc<Tensor>> {
    if let Some(tensor) = part.attrs.get("value").and_then(Attr::as_tensor) {
        return Some(tensor.clone());
    }
    let number = part.attrs.get("value_float").and_then(Attr::as_float)?;
    Some(Arc::new(Tensor::from_vec(&[], vec![number]).expect("one number")))
}

/// What stands for a value of a body: a new one where it is met first.
fn copy_of(
    graph: &mut Graph,
    body: &Graph,
    now: &mut HashMap<ValueId, Option<ValueId>>,
    value: ValueId,
) -> Option<ValueId> {
    *now.entry(value).or_insert_with(|| {
        let name = graph.fresh_name(&body.value(value).name);
        Some(graph.add_value(name, None).expect("the name is fresh"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_operators_of_the_rules() {
        let rules = rules();
        let mut names: Vec<&str> = rules.functions.keys().map(|id| &*id.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, OPERATORS);
        assert!(rules.functions.keys().all(|id| &*id.domain == DOMAIN));
    }
}
