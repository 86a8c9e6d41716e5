//! The plan of a partition: every decision as a step that a person can read, compare, edit and have replayed.
//!
//! [`Plan::of`] records a partition, [`replay`](crate::replay) carries a plan out with no policy involved:
//! each match, merge and limit is tested again, vendors are asked again, and the same verifier has the last
//! word. Why nodes stay on the host is recorded beside the steps and decides nothing.

mod check;
mod diff;
mod figures;
mod file;
mod hash;
mod recall;
mod record;
mod replay;

use byoc_graph::normalise::Why;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::options::Policy;
use crate::report::{Kind, Reason};
use crate::will::{Cut, Forced};

pub use diff::{Change, Difference, Moved, Placement, RegionNodes, difference};
pub use figures::RegionFigures;
pub use hash::{model_hash, table_hash};
pub(crate) use record::steps_of;
pub(crate) use replay::{Replay, StepError};

pub const SCHEMA: &str = "byoc.plan/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub schema: String,
    pub model: PlanModel,
    #[serde(default)]
    pub vendors: Vec<PlanVendor>,
    pub options: PlanOptions,
    #[serde(default)]
    pub predicted: Predicted,
    /// In the order in which they are carried out.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the regions cost, as far as it was known.
    #[serde(default)]
    pub regions: Vec<RegionFigures>,
    /// Why nodes stay on the host: what reports say of those that still do.
    #[serde(default)]
    pub host: Vec<HostReasons>,
    /// The line of each step, where the plan was read from a file.
    #[serde(skip)]
    pub lines: Vec<usize>,
}

/// The model that the plan was made for, as it was when it was partitioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanModel {
    pub hash: String,
    pub nodes: usize,
}

/// A vendor that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanVendor {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of the text of its pattern table.
    pub table: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOptions {
    pub policy: Policy,
    pub merge_siblings: bool,
    #[serde(default)]
    pub disabled_passes: Vec<String>,
}

/// Predicted times, where they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greedy_us: Option<f64>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Normalisation took the node away; it must do so again.
    Fold { graph: String, node: String, op: String, why: Why },
    /// The user keeps a node, or all nodes of an operator, on the host.
    Exclude { what: String },
    /// The user lets only such operators (all `only` steps together) leave the host.
    Only { op: String },
    /// The user has the node go to the target.
    Force(Forced),
    /// The user draws a border that regions do not cross.
    Cut(Cut),
    /// The vendor cannot have the node, as a compilation has shown.
    Deny { graph: String, node: String, vendor: String, kind: Kind, why: String },
    /// A pattern of a vendor takes these nodes; `root` is the one that its last statement matches.
    Place { graph: String, vendor: String, pattern: String, root: String, nodes: Vec<String> },
    /// Composites, by their roots, form one region.
    Merge { graph: String, roots: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostReasons {
    pub graph: String,
    pub node: String,
    /// How long it takes there, where that was predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us: Option<f64>,
    /// What it gets from other targets and no node of the host before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    pub why: Vec<Reason>,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    #[error("{file}:{line}: {message}")]
    Syntax { file: String, line: usize, message: String },
    #[error("the plan's schema is `{0}`; this version reads {SCHEMA}")]
    Schema(String),
    /// The first step that does not fit.
    #[error("the plan does not fit from step {number}{line} on ({step}): {why}{cause}")]
    Step { number: usize, line: String, step: String, why: String, cause: String },
}

impl Step {
    /// The step in a few words.
    pub fn describe(&self) -> String {
        match self {
            Step::Fold { node, op, .. } => format!("fold {op} `{node}`"),
            Step::Exclude { what } => format!("exclude `{what}`"),
            Step::Only { op } => format!("only {op}"),
            Step::Force(forced) => format!("force `{}` to {}", forced.node, forced.target),
            Step::Cut(cut) => format!("cut at `{}`", cut.node),
            Step::Deny { node, vendor, .. } => format!("deny `{node}` to {vendor}"),
            Step::Place { vendor, pattern, root, .. } => {
                format!("place `{pattern}` of {vendor} at `{root}`")
            }
            Step::Merge { roots, .. } => {
                format!("merge {} composites, `{}` first", roots.len(), roots.first().map_or("", |r| r))
            }
        }
    }
}
