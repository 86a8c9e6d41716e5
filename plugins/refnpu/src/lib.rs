//! A reference NPU: int8 systolic array, scratchpad, DMA and command stream, simulated cycle by cycle.

pub mod codegen;
pub mod device;
pub mod isa;
pub mod layer;
pub mod layout;
pub mod program;
pub mod quant;
pub mod sim;
