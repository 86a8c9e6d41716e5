//! Between the standard's layout and the device's.
//!
//! Outside, a tensor is channels × rows × columns. On the device, channels are in blocks of 32, innermost:
//! `[channels / 32][rows][columns][32]`; the lanes behind the last channel hold nothing in particular. A uint8 crosses
//! with its top bit flipped, and is the int8 of the same distance to its zero point.

use crate::device::LANES;
use crate::layer::Shape;

/// One image to the device's layout.
pub fn pack(dense: &[u8], shape: Shape, unsigned: bool, blocked: &mut [u8]) {
    let flip = flip(unsigned);
    for (channel, plane) in dense.chunks_exact(shape.pixels()).enumerate() {
        let lanes = blocked[start(channel, shape)..].iter_mut().step_by(LANES);
        for (byte, lane) in plane.iter().zip(lanes) {
            *lane = byte ^ flip;
        }
    }
}

/// One image from the device's layout.
pub fn unpack(blocked: &[u8], shape: Shape, unsigned: bool, dense: &mut [u8]) {
    let flip = flip(unsigned);
    for (channel, plane) in dense.chunks_exact_mut(shape.pixels()).enumerate() {
        let lanes = blocked[start(channel, shape)..].iter().step_by(LANES);
        for (byte, lane) in plane.iter_mut().zip(lanes) {
            *byte = lane ^ flip;
        }
    }
}

fn flip(unsigned: bool) -> u8 {
    if unsigned { 0x80 } else { 0 }
}

/// Where a channel's first byte is.
fn start(channel: usize, shape: Shape) -> usize {
    channel / LANES * shape.pixels() * LANES + channel % LANES
}
