//! What has changed since a plan was made.

use byoc_graph::Model;
use byoc_graph::normalise::Removed;
use byoc_plugin::table::PatternTable;

use super::hash::{model_hash, table_hash};
use super::{Plan, PlanError, Step, StepError};

impl Plan {
    /// How the model and the vendors differ from those that the plan was made for, in words.
    pub fn changes(&self, model: &Model, tables: &[PatternTable]) -> Vec<String> {
        let mut changes = Vec::new();
        if model_hash(model) != self.model.hash {
            changes.push("the model is not the one that the plan was made for".to_owned());
        }
        for then in &self.vendors {
            let Some(now) = tables.iter().find(|t| t.vendor.name == then.name) else {
                changes.push(format!("{}, which the plan was made with, takes no part", then.name));
                continue;
            };
            if now.vendor.version != then.version {
                let version = |v: &Option<String>| v.clone().unwrap_or_else(|| "none".to_owned());
                let (name, from, to) = (&then.name, version(&then.version), version(&now.vendor.version));
                changes.push(format!("the version of {name} was {from} and is {to}"));
            }
            if table_hash(now) != then.table {
                changes.push(format!("the pattern table of {} has changed", then.name));
            }
        }
        changes
    }

    /// The first fold that normalisation did not do this time.
    pub(crate) fn check_folds(&self, removed: &[Removed]) -> Result<(), StepError> {
        let is = |(graph, node, op): (&str, &str, &str), r: &Removed| {
            r.graph == graph && r.name == node && r.op == op
        };
        for (step, fold) in self.steps.iter().enumerate() {
            let Step::Fold { graph, node, op, .. } = fold else { continue };
            if !removed.iter().any(|r| is((graph, node, op), r)) {
                let why = format!("normalisation did not take `{node}` of {graph} away");
                return Err(StepError { step, why });
            }
        }
        Ok(())
    }

    /// The error for a step that does not fit.
    pub(crate) fn error(&self, error: StepError, model: &Model, tables: &[PatternTable]) -> PlanError {
        let step = self.steps.get(error.step).map_or(String::new(), Step::describe);
        let line = self.lines.get(error.step).map_or(String::new(), |line| format!(" (line {line})"));
        let changes = self.changes(model, tables);
        let cause = if changes.is_empty() { String::new() } else { format!("; {}", changes.join("; ")) };
        PlanError::Step { number: error.step + 1, line, step, why: error.why, cause }
    }
}
