//! What the tests of partitions share.
#![allow(dead_code)]

pub mod always;
pub mod random_model;
pub mod ready;
pub mod terms;

pub use ready::{Ready, tables};
