//! What several commands take: the model, vendors, how they are placed.

use std::path::PathBuf;
use std::time::Duration;

use byoc::isolate::{Limits, WorkerCommand};
use byoc::{Isolation, ModelOptions, PluginOption, PluginOptions, VendorSource};
use byoc_partitioner::will::Cut;
use clap::Args;

use super::parse::{parse_device, parse_dim, parse_pair, parse_plugin_option, parse_shape};

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
    pub(super) plugins: Vec<String>,
    /// A pattern table of a vendor that has no code yet.
    #[arg(long = "table", value_name = "FILE.toml")]
    pub(super) tables: Vec<PathBuf>,
    /// Set an option of a plugin.
    #[arg(long = "plugin-option", value_name = "VENDOR.KEY=VALUE", value_parser = parse_plugin_option)]
    plugin_options: Vec<PluginOption>,
    /// The device of a plugin with several that is to run its regions, by name or number; else it is the first.
    #[arg(long = "device", value_name = "VENDOR=DEVICE", value_parser = parse_device)]
    devices: Vec<PluginOption>,
    #[command(flatten)]
    pub isolation: IsolationArgs,
    /// All of the above in the order of the command line.
    #[arg(skip)]
    pub sources: Vec<VendorSource>,
}

/// Where plugins run.
#[derive(Args, Clone)]
pub struct IsolationArgs {
    /// Run plugins in worker processes, all or those named: where a worker crashes or hangs, the host computes.
    #[arg(long, value_name = "PLUGIN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    isolate: Vec<String>,
    /// How long one call into an isolated plugin may take; 60 by default.
    #[arg(long, value_name = "SECONDS", requires = "isolate", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    vendor_timeout: Option<u64>,
    /// Private memory that a worker may use.
    #[arg(long, value_name = "MIB", requires = "isolate", value_parser = clap::value_parser!(u64).range(64..=1 << 30))]
    vendor_memory: Option<u64>,
    /// Keep workers from reaching a network, starting programs and changing files.
    #[arg(long, requires = "isolate")]
    vendor_seccomp: bool,
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

impl VendorArgs {
    /// Options of plugins, the devices chosen of them, and where they run.
    pub fn options(&self) -> PluginOptions {
        let values = self.plugin_options.iter().chain(&self.devices).cloned().collect();
        PluginOptions { values, isolation: self.isolation.get() }
    }
}

impl IsolationArgs {
    fn get(&self) -> Option<Isolation> {
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let all = Isolation::all(WorkerCommand::new(program).argument("plugin-worker"));
        // A bare `--isolate` is all of them, whatever else is named.
        let is_all = self.isolate.iter().any(String::is_empty);
        (!self.isolate.is_empty()).then(|| Isolation {
            plugins: if is_all { Vec::new() } else { self.isolate.clone() },
            timeout: self.vendor_timeout.map_or(all.timeout, Duration::from_secs),
            limits: Limits { memory: self.vendor_memory.map(|mib| mib << 20), seccomp: self.vendor_seccomp },
            ..all
        })
    }

    /// As words of a command line.
    pub fn words(&self) -> Vec<String> {
        let word = |plugin: &String| {
            if plugin.is_empty() { "--isolate".into() } else { format!("--isolate={plugin}") }
        };
        let timeout = self.vendor_timeout.map(|s| format!("--vendor-timeout={s}"));
        let memory = self.vendor_memory.map(|mib| format!("--vendor-memory={mib}"));
        let seccomp = self.vendor_seccomp.then(|| "--vendor-seccomp".to_owned());
        self.isolate.iter().map(word).chain(timeout).chain(memory).chain(seccomp).collect()
    }
}
