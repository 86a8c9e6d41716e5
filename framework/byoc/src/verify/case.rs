//! One region in this process: made again from its choices, computed by the plugin and by the host.

use byoc_graph::{DType, Datum, Graph, Model};
use byoc_host::{HostVersion, Library, LoadError, search};
use byoc_partitioner::{Kind, Report};

use super::job::{Answer, Case, Subject};
use crate::dataset::DataSet;
use crate::generate::{Generator, Made};
use crate::measure::ProfileSource;
use crate::{
    Error, Mismatch, Placement, Policy, Session, Timings, Tolerance, Verdict, compare, onnx, quanta, vendors,
};

/// Threads of the host.
const THREADS: usize = 2;
/// Of quantised elements one in so many may be a step off, and a few of any.
const STEPS_OFF: usize = 8;
const FEW: usize = 2;
/// Behind a quantisation that may be a step off, relative to the value and to the largest.
const BEHIND_QUANTISATION: f64 = 0.05;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Loads the library, opens the plugin and closes it.
pub(super) fn load(subject: &Subject) -> Result<Answer, String> {
    let vendors =
        vendors::load(&subject.sources(), &subject.options, &mut Timings::default()).map_err(text)?;
    let named = vendors.first().and_then(|vendor| Some((vendor, vendor.plugin.as_ref()?)));
    let (vendor, plugin) = named.ok_or("there is no plugin")?;
    let devices: Vec<&str> = plugin.devices().iter().map(|d| d.name.as_str()).collect();
    let chosen =
        vendor.device.map_or(String::new(), |device| format!(", of which {} is used", devices[device]));
    let minor = plugin.library().minor;
    let (name, devices) = (vendor.name(), devices.join(", "));
    Ok(Answer::Pass(format!("{name}, minor {minor} of the interface, devices {devices}{chosen}")))
}

/// The functions that the plugin has, and those that it leaves to the host.
pub(super) fn table(subject: &Subject) -> Result<Answer, String> {
    let library = library(subject).map_err(text)?;
    let (size, functions) = library.functions();
    let named = |wanted: bool| {
        let names = functions.iter().filter(|(_, present)| *present == wanted).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    let (has, lacks) = (named(true), named(false));
    let lacks = if lacks.is_empty() { String::new() } else { format!("; not {lacks}") };
    Ok(Answer::Pass(format!("minor {} agreed, a table of {size} bytes with {has}{lacks}", library.minor)))
}

fn library(subject: &Subject) -> Result<std::sync::Arc<Library>, LoadError> {
    Library::load(&search::find(&subject.plugin)?)
}

/// The model of a case.
pub(super) fn made(subject: &Subject, case: &Case) -> Result<Made, String> {
    let library = library(subject).map_err(text)?;
    let known = case.pattern < library.table.patterns.len();
    let generator = known.then(|| Generator::new(&library.table, case.pattern));
    generator.ok_or("the table has no such pattern")?.repeat(&case.choices).map_err(text)
}

/// Computes a case with the plugin, and compares.
pub(super) fn run(subject: &Subject, case: &Case) -> Result<Answer, String> {
    let made = made(subject, case)?;
    compare_with_host(subject, &made.model, &made.inputs)
}

/// Computes a model that lies in a folder with its inputs, and compares.
pub(super) fn run_saved(subject: &Subject, folder: &std::path::Path) -> Result<Answer, String> {
    let model = onnx::load(folder.join("model.onnx")).map_err(text)?;
    let set = DataSet::read(&folder.join("test_data_set_0"), &model.graph).map_err(text)?;
    compare_with_host(subject, &model, &set.inputs)
}

/// The plugin under a host of another version; a case as well where there is one.
pub(super) fn run_under(
    subject: &Subject,
    version: HostVersion,
    case: Option<&Case>,
) -> Result<Answer, String> {
    let path = search::find(&subject.plugin).map_err(text)?;
    let library = Library::load_under(&path, version).map_err(text)?;
    let minor = library.minor;
    match case {
        Some(case) => match run(subject, case)? {
            Answer::Pass(_) => Ok(Answer::Pass(format!("minor {minor} agreed, a region computed"))),
            other => Ok(other),
        },
        None => Ok(Answer::Pass(format!("minor {minor} agreed"))),
    }
}

/// A host that a plugin cannot work with gets no table.
pub(super) fn refused(
    subject: &Subject,
    attempt: fn(&std::path::Path) -> Result<Option<String>, LoadError>,
) -> Result<Answer, String> {
    let path = search::find(&subject.plugin).map_err(text)?;
    Ok(match attempt(&path).map_err(text)? {
        None => Answer::Pass("no table was given".into()),
        Some(wrong) => Answer::Fail(wrong),
    })
}

/// Calls that must do no harm.
pub(super) fn survived(
    subject: &Subject,
    attempt: fn(&Library) -> Vec<(&'static str, String)>,
) -> Result<Answer, String> {
    let outcomes = attempt(&*library(subject).map_err(text)?);
    let told: Vec<String> = outcomes.iter().map(|(call, outcome)| format!("{call}: {outcome}")).collect();
    Ok(Answer::Pass(told.join("; ")))
}

/// An extension that nobody has is none, and no error.
pub(super) fn unknown_extension(subject: &Subject) -> Result<Answer, String> {
    Ok(match byoc_host::border::unknown_extension(&*library(subject).map_err(text)?) {
        None => Answer::Skip("the plugin has no extensions".into()),
        Some(Ok(())) => Answer::Pass("none was given".into()),
        Some(Err(wrong)) => Answer::Fail(wrong),
    })
}

/// In the plain order of the table, whatever has been measured.
pub(super) fn plain() -> Placement {
    Placement { policy: Some(Policy::Greedy), profile: ProfileSource::None, ..Placement::default() }
}

/// A session of a model with the plugin, placed in the plain order of the table.
pub(super) fn session(subject: &Subject, model: &Model, threads: usize) -> Result<Session, Error> {
    Session::builder("generated.onnx")
        .model(model.clone())
        .vendors(subject.sources())
        .plugin_options(subject.options.clone())
        .placement(plain())
        .threads(threads)
        .build()
}

/// A session of a file, a model or a bundle, with the plugin.
pub(super) fn open(
    subject: &Subject,
    path: &std::path::Path,
    placement: Placement,
) -> Result<Session, Error> {
    Session::builder(path)
        .placement(placement)
        .vendors(subject.sources())
        .plugin_options(subject.options.clone())
        .threads(1)
        .build()
}

/// What the host alone computes.
pub(super) fn on_host(model: &Model, inputs: &[(String, Datum)]) -> Result<Vec<(String, Datum)>, Error> {
    Session::builder("generated.onnx").model(model.clone()).threads(THREADS).build()?.run(inputs)
}

/// Runs a model with the plugin and on the host.
pub(super) fn compare_with_host(
    subject: &Subject,
    model: &Model,
    inputs: &[(String, Datum)],
) -> Result<Answer, String> {
    let Ok(want) = on_host(model, inputs) else {
        return Ok(Answer::Skip("the host cannot compute it".into()));
    };
    let session = session(subject, model, THREADS).map_err(text)?;
    let report = session.report();
    if let Some(broken) = broken_claim(report) {
        return Ok(Answer::Fail(broken));
    }
    if report.summary.offloaded == 0 {
        let reason = report.nodes.iter().flat_map(|n| &n.reasons).find(|r| r.kind == Kind::Vendor);
        let why = reason.or_else(|| report.nodes.first()?.reasons.first()).map(|r| r.detail.clone());
        return Ok(Answer::Skip(format!("the plugin does not take it: {}", why.unwrap_or_default())));
    }
    let got = session.run(inputs).map_err(text)?;
    if let Some(fallback) = session.fallbacks().first() {
        return Ok(Answer::Fail(fallback.clone()));
    }
    match differing(session.graph(), &got, &want) {
        Some(difference) => Ok(Answer::Fail(difference)),
        None => Ok(Answer::Pass(match report.summary.offloaded {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        })),
    }
}

/// A region that the plugin has not refused and could not compile.
pub fn broken_claim(report: &Report) -> Option<String> {
    let reasons = report.nodes.iter().flat_map(|node| node.reasons.iter().map(move |r| (node, r)));
    let mut compile = reasons.filter(|(_, r)| r.kind == Kind::Compile);
    compile.next().map(|(node, r)| format!("its table takes {} `{}`, but {}", node.op, node.name, r.detail))
}

/// The first output that is beyond tolerance, in words.
pub fn differing(graph: &Graph, got: &[(String, Datum)], want: &[(String, Datum)]) -> Option<String> {
    let steps = quanta(graph);
    let quantises = graph.node_ids().any(|n| quantises(&graph.node(n).op.name));
    want.iter().find_map(|(name, want)| {
        let Some((_, got)) = got.iter().find(|(n, _)| n == name) else {
            return Some(format!("there is no output `{name}`"));
        };
        let step = steps.get(name).copied();
        let is_quantised = step.is_some() || made_by_quantisation(graph, name);
        let allowed = tolerance(want, quantises);
        let Verdict::Off(mismatch) = compare(got, want, &allowed, step) else { return None };
        // A step here and there is rounding.
        let is_rounding = is_quantised
            && compare(got, want, &Tolerance { quanta: 1, ..allowed }, step).is_within()
            && is_rare(&mismatch);
        (!is_rounding).then(|| format!("output `{name}`: {mismatch}"))
    })
}

fn is_rare(mismatch: &Mismatch) -> bool {
    matches!(mismatch, Mismatch::Element { off, of, .. } if *off <= (of / STEPS_OFF).max(FEW))
}

fn made_by_quantisation(graph: &Graph, output: &str) -> bool {
    let value = graph.value_by_name(output).map(|v| graph.value(v));
    let maker = value.and_then(|v| v.producer()).map(|(node, _)| graph.node(node));
    maker.is_some_and(|n| quantises(&n.op.name))
}

fn quantises(op: &str) -> bool {
    op.starts_with("QLinear") || op == "QuantizeLinear" || op == "DynamicQuantizeLinear"
}

/// How far an element may be off, by its type.
fn tolerance(want: &Datum, quantises: bool) -> Tolerance {
    let dtype = want.as_tensor().map_or(DType::F32, |t| t.dtype());
    let (rtol, atol, atol_scale) = match dtype {
        _ if quantises => (BEHIND_QUANTISATION, 1e-5, BEHIND_QUANTISATION),
        DType::F64 => (1e-6, 1e-9, 1e-7),
        DType::F16 => (1e-2, 1e-3, 1e-2),
        DType::BF16 => (4e-2, 1e-2, 4e-2),
        _ => (1e-3, 1e-5, 1e-4),
    };
    Tolerance { rtol, atol, atol_scale, quanta: 0 }
}
