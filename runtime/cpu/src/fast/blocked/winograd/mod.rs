//! Convolutions by Winograd's minimal filtering, see [`crate::fast::conv::filtering`]: squares of 3 and 5 pixels, and
//! lines of 3, 5 and 7. Transforms take 16 channels at a time; the product of one position is a convolution with a
//! kernel of one pixel, whose pixels are tiles.

mod layer;
mod transform;

use layer::Layer;

use super::panels::{self, Panel};
use super::tile::Kernels;
use super::{BLOCK, Blocked, Ending, Output};
use crate::fast::conv::filtering::{Eight, Filtering, Four, Single, Six, transformed};
use crate::fast::conv::winograd::is_deep;
use crate::fast::conv::{Channels, Window};
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;

/// Images of no more pixels along their shorter side go by F(2×2, 3×3): tiles of 4 × 4 fit them badly, and its
/// transformed weights, which come from memory, are less than half.
const SMALL: usize = 16;

/// Images whose outputs are less wide or high than this are worth it only where the weights are few: else these, not
/// the arithmetic, are the limit.
const TINY: usize = 12;
const TINY_KERNELS: usize = 128 * 1024;

/// What lines need at least: their transforms save less than those of squares.
const LINE_CHANNELS: usize = 32;

/// F(rows of a tile, rows of the kernel) along both axes, or along the only one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    /// F(2×2, 3×3).
    Small,
    /// F(4×4, 3×3).
    Square3,
    /// F(2×2, 5×5).
    Square5,
    /// F(6, 3).
    Line3,
    /// F(4, 5).
    Line5,
    /// F(2, 7).
    Line7,
}

/// Calls `$f` with the transforms of a method.
macro_rules! by_method {
    ($method:expr, $f:ident($($args:expr),*)) => {
        match $method {
            Method::Small => $f::<Four, Four, 4, 2, 4, 2>($($args),*),
            Method::Square3 => $f::<Six, Six, 6, 4, 6, 4>($($args),*),
            Method::Square5 => $f::<Six, Six, 6, 2, 6, 2>($($args),*),
            Method::Line3 => $f::<Eight, Single, 8, 6, 1, 1>($($args),*),
            Method::Line5 => $f::<Eight, Single, 8, 4, 1, 1>($($args),*),
            Method::Line7 => $f::<Eight, Single, 8, 2, 1, 1>($($args),*),
        }
    };
}

impl Method {
    /// The one that applies, and pays for images of this size.
    fn of(channels: Channels, window: Window, size: [usize; 2]) -> Option<Method> {
        let plain = Window { pads: window.pads, ..Window::new(window.kernel) } == window;
        let [height, width] = window.output(size)?;
        let few = channels.input * channels.output <= TINY_KERNELS;
        let least = if few { TINY / 2 } else { TINY };
        let square = height.min(width) >= least;
        let line = height.max(width) >= TINY && channels.input.min(channels.output) >= LINE_CHANNELS;
        let method = match window.kernel {
            [3, 3] if square && size[0].min(size[1]) <= SMALL => Method::Small,
            [3, 3] if square => Method::Square3,
            [5, 5] if square => Method::Square5,
            [3, 1] | [1, 3] if line => Method::Line3,
            [5, 1] | [1, 5] if line => Method::Line5,
            [7, 1] | [1, 7] if line => Method::Line7,
            _ => return None,
        };
        (plain && is_deep(channels)).then_some(method)
    }
}

/// Transformed weights, packed for one instruction set.
pub(super) struct Packed {
    method: Method,
    /// The positions one after the other, each as of [`panels::pack`].
    data: Aligned<f32>,
    /// Those of each position.
    panels: Vec<Panel>,
}

impl Packed {
    /// Whether tiles are of an even height and width.
    pub(super) fn has_even_tiles(&self) -> bool {
        matches!(self.method, Method::Small | Method::Square3 | Method::Square5)
    }
}

/// The transformed weights, where the method applies and pays for images of the given height and width; what it gives
/// serves all.
pub(super) fn pack(
    isa: Isa,
    channels: Channels,
    window: Window,
    weights: &[f32],
    size: [usize; 2],
) -> Option<Packed> {
    let method = Method::of(channels, window, size)?;
    let panels = panels::panels(Kernels::of(isa).blocks, channels, 1);
    let data = by_method!(method, pack_by(&panels, channels, weights));
    Some(Packed { method, data, panels })
}

/// For each position, the panels of its weights: those of each input channel for the output channels of the panel.
fn pack_by<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
>(
    panels: &[Panel],
    channels: Channels,
    weights: &[f32],
) -> Aligned<f32> {
    /// Pixels of the largest kernel.
    const PIXELS: usize = 25;
    let pixels = R::KERNEL * C::KERNEL;
    let len = panels::elements(panels, 1);
    let mut data = Aligned::zeroed(len * RI * CI);
    for panel in panels {
        for input in 0..channels.input {
            for (i, block) in panel.out.clone().enumerate() {
                let mut kernels = [[0.0; BLOCK]; PIXELS];
                for (lane, output) in (block * BLOCK..channels.output.min((block + 1) * BLOCK)).enumerate() {
                    let kernel = &weights[(output * channels.input + input) * pixels..][..pixels];
                    kernels.iter_mut().zip(kernel).for_each(|(to, &x)| to[lane] = x.into());
                }
                let at = panel.start + input * panel.width() + i * BLOCK;
                let kernels = transformed::<R, C, RI, RO, CI, CO, BLOCK>(&kernels[..pixels]);
                for (row, data) in kernels.as_flattened().iter().zip(data.chunks_exact_mut(len)) {
                    data[at..at + BLOCK].copy_from_slice(row);
                }
            }
        }
    }
    data
}

/// One convolution.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub input: Blocked<'a>,
    pub window: Window,
    pub weights: &'a Packed,
    pub out: Output<'a>,
    pub ending: &'a Ending<'a>,
    /// Of each 2 × 2 pixels of the result, the largest: the output is half as high and wide, rounded down.
    pub halved: bool,
}

pub(super) fn run(exec: Exec<'_>, call: Call<'_>) {
    by_method!(call.weights.method, run_by(exec, call))
}

fn run_by<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
>(
    exec: Exec<'_>,
    call: Call<'_>,
) {
    Layer::<R, C, RI, RO, CI, CO>::new(exec.isa, call).run(exec);
}
