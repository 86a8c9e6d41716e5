//! Measures how fast the host and vendors work.
//!
//! `host`, `vendor` and `copies` take times, `fit` turns them into rates, `calibrate` makes the entries of a
//! profile of them, and `profile` keeps those in the user's configuration. For the model that is being placed,
//! `placed` takes the same times of its own regions and nodes, and `cache` keeps them. `whole` compares placements.

mod cache;
mod calibrate;
mod copies;
mod fit;
mod host;
mod placed;
mod profile;
mod samples;
mod switch;
mod vendor;
mod whole;

pub use calibrate::{Calibrate, Calibration, SampleReport};
pub use profile::{ProfileSource, default_path, read, write_merged};
pub use whole::sessions_in_turn;

pub(crate) use placed::Measurer;
pub(crate) use profile::{HOST, cost_model};

/// The networks that are measured where no models are given, each on its smallest inputs, by name.
pub(crate) fn networks() -> Result<Vec<(String, byoc_graph::Model)>, crate::Error> {
    samples::small()
}

/// The value in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
