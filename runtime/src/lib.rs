//! Programs: what a partitioned model becomes, and how it runs. See `docs/runtime.md`.

mod alias;
mod aside;
mod build;
mod check;
mod control;
mod device;
mod execute;
mod frame;
mod hand_out;
mod layout;
mod memory;
pub mod prepare;
mod program;
mod region;
mod signature;
mod together;
mod views;
mod work;

pub use build::{BuildError, Options};
pub use byoc_cpu::View;
pub use program::{OutputBuffer, Program, RunError, StepInfo, align_datum};
pub use region::{
    DeviceOutput, DeviceTensor, InFlight, Location, NoRegions, Operand, Region, RegionCall, RegionExecutable,
    Regions,
};
pub use signature::{InputError, InputSpec, OutputSpec, signature};
pub use together::TOGETHER;
