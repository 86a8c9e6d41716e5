//! Which storages there are, how long they live, and where they lie.

mod arena;
mod parts;
mod plan;
mod stretches;

use arena::Cuts;
pub(crate) use arena::Pieces;
pub(crate) use plan::{MemoryPlan, Operands, Stays};
pub(crate) use stretches::{Starts, starts};

use std::ops::RangeInclusive;

use crate::device::Space;

/// Index of a value in a program.
pub(crate) type ValueIndex = usize;
/// Index of a storage in a program.
pub(crate) type StorageIndex = usize;

/// Where the bytes of values come from.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// Given by the caller.
    Input(usize),
    Constant(usize),
    /// Made by a step.
    Made {
        /// The value whose size it has.
        value: ValueIndex,
        /// The steps from the one that makes it to the last that uses it.
        life: RangeInclusive<usize>,
        /// The program output that it is handed out as; then it is no part of an arena.
        output: Option<usize>,
        /// The memory that it lies in.
        space: Space,
    },
}
