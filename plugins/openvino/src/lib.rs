//! A vendor with a compiler of its own: regions go as ONNX bytes to OpenVINO, loaded at run time.
//!
//! `find` looks for the library, `api` is its C interface, `runtime` the same with owners and errors; `check` says
//! what is taken, `executable` runs what was compiled. `plugin` is what the host calls.

mod api;
mod check;
mod executable;
mod find;
mod plugin;
mod runtime;

pub use plugin::OpenVino;
