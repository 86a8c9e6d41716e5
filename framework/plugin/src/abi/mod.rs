//! The binary interface between host and plugin, as `repr(C)` tables.
//!
//! Rules: every struct begins with [`Head`], or is on the short list of frozen ones; a reader looks only at fields
//! that end within the other side's `struct_size`; functions take one argument struct and return an error made by
//! the host, or null; nothing is passed by value but pointers. The *epoch* must be equal on both sides and rises at
//! every break; within an epoch, minors only append fields. `include/byoc_abi.h` is generated from these definitions.
//!
//! 1.0 is frozen: `versions/1.0` says what it is. A field that is appended has zero as its default, since that is what a
//! writer of before leaves there; numbers, flags and functions may be added, and none that is there changes its meaning.
//! Flags and features that a reader does not know are ignored, other unknown numbers are what their group says.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the BYOC plugin interface is defined for 64-bit platforms");

#[macro_use]
mod define;
mod device;
mod executable;
mod head;
mod host;
mod layout;
mod plugin;
mod region;
pub mod section;

pub use define::{AbiStruct, Constant, Field, StructLayout};
pub use device::*;
pub use executable::*;
pub use head::*;
pub use host::*;
pub use layout::layout_text;
pub use plugin::*;
pub use region::*;

/// Equal on both sides, or the plugin is refused.
pub const EPOCH: u32 = 1;
/// What has been appended within the epoch.
pub const MINOR: u32 = 0;
/// The one symbol that a plugin exports.
pub const ENTRY_SYMBOL: &str = "byoc_plugin_entry";

/// Every struct of the interface, in an order in which C can declare them.
pub const STRUCTS: &[&[StructLayout]] =
    &[head::STRUCTS, host::STRUCTS, region::STRUCTS, device::STRUCTS, executable::STRUCTS, plugin::STRUCTS];
/// Every group of named numbers.
pub const CONSTANTS: &[&[Constant]] = &[
    head::CONSTANTS,
    host::CONSTANTS,
    region::CONSTANTS,
    device::CONSTANTS,
    executable::CONSTANTS,
    plugin::CONSTANTS,
];
