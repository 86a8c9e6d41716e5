//! Predicted time: the structure of the work times the rate of who does it.
//!
//! Work is counted by `byoc_graph::cost`. Of a composite or region counts what was measured of it ([`Times`]),
//! else what its vendor answers about it, else measured rates ([`Profile`]), else those of the vendor's table.
//! What nobody knows stays unknown: a time is an `Option`, and a total that lacks a part says so.

mod model;
mod predict;
mod profile;
mod rates;
mod times;
mod work;

pub use model::CostModel;
pub(crate) use model::Prices;
pub use predict::Total;
pub(crate) use predict::predict;
pub use profile::{PROFILE_SCHEMA, Profile, ProfileError, TargetProfile};
pub use rates::{Estimate, Link, Rates, RegionCost, Work};
pub use times::Times;
pub(crate) use times::{Part, RegionKey, parts};
pub(crate) use work::size;
pub use work::{is_heavy, of_nodes as work_of};
