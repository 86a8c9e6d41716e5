//! Whether values have the types that were inferred for them: a mode of programs, for tests.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_cpu::{KernelError, View};
use byoc_graph::{DType, Datum, Dim, Expr, TensorType, Type};

use crate::execute::{Io, Values};
use crate::frame::Frame;
use crate::memory::ValueIndex;
use crate::program::{Program, Step};

/// Checks what the steps of one run make.
pub(crate) struct TypeCheck<'p> {
    program: &'p Program,
    /// What symbolic dimensions stand for: those of the inputs, and others from the first value that shows them.
    bound: HashMap<Arc<str>, i64>,
}

impl<'p> TypeCheck<'p> {
    pub fn new(program: &'p Program, frame: &Frame) -> TypeCheck<'p> {
        let symbols = program.signature.symbols.iter().cloned();
        let sizes = frame.plan.binding.iter().copied();
        TypeCheck { program, bound: symbols.zip(sizes).filter(|&(_, size)| size >= 0).collect() }
    }

    /// Compares what a step has made with what was inferred.
    pub fn step(&mut self, step: &Step, frame: &Frame, io: &Io<'_, '_, '_>) -> Result<(), KernelError> {
        for (i, value) in step.outputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            if let Err((got, inferred)) = self.value(value, frame, io) {
                return Err(KernelError::invalid(format!(
                    "output {i} is {got}, where {inferred} was inferred"
                )));
            }
        }
        Ok(())
    }

    /// What the value is and what it should be, where they differ.
    fn value(
        &mut self,
        value: ValueIndex,
        frame: &Frame,
        io: &Io<'_, '_, '_>,
    ) -> Result<(), (String, String)> {
        let Some(ty) = &self.program.values[value].ty else { return Ok(()) };
        let Frame { held, dims, dtypes, .. } = frame;
        let values = Values { program: self.program, held, dims, dtypes, io, over: None };
        if let Some(View::Other(datum)) = values.view(value, || None) {
            return if suits(datum, ty) { Ok(()) } else { Err((describe(datum), ty.to_string())) };
        }
        let (dtype, dims) = (frame.dtypes[value], &frame.dims[value]);
        match ty {
            Type::Tensor(ty) | Type::SparseTensor(ty) if self.tensor(dtype, dims, ty) => Ok(()),
            _ => Err((TensorType::of_static(dtype, dims).to_string(), ty.to_string())),
        }
    }

    fn tensor(&mut self, dtype: DType, dims: &[usize], ty: &TensorType) -> bool {
        let alike = ty.dtype.is_none_or(|d| d == dtype);
        alike
            && ty.shape.as_ref().is_none_or(|shape| {
                shape.len() == dims.len() && shape.iter().zip(dims).all(|(dim, &n)| self.dim(dim, n as i64))
            })
    }

    fn dim(&mut self, dim: &Dim, got: i64) -> bool {
        let lookup = |name: &str| self.bound.get(name).map(|&size| Expr::constant(size));
        match dim.substitute(&lookup) {
            Dim::Static(size) => size == got,
            Dim::Symbolic(expr) => {
                if let Some(symbol) = expr.as_symbol() {
                    self.bound.insert(symbol.clone(), got);
                }
                true
            }
            Dim::Unknown => true,
        }
    }
}

/// Whether a value is of a type. What a container holds need agree by element type alone: shapes may differ from
/// item to item, and files declare that of any.
fn suits(datum: &Datum, ty: &Type) -> bool {
    match (datum, ty) {
        (Datum::Tensor(tensor), Type::Tensor(ty)) => ty.dtype.is_none_or(|dtype| dtype == tensor.dtype()),
        (Datum::SparseTensor(_), Type::SparseTensor(_)) | (_, Type::Opaque { .. }) => true,
        (Datum::Sequence { items, .. }, Type::Sequence(inner)) => {
            inner.as_ref().is_none_or(|inner| items.iter().all(|item| suits(item, inner)))
        }
        (Datum::Optional { value: Some(value), .. }, Type::Optional(Some(inner))) => suits(value, inner),
        (Datum::Optional { .. }, Type::Optional(_)) => true,
        // An optional may be given as what it holds.
        (datum, Type::Optional(inner)) => inner.as_ref().is_none_or(|inner| suits(datum, inner)),
        (Datum::Map { values, .. }, Type::Map(_, inner)) => {
            inner.as_ref().is_none_or(|inner| values.iter().all(|item| suits(item, inner)))
        }
        _ => false,
    }
}

/// A value that is no tensor, in words.
fn describe(datum: &Datum) -> String {
    match datum {
        Datum::Sequence { items, .. } => {
            let items: Vec<String> = items.iter().take(4).map(describe).collect();
            format!("a sequence of {}", items.join(", "))
        }
        Datum::Tensor(tensor) => TensorType::of_static(tensor.dtype(), tensor.dims()).to_string(),
        other => format!("a {}", other.kind()),
    }
}
