//! Adding nodes to a graph in the place of another one.

use std::collections::HashMap;
use std::sync::Arc;

use super::rules::Rules;
use crate::{FunctionId, Graph, NodeId, NodeSpec, Tensor, ValueId};

/// Where new nodes stand, and how what they make is named.
pub(super) struct Place {
    pub prefix: String,
    pub position: u32,
}

/// The copy of a function's body.
pub(super) struct Copy {
    pub nodes: Vec<NodeId>,
    pub outputs: Vec<ValueId>,
}

impl Place {
    /// A value that is still to be made.
    pub fn value(&self, graph: &mut Graph, name: &str) -> ValueId {
        let name = graph.fresh_name(&format!("{}/{name}_{}", self.prefix, graph.value_bound()));
        graph.add_value(name, None).expect("the name is fresh")
    }

    pub fn add(&self, graph: &mut Graph, spec: NodeSpec) -> NodeId {
        let spec = NodeSpec { position: self.position, ..spec };
        graph.add_node(spec).expect("what it makes is made by nobody else")
    }

    pub fn copy(&self, graph: &mut Graph, from: ValueId, to: Option<ValueId>) {
        let (inputs, outputs) = (vec![Some(from)], vec![to]);
        self.add(graph, NodeSpec { op: "Identity".into(), opset: 1, inputs, outputs, ..NodeSpec::default() });
    }

    pub fn constant(&self, graph: &mut Graph, list: &[i64]) -> ValueId {
        let value = self.value(graph, "axes");
        let tensor = Tensor::from_vec(&[list.len()], list.to_vec()).expect("as many elements as its size");
        graph.set_constant(value, Arc::new(tensor));
        value
    }

    /// Writes a function's body out, its inputs being `inputs`, and what it calls of the rules likewise. Its nodes are
    /// in model order.
    pub fn write_out(
        &self,
        graph: &mut Graph,
        rules: &Rules,
        body: &Graph,
        inputs: &[Option<ValueId>],
    ) -> Copy {
        // Inputs that the call leaves out are nothing.
        let given = inputs.iter().copied().chain(std::iter::repeat(None));
        let mut now: HashMap<ValueId, Option<ValueId>> = body.inputs().iter().copied().zip(given).collect();
        let mut nodes = Vec::new();
        for id in body.model_order() {
            let node = body.node(id);
            let args: Vec<Option<ValueId>> =
                node.inputs().iter().map(|value| self.copy_of(graph, body, &mut now, (*value)?)).collect();
            if let Some(function) = rules.function(&FunctionId::of(&node.op)) {
                let inner = function.with_attributes(&function.with_defaults(node.attrs.clone()));
                let copy = self.write_out(graph, rules, &inner, &args);
                let made = node.outputs().iter().zip(copy.outputs);
                now.extend(made.filter_map(|(value, made)| Some(((*value)?, Some(made)))));
                nodes.extend(copy.nodes);
                continue;
            }
            let spec = NodeSpec {
                domain: node.op.domain.clone(),
                op: node.op.name.clone(),
                overload: node.op.overload.clone(),
                opset: node.opset,
                inputs: args,
                outputs: node
                    .outputs()
                    .iter()
                    .map(|value| self.copy_of(graph, body, &mut now, (*value)?))
                    .collect(),
                attrs: node.attrs.clone(),
                ..NodeSpec::default()
            };
            nodes.push(self.add(graph, spec));
        }
        let made = |value: &ValueId| {
            let copy = self.copy_of(graph, body, &mut now, *value);
            copy.unwrap_or_else(|| self.value(graph, &body.value(*value).name))
        };
        let outputs = body.outputs().iter().map(made).collect();
        Copy { nodes, outputs }
    }

    /// What stands for a value of a body: a new one where it is met first.
    fn copy_of(
        &self,
        graph: &mut Graph,
        body: &Graph,
        now: &mut HashMap<ValueId, Option<ValueId>>,
        value: ValueId,
    ) -> Option<ValueId> {
        *now.entry(value).or_insert_with(|| {
            let new = self.value(graph, &body.value(value).name);
            if let Some(tensor) = body.constant(value) {
                graph.set_constant(new, Arc::clone(tensor));
            }
            Some(new)
        })
    }
}
