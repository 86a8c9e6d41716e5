//! Graphs of several generated models: values that fit are joined, some of them across an operator of the host.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Datum, Graph, Model, NodeSpec, Type, ValueId};

use super::Made;
use crate::random::Rng;

/// Operators that stand between parts, for any numbers.
const BETWEEN: [&str; 3] = ["Abs", "Neg", "Identity"];

/// One graph of all parts, in their order; `None` where they do not go together.
pub fn compose(parts: &[Made], seed: u64) -> Option<(Model, Vec<(String, Datum)>)> {
    let first = parts.first()?;
    let mut whole =
        Whole { graph: Graph::new("generated"), inputs: Vec::new(), made: Vec::new(), position: 0 };
    let mut opsets = first.model.opsets.clone();
    let mut rng = Rng::new(seed);
    for (index, part) in parts.iter().enumerate() {
        for (domain, version) in &part.model.opsets {
            if *opsets.entry(domain.clone()).or_insert(*version) != *version {
                return None;
            }
        }
        whole.add(index, part, &mut rng)?;
    }
    let Whole { mut graph, inputs, made, .. } = whole;
    let outputs: Vec<ValueId> = made.into_iter().filter(|v| graph.value(*v).uses().is_empty()).collect();
    graph.set_outputs(outputs);
    graph.assign_labels();
    let ir_version = parts.iter().map(|p| p.model.ir_version).max()?;
    let mut model = Model { graph, opsets, ir_version, producer_name: "byoc".into(), ..Model::default() };
    infer(&mut model, &InferOptions::default()).ok()?;
    Some((model, inputs))
}

struct Whole {
    graph: Graph,
    inputs: Vec<(String, Datum)>,
    /// Values that nodes make, which later parts may take.
    made: Vec<ValueId>,
    position: u32,
}

impl Whole {
    fn add(&mut self, index: usize, part: &Made, rng: &mut Rng) -> Option<()> {
        let from = &part.model.graph;
        let mut values: HashMap<ValueId, ValueId> = HashMap::new();
        for (id, value) in from.values() {
            let name = format!("p{index}.{}", value.name);
            let new = match from.constant(id) {
                Some(constant) => self.graph.add_constant(name, Arc::clone(constant)).ok()?,
                None if from.inputs().contains(&id) => {
                    self.input(&name, value.ty.as_ref()?, part, &value.name, rng)?
                }
                None => self.graph.add_value(name, value.ty.clone()).ok()?,
            };
            values.insert(id, new);
        }
        for id in from.model_order() {
            let node = from.node(id);
            let outputs: Vec<Option<ValueId>> =
                node.outputs().iter().map(|v| v.map(|v| values[&v])).collect();
            self.made.extend(outputs.iter().flatten());
            self.position += 1;
            self.graph
                .add_node(NodeSpec {
                    name: format!("p{index}.{}", node.name).into(),
                    domain: node.op.domain.clone(),
                    op: node.op.name.clone(),
                    opset: node.opset,
                    inputs: node.inputs().iter().map(|v| v.map(|v| values[&v])).collect(),
                    outputs,
                    attrs: node.attrs.clone(),
                    position: self.position,
                    ..NodeSpec::default()
                })
                .ok()?;
        }
        Some(())
    }

    /// An input of a part: something of its type that was made before, or an input of the whole.
    fn input(&mut self, name: &str, ty: &Type, part: &Made, own: &str, rng: &mut Rng) -> Option<ValueId> {
        let fitting: Vec<ValueId> =
            self.made.iter().copied().filter(|v| self.graph.value(*v).ty.as_ref() == Some(ty)).collect();
        if !fitting.is_empty() && rng.range(0, 4) > 0 {
            let value = fitting[rng.range(0, fitting.len() as i64) as usize];
            return if rng.range(0, 3) == 0 { self.between(name, value, part, rng) } else { Some(value) };
        }
        let (_, datum) = part.inputs.iter().find(|(n, _)| n == own)?;
        self.inputs.push((name.to_owned(), datum.clone()));
        self.graph.add_input(name, Some(ty.clone())).ok()
    }

    /// A value behind an operator that keeps its type.
    fn between(&mut self, name: &str, value: ValueId, part: &Made, rng: &mut Rng) -> Option<ValueId> {
        let ty = self.graph.value(value).ty.clone();
        let is_signed = ty.as_ref().and_then(Type::dtype).is_some_and(|t| t.is_float());
        let op = if is_signed { BETWEEN[rng.range(0, BETWEEN.len() as i64) as usize] } else { "Identity" };
        let output = self.graph.add_value(name, ty).ok()?;
        self.position += 1;
        let opset = part.model.opset("")?;
        let spec = NodeSpec {
            name: format!("{name}.between").into(),
            op: op.into(),
            opset,
            inputs: vec![Some(value)],
            outputs: vec![Some(output)],
            position: self.position,
            ..NodeSpec::default()
        };
        self.graph.add_node(spec).ok()?;
        self.made.push(output);
        Some(output)
    }
}
