//! A convolution's weights in panels: what one call of the micro-kernel reads lies together, in the order in which it is
//! read.
//!
//! With groups, a panel sees only the input channels of those groups that its output channels belong to, and has zeros
//! for what a channel does not see among them. So groups need not begin where blocks do.

use std::ops::Range;

use super::tile::Kernels;
use super::{BLOCK, blocks};
use crate::fast::Isa;
use crate::fast::conv::Channels;
use crate::memory::Aligned;

/// Input channels come in fours: panels begin and end between them.
pub(super) const FOUR: usize = 4;

/// Weights for one instruction set.
pub(super) struct Packed {
    /// For each panel, block of input channels, tap and input channel, a row of weights.
    pub data: Aligned<f32>,
    pub panels: Vec<Panel>,
}

/// Output channels that are computed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Panel {
    /// Blocks of output channels.
    pub out: Range<usize>,
    /// The input channels, in fours.
    pub fours: Range<usize>,
    /// Where the panel begins in the packed weights.
    pub start: usize,
}

impl Panel {
    /// Elements of a row of weights.
    pub fn width(&self) -> usize {
        self.out.len() * BLOCK
    }
}

/// Packs weights for pixels of `in_block` input channels; `at` gives that of an output channel, an input channel of its
/// group and a tap.
pub(super) fn pack(
    isa: Isa,
    channels: Channels,
    in_block: usize,
    taps: usize,
    at: impl Fn(usize, usize, usize) -> f32,
) -> Packed {
    let panels = panels(Kernels::of(isa).blocks, channels, taps);
    let mut data = Aligned::zeroed(elements(&panels, taps));
    fill(&panels, channels, in_block, taps, at, &mut data);
    Packed { data, panels }
}

/// Elements of the weights in these panels.
pub(super) fn elements(panels: &[Panel], taps: usize) -> usize {
    panels.last().map_or(0, |last| last.start + last.fours.len() * FOUR * taps * last.width())
}

/// Writes the weights of [`pack`] into as many zeros.
fn fill(
    panels: &[Panel],
    channels: Channels,
    in_block: usize,
    taps: usize,
    at: impl Fn(usize, usize, usize) -> f32,
    data: &mut [f32],
) {
    let (ins, outs) = channels.per_group();
    let per_block = in_block / FOUR;
    for panel in panels {
        let data = &mut data[panel.start..][..panel.fours.len() * FOUR * taps * panel.width()];
        // An output channel's weights lie together, where they come from.
        for (lane, output) in
            (panel.out.start * BLOCK..channels.output.min(panel.out.end * BLOCK)).enumerate()
        {
            let seen = output / outs * ins..(output / outs + 1) * ins;
            let mut to = data.chunks_exact_mut(panel.width());
            let mut four = panel.fours.start;
            while four < panel.fours.end {
                let end = panel.fours.end.min((four / per_block + 1) * per_block);
                for tap in 0..taps {
                    for (input, row) in (four * FOUR..end * FOUR).zip(&mut to) {
                        if seen.contains(&input) {
                            row[lane] = at(output, input - seen.start, tap);
                        }
                    }
                }
                four = end;
            }
        }
    }
}

/// All output channels in panels of at most `most` blocks; those of one panel see the same input channels.
pub(super) fn panels(most: usize, channels: Channels, taps: usize) -> Vec<Panel> {
    let (ins, outs) = channels.per_group();
    let count = blocks(channels.output);
    let seen = |block: usize| {
        let last = channels.output.min((block + 1) * BLOCK) - 1;
        block * BLOCK / outs * ins / FOUR..((last / outs + 1) * ins).div_ceil(FOUR)
    };
    let (mut panels, mut first, mut start) = (Vec::new(), 0, 0);
    while first < count {
        let fours = seen(first);
        let end = (first + 1..count.min(first + most)).find(|&b| seen(b) != fours);
        let panel = Panel { out: first..end.unwrap_or(count.min(first + most)), fours, start };
        first = panel.out.end;
        start += panel.fours.len() * FOUR * taps * panel.width();
        panels.push(panel);
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: usize, output: usize, groups: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let panels = panels(2, Channels { input, output, groups }, 1);
        panels.into_iter().map(|panel| (panel.out, panel.fours)).collect()
    }

    #[test]
    fn without_groups_all_channels_are_seen() {
        assert_eq!(of(24, 80, 1), [(0..2, 0..6), (2..4, 0..6), (4..5, 0..6)]);
        assert_eq!(of(3, 5, 1), [(0..1, 0..1)]);
    }

    #[test]
    fn groups_may_end_within_a_block() {
        let expected = [(0..2, 0..9), (2..3, 0..17), (3..4, 8..17), (4..5, 8..26)];
        assert_eq!(of(136, 136, 4)[..4], expected);
        assert_eq!(of(128, 64, 2), [(0..2, 0..16), (2..4, 16..32)]);
    }
}
