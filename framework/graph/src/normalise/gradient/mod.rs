//! A Gradient node becomes the nodes that compute it, so that hosts and vendors need to know nothing of it.
//!
//! Reverse mode: from `y` back to the tensors named in `xs`, every operator on the way passes the gradient of its
//! result on to its operands. Tensors named in `xs` and `zs` are where the way ends; where the node is given other
//! values for them than the graph's own, the way is computed anew from these. `y` counts with the sum of its elements.
//! A node stays as it is where an operator on the way has no rule.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::{Attr, Attributes, Function, FunctionId, Graph, Node, NodeId, NodeSpec, Tensor, ValueId};

mod rules;

use super::{Context, Pass, Why};
pub(super) use rules::DOMAIN;
use rules::Rules;

pub(super) const PASS: Pass =
    Pass { name: "gradient", about: "Gradient becomes the nodes that compute it", run };

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    let is_gradient =
        |node: &Node| &*node.op.domain == "ai.onnx.preview.training" && &*node.op.name == "Gradient";
    let found: Vec<NodeId> =
        graph.model_order().into_iter().filter(|&id| is_gradient(graph.node(id))).collect();
    if found.is_empty() {
        return;
    }
    let rules = Rules::new();
    for id in found {
        let Some(way) = Way::find(graph, id, &rules) else { continue };
        let results: Vec<Option<ValueId>> = graph.node(id).outputs().to_vec();
        let place = Place { prefix: graph.node(id).label.to_string(), position: graph.node(id).position };
        context.remove(graph, id, Why::Differentiated);
        let gradients = Sweep { graph, rules: &rules, place: &place, called: &mut context.called }.run(way);
        for (result, gradient) in results.into_iter().zip(gradients) {
            place.copy(graph, gradient, result);
        }
    }
}

/// The functions that the pass made calls of, and those that these call.
pub(super) fn functions(called: &BTreeSet<FunctionId>) -> Vec<(FunctionId, Function)> {
    Rules::new().with_helpers(called)
}

/// What lies between the leaves and `y`.
struct Way {
    /// The graph's tensors named in `xs`, then those in `zs`.
    leaves: Vec<ValueId>,
    /// What the node is given for them.
    given: Vec<ValueId>,
    /// How many of them are asked for.
    wanted: usize,
    y: ValueId,
    /// Nodes that depend on a leaf and that `y` depends on, in model order.
    nodes: Vec<NodeId>,
}

impl Way {
    /// `None` where the node does not fit the graph around it, or an operator has no rule.
    fn find(graph: &Graph, id: NodeId, rules: &Rules) -> Option<Way> {
        let node = graph.node(id);
        let names = |attr: &str| node.attrs.get(attr).map_or(Some(vec![]), strings);
        let (xs, zs) = (names("xs")?, names("zs")?);
        let named = |name: &String| graph.value_by_name(name);
        let leaves: Vec<ValueId> = xs.iter().chain(&zs).map(named).collect::<Option<_>>()?;
        let given: Vec<ValueId> = node.inputs().iter().copied().collect::<Option<_>>()?;
        let Attr::Str(y) = node.attrs.get("y")? else { return None };
        let y = graph.value_by_name(std::str::from_utf8(y).ok()?)?;
        if given.len() != leaves.len() || node.outputs().len() > xs.len() {
            return None;
        }
        let before = behind(graph, y, &leaves);
        if before.contains(&id) {
            return None;
        }
        let mut active: HashSet<ValueId> = leaves.iter().copied().collect();
        let mut nodes = Vec::new();
        for id in graph.model_order() {
            if before.contains(&id) && graph.node(id).dependencies().any(|value| active.contains(&value)) {
                active.extend(graph.node(id).outputs().iter().flatten());
                nodes.push(id);
            }
        }
        let way = Way { leaves, given, wanted: xs.len(), y, nodes };
        way.has_rules(graph, rules, &active).then_some(way)
    }

    fn has_rules(&self, graph: &Graph, rules: &Rules, active: &HashSet<ValueId>) -> bool {
        let mut asked = HashSet::from([self.y]);
        for &id in self.nodes.iter().rev() {
            let node = graph.node(id);
            if !node.outputs().iter().flatten().any(|value| asked.contains(value)) {
                continue;
            }
            // Rules know of one result.
            let others = node.outputs().iter().skip(1).flatten().any(|value| asked.contains(value));
            match rules.of(graph, node) {
                Some(rule) if !others => {
                    let passed = (0..node.inputs().len()).filter(|&i| rule.passes_on(i));
                    asked.extend(passed.filter_map(|i| node.input(i)).filter(|value| active.contains(value)));
                }
                _ => return false,
            }
        }
        true
    }
}

fn strings(attr: &Attr) -> Option<Vec<String>> {
    let Attr::Strs(list) = attr else { return None };
    list.iter().map(|s| String::from_utf8(s.to_vec()).ok()).collect()
}

/// The nodes that a value depends on, not looking behind the leaves.
fn behind(graph: &Graph, value: ValueId, leaves: &[ValueId]) -> HashSet<NodeId> {
    let (mut found, mut open) = (HashSet::new(), vec![value]);
    while let Some(value) = open.pop() {
        let producer = graph.value(value).producer().filter(|_| !leaves.contains(&value));
        if let Some((id, _)) = producer
            && found.insert(id)
        {
            open.extend(graph.node(id).dependencies());
        }
    }
    found
}

/// Where new nodes stand, and how what they make is named.
struct Place {
    prefix: String,
    position: u32,
}

impl Place {
    /// A value that is still to be made.
    fn value(&self, graph: &mut Graph, name: &str) -> ValueId {
        let name = graph.fresh_name(&format!("{}/{name}_{}", self.prefix, graph.value_bound()));
        graph.add_value(name, None).expect("the name is fresh")
    }

    fn add(&self, graph: &mut Graph, spec: NodeSpec) -> NodeId {
        let spec = NodeSpec { position: self.position, ..spec };
        graph.add_node(spec).expect("what it makes is made by nobody else")
    }

    fn copy(&self, graph: &mut Graph, from: ValueId, to: Option<ValueId>) {
        let (inputs, outputs) = (vec![Some(from)], vec![to]);
        self.add(graph, NodeSpec { op: "Identity".into(), opset: 1, inputs, outputs, ..NodeSpec::default() });
    }
}

struct Sweep<'a> {
    graph: &'a mut Graph,
    rules: &'a Rules,
    place: &'a Place,
    called: &'a mut BTreeSet<FunctionId>,
}

impl Sweep<'_> {
    /// The gradients of what is asked for.
    fn run(mut self, mut way: Way) -> Vec<ValueId> {
        if way.given != way.leaves {
            self.compute_anew(&mut way);
        }
        let one = self.filled(way.y, 1.0);
        let mut gradients = HashMap::from([(way.y, one)]);
        for &id in way.nodes.iter().rev() {
            let node = self.graph.node(id).clone();
            let Some(&dy) = node.output(0).and_then(|y| gradients.get(&y)) else { continue };
            for (operand, gradient) in self.pass_on(&node, dy) {
                let sum = match gradients.get(&operand) {
                    Some(&before) => {
                        self.call(&Rules::helper("Plus"), Attributes::new(), &[before, gradient], 1)[0]
                    }
                    None => gradient,
                };
                gradients.insert(operand, sum);
            }
        }
        let wanted = way.given[..way.wanted].to_vec();
        wanted
            .into_iter()
            .map(|x| gradients.get(&x).copied().unwrap_or_else(|| self.filled(x, 0.0)))
            .collect()
    }

    /// The gradients that a node's operands get, by operand.
    fn pass_on(&mut self, node: &Node, dy: ValueId) -> Vec<(ValueId, ValueId)> {
        let rules = self.rules;
        let rule = rules.of(self.graph, node).expect("looked for before");
        let y = node.output(0).expect("it has a gradient");
        let mut gradients = Vec::new();
        for call in rule.calls(node) {
            let mut args: Vec<ValueId> = call.operands.iter().filter_map(|&i| node.input(i)).collect();
            args.extend(call.axes.map(|axes| self.constant(axes)));
            args.extend([y, dy]);
            let results = self.call(call.function, call.attrs, &args, call.gradients.len());
            gradients.extend(call.gradients.iter().map(|&k| args[k]).zip(results));
        }
        gradients
    }

    /// Adds a call of a rule's function.
    fn call(&mut self, id: &FunctionId, attrs: Attributes, args: &[ValueId], results: usize) -> Vec<ValueId> {
        self.called.insert(id.clone());
        let made: Vec<ValueId> = (0..results).map(|_| self.place.value(self.graph, &id.name)).collect();
        let spec = NodeSpec {
            domain: id.domain.clone(),
            op: id.name.clone(),
            overload: id.overload.clone(),
            opset: 1,
            inputs: args.iter().copied().map(Some).collect(),
            outputs: made.iter().copied().map(Some).collect(),
            attrs,
            ..NodeSpec::default()
        };
        self.place.add(self.graph, spec);
        made
    }

    /// A tensor like `x` that holds one number.
    fn filled(&mut self, x: ValueId, number: f32) -> ValueId {
        let attrs = Attributes::from_iter([("value".into(), Attr::Float(number))]);
        self.call(&Rules::helper("Filled"), attrs, &[x], 1)[0]
    }

    fn constant(&mut self, list: &[i64]) -> ValueId {
        let value = self.place.value(self.graph, "axes");
        let tensor = Tensor::from_vec(&[list.len()], list.to_vec()).expect("as many elements as its size");
        self.graph.set_constant(value, Arc::new(tensor));
        value
    }

    /// Repeats the way's nodes on the values that the node is given.
    fn compute_anew(&mut self, way: &mut Way) {
        let mut now: HashMap<ValueId, ValueId> = HashMap::new();
        // Each leaf has a value of its own, though the same one may be given for two.
        for (leaf, given) in way.leaves.iter().zip(&mut way.given) {
            let copy = self.place.value(self.graph, "given");
            self.place.copy(self.graph, *given, Some(copy));
            *given = copy;
            now.insert(*leaf, copy);
        }
        for id in &mut way.nodes {
            let node = self.graph.node(*id).clone();
            let anew = |sweep: &mut Self, value: ValueId| {
                let name = sweep.graph.value(value).name.clone();
                sweep.place.value(sweep.graph, &name)
            };
            let outputs: Vec<Option<ValueId>> =
                node.outputs().iter().map(|value| value.map(|value| anew(self, value))).collect();
            let at = |value: &ValueId| now.get(value).copied().unwrap_or(*value);
            let spec = NodeSpec {
                domain: node.op.domain.clone(),
                op: node.op.name.clone(),
                overload: node.op.overload.clone(),
                opset: node.opset,
                inputs: node.inputs().iter().map(|value| value.as_ref().map(at)).collect(),
                outputs: outputs.clone(),
                attrs: node.attrs.clone(),
                ..NodeSpec::default()
            };
            *id = self.place.add(self.graph, spec);
            for (old, new) in node.outputs().iter().zip(outputs) {
                // A leaf stays what is given for it, though a node on the way makes it.
                if let (Some(old), Some(new)) = (*old, new) {
                    now.entry(old).or_insert(new);
                }
            }
        }
        way.y = now.get(&way.y).copied().unwrap_or(way.y);
    }
}
