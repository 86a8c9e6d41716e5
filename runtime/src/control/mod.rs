//! Operators with bodies: If, Loop and Scan, and calls of local functions. Each body is a program.
//!
//! A body takes its own inputs, then the values that it captures; a step gives them behind the operator's own
//! inputs, in the order of `Node::captures`.

pub(crate) mod call;
mod if_;
mod loop_;
mod reference;
mod scan;
mod stack;

use byoc_cpu::TensorView;
use byoc_cpu::{Ctx, Kernel, KernelError, Made, View};
use byoc_graph::{DType, Datum, Graph, Node, StaticDims};
use smallvec::SmallVec;

use crate::build::{BuildError, Builder, captured};
use crate::program::Program;

/// The kernel of an operator with bodies; `None` for any other.
pub(crate) fn prepare(
    builder: &Builder<'_>,
    graph: &Graph,
    node: &Node,
) -> Result<Option<Box<dyn Kernel>>, BuildError> {
    Ok(Some(match (&*node.op.domain, &*node.op.name) {
        ("", "If") => Box::new(if_::If::new(builder, graph, node)?),
        ("", "Loop") => Box::new(loop_::Loop::new(builder, graph, node)?),
        // Before, Scan worked on batches.
        ("", "Scan") if node.opset >= 9 => Box::new(scan::Scan::new(builder, graph, node)?),
        _ => match reference::Reference::new(builder, graph, node)? {
            Some(kernel) => Box::new(kernel),
            None => return Ok(None),
        },
    }))
}

/// A body and where its captured values are found among the inputs of the step.
pub(crate) struct Body {
    program: Program,
    /// By captured value of the body, in its order: index into the step's captures.
    captures: Vec<usize>,
    /// How many inputs the operator itself has; captures come behind.
    operands: usize,
}

type Views<'a> = SmallVec<[Option<View<'a>>; 8]>;

impl Body {
    /// The body in attribute `name`.
    fn new(builder: &Builder<'_>, outer: &Graph, node: &Node, name: &str) -> Result<Body, BuildError> {
        let malformed =
            |what: String| BuildError::Malformed { node: node.label.clone(), op: node.op.name.clone(), what };
        let graph = node.attrs.get(name).and_then(|a| a.graphs().first());
        let graph = graph.ok_or_else(|| malformed(format!("it has no graph `{name}`")))?;
        // Constants of the outer graph are known to the body and are not handed in.
        let given: Vec<_> = node.captures().iter().filter(|&&v| !outer.is_constant(v)).collect();
        let mut captures = Vec::new();
        for value in captured(graph) {
            let value = &graph.value(value).name;
            let at = given.iter().position(|&&v| outer.value(v).name == *value);
            captures.push(at.ok_or_else(|| malformed(format!("`{value}` is not a value around its body")))?);
        }
        Ok(Body { program: builder.body(node, graph)?, captures, operands: node.inputs().len() })
    }

    fn inputs(&self) -> usize {
        self.program.inputs().len() - self.captures.len()
    }

    /// The rank that the body declares for one of its inputs.
    fn input_rank(&self, input: usize) -> Option<usize> {
        self.program.inputs().get(input)?.ty.as_ref()?.shape().map(|s| s.len())
    }

    fn outputs(&self) -> usize {
        self.program.outputs().len()
    }

    /// Runs the body on `own` inputs; `step` are the inputs of the whole step.
    fn run<'a>(
        &self,
        ctx: &Ctx<'_>,
        mut own: Views<'a>,
        step: &[Option<View<'a>>],
    ) -> Result<SmallVec<[Made; 4]>, KernelError> {
        let captures = step.get(self.operands..).unwrap_or_default();
        own.extend(self.captures.iter().map(|&i| captures.get(i).copied().flatten()));
        let mut made = SmallVec::new();
        let result = self.program.run_nested(ctx, &own, &mut [], &mut made);
        result.map_err(|e| KernelError::Other(Box::new(e)))?;
        Ok(made)
    }
}

/// The one element of a tensor of booleans.
fn truth(view: View<'_>) -> Result<bool, KernelError> {
    let bytes = view.tensor().map(|t| t.bytes()).filter(|b| b.len() == 1);
    bytes.map(|b| b[0] != 0).ok_or_else(|| KernelError::invalid("a condition is not one boolean"))
}

/// What a body made, to be read by the next round.
fn view_of_made(made: &Made) -> Option<View<'_>> {
    match made {
        Made::Buffer { dtype, dims, buffer } => {
            Some(View::Tensor(TensorView::new(*dtype, dims, buffer.bytes())))
        }
        Made::Datum(datum) => Some(View::of(datum)),
        Made::InPlace { .. } => None,
    }
}

/// What a body made, to be handed on.
fn datum_of_made(made: Made) -> Result<Datum, KernelError> {
    match made {
        Made::Datum(datum) => Ok(*datum),
        other => Ok(Datum::Tensor(tensor_of(&other)?.to_tensor())),
    }
}

fn tensor_of(made: &Made) -> Result<TensorView<'_>, KernelError> {
    let tensor = view_of_made(made).and_then(View::tensor);
    tensor.ok_or_else(|| KernelError::invalid("only tensors can be collected over rounds"))
}

/// The type of one round's value at an output of a body, as far as the body says, for when no round ran.
fn empty_round(body: &Body, output: usize) -> (DType, StaticDims) {
    let ty = body.program.outputs()[output].ty.as_ref();
    let dtype = ty.and_then(|t| t.dtype()).unwrap_or(DType::F32);
    let dims = ty.and_then(|t| t.shape()).into_iter().flatten();
    (dtype, dims.map(|d| d.value().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)).collect())
}
