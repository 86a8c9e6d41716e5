//! Operator schemas: what the standard says of each operator, at every version.
//!
//! The tables are built at compile time from the text files in `schemas/`. Lookup is a binary
//! search over static data. The default domain may be written `""` or `ai.onnx`.

mod check;
mod types;

pub use check::{SchemaError, check};
pub use types::{
    AttrDefault, AttrSchema, Formal, FormalOption, FunctionBody, OpSchema, TypeConstraint, TypeSet, onnx_name,
};

use crate::AttrKind;

struct Domain {
    name: &'static str,
    latest: i64,
    operators: &'static [Operator],
}

struct Operator {
    name: &'static str,
    /// Newest first.
    versions: &'static [OpSchema],
}

include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// The operators of the default domain that fold a tensor along axes.
pub const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

/// The domain's canonical name: the default domain is the empty string.
#[must_use]
pub fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn domain(name: &str) -> Option<&'static Domain> {
    let name = canonical_domain(name);
    DOMAINS.binary_search_by(|d| d.name.cmp(name)).ok().map(|index| &DOMAINS[index])
}

/// Every version of an operator, newest first; empty where there is none.
#[must_use]
pub fn versions(domain_name: &str, operator: &str) -> &'static [OpSchema] {
    let found = domain(domain_name).and_then(|d| {
        let index = d.operators.binary_search_by(|o| o.name.cmp(operator)).ok()?;
        Some(d.operators[index].versions)
    });
    found.unwrap_or(&[])
}

/// The schema that holds at an opset version: the newest that is not newer.
///
/// It may say that the operator is deprecated there.
#[must_use]
pub fn lookup(domain: &str, operator: &str, opset: i64) -> Option<&'static OpSchema> {
    versions(domain, operator).iter().find(|schema| schema.since_version <= opset)
}

/// Whether any version of the domain has such an operator.
#[must_use]
pub fn exists(domain: &str, operator: &str) -> bool {
    !versions(domain, operator).is_empty()
}

/// The newest version of a domain that the tables know.
#[must_use]
pub fn latest(domain_name: &str) -> Option<i64> {
    domain(domain_name).map(|d| d.latest)
}

/// All schemas, by domain, then name, then version from the newest.
pub fn all() -> impl Iterator<Item = &'static OpSchema> {
    DOMAINS.iter().flat_map(|d| d.operators).flat_map(|o| o.versions)
}
