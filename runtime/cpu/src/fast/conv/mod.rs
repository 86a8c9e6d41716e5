//! Convolutions over channels-first images: as matrix products whose right operand is packed from the
//! windows panel by panel, never materialised; depthwise ones directly.

mod depthwise;
pub(crate) mod filtering;
mod line;
mod pixels;
mod transpose;
mod window;
pub(crate) mod winograd;

use std::ops::Range;
use std::sync::OnceLock;

use bytemuck::Pod;

pub(crate) use depthwise::{Plane, SLACK};
use pixels::Left;
pub use transpose::{PackedConvTranspose, conv_transpose};
pub(crate) use window::Geometry;
pub use window::Window;

use super::copy::copy;
use super::gemm::drive::{self, Dims, Layout, Operand, Problem};
use super::gemm::tile::{FinishFloat, Float};
use super::gemm::{Epilogue, Matrix, PackedB, pack_left};
use super::math;
use super::scratch::with_scratch;
use super::simd::{Simd, Task};
use super::{Activation, Exec, Isa};
use crate::memory::Aligned;

/// The channels of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    pub input: usize,
    pub output: usize,
    pub groups: usize,
}

impl Channels {
    /// Input and output channels of one group.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    pub(crate) fn per_group(&self) -> (usize, usize) {
        assert!(
            self.groups > 0
                && self.input.is_multiple_of(self.groups)
                && self.output.is_multiple_of(self.groups),
            "the groups must divide the channels"
        );
        (self.input / self.groups, self.output / self.groups)
    }

    /// One input and one output channel per group.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.per_group() == (1, 1)
    }
}

/// A convolution's weights, rearranged once for one instruction set.
pub struct PackedConv {
    isa: Isa,
    channels: Channels,
    window: Window,
    weights: Weights,
}

/// Weights in the form that the chosen method wants.
enum Weights {
    /// Group after group, as [`pack_left`] makes them.
    Product(Aligned<f32>),
    /// As they came.
    Depthwise(Aligned<f32>),
    /// As [`winograd::transform_weights`] makes them.
    Winograd(Aligned<f32>),
    /// A column for each output channel.
    Pixels(PackedB),
    /// As [`line::pack`] makes them.
    Line(PackedB),
}

/// How a convolution that is not depthwise is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Product,
    Pixels,
    Line,
    Winograd,
}

impl Method {
    /// The best for images of height and width `size`.
    fn of(channels: Channels, window: Window, size: [usize; 2]) -> Method {
        let pixels = window.output(size).map_or(0, |[height, width]| height * width);
        if winograd::pays(channels, window, size) {
            Method::Winograd
        } else if channels.groups == 1
            && pixels::pays(pixels, channels.output, channels.per_group().0 * window.taps())
        {
            if line::suits(window, size) { Method::Line } else { Method::Pixels }
        } else {
            Method::Product
        }
    }
}

/// A convolution's weights, packed for images of a size that is not known before: by each method when it is first
/// wanted, so that results depend on an image's size alone.
#[derive(Default)]
pub struct PackedBySize([OnceLock<PackedConv>; 4]);

impl PackedBySize {
    /// The weights (output channels, input channels of a group, kernel height, kernel width) by the best method. All
    /// else is the same in every call.
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn get(
        &self,
        isa: Isa,
        channels: Channels,
        window: Window,
        weights: &[f32],
        size: [usize; 2],
    ) -> &PackedConv {
        let method = Method::of(channels, window, size);
        self.0[method as usize].get_or_init(|| PackedConv::pack_with(isa, channels, window, weights, method))
    }
}

impl PackedConv {
    /// Packs `weights` (output channels, input channels of a group, kernel height, kernel width).
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn pack(isa: Isa, channels: Channels, window: Window, weights: &[f32]) -> Self {
        Self::pack_with(isa, channels, window, weights, Method::Product)
    }

    /// The same, by the method that is best for images of height and width `size`. The result still serves
    /// images of any width, and of any height where this one is not 1.
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn pack_for(isa: Isa, channels: Channels, window: Window, weights: &[f32], size: [usize; 2]) -> Self {
        Self::pack_with(isa, channels, window, weights, Method::of(channels, window, size))
    }

    fn pack_with(isa: Isa, channels: Channels, window: Window, weights: &[f32], method: Method) -> Self {
        let (inputs, outputs) = channels.per_group();
        let k = inputs * window.taps();
        assert_eq!(weights.len(), channels.output * k, "size of the weights");
        let weights = if channels.is_depthwise() {
            let mut own = Aligned::zeroed(weights.len());
            own.copy_from_slice(weights);
            Weights::Depthwise(own)
        } else if method == Method::Pixels {
            let matrix = Matrix::row_major(weights, channels.output, k).transposed();
            Weights::Pixels(PackedB::pack(isa, matrix))
        } else if method == Method::Line {
            Weights::Line(line::pack(isa, channels, window.taps(), weights))
        } else if method == Method::Winograd {
            Weights::Winograd(winograd::transform_weights(isa, channels, weights))
        } else {
            let mut packed = Aligned::zeroed(weights.len());
            let group = (outputs * k).max(1);
            for (from, to) in weights.chunks_exact(group).zip(packed.chunks_exact_mut(group)) {
                pack_left(isa, Matrix::row_major(from, outputs, k), to);
            }
            Weights::Product(packed)
        };
        Self { isa, channels, window, weights }
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    pub fn window(&self) -> Window {
        self.window
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether images of height and width `size` can be convolved.
    pub fn takes(&self, size: [usize; 2]) -> bool {
        !matches!(self.weights, Weights::Line(_)) || size[0] == 1
    }
}

/// A batch of images, channels first.
#[derive(Clone, Copy)]
pub struct Images<'a, T> {
    pub data: &'a [T],
    pub count: usize,
    /// Height and width.
    pub size: [usize; 2],
}

/// What is done to each sum on its way out: `activation(sum + bias[channel] + addend)`.
#[derive(Clone, Copy, Default)]
pub struct ConvEpilogue<'a> {
    pub bias: Option<&'a [f32]>,
    /// Laid out like the output.
    pub addend: Option<&'a [f32]>,
    pub activation: Activation,
}

impl<'a> ConvEpilogue<'a> {
    /// For output channels from `channel`, with the output beginning at `start`.
    fn from(&self, channel: usize, start: usize) -> FinishFloat<'a> {
        let bias = self.bias.map(|x| x.get(channel..).unwrap_or_default());
        let product = Epilogue {
            row_bias: bias,
            addend: self.addend,
            activation: self.activation,
            ..Default::default()
        };
        product.finish(start)
    }
}

/// `output = epilogue(input ∗ weights)`.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &PackedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let geometry = Geometry::new(weights.window, input.size).expect("the window does not fit the images");
    let [height, width] = input.size;
    let planes = input.count * weights.channels.input;
    assert_eq!(input.data.len(), planes * height * width, "size of the input");
    assert_eq!(output.len(), input.count * weights.channels.output * geometry.pixels(), "size of the output");
    if output.is_empty() {
        return;
    }
    let (window, channels) = (weights.window, weights.channels);
    match &weights.weights {
        Weights::Product(weights) => {
            let (geometry, images, isa) = (&geometry, input.count, exec.isa);
            with_frames(exec, geometry, input, planes, |frame| {
                drive::run(exec, &Conv { geometry, frame, images, channels, weights, epilogue, isa }, output);
            });
        }
        Weights::Pixels(weights) => with_frames(exec, &geometry, input, planes, |frame| {
            let left = Left::Frames(frame);
            pixels::run(exec, &geometry, left, input.count, weights, output, epilogue);
        }),
        Weights::Line(weights) => {
            line::run(exec, &geometry, input, channels.input, weights, output, epilogue)
        }
        Weights::Depthwise(weights) => depthwise::run(exec, input, &geometry, weights, output, epilogue),
        Weights::Winograd(weights) => {
            winograd::run(exec, input, channels, window, weights, output, epilogue);
        }
    }
}

/// Calls `run` with the frames of all planes: the input itself, where they are the same.
fn with_frames(
    exec: Exec<'_>,
    geometry: &Geometry,
    input: Images<'_, f32>,
    planes: usize,
    run: impl FnOnce(&[f32]),
) {
    if geometry.is_plain() {
        return run(input.data);
    }
    with_scratch(planes * geometry.plane(), |frames| {
        fill_frames(exec, geometry, frames, |plane, frame| copy_plane(exec, geometry, input, plane, frame));
        run(frames);
    });
}

/// Fills the frame of one plane of `input`.
fn copy_plane(exec: Exec<'_>, geometry: &Geometry, input: Images<'_, f32>, plane: usize, frame: &mut [f32]) {
    let pixels = input.size[0] * input.size[1];
    let source = &input.data[plane * pixels..][..pixels];
    exec.isa.run(Fill { geometry, frame, source, border: Some(0.0) });
}

/// Calls `fill` for the frame of each plane.
pub(crate) fn fill_frames<T: Pod + Send>(
    exec: Exec<'_>,
    geometry: &Geometry,
    frames: &mut [T],
    fill: impl Fn(usize, &mut [T]) + Sync,
) {
    const PIECE: usize = 32 * 1024;
    let plane = geometry.plane();
    let planes = (PIECE / plane).max(1);
    exec.pool.parallel_chunks(frames, planes * plane, &|piece, frames| {
        for (i, frame) in frames.chunks_exact_mut(plane).enumerate() {
            fill(piece * planes + i, frame);
        }
    });
}

#[inline(always)]
fn copy_strided<S: Simd>(s: S, out: &mut [f32], source: &[f32], step: usize) {
    match step {
        1 => copy(out, source),
        2 => {
            // In whole pairs, which vectorise; the last pair may lack its second element.
            let Some((last, most)) = out.split_last_mut() else { return };
            *last = source[2 * most.len()];
            most.iter_mut().zip(source.chunks_exact(2)).for_each(|(out, pair)| *out = pair[0]);
        }
        4 => {
            let mut at = 0;
            while at + S::LANES <= out.len() && 4 * (at + S::LANES) <= source.len() {
                let mut quads = [s.splat(0.0); 4];
                for (i, quad) in quads.iter_mut().enumerate() {
                    *quad = math::load_at(s, source, 4 * at + i * S::LANES);
                }
                math::store_at(s, out, at, s.deinterleave(quads)[0]);
                at += S::LANES;
            }
            let rest = source[4 * at..].iter().step_by(4);
            out[at..].iter_mut().zip(rest).for_each(|(out, &x)| *out = x);
        }
        _ => out.iter_mut().zip(source.iter().step_by(step)).for_each(|(out, &x)| *out = x),
    }
}

/// [`Geometry::fill`] with wide copies.
pub(crate) struct Fill<'a> {
    pub geometry: &'a Geometry,
    pub frame: &'a mut [f32],
    pub source: &'a [f32],
    /// What padding counts as; none if the frame has its border already.
    pub border: Option<f32>,
}

impl Task for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if let Some(zero) = self.border {
            self.geometry.fill_border(self.frame, zero);
        }
        self.geometry.fill_inside(
            self.frame,
            #[inline(always)]
            |out, start, step| copy_strided(s, out, &self.source[start..], step),
        );
    }
}

/// One product for each group of each image: weights × windows.
struct Conv<'a> {
    geometry: &'a Geometry,
    frame: &'a [f32],
    images: usize,
    channels: Channels,
    weights: &'a [f32],
    epilogue: &'a ConvEpilogue<'a>,
    isa: Isa,
}

impl Problem for Conv<'_> {
    type A = Float;

    fn dims(&self) -> Dims {
        let (inputs, outputs) = self.channels.per_group();
        Dims {
            batch: self.images * self.channels.groups,
            m: outputs,
            n: self.geometry.pixels(),
            k: inputs * self.geometry.taps.len(),
        }
    }

    fn layout(&self) -> Layout {
        let row = self.geometry.pixels();
        Layout { row, batch: self.channels.per_group().1 * row }
    }

    fn left(&self, batch: usize) -> Operand<'_, f32> {
        let group = batch % self.channels.groups;
        let size = self.weights.len() / self.channels.groups;
        Operand::Packed(&self.weights[group * size..][..size])
    }

    fn right(&self, _: usize) -> Operand<'_, f32> {
        Operand::OnTheSpot
    }

    fn pack_left(&self, _: usize, _: Range<usize>, _: &mut [f32]) {}

    fn pack_right(&self, batch: usize, k: Range<usize>, n: Range<usize>, panel: usize, out: &mut [f32]) {
        let planes = self.channels.per_group().0 * self.geometry.plane();
        let frame = &self.frame[batch * planes..][..planes];
        self.isa.run(Pack { geometry: self.geometry, frame, k, n, panel, out });
    }

    fn finish(&self, batch: usize) -> FinishFloat<'_> {
        let (_, outputs) = self.channels.per_group();
        let channel = batch % self.channels.groups * outputs;
        self.epilogue.from(channel, batch * self.layout().batch)
    }

    fn after<'a>(&self, rows: impl Iterator<Item = &'a mut [f32]>) {
        if self.epilogue.activation.range().is_none() {
            self.epilogue.activation.apply_each(self.isa, rows);
        }
    }
}

/// [`Geometry::pack`] with wide copies.
pub(crate) struct Pack<'a, T> {
    pub geometry: &'a Geometry,
    pub frame: &'a [T],
    pub k: Range<usize>,
    pub n: Range<usize>,
    pub panel: usize,
    pub out: &'a mut [T],
}

impl<T: Pod> Task for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.geometry.pack(self.frame, self.k, self.n, self.panel, self.out);
    }
}
