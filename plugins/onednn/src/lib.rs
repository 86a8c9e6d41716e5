//! A vendor that is a kernel library: regions become primitives of oneDNN, through its C++ interface.
//!
//! `lower` and `quantised` turn what the host shows into [`layer::Layer`]s, `fuse` makes post-ops of them, `shape` settles sizes, and
//! `network.cc` makes primitives of the result, behind `bridge`. `plugin` is what the host calls.

#[cfg(onednn)]
mod bridge;
#[cfg(onednn)]
mod executable;
#[cfg(onednn)]
mod fuse;
#[cfg(onednn)]
mod layer;
#[cfg(onednn)]
mod lower;
#[cfg_attr(not(onednn), path = "without.rs")]
mod plugin;
#[cfg(onednn)]
mod quantised;
#[cfg(onednn)]
mod shape;

pub use plugin::OneDnn;
