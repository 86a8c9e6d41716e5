//! NVIDIA GPUs as a vendor. See `docs/cuda.md`.
//!
//! `find`, `api`, `driver` and `nvrtc` are CUDA's libraries, looked for and loaded at run time; `gpu` is a device as the
//! host has it, `blas` and `dnn` what it multiplies and convolves with. `lower` makes a `program` of a region: steps with
//! kernels, whose CUDA C `kernels` writes from descriptions (`scalar`, `pointwise`, `shape`, `types` are what they share). `plan` places a program's values for certain shapes,
//! `executable` runs it (`graph` as one piece of work when it comes again), and `plugin` is what the host calls.

mod api;
mod artefact;
mod blas;
mod cache;
mod convolve;
mod dnn;
mod driver;
mod executable;
mod find;
mod gpu;
mod graph;
pub mod kernel;
mod kernels;
mod loaded;
mod lower;
mod multiply;
pub mod nvrtc;
mod plan;
mod plugin;
mod pointwise;
pub mod program;
mod scalar;
mod shape;
mod staging;
mod trace;
mod types;
mod weights;

pub use find::NVRTC;
pub use lower::lower;
pub use plugin::Cuda;
