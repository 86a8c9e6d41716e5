//! Whether a node is written as its schema asks: arity, attributes, types.

use std::collections::HashMap;

use thiserror::Error;

use super::{Formal, FormalOption, OpSchema, lookup, onnx_name};
use crate::{AttrKind, Node, Type};

#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum SchemaError {
    #[error("no operator {op} in domain `{domain}` at version {opset}")]
    Unknown { domain: String, op: String, opset: i64 },
    #[error("{op} was withdrawn in version {since} of its domain; convert the model or lower its opset")]
    Deprecated { op: &'static str, since: i64 },
    #[error("{op} {since} takes {} {what}, but the node has {got}", range(*min, *max))]
    Arity { op: &'static str, since: i64, what: &'static str, min: usize, max: Option<usize>, got: usize },
    #[error("{op} {since} cannot do without its input `{name}` (number {position})")]
    Missing { op: &'static str, since: i64, name: &'static str, position: usize },
    #[error("{op} {since} has no attribute `{name}`")]
    UnknownAttribute { op: &'static str, since: i64, name: String },
    #[error("{op} {since} needs the attribute `{name}`")]
    MissingAttribute { op: &'static str, since: i64, name: &'static str },
    #[error("attribute `{name}` of {op} {since} is {got:?}, where {expected:?} is needed")]
    AttributeKind { op: &'static str, since: i64, name: String, expected: AttrKind, got: AttrKind },
    #[error("{what} `{name}` of {op} {since} cannot be {got}")]
    Type { op: &'static str, since: i64, what: &'static str, name: &'static str, got: String },
    #[error("{what} `{name}` of {op} {since} is {got}, but {other}, and they must agree")]
    TypesDiffer {
        op: &'static str,
        since: i64,
        what: &'static str,
        name: &'static str,
        got: String,
        other: String,
    },
}

fn range(min: usize, max: Option<usize>) -> String {
    match max {
        Some(max) if max == min => format!("{min}"),
        Some(max) => format!("{min} to {max}"),
        None => format!("{min} or more"),
    }
}

/// Checks a call against the schema of its operator. `inputs` and `outputs` give the types that are
/// known, position by position; what is unknown is not held against the node.
pub fn check(
    node: &Node,
    inputs: &[Option<&Type>],
    outputs: &[Option<&Type>],
) -> Result<&'static OpSchema, SchemaError> {
    let schema = lookup(&node.op.domain, &node.op.name, node.opset).ok_or_else(|| SchemaError::Unknown {
        domain: node.op.domain.to_string(),
        op: node.op.name.to_string(),
        opset: node.opset,
    })?;
    if schema.deprecated {
        return Err(SchemaError::Deprecated { op: schema.name, since: schema.since_version });
    }
    check_attributes(schema, node)?;
    let sides = [
        Side {
            schema,
            what: "input",
            formals: schema.inputs,
            min: schema.min_inputs(),
            max: schema.max_inputs(),
        },
        Side {
            schema,
            what: "output",
            formals: schema.outputs,
            min: schema.min_outputs(),
            max: schema.max_outputs(),
        },
    ];
    let mut bound = HashMap::new();
    let [input_side, output_side] = &sides;
    input_side.check_presence(node.inputs().iter().map(Option::is_some))?;
    output_side.check_presence(node.outputs().iter().map(Option::is_some))?;
    input_side.check_types(inputs, &mut bound)?;
    output_side.check_types(outputs, &mut bound)?;
    Ok(schema)
}

fn check_attributes(schema: &OpSchema, node: &Node) -> Result<(), SchemaError> {
    let (op, since) = (schema.name, schema.since_version);
    for (name, attr) in &node.attrs {
        let Some(known) = schema.attribute(name) else {
            return Err(SchemaError::UnknownAttribute { op, since, name: name.to_string() });
        };
        if known.kind != attr.kind() {
            let (expected, got) = (known.kind, attr.kind());
            return Err(SchemaError::AttributeKind { op, since, name: name.to_string(), expected, got });
        }
    }
    let mut required = schema.attributes.iter().filter(|a| a.required);
    match required.find(|a| !node.attrs.contains_key(a.name)) {
        Some(missing) => Err(SchemaError::MissingAttribute { op, since, name: missing.name }),
        None => Ok(()),
    }
}

/// The inputs or the outputs of a schema.
struct Side {
    schema: &'static OpSchema,
    what: &'static str,
    formals: &'static [Formal],
    min: usize,
    max: Option<usize>,
}

impl Side {
    fn formal(&self, position: usize) -> Option<&'static Formal> {
        self.formals.get(position).or_else(|| self.formals.last().filter(|last| last.is_variadic()))
    }

    fn check_presence(&self, present: impl ExactSizeIterator<Item = bool>) -> Result<(), SchemaError> {
        let (op, since, what) = (self.schema.name, self.schema.since_version, self.what);
        let got = present.len();
        if got < self.min || self.max.is_some_and(|max| got > max) {
            let what = if what == "input" { "inputs" } else { "outputs" };
            return Err(SchemaError::Arity { op, since, what, min: self.min, max: self.max, got });
        }
        // An output that nobody wants may be left out, whatever it is.
        for (position, present) in present.enumerate().filter(|_| what == "input") {
            let Some(formal) = self.formal(position) else { continue };
            if !present && formal.option == FormalOption::Single {
                return Err(SchemaError::Missing { op, since, name: formal.name, position });
            }
        }
        Ok(())
    }

    fn check_types(
        &self,
        types: &[Option<&Type>],
        bound: &mut HashMap<&'static str, (String, &'static str)>,
    ) -> Result<(), SchemaError> {
        let (op, since, what) = (self.schema.name, self.schema.since_version, self.what);
        for (position, ty) in types.iter().enumerate() {
            let (Some(ty), Some(formal)) = (ty, self.formal(position)) else { continue };
            let constraint = self.schema.constraint(formal.type_str);
            let allowed = match constraint {
                Some(constraint) => constraint.types.allows(ty),
                None => onnx_name(ty).is_none_or(|name| name == format!("tensor({})", formal.type_str)),
            };
            if !allowed {
                let got = onnx_name(ty).unwrap_or_else(|| ty.to_string());
                return Err(SchemaError::Type { op, since, what, name: formal.name, got });
            }
            let (Some(constraint), Some(got), true) = (constraint, onnx_name(ty), formal.homogeneous) else {
                continue;
            };
            let (expected, first) =
                bound.entry(constraint.name).or_insert_with(|| (got.clone(), formal.name));
            if *expected != got {
                let other = format!("`{first}` is {expected}");
                return Err(SchemaError::TypesDiffer { op, since, what, name: formal.name, got, other });
            }
        }
        Ok(())
    }
}
