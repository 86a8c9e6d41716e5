//! `byoc quantize`: from a float model and some inputs to an int8 model.

use byoc::quantize::{self, Activations, Method, QuantizeOptions, QuantizeReport, Samples};
use byoc::{Timings, files};
use byoc_graph::onnx;

use super::args::{ActivationsArg, MethodArg, QuantizeArgs};
use super::place;
use super::ui::{self, Align, Table};

/// Tensors that are shown, the worst of them.
const SHOWN: usize = 10;

pub fn run(args: &QuantizeArgs) -> anyhow::Result<()> {
    let mut timings = Timings::default();
    let samples = match (&args.data, args.random) {
        (Some(data), _) => Samples::open(data)?,
        (None, seed) => Samples::Random { seed: seed.unwrap_or(0), count: args.samples.into() },
    };
    let options = QuantizeOptions {
        method: match args.method {
            MethodArg::MinMax => Method::MinMax,
            MethodArg::Percentile => Method::Percentile(args.percentile),
            MethodArg::Entropy => Method::Entropy,
        },
        per_tensor: args.per_tensor,
        activations: match args.activations {
            ActivationsArg::U8 => Activations::U8,
            ActivationsArg::I8 => Activations::I8,
        },
        no_bias_correction: args.no_bias_correction,
        exclude: args.exclude.clone(),
        only_ops: args.only_ops.clone(),
        vendors: args.vendors.sources.clone(),
        plugin_options: args.vendors.options(),
        threads: args.threads.map(usize::from),
        cosine: args.cosine,
    };
    let path = &args.model.model;
    let done = quantize::quantize(path, &args.model.options(), &samples, &options, &mut timings)?;
    timings.time("write", || onnx::save(&done.model, &args.output))?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&done.report)? + "\n";
        files::write_whole(path, json.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    if !args.common.quiet {
        ui::print(&describe(&done.report));
        let size = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        let (before, after) = (ui::bytes(size(path)), ui::bytes(size(&args.output)));
        ui::note(&format!("wrote {} ({after}; {} has {before})", args.output.display(), path.display()));
    }
    place::write_timings(&args.common, &timings)
}

fn describe(report: &QuantizeReport) -> String {
    let decibels = |sqnr: Option<f64>| sqnr.map_or("–".to_owned(), |db| format!("{db:.1}"));
    let mut text = format!(
        "{} of {} between quantised tensors, after {}",
        report.quantised,
        ui::count(report.nodes, "node"),
        ui::count(report.samples, "sample")
    );
    let float: Vec<String> = report.float.iter().map(|(op, n)| format!("{n} {op}")).collect();
    if !float.is_empty() {
        text += &format!("\nfloat: {}", ui::shorten(&float.join(", "), 150));
    }
    let mut outputs =
        Table::new(&[("output", Align::Left), ("cosine", Align::Right), ("SQNR dB", Align::Right)]);
    for output in &report.outputs {
        outputs.row(vec![output.name.clone(), format!("{:.6}", output.cosine), decibels(output.sqnr_db)]);
    }
    let mut tensors = Table::new(&[
        ("worst tensors", Align::Left),
        ("of", Align::Left),
        ("scale", Align::Right),
        ("zero", Align::Right),
        ("cosine", Align::Right),
        ("SQNR dB", Align::Right),
    ]);
    let mut worst: Vec<_> = report.tensors.iter().collect();
    worst.sort_by(|a, b| a.cosine.total_cmp(&b.cosine));
    for tensor in worst.into_iter().take(SHOWN) {
        tensors.row(vec![
            ui::shorten(&tensor.name, 50),
            if tensor.op.is_empty() { "input".into() } else { tensor.op.clone() },
            format!("{:.3e}", tensor.scale),
            tensor.zero_point.to_string(),
            format!("{:.6}", tensor.cosine),
            decibels(tensor.sqnr_db),
        ]);
    }
    let colour = ui::colour();
    format!("{text}\n\n{}\n{}", outputs.render(colour), tensors.render(colour))
}
