//! Where a sliding window lies in an image, as the attributes of convolutions and poolings say it.

use std::ops::Range;

use byoc_graph::Dim;

use crate::fast::conv::Window;
use crate::kernel::NodeDesc;

/// The attributes, for one or two spatial axes.
pub(super) struct Windows {
    pub strides: [usize; 2],
    dilations: [usize; 2],
    pads: Pads,
    pub spatial: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Pads {
    /// Top, left, bottom, right.
    Explicit([usize; 4]),
    SameUpper,
    SameLower,
}

/// Height and width of the input, where they are known.
pub(super) fn input_size(node: &NodeDesc<'_>, spatial: usize) -> [Option<usize>; 2] {
    let shape = node.shape(0).unwrap_or_default();
    let size = |i: usize| shape.get(i).and_then(Dim::value).and_then(|n| usize::try_from(n).ok());
    if spatial == 1 { [Some(1), size(2)] } else { [size(2), size(3)] }
}

impl Windows {
    /// Reads them for images of a rank.
    pub fn read(node: &NodeDesc<'_>, rank: usize) -> Option<Windows> {
        let spatial = rank.checked_sub(2).filter(|n| (1..=2).contains(n))?;
        let pads = match node.str("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => Pads::Explicit(pads(node.ints("pads"), spatial)?),
            "VALID" => Pads::Explicit([0; 4]),
            "SAME_UPPER" => Pads::SameUpper,
            "SAME_LOWER" => Pads::SameLower,
            _ => return None,
        };
        let (strides, dilations) = (node.ints("strides"), node.ints("dilations"));
        Some(Windows {
            strides: pair(strides, spatial)?,
            dilations: pair(dilations, spatial)?,
            pads,
            spatial,
        })
    }

    /// Where the axes of an image begin among height and width.
    pub fn spatial_from(&self) -> usize {
        2 - self.spatial
    }

    /// The window for an input size, of which only `SAME` padding with strides needs to know.
    pub fn window(&self, kernel: [usize; 2], input: [Option<usize>; 2]) -> Option<Window> {
        let (strides, dilations) = (self.strides, self.dilations);
        let pads = match self.pads {
            Pads::Explicit(pads) => pads,
            same => {
                let mut pads = [0; 4];
                for axis in 0..2 {
                    let extent = kernel[axis].checked_sub(1)?.checked_mul(dilations[axis])?.checked_add(1)?;
                    let total = match strides[axis] {
                        1 => extent - 1,
                        stride => {
                            let out = input[axis]?.div_ceil(stride);
                            let covered = out.checked_sub(1)?.checked_mul(stride)?.checked_add(extent)?;
                            covered.saturating_sub(input[axis]?)
                        }
                    };
                    let (small, large) = (total / 2, total - total / 2);
                    (pads[axis], pads[axis + 2]) =
                        if same == Pads::SameUpper { (small, large) } else { (large, small) };
                }
                pads
            }
        };
        Some(Window { kernel, strides, dilations, pads })
    }
}

/// The places along an axis at which a tap, so far into the window, sees one of the `size` pixels that there are.
pub(super) fn seen(tap: usize, pad: usize, stride: usize, size: usize, places: usize) -> Range<usize> {
    let low = pad.saturating_sub(tap).div_ceil(stride).min(places);
    let high = size.saturating_add(pad).saturating_sub(tap).div_ceil(stride).clamp(low, places);
    low..high
}

/// One value for height and one for width.
pub(super) fn pair(values: Option<&[i64]>, spatial: usize) -> Option<[usize; 2]> {
    let value = |x: i64| usize::try_from(x).ok().filter(|&x| x > 0);
    match (values, spatial) {
        (None, _) => Some([1, 1]),
        (Some(&[w]), 1) => Some([1, value(w)?]),
        (Some(&[h, w]), 2) => Some([value(h)?, value(w)?]),
        _ => None,
    }
}

fn pads(values: Option<&[i64]>, spatial: usize) -> Option<[usize; 4]> {
    let value = |x: i64| usize::try_from(x).ok();
    match (values, spatial) {
        (None, _) => Some([0; 4]),
        (Some(&[l, r]), 1) => Some([0, value(l)?, 0, value(r)?]),
        (Some(&[t, l, b, r]), 2) => Some([value(t)?, value(l)?, value(b)?, value(r)?]),
        _ => None,
    }
}
