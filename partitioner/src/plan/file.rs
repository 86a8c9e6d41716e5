//! A plan as a file: TOML, one step a line, so that plans can be compared line by line.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use toml::{Spanned, Value};

use super::{
    HostReasons, Plan, PlanError, PlanModel, PlanOptions, PlanVendor, Predicted, RegionFigures, SCHEMA, Step,
};

/// A list is broken into lines where it would be longer.
const MAX_LINE: usize = 160;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    model: PlanModel,
    #[serde(default)]
    vendors: Vec<PlanVendor>,
    options: PlanOptions,
    #[serde(default)]
    predicted: Predicted,
    #[serde(default)]
    steps: Vec<Spanned<Value>>,
    #[serde(default)]
    regions: Vec<RegionFigures>,
    #[serde(default)]
    host: Vec<HostReasons>,
}

/// Read first: a later schema may have keys that this version does not know.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

impl Plan {
    /// Reads a plan; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
        let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let syntax = |line: usize, error: toml::de::Error| PlanError::Syntax {
            file: file.to_owned(),
            line,
            message: error.message().to_owned(),
        };
        let read = |error: toml::de::Error| syntax(error.span().map_or(1, |span| line(span.start)), error);
        let head: Head = toml::from_str(text).map_err(read)?;
        if head.schema != SCHEMA {
            return Err(PlanError::Schema(head.schema));
        }
        let File { schema, model, vendors, options, predicted, steps, regions, host } =
            toml::from_str(text).map_err(read)?;
        let lines = lines(text, &steps);
        // One by one: an error in a list has no place of its own.
        let steps = steps
            .into_iter()
            .zip(&lines)
            .map(|(step, line)| Step::deserialize(step.into_inner()).map_err(|error| syntax(*line, error)));
        let steps = steps.collect::<Result<_, _>>()?;
        Ok(Plan { schema, model, vendors, options, predicted, steps, regions, host, lines })
    }

    /// The plan as it is written.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "schema = {}", inline(&self.schema));
        let _ = writeln!(text, "model = {}", inline(&self.model));
        list(&mut text, "vendors", &self.vendors);
        let _ = writeln!(text, "options = {}", inline(&self.options));
        if self.predicted != Predicted::default() {
            let _ = writeln!(text, "predicted = {}", inline(&self.predicted));
        }
        text.push('\n');
        list(&mut text, "steps", &self.steps);
        text.push_str(
            "\n# What the regions cost, and why the rest stays on the host. Nothing is decided by it.\n",
        );
        list(&mut text, "regions", &self.regions);
        list(&mut text, "host", &self.host);
        text
    }
}

/// The line at which each step begins, in one pass over the text.
fn lines(text: &str, steps: &[Spanned<Value>]) -> Vec<usize> {
    let (mut line, mut at) = (1, 0);
    let mut line_at = |offset: usize| {
        if offset >= at {
            line += text.as_bytes()[at..offset].iter().filter(|b| **b == b'\n').count();
            at = offset;
        }
        line
    };
    steps.iter().map(|step| line_at(step.span().start.min(text.len()))).collect()
}

fn list<T: Serialize>(text: &mut String, name: &str, items: &[T]) {
    if items.is_empty() {
        let _ = writeln!(text, "{name} = []");
        return;
    }
    let _ = writeln!(text, "{name} = [");
    for item in items {
        let line = inline(item);
        let broken = if line.len() > MAX_LINE { breaking(item) } else { line };
        let _ = writeln!(text, "    {broken},");
    }
    text.push_str("]\n");
}

fn value<T: Serialize>(item: &T) -> Value {
    Value::try_from(item).expect("plans hold nothing that TOML cannot")
}

/// On one line.
fn inline<T: Serialize>(item: &T) -> String {
    value(item).to_string()
}

/// A table whose lists are written with one item a line, as TOML 1.0 allows within an inline table.
fn breaking<T: Serialize>(item: &T) -> String {
    let Value::Table(table) = value(item) else { return inline(item) };
    let entries = table.iter().map(|(key, value)| match value {
        Value::Array(items) => {
            let items: String = items.iter().map(|item| format!("\n        {item},")).collect();
            format!("{key} = [{items}\n    ]")
        }
        other => format!("{key} = {other}"),
    });
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}
