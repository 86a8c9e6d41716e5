//! A Gradient node becomes the nodes that compute it, so that hosts and vendors need to know nothing of it.
//!
//! Reverse mode: from `y` back to the tensors named in `xs`, every operator on the way passes the gradient of its
//! result on to its operands. Tensors named in `xs` and `zs` are where the way ends; where the node is given other
//! values for them than the graph's own, the way is computed anew from these. `y` counts with the sum of its elements.
//! An operator without a rule that others can compute, as a call of a function, is written out beside itself, and so a
//! Gradient may be taken of what another one has become. A node stays as it is where an operator on the way has
//! neither, and its metadata tell which.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::{
    Attr, Attributes, Function, FunctionId, Graph, Metadata, Model, Node, NodeId, NodeSpec, ValueId,
};

mod derived;
mod place;
mod resized;
mod rules;
mod way;

use super::{Context, Pass, STAYS, Why};
use place::Place;
pub(super) use rules::DOMAIN;
use rules::{Call, Rule, Rules};
use way::{Library, Step, Way};

pub(super) const PASS: Pass =
    Pass { name: "gradient", about: "Gradient becomes the nodes that compute it", run };

fn is_gradient(node: &Node) -> bool {
    &*node.op.domain == "ai.onnx.preview.training" && &*node.op.name == "Gradient"
}

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    let found: Vec<NodeId> =
        graph.model_order().into_iter().filter(|&id| is_gradient(graph.node(id))).collect();
    if found.is_empty() {
        return;
    }
    let rules = Rules::new();
    let functions = context.functions.clone();
    let library = Library { rules: &rules, functions: &functions };
    for id in found {
        let place = Place::of(graph, id);
        let mut trial = graph.clone();
        let way = match Way::find(&mut trial, id, &library, &place) {
            Ok(way) => way,
            Err(obstacle) => {
                note(&mut graph.node_mut(id).metadata, obstacle.to_string());
                continue;
            }
        };
        *graph = trial;
        let results: Vec<Option<ValueId>> = graph.node(id).outputs().to_vec();
        context.remove(graph, id, Why::Differentiated);
        let gradients = Sweep { graph, rules: &rules, place: &place, called: &mut context.called }.run(way);
        for (result, gradient) in results.into_iter().zip(gradients) {
            place.copy(graph, gradient, result);
        }
    }
}

/// Notes why a node stays as it is. What is known from before holds: by now the node's `y` may be gone.
fn note(metadata: &mut Metadata, why: String) {
    if !metadata.iter().any(|(key, _)| key == STAYS) {
        metadata.push((STAYS.into(), why));
    }
}

/// The model's functions, for Gradients that look into calls of them; none where there is no Gradient.
pub(super) fn functions_of(model: &Model) -> Arc<IndexMap<FunctionId, Function>> {
    let mut any = false;
    model.for_each_graph(&mut |_, graph| any |= graph.node_ids().any(|id| is_gradient(graph.node(id))));
    Arc::new(if any { model.functions.clone() } else { IndexMap::new() })
}

/// The operators of the default domain that may lie between a Gradient's `xs` and its `y`, in order of their names.
pub fn operators() -> Vec<String> {
    Rules::new().operators().into_iter().map(str::to_owned).collect()
}

/// The functions that the pass made calls of, and those that these call.
pub(super) fn functions(called: &BTreeSet<FunctionId>) -> Vec<(FunctionId, Function)> {
    Rules::new().with_helpers(called)
}

impl Place {
    fn of(graph: &Graph, id: NodeId) -> Place {
        Place { prefix: graph.node(id).label.to_string(), position: graph.node(id).position }
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
        for step in way.steps.iter().rev() {
            let passed = match *step {
                Step::Same(old, new) => gradients.get(&old).map(|&g| (new, g)).into_iter().collect(),
                Step::Node { asked: false, .. } => continue,
                Step::Node { own, now, .. } => {
                    let node = self.graph.node(now).clone();
                    let of_result = |value: &Option<ValueId>| gradients.get(&(*value)?).copied();
                    let given: Vec<Option<ValueId>> = node.outputs().iter().map(of_result).collect();
                    if given.iter().all(Option::is_none) {
                        continue;
                    }
                    self.pass_on(own, &node, &given)
                }
            };
            for (operand, gradient) in passed {
                let sum = match gradients.get(&operand) {
                    Some(&before) => self.helper("Plus", &[before, gradient]),
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

    /// The gradients that a node's operands get, by operand; `given` are those of its results. The types of its
    /// operands are those of `own`'s.
    fn pass_on(&mut self, own: NodeId, node: &Node, given: &[Option<ValueId>]) -> Vec<(ValueId, ValueId)> {
        let rules = self.rules;
        let own = self.graph.node(own).clone();
        let rule = rules.of(self.graph, &own).expect("looked for before");
        let calls = rule.calls(self.graph, &own);
        let mut gradients = Vec::new();
        match (rule, node.output(0)) {
            (Rule::Joined(..), _) => {
                let results: Vec<ValueId> = node.outputs().iter().flatten().copied().collect();
                let all = results.iter().zip(given).map(|(&y, dy)| dy.unwrap_or_else(|| self.filled(y, 0.0)));
                let all: Vec<ValueId> = all.collect();
                let join = |sum: ValueId, next: &ValueId| {
                    self.call(calls[0].function, calls[0].attrs.clone(), &[sum, *next], 1)[0]
                };
                let whole = all[1..].iter().fold(all[0], join);
                gradients.extend(node.input(0).map(|x| (x, whole)));
            }
            (Rule::Along(..), _) => {
                let Some(dy) = given[0] else { return gradients };
                let pass = |rest: ValueId, call: Call<'_>| {
                    let operands = call.operands.iter().filter_map(|&i| node.input(i));
                    let args: Vec<ValueId> = operands.chain([rest]).collect();
                    self.call(call.function, call.attrs, &args, 1)[0]
                };
                let dx = calls.into_iter().fold(dy, pass);
                gradients.extend(node.input(0).map(|x| (x, dx)));
            }
            (Rule::Parts(..), _) => {
                let mut rest = given[0];
                for call in calls {
                    let (Some(part), Some(dy)) = (node.input(call.operands[0]), rest) else { continue };
                    let results = self.call(call.function, call.attrs, &[part, dy], 2);
                    gradients.push((part, results[0]));
                    rest = Some(results[1]);
                }
            }
            (_, Some(y)) => {
                let Some(dy) = given[0] else { return gradients };
                for call in calls {
                    let mut args: Vec<ValueId> =
                        call.operands.iter().filter_map(|&i| node.input(i)).collect();
                    args.extend(call.axes.map(|axes| self.place.constant(self.graph, axes)));
                    args.extend([y, dy]);
                    let results = self.call(call.function, call.attrs, &args, call.gradients.len());
                    let of = call.gradients.iter().zip(results);
                    gradients.extend(of.filter_map(|(operand, result)| Some((args[(*operand)?], result))));
                }
            }
            _ => {}
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

    fn helper(&mut self, name: &str, args: &[ValueId]) -> ValueId {
        self.call(&Rules::helper(name), Attributes::new(), args, 1)[0]
    }

    /// A tensor like `x` that holds one number.
    fn filled(&mut self, x: ValueId, number: f32) -> ValueId {
        let attrs = Attributes::from_iter([("value".into(), Attr::Float(number))]);
        self.call(&Rules::helper("Filled"), attrs, &[x], 1)[0]
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
        for step in &mut way.steps {
            match step {
                Step::Node { now: id, .. } => *id = self.repeat(*id, &mut now),
                // What used the first value uses the second one's copy from here on.
                Step::Same(old, new) => {
                    let copy = now.get(new).copied().unwrap_or(*new);
                    now.entry(*old).or_insert(copy);
                }
            }
        }
        way.y = now.get(&way.y).copied().unwrap_or(way.y);
    }

    /// Adds a copy of a node that uses and makes the values of now.
    fn repeat(&mut self, id: NodeId, now: &mut HashMap<ValueId, ValueId>) -> NodeId {
        let node = self.graph.node(id).clone();
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
        let copy = self.place.add(self.graph, spec);
        for (old, new) in node.outputs().iter().zip(outputs) {
            // A leaf stays what is given for it, though a node on the way makes it.
            if let (Some(old), Some(new)) = (*old, new) {
                now.entry(old).or_insert(new);
            }
        }
        copy
    }
}
