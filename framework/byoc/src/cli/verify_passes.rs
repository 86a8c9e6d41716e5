//! `byoc run --verify-passes`: runs the model before and after each pass, and names the first that changes a
//! result beyond rounding.

use std::collections::HashMap;

use anyhow::bail;
use byoc::dataset::{self, DataSet};
use byoc::{Session, Tolerance, Verdict, compare, random, stages};
use byoc_graph::Datum;

use super::args::RunArgs;
use super::ui;

/// Beyond what reordering of float32 sums gives.
const ROUNDING: Tolerance = Tolerance { rtol: 1e-4, atol: 1e-6, atol_scale: 1e-5, quanta: 0 };

pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let mut before: Option<Vec<(String, Datum)>> = None;
    let mut inputs: Option<Vec<(String, Datum)>> = None;
    let mut passes = 0;
    for stage in stages(&args.job.model.model, &args.job.model.options())? {
        let session = Session::of_stage(&stage)?;
        let graph = session.graph();
        let given = match inputs.take() {
            Some(inputs) => inputs,
            None => first_inputs(args, graph)?,
        };
        let outputs = session.run(&given)?;
        inputs = Some(given);
        if let Some(before) = &before {
            for ((name, want), (_, got)) in before.iter().zip(&outputs) {
                if let Verdict::Off(mismatch) = compare(got, want, &ROUNDING, None) {
                    bail!("pass `{}` changes output `{name}`: {mismatch}", stage.name);
                }
            }
            passes += 1;
        }
        before = Some(outputs);
    }
    ui::print(&format!("{} checked: none changes a result beyond rounding\n", ui::count(passes, "pass")));
    Ok(())
}

fn first_inputs(args: &RunArgs, graph: &byoc_graph::Graph) -> anyhow::Result<Vec<(String, Datum)>> {
    let given = match &args.data {
        Some(data) => DataSet::read(&dataset::folders(data)?[0], graph)?.inputs,
        None => Vec::new(),
    };
    let mut inputs: HashMap<String, Datum> = given.into_iter().collect();
    let made = random::fill(graph, &inputs, &mut HashMap::new(), args.random.unwrap_or(0))?;
    inputs.extend(made);
    Ok(inputs.into_iter().collect())
}
