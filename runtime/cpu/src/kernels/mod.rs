//! Kernels of the registry: one family a file, each a table of entries and what prepares them.

use crate::registry::Entry;

mod activation;
mod binary;
mod conv;
mod epilogue;
mod loops;
mod matmul;
pub(crate) mod reference;

/// The tables of all families.
pub(crate) const ALL: &[&[Entry]] = &[activation::ENTRIES, binary::ENTRIES, conv::ENTRIES, matmul::ENTRIES];
