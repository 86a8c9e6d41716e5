//! Convolutions.

use super::direct::{Direct, Place};
use super::panels::{Packed, pack};
use super::tile::THIN;
use super::{BLOCK, Blocked, Ending, Output, Pixel, blocks, depthwise, halve, winograd};
use crate::fast::conv::{Channels, ConvEpilogue, Geometry, Images, Window};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};
use crate::fast::{Exec, Isa, math};
use crate::memory::Aligned;

/// A convolution's weights, rearranged once for one instruction set.
pub struct BlockedConv {
    isa: Isa,
    channels: Channels,
    window: Window,
    weights: Weights,
}

enum Weights {
    Direct(Packed),
    /// The same, for images that are not blocked but have few channels.
    Thin(Packed),
    /// Block after block, for each tap those of 16 channels.
    Depthwise(Aligned<f32>),
    Winograd(winograd::Packed),
}

impl BlockedConv {
    /// Packs `weights` (output channels, input channels of a group, kernel height, kernel width) by the method that is
    /// best for images of height and width `size`. The result serves images of any size.
    ///
    /// # Panics
    /// If the weights do not have that size.
    pub fn pack(isa: Isa, channels: Channels, window: Window, weights: &[f32], size: [usize; 2]) -> Self {
        let taps = window.taps();
        let inputs = channels.per_group().0;
        assert_eq!(weights.len(), channels.output * inputs * taps, "size of the weights");
        let weights = if channels.is_depthwise() {
            Weights::Depthwise(depthwise::pack(weights, channels.output, taps))
        } else if let Some(packed) = winograd::pack(isa, channels, window, weights, size) {
            Weights::Winograd(packed)
        } else {
            let at = |o: usize, i: usize, tap: usize| weights[(o * inputs + i) * taps + tap];
            Weights::Direct(pack(isa, channels, BLOCK, taps, at))
        };
        Self { isa, channels, window, weights }
    }

    /// Packs the same for [`conv_thin`].
    ///
    /// # Panics
    /// If the weights do not have that size, or there are groups or more than `THIN` channels.
    pub fn pack_thin(isa: Isa, channels: Channels, window: Window, weights: &[f32]) -> Self {
        let taps = window.taps();
        assert!(channels.groups == 1 && channels.input <= THIN, "too many channels for a thin image");
        assert_eq!(weights.len(), channels.output * channels.input * taps, "size of the weights");
        let at = |o: usize, i: usize, tap: usize| weights[(o * channels.input + i) * taps + tap];
        Self { isa, channels, window, weights: Weights::Thin(pack(isa, channels, THIN, taps, at)) }
    }

    pub fn is_thin(&self) -> bool {
        matches!(self.weights, Weights::Thin(_))
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    pub fn window(&self) -> Window {
        self.window
    }
}

/// `output = epilogue(input ∗ weights)`; the addend is blocked as the output is.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    run(exec, input, weights, output, epilogue, false);
}

/// The largest of each 2 × 2 pixels of what [`conv`] gives, of whose odd rows and columns the last ones are left out.
///
/// # Panics
/// As there, or if there is an addend, or the activation gives less for more.
pub fn conv_halved(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    check_halved(epilogue);
    run(exec, input, weights, output, epilogue, true);
}

/// Weights of a direct convolution that are read again for every few lines: those of more stay where they are, and what
/// they make is made smaller afterwards.
const HALVED_WEIGHTS: usize = 64 * 1024;

/// Of a plane of the output.
fn pixels_of(geometry: &Geometry, halved: bool) -> usize {
    let [height, width] = geometry.output;
    if halved { (height / 2) * (width / 2) } else { height * width }
}

fn check_halved(epilogue: &ConvEpilogue<'_>) {
    assert!(epilogue.addend.is_none(), "an addend of images that are made smaller");
    assert!(epilogue.activation.is_increasing(), "the largest pixel must stay the largest");
}

fn run(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
    halved: bool,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let (channels, window) = (weights.channels, weights.window);
    assert_eq!(input.channels, channels.input, "channels of the input");
    let geometry = &Geometry::new(window, input.size).expect("the window does not fit the images");
    let (len, planes) = (output.len(), input.count * blocks(channels.output));
    let out = Output::new(output, planes, pixels_of(geometry, halved));
    if len == 0 {
        return;
    }
    Ending::with(exec.isa, epilogue, channels.output, len, |ending| match &weights.weights {
        Weights::Depthwise(weights) if !halved => depthwise::run(exec, input, window, weights, out, ending),
        Weights::Winograd(weights) if !halved || weights.has_even_tiles() => {
            winograd::run(exec, winograd::Call { input, window, weights, out, ending, halved });
        }
        Weights::Direct(packed) if !halved || packed.data.len() <= HALVED_WEIGHTS => {
            with_frames(exec, geometry, input, |frames| {
                let place = Place { first: 0, line: geometry.output[1], step: 1 };
                let direct = Direct::new(geometry, frames, BLOCK, channels.input, packed, ending, place);
                direct.run(exec, input.count, out, halved);
            })
        }
        Weights::Thin(_) => panic!("weights for images that are not blocked"),
        _ => halve::afterwards(exec, geometry.output, planes, out, |whole| {
            conv(exec, input, weights, whole, epilogue);
        }),
    });
}

/// The same for images of at most `THIN` channels that are not blocked; the output is.
///
/// # Panics
/// If the sizes do not fit together, the window does not fit the images, or the weights are not packed for it.
pub fn conv_thin(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    run_thin(exec, input, weights, output, epilogue, false);
}

/// The same, made smaller as by [`conv_halved`].
///
/// # Panics
/// As there.
pub fn conv_thin_halved(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    check_halved(epilogue);
    run_thin(exec, input, weights, output, epilogue, true);
}

fn run_thin(
    exec: Exec<'_>,
    input: Images<'_, f32>,
    weights: &BlockedConv,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
    halved: bool,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let (channels, window) = (weights.channels, weights.window);
    let Weights::Thin(weights) = &weights.weights else { panic!("weights for blocked images") };
    let plane = input.size[0] * input.size[1];
    assert_eq!(input.data.len(), input.count * channels.input * plane, "size of the input");
    let geometry = &Geometry::new(window, input.size).expect("the window does not fit the images");
    let len = output.len();
    let out = Output::new(output, input.count * blocks(channels.output), pixels_of(geometry, halved));
    if len == 0 {
        return;
    }
    Ending::with(exec.isa, epilogue, channels.output, len, |ending| {
        let (row, rows) = (geometry.row(), geometry.plane() / geometry.row());
        with_scratch(input.count * geometry.plane(), |frames: &mut [[f32; THIN]]| {
            exec.pool.parallel_chunks(frames, FRAME_ROWS * row, &|piece, frames| {
                for (i, frame) in frames.chunks_exact_mut(row).enumerate() {
                    let (image, index) = ((piece * FRAME_ROWS + i) / rows, (piece * FRAME_ROWS + i) % rows);
                    let planes = &input.data[image * channels.input * plane..][..channels.input * plane];
                    geometry.fill_row(index, frame, [0.0; THIN], |out, start, step| {
                        exec.isa.run(Interleave { planes, plane, start, step, out });
                    });
                }
            });
            let place = Place { first: 0, line: geometry.output[1], step: 1 };
            let frames = frames.as_flattened();
            Direct::new(geometry, frames, THIN, channels.input, weights, ending, place).run(
                exec,
                input.count,
                out,
                halved,
            );
        });
    });
}

/// A vector of pixels from `at` on, of planes of which some may be empty, side by side.
#[inline(always)]
fn interleaved<S: Simd>(s: S, planes: &[&[f32]; THIN], at: usize) -> [S::F; THIN] {
    let mut vectors = [s.splat(0.0); THIN];
    for (v, x) in vectors.iter_mut().zip(planes).filter(|(_, x)| !x.is_empty()) {
        *v = math::load_at(s, x, at);
    }
    s.interleave(vectors)
}

#[inline(always)]
fn store_all<S: Simd, const N: usize>(s: S, vectors: [S::F; N], to: &mut [[f32; THIN]]) {
    for (i, v) in vectors.into_iter().enumerate() {
        math::store_at(s, to.as_flattened_mut(), i * S::LANES, v);
    }
}

/// Of any instruction set.
const MAX_LANES: usize = 16;

/// Rows of frames of one piece of work.
const FRAME_ROWS: usize = 8;

/// Pixels of a few planes, every `step`-th from `start` on, side by side.
struct Interleave<'a> {
    planes: &'a [f32],
    plane: usize,
    start: usize,
    step: usize,
    out: &'a mut [[f32; THIN]],
}

impl Task for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Interleave { planes, plane, start, step, out } = self;
        let mut from: [&[f32]; THIN] = [&[]; THIN];
        for (from, plane) in from.iter_mut().zip(planes.chunks_exact(plane)) {
            *from = &plane[start..];
        }
        let mut whole = 0;
        if step == 1 {
            while whole + S::LANES <= out.len() {
                store_all(s, interleaved(s, &from, whole), &mut out[whole..whole + S::LANES]);
                whole += S::LANES;
            }
        } else if step == 2 {
            let readable = from.iter().filter(|x| !x.is_empty()).map(|x| x.len()).min().unwrap_or(0);
            let half = S::LANES / 2;
            while whole + half <= out.len() && whole * step + S::LANES <= readable {
                let [a, b, c, d] = interleaved(s, &from, whole * step);
                // Every other pixel.
                let [first, second] = [s.split_groups::<THIN>(a, b)[0], s.split_groups::<THIN>(c, d)[0]];
                store_all(s, [first, second], &mut out[whole..whole + half]);
                whole += half;
            }
        } else if step <= S::LANES {
            // Neighbours are turned whatever the step: those between are left out afterwards.
            let mut some = [[0.0; THIN]; MAX_LANES];
            let per_vector = S::LANES.div_ceil(step);
            let readable = from.iter().filter(|x| !x.is_empty()).map(|x| x.len()).min().unwrap_or(0);
            while whole + per_vector <= out.len() && whole * step + S::LANES <= readable {
                store_all(s, interleaved(s, &from, whole * step), &mut some[..S::LANES]);
                let kept = some[..S::LANES].iter().step_by(step);
                out[whole..].iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
                whole += per_vector;
            }
        }
        for (i, out) in out.iter_mut().enumerate().skip(whole) {
            *out = from.map(|x| x.get(i * step).copied().unwrap_or(0.0));
        }
    }
}

/// Calls `run` with the frames of all planes: the input itself, where they are the same.
pub(super) fn with_frames(exec: Exec<'_>, geometry: &Geometry, input: Blocked<'_>, run: impl FnOnce(&[f32])) {
    /// Pixels of one piece of work.
    const PIECE: usize = 1024;
    let planes = input.planes();
    if geometry.is_plain() {
        return run(planes.as_flattened());
    }
    let (pixels, plane) = (input.pixels(), geometry.plane());
    let count = input.count * blocks(input.channels);
    with_scratch(count * plane, |frames: &mut [Pixel]| {
        exec.pool.parallel_chunks(frames, (PIECE / plane).max(1) * plane, &|piece, frames| {
            let first = piece * (PIECE / plane).max(1);
            for (i, frame) in frames.chunks_exact_mut(plane).enumerate() {
                let source = &planes[(first + i) * pixels..][..pixels];
                geometry.fill_border(frame, [0.0; BLOCK]);
                geometry.fill_inside(frame, |out, start, step| match step {
                    1 => out.copy_from_slice(&source[start..start + out.len()]),
                    _ => out
                        .iter_mut()
                        .zip(source[start..].iter().step_by(step))
                        .for_each(|(to, from)| *to = *from),
                });
            }
        });
        run(frames.as_flattened());
    });
}
