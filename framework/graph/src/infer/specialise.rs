//! Local functions, specialised by the ways in which they are called.
//!
//! A function's body has no types of its own: they follow from a call's inputs and attributes. Each way of
//! calling it that the model reaches gets a body with its types written in and its attributes put in; ways that
//! come out the same share one. The first keeps the function's id, further ones are overloads `v2`, `v3` and so
//! on of it. A function that is called in too many ways, or by a function that the model never reaches or a vendor
//! has, stays as it is, and so does all that it calls.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::call::Fact;
use super::solve::{Solved, Solver};
use crate::{Attr, Attributes, Function, FunctionId, Graph, Model, NodeId};

/// Ways of calling one function that get a body each, at most.
const MAX_WAYS: usize = 32;
/// The first IR version with overloads of functions.
const IR_WITH_OVERLOADS: i64 = 10;
/// How deep calls may nest.
const MAX_DEPTH: usize = 48;
/// Nodes of all bodies together, at most.
const MAX_NODES: usize = 500_000;

/// Gives each way of calling a function a typed body of its own. Needs the types of the main graph.
pub fn specialise(model: &mut Model) {
    if model.functions.is_empty() {
        return;
    }
    let mut generic = not_ours(model);
    loop {
        close(&mut generic, &model.functions);
        match Specialiser::run(model, &generic) {
            Ok((graph, functions)) => {
                if functions.len() > model.functions.len() {
                    model.ir_version = model.ir_version.max(IR_WITH_OVERLOADS);
                }
                (model.graph, model.functions) = (graph, functions);
                return;
            }
            Err(Overflow::Function(id)) => generic.insert(id),
            Err(Overflow::All) => return,
        };
    }
}

/// What cannot be specialised.
enum Overflow {
    Function(FunctionId),
    All,
}

/// Functions that a graph or a body in it calls.
fn calls(graph: &Graph, functions: &IndexMap<FunctionId, Function>, found: &mut Vec<FunctionId>) {
    for id in graph.node_ids() {
        let node = graph.node(id);
        let id = FunctionId::of(&node.op);
        if functions.contains_key(&id) {
            found.push(id);
        }
        node.attrs.values().flat_map(Attr::graphs).for_each(|body| calls(body, functions, found));
    }
}

/// All that can be reached from these functions, themselves among it.
fn close(ids: &mut HashSet<FunctionId>, functions: &IndexMap<FunctionId, Function>) {
    let mut open: Vec<FunctionId> = ids.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let mut found = Vec::new();
        calls(&functions[&id].body, functions, &mut found);
        open.extend(found.into_iter().filter(|id| ids.insert(id.clone())));
    }
}

/// Functions that the model never reaches, and regions of an earlier partition.
fn not_ours(model: &Model) -> HashSet<FunctionId> {
    let mut roots = Vec::new();
    calls(&model.graph, &model.functions, &mut roots);
    let mut reached: HashSet<FunctionId> = roots.into_iter().collect();
    close(&mut reached, &model.functions);
    let not_ours = |id: &&FunctionId| !reached.contains(*id) || id.domain.starts_with("byoc.");
    model.functions.keys().filter(not_ours).cloned().collect()
}

/// A way of calling a function.
#[derive(PartialEq)]
struct Way {
    inputs: Vec<Fact>,
    attrs: Attributes,
}

/// What has become of one function.
#[derive(Default)]
struct Specialised {
    /// Each way that was met, with the body that it has, by index.
    ways: Vec<(Way, usize)>,
    bodies: Vec<(FunctionId, Graph)>,
}

struct Specialiser<'m> {
    functions: &'m IndexMap<FunctionId, Function>,
    generic: &'m HashSet<FunctionId>,
    solver: Solver<'m>,
    done: IndexMap<FunctionId, Specialised>,
    taken: HashSet<FunctionId>,
    nodes: usize,
}

impl<'m> Specialiser<'m> {
    fn run(
        model: &'m Model,
        generic: &'m HashSet<FunctionId>,
    ) -> Result<(Graph, IndexMap<FunctionId, Function>), Overflow> {
        let functions = &model.functions;
        let mut this = Specialiser {
            functions,
            generic,
            solver: Solver::new(functions),
            done: IndexMap::new(),
            taken: functions.keys().cloned().collect(),
            nodes: 0,
        };
        let mut graph = model.graph.clone();
        let solved = this.solver.solve("main", &graph, &[], None, None).map_err(|_| Overflow::All)?;
        this.settle(&mut graph, &solved, 0)?;
        Ok((graph, this.finish()))
    }

    /// Names, in each call in a graph and the bodies in it, the function that it calls now.
    fn settle(&mut self, graph: &mut Graph, solved: &Solved, depth: usize) -> Result<(), Overflow> {
        for id in graph.model_order() {
            for (name, index, inner) in solved.bodies(id) {
                let attr = graph.node_mut(id).attrs.get_mut(name);
                if let Some(body) = attr.and_then(|attr| attr.graphs_mut().get_mut(index)) {
                    self.settle(body, inner, depth)?;
                }
            }
            let old = FunctionId::of(&graph.node(id).op);
            if self.functions.contains_key(&old) && !self.generic.contains(&old) {
                let new = self.specialise(&old, self.way(graph, id, solved), depth)?;
                graph.node_mut(id).op.overload = new.overload;
            }
        }
        Ok(())
    }

    fn way(&self, graph: &Graph, id: NodeId, solved: &Solved) -> Way {
        let node = graph.node(id);
        let function = &self.functions[&FunctionId::of(&node.op)];
        let fact = |i| node.input(i).map_or_else(Fact::default, |value| solved.fact(value).clone());
        let inputs = (0..function.body.inputs().len()).map(fact).collect();
        Way { inputs, attrs: function.with_defaults(node.attrs.clone()) }
    }

    fn specialise(&mut self, id: &FunctionId, way: Way, depth: usize) -> Result<FunctionId, Overflow> {
        if let Some(done) = self.done.get(id)
            && let Some((_, body)) = done.ways.iter().find(|(known, _)| *known == way)
        {
            return Ok(done.bodies[*body].0.clone());
        }
        let functions = self.functions;
        let mut body = functions[id].with_attributes(&way.attrs);
        self.nodes += body.node_count();
        if depth == MAX_DEPTH {
            return Err(Overflow::Function(id.clone()));
        }
        if self.nodes > MAX_NODES {
            return Err(Overflow::All);
        }
        let solved = self.solver.solve(&id.to_string(), &body, &way.inputs, None, None);
        let solved = solved.map_err(|_| Overflow::Function(id.clone()))?;
        self.settle(&mut body, &solved, depth + 1)?;
        solved.commit(&mut body);
        let known = self.done.entry(id.clone()).or_default();
        let at = match known.bodies.iter().position(|(_, other)| *other == body) {
            Some(at) => at,
            None if known.bodies.len() == MAX_WAYS => return Err(Overflow::Function(id.clone())),
            None => {
                let name = match known.bodies.len() {
                    0 => id.clone(),
                    n => fresh(id, n + 1, &mut self.taken),
                };
                known.bodies.push((name, body));
                known.bodies.len() - 1
            }
        };
        // More ways than bodies may be told apart; one that is not remembered is worked out again.
        if known.ways.len() < MAX_WAYS * MAX_WAYS {
            known.ways.push((way, at));
        }
        Ok(known.bodies[at].0.clone())
    }

    /// All functions, each followed by the further bodies that it has.
    fn finish(mut self) -> IndexMap<FunctionId, Function> {
        let mut all = IndexMap::new();
        for (id, function) in self.functions {
            match self.done.swap_remove(id) {
                None => drop(all.insert(id.clone(), function.clone())),
                Some(done) => all.extend(
                    done.bodies.into_iter().map(|(id, body)| (id, Function { body, ..function.clone() })),
                ),
            }
        }
        all
    }
}

/// An overload for the `n`-th body of a function.
fn fresh(id: &FunctionId, n: usize, taken: &mut HashSet<FunctionId>) -> FunctionId {
    let between = if id.overload.is_empty() { "" } else { "_" };
    let mut overload = format!("{}{between}v{n}", id.overload);
    loop {
        let new = FunctionId { overload: Arc::from(overload.as_str()), ..id.clone() };
        if taken.insert(new.clone()) {
            return new;
        }
        overload.push('_');
    }
}
