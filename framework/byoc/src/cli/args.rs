//! The command line.

use std::path::PathBuf;

pub use super::check_args::{BisectArgs, FuzzArgs};
pub use super::verify_args::{VerifyArgs, VerifyWorkerArgs};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use byoc::{ModelOptions, PluginOption, PluginOptions, VendorSource};
use byoc_partitioner::will::Cut;

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
    /// The whole job on a model that byoc builds itself: partition, run, compare, report.
    Demo(DemoArgs),
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
    /// Look at a plugin as a host does, in processes of its own, and say what it breaks.
    Verify(VerifyArgs),
    /// What `verify` starts for its checks.
    #[command(hide = true)]
    VerifyWorker(VerifyWorkerArgs),
}

#[derive(Args)]
pub struct NewArgs {
    /// The plugin's name, as a crate's: letters, digits, `-` and `_`.
    pub name: byoc::new::PluginName,
    /// What to write it in.
    #[arg(long, value_enum)]
    pub lang: LanguageArg,
    /// The folder to write to, which must not exist or be empty; named as the plugin by default.
    #[arg(long, visible_alias = "out", value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// A checkout of BYOC that a Rust plugin depends on; by default the one of this command, if it lies in one.
    #[arg(long, value_name = "DIR", conflicts_with = "byoc_git")]
    pub byoc_path: Option<PathBuf>,
    /// A repository of BYOC that a Rust plugin depends on, and that its continuous integration installs.
    #[arg(long, value_name = "URL")]
    pub byoc_git: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum LanguageArg {
    Rust,
    C,
    Cpp,
}

impl From<LanguageArg> for byoc::new::Language {
    fn from(arg: LanguageArg) -> Self {
        match arg {
            LanguageArg::Rust => byoc::new::Language::Rust,
            LanguageArg::C => byoc::new::Language::C,
            LanguageArg::Cpp => byoc::new::Language::Cpp,
        }
    }
}

#[derive(Subcommand)]
pub enum PlanCommand {
    /// Show a plan as tables.
    Show(PlanShowArgs),
    /// Show what changes from one plan to another, and what it costs.
    Diff(PlanDiffArgs),
}

#[derive(Args)]
pub struct PlanShowArgs {
    /// A file that `--save-plan` has written.
    pub plan: PathBuf,
    /// Write JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PlanDiffArgs {
    pub before: PathBuf,
    pub after: PathBuf,
    /// Write JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum PluginCommand {
    /// List the plugins that a name is looked up among.
    List(PluginListArgs),
    /// Show a plugin's name, version, ABI and pattern table.
    Info(PluginInfoArgs),
}

#[derive(Args)]
pub struct PluginListArgs {
    /// Write JSON to standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PluginInfoArgs {
    /// A plugin's path or name.
    pub plugin: String,
    /// Write JSON to standard output.
    #[arg(long)]
    pub json: bool,
    /// Print the pattern table as it lies in the plugin.
    #[arg(long)]
    pub table: bool,
}

/// The model, and what is settled before anything looks at it.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// `.onnx` (external data beside it) or `.onnxtxt` (ONNX textual syntax); for `run` and `bench` also what
    /// `compile` has written.
    pub model: PathBuf,
    /// Bind a symbolic dimension.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    pub dims: Vec<(String, i64)>,
    /// Set an input's shape.
    #[arg(long = "input-shape", value_name = "NAME=1x3x224x224", value_parser = parse_shape)]
    pub input_shapes: Vec<(String, Vec<i64>)>,
    /// Leave out a normalisation pass or recogniser; `all` leaves out every one.
    #[arg(long = "disable-pass", value_name = "PASS")]
    pub disabled_passes: Vec<String>,
}

/// The vendors.
#[derive(Args, Clone)]
pub struct VendorArgs {
    /// A plugin: a path, or a name looked up in $BYOC_PLUGIN_PATH, beside the executable and in the user's
    /// data folder.
    #[arg(long = "plugin", value_name = "NAME|PATH")]
    plugins: Vec<String>,
    /// A pattern table of a vendor that has no code yet.
    #[arg(long = "table", value_name = "FILE.toml")]
    tables: Vec<PathBuf>,
    /// Set an option of a plugin.
    #[arg(long = "plugin-option", value_name = "VENDOR.KEY=VALUE", value_parser = parse_plugin_option)]
    plugin_options: Vec<PluginOption>,
    /// The device of a plugin with several that is to run its regions, by name or number; else it is the first.
    #[arg(long = "device", value_name = "VENDOR=DEVICE", value_parser = parse_device)]
    devices: Vec<PluginOption>,
    /// All of the above in the order of the command line.
    #[arg(skip)]
    pub sources: Vec<VendorSource>,
}

/// How the model is placed.
#[derive(Args, Clone)]
pub struct PlacementArgs {
    /// How to choose among what vendors offer; by default by cost where `calibrate` has measured the host, and
    /// greedily else.
    #[arg(long, value_enum)]
    pub policy: Option<PolicyArg>,
    /// How long the cost policy searches, in milliseconds of a usual machine; it is counted in moves, so the
    /// result does not depend on the machine. 2000 by default.
    #[arg(long, value_name = "N")]
    pub budget_ms: Option<u64>,
    /// Merge regions of one vendor that no edge joins, too.
    #[arg(long)]
    pub merge_siblings: bool,
    /// Keep a node, or all nodes of an operator, on the host.
    #[arg(long = "exclude", value_name = "NODE|OP")]
    pub exclude: Vec<String>,
    /// Place a node on a target: a vendor's name, or `host`.
    #[arg(long = "force", value_name = "NODE=TARGET", value_parser = parse_pair)]
    pub force: Vec<(String, String)>,
    /// Let only nodes of such operators leave the host.
    #[arg(long = "only-op", value_name = "OP")]
    pub only_ops: Vec<String>,
    /// Let no region hold a node and a neighbour on that side of it.
    #[arg(long = "cut", value_name = "before|after|both:NODE", value_parser = Cut::parse)]
    pub cuts: Vec<Vec<Cut>>,
    /// Measured rates of vendors and the host, as `calibrate` writes them; by default those in the user's
    /// configuration.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Use no measured rates.
    #[arg(long, conflicts_with = "calibration")]
    pub no_calibration: bool,
    /// Carry out a plan instead of choosing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "merge_siblings"])]
    pub plan: Option<PathBuf>,
    /// Write every decision as a plan, which can be read, edited and carried out.
    #[arg(long, value_name = "FILE")]
    pub save_plan: Option<PathBuf>,
    /// Make it an error where a node stays on the host.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PolicyArg {
    /// Priority, then size, then model order.
    Greedy,
    /// What is predicted to take the least time.
    Cost,
    /// The same, with the regions that come into question compiled and timed; times are kept for later.
    Measured,
}

#[derive(Args, Clone)]
pub struct CommonArgs {
    /// Leave out the placement summary.
    #[arg(long, short)]
    pub quiet: bool,
    /// Write the milliseconds of each stage as JSON.
    #[arg(long, value_name = "FILE")]
    pub timings: Option<PathBuf>,
}

/// What every command takes that places a model.
#[derive(Args, Clone)]
pub struct JobArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub vendors: VendorArgs,
    #[command(flatten)]
    pub placement: PlacementArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct PartitionArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// Write the partitioned model.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub output: Option<PathBuf>,
    /// Write the report.
    #[arg(long, value_name = "OUT.json")]
    pub report: Option<PathBuf>,
    /// Tell what keeps most arithmetic on the host; with the name of a node or region, its story.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    pub explain: Option<Option<String>>,
    /// Show what each policy chooses, side by side, with the time that each placement takes.
    #[arg(long, conflicts_with_all = ["explain", "output", "report", "plan", "save_plan"])]
    pub compare: bool,
    /// Write one self-contained page: the graph as a picture, reasons, tables; with `--compare` also that.
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
    /// Write the report, or the explanation, to standard output as JSON instead of the tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone)]
pub struct ToleranceArgs {
    /// Relative error that is allowed.
    #[arg(long, default_value_t = 1e-3)]
    rtol: f64,
    /// Absolute error that is allowed.
    #[arg(long, default_value_t = 1e-5)]
    atol: f64,
    /// Share of the largest reference value that is allowed as an absolute error.
    #[arg(long, default_value_t = 0.0)]
    atol_scale: f64,
    /// Steps of an integer output that are allowed.
    #[arg(long, default_value_t = 0)]
    quanta: u64,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub tolerance: ToleranceArgs,
    /// Give an input: a TensorProto (.pb) or a numpy array (.npy).
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = parse_pair)]
    pub inputs: Vec<(String, String)>,
    /// A folder with `test_data_set_*/input_K.pb` and `output_K.pb`: run each set and compare.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Write `output_K.pb`, in the order of the model's outputs.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Fill inputs that are not given.
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// Threads of the host; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Run the reference interpreter, one operator after the other, instead of the runtime.
    #[arg(long, conflicts_with_all = ["plugins", "tables", "strict"])]
    pub reference: bool,
    /// Fail where a value is not of the type that was inferred for it.
    #[arg(long)]
    pub check_types: bool,
    /// Show how far each region drifts from what the host computes of the same inputs.
    #[arg(long, conflicts_with_all = ["reference", "verify_passes"])]
    pub compare_layers: bool,
    /// Run the model before and after each pass, and name the first that changes a result beyond rounding.
    #[arg(long, conflicts_with_all = ["plugins", "tables", "strict"])]
    pub verify_passes: bool,
}

#[derive(Args)]
pub struct CompileArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// The file to write.
    #[arg(short, long, value_name = "OUT.byoc")]
    pub output: PathBuf,
    /// Threads that compiling may use; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

#[derive(Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub job: JobArgs,
    /// A folder whose `test_data_set_0/input_K.pb` are the inputs; random ones without.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Threads of the host; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Runs that are not counted, first.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub warmup: usize,
    /// Write the figures as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Print where the time goes, by operator.
    #[arg(long)]
    pub profile: bool,
}

#[derive(Args)]
pub struct CalibrateArgs {
    /// Models whose operators and regions are measured; a small set that byoc builds itself without.
    #[arg(value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    #[command(flatten)]
    pub vendors: VendorArgs,
    /// Bind a symbolic dimension.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    pub dims: Vec<(String, i64)>,
    /// Set an input's shape.
    #[arg(long = "input-shape", value_name = "NAME=1x3x224x224", value_parser = parse_shape)]
    pub input_shapes: Vec<(String, Vec<i64>)>,
    /// Threads of the host; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// The profile, which keeps its other entries; in the user's configuration by default.
    #[arg(short, long, value_name = "PROFILE.toml")]
    pub output: Option<PathBuf>,
    /// Write what was measured as JSON to standard output.
    #[arg(long)]
    pub json: bool,
    /// Say nothing.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How the tests of a suite are run.
#[derive(Args)]
pub struct ConformanceTestArgs {
    #[command(flatten)]
    pub vendors: VendorArgs,
    /// Where a suite gives a test's `rtol` and `atol`, those hold.
    #[command(flatten)]
    pub tolerance: ToleranceArgs,
    /// Leave out a normalisation pass or recogniser; `all` leaves out every one.
    #[arg(long = "disable-pass", value_name = "PASS")]
    pub disabled_passes: Vec<String>,
    /// Threads of the host for one test.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Run the reference kernels alone.
    #[arg(long)]
    pub reference: bool,
    /// Fail where a value is not of the type that was inferred for it.
    #[arg(long)]
    pub check_types: bool,
}

#[derive(Args)]
pub struct ConformanceArgs {
    /// A folder with `<kind>/<test>/model.onnx` and `test_data_set_*` beside each.
    #[arg(value_name = "SUITE_DIR")]
    pub suite: PathBuf,
    #[command(flatten)]
    pub test: ConformanceTestArgs,
    /// Run the tests whose `kind/name` this matches.
    #[arg(long, value_name = "REGEX", value_parser = super::conformance::parse_filter)]
    pub filter: Option<regex::Regex>,
    /// Tests at a time; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Seconds that one test may take.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Write each test's result as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Write the results as continuous integration reads them.
    #[arg(long, value_name = "OUT")]
    pub junit: Option<PathBuf>,
    /// Leave out the placement summary.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct ConformanceWorkerArgs {
    #[command(flatten)]
    pub test: ConformanceTestArgs,
}

#[derive(Args)]
pub struct DemoArgs {
    /// Write the model, its partitioned form and the report here.
    #[arg(long, value_name = "DIR", default_value = "byoc-demo")]
    pub output: PathBuf,
    /// The accelerator's plugin.
    #[arg(long, value_name = "NAME|PATH", default_value = "refnpu")]
    pub plugin: String,
    #[command(flatten)]
    pub common: CommonArgs,
}

impl ToleranceArgs {
    pub fn get(&self) -> byoc::Tolerance {
        byoc::Tolerance { rtol: self.rtol, atol: self.atol, atol_scale: self.atol_scale, quanta: self.quanta }
    }
}

impl ModelArgs {
    pub fn options(&self) -> ModelOptions {
        ModelOptions {
            dims: self.dims.clone(),
            input_shapes: self.input_shapes.clone(),
            disabled_passes: self.disabled_passes.clone(),
        }
    }
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
                Command::Calibrate(args) => Some(&mut args.vendors),
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

fn parse_pair(text: &str) -> Result<(String, String), String> {
    // Names may hold `=`; what is behind the last one is the value.
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() || value.is_empty() {
        return Err("expected NAME=VALUE".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = parse_pair(text)?;
    Ok((name, parse_size(&value)?))
}

fn parse_size(text: &str) -> Result<i64, String> {
    let size: u32 = text.parse().map_err(|_| format!("`{text}` is not a size"))?;
    Ok(size.into())
}

fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    // An empty shape is a scalar's.
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=1x3x224x224")?;
    let dims = value.split(['x', ',']).filter(|d| !d.is_empty()).map(parse_size);
    Ok((name.to_owned(), dims.collect::<Result<_, _>>()?))
}

pub(super) fn parse_plugin_option(text: &str) -> Result<PluginOption, String> {
    let (left, value) = text.split_once('=').ok_or("expected VENDOR.KEY=VALUE")?;
    let (vendor, key) = left.rsplit_once('.').ok_or("expected VENDOR.KEY=VALUE")?;
    Ok(PluginOption { vendor: vendor.to_owned(), key: key.to_owned(), value: value.to_owned() })
}

fn parse_device(text: &str) -> Result<PluginOption, String> {
    let (vendor, value) = text.split_once('=').ok_or("expected VENDOR=DEVICE")?;
    Ok(PluginOption { vendor: vendor.to_owned(), key: byoc::DEVICE.to_owned(), value: value.to_owned() })
}

impl VendorArgs {
    /// Options of plugins and the devices chosen of them.
    pub fn options(&self) -> PluginOptions {
        PluginOptions(self.plugin_options.iter().chain(&self.devices).cloned().collect())
    }
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

    #[test]
    fn shapes_and_options_parse() {
        assert_eq!(parse_shape("x=1x3"), Ok(("x".into(), vec![1, 3])));
        assert_eq!(parse_shape("x="), Ok(("x".into(), vec![])));
        assert!(parse_shape("x=1x-3").is_err());
        assert_eq!(parse_plugin_option("a.b.key=1=2").unwrap().vendor, "a.b");
    }
}
