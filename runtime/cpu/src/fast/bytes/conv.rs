//! Convolutions of bytes: a product whose rows are pixels, read where they lie.

use std::ops::Range;

use smallvec::SmallVec;

use super::BytesLast;
use super::depthwise::Depthwise;
use super::finish::{Coding, Finish, around};
use super::kernels::Kernels;
use super::tile::Tile;
use super::weights::{Weights, part};
use crate::fast::conv::{Channels, Window};
use crate::fast::copy::{copy, fill};
use crate::fast::gemm::split::{self, Tiles};
use crate::fast::gemm::{Quantized, Zero};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::vectorised;
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;
use crate::pool::SharedSlice;

/// Multiply-adds of one piece of work.
const PIECE: usize = 1_000_000;
/// Bytes of a frame that are filled at a time.
const FRAME_PIECE: usize = 32 * 1024;

/// A quantised convolution, prepared for one instruction set.
pub struct ConvBytes {
    isa: Isa,
    channels: Channels,
    window: Window,
    input: Coding,
    /// The bias less what the input's zero point adds to each sum.
    bias: Vec<i32>,
    finish: Finish,
    method: Method,
}

enum Method {
    Depthwise(Depthwise),
    Product(Product),
}

/// A vector or several of output channels.
struct Panel {
    vectors: usize,
    /// The first output channel, and how many there are.
    channel: usize,
    n: usize,
    /// The first input channel of their group.
    input: usize,
    weights: usize,
}

struct Product {
    panels: Vec<Panel>,
    weights: Aligned<i32>,
    /// Neighbouring taps of a row make one segment.
    rows: bool,
    /// How many times the segments are gone through.
    parts: usize,
    words: usize,
}

impl ConvBytes {
    /// Packs `weights` (output channels, input channels of a group, kernel height, kernel width).
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn new<W: Quantized>(
        isa: Isa,
        (channels, window): (Channels, Window),
        input: Coding,
        (weights, zero): (&[W], Zero<'_, W>),
        bias: Option<&[i32]>,
        finish: Finish,
    ) -> Self {
        let weights = Weights::new(channels, window, weights, zero);
        let bias = |c: usize| {
            let own = bias.map_or(0, |bias| bias[c]);
            own.wrapping_sub(input.unsigned_zero().wrapping_mul(weights.sum(c)))
        };
        let bias = around(&(0..channels.output).map(bias).collect::<Vec<i32>>(), channels.output);
        let method = match channels.is_depthwise() {
            true => Method::Depthwise(Depthwise::new(channels.output, window, input, &weights)),
            false => Method::Product(Product::new(isa, channels, window, &weights)),
        };
        Self { isa, channels, window, input, bias, finish, method }
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// The bytes of temporary memory that images take; `None` where that cannot be counted.
    pub fn frame_bytes(&self, count: usize, size: [usize; 2]) -> Option<usize> {
        if matches!(self.method, Method::Depthwise(_)) {
            return Some(0);
        }
        let [top, left, bottom, right] = self.window.pads;
        let height = size[0].checked_add(top)?.checked_add(bottom)?;
        let width = size[1].checked_add(left)?.checked_add(right)?;
        height.checked_mul(width)?.checked_mul(self.channels.input)?.checked_mul(count)?.checked_add(4)
    }
}

impl Product {
    fn new(isa: Isa, channels: Channels, window: Window, weights: &Weights) -> Self {
        let kernels = Kernels::of(isa);
        let (inputs, outputs) = channels.per_group();
        let [height, width] = window.kernel;
        let rows = channels.groups == 1 && window.dilations[1] == 1;
        // Taps of a segment, and the segments themselves by their first tap.
        let (taps, columns) = if rows { (width, 1) } else { (1, width) };
        let (words, parts) = ((inputs * taps).div_ceil(4), weights.parts());
        let (mut panels, mut packed) = (Vec::new(), Vec::new());
        for group in 0..channels.groups {
            let vectors = outputs.div_ceil(kernels.lanes);
            let count = vectors.div_ceil(kernels.vectors());
            for vectors in (0..count).map(|i| split::part(vectors, count, i)) {
                let first = vectors.start * kernels.lanes;
                let panel = Panel {
                    vectors: vectors.len(),
                    channel: group * outputs + first,
                    n: (outputs - first).min(vectors.len() * kernels.lanes),
                    input: group * inputs,
                    weights: packed.len(),
                };
                for (i, segment, word) in triples(parts, height * columns, words) {
                    packed.extend((0..panel.vectors * kernels.lanes).map(|lane| {
                        i32::from_le_bytes([0, 1, 2, 3].map(|byte| {
                            let (tap, input) = ((word * 4 + byte) / inputs, (word * 4 + byte) % inputs);
                            if lane >= panel.n || tap >= taps {
                                return 0;
                            }
                            let at = [segment / columns, segment % columns + tap];
                            part(weights.get(panel.channel + lane, input, at), i) as i8 as u8
                        }))
                    }));
                }
                panels.push(panel);
            }
        }
        let mut weights = Aligned::zeroed(packed.len());
        weights.copy_from_slice(&packed);
        Self { panels, weights, rows, parts, words }
    }
}

/// All triples of indices below these numbers, in order.
fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// Convolves `input` into `output`, channels innermost as well.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv_bytes(exec: Exec<'_>, input: BytesLast<'_>, conv: &ConvBytes, output: &mut [u8]) {
    let exec = Exec { isa: conv.isa, ..exec };
    let [height, width] = conv.window.output(input.size).expect("the window does not fit the images");
    let pixels = input.count * input.size[0] * input.size[1];
    assert_eq!(input.data.len(), pixels * conv.channels.input, "size of the input");
    assert_eq!(output.len(), input.count * height * width * conv.channels.output, "size of the output");
    if output.is_empty() {
        return;
    }
    match &conv.method {
        Method::Depthwise(depthwise) => {
            depthwise.run(exec, input, (&conv.bias, &conv.finish), output);
        }
        Method::Product(product) => {
            with_frame(exec, input, conv, product, |geometry, frame| {
                run(exec, &geometry, frame, conv, product, output);
            });
        }
    }
}

/// Where windows lie in a frame.
struct Geometry {
    /// Rows of output pixels in all images, rows in one, and pixels in a row.
    rows: usize,
    rows_of_image: usize,
    width: usize,
    /// In bytes: from image to image, row to row of output pixels, and pixel to pixel.
    image: usize,
    row: usize,
    pixel: usize,
    segments: SmallVec<[usize; 32]>,
}

impl Geometry {
    /// Where the window of a pixel begins.
    fn start(&self, row: usize, pixel: usize) -> usize {
        row / self.rows_of_image * self.image + row % self.rows_of_image * self.row + pixel * self.pixel
    }
}

/// Calls `run` with the images inside frames of zero points, and their codes unsigned; without padding and signs they are
/// the same.
fn with_frame(
    exec: Exec<'_>,
    input: BytesLast<'_>,
    conv: &ConvBytes,
    product: &Product,
    run: impl FnOnce(Geometry, &[u8]),
) {
    let (window, channels) = (conv.window, conv.channels.input);
    let point = Window::new([1, 1]) == window;
    let geometry = |[height, width]: [usize; 2]| {
        let [rows_of_image, columns] =
            Window { pads: [0; 4], ..window }.output([height, width]).expect("as before");
        let [taps_down, taps_across] = [window.kernel[0], if product.rows { 1 } else { window.kernel[1] }];
        let tap = |row: usize, col: usize| {
            (row * window.dilations[0] * width + col * window.dilations[1]) * channels
        };
        Geometry {
            rows: if point { 1 } else { input.count * rows_of_image },
            rows_of_image,
            width: if point { input.count * height * width } else { columns },
            image: height * width * channels,
            row: window.strides[0] * width * channels,
            pixel: window.strides[1] * channels,
            segments: triples(product.parts, taps_down, taps_across)
                .map(|(_, row, col)| tap(row, col))
                .collect(),
        }
    };
    let taps = if product.rows { window.kernel[1] } else { 1 };
    let whole_words = (conv.channels.per_group().0 * taps).is_multiple_of(4);
    if window.pads == [0; 4] && whole_words && !conv.input.signed {
        return run(geometry(input.size), input.data);
    }
    let [top, left, bottom, right] = window.pads;
    let size @ [height, width] = [input.size[0] + top + bottom, input.size[1] + left + right];
    let (row, in_row) = (width * channels, input.size[1] * channels);
    // The last word of the last segment may reach beyond.
    let bytes = input.count * height * row;
    with_scratch(bytes + 4, |frame: &mut [u8]| {
        let per_piece = (FRAME_PIECE / row.max(1)).max(1);
        let (zero, flip) = (conv.input.unsigned_zero() as u8, conv.input.flip() as u8);
        exec.pool.parallel_chunks(&mut frame[..bytes], per_piece * row, &|piece, rows| {
            for (i, out) in rows.chunks_exact_mut(row).enumerate() {
                let (image, y) = ((piece * per_piece + i) / height, (piece * per_piece + i) % height);
                if y < top || y >= top + input.size[0] {
                    out.fill(zero);
                    continue;
                }
                let from = (image * input.size[0] + y - top) * in_row;
                let (before, rest) = out.split_at_mut(left * channels);
                let (inside, behind) = rest.split_at_mut(in_row);
                fill(before, zero);
                let source = &input.data[from..from + in_row];
                match flip {
                    0 => copy(inside, source),
                    _ => vectorised(exec.isa, || {
                        inside.iter_mut().zip(source).for_each(|(to, x)| *to = x ^ flip)
                    }),
                }
                fill(behind, zero);
            }
        });
        run(geometry(size), frame);
    });
}

fn run(exec: Exec<'_>, g: &Geometry, x: &[u8], conv: &ConvBytes, product: &Product, output: &mut [u8]) {
    let kernels = Kernels::of(exec.isa);
    let panels = &product.panels;
    let widest = panels.iter().map(|p| p.vectors).max().unwrap_or(1);
    let tiles = Tiles::new(g.width, kernels.pixels(widest));
    let work = (g.segments.len() * product.words * 4 * conv.channels.output).max(1);
    let (all, threads) = (g.rows * tiles.count(), exec.pool.threads());
    let wanted = split::pieces(g.rows * g.width * work, PIECE, threads);
    let pieces = wanted.min(all);
    let parts = match wanted < threads {
        true => 1,
        false => split::even(1, pieces, threads).min(panels.len()),
    };
    let last = |x: Option<usize>| x.unwrap_or(0);
    let reach = g.start(g.rows - 1, g.width - 1)
        + last(g.segments.iter().max().copied())
        + last(panels.iter().map(|p| p.input).max())
        + product.words * 4;
    assert!(reach <= x.len(), "windows lie outside of the frame");
    let run = Run { kernels, g, x, conv, product, out: SharedSlice::new(output) };
    exec.pool.parallel_for(pieces * parts, &|piece| {
        for index in split::part(all, pieces, piece / parts) {
            for panel in &panels[split::part(panels.len(), parts, piece % parts)] {
                run.tile(index / tiles.count(), tiles.get(index % tiles.count()), panel);
            }
        }
    });
}

struct Run<'a> {
    kernels: Kernels,
    g: &'a Geometry,
    /// All windows are inside.
    x: &'a [u8],
    conv: &'a ConvBytes,
    product: &'a Product,
    out: SharedSlice<'a, u8>,
}

impl Run<'_> {
    /// Computes neighbouring pixels of a row of the output for a panel of output channels.
    fn tile(&self, row: usize, pixels: Range<usize>, panel: &Panel) {
        let channels = self.conv.channels.output;
        let at = (row * self.g.width + pixels.start) * channels + panel.channel;
        assert!(at + (pixels.len() - 1) * channels + panel.n <= self.out.len());
        let tile = Tile {
            x: self.x[self.g.start(row, pixels.start) + panel.input..].as_ptr(),
            x_pixel: self.g.pixel,
            segments: &self.g.segments,
            words: self.product.words,
            weights: self.product.weights[panel.weights..].as_ptr(),
            bias: self.conv.bias[panel.channel..].as_ptr(),
            // SAFETY: the place is inside of the output.
            out: unsafe { self.out.as_mut_ptr().add(at) },
            out_pixel: channels,
            channel: panel.channel,
            n: panel.n,
            finish: &self.conv.finish,
        };
        // SAFETY: `run` has checked that all windows lie in the frame; these channels of these pixels belong to this
        // tile alone; weights and biases were packed for the panel.
        unsafe { self.kernels.run(pixels.len(), panel.vectors, &tile) };
    }
}
