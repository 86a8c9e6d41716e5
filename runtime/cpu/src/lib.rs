//! Host CPU kernels: a clear reference for every operator and fast ones for the common.

pub mod fast;
pub mod pool;
