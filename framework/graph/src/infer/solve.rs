//! Runs the rules over a graph, its bodies and the functions it calls.
//!
//! Nothing is written into the graph here: facts gather in tables beside it, so that a loop's body can
//! be looked at again with weaker assumptions, and a function once for each way it is called.

use std::sync::Arc;

use indexmap::IndexMap;

use super::call::{Call, Fact, Stop};
use super::content::Content;
use super::merge::{combine, without_negative};
use super::{Warning, rules};
use crate::schema::{self, OpSchema};
use crate::{
    Attr, Attributes, DType, Function, FunctionId, Graph, Node, NodeId, Origin, TensorType, Type, ValueId,
};

/// How deep bodies and function calls may nest.
const MAX_DEPTH: u32 = 64;
/// Nodes visited at most, counting each visit to a body or function: beyond it, types stay unknown.
const MAX_VISITS: usize = 500_000;
/// Warnings kept at most.
const MAX_WARNINGS: usize = 1000;
/// Ways of calling a function that are remembered at most.
const MAX_CALLS: usize = 64;

/// A graph under inference.
pub struct Frame<'a> {
    pub path: &'a str,
    graph: &'a Graph,
    facts: &'a [Fact],
    outer: Option<&'a Frame<'a>>,
    /// Attributes of the function call that the graph is the body of.
    pub attrs: Option<&'a Attributes>,
}

impl<'a> Frame<'a> {
    pub fn attr(&self, name: &str) -> Option<&'a Attr> {
        self.attrs?.get(name)
    }

    /// What is known of a value by its name, here or in the graphs around.
    fn by_name(&self, name: &str) -> Option<Fact> {
        match self.graph.value_by_name(name) {
            Some(id) => Some(self.facts[id.index()].clone()),
            None => self.outer?.by_name(name),
        }
    }
}

/// All that was found out about a graph.
pub struct Solved {
    facts: Vec<Fact>,
    bodies: Vec<(NodeId, Arc<str>, usize, Solved)>,
}

impl Solved {
    pub fn outputs(&self, graph: &Graph) -> Vec<Fact> {
        graph.outputs().iter().map(|id| self.facts[id.index()].clone()).collect()
    }

    pub fn fact(&self, value: ValueId) -> &Fact {
        &self.facts[value.index()]
    }

    /// What was found out about a node's bodies, by attribute and index.
    pub fn bodies(&self, node: NodeId) -> impl Iterator<Item = (&str, usize, &Solved)> {
        let own = self.bodies.iter().filter(move |(id, ..)| *id == node);
        own.map(|(_, attr, index, solved)| (&**attr, *index, solved))
    }

    /// Writes the types into the graph and its bodies.
    pub fn commit(self, graph: &mut Graph) {
        let ids: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        let mut facts = self.facts;
        for id in ids {
            graph.value_mut(id).ty = facts[id.index()].ty.take();
        }
        for (node, attr, index, solved) in self.bodies {
            let attr = graph.node_mut(node).attrs.get_mut(&attr);
            if let Some(body) = attr.and_then(|attr| attr.graphs_mut().get_mut(index)) {
                solved.commit(body);
            }
        }
    }
}

pub struct Solver<'m> {
    functions: &'m IndexMap<FunctionId, Function>,
    /// Results of function calls, by function, then by what it was called with.
    calls: IndexMap<&'m FunctionId, Vec<(CallKey, Vec<Fact>)>>,
    pub warnings: Vec<Warning>,
    depth: u32,
    visits: usize,
}

#[derive(PartialEq)]
struct CallKey {
    inputs: Vec<Fact>,
    attrs: Attributes,
}

impl<'m> Solver<'m> {
    pub fn new(functions: &'m IndexMap<FunctionId, Function>) -> Solver<'m> {
        Solver { functions, calls: IndexMap::new(), warnings: Vec::new(), depth: 0, visits: 0 }
    }

    /// Infers a graph. `inputs` are what is known of its inputs beyond what it declares itself.
    pub fn solve(
        &mut self,
        path: &str,
        graph: &Graph,
        inputs: &[Fact],
        outer: Option<&Frame<'_>>,
        attrs: Option<&Attributes>,
    ) -> Result<Solved, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Invalid("bodies or function calls nest too deep".to_owned()));
        }
        let order = graph.try_model_order().map_err(|error| Stop::Invalid(error.to_string()))?;
        self.depth += 1;
        let mut solved = Solved { facts: self.initial_facts(path, graph, inputs, outer), bodies: Vec::new() };
        for id in order {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                break;
            }
            self.visit(path, graph, id, &mut solved, outer, attrs);
        }
        self.depth -= 1;
        Ok(solved)
    }

    fn initial_facts(
        &mut self,
        path: &str,
        graph: &Graph,
        inputs: &[Fact],
        outer: Option<&Frame<'_>>,
    ) -> Vec<Fact> {
        let mut facts = vec![Fact::default(); graph.value_bound()];
        for (id, value) in graph.values() {
            let fact = &mut facts[id.index()];
            fact.ty = value.ty.as_ref().map(without_negative);
            if let Origin::Captured = value.origin()
                && let Some(captured) = outer.and_then(|outer| outer.by_name(&value.name))
            {
                *fact = self.declared_and(path, &value.name, value.ty.as_ref(), captured);
            }
            if let Some(tensor) = graph.constant(id) {
                *fact = Fact { ty: Some(tensor.ty().into()), content: Content::of_tensor(tensor) };
            }
        }
        for (&id, given) in graph.inputs().iter().zip(inputs) {
            let value = graph.value(id);
            facts[id.index()] = self.declared_and(path, &value.name, value.ty.as_ref(), given.clone());
        }
        facts
    }

    /// Merges what was found out about a value with its declared type.
    fn declared_and(&mut self, path: &str, name: &Arc<str>, declared: Option<&Type>, mut fact: Fact) -> Fact {
        let Some(declared) = declared.map(without_negative) else { return fact };
        let Some(inferred) = &fact.ty else {
            fact.ty = Some(declared);
            return fact;
        };
        let (merged, contradicts) = combine(&declared, inferred);
        if contradicts {
            self.warn(Warning::Declared {
                graph: path.to_owned(),
                value: name.to_string(),
                declared: declared.to_string(),
                inferred: inferred.to_string(),
            });
        }
        fact.ty = Some(merged);
        fact
    }

    fn warn(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn visit(
        &mut self,
        path: &str,
        graph: &Graph,
        id: NodeId,
        solved: &mut Solved,
        outer: Option<&Frame<'_>>,
        attrs: Option<&Attributes>,
    ) {
        let node = graph.node(id);
        let inputs = node.inputs().iter().map(|value| value.map(|v| solved.facts[v.index()].clone()));
        let inputs = inputs.collect();
        let frame = Frame { path, graph, facts: &solved.facts, outer, attrs };
        let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
        let outputs = node.outputs().iter().map(|_| Fact::default()).collect();
        let mut call =
            Call { node, schema, inputs, outputs, bodies: Vec::new(), frame: &frame, solver: &mut *self };
        let outcome = infer_call(&mut call);
        let (outputs, bodies) = (call.outputs, call.bodies);
        if let Err(Stop::Invalid(why)) = outcome {
            let (graph, node_name) = (path.to_owned(), node.label.to_string());
            self.warn(Warning::Node { graph, node: node_name, op: node.op.name.to_string(), why });
        }
        for (value, fact) in node.outputs().iter().zip(outputs) {
            let Some(value) = *value else { continue };
            let declared = graph.value(value);
            solved.facts[value.index()] = self.declared_and(path, &declared.name, declared.ty.as_ref(), fact);
        }
        solved.bodies.extend(bodies.into_iter().map(|(attr, index, body)| (id, attr, index, body)));
    }

    /// The function that a node calls, if it calls one.
    fn function(&self, node: &Node) -> Option<(&'m FunctionId, &'m Function)> {
        if self.functions.is_empty() {
            return None;
        }
        self.functions.get_key_value(&FunctionId::of(&node.op))
    }
}

fn infer_call(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    if let Some((id, function)) = call.solver.function(call.node) {
        return infer_function(call, id, function);
    }
    if let Some(schema) = call.schema {
        apply_schema(call, schema);
    }
    match rules::lookup(&call.node.op.domain, &call.node.op.name) {
        Some(rule) => rule(call),
        None => Err(Stop::Unknown),
    }
}

/// Element types that follow from the signature alone: fixed ones, and those that an input shares.
fn apply_schema(call: &mut Call<'_, '_>, schema: &'static OpSchema) {
    for output in 0..call.outputs.len() {
        let Some(formal) = schema.output(output).filter(|formal| formal.homogeneous) else { continue };
        let shared = (0..call.inputs.len()).find_map(|i| {
            schema.input(i).filter(|input| input.homogeneous && input.type_str == formal.type_str)?;
            call.ty(i).and_then(without_shape)
        });
        let only = || match schema.constraint(formal.type_str) {
            Some(constraint) => constraint.types.only_tensor(),
            None => DType::from_name(formal.type_str),
        };
        let ty = shared.or_else(|| only().map(|d| TensorType { dtype: Some(d), shape: None }.into()));
        call.outputs[output].ty = ty;
    }
}

/// The type without what may differ between two values of the same type; `None` where nothing is left.
fn without_shape(ty: &Type) -> Option<Type> {
    match ty {
        Type::Tensor(tensor) => Some(TensorType { dtype: Some(tensor.dtype?), shape: None }.into()),
        Type::Sequence(Some(inner)) => Some(Type::Sequence(without_shape(inner).map(Arc::new))),
        Type::Optional(Some(inner)) => Some(Type::Optional(without_shape(inner).map(Arc::new))),
        _ => None,
    }
}

fn infer_function<'m>(
    call: &mut Call<'_, 'm>,
    id: &'m FunctionId,
    function: &'m Function,
) -> Result<(), Stop> {
    let given = call.node.attrs.keys().filter_map(|name| Some((name.clone(), call.attr(name)?.clone())));
    let key = CallKey {
        inputs: call.inputs.iter().map(|fact| fact.clone().unwrap_or_default()).collect(),
        attrs: function.with_defaults(given.collect()),
    };
    let known = call.solver.calls.get(id).and_then(|calls| calls.iter().find(|(k, _)| *k == key));
    let outputs = match known {
        Some((_, outputs)) => outputs.clone(),
        None => {
            let solved =
                call.solver.solve(&id.to_string(), &function.body, &key.inputs, None, Some(&key.attrs))?;
            let outputs = solved.outputs(&function.body);
            let known = call.solver.calls.entry(id).or_default();
            if known.len() < MAX_CALLS {
                known.push((key, outputs.clone()));
            }
            outputs
        }
    };
    for (output, fact) in call.outputs.iter_mut().zip(outputs) {
        *output = fact;
    }
    Ok(())
}
