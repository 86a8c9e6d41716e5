//! Type and shape inference.
//!
//! [`infer`] finds the type of every value: element types exactly, dimensions as numbers or as
//! expressions over the model's symbolic dimensions where they follow for certain, unknown where they
//! do not. Small tensors of whole numbers are followed element by element, so shapes that a model
//! computes resolve. What the file declares is merged in; where it contradicts what follows from the
//! operators, the latter holds and a [`Warning`] says so.

mod bind;
mod call;
mod content;
mod merge;
mod rules;
mod solve;
mod specialise;

use thiserror::Error;

pub use specialise::specialise;

use crate::schema::canonical_domain;
use crate::{Graph, Model, Type};

/// What the caller knows beyond the model.
#[derive(Clone, Debug, Default)]
pub struct InferOptions {
    /// Symbolic dimensions by name.
    pub dims: Vec<(String, i64)>,
    /// Shapes of graph inputs by name.
    pub input_shapes: Vec<(String, Vec<i64>)>,
}

#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum InferError {
    #[error("no input has a dimension named `{name}`{}", known_names("symbolic dimensions are", known))]
    UnknownDim { name: String, known: Vec<String> },
    #[error("no input is named `{name}`{}", known_names("the inputs are", known))]
    UnknownInput { name: String, known: Vec<String> },
    #[error("dimension `{name}` is bound to both {first} and {second}")]
    BoundTwice { name: String, first: i64, second: i64 },
    #[error("a dimension cannot be {value}, as given for `{name}`")]
    BadDim { name: String, value: i64 },
    #[error("the shape {given:?} given for input `{name}` does not fit its declared type {declared}")]
    BadInputShape { name: String, given: Vec<i64>, declared: String },
    #[error("output `{name}` is declared as {declared}, but the model computes {inferred}")]
    OutputType { name: String, declared: String, inferred: String },
    #[error("{0}")]
    Graph(String),
}

fn known_names(what: &str, known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; {what} {}", known.join(", ")) }
}

/// Something that is wrong in the model, but hinders nobody yet.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum Warning {
    #[error("{graph}: `{value}` is declared as {declared}, but is {inferred}")]
    Declared { graph: String, value: String, declared: String, inferred: String },
    #[error("{graph}: {op} node `{node}`: {why}")]
    Node { graph: String, node: String, op: String, why: String },
}

/// Infers the types of all values of the main graph and of the bodies in it, after binding what the
/// options give. Function bodies are inferred once for each way they are called; [`specialise`] writes their
/// types into them.
pub fn infer(model: &mut Model, options: &InferOptions) -> Result<Vec<Warning>, InferError> {
    bind::bind(model, options)?;
    let mut solver = solve::Solver::new(&model.functions);
    let solved = solver.solve("main", &model.graph, &[], None, None);
    let solved = solved.map_err(|stop| InferError::Graph(format!("{stop:?}")))?;
    let warnings = std::mem::take(&mut solver.warnings);
    let declared: Vec<Option<Type>> =
        model.graph.outputs().iter().map(|&id| model.graph.value(id).ty.clone()).collect();
    solved.commit(&mut model.graph);
    check_outputs(&model.graph, &declared)?;
    Ok(warnings)
}

/// Whether inference has a rule for an operator. Without one, outputs have the element types that follow
/// from its signature, and unknown shapes.
#[must_use]
pub fn has_rule(domain: &str, operator: &str) -> bool {
    rules::lookup(canonical_domain(domain), operator).is_some()
}

/// A graph output's element type is a promise to callers.
fn check_outputs(graph: &Graph, declared: &[Option<Type>]) -> Result<(), InferError> {
    for (&id, declared) in graph.outputs().iter().zip(declared) {
        let value = graph.value(id);
        let (Some(declared), Some(inferred)) = (declared, &value.ty) else { continue };
        let kinds_differ = std::mem::discriminant(declared) != std::mem::discriminant(inferred);
        if kinds_differ || declared.dtype().is_some_and(|d| inferred.dtype().is_some_and(|i| i != d)) {
            return Err(InferError::OutputType {
                name: value.name.to_string(),
                declared: declared.to_string(),
                inferred: inferred.to_string(),
            });
        }
    }
    Ok(())
}
