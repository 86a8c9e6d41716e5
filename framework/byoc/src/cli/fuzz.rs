//! `byoc fuzz`: random graphs with a plugin's regions inside.

use std::time::Duration;

use anyhow::bail;
use byoc::verify::{FuzzOptions, fuzz};

use super::args::FuzzArgs;
use super::{ui, verify};

pub fn run(args: &FuzzArgs) -> anyhow::Result<()> {
    let options = FuzzOptions {
        command: verify::worker_command(&args.plugin)?,
        call: verify::call(&args.plugin)?,
        limit: Duration::from_secs(args.timeout),
        seconds: args.seconds,
        seed: args.seed,
    };
    let done = fuzz(&args.plugin.plugin, &options, &args.save)?;
    let of = format!("{}, {} without a region", ui::count(done.graphs, "graph"), done.skipped);
    match done.failure {
        None => {
            ui::print(&format!("{of}: all as on the host\n"));
            Ok(())
        }
        Some(failure) => {
            ui::print(&format!("{} {}\n      {}\n", failure.verdict.word(), failure.detail, failure.repeat));
            bail!("a graph of {} shows something wrong, after {of}", ui::count(failure.nodes, "node"))
        }
    }
}
