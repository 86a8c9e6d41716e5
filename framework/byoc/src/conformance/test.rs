//! Running one test in this process.

use std::collections::HashMap;

use byoc_graph::DType;

use super::random::{compare_samples, drawn_outputs};
use super::{Outcome, Test};
use crate::dataset::{self, DataSet};
use crate::{
    Datum, Error, ModelOptions, PluginOptions, Session, Tolerance, VendorSource, Verdict, compare, quanta,
};

/// How the models of tests are placed and run.
#[derive(Clone, Debug, Default)]
pub struct TestSession {
    pub model: ModelOptions,
    pub vendors: Vec<VendorSource>,
    pub plugin_options: PluginOptions,
    pub threads: usize,
    pub reference: bool,
    /// See [`crate::SessionBuilder::check_types`].
    pub check_types: bool,
    /// What is allowed beyond a test's own `rtol` and `atol`.
    pub tolerance: Tolerance,
}

/// A test that has ended, and how much of its model vendors ran.
pub(super) struct Done {
    pub outcome: Outcome,
    pub offloaded: usize,
    pub nodes: usize,
}

impl Done {
    fn without_model(outcome: Outcome) -> Done {
        Done { outcome, offloaded: 0, nodes: 0 }
    }
}

impl TestSession {
    /// Runs every data set of a test. The first difference ends it.
    pub(super) fn run(&self, test: &Test) -> Done {
        let path = test.folder.join("model.onnx");
        if !path.exists() {
            return Done::without_model(Outcome::Skipped { reason: "there is no model.onnx".into() });
        }
        let Ok(folders) = dataset::folders(&test.folder) else {
            return Done::without_model(Outcome::Skipped { reason: "there is no test_data_set_*".into() });
        };
        let builder = Session::builder(path)
            .model_options(self.model.clone())
            .vendors(self.vendors.clone())
            .plugin_options(self.plugin_options.clone())
            .threads(self.threads)
            .reference(self.reference)
            .check_types(self.check_types);
        let session = match builder.build() {
            Ok(session) => session,
            Err(e) => return Done::without_model(Outcome::Failed { reason: e.to_string() }),
        };
        let summary = &session.report().summary;
        let (offloaded, nodes) = (summary.offloaded, summary.nodes);
        let tolerance = Tolerance { rtol: test.rtol, atol: test.atol, quanta: test.quanta, ..self.tolerance };
        let sets = folders.iter().map(|folder| run_set(&session, folder, &tolerance));
        let outcome = match sets.collect::<Result<Vec<usize>, String>>() {
            Ok(compared) if compared.iter().sum::<usize>() == 0 => {
                Outcome::Skipped { reason: "there is no output_*.pb to compare with".into() }
            }
            Ok(_) => Outcome::Passed,
            Err(reason) => Outcome::Failed { reason },
        };
        Done { outcome, offloaded, nodes }
    }
}

/// How many outputs were compared; else what differs or went wrong.
fn run_set(session: &Session, folder: &std::path::Path, tolerance: &Tolerance) -> Result<usize, String> {
    let text = |e: Error| e.to_string();
    let set = DataSet::read(folder, session.graph()).map_err(text)?;
    let outputs: HashMap<String, Datum> = session.run(&set.inputs).map_err(text)?.into_iter().collect();
    let (steps, drawn) = (quanta(session.graph()), drawn_outputs(session.graph()));
    for (name, want) in &set.outputs {
        let got = outputs.get(name).ok_or_else(|| format!("{}: no output `{name}`", set.name))?;
        if drawn.contains(name.as_str()) {
            compare_samples(got, want).map_err(|why| format!("{}: output `{name}`: {why}", set.name))?;
            continue;
        }
        let tolerance = for_type(want, tolerance);
        if let Verdict::Off(mismatch) = compare(got, want, &tolerance, steps.get(name).copied()) {
            return Err(format!("{}: output `{name}`: {mismatch}", set.name));
        }
    }
    Ok(set.outputs.len())
}

/// Two roundings to bfloat16 may be further apart than a suite's tolerance, which is meant for wider types:
/// as ONNX's own runner of this suite, allow two units of its last place.
fn for_type(want: &Datum, tolerance: &Tolerance) -> Tolerance {
    const BF16_RTOL: f64 = 1.0 / 64.0;
    let is_bf16 = want.as_tensor().is_some_and(|t| t.dtype() == DType::BF16);
    Tolerance { rtol: if is_bf16 { tolerance.rtol.max(BF16_RTOL) } else { tolerance.rtol }, ..*tolerance }
}
