//! GridSample of images in f32: where a place of the grid reads, and with what weights, is found once for all channels.

use byoc_graph::{DType, element_count};

use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::reference::sampling::{Outside, Sampler};
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "grid sample",
    domain: "",
    ops: &["GridSample"],
    since: 16,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// Places whose reads are held at a time, and those of one piece of work.
const HELD: usize = 16 * 1024;
const PIECE: usize = 256;

/// One pixel that a place reads, and the bits of its weight; 0 reads nothing.
type Read = [u32; 2];

struct GridSample {
    mode: &'static str,
    /// Reads of each place.
    reads: usize,
    outside: Outside,
    corners: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (mode, reads) = match node.str("mode").unwrap_or("linear") {
        "nearest" => ("nearest", 1),
        "linear" | "bilinear" => ("linear", 4),
        "cubic" | "bicubic" => ("cubic", 16),
        _ => return None,
    };
    let outside = Outside::of(node.str("padding_mode").unwrap_or("zeros"))?;
    let images = node.rank(0)? == 4 && node.dtype(1)? == DType::F32;
    let corners = node.int("align_corners").unwrap_or(0) != 0;
    images.then(|| Box::new(GridSample { mode, reads, outside, corners }) as Box<dyn Kernel>)
}

impl Kernel for GridSample {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, grid) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let misfit =
            || KernelError::invalid(format!("an input of {:?} and a grid of {:?}", x.dims, grid.dims));
        let (&[batch, channels, height, width], &[grids, rows, cols, 2]) = (x.dims, grid.dims) else {
            return Err(misfit());
        };
        let (pixels, places) = (height * width, rows * cols);
        if batch != grids || pixels == 0 || u32::try_from(pixels).is_err() {
            return Err(misfit());
        }
        let (data, grid) = (x.slice::<f32>()?, grid.slice::<f32>()?);
        let out = outputs.tensor::<f32>(0, &[batch, channels, rows, cols])?;
        let held = element_count(&[HELD.min(places), self.reads]).ok_or_else(misfit)?;
        with_scratch(2 * held, |scratch: &mut [u32]| {
            for image in 0..batch {
                let data = &data[image * channels * pixels..][..channels * pixels];
                let out = &mut out[image * channels * places..][..channels * places];
                for first in (0..places).step_by(HELD) {
                    let count = HELD.min(places - first);
                    let points = &grid[2 * (image * places + first)..][..2 * count];
                    let reads: &mut [Read] = &mut scratch.as_chunks_mut().0[..count * self.reads];
                    ctx.exec.pool.parallel_chunks(reads, PIECE * self.reads, &|piece, reads| {
                        let points = points[2 * piece * PIECE..].as_chunks::<2>().0;
                        for (reads, &point) in reads.chunks_exact_mut(self.reads).zip(points) {
                            self.find(point, [height, width], reads);
                        }
                    });
                    let reads = &*reads;
                    ctx.exec.pool.parallel_chunks(out, places, &|channel, plane| {
                        let source = &data[channel * pixels..][..pixels];
                        for (to, reads) in plane[first..].iter_mut().zip(reads.chunks_exact(self.reads)) {
                            *to = reads.iter().map(|read| weighted(source, read)).sum();
                        }
                    });
                }
            }
        });
        Ok(())
    }
}

fn weighted(plane: &[f32], &[pixel, weight]: &Read) -> f32 {
    match f32::from_bits(weight) {
        0.0 => 0.0,
        weight => weight * plane[pixel as usize],
    }
}

impl GridSample {
    /// What a place reads; the grid names the columns first.
    fn find(&self, [x, y]: [f32; 2], [height, width]: [usize; 2], reads: &mut [Read]) {
        let sampler = Sampler { mode: self.mode, outside: self.outside, corners: self.corners };
        let along = |at: f32, dim: usize| {
            sampler.taps(sampler.coordinate(at.into(), dim), dim).expect("the mode is known")
        };
        let (rows, cols) = (along(y, height), along(x, width));
        let all = rows.iter().flat_map(|row| cols.iter().map(move |col| (row, col)));
        for (read, (&(row, a), &(col, b))) in reads.iter_mut().zip(all) {
            *read = match (row, col) {
                // The image's pixels are fewer than 2³².
                (Some(row), Some(col)) => [(row * width + col) as u32, ((a * b) as f32).to_bits()],
                _ => [0; 2],
            };
        }
    }
}
