//! From a graph to a program: a step for each node, and a storage for each value.

use std::sync::{Arc, Mutex, PoisonError};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{InputDesc, Kernel, NodeDesc, OutputDesc, Prepared, Registry};
use byoc_graph::normalise::STAYS;
use byoc_graph::{
    Function, FunctionId, Graph, GraphError, MappedFiles, Model, Node, NodeId, Tensor, Type, ValueId,
};
use indexmap::IndexMap;
use smallvec::SmallVec;
use thiserror::Error;

use crate::alias::Alias;
use crate::device::insert::{Inserted, insert};
use crate::device::{DeviceRegion, Devices};
use crate::layout::Layout;
use crate::memory::ValueIndex;
use crate::program::{Action, Program, Step};
use crate::region::{RegionKernel, Regions};
use crate::signature::{Signature, input_specs, output_specs};
use crate::work::Call;
use crate::{aside, control, together};

/// What programs are built with.
pub struct Options<'a> {
    pub registry: &'a Registry,
    pub regions: &'a dyn Regions,
    pub pool: Arc<ThreadPool>,
    pub isa: Isa,
    /// Compare every value with the type that was inferred for it, and fail where they differ.
    pub check_types: bool,
    /// Run steps at once where one of them does not fill the cores; see [`crate::TOGETHER`].
    pub together: bool,
}

#[derive(Debug, Error)]
pub enum BuildError {
    #[error(
        "no target can run {op} (domain `{domain}`, opset {opset}) of node `{node}`; load a plugin that can"
    )]
    NoTarget { node: Arc<str>, op: Arc<str>, domain: Arc<str>, opset: i64 },
    #[error("{op} node `{node}` cannot be written out as nodes that a target can run: {why}")]
    Stays { node: Arc<str>, op: Arc<str>, why: String },
    #[error("node `{node}` uses `{value}`, which nothing makes")]
    Undefined { node: Arc<str>, value: Arc<str> },
    #[error("output `{0}` is made by nothing")]
    NoOutput(Arc<str>),
    #[error("{op} node `{node}` is not well formed: {what}")]
    Malformed { node: Arc<str>, op: Arc<str>, what: String },
    #[error("bodies and functions nest more than {MAX_DEPTH} deep at node `{0}`")]
    TooDeep(Arc<str>),
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// How deep bodies and function calls may nest.
const MAX_DEPTH: usize = 48;

impl Program {
    /// Builds the program of a model.
    pub fn build(model: &Model, options: &Options<'_>) -> Result<Program, BuildError> {
        let builder = Builder { options, functions: &model.functions, files: &model.files, depth: 0 };
        let program = builder.program(&model.graph, Role::Main)?;
        // What rewritings and copies have read; what steps use is read again when they run.
        model.files.release_all();
        Ok(program)
    }
}

/// What a graph is built as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    /// A body or function: captured values are further inputs, behind the graph's own.
    Body,
}

#[derive(Clone, Copy)]
pub(crate) struct Builder<'a> {
    options: &'a Options<'a>,
    functions: &'a IndexMap<FunctionId, Function>,
    files: &'a MappedFiles,
    depth: usize,
}

impl Builder<'_> {
    /// The program of a body of `node`.
    pub fn body(&self, node: &Node, graph: &Graph) -> Result<Program, BuildError> {
        if self.depth == MAX_DEPTH {
            return Err(BuildError::TooDeep(node.label.clone()));
        }
        Builder { depth: self.depth + 1, ..*self }.program(graph, Role::Body)
    }

    pub fn program(&self, graph: &Graph, role: Role) -> Result<Program, BuildError> {
        let inputs: Vec<ValueId> = match role {
            Role::Main => graph.inputs().to_vec(),
            Role::Body => graph.inputs().iter().copied().chain(captured(graph)).collect(),
        };
        let mut devices = Devices::default();
        let mut steps = Vec::new();
        let nodes = live_nodes(graph)?;
        for (id, kernel) in nodes.iter().zip(self.kernels(graph, &nodes)) {
            steps.push(self.step(graph, *id, kernel, &mut devices)?);
        }
        let mut outputs: Vec<ValueIndex> = graph.outputs().iter().map(|id| id.index()).collect();
        let names = names(graph);
        let name = |v: ValueIndex| names[v].clone();
        let Inserted { mut steps, spaces, copies } =
            insert(steps, graph.value_bound(), &mut outputs, &devices, name);
        steps = aside::order(steps, spaces.len());
        if self.options.together {
            steps = together::choose(steps, &sizes(graph, spaces.len()), &outputs);
        }
        aside::note_ends(&mut steps);
        let mut layout = Layout::new(graph, &inputs, &outputs, (spaces, copies), &mut steps)?;
        let signature = Signature::new(input_specs(graph, &inputs), output_specs(graph), role == Role::Body);
        let (pool, isa) = (self.options.pool.clone(), self.options.isa);
        if self.options.check_types {
            graph.values().for_each(|(id, value)| layout.values[id.index()].ty = value.ty.clone());
        }
        let inputs = inputs.iter().map(|id| id.index()).collect();
        Ok(Program::new(
            signature,
            (pool, isa, self.options.check_types),
            (steps, layout.values),
            (layout.storages, layout.constants),
            devices,
            (inputs, outputs),
        ))
    }

    /// The kernels of nodes that the registry has any for, by node. Packing weights is most of what a program's making
    /// takes, so all threads do it.
    fn kernels(&self, graph: &Graph, nodes: &[NodeId]) -> Vec<Option<Prepared>> {
        let (Options { registry, isa, pool, .. }, files) = (self.options, self.files);
        let is_own = |node: &Node| {
            let is_call = self.functions.contains_key(&FunctionId::of(&node.op));
            let has_body = node.attrs.values().any(|attr| !attr.graphs().is_empty());
            !is_call && !has_body && Alias::of(node).is_none()
        };
        let own: Vec<bool> = nodes.iter().map(|id| is_own(graph.node(*id))).collect();
        let made: Vec<Mutex<Option<Prepared>>> = nodes.iter().map(|_| Mutex::default()).collect();
        pool.parallel_for(nodes.len(), &|i| {
            if !own[i] {
                return;
            }
            let node = graph.node(nodes[i]);
            let Some(prepared) = registry.prepare(&describe(graph, node, *isa)) else { return };
            for (input, value) in node.inputs().iter().enumerate() {
                if prepared.kernel.owns_input(input)
                    && let Some(tensor) = value.and_then(|value| graph.constant(value))
                {
                    release(files, tensor);
                }
            }
            *made[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        });
        made.into_iter().map(|made| made.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn step(
        &self,
        graph: &Graph,
        id: NodeId,
        kernel: Option<Prepared>,
        devices: &mut Devices,
    ) -> Result<Step, BuildError> {
        let node = graph.node(id);
        let mut inputs: SmallVec<[Option<ValueIndex>; 4]> =
            node.inputs().iter().map(|v| v.map(ValueId::index)).collect();
        let captures = node.captures().iter().filter(|&&v| !graph.is_constant(v));
        inputs.extend(captures.map(|v| Some(v.index())));
        let wanted = |v: ValueId| !graph.value(v).uses().is_empty() || graph.is_output(v);
        let outputs = node.outputs().iter().map(|v| v.filter(|&v| wanted(v)).map(ValueId::index)).collect();
        let is_released = kernel.is_some();
        let (action, by, target) = self.action(graph, node, kernel, devices)?;
        let in_place = match &action {
            Action::Kernel(kernel) => kernel.in_place(),
            _ => None,
        };
        for (i, input) in inputs.iter_mut().enumerate() {
            let owned = match &action {
                Action::Kernel(kernel) => kernel.owns_input(i),
                Action::Region(region) => !region.region.takes.get(i).copied().unwrap_or(false),
                Action::Aside(kernel) => kernel.owns_input(i),
                _ => false,
            };
            if !owned {
                continue;
            }
            *input = None;
            if let Some(tensor) = node.input(i).and_then(|v| graph.constant(v)).filter(|_| !is_released) {
                release(self.files, tensor);
            }
        }
        let call = match &action {
            Action::Kernel(kernel) => Some(Box::new(Call::new(graph, node, kernel.as_ref()))),
            Action::Alias(_) => Some(Box::new(Call::of_alias(node))),
            _ => None,
        };
        let queue = match &action {
            Action::Region(region) => region.queue(devices),
            _ => None,
        };
        Ok(Step {
            label: node.label.clone(),
            op: node.op.name.clone(),
            by,
            target,
            action,
            inputs,
            outputs,
            in_place,
            release: Vec::new(),
            queue,
            until: None,
            call,
        })
    }

    fn action(
        &self,
        graph: &Graph,
        node: &Node,
        kernel: Option<Prepared>,
        devices: &mut Devices,
    ) -> Result<(Action, Arc<str>, Arc<str>), BuildError> {
        let host = |action, by: &str| Ok((action, by.into(), Arc::from("host")));
        if node.op.domain.starts_with("byoc.")
            && let Some(region) = self.options.regions.region(node)
        {
            let target: Arc<str> = region.executable.target().into();
            let outputs = node.outputs().len();
            let action = match region.is_on_host(outputs) {
                true if region.executable.is_aside() => Action::Aside(Arc::new(RegionKernel(region))),
                true => Action::Kernel(Box::new(RegionKernel(region))),
                false => Action::Region(DeviceRegion::new(region, outputs, devices)),
            };
            return Ok((action, target.clone(), target));
        }
        if let Some(kernel) = control::prepare(self, graph, node)? {
            return host(Action::Bodies(kernel), "body");
        }
        if let Some(kernel) = self.call(node)? {
            return host(Action::Bodies(kernel), "function");
        }
        if let Some(alias) = Alias::of(node) {
            return host(Action::Alias(alias), "alias");
        }
        let Some(Prepared { name, kernel }) = kernel else { return Err(no_target(node)) };
        host(Action::Kernel(kernel), name)
    }

    /// The program behind a call of a local function.
    fn call(&self, node: &Node) -> Result<Option<Box<dyn Kernel>>, BuildError> {
        let Some(function) = self.functions.get(&FunctionId::of(&node.op)) else { return Ok(None) };
        let body = control::call::instantiate(function, node);
        Ok(Some(Box::new(control::call::Call(self.body(node, &body)?))))
    }
}

/// Gives back the pages of a constant's file.
fn release(files: &MappedFiles, tensor: &Tensor) {
    // One that is transposed when its bytes are asked for need not be: what lies in the file is what it comes from.
    let stored = tensor.transposed_origin().map_or(tensor, |(origin, _)| origin);
    files.release(stored.bytes());
}

fn no_target(node: &Node) -> BuildError {
    let (label, op, domain) = (node.label.clone(), node.op.name.clone(), node.op.domain.clone());
    match node.metadata.iter().find(|(key, _)| key == STAYS) {
        Some((_, why)) => BuildError::Stays { node: label, op, why: why.clone() },
        None => BuildError::NoTarget { node: label, op, domain, opset: node.opset },
    }
}

/// Values that a body takes from around it and that are not constant there.
pub(crate) fn captured(graph: &Graph) -> impl Iterator<Item = ValueId> + '_ {
    graph.captured().filter(|&v| !graph.is_constant(v))
}

/// Sizes of values, as far as they are known.
fn sizes(graph: &Graph, count: usize) -> together::Sizes {
    let mut sizes = together::Sizes::new(count);
    for (id, value) in graph.values() {
        if let Some(ty) = value.ty.as_ref().and_then(Type::as_tensor) {
            sizes.note(id.index(), ty);
        }
    }
    sizes
}

/// Names of values, by index.
fn names(graph: &Graph) -> Vec<Arc<str>> {
    let mut names = vec![Arc::from(""); graph.value_bound()];
    graph.values().for_each(|(id, value)| names[id.index()] = value.name.clone());
    names
}

/// Nodes that outputs depend on, in model order.
fn live_nodes(graph: &Graph) -> Result<Vec<NodeId>, GraphError> {
    let mut order = graph.try_model_order()?;
    let mut live = vec![false; graph.value_bound()];
    graph.outputs().iter().for_each(|v| live[v.index()] = true);
    let mut keep = vec![false; graph.node_bound()];
    for &id in order.iter().rev() {
        let node = graph.node(id);
        if node.outputs().iter().flatten().any(|v| live[v.index()]) {
            keep[id.index()] = true;
            node.dependencies().for_each(|v| live[v.index()] = true);
        }
    }
    order.retain(|id| keep[id.index()]);
    Ok(order)
}

/// What kernels are told of a node.
fn describe<'g>(graph: &'g Graph, node: &'g Node, isa: Isa) -> NodeDesc<'g> {
    let ty = |v: ValueId| graph.value(v).ty.as_ref();
    let input = |v: ValueId| InputDesc { ty: ty(v), constant: graph.constant(v) };
    let wanted = |v: &ValueId| !graph.value(*v).uses().is_empty() || graph.is_output(*v);
    NodeDesc {
        node,
        inputs: node.inputs().iter().map(|v| v.map(input)).collect(),
        outputs: node.outputs().iter().map(|v| v.filter(wanted).map(|v| OutputDesc { ty: ty(v) })).collect(),
        isa,
    }
}
