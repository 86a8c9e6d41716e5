//! The command line of `verify`.

use std::path::PathBuf;

use byoc::PluginOption;
use byoc::verify::Version;
use clap::Args;

use super::parse::parse_plugin_option;

/// One plugin with its options.
#[derive(Args)]
pub struct PluginArgs {
    /// A plugin's path or name.
    pub plugin: String,
    /// Set an option of the plugin.
    #[arg(long = "plugin-option", value_name = "VENDOR.KEY=VALUE", value_parser = parse_plugin_option)]
    pub plugin_options: Vec<PluginOption>,
    /// Which of its devices to use, by name or number; else it is the first.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub plugin: PluginArgs,
    /// Run the checks whose `group/name` this matches.
    #[arg(long, value_name = "REGEX", value_parser = crate::cli::conformance::parse_filter)]
    pub filter: Option<regex::Regex>,
    /// Which models are made at random.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Regions of each pattern.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub cases: u16,
    /// How often a plugin is opened, a region compiled and run, and all destroyed again.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..))]
    pub rounds: u32,
    /// Seconds that one check may take.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// The newest glibc that the plugin may need.
    #[arg(long, value_name = "VERSION")]
    pub glibc: Option<Version>,
    /// Where models that show a failure are written.
    #[arg(long, value_name = "DIR", default_value = "byoc-verify")]
    pub save: PathBuf,
    /// Write the results as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Write the results as continuous integration reads them.
    #[arg(long, value_name = "OUT")]
    pub junit: Option<PathBuf>,
    /// Write the results as one self-contained page.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Tell only what is wrong.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct VerifyWorkerArgs {
    #[command(flatten)]
    pub plugin: PluginArgs,
}
