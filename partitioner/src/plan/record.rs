//! Records a partition as a plan.

use byoc_graph::Model;
use byoc_graph::normalise::Removed;
use byoc_plugin::table::PatternTable;

use super::figures::{self, HostFigures};
use super::hash::{model_hash, table_hash};
use super::{HostReasons, Plan, PlanModel, PlanOptions, PlanVendor, Predicted, SCHEMA, Step};
use crate::options::{Options, PartitionError};
use crate::will::Will;
use crate::{Partition, Region, place};

impl Plan {
    /// The plan of a partition of `model`, which lost `removed` to normalisation before.
    pub fn of(
        partition: &Partition,
        model: &Model,
        tables: &[PatternTable],
        options: &Options,
        removed: &[Removed],
    ) -> Result<Plan, PartitionError> {
        let mut steps: Vec<Step> = removed.iter().map(fold).collect();
        steps.extend(will_steps(Will::of(options, model, &place::graphs(model))?));
        steps.extend(options.denied.iter().map(|denied| Step::Deny {
            graph: denied.graph.clone(),
            node: denied.node.clone(),
            vendor: denied.vendor.clone(),
            kind: denied.kind,
            why: denied.detail.clone(),
        }));
        steps.extend(steps_of(model, &partition.regions));
        let vendor = |table: &PatternTable| PlanVendor {
            name: table.vendor.name.clone(),
            version: table.vendor.version.clone(),
            table: table_hash(table),
        };
        let (regions, on_host) = figures::of(partition, model, tables, options);
        let on_host = partition.host.iter().zip(on_host);
        let host = on_host.map(|(host, HostFigures { us, bytes })| HostReasons {
            graph: host.report.graph.clone(),
            node: host.report.name.clone(),
            us,
            bytes,
            why: host.report.reasons.clone(),
        });
        Ok(Plan {
            schema: SCHEMA.to_owned(),
            model: PlanModel { hash: model_hash(model), nodes: partition.node_count },
            vendors: tables.iter().map(vendor).collect(),
            options: PlanOptions {
                policy: partition.policy,
                merge_siblings: options.merge_siblings,
                disabled_passes: options.disabled_passes.clone(),
            },
            predicted: Predicted {
                us: partition.predicted.map(|total| total.us),
                greedy_us: partition.greedy_predicted.map(|total| total.us),
            },
            steps,
            regions,
            host: host.collect(),
            lines: Vec::new(),
        })
    }
}

fn fold(removed: &Removed) -> Step {
    Step::Fold {
        graph: removed.graph.clone(),
        node: removed.name.clone(),
        op: removed.op.clone(),
        why: removed.why,
    }
}

fn will_steps(will: Will) -> impl Iterator<Item = Step> {
    let exclude = will.exclude.into_iter().map(|what| Step::Exclude { what });
    let only = will.only_ops.into_iter().map(|op| Step::Only { op });
    let force = will.force.into_iter().map(Step::Force);
    exclude.chain(only).chain(force).chain(will.cuts.into_iter().map(Step::Cut))
}

/// The composites of all regions, then what is merged: some merges close no cycle only since a composite of
/// another region has a copy of its own.
pub fn steps_of<'a>(model: &Model, regions: impl IntoIterator<Item = &'a Region>) -> Vec<Step> {
    let (mut steps, mut merges) = (Vec::new(), Vec::new());
    for region in regions {
        let Some(graph) = region.graph.get(model) else { continue };
        let label = |id| graph.node(id).label.to_string();
        let path = &region.graph.text;
        for composite in &region.composites {
            steps.push(Step::Place {
                graph: path.clone(),
                vendor: region.vendor_name.clone(),
                pattern: composite.pattern.clone(),
                root: label(composite.root),
                nodes: composite.members.iter().map(|m| label(m.node)).collect(),
            });
        }
        if region.composites.len() > 1 {
            let roots = region.composites.iter().map(|c| label(c.root)).collect();
            merges.push(Step::Merge { graph: path.clone(), roots });
        }
    }
    steps.append(&mut merges);
    steps
}
