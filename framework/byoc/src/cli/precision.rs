//! `byoc run --compare-precision`: outputs in the chosen precision beside those in f32.

use byoc::dataset::{self, DataSet};
use byoc::{OutputError, Precision, Session, Timings, files, precision};
use byoc_graph::{Datum, Graph};
use serde::Serialize;

use super::args::RunArgs;
use super::place::{self, HostOptions};
use super::ui::{self, Align, Table};

/// Named inputs or outputs of one run.
type Named = Vec<(String, Datum)>;

#[derive(Serialize)]
struct Comparison {
    precision: &'static str,
    /// By data set; one without a name where there are none.
    sets: Vec<Set>,
}

#[derive(Serialize)]
struct Set {
    name: String,
    outputs: Vec<OutputError>,
}

pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let precision = Precision::from(args.precision);
    let mut timings = Timings::default();
    let host = |precision| HostOptions { threads: args.threads, precision, ..HostOptions::default() };
    let exact = place::session(&args.job, host(Precision::F32), &mut timings)?;
    place::print_summary(&exact, &args.job.common);
    let inputs = inputs(args, exact.graph())?;
    let outputs = |session: &Session| {
        inputs.iter().map(|(_, given)| session.run(given)).collect::<Result<Vec<Named>, byoc::Error>>()
    };
    let want = timings.time("run", || outputs(&exact))?;
    // Weights of both need not be there at once.
    drop(exact);
    let reduced = place::session(&args.job, host(precision), &mut timings)?;
    let got = timings.time("run", || outputs(&reduced))?;
    let set = |((name, _), (want, got)): (&(String, Named), (&Named, &Named))| Set {
        name: name.clone(),
        outputs: precision::errors(want, got),
    };
    let sets = inputs.iter().zip(want.iter().zip(&got)).map(set).collect();
    let comparison = Comparison { precision: precision.name(), sets };
    ui::print(&describe(&comparison, ui::colour()));
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&comparison)?;
        files::write_whole(path, json.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    place::write_timings(&args.job.common, &timings)
}

/// Inputs of every data set, or those of the command line.
fn inputs(args: &RunArgs, graph: &Graph) -> anyhow::Result<Vec<(String, Named)>> {
    let Some(data) = &args.data else {
        return Ok(vec![(String::new(), super::run::inputs(args, graph, Vec::new())?)]);
    };
    let set = |folder: &std::path::PathBuf| {
        let set = DataSet::read(folder, graph)?;
        Ok((set.name, super::run::inputs(args, graph, set.inputs)?))
    };
    dataset::folders(data)?.iter().map(set).collect()
}

fn describe(comparison: &Comparison, colour: bool) -> String {
    let mut text = format!("{} beside f32\n", comparison.precision);
    for set in &comparison.sets {
        if !set.name.is_empty() {
            text += &format!("{}\n", set.name);
        }
        let mut table = Table::new(&[
            ("output", Align::Left),
            ("elements", Align::Right),
            ("max abs", Align::Right),
            ("max rel", Align::Right),
            ("cosine", Align::Right),
            ("top-1", Align::Right),
        ]);
        for error in &set.outputs {
            table.row(vec![
                error.output.clone(),
                error.elements.to_string(),
                format!("{:.2e}", error.max_abs),
                format!("{:.2e}", error.max_rel),
                format!("{:.6}", error.cosine),
                error.top1.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share)),
            ]);
        }
        text += &table.render(colour);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_has_a_row() {
        let error = |output: &str, top1| OutputError {
            output: output.into(),
            elements: 2000,
            max_abs: 0.0125,
            max_rel: 0.25,
            cosine: 0.9998765,
            top1,
        };
        let set = Set {
            name: "test_data_set_0".into(),
            outputs: vec![error("scores", Some(0.5)), error("state", None)],
        };
        let expected = "\
int8 beside f32
test_data_set_0
  output  elements  max abs  max rel    cosine   top-1
  scores      2000  1.25e-2  2.50e-1  0.999876  50.0 %
  state       2000  1.25e-2  2.50e-1  0.999876       -
";
        assert_eq!(describe(&Comparison { precision: "int8", sets: vec![set] }, false), expected);
    }
}
