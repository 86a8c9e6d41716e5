//! A pattern table as data. Spans are bytes of the table's text.

use std::collections::BTreeMap;

use super::source::{Source, Span};

/// One vendor's table.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternTable {
    pub vendor: VendorHeader,
    pub patterns: Vec<Pattern>,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VendorHeader {
    pub name: String,
    pub version: Option<String>,
    /// Opset version by domain (`""` is ONNX's own). A domain that is not here is accepted in any known version.
    pub opset: BTreeMap<String, i64>,
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub min_region_nodes: usize,
    pub max_region_nodes: usize,
    pub max_regions: usize,
    pub static_shapes: bool,
    pub require_compute: bool,
    pub fold: Vec<Fold>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            min_region_nodes: 1,
            max_region_nodes: 4096,
            max_regions: 64,
            static_shapes: false,
            require_compute: false,
            fold: Vec::new(),
        }
    }
}

/// What is folded into the weights of the node before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fold {
    BatchNorm,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    pub name: String,
    pub priority: i64,
    /// In the order of the file; the last one is the root. Never empty.
    pub statements: Vec<Statement>,
    pub where_: Vec<Clause>,
    pub allow_taps: bool,
    pub cost: Option<CostRate>,
    /// Where the pattern's `match` is.
    pub span: Span,
}

/// One expression of `where`, not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    pub text: String,
    /// The TOML string, quotes included.
    pub span: Span,
}

/// The vendor's own cost model; an absent figure is unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CostRate {
    pub fixed_us: Option<f64>,
    pub gflops: Option<f64>,
    pub gbps: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// `None` is an output written as `_`. Never empty.
    pub outputs: Vec<Option<String>>,
    /// Calls that may make these outputs, in search order. Never empty.
    pub alternatives: Vec<Call>,
    pub span: Span,
}

/// One node of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub ops: OpSet,
    pub quantifier: Quantifier,
    pub attributes: Vec<Attribute>,
    pub args: Vec<Arg>,
    /// `...` at the end: any further inputs.
    pub variadic_rest: bool,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpSet {
    /// `_`: any operator without bodies.
    Any,
    /// In search order. Never empty.
    Names(Vec<OpName>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpName {
    /// `""` for ONNX's own domain, also where it was written `ai.onnx`.
    pub domain: String,
    pub name: String,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    One,
    /// `Op?`: where the node is absent, its first input stands for its output.
    Optional,
    /// `Op*`: zero or more such nodes along the first input.
    Chain,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub name: String,
    pub value: Literal,
    pub span: Span,
}

/// A value as ONNX text writes it. A whole number may stand for a float attribute, and an empty list, held as
/// `Ints`, for an empty list of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    pub kind: ArgKind,
    /// The input may be missing.
    pub optional: bool,
    pub constness: Constness,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ArgKind {
    Name(String),
    /// `_`: any value.
    Any,
    /// A nested node without a name.
    Call(Box<Call>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constness {
    Any,
    Const,
    Input,
}

impl Call {
    /// This call and the calls nested in its arguments, outer ones first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Call)) {
        visit(self);
        for arg in &self.args {
            if let ArgKind::Call(inner) = &arg.kind {
                inner.walk(visit);
            }
        }
    }
}

impl Pattern {
    /// Every call of the pattern, nested ones included, in the order of the text.
    pub fn calls(&self) -> Vec<&Call> {
        let mut calls = Vec::new();
        for call in self.statements.iter().flat_map(|statement| &statement.alternatives) {
            call.walk(&mut |call| calls.push(call));
        }
        calls
    }
}
