//! Predicted time: the structure of the work times the rate of who does it.
//!
//! Work is counted by `byoc_graph::cost`; rates are measured ([`Profile`]), answered by the vendor about a
//! region, or declared in its table, in this order. What nobody knows stays unknown: a time is an `Option`,
//! and a total that lacks a part says so.

mod model;
mod predict;
mod profile;
mod rates;
mod work;

pub use model::CostModel;
pub(crate) use model::Prices;
pub use predict::Total;
pub(crate) use predict::predict;
pub use profile::{PROFILE_SCHEMA, Profile, ProfileError, TargetProfile};
pub use rates::{Link, Rates, RegionCost, Work};
pub(crate) use work::size;
pub use work::{is_heavy, of_nodes as work_of};
