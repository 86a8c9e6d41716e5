//! A CUDA driver, an NVRTC, a cuBLASLt and a cuDNN for tests on machines without a GPU.
//!
//! The compiler makes a shared library of a kernel's own source, as C++ with a header of shims, and the driver runs it.
//! Memory lies on the host between guards. Work of streams is done as late as can be: when somebody waits for it, so that
//! whoever reads too early, or forgets an event, gets wrong results. What is used after it was freed, written beyond its
//! end or freed while in use is a fault; from then on nothing succeeds. `control` makes calls fail and tells what is left.

#[macro_use]
mod exports;

mod blas;
mod control;
mod dnn;
mod driver;
mod float;
mod machine;
mod memory;
mod module;
mod nvrtc;
