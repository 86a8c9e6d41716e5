//! The adapter that runs an operator by its reference kernel.

use crate::kernel::{Kernel, NodeDesc};

pub(crate) fn prepare(_: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    None
}
