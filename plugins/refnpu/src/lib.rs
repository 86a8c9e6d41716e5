//! A reference NPU: int8 systolic array, scratchpad, DMA and command stream, simulated cycle by cycle.
//!
//! `region` turns what the host shows into a [`layer::Network`], `codegen` lowers that to a [`program::Program`],
//! `sim` executes its command stream ([`isa`]). `plugin` is what the host calls. README.md describes the device.

pub mod codegen;
pub mod device;
mod fault;
pub mod isa;
pub mod layer;
pub mod layout;
mod plugin;
pub mod program;
pub mod quant;
pub mod region;
pub mod sim;

pub use plugin::Refnpu;
