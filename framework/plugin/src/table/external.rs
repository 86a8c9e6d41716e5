//! Checks of a table that need to know operators and expressions, which this crate does not.

use super::ast::{Call, OpName, OpSet, PatternTable};
use super::error::TableError;

/// What a caller knows about operators and `where` expressions.
pub trait TableChecks {
    /// Looks up an operator; `opset` is the version that the table asks for, if it does.
    fn operator(&self, domain: &str, name: &str, opset: Option<i64>) -> OperatorLookup;

    /// Parses one `where` expression.
    fn parse_where(&self, text: &str) -> Result<(), WhereError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorLookup {
    Known {
        attributes: Vec<String>,
    },
    /// The domain is known and has no such operator; `similar` are names to suggest from.
    Unknown {
        similar: Vec<String>,
    },
    /// Nothing is known of the domain, so its operators are taken as they are written.
    UnknownDomain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhereError {
    /// Byte of the expression at which it went wrong.
    pub offset: usize,
    pub message: String,
}

pub(super) fn check(table: &PatternTable, checks: &dyn TableChecks) -> Result<(), TableError> {
    for pattern in &table.patterns {
        for call in pattern.calls() {
            if let OpSet::Names(names) = &call.ops {
                let known = names
                    .iter()
                    .map(|op| known_attributes(table, op, checks))
                    .collect::<Result<Vec<_>, _>>()?;
                check_attributes(table, call, &known)?;
            }
        }
        for clause in &pattern.where_ {
            checks.parse_where(&clause.text).map_err(|error| {
                let map = table.source.string_map(clause.span, &clause.text);
                let at = super::Span::at(map.offset(error.offset));
                table.error(at, format!("`where` does not parse: {}", error.message))
            })?;
        }
    }
    Ok(())
}

/// The attributes of an operator; `None` where nothing is known of its domain.
fn known_attributes(
    table: &PatternTable,
    op: &OpName,
    checks: &dyn TableChecks,
) -> Result<Option<Vec<String>>, TableError> {
    let opset = table.vendor.opset.get(&op.domain).copied();
    match checks.operator(&op.domain, &op.name, opset) {
        OperatorLookup::Known { attributes } => Ok(Some(attributes)),
        OperatorLookup::UnknownDomain => Ok(None),
        OperatorLookup::Unknown { similar } => {
            let domain = if op.domain.is_empty() { "ai.onnx" } else { &op.domain };
            let version = opset.map_or(String::new(), |version| format!(" at opset {version}"));
            let message = format!("unknown operator `{}` in domain {domain}{version}", op.name);
            Err(table.error(op.span, message).with_suggestion(&op.name, similar.iter().map(String::as_str)))
        }
    }
}

/// An attribute must belong to at least one of the operators that the call names.
fn check_attributes(
    table: &PatternTable,
    call: &Call,
    known: &[Option<Vec<String>>],
) -> Result<(), TableError> {
    for attribute in &call.attributes {
        let accepted =
            known.iter().any(|names| names.as_ref().is_none_or(|names| names.contains(&attribute.name)));
        if !accepted {
            let names = known.iter().flatten().flatten().map(String::as_str);
            let message = format!("unknown attribute `{}`", attribute.name);
            return Err(table.error(attribute.span, message).with_suggestion(&attribute.name, names));
        }
    }
    Ok(())
}
