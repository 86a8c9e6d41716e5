//! What a caller may ask of a partition, and how plugins take part in it.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId, ValueId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cost::{CostModel, RegionCost, Times};
use crate::fold::Folded;
use crate::plan::PlanError;
use crate::region::Region;
use crate::report::Kind;
use crate::will::Cut;

/// How composites are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// By priority, then size, then order.
    #[default]
    Greedy,
    /// What is predicted to take the least time, and never more than what the greedy policy chooses.
    Cost,
    /// The same by times that were measured of the model's own regions.
    Measured,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub policy: Policy,
    /// `vendor:device` by vendor, where one of several devices was chosen.
    pub targets: HashMap<String, String>,
    /// What is known of the targets' speed beyond the tables.
    pub cost: CostModel,
    /// What was measured of this model.
    pub times: Times,
    /// How long the cost policy searches, in milliseconds of a usual machine. It is counted in moves, so that
    /// the result does not depend on the time that passes.
    pub budget_ms: u64,
    /// Merge regions of one vendor that do not feed each other, too.
    pub merge_siblings: bool,
    /// Nodes, by name, or operators that stay on the host.
    pub exclude: Vec<String>,
    /// Nodes that have to go to a target: a vendor, or `host`.
    pub force: Vec<(String, String)>,
    /// Operators that may leave the host; all, where it is empty.
    pub only_ops: Vec<String>,
    /// Borders that regions do not cross.
    pub cuts: Vec<Cut>,
    /// What earlier attempts have shown not to work, as where a plugin failed to compile a region.
    pub denied: Vec<Denied>,
    /// Recognisers of decomposed forms that are off.
    pub disabled_passes: Vec<String>,
    /// Say of offloaded nodes, too, what else was considered.
    pub rivals: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            policy: Policy::default(),
            targets: HashMap::new(),
            cost: CostModel::default(),
            times: Times::default(),
            budget_ms: 2000,
            merge_siblings: false,
            exclude: Vec::new(),
            force: Vec::new(),
            only_ops: Vec::new(),
            cuts: Vec::new(),
            denied: Vec::new(),
            rivals: false,
            disabled_passes: Vec::new(),
        }
    }
}

/// A node that must not go to a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// As reports name graphs.
    pub graph: String,
    pub node: String,
    pub vendor: String,
    pub kind: Kind,
    pub detail: String,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum PartitionError {
    #[error("two tables are for vendor `{0}`; a vendor has one table")]
    DuplicateVendor(String),
    #[error("no node and no operator of the model is named `{0}`, which is to be excluded{1}")]
    UnknownExclude(String, String),
    #[error("no operator is named `{0}`, which alone is to be offloaded{1}")]
    UnknownOperator(String, String),
    #[error("no node of the model is named `{0}`, which is to be forced to `{1}`{2}")]
    UnknownForce(String, String, String),
    #[error("`{0}` is forced to `{1}`, which cannot have it: {2}")]
    Unforced(String, String, String),
    #[error("no node of the model is named `{0}`, at which there is to be a cut{1}")]
    UnknownCut(String, String),
    #[error("a marker in the model's metadata cannot be read: {0}")]
    Marker(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("`{0}` is forced to `{1}`, but the targets are host{2}")]
    UnknownTarget(String, String, String),
    #[error("the result is not a valid partition, which is a defect of the partitioner: {0}")]
    Invalid(String),
    #[error("the partitioned model cannot be built: {0}")]
    Graph(#[from] byoc_graph::GraphError),
}

/// One match, as a vendor is asked about it.
pub struct MatchView<'a> {
    /// Index among the tables.
    pub vendor: usize,
    pub graph: &'a Graph,
    pub pattern: &'a str,
    /// In model order.
    pub nodes: &'a [NodeId],
    pub bindings: &'a [(String, ValueId)],
    /// Normalisations that are folded into products.
    pub folded: &'a [Folded],
}

/// A vendor's answer about a region.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// With what it is going to take, as far as the vendor knows.
    Accept(RegionCost),
    /// These nodes cannot be part of it, with the vendor's words.
    Exclude(Vec<(NodeId, String)>),
    Refuse(String),
}

/// The vendors' own checks, supplied by whoever has loaded them. A table alone accepts everything.
pub trait Check {
    /// `Err` holds the vendor's words.
    fn check_match(&mut self, _: &MatchView<'_>) -> Result<(), String> {
        Ok(())
    }

    fn check_region(&mut self, _: &Region, _: &Graph) -> Answer {
        Answer::Accept(RegionCost::default())
    }
}

/// Accepts everything.
pub struct NoCheck;

impl Check for NoCheck {}
