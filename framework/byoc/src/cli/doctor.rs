//! `byoc doctor`: what there is to run on, and why a plugin cannot be loaded.

use std::time::Duration;

use anyhow::bail;
use byoc::verify::{Verdict, examine};
use byoc_host::{LoadError, PluginFile, search};
use serde::Serialize;

use super::args::DoctorArgs;
use super::{ui, verify};

/// How long a plugin may take to load.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Report {
    machine: Machine,
    folders: Vec<Folder>,
    plugins: Vec<Found>,
}

#[derive(Serialize)]
struct Machine {
    architecture: &'static str,
    /// What host kernels use of the processor.
    instructions: String,
    /// Threads that a session has without `--threads`.
    threads: usize,
    /// The plugin interface: epoch and minor.
    interface: String,
}

/// Where plugins are looked for.
#[derive(Serialize)]
struct Folder {
    path: String,
    exists: bool,
}

#[derive(Serialize)]
struct Found {
    path: String,
    /// `pass` where it loads.
    verdict: Verdict,
    detail: String,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let named: Vec<String> = match args.plugins.is_empty() {
        true => candidates(),
        false => args.plugins.clone(),
    };
    let report = Report {
        machine: machine(),
        folders: folders(),
        plugins: named.iter().map(|plugin| look_at(plugin)).collect::<anyhow::Result<_>>()?,
    };
    if args.json {
        ui::print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    } else {
        ui::print(&describe(&report));
    }
    match report.plugins.iter().filter(|p| p.verdict.is_bad()).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} cannot be loaded", ui::count(report.plugins.len(), "plugin")),
    }
}

/// Libraries in the search folders that are plugins or want to be: most are neither.
fn candidates() -> Vec<String> {
    let is_one =
        |path: &std::path::PathBuf| !matches!(PluginFile::read(path), Err(LoadError::NoEntry { .. }));
    search::libraries().into_iter().filter(is_one).map(|path| path.display().to_string()).collect()
}

fn machine() -> Machine {
    let (epoch, minor) = byoc::interface_version();
    Machine {
        architecture: std::env::consts::ARCH,
        instructions: byoc::instructions(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        interface: format!("{epoch}.{minor}"),
    }
}

fn folders() -> Vec<Folder> {
    let folders = search::folders().into_iter();
    folders.map(|path| Folder { exists: path.is_dir(), path: path.display().to_string() }).collect()
}

/// Looks at the file, then has a child process load it.
fn look_at(plugin: &str) -> anyhow::Result<Found> {
    let path = match search::find(plugin) {
        Ok(path) => path,
        Err(error) => {
            return Ok(Found { path: plugin.into(), verdict: Verdict::Fail, detail: error.to_string() });
        }
    };
    if let Err(error) = PluginFile::read(&path) {
        let detail = error.to_string();
        return Ok(Found { path: path.display().to_string(), verdict: Verdict::Fail, detail });
    }
    let path = path.display().to_string();
    let (verdict, detail) = examine(verify::worker_of(&path)?, LIMIT)?;
    Ok(Found { path, verdict, detail })
}

fn describe(report: &Report) -> String {
    let Report { machine, folders, plugins } = report;
    let mut text = format!(
        "machine\n  {}, kernels with {}, {}\n  plugin interface {}\n\nplugins are looked for in\n",
        machine.architecture,
        machine.instructions,
        ui::count(machine.threads, "thread"),
        machine.interface
    );
    for folder in folders {
        let note = if folder.exists { "" } else { " (not there)" };
        text += &format!("  {}{note}\n", folder.path);
    }
    text += "\nplugins\n";
    for plugin in plugins {
        text += &format!("  {:5} {}\n        {}\n", plugin.verdict.word(), plugin.path, plugin.detail);
    }
    if plugins.is_empty() {
        text += "  none\n";
    }
    text
}
