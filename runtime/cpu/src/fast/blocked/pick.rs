//! Images put together from channels of others.

use super::{BLOCK, Blocked, Output, Pixel, blocks};
use crate::fast::Exec;

/// Pixels of one piece of work.
const PIECE: usize = 512;

/// A channel of one of several images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub image: usize,
    pub channel: usize,
}

/// Makes images whose channels are those of `from`, one after the other.
///
/// # Panics
/// If the inputs differ in count or size, have no such channels, or the output has another size.
pub fn pick(exec: Exec<'_>, inputs: &[Blocked<'_>], from: &[Source], output: &mut [f32]) {
    let Some(first) = inputs.first() else { panic!("no images to pick from") };
    assert!(inputs.iter().all(|x| (x.count, x.size) == (first.count, first.size)), "images differ in size");
    assert!(from.iter().all(|from| from.channel < inputs[from.image].channels), "no such channel");
    let (plane, out_blocks) = (first.pixels(), blocks(from.len()));
    let out = Output::new(output, first.count * out_blocks, plane);
    let parts = plane.div_ceil(PIECE);
    exec.pool.parallel_for(first.count * out_blocks * parts, &|piece| {
        let (rest, block) = (piece / out_blocks, piece % out_blocks);
        let (image, part) = (rest / parts, rest % parts * PIECE..plane.min((rest % parts + 1) * PIECE));
        let sources = &from[block * BLOCK..from.len().min((block + 1) * BLOCK)];
        // SAFETY: no other piece has these pixels of this block.
        let out = unsafe { out.range(image * out_blocks + block, part.clone()) };
        let mut lanes: [(&[Pixel], usize); BLOCK] = [(&[], 0); BLOCK];
        for (lane, from) in lanes.iter_mut().zip(sources) {
            let x = &inputs[from.image];
            let start = (image * blocks(x.channels) + from.channel / BLOCK) * plane;
            *lane = (&x.planes()[start + part.start..start + part.end], from.channel % BLOCK);
        }
        match sources.len() {
            BLOCK => fill(&lanes, out),
            count => {
                out.fill([0.0; BLOCK]);
                for (to, (plane, lane)) in lanes[..count].iter().enumerate() {
                    out.iter_mut().zip(*plane).for_each(|(out, x)| out[to] = x[*lane]);
                }
            }
        }
    });
}

/// Every lane from pixels of a plane.
fn fill(lanes: &[(&[Pixel], usize); BLOCK], out: &mut [Pixel]) {
    assert!(lanes.iter().all(|(plane, lane)| plane.len() == out.len() && *lane < BLOCK));
    for (at, out) in out.iter_mut().enumerate() {
        // Straight to memory: a vector that is read back right after its elements were written would stall.
        for (to, (plane, lane)) in out.iter_mut().zip(lanes) {
            // SAFETY: every plane has as many pixels as `out`, and a pixel that lane (checked above).
            *to = unsafe { *plane.get_unchecked(at).get_unchecked(*lane) };
        }
    }
}
