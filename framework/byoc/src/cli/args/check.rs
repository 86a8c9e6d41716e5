//! The command lines of commands that look for what is wrong with a vendor.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::job::{JobArgs, VendorArgs};
use super::verify::PluginArgs;

#[derive(Args)]
pub struct BisectArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// A folder with `test_data_set_*/input_K.pb`: look at each set.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where no data are given: the seed of random inputs.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub random: u64,
    /// Where the smallest model that shows the difference is written.
    #[arg(short, long, value_name = "DIR", default_value = "byoc-bisect")]
    pub output: PathBuf,
}

#[derive(Args)]
pub struct FuzzArgs {
    #[command(flatten)]
    pub plugin: PluginArgs,
    /// How long to go on.
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub seconds: u64,
    /// Which graphs are made at random.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Seconds that one graph may take.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Where a graph that shows a failure is written.
    #[arg(long, value_name = "DIR", default_value = "byoc-fuzz")]
    pub save: PathBuf,
}

#[derive(Args)]
pub struct DoctorArgs {
    /// Plugins to look at, by path or name; without, all that are found.
    #[arg(value_name = "PLUGIN")]
    pub plugins: Vec<String>,
    /// Write JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CoverageArgs {
    /// A folder; every `.onnx` and `.onnxtxt` in it and in its folders is a model.
    #[arg(value_name = "MODEL_DIR")]
    pub models: PathBuf,
    #[command(flatten)]
    pub vendors: VendorArgs,
    /// Write all of it as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Write one self-contained page.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum AbiCommand {
    /// Say whether a plugin fits this host, and what it was built with.
    Check(AbiCheckArgs),
    /// Print the layout of this version: numbers, and size, fields and offsets of every struct.
    Layout,
}

#[derive(Args)]
pub struct AbiCheckArgs {
    /// A plugin's path or name.
    pub plugin: String,
    /// A version as `0.0`, or a file: the `byoc_abi.h` that the plugin was built with, or what `layout` prints.
    #[arg(long, value_name = "VERSION|FILE")]
    pub against: Option<String>,
}
