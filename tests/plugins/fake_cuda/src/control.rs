//! What tests ask of the pretended GPU, beside CUDA's own functions.

use std::ffi::{CStr, c_char};

use crate::machine::machine;

/// Makes a call fail: `cuMemAlloc_v2:3:2` lets the fourth from now fail with error 2.
///
/// # Safety
/// The rule ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_cuda_fail(rule: *const c_char) {
    // SAFETY: the caller's promise.
    let rule = unsafe { CStr::from_ptr(rule) }.to_string_lossy().into_owned();
    machine().add_failure(&rule);
}

/// A GPU as it was in the beginning; only loaded modules stay.
#[unsafe(no_mangle)]
pub extern "C" fn fake_cuda_reset() {
    machine().reset();
}

/// What there is and what has happened, a line each. Gives the length, and writes as much as there is room for.
///
/// # Safety
/// There is room for so many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_cuda_report(text: *mut u8, room: usize) -> usize {
    let machine = machine();
    let [memory, streams, events, graphs, pinned] = machine.counts();
    let mut report = format!(
        "memory {memory}\nstreams {streams}\nevents {events}\ngraphs {graphs}\npinned {pinned}\nwaits {}\nallocations {}\n",
        machine.waits, machine.allocations
    );
    report.extend(machine.launches.iter().flatten().map(|name| format!("launch {name}\n")));
    report.extend(machine.faults.iter().map(|fault| format!("fault {fault}\n")));
    let count = report.len().min(room);
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(report.as_ptr(), text, count) };
    report.len()
}
