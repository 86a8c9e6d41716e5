//! What a vendor needs to write a BYOC plugin: the trait, region views, pattern tables and the C ABI.
//!
//! A plugin is a `cdylib` with a type that implements [`Plugin`], a pattern table, and one line:
//!
//! ```ignore
//! byoc_plugin::export_plugin!(MyNpu, table = include_str!("table.toml"));
//! ```

pub mod abi;
#[doc(hidden)]
pub mod export;
pub mod quantised;
pub mod sdk;
pub mod shapes;
pub mod table;

pub use sdk::*;
