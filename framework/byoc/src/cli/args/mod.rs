//! The command line.

mod check;
mod commands;
mod job;
mod parse;
mod quantize;
mod verify;

use byoc::VendorSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use check::*;
pub use commands::*;
pub use job::*;
pub use quantize::*;
pub use verify::*;

/// Bring Your Own Codegen: partitions ONNX models over accelerators, compiles each vendor's part with the
/// vendor's plugin, and runs the whole with the CPU for the rest.
#[derive(Parser)]
#[command(name = "byoc", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Compare versions of the plugin interface, and a plugin with one of them.
    #[command(subcommand)]
    Abi(AbiCommand),
    /// Show which vendor takes which part of a model, and why not the rest.
    Partition(PartitionArgs),
    /// Run a model, and compare its outputs with references where there are some.
    Run(RunArgs),
    /// Compile a model for its vendors, into one file that `run` and `bench` take in its place.
    Compile(CompileArgs),
    /// Measure a model's latency.
    Bench(BenchArgs),
    /// Find the region and the nodes where a vendor leaves the host's result, and write them as a model.
    Bisect(BisectArgs),
    /// Measure how fast the host and vendors work, for the cost policy.
    Calibrate(CalibrateArgs),
    /// Run a suite of tests in the layout of ONNX's backend tests, each in a process of its own.
    Conformance(ConformanceArgs),
    /// What `conformance` starts for its tests.
    #[command(hide = true)]
    ConformanceWorker(ConformanceWorkerArgs),
    /// Show what vendors take of a set of models, and what they lack.
    Coverage(CoverageArgs),
    /// The whole job on a model that byoc builds itself: partition, run, compare, report.
    Demo(DemoArgs),
    /// Show what there is to run on, and why a plugin cannot be loaded.
    Doctor(DoctorArgs),
    /// Compute random graphs with a plugin's regions inside, and compare with the host.
    Fuzz(FuzzArgs),
    /// Write a plugin to begin with, in Rust, C or C++.
    New(NewArgs),
    /// Show a plan, or what two plans decide differently.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// List plugins, or look at one without running its code.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Turn a float model into an int8 one, by the ranges that its tensors have for some inputs.
    Quantize(QuantizeArgs),
    /// What `--isolate` starts for a plugin.
    #[command(hide = true)]
    PluginWorker,
    /// Look at a plugin as a host does, in processes of its own, and say what it breaks.
    Verify(VerifyArgs),
    /// What `verify` starts for its checks.
    #[command(hide = true)]
    VerifyWorker(VerifyWorkerArgs),
}

impl Cli {
    /// Reads the command line; on bad usage prints why and exits with status 2.
    pub fn read() -> Cli {
        let matches = Cli::command().get_matches();
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
        if let Some((_, matches)) = matches.subcommand() {
            let vendors = match &mut cli.command {
                Command::Partition(args) => Some(&mut args.job.vendors),
                Command::Run(args) => Some(&mut args.job.vendors),
                Command::Compile(args) => Some(&mut args.job.vendors),
                Command::Bench(args) => Some(&mut args.job.vendors),
                Command::Bisect(args) => Some(&mut args.job.vendors),
                Command::Coverage(args) => Some(&mut args.vendors),
                Command::Calibrate(args) => Some(&mut args.vendors),
                Command::Quantize(args) => Some(&mut args.vendors),
                Command::Conformance(args) => Some(&mut args.test.vendors),
                Command::ConformanceWorker(args) => Some(&mut args.test.vendors),
                _ => None,
            };
            if let Some(vendors) = vendors {
                vendors.sources = in_order(vendors, matches);
            }
        }
        cli
    }
}

/// Plugins and tables, mixed as on the command line.
fn in_order(args: &VendorArgs, matches: &ArgMatches) -> Vec<VendorSource> {
    let places = |name| matches.indices_of(name).into_iter().flatten();
    let plugins = args.plugins.iter().cloned().map(VendorSource::Plugin);
    let tables = args.tables.iter().cloned().map(VendorSource::Table);
    let mut all: Vec<_> = places("plugins").zip(plugins).chain(places("tables").zip(tables)).collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, source)| source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn plugins_and_tables_keep_their_order() {
        let words =
            ["byoc", "partition", "m.onnx", "--table", "a.toml", "--plugin", "p", "--table", "b.toml"];
        let matches = Cli::command().get_matches_from(words);
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Command::Partition(args) = cli.command else { panic!("partition") };
        let sources = in_order(&args.job.vendors, matches.subcommand().unwrap().1);
        let expected = [
            VendorSource::Table("a.toml".into()),
            VendorSource::Plugin("p".into()),
            VendorSource::Table("b.toml".into()),
        ];
        assert_eq!(sources, expected);
    }
}
