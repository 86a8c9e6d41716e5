//! What each command takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::job::{CommonArgs, JobArgs, ToleranceArgs, VendorArgs};
use super::parse::{parse_dim, parse_pair, parse_shape};

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

/// How precisely the host keeps large constant matrices that it multiplies by.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum PrecisionArg {
    /// As the model has them.
    F32,
    /// Rounded, and so is what they are multiplied by.
    Bf16,
    /// 8 bits, one scale for each output column.
    Int8,
    /// 4 bits, one scale for each output column and 32 rows.
    Int4,
}

impl From<PrecisionArg> for byoc::Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::F32 => byoc::Precision::F32,
            PrecisionArg::Bf16 => byoc::Precision::Bf16,
            PrecisionArg::Int8 => byoc::Precision::Int8,
            PrecisionArg::Int4 => byoc::Precision::Int4,
        }
    }
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
    /// How precisely weights of products are kept.
    #[arg(long, value_enum, default_value = "f32", conflicts_with = "reference")]
    pub precision: PrecisionArg,
    /// Show how far outputs are from those in f32.
    #[arg(long, conflicts_with_all = ["reference", "verify_passes", "compare_layers", "output", "check_types"])]
    pub compare_precision: bool,
    /// Write that comparison as JSON.
    #[arg(long, value_name = "OUT", requires = "compare_precision")]
    pub json: Option<PathBuf>,
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
    /// How precisely weights of products are kept.
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: PrecisionArg,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub seconds: f64,
    /// Runs that are not counted, first.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub warmup: usize,
    /// Measure a stream of requests as well, so many of them on their way at a time: vendors and the host work on
    /// different ones beside each other.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=256))]
    pub pipeline: Option<u16>,
    /// Write the figures as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Print where the time goes, by operator, beside what this machine can do at most.
    #[arg(long)]
    pub profile: bool,
    /// Show each step of the profile by itself.
    #[arg(long, requires = "profile")]
    pub by_step: bool,
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
    #[arg(long, value_name = "REGEX", value_parser = crate::cli::conformance::parse_filter)]
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
