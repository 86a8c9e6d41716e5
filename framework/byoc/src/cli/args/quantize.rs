//! The command line of `byoc quantize`.

use std::path::PathBuf;

use clap::Args;

use super::job::{CommonArgs, ModelArgs, VendorArgs};

#[derive(Args)]
pub struct QuantizeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Quantise only what these take; without any, the standard set of operators.
    #[command(flatten)]
    pub vendors: VendorArgs,
    /// The file to write.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub output: PathBuf,
    /// A folder with `test_data_set_*/input_K.pb`: what the model is to be looked at with.
    #[arg(long, value_name = "DIR", required_unless_present = "random", conflicts_with = "random")]
    pub data: Option<PathBuf>,
    /// Look at random inputs instead, which show little of the ranges that a trained model has.
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// How many random inputs.
    #[arg(long, value_name = "N", default_value_t = 16, requires = "random", value_parser = clap::value_parser!(u16).range(1..))]
    pub samples: u16,
    /// How the range of a tensor follows from what was seen.
    #[arg(long, value_enum, default_value = "min-max")]
    pub method: MethodArg,
    /// What `--method percentile` keeps at either end, in percent.
    #[arg(long, value_name = "P", default_value_t = 99.99, value_parser = parse_percentile)]
    pub percentile: f64,
    /// One scale for each output channel of weights; so it is by default.
    #[arg(long, conflicts_with = "per_tensor")]
    pub per_channel: bool,
    /// One scale for a tensor of weights.
    #[arg(long)]
    pub per_tensor: bool,
    /// The type of activations.
    #[arg(long, value_enum, default_value = "u8")]
    pub activations: ActivationsArg,
    /// Leave biases as they are, instead of taking from them what quantisation moves the means by.
    #[arg(long)]
    pub no_bias_correction: bool,
    /// Keep a node, or all nodes of an operator, float.
    #[arg(long = "exclude", value_name = "NODE|OP")]
    pub exclude: Vec<String>,
    /// Quantise only nodes of such operators.
    #[arg(long = "only-op", value_name = "OP")]
    pub only_ops: Vec<String>,
    /// Leave float what costs most accuracy, until every output keeps this cosine to the float model's.
    #[arg(long, value_name = "C", value_parser = parse_cosine)]
    pub cosine: Option<f64>,
    /// Threads of the host; as many as there are cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Write scale, zero point and error of every tensor as JSON.
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum MethodArg {
    /// All that was seen.
    MinMax,
    /// All but the outermost values.
    Percentile,
    /// What loses least of the distribution.
    Entropy,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum ActivationsArg {
    U8,
    I8,
}

fn parse_cosine(text: &str) -> Result<f64, String> {
    let cosine: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let fits = cosine > 0.0 && cosine < 1.0;
    fits.then_some(cosine).ok_or_else(|| "a cosine lies between 0 and 1".into())
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    let percentile: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let fits = percentile > 50.0 && percentile <= 100.0;
    fits.then_some(percentile).ok_or_else(|| "a percentile lies above 50 and at most at 100".into())
}
