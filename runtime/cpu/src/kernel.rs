//! The kernel interface: a kernel is prepared once for a node and run many times.

use std::sync::Arc;
use std::time::Duration;

use byoc_graph::{Attr, DType, Dim, Dims, Node, StaticDims, Tensor, TensorType, Type};
use smallvec::SmallVec;
use thiserror::Error;

use crate::fast::{Exec, Isa};
use crate::outputs::Outputs;
use crate::view::{TensorView, View};

/// What a kernel may use while it runs.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// The threads and the instructions.
    pub exec: Exec<'a>,
    /// Told of each step that a program inside this kernel runs.
    pub observer: Option<&'a dyn Observer>,
}

/// Told of each step that ran.
pub trait Observer: Sync {
    fn step(&self, step: &Observed<'_>);
}

/// A step that ran.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The node's label.
    pub label: &'a str,
    pub op: &'a str,
    /// The kernel, or the vendor.
    pub by: &'a str,
    pub target: &'a str,
    pub elapsed: Duration,
    pub work: Work,
}

/// What a step had to do, by the plain algorithm of its operator; `None` where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Arithmetic operations, a multiply-add being two.
    pub flops: Option<u64>,
    /// Bytes of inputs and outputs.
    pub bytes: Option<u64>,
}

/// A node's computation, prepared: weights packed, algorithm chosen.
pub trait Kernel: Send + Sync {
    /// Computes the outputs. Called from several threads at once.
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError>;

    /// Whether the kernel has taken this constant input over and will be called without it.
    fn owns_input(&self, _input: usize) -> bool {
        false
    }

    /// Bytes that a run reads of what the kernel keeps in place of the constants it has taken over, where those are
    /// not as many as the constants had.
    fn kept_bytes(&self) -> Option<usize> {
        None
    }

    /// The input whose memory output 0 may take. That input then has output 0's element type and
    /// dimensions, whatever they are.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Whether a run keeps one thread busy at most, however large its values are.
    fn is_serial(&self) -> bool {
        false
    }

    /// The axis along which output 0 is the inputs, one behind the other.
    fn joins(&self) -> Option<i64> {
        None
    }

    /// What each output is of input 0, given the dimensions of that, if each is a stretch of its elements. Asked only
    /// where there are any.
    fn stretches(&self, _dims: &[usize]) -> Option<Stretches> {
        None
    }
}

/// Elements that lie one behind the other in a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Elements before them.
    pub start: usize,
    /// Their dimensions as a tensor.
    pub dims: StaticDims,
}

/// A stretch for each output.
pub type Stretches = SmallVec<[Stretch; 2]>;

/// A node, as a kernel is prepared for it.
pub struct NodeDesc<'a> {
    pub node: &'a Node,
    pub inputs: SmallVec<[Option<InputDesc<'a>>; 4]>,
    /// Types of the outputs as far as known; `None` for an output that nobody wants.
    pub outputs: SmallVec<[Option<OutputDesc<'a>>; 2]>,
    /// Instructions that the kernel will run with.
    pub isa: Isa,
}

#[derive(Clone, Copy)]
pub struct InputDesc<'a> {
    pub ty: Option<&'a Type>,
    pub constant: Option<&'a Arc<Tensor>>,
}

#[derive(Clone, Copy)]
pub struct OutputDesc<'a> {
    pub ty: Option<&'a Type>,
}

impl<'a> NodeDesc<'a> {
    /// `""` is the default domain, `host` the runtime's own.
    pub fn domain(&self) -> &'a str {
        &self.node.op.domain
    }

    pub fn op(&self) -> &'a str {
        &self.node.op.name
    }

    pub fn opset(&self) -> i64 {
        self.node.opset
    }

    pub fn input(&self, i: usize) -> Option<InputDesc<'a>> {
        self.inputs.get(i).copied().flatten()
    }

    pub fn has_input(&self, i: usize) -> bool {
        self.input(i).is_some()
    }

    pub fn constant(&self, i: usize) -> Option<&'a Arc<Tensor>> {
        self.input(i)?.constant
    }

    /// The tensor type of input `i`, as far as known.
    pub fn tensor_type(&self, i: usize) -> Option<&'a TensorType> {
        self.input(i)?.ty?.as_tensor()
    }

    pub fn dtype(&self, i: usize) -> Option<DType> {
        match self.input(i)? {
            InputDesc { constant: Some(tensor), .. } => Some(tensor.dtype()),
            input => input.ty?.dtype(),
        }
    }

    pub fn rank(&self, i: usize) -> Option<usize> {
        match self.input(i)? {
            InputDesc { constant: Some(tensor), .. } => Some(tensor.rank()),
            input => Some(input.ty?.shape()?.len()),
        }
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.node.attrs.get(name)?.as_int()
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.node.attrs.get(name)?.as_float()
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.node.attrs.get(name)?.as_ints()
    }

    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.node.attrs.get(name)?.as_floats()
    }

    pub fn str(&self, name: &str) -> Option<&'a str> {
        self.node.attrs.get(name).and_then(Attr::as_str)
    }

    /// Dimensions of input `i`, where the rank is known.
    pub fn shape(&self, i: usize) -> Option<Dims> {
        match self.input(i)? {
            InputDesc { constant: Some(tensor), .. } => tensor.ty().shape,
            input => input.ty?.shape().cloned(),
        }
    }

    /// The one element of a constant input.
    pub fn scalar_f32(&self, i: usize) -> Option<f32> {
        let slice = self.constant(i)?.as_slice::<f32>().ok()?;
        (slice.len() == 1).then(|| slice[0])
    }

    /// Whether input `i` has output 0's element type and, for certain, its dimensions.
    pub fn like_output(&self, i: usize) -> bool {
        let output = self.outputs.first().copied().flatten().and_then(|o| o.ty);
        let (Some(input), Some(output)) = (self.tensor_type(i), output.and_then(Type::as_tensor)) else {
            return false;
        };
        let known = |dims: &Dims| dims.iter().all(Dim::is_known);
        input.dtype.is_some() && input == output && input.shape.as_ref().is_some_and(known)
    }
}

/// Why a kernel did not run to its end.
#[derive(Debug, Error)]
pub enum KernelError {
    #[error("input {0} is missing")]
    MissingInput(usize),
    #[error("input {input} is a {got}, where a tensor is needed")]
    NotATensor { input: usize, got: &'static str },
    #[error("elements are {got}, where {expected} is needed")]
    DType { expected: DType, got: DType },
    #[error("a tensor is not aligned for its elements")]
    Misaligned,
    #[error("the node has no output {0}")]
    NoSuchOutput(usize),
    #[error("the kernel made nothing of output {0}")]
    NotMade(usize),
    #[error("a tensor of {dtype}{dims:?} has more elements than can be addressed")]
    TooLarge { dtype: DType, dims: Vec<usize> },
    #[error("no memory for a tensor of {bytes} bytes; smaller inputs may fit")]
    OutOfMemory { bytes: usize },
    /// Shapes or values that the operator does not allow.
    #[error("{0}")]
    Invalid(String),
    /// From another component, already worded.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl KernelError {
    pub fn invalid(message: impl Into<String>) -> KernelError {
        KernelError::Invalid(message.into())
    }
}

/// The tensor at input `i`.
pub fn tensor<'a>(inputs: &[Option<View<'a>>], i: usize) -> Result<TensorView<'a>, KernelError> {
    match inputs.get(i).copied().flatten() {
        None => Err(KernelError::MissingInput(i)),
        Some(View::Tensor(tensor)) => Ok(tensor),
        Some(other) => Err(KernelError::NotATensor { input: i, got: other.kind() }),
    }
}

/// The tensor at input `i`, where there is one.
pub fn optional<'a>(inputs: &[Option<View<'a>>], i: usize) -> Result<Option<TensorView<'a>>, KernelError> {
    match inputs.get(i).copied().flatten() {
        None => Ok(None),
        Some(_) => tensor(inputs, i).map(Some),
    }
}
