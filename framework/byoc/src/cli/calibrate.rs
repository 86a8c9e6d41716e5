//! `byoc calibrate`: measures the host and vendors, and keeps their rates for `--policy cost`.

use byoc::measure::{self, Calibrate, Calibration};
use byoc::{Error, ModelOptions};
use byoc_partitioner::cost::{Link, TargetProfile};
use serde_json::json;

use super::args::CalibrateArgs;
use super::ui::{self, Align, Table};

pub fn run(args: &CalibrateArgs) -> anyhow::Result<()> {
    let path = args.output.clone().or_else(measure::default_path).ok_or_else(|| {
        Error::Other("no home folder is known to keep the profile in; say where with --output".into())
    })?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let progress = ui::Progress::new(args.quiet);
    let calibrate = Calibrate {
        models: &args.models,
        model_options: ModelOptions {
            dims: args.dims.clone(),
            input_shapes: args.input_shapes.clone(),
            ..ModelOptions::default()
        },
        vendors: &args.vendors.sources,
        plugin_options: args.vendors.options(),
        threads: args.threads.map_or_else(cores, usize::from),
        progress: &|text| progress.show(text),
    };
    let done = calibrate.run();
    progress.clear();
    let done = done?;
    measure::write_merged(&path, &done.targets)?;
    if !args.quiet {
        done.warnings.iter().for_each(|w| ui::note(&format!("warning: {w}")));
    }
    if args.json {
        let json = json!({"profile": path, "targets": done.targets, "samples": done.samples});
        ui::print(&format!("{}\n", serde_json::to_string_pretty(&json)?));
    } else if !args.quiet {
        ui::print(&format!("{}\nwrote {}\n", describe(&done), path.display()));
    }
    Ok(())
}

fn describe(done: &Calibration) -> String {
    let right = Align::Right;
    let mut rates = Table::new(&[
        ("target", Align::Left),
        ("of", Align::Left),
        ("samples", right),
        ("fixed µs", right),
        ("GFLOP/s", right),
        ("GB/s", right),
        ("off by", right),
        ("elsewhere", right),
    ]);
    for target in &done.targets {
        for (of, r) in &target.rates {
            let (count, error) = fit_of(done, target, of);
            let mut row = vec![target.name.clone(), ui::shorten(of, 40), count];
            row.extend([r.fixed_us, r.gflops, r.gbps].map(number));
            row.extend([error, r.error.map_or(String::new(), |e| format!("{:.0} %", 100.0 * e.exp_m1()))]);
            rates.row(row);
        }
    }
    let mut calls = Table::new(&[
        ("target", Align::Left),
        ("device", Align::Left),
        ("threads", right),
        ("a call µs", right),
        ("a switch µs", right),
        ("copy in", Align::Left),
        ("copy out", Align::Left),
    ]);
    for target in &done.targets {
        calls.row(vec![
            target.name.clone(),
            ui::shorten(&target.device, 40),
            target.threads.map_or(String::new(), |n| n.to_string()),
            number(target.launch_us),
            number(target.switch.map(|switch| switch.us)),
            link(target.copy_in),
            link(target.copy_out),
        ]);
    }
    format!("{}\n{}", rates.render(ui::colour()), calls.render(ui::colour()))
}

/// How many samples an entry rests on, and how far it is off in the middle.
fn fit_of(done: &Calibration, target: &TargetProfile, of: &str) -> (String, String) {
    let own = done.samples.iter().filter(|s| s.target == target.name && s.of == of);
    let mut errors: Vec<f64> =
        own.filter_map(|s| Some((s.predicted_us? / s.measured_us - 1.0).abs())).collect();
    errors.sort_by(f64::total_cmp);
    match errors.get(errors.len() / 2) {
        Some(error) => (errors.len().to_string(), format!("{:.0} %", 100.0 * error)),
        None => (String::new(), String::new()),
    }
}

fn number(figure: Option<f64>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(x) if x >= 100.0 => format!("{x:.0}"),
        Some(x) if x >= 0.1 || x == 0.0 => format!("{x:.2}"),
        Some(x) => format!("{x:.4}"),
    }
}

fn link(link: Option<Link>) -> String {
    link.map_or("–".to_owned(), |l| format!("{} µs + {} GB/s", number(Some(l.fixed_us)), number(l.gbps)))
}
