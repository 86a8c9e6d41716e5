//! Temporary buffers that a thread keeps between calls, so that steady-state kernels do not allocate.

use std::cell::RefCell;

use bytemuck::{Pod, cast_slice_mut};

use crate::memory::Memory;

thread_local! {
    static BUFFERS: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of unspecified content. Calls may nest; each gets a buffer of its own.
pub(crate) fn with_scratch<T: Pod, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let bytes = len.checked_mul(size_of::<T>()).expect("scratch size overflows");
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < bytes {
        buffer = Memory::zeroed(bytes).expect("no memory for a temporary buffer");
    }
    let result = f(&mut cast_slice_mut(&mut buffer.bytes_mut()[..bytes])[..len]);
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}
