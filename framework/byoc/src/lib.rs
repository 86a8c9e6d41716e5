//! The front of BYOC as a library: a [`Session`] is a model placed over vendors, compiled, and ready to run.
//!
//! ```no_run
//! # fn main() -> Result<(), byoc::Error> {
//! let session = byoc::Session::builder("model.onnx").plugin("refnpu").threads(2).build()?;
//! let image = byoc::Tensor::from_vec(&[1, 3, 32, 32], vec![0f32; 3 * 32 * 32])?;
//! for (name, value) in session.run(&[("image".into(), image.into())])? {
//!     println!("{name}: {value:?}");
//! }
//! # Ok(())
//! # }
//! ```

pub mod abi;
mod ask;
mod bench;
mod binding;
pub mod bisect;
pub mod bundle;
mod checks;
mod compare;
mod compile;
pub mod conformance;
pub mod coverage;
pub mod dataset;
pub mod demo;
mod error;
pub mod files;
mod generate;
pub mod html;
pub mod isolate;
mod junit;
pub mod layers;
mod loaded;
pub mod measure;
mod memory;
pub mod new;
pub mod precision;
mod profile;
mod program;
pub mod quantize;
mod quantum;
pub mod random;
mod regions;
mod session;
mod simple_page;
mod stages;
mod standby;
mod timings;
mod vendors;
pub mod verify;
mod worker;

pub use bench::{Bench, BenchOptions, Pipeline, StepTime, bench, pipeline};
pub use binding::Binding;
pub use byoc_cpu::fast::gemm::Precision;
pub use byoc_cpu::{Work, peak::Peak};
pub use byoc_graph::{DType, Datum, Graph, Model, Tensor, npy, onnx};
pub use byoc_partitioner::{Plan, PlanError, Policy, Report, TargetProfile};
pub use compare::{Mismatch, Tolerance, Verdict, compare};
pub use compile::{Partitioned, Placement, partition_file};
pub use error::Error;
pub use isolate::Isolation;
pub use loaded::{Loaded, ModelOptions, pass_names};
pub use precision::OutputError;
pub use profile::{Group, Limit, Profile, Rates};
pub use quantum::quanta;
pub use session::{Session, SessionBuilder};
pub use stages::{Stage, stages};
pub use timings::Timings;
pub use vendors::{DEVICE, PluginOption, PluginOptions, Vendor, VendorSource};

/// What host kernels use of this processor.
pub fn instructions() -> String {
    use byoc_cpu::fast::Isa;
    match Isa::detect() {
        Isa::Avx512 => "AVX-512",
        Isa::Avx2 => "AVX2",
        Isa::Portable => "no vector instructions",
    }
    .to_owned()
}

/// Epoch and minor of the plugin interface.
pub fn interface_version() -> (u32, u32) {
    (byoc_plugin::abi::EPOCH, byoc_plugin::abi::MINOR)
}
