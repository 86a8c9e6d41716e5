//! A case: reading it, carrying it out, comparing, and blessing what comes out.

mod bless;
mod expected;
mod format;

use std::path::Path;

use byoc_graph::onnx;
use byoc_partitioner::{NoCheck, Report, partition};

use crate::support::always::check_always;
use crate::support::ready::options;
use crate::support::{Ready, tables};
pub use bless::bless;
use expected::check_expected;
pub use format::Case;

/// What comes out of a case.
pub enum Outcome {
    Error { message: String, line: Option<usize> },
    Partition { ready: Box<Ready>, report: Box<Report>, model_bytes: usize, wrong: Vec<String> },
}

/// Reads and carries out a case; `Err` says what is wrong with the case itself.
pub fn carry_out(case: &Case, folder: &Path) -> Result<Outcome, String> {
    let failed = |error: &dyn ToString, line| Ok(Outcome::Error { message: error.to_string(), line });
    let tables = match tables(&case.tables) {
        Ok(tables) => tables,
        Err(error) => return failed(&error, Some(error.line)),
    };
    let model = match (&case.model, &case.model_file) {
        (Some(text), _) => onnx::from_text(text, None),
        (None, Some(file)) => onnx::load(folder.join(file)),
        (None, None) => return Err("the case has no model".into()),
    };
    let model = match model {
        Ok(model) => model,
        Err(error) => return failed(&error, None),
    };
    let ready = Ready::new(model);
    let options = options(&case.args)?;
    let result = match partition(&ready.model, &tables, &options, &mut NoCheck) {
        Ok(result) => result,
        Err(error) => return failed(&error, None),
    };
    let report = ready.report(&result);
    let mut wrong = Vec::new();
    check_always(&ready, &tables, &options, &result, &report, &mut wrong);
    let outlined = result.outline(&ready.model).map_err(|e| e.to_string())?;
    let model_bytes = onnx::to_bytes(&outlined).map_err(|e| e.to_string())?.len();
    Ok(Outcome::Partition { ready: Box::new(ready), report: Box::new(report), model_bytes, wrong })
}

/// Compares what comes out with what the case says; `Err` lists what does not hold.
pub fn check(case: &Case, outcome: &Outcome) -> Result<(), String> {
    if case.states_nothing() {
        return Err("the case says nothing of what must come out".into());
    }
    let (ready, report, model_bytes, wrong) = match outcome {
        Outcome::Error { message, line } => return check_error(case, message, *line),
        Outcome::Partition { ready, report, model_bytes, wrong } => (ready, report, *model_bytes, wrong),
    };
    if !case.expect.error_contains.is_empty() {
        return Err("an error was expected".into());
    }
    let mut wrong = wrong.clone();
    check_expected(case, ready, report, &mut wrong);
    if case.expect.max_model_bytes.is_some_and(|most| most < model_bytes) {
        wrong.push(format!("the partitioned model has {model_bytes} bytes"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let report = serde_json::to_string_pretty(report).expect("a report is JSON");
    Err(format!("{}\n{report}", wrong.join("\n")))
}

fn check_error(case: &Case, message: &str, line: Option<usize>) -> Result<(), String> {
    let expected = &case.expect.error_contains;
    if expected.is_empty() || !expected.iter().all(|text| message.contains(text)) {
        return Err(format!("unexpected error: {message}"));
    }
    match case.expect.error_line {
        Some(wanted) if line != Some(wanted) => Err(format!("line {line:?}, not {wanted}: {message}")),
        _ => Ok(()),
    }
}
