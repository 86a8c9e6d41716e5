//! Transposition where a few channels change places with many pixels: images whose channels come to lie side by side, or
//! that are taken apart into planes.

use bytemuck::Pod;

use crate::fast::Exec;
use crate::fast::transpose::Planes;
use crate::kernels::loops;
use crate::kernels::words::strided;
use crate::pool::SharedSlice;

/// Pixels of one piece: what they hold stays in the first cache while channel after channel is taken out of it.
const PIECE: usize = 2048;

/// How many channels are few: as many as the compiler picks out of vectors, or puts together in them.
const MOST: usize = 8;

/// Of fewer pixels, what is done once for an image would count.
const LEAST: usize = 32;

/// Images of one size: `pixels` of `channels` side by side, against as many planes.
#[derive(Clone, Copy)]
pub(super) struct Images {
    pub channels: usize,
    pub pixels: usize,
    /// How far apart the planes lie.
    pub plane: usize,
}

impl Images {
    /// If the channels are few, and the pixels many enough for whole vectors.
    pub fn few(channels: usize, pixels: usize, plane: usize) -> Option<Images> {
        let suit = (2..=MOST).contains(&channels) && pixels >= LEAST;
        suit.then_some(Images { channels, pixels, plane })
    }

    /// Calls `body(image, first pixel, how many)` for pieces of `count` images.
    fn pieces(self, exec: Exec<'_>, count: usize, body: &(dyn Fn(usize, usize, usize) + Sync)) {
        let each = self.pixels.div_ceil(PIECE);
        let grain = (PIECE / self.pixels).max(1);
        exec.pool.parallel_ranges(count * each, grain, &|range| {
            for piece in range {
                let first = piece % each * PIECE;
                body(piece / each, first, PIECE.min(self.pixels - first));
            }
        });
    }

    /// Takes pixels apart into planes. `place` tells where an image begins in the input and in the output.
    pub fn part<T: Pod + Send + Sync>(
        self,
        exec: Exec<'_>,
        x: &[T],
        out: &mut [T],
        place: &(dyn Fn(usize) -> (usize, usize) + Sync),
    ) {
        let Images { channels, plane, .. } = self;
        let count = out.len() / (channels * self.pixels);
        let shared = SharedSlice::new(out);
        self.pieces(exec, count, &|image, first, pixels| {
            let (from, to) = place(image);
            let x = &x[from + first * channels..][..pixels * channels];
            let starts = |channel: usize| to + channel * plane + first;
            if size_of::<T>() == size_of::<f32>()
                && let Ok(x) = bytemuck::try_cast_slice::<T, f32>(x)
            {
                // SAFETY: these pixels of an image are handed out once, and its planes do not overlap.
                let out = |c: usize| unsafe { shared.range(starts(c)..starts(c) + pixels) };
                let out = |c: usize| bytemuck::cast_slice_mut(out(c));
                match channels {
                    4 => return exec.isa.run(Planes::<4> { x, out: std::array::from_fn(out) }),
                    8 => return exec.isa.run(Planes::<8> { x, out: std::array::from_fn(out) }),
                    _ => {}
                }
            }
            for channel in 0..channels {
                // SAFETY: as above.
                let out = unsafe { shared.range(starts(channel)..starts(channel) + pixels) };
                loops::vectorised(
                    exec.isa,
                    #[inline(always)]
                    || strided(&x[channel..], channels, out),
                );
            }
        });
    }

    /// Puts planes together, pixel by pixel; the inverse of [`Images::part`].
    pub fn join<T: Pod + Send + Sync>(
        self,
        exec: Exec<'_>,
        x: &[T],
        out: &mut [T],
        place: &(dyn Fn(usize) -> (usize, usize) + Sync),
    ) {
        let count = out.len() / (self.channels * self.pixels);
        let shared = SharedSlice::new(out);
        self.pieces(exec, count, &|image, first, pixels| {
            let (from, to) = place(image);
            let start = to + first * self.channels;
            // SAFETY: these pixels of an image are handed out once, and images do not overlap.
            let out = unsafe { shared.range(start..start + pixels * self.channels) };
            let x = &x[from + first..];
            loops::vectorised(
                exec.isa,
                #[inline(always)]
                || match self.channels {
                    2 => weave::<2, T>(x, self.plane, out),
                    3 => weave::<3, T>(x, self.plane, out),
                    4 => weave::<4, T>(x, self.plane, out),
                    5 => weave::<5, T>(x, self.plane, out),
                    6 => weave::<6, T>(x, self.plane, out),
                    7 => weave::<7, T>(x, self.plane, out),
                    _ => weave::<MOST, T>(x, self.plane, out),
                },
            );
        });
    }
}

#[inline(always)]
fn weave<const N: usize, T: Copy>(x: &[T], plane: usize, out: &mut [T]) {
    let (pixels, _) = out.as_chunks_mut::<N>();
    let planes: [&[T]; N] = std::array::from_fn(|channel| &x[channel * plane..][..pixels.len()]);
    for (i, pixel) in pixels.iter_mut().enumerate() {
        for (value, plane) in pixel.iter_mut().zip(planes) {
            *value = plane[i];
        }
    }
}
