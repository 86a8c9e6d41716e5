//! What keeps most arithmetic on the host: a vendor's road map.
//!
//! Nodes on the host are gathered by vendor, operator, and the kind, pattern and clause of the vendor's first
//! reason; the first is the nearest miss, so it is what a vendor would mend first.

use byoc_graph::{Model, cost};
use byoc_plugin::table::PatternTable;
use indexmap::IndexMap;
use serde::Serialize;

use crate::report::{Kind, Reason};
use crate::{Partition, advice};

/// What to mend, the most arithmetic first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoadMap {
    /// Arithmetic of the whole model, as far as it is known.
    pub flops: u64,
    pub obstacles: Vec<Obstacle>,
}

/// One reason that keeps nodes of one operator from one vendor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Obstacle {
    pub vendor: String,
    pub op: String,
    pub nodes: usize,
    /// Nodes whose arithmetic is not known; they count as none.
    pub unknown: usize,
    pub flops: u64,
    /// Share of the model's arithmetic.
    pub share: Option<f64>,
    pub kind: Kind,
    pub pattern: Option<String>,
    pub clause: Option<String>,
    /// The words about the node with the most arithmetic.
    pub detail: String,
    /// That node.
    pub example: String,
    pub change: String,
}

type Key = (String, String, Kind, Option<String>, Option<String>);

impl Partition {
    pub fn road_map(&self, model: &Model, tables: &[PatternTable]) -> RoadMap {
        let graphs: Vec<_> = self.graphs.iter().map(|path| path.get(model)).collect();
        let known = graphs.iter().flatten().flat_map(|g| g.node_ids().map(|id| cost::of(g, id).flops));
        let all = known.flatten().fold(0u64, u64::saturating_add);
        let mut obstacles: IndexMap<Key, (Obstacle, u64)> = IndexMap::new();
        for host in &self.host {
            let flops = graphs[host.graph].and_then(|g| cost::of(g, host.node).flops);
            let mut seen: Vec<&str> = Vec::new();
            for reason in &host.report.reasons {
                if seen.contains(&reason.vendor.as_str()) {
                    continue;
                }
                seen.push(&reason.vendor);
                let (op, name) = (&host.report.op, &host.report.name);
                let clause = clause(reason, tables);
                let key = (reason.vendor.clone(), op.clone(), reason.kind, reason.pattern.clone(), clause);
                let fresh = || (obstacle(reason, op, tables), 0);
                let (obstacle, most) = obstacles.entry(key).or_insert_with(fresh);
                obstacle.nodes += 1;
                obstacle.unknown += usize::from(flops.is_none());
                let flops = flops.unwrap_or(0);
                obstacle.flops = obstacle.flops.saturating_add(flops);
                if obstacle.nodes == 1 || flops > *most {
                    *most = flops;
                    (obstacle.detail, obstacle.example) = (reason.detail.clone(), name.clone());
                    obstacle.change = advice::change(reason, (name, op), tables);
                }
            }
        }
        let mut obstacles: Vec<Obstacle> = obstacles.into_values().map(|(obstacle, _)| obstacle).collect();
        for obstacle in &mut obstacles {
            obstacle.share = (all > 0).then(|| obstacle.flops as f64 / all as f64);
        }
        obstacles.sort_by_key(|o| std::cmp::Reverse((o.flops, o.unknown, o.nodes)));
        RoadMap { flops: all, obstacles }
    }
}

fn clause(reason: &Reason, tables: &[PatternTable]) -> Option<String> {
    let pattern = advice::find(tables, &reason.vendor, reason.pattern.as_deref()?)?;
    (reason.kind == Kind::Where).then(|| advice::clause(pattern, &reason.detail).map(str::to_owned))?
}

fn obstacle(reason: &Reason, op: &str, tables: &[PatternTable]) -> Obstacle {
    Obstacle {
        vendor: reason.vendor.clone(),
        op: op.to_owned(),
        nodes: 0,
        unknown: 0,
        flops: 0,
        share: None,
        kind: reason.kind,
        pattern: reason.pattern.clone(),
        clause: clause(reason, tables),
        detail: String::new(),
        example: String::new(),
        change: String::new(),
    }
}
