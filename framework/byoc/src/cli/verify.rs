//! `byoc verify`: looks at a plugin as a host does, and the hidden command of its child processes.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, bail};
use byoc::verify::{self, Check, Options, Subject, Verdict};
use byoc::{PluginOption, PluginOptions, files};
use byoc_host::{PluginFile, search};

use super::args::{PluginArgs, VerifyArgs, VerifyWorkerArgs};
use super::ui;

pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let filter = args.filter.clone();
    let options = Options {
        command: worker_command(&args.plugin)?,
        call: call(&args.plugin)?,
        limit: Duration::from_secs(args.timeout),
        seed: args.seed,
        cases: args.cases.into(),
        rounds: args.rounds as usize,
        glibc: args.glibc,
        save: args.save.clone(),
        wanted: Box::new(move |label| filter.as_ref().is_none_or(|f| f.is_match(label))),
    };
    let quiet = args.quiet;
    let mut seen = |check: &Check| {
        if !quiet || check.verdict.is_bad() {
            ui::print(&describe(check));
        }
    };
    let results = verify::verify(&args.plugin.plugin, &options, &mut seen)?;
    if results.checks.is_empty() {
        bail!("no check of {} matches the filter", args.plugin.plugin);
    }
    let written =
        [(&args.json, results.json()), (&args.junit, results.junit()), (&args.html, results.html())];
    for (path, content) in written {
        if let Some(path) = path {
            files::write_whole(path, content.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
        }
    }
    ui::print(&format!("{:.1} s\n{results}\n", results.seconds));
    match results.bad() {
        0 => Ok(()),
        bad => {
            let show = if bad == 1 { "shows" } else { "show" };
            bail!("{bad} of {} {show} something wrong", ui::count(results.checks.len(), "check"))
        }
    }
}

/// The child: does jobs from standard input until there are no more.
pub fn serve(args: &VerifyWorkerArgs) -> anyhow::Result<()> {
    verify::serve(&subject(&args.plugin)?, std::io::stdin().lock(), std::io::stdout())
        .context("a worker's pipes")
}

/// The plugin with its options, among which is the device.
fn subject(args: &PluginArgs) -> anyhow::Result<Subject> {
    let mut values = args.plugin_options.clone();
    if let Some(device) = &args.device {
        let vendor = PluginFile::read(&search::find(&args.plugin)?)?.table()?.vendor.name;
        values.push(PluginOption { vendor, key: byoc::DEVICE.to_owned(), value: device.clone() });
    }
    Ok(Subject { plugin: args.plugin.clone(), options: PluginOptions::from(values) })
}

/// The child that works with a plugin of no options.
pub fn worker_of(plugin: &str) -> anyhow::Result<Vec<OsString>> {
    worker_command(&PluginArgs { plugin: plugin.to_owned(), plugin_options: Vec::new(), device: None })
}

pub fn worker_command(args: &PluginArgs) -> anyhow::Result<Vec<OsString>> {
    let program = std::env::current_exe().context("the path of this executable")?;
    let mut words: Vec<OsString> = vec![program.into(), "verify-worker".into(), args.plugin.clone().into()];
    for option in &args.plugin_options {
        words.extend(["--plugin-option".into(), given(option).into()]);
    }
    words.extend(args.device.iter().flat_map(|device| ["--device".into(), device.into()]));
    Ok(words)
}

fn given(option: &PluginOption) -> String {
    format!("{}.{}={}", option.vendor, option.key, option.value)
}

/// What a command that repeats a failure has to have of a plugin's command line.
pub fn call(args: &PluginArgs) -> anyhow::Result<String> {
    let mut call = format!("--plugin {}", args.plugin);
    for option in subject(args)?.options.values {
        call += &match option.key.as_str() {
            byoc::DEVICE if args.device.is_some() => format!(" --device {}={}", option.vendor, option.value),
            _ => format!(" --plugin-option {}", given(&option)),
        };
    }
    Ok(call)
}

fn describe(check: &Check) -> String {
    let word = match (check.verdict, ui::colour()) {
        (verdict, false) => format!("{:5}", verdict.word()),
        (Verdict::Pass, true) => format!("\x1b[32m{:5}\x1b[0m", check.verdict.word()),
        (Verdict::Skip, true) => format!("\x1b[2m{:5}\x1b[0m", check.verdict.word()),
        (_, true) => format!("\x1b[1;31m{:5}\x1b[0m", check.verdict.word()),
    };
    let mut text = format!("{word} {}: {}\n", check.label(), check.detail.trim());
    if let Some(repeat) = &check.repeat {
        text += &format!("      {repeat}\n");
    }
    text
}
