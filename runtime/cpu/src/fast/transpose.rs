//! Transposition in registers: of a few rows at a time, and of squares.

use super::Isa;
use super::math;
use super::simd::{MOST_LANES, Simd, Task};

/// Writes four rows of one length as columns, side by side in rows of `width`.
#[inline(always)]
pub(super) fn four_rows<S: Simd>(s: S, rows: [&[f32]; 4], out: &mut [f32], width: usize) {
    let len = rows[0].len();
    let mut at = 0;
    while at + S::LANES <= len {
        let columns = s.interleave([
            math::load_at(s, rows[0], at),
            math::load_at(s, rows[1], at),
            math::load_at(s, rows[2], at),
            math::load_at(s, rows[3], at),
        ]);
        for (i, four_columns) in columns.into_iter().enumerate() {
            let mut buffer = [0.0; 16];
            math::store_at(s, &mut buffer, 0, four_columns);
            for (j, column) in buffer.chunks_exact(4).take(S::LANES / 4).enumerate() {
                let at = at + i * S::LANES / 4 + j;
                out[at * width..][..4].copy_from_slice(column);
            }
        }
        at += S::LANES;
    }
    for at in at..len {
        out[at * width..][..4].copy_from_slice(&[rows[0][at], rows[1][at], rows[2][at], rows[3][at]]);
    }
}

/// Pixels of `N` numbers side by side, four or eight, and the planes that they are taken apart into.
pub(crate) struct Planes<'a, const N: usize> {
    pub x: &'a [f32],
    pub out: [&'a mut [f32]; N],
}

impl<const N: usize> Task for Planes<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Planes { x, mut out } = self;
        let (pixels, _) = x.as_chunks::<N>();
        let whole = pixels.len() - pixels.len() % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let from = |i: usize| N * at + i * S::LANES;
            let mut fours = [[s.splat(0.0); 4]; 2];
            let [lower, upper] = &mut fours;
            for (i, (lower, upper)) in lower.iter_mut().zip(upper).enumerate() {
                if N == 4 {
                    *lower = math::load_at(s, x, from(i));
                } else {
                    let (a, b) = (math::load_at(s, x, from(2 * i)), math::load_at(s, x, from(2 * i + 1)));
                    [*lower, *upper] = s.split_groups::<4>(a, b);
                }
            }
            for (out, fours) in out.chunks_exact_mut(4).zip(fours) {
                let planes = s.deinterleave(fours);
                for (out, plane) in out.iter_mut().zip(planes) {
                    math::store_at(s, out, at, plane);
                }
            }
        }
        for (at, pixel) in pixels.iter().enumerate().skip(whole) {
            out.iter_mut().zip(pixel).for_each(|(out, &x)| out[at] = x);
        }
    }
}

/// A strip of at most [`MOST_LANES`] of either: `width` runs of `height` elements that lie `step` apart, which become
/// rows of `width` that lie `far` apart.
pub(crate) struct Strip<'a> {
    pub x: &'a [f32],
    pub step: usize,
    pub out: *mut f32,
    pub far: usize,
    pub height: usize,
    pub width: usize,
}

impl<'a> Strip<'a> {
    /// # Safety
    /// Element `c` of row `r` of the output, at `out + r * far + c`, may be written for all rows and columns.
    pub(crate) unsafe fn run(self, isa: Isa) {
        isa.run(self.checked());
    }

    /// As [`Strip::run`], inside of a task.
    ///
    /// # Safety
    /// As for [`Strip::run`].
    #[inline(always)]
    pub(super) unsafe fn run_with<S: Simd>(self, s: S) {
        self.checked().run(s);
    }

    #[inline(always)]
    fn checked(self) -> Checked<'a> {
        assert!(self.width > 0 && self.height > 0 && self.width.min(self.height) <= MOST_LANES, "a strip");
        assert!(self.x.len() >= (self.width - 1) * self.step + self.height, "runs inside of the input");
        Checked(self)
    }
}

/// A strip whose memory is known to be there.
struct Checked<'a>(Strip<'a>);

impl Task for Checked<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Strip { x, step, out, far, height, width } = self.0;
        // A cache line's width at a time, in as many squares as the lanes need.
        for at in (0..height.max(width)).step_by(MOST_LANES) {
            let (r, c) = if width > height { (0, at) } else { (at, 0) };
            for r in (r..height.min(r + MOST_LANES)).step_by(S::LANES) {
                for c in (c..width.min(c + MOST_LANES)).step_by(S::LANES) {
                    let sizes = (S::LANES.min(height - r), S::LANES.min(width - c));
                    // SAFETY: these runs and rows are parts of those that `Strip::run` was promised.
                    unsafe { square(s, x.as_ptr().add(c * step + r), step, out.add(r * far + c), far, sizes) }
                }
            }
        }
    }
}

/// # Safety
/// As for [`Strip`], with at most `LANES` rows and columns.
#[inline(always)]
unsafe fn square<S: Simd>(
    s: S,
    x: *const f32,
    step: usize,
    out: *mut f32,
    far: usize,
    (height, width): (usize, usize),
) {
    let mut v = [s.splat(0.0); MOST_LANES];
    // Loops, not closures, which would be compiled without the instructions.
    // SAFETY: the caller's promise.
    unsafe {
        if (height, width) != (S::LANES, S::LANES) {
            return part_of_square(s, x, step, out, far, (height, width));
        }
        for (i, v) in v.iter_mut().enumerate().take(S::LANES) {
            *v = s.load(x.add(i * step));
        }
        s.transpose(&mut v);
        for (i, &v) in v.iter().enumerate().take(S::LANES) {
            s.store(out.add(i * far), v);
        }
    }
}

/// # Safety
/// As for [`square`].
#[inline(always)]
unsafe fn part_of_square<S: Simd>(
    s: S,
    x: *const f32,
    step: usize,
    out: *mut f32,
    far: usize,
    (height, width): (usize, usize),
) {
    let mut v = [s.splat(0.0); MOST_LANES];
    // SAFETY: the caller's promise.
    unsafe {
        // A number of turns that is known keeps the vectors in registers.
        for (i, v) in v.iter_mut().enumerate().take(S::LANES) {
            if i < width {
                *v = s.load_part(x.add(i * step), height);
            }
        }
        s.transpose(&mut v);
        for (i, &v) in v.iter().enumerate().take(S::LANES) {
            if i < height {
                s.store_part(out.add(i * far), width, v);
            }
        }
    }
}
