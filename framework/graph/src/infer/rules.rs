//! The table of inference rules, by domain and operator. Each family of operators has a file of its own.

mod activation;
mod arithmetic;
mod attention;
mod control;
mod convolution;
mod fill;
mod image;
mod indexing;
mod layout;
mod loss;
mod matrix;
mod microsoft;
mod ml;
mod normalization;
mod recurrent;
mod reduce;
mod sequence;
mod signal;
mod text;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::call::Rule;

/// Operators of one domain with their rules.
pub(super) struct Family {
    domain: &'static str,
    rules: &'static [(&'static [&'static str], Rule)],
}

const FAMILIES: &[&Family] = &[
    &activation::FAMILY,
    &arithmetic::FAMILY,
    &attention::FAMILY,
    &attention::PREVIEW,
    &control::FAMILY,
    &convolution::FAMILY,
    &fill::FAMILY,
    &image::FAMILY,
    &indexing::FAMILY,
    &layout::FAMILY,
    &loss::FAMILY,
    &loss::TRAINING,
    &matrix::FAMILY,
    &microsoft::FAMILY,
    &ml::FAMILY,
    &normalization::FAMILY,
    &recurrent::FAMILY,
    &reduce::FAMILY,
    &sequence::FAMILY,
    &signal::FAMILY,
    &text::FAMILY,
];

static TABLE: LazyLock<HashMap<(&'static str, &'static str), Rule>> = LazyLock::new(|| {
    let entries = FAMILIES.iter().flat_map(|family| {
        let rules = family.rules.iter();
        rules.flat_map(|(names, rule)| names.iter().map(|name| ((family.domain, *name), *rule)))
    });
    entries.collect()
});

pub fn lookup(domain: &str, operator: &str) -> Option<Rule> {
    TABLE.get(&(domain, operator)).copied()
}
