//! Transpose of elements of any whole number of bytes.

use byoc_graph::StaticDims;
use bytemuck::Pod;
use smallvec::SmallVec;

use crate::fast::transpose::Strip;
use crate::fast::{Exec, Isa};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::kernels::pixels::Images;
use crate::kernels::words::{by_size, strided, words, words_mut};
use crate::outputs::Outputs;
use crate::pool::SharedSlice;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(ops: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "transpose", domain: "", ops, since: 1, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] =
    &[entry(&["Transpose"], prepare), entry(&["DepthToSpace", "SpaceToDepth"], prepare_blocks)];

struct Transpose {
    perm: Option<Vec<usize>>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let perm = match node.ints("perm") {
        None => None,
        Some(perm) => {
            let perm: Vec<usize> = perm.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..perm.len()) {
                return None;
            }
            Some(perm)
        }
    };
    Some(Box::new(Transpose { perm }))
}

/// Axes of the output, outermost first: how many elements, and how far apart they are in the input. Axes that
/// follow one another in both are merged.
pub(super) struct Axes {
    sizes: SmallVec<[usize; 6]>,
    strides: SmallVec<[usize; 6]>,
}

impl Axes {
    pub(super) fn new(dims: &[usize], perm: impl Iterator<Item = usize>) -> Axes {
        let mut axes = Axes { sizes: SmallVec::new(), strides: SmallVec::new() };
        for from in perm {
            let (size, stride) = (dims[from], dims[from + 1..].iter().product::<usize>());
            if size == 1 {
                continue;
            }
            match (axes.sizes.last_mut(), axes.strides.last_mut()) {
                (Some(last), Some(step)) if *step == stride * size => (*last, *step) = (*last * size, stride),
                _ => {
                    axes.sizes.push(size);
                    axes.strides.push(stride);
                }
            }
        }
        axes
    }

    /// Where a plane of the last axis and of `other` begins, in the input and in the output.
    fn plane(&self, mut plane: usize, other: usize) -> (usize, usize) {
        let (mut from, mut to, mut distance) = (0, 0, 1);
        for i in (0..self.sizes.len()).rev() {
            if i != other && i + 1 != self.sizes.len() {
                from += plane % self.sizes[i] * self.strides[i];
                to += plane % self.sizes[i] * distance;
                plane /= self.sizes[i];
            }
            distance *= self.sizes[i];
        }
        (from, to)
    }

    /// Where row `row` of the last `skip` axes begins in the input.
    fn start(&self, mut row: usize, skip: usize) -> usize {
        let mut start = 0;
        for i in (0..self.sizes.len() - skip).rev() {
            start += row % self.sizes[i] * self.strides[i];
            row /= self.sizes[i];
        }
        start
    }
}

impl Kernel for Transpose {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let rank = x.rank();
        if self.perm.as_ref().is_some_and(|p| p.len() != rank) {
            return Err(KernelError::invalid(format!("a permutation of {:?} for {:?}", self.perm, x.dims)));
        }
        let from = |i: usize| self.perm.as_ref().map_or(rank - 1 - i, |p| p[i]);
        let dims: StaticDims = (0..rank).map(|i| x.dims[from(i)]).collect();
        let axes = Axes::new(x.dims, (0..rank).map(from));
        permute(ctx.exec, x, &axes, outputs.bytes(0, x.dtype, &dims)?)
    }
}

fn permute(exec: Exec<'_>, x: TensorView<'_>, axes: &Axes, out: &mut [u8]) -> Result<(), KernelError> {
    fn of<T: Pod + Send + Sync>(
        exec: Exec<'_>,
        x: TensorView<'_>,
        axes: &Axes,
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        transpose::<T>(exec, words(x)?, words_mut(out)?, axes);
        Ok(())
    }
    by_size!(x.dtype, of(exec, x, axes, out))
}

/// DepthToSpace and SpaceToDepth: a transpose of axes that are taken apart, and put together differently.
struct Blocks {
    size: usize,
    /// From channels to space.
    spread: bool,
    /// The block's place is the slower part of a channel.
    outer: bool,
}

fn prepare_blocks(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let size = usize::try_from(node.int("blocksize")?).ok().filter(|&size| size > 0)?;
    let outer = match node.str("mode").unwrap_or("DCR") {
        "DCR" => true,
        "CRD" => false,
        _ => return None,
    };
    Some(Box::new(Blocks { size, spread: node.op() == "DepthToSpace", outer }))
}

impl Kernel for Blocks {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, s) = (tensor(inputs, 0)?, self.size);
        let wrong = || KernelError::invalid(format!("blocks of {s} in an image of {:?}", x.dims));
        let &[n, c, h, w] = x.dims else { return Err(wrong()) };
        let whole = s.checked_mul(s).is_some_and(|area| match self.spread {
            true => c.is_multiple_of(area),
            false => h.is_multiple_of(s) && w.is_multiple_of(s),
        });
        if !whole {
            return Err(wrong());
        }
        let (dims, parts, perm) = match (self.spread, self.outer) {
            (true, true) => ([n, c / s / s, h * s, w * s], [n, s, s, c / s / s, h, w], [0, 3, 4, 1, 5, 2]),
            (true, false) => ([n, c / s / s, h * s, w * s], [n, c / s / s, s, s, h, w], [0, 1, 4, 2, 5, 3]),
            (false, true) => ([n, c * s * s, h / s, w / s], [n, c, h / s, s, w / s, s], [0, 3, 5, 1, 2, 4]),
            (false, false) => ([n, c * s * s, h / s, w / s], [n, c, h / s, s, w / s, s], [0, 1, 3, 5, 2, 4]),
        };
        let axes = Axes::new(&parts, perm.into_iter());
        permute(ctx.exec, x, &axes, outputs.bytes(0, x.dtype, &dims)?)
    }
}

/// Writes the elements of `x` in the order of `axes`.
pub(super) fn transpose<T: Pod + Send + Sync>(exec: Exec<'_>, x: &[T], out: &mut [T], axes: &Axes) {
    if out.is_empty() {
        return;
    }
    let n = axes.sizes.len();
    let (Some(&inner), Some(&step)) = (axes.sizes.last(), axes.strides.last()) else {
        return out.copy_from_slice(x);
    };
    if step == 1 {
        return loops::rows(exec, out, inner, &|row, part| {
            part.copy_from_slice(&x[axes.start(row, 1)..][..part.len()]);
        });
    }
    // The input runs along another axis of the output.
    let other = axes.strides[..n - 1].iter().position(|&stride| stride == 1);
    if let Some(other) = other {
        let place = |image: usize| axes.plane(image, other);
        let (size, far) = (axes.sizes[other], axes.sizes[other + 1..].iter().product::<usize>());
        // All of a pixel's channels lie side by side, in the input or in the output.
        let quick = size <= 4 || (size == 8 && size_of::<T>() == size_of::<f32>());
        let apart = Images::few(size, inner, far).filter(|_| step == size && quick);
        if let Some(images) = apart {
            return images.part(exec, x, out, &place);
        }
        let together = Images::few(inner, size, step).filter(|_| far == inner);
        if let Some(images) = together {
            return images.join(exec, x, out, &place);
        }
    }
    match other {
        Some(other) if step > 4 && axes.sizes[other] > 4 => tiles(exec, x, out, axes, other),
        _ => loops::rows(exec, out, inner, &|row, part| strided(&x[axes.start(row, 1)..], step, part)),
    }
}

/// Side of the squares in which two axes change places: a cache line of four-byte elements.
const SIDE: usize = 16;
/// How long a strip of squares is at most.
const LONG: usize = loops::GRAIN / SIDE;

/// Transposes `other`, along which the input runs, and the last axis, along which the output runs, in strips of
/// squares. A strip runs along whichever of the two sides lies farther apart in memory: its few lines there are
/// read or written from end to end, which no conflict in the cache disturbs.
fn tiles<T: Pod + Send + Sync>(exec: Exec<'_>, x: &[T], out: &mut [T], axes: &Axes, other: usize) {
    let last = axes.sizes.len() - 1;
    let (rows, columns, step) = (axes.sizes[other], axes.sizes[last], axes.strides[last]);
    // Of the output: how far apart its rows of `other` lie.
    let far: usize = axes.sizes[other + 1..].iter().product();
    let (tall, wide) = if far >= step { (SIDE, LONG) } else { (LONG, SIDE) };
    let across = columns.div_ceil(wide);
    let strips = rows.div_ceil(tall) * across;
    let planes = out.len() / (rows * columns);
    let shared = SharedSlice::new(out);
    let grain = (loops::GRAIN / (tall.min(rows) * wide.min(columns))).max(1);
    exec.pool.parallel_ranges(planes * strips, grain, &|range| {
        for strip in range {
            let (from, to) = axes.plane(strip / strips, other);
            let (r, c) = (strip % strips / across * tall, strip % strips % across * wide);
            let place = Place { from: from + r + c * step, step, to: to + r * far + c, far };
            exchange(exec.isa, x, shared, place, tall.min(rows - r), wide.min(columns - c));
        }
    });
}

/// Where a strip begins in the input and in the output, and how far apart its lines lie there.
#[derive(Clone, Copy)]
struct Place {
    from: usize,
    step: usize,
    to: usize,
    far: usize,
}

fn exchange<T: Pod + Send + Sync>(
    isa: Isa,
    x: &[T],
    out: SharedSlice<'_, T>,
    Place { from, step, to, far }: Place,
    height: usize,
    width: usize,
) {
    let x = &x[from..];
    assert!(to + (height - 1) * far + width <= out.len(), "a strip inside of the output");
    if size_of::<T>() == size_of::<f32>()
        && let Ok(x) = bytemuck::try_cast_slice::<T, f32>(x)
    {
        let out = out.as_mut_ptr().wrapping_add(to).cast();
        // SAFETY: the strip lies inside of the output (checked above) and belongs to one piece alone, which is
        // handed out once; elements of the output are as large and as aligned as those of the input.
        return unsafe { Strip { x, step, out, far, height, width }.run(isa) };
    }
    for r0 in (0..height).step_by(SIDE) {
        for c0 in (0..width).step_by(SIDE) {
            let (height, width) = (SIDE.min(height - r0), SIDE.min(width - c0));
            let square = read(&x[r0 + c0 * step..], step, height, width);
            for (r, row) in square.iter().enumerate().take(height) {
                let start = to + (r0 + r) * far + c0;
                // SAFETY: as above.
                let out = unsafe { out.range(start..start + width) };
                match <&mut [T; SIDE]>::try_from(&mut *out) {
                    Ok(out) => *out = *row,
                    // One by one, since copying a few elements costs less than calling for it.
                    Err(_) => out.iter_mut().zip(row).for_each(|(out, &x)| *out = x),
                }
            }
        }
    }
}

/// `width` runs of `height` elements that lie `step` apart, transposed.
#[inline(always)]
fn read<T: Pod>(x: &[T], step: usize, height: usize, width: usize) -> [[T; SIDE]; SIDE] {
    const PART: usize = 4;
    let mut square = [[T::zeroed(); SIDE]; SIDE];
    if (height, width) != (SIDE, SIDE) {
        for c in 0..width {
            let run = &x[c * step..][..height];
            square.iter_mut().zip(run).for_each(|(row, &x)| row[c] = x);
        }
        return square;
    }
    // In small squares that a few vectors hold.
    for c in (0..SIDE).step_by(PART) {
        let runs: [&[T; SIDE]; PART] =
            std::array::from_fn(|i| x[(c + i) * step..].first_chunk().expect("a whole run"));
        for r in (0..SIDE).step_by(PART) {
            for i in r..r + PART {
                let part: [T; PART] = std::array::from_fn(|k| runs[k][i]);
                square[i][c..c + PART].copy_from_slice(&part);
            }
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_stay_together_merge() {
        let axes = Axes::new(&[2, 3, 4, 5], [0, 2, 3, 1].into_iter());
        assert_eq!((&axes.sizes[..], &axes.strides[..]), (&[2, 20, 3][..], &[60, 1, 20][..]));
        let same = Axes::new(&[2, 3, 1, 4], 0..4);
        assert_eq!((&same.sizes[..], &same.strides[..]), (&[24][..], &[1][..]));
    }
}
