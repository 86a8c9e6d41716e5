//! Temporary buffers that a thread keeps between calls, so that steady-state kernels do not allocate.

use std::cell::RefCell;

use bytemuck::{Pod, Zeroable, cast_slice_mut};

/// One cache line, the alignment and the unit of scratch memory.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of unspecified content. Calls may nest; each gets a buffer of its own.
pub(super) fn with_scratch<T: Pod, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let bytes = len.checked_mul(size_of::<T>()).expect("scratch size overflows");
    let lines = bytes.div_ceil(size_of::<Line>());
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < lines {
        buffer.resize(lines, Line::zeroed());
    }
    let result = f(&mut cast_slice_mut::<Line, T>(&mut buffer[..lines])[..len]);
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}
