//! The commands, one a file.

mod abi;
mod args;
mod bench;
mod bisect;
mod calibrate;
mod compare;
mod compile;
mod conformance;
mod coverage;
mod demo;
mod doctor;
mod explain;
mod fuzz;
mod new;
mod partition;
mod place;
mod plan;
mod plugin;
mod precision;
mod quantize;
mod run;
pub mod ui;
mod verify;
mod verify_passes;

pub use args::Cli;
use args::Command;

/// Does what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let is_worker = matches!(
        cli.command,
        Command::ConformanceWorker(_) | Command::PluginWorker | Command::VerifyWorker(_)
    );
    if !is_worker {
        // How a worker has ended, its parent tells.
        byoc_host::explain_crashes_while_loading();
    }
    match cli.command {
        Command::Partition(args) => partition::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Bisect(args) => bisect::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::ConformanceWorker(args) => conformance::serve(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Abi(command) => abi::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::New(args) => new::run(&args),
        Command::Plan(command) => plan::run(&command),
        Command::Plugin(command) => plugin::run(&command),
        Command::Quantize(args) => quantize::run(&args),
        Command::PluginWorker => Ok(byoc::isolate::serve()?),
        Command::Verify(args) => verify::run(&args),
        Command::VerifyWorker(args) => verify::serve(&args),
    }
}
