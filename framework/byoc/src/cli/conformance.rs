//! `byoc conformance`: runs a suite of tests, each in a child process, and the hidden command of that child.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, bail};
use byoc::conformance::{self, Options, Outcome, Results, Suite, TestResult, TestSession};
use byoc::{VendorSource, files};
use regex::Regex;

use super::args::{ConformanceArgs, ConformanceTestArgs, ConformanceWorkerArgs};
use super::ui;

pub fn run(args: &ConformanceArgs) -> anyhow::Result<()> {
    let mut suite = Suite::find(&args.suite, &args.test.tolerance.get())?;
    if let Some(filter) = &args.filter {
        suite.retain(|label| filter.is_match(label));
        if suite.tests.is_empty() {
            bail!("no test of {} matches `{filter}`", args.suite.display());
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        command: worker_command(&args.test)?,
        jobs: args.jobs.map_or(cores, usize::from),
        limit: Duration::from_secs(args.timeout),
    };
    let results = conformance::run(&suite, &options, &show)?;
    if let Some(path) = &args.json {
        files::write_whole(path, results.json().as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    if let Some(path) = &args.junit {
        files::write_whole(path, results.junit().as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
    }
    if !args.quiet {
        ui::note(&placement(&results));
    }
    ui::print(&format!("{}\n{results}\n", cost(&results)));
    if results.failed > 0 {
        bail!("{} of {} failed", results.failed, ui::count(results.tests.len(), "test"));
    }
    Ok(())
}

/// The child: answers tests on standard input until there are no more.
pub fn serve(args: &ConformanceWorkerArgs) -> anyhow::Result<()> {
    let session = TestSession {
        model: byoc::ModelOptions {
            disabled_passes: args.test.disabled_passes.clone(),
            ..Default::default()
        },
        vendors: args.test.vendors.sources.clone(),
        plugin_options: args.test.vendors.options(),
        threads: args.test.threads.into(),
        reference: args.test.reference,
        check_types: args.test.check_types,
        tolerance: args.test.tolerance.get(),
    };
    conformance::serve(&session, std::io::stdin().lock(), std::io::stdout()).context("a worker's pipes")
}

/// This executable as a child, with the words that settle how tests run.
fn worker_command(args: &ConformanceTestArgs) -> anyhow::Result<Vec<OsString>> {
    let program = std::env::current_exe().context("the path of this executable")?;
    let mut words: Vec<OsString> = vec![program.into(), "conformance-worker".into()];
    for source in &args.vendors.sources {
        match source {
            VendorSource::Plugin(name) => words.extend(["--plugin".into(), name.into()]),
            VendorSource::Table(path) => words.extend(["--table".into(), path.into()]),
        }
    }
    words.extend(args.vendors.isolation.words().into_iter().map(OsString::from));
    for option in args.vendors.options().values {
        let text = format!("{}.{}={}", option.vendor, option.key, option.value);
        words.extend(["--plugin-option".into(), text.into()]);
    }
    for pass in &args.disabled_passes {
        words.extend(["--disable-pass".into(), pass.into()]);
    }
    if args.reference {
        words.push("--reference".into());
    }
    if args.check_types {
        words.push("--check-types".into());
    }
    let tolerance = args.tolerance.get();
    let numbers = [
        ("--threads", args.threads.to_string()),
        ("--rtol", tolerance.rtol.to_string()),
        ("--atol", tolerance.atol.to_string()),
        ("--atol-scale", tolerance.atol_scale.to_string()),
        ("--quanta", tolerance.quanta.to_string()),
    ];
    words.extend(numbers.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
    Ok(words)
}

/// One line for each test that does not pass, as it ends.
fn show(result: &TestResult) {
    let line = |word: &str, reason: &str| {
        ui::print(&format!("{word} {}/{}: {}\n", result.kind, result.name, reason.trim()));
    };
    match &result.outcome {
        Outcome::Passed => {}
        Outcome::Failed { reason } => line("FAILED ", reason),
        Outcome::Skipped { reason } => line("skipped", reason),
    }
}

fn placement(results: &Results) -> String {
    let sum = |count: fn(&TestResult) -> usize| results.tests.iter().map(count).sum::<usize>();
    let (offloaded, nodes) = (sum(|t| t.offloaded), sum(|t| t.nodes));
    match offloaded {
        0 => format!("host: {}", ui::count(nodes, "node")),
        _ => format!("vendors: {offloaded} of {}; host: {}", ui::count(nodes, "node"), nodes - offloaded),
    }
}

fn cost(results: &Results) -> String {
    let memory = results.peak_rss_mb.map_or(String::new(), |mb| format!(", peak memory {mb:.0} MiB"));
    let slowest = results.tests.iter().max_by(|a, b| a.ms.total_cmp(&b.ms));
    let slowest = slowest.map_or(String::new(), |t| format!(", the longest {} with {:.0} ms", t.name, t.ms));
    format!("{:.1} s{memory}{slowest}", results.seconds)
}

/// A regular expression of the command line.
pub fn parse_filter(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| e.to_string())
}
