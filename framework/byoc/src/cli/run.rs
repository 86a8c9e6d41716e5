//! `byoc run`: runs a model on given, referenced or random inputs, and compares.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use byoc::dataset::{self, DataSet};
use byoc::{Session, Verdict, compare, quanta, random};
use byoc_graph::{Datum, Graph, npy, onnx};

use super::args::RunArgs;
use super::place::{self, HostOptions, session};
use super::{bisect, precision, ui, verify_passes};

pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    if args.verify_passes {
        return verify_passes::run(args);
    }
    if args.compare_precision {
        return precision::run(args);
    }
    let mut timings = byoc::Timings::default();
    let host = HostOptions {
        threads: args.threads,
        reference: args.reference,
        precision: args.precision.into(),
        check_types: args.check_types,
    };
    let session = session(&args.job, host, &mut timings)?;
    place::print_summary(&session, &args.job.common);
    let result = timings.time("run", || match &args.data {
        Some(data) => run_sets(args, &session, data),
        None => run_once(args, &session),
    });
    place::print_fallbacks(&session);
    place::write_timings(&args.job.common, &timings)?;
    result
}

fn run_once(args: &RunArgs, session: &Session) -> anyhow::Result<()> {
    let inputs = inputs(args, session.graph(), Vec::new())?;
    if args.compare_layers {
        bisect::compare_layers(&args.job, session, &inputs)?;
    }
    let outputs = session.run(&inputs)?;
    if let Some(folder) = &args.output {
        write_outputs(folder, &outputs)?;
    }
    if !args.job.common.quiet {
        ui::print(&describe(&outputs));
    }
    Ok(())
}

/// Runs every data set, and fails where one differs from its reference.
fn run_sets(args: &RunArgs, session: &Session, data: &Path) -> anyhow::Result<()> {
    let graph = session.graph();
    let quanta = quanta(graph);
    let folders = dataset::folders(data)?;
    let mut failed = 0;
    for folder in &folders {
        let set = DataSet::read(folder, graph)?;
        let inputs = inputs(args, graph, set.inputs)?;
        if args.compare_layers {
            bisect::compare_layers(&args.job, session, &inputs)?;
        }
        let outputs = session.run(&inputs).with_context(|| set.name.clone())?;
        if let Some(out) = &args.output {
            let out = if folders.len() > 1 { out.join(&set.name) } else { out.clone() };
            write_outputs(&out, &outputs)?;
        }
        failed += usize::from(!report_set(args, &set.name, &outputs, &set.outputs, &quanta));
    }
    if failed > 0 {
        bail!("{failed} of {} differ from their references", ui::count(folders.len(), "data set"));
    }
    Ok(())
}

fn report_set(
    args: &RunArgs,
    name: &str,
    outputs: &[(String, Datum)],
    want: &[(String, Datum)],
    quanta: &HashMap<String, f64>,
) -> bool {
    let mut good = true;
    let mut lines = String::new();
    for (output, want) in want {
        let Some((_, got)) = outputs.iter().find(|(name, _)| name == output) else { continue };
        let tolerance = args.tolerance.get();
        match compare(got, want, &tolerance, quanta.get(output).copied()) {
            Verdict::Within { worst } => {
                lines += &format!(
                    "  {output}: ok, the worst element used {:.1} % of its allowance\n",
                    100.0 * worst
                );
            }
            Verdict::Off(mismatch) => {
                good = false;
                lines += &format!("  {output}: DIFFERS, {mismatch}\n");
            }
        }
    }
    if want.is_empty() {
        lines += "  no reference outputs: nothing was compared\n";
    }
    if !args.job.common.quiet || !good {
        ui::print(&format!("{name}\n{lines}"));
    }
    good
}

/// Given inputs over those of a data set over random ones.
pub(super) fn inputs(
    args: &RunArgs,
    graph: &Graph,
    from_set: Vec<(String, Datum)>,
) -> anyhow::Result<Vec<(String, Datum)>> {
    let mut inputs: HashMap<String, Datum> = from_set.into_iter().collect();
    for (name, file) in &args.inputs {
        let value = graph.value_by_name(name).filter(|v| graph.inputs().contains(v));
        let Some(value) = value else {
            let known: Vec<_> =
                graph.inputs().iter().map(|&v| format!("`{}`", graph.value(v).name)).collect();
            bail!("the model has no input `{name}`; it has {}", known.join(", "));
        };
        let ty = graph.value(value).ty.as_ref();
        let path = Path::new(file);
        let datum = match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => npy::read(path, ty.and_then(|t| t.dtype()))?.into(),
            Some("pb") => onnx::read_datum(path, ty)?,
            _ => bail!("{file}: inputs are read from .npy and .pb files"),
        };
        inputs.insert(name.clone(), datum);
    }
    if let Some(seed) = args.random {
        let made = random::fill(graph, &inputs, &mut HashMap::new(), seed)?;
        inputs.extend(made);
    }
    Ok(inputs.into_iter().collect())
}

/// Writes `output_K.pb`, each whole or not at all.
fn write_outputs(folder: &Path, outputs: &[(String, Datum)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (k, (name, datum)) in outputs.iter().enumerate() {
        onnx::write_datum(folder.join(format!("output_{k}.pb")), name, datum)?;
    }
    Ok(())
}

fn describe(outputs: &[(String, Datum)]) -> String {
    let mut text = String::new();
    for (name, datum) in outputs {
        let what = match datum {
            Datum::Tensor(t) => format!("{t:?}"),
            other => other.kind().to_owned(),
        };
        text += &format!("  {name}: {what}\n");
    }
    text
}
