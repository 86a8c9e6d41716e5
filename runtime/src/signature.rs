//! What a program takes and gives, and the check of what it is given.

use std::sync::Arc;

use byoc_cpu::View;
use byoc_graph::{DType, Dim, Expr, Graph, Model, StaticDims, Tensor, TensorType, Type, ValueId};
use smallvec::SmallVec;
use thiserror::Error;

use crate::program::align;

/// An input of a program.
#[derive(Clone, Debug)]
pub struct InputSpec {
    pub name: Arc<str>,
    pub ty: Option<Type>,
    /// What stands for it where it is not given.
    pub default: Option<Arc<Tensor>>,
}

/// An output of a program.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub name: Arc<str>,
    pub ty: Option<Type>,
}

/// What the caller of a graph gives for these values.
pub(crate) fn input_specs(graph: &Graph, inputs: &[ValueId]) -> Vec<InputSpec> {
    let spec = |&id: &ValueId| InputSpec {
        name: graph.value(id).name.clone(),
        ty: graph.value(id).ty.clone(),
        default: graph.default_of(id).map(|t| Arc::new(align(t))),
    };
    inputs.iter().map(spec).collect()
}

pub(crate) fn output_specs(graph: &Graph) -> Vec<OutputSpec> {
    let spec =
        |&id: &ValueId| OutputSpec { name: graph.value(id).name.clone(), ty: graph.value(id).ty.clone() };
    graph.outputs().iter().map(spec).collect()
}

/// What a model takes and gives.
pub fn signature(model: &Model) -> (Vec<InputSpec>, Vec<OutputSpec>) {
    (input_specs(&model.graph, model.graph.inputs()), output_specs(&model.graph))
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    #[error("the program has {expected} inputs, but {got} values are given")]
    Count { expected: usize, got: usize },
    #[error("input `{0}` is not given")]
    Missing(Arc<str>),
    #[error("input `{name}` is a {got}, where {expected} is needed")]
    Kind { name: Arc<str>, expected: String, got: &'static str },
    #[error("input `{name}` has elements of {got}, where {expected} is needed")]
    DType { name: Arc<str>, expected: DType, got: DType },
    #[error("input `{name}` has rank {got}, where {expected} is needed (the model says {ty})")]
    Rank { name: Arc<str>, expected: usize, got: usize, ty: String },
    #[error("dimension {axis} of input `{name}` is {got}, where {expected} is needed (the model says {ty})")]
    Dim { name: Arc<str>, axis: usize, expected: i64, got: usize, ty: String },
    #[error(
        "dimension {axis} of input `{name}` is {got}, but `{dim}` is {expected} elsewhere; dimensions of one name must agree"
    )]
    Symbol { name: Arc<str>, axis: usize, dim: String, expected: i64, got: usize },
    #[error("elements of input `{0}` are not aligned in memory")]
    Misaligned(Arc<str>),
}

/// Sizes of the symbolic dimensions, in the order of `Signature::symbols`; negative: unbound.
pub(crate) type Binding = SmallVec<[i64; 4]>;

#[derive(Debug, Default)]
pub(crate) struct Signature {
    pub inputs: Vec<InputSpec>,
    pub outputs: Vec<OutputSpec>,
    /// Names of all dimensions that inputs mention.
    pub symbols: Vec<Arc<str>>,
    /// Bodies take what they get: the shapes of loop-carried values may change from round to round.
    pub lenient: bool,
}

impl Signature {
    pub fn new(inputs: Vec<InputSpec>, outputs: Vec<OutputSpec>, lenient: bool) -> Signature {
        let mut symbols = Vec::new();
        for dim in inputs.iter().filter_map(|i| i.ty.as_ref()?.shape()).flatten() {
            if let Dim::Symbolic(expr) = dim {
                expr.symbols(&mut symbols);
            }
        }
        Signature { inputs, outputs, symbols, lenient }
    }

    /// Checks all inputs and binds the symbolic dimensions.
    pub fn bind(&self, given: &[Option<View<'_>>]) -> Result<Binding, InputError> {
        if given.len() != self.inputs.len() {
            return Err(InputError::Count { expected: self.inputs.len(), got: given.len() });
        }
        let mut binding: Binding = SmallVec::from_elem(-1, self.symbols.len());
        for (spec, view) in self.inputs.iter().zip(given) {
            self.check_input(spec, view.as_ref(), &mut binding)?;
        }
        if !self.symbols.is_empty() && !self.lenient {
            self.check_expressions(given, &binding)?;
        }
        Ok(binding)
    }

    fn check_input(
        &self,
        spec: &InputSpec,
        view: Option<&View<'_>>,
        binding: &mut Binding,
    ) -> Result<(), InputError> {
        let name = || spec.name.clone();
        let Some(view) = view else {
            // An optional of a body may be absent without a default.
            return if spec.default.is_some() || self.lenient {
                Ok(())
            } else {
                Err(InputError::Missing(name()))
            };
        };
        let (ty, tensor) = match (&spec.ty, view) {
            (None, View::Tensor(tensor)) => (&TensorType::default(), tensor),
            (Some(Type::Tensor(ty)), View::Tensor(tensor)) => (ty, tensor),
            (None, View::Other(_)) => return Ok(()),
            (Some(_), _) if self.lenient => return Ok(()),
            (Some(ty), view) if suits(ty, view) => return Ok(()),
            (Some(ty), view) => {
                return Err(InputError::Kind { name: name(), expected: ty.to_string(), got: view.kind() });
            }
        };
        if !tensor.is_aligned() {
            return Err(InputError::Misaligned(name()));
        }
        if !self.lenient
            && let Some(expected) = ty.dtype.filter(|&d| d != tensor.dtype)
        {
            return Err(InputError::DType { name: name(), expected, got: tensor.dtype });
        }
        let Some(dims) = &ty.shape else { return Ok(()) };
        if dims.len() != tensor.rank() {
            let (expected, got) = (dims.len(), tensor.rank());
            return if self.lenient {
                Ok(())
            } else {
                Err(InputError::Rank { name: name(), expected, got, ty: ty.to_string() })
            };
        }
        for (axis, (dim, &got)) in dims.iter().zip(tensor.dims).enumerate() {
            match dim {
                Dim::Static(expected) if *expected != got as i64 && !self.lenient => {
                    let expected = *expected;
                    return Err(InputError::Dim { name: name(), axis, expected, got, ty: ty.to_string() });
                }
                Dim::Symbolic(expr) => self.bind_symbol(expr, got, axis, spec, binding)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn bind_symbol(
        &self,
        expr: &Expr,
        got: usize,
        axis: usize,
        spec: &InputSpec,
        binding: &mut Binding,
    ) -> Result<(), InputError> {
        let Some(symbol) = expr.as_symbol() else { return Ok(()) };
        let at = self.symbols.iter().position(|s| s == symbol).expect("collected from the inputs");
        match binding[at] {
            bound if bound < 0 => binding[at] = got as i64,
            expected if expected == got as i64 || self.lenient => {}
            expected => {
                let (name, dim) = (spec.name.clone(), symbol.to_string());
                return Err(InputError::Symbol { name, axis, dim, expected, got });
            }
        }
        Ok(())
    }

    /// Checks dimensions that are computed from others, such as `2*N`.
    fn check_expressions(&self, given: &[Option<View<'_>>], binding: &Binding) -> Result<(), InputError> {
        for (spec, view) in self.inputs.iter().zip(given) {
            let (Some(Type::Tensor(TensorType { shape: Some(dims), .. })), Some(View::Tensor(tensor))) =
                (&spec.ty, view)
            else {
                continue;
            };
            for (axis, (dim, &got)) in dims.iter().zip(tensor.dims).enumerate() {
                let is_name = matches!(dim, Dim::Symbolic(e) if e.as_symbol().is_some());
                if is_name {
                    continue;
                }
                if let Some(expected) = self.evaluate(dim, binding).filter(|&n| n != got as i64) {
                    let (name, dim) = (spec.name.clone(), dim.to_string());
                    return Err(InputError::Symbol { name, axis, dim, expected, got });
                }
            }
        }
        Ok(())
    }

    /// A dimension under a binding, where that determines it.
    pub fn evaluate(&self, dim: &Dim, binding: &Binding) -> Option<i64> {
        let lookup = |name: &str| {
            let at = self.symbols.iter().position(|s| &**s == name)?;
            (binding[at] >= 0).then(|| Expr::constant(binding[at]))
        };
        match dim {
            Dim::Static(n) => Some(*n),
            other => other.substitute(&lookup).value(),
        }
    }

    /// A shape under a binding, where that determines it.
    pub fn evaluate_shape(&self, dims: &[Dim], binding: &Binding) -> Option<StaticDims> {
        dims.iter().map(|d| usize::try_from(self.evaluate(d, binding)?).ok()).collect()
    }
}

/// Whether a value that is not a tensor is of a type, as far as that can be told without looking inside.
fn suits(ty: &Type, view: &View<'_>) -> bool {
    match ty {
        // An optional may be given as what it holds.
        Type::Optional(None) | Type::Opaque { .. } => true,
        Type::Optional(Some(inner)) => view.kind() == "optional" || suits(inner, view),
        Type::Sequence(_) => view.kind() == "sequence",
        Type::Map(..) => view.kind() == "map",
        Type::SparseTensor(_) => view.kind() == "sparse tensor",
        Type::Tensor(_) => view.kind() == "tensor",
    }
}
