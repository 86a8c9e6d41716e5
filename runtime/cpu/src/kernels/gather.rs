//! GatherElements and GatherND: elements of any whole number of bytes by computed places.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

use byoc_graph::StaticDims;
use bytemuck::Pod;
use smallvec::SmallVec;

use crate::fast::scratch::with_scratch;
use crate::fast::{Exec, Isa};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::kernels::words::{by_size, words, words_mut};
use crate::outputs::Outputs;
use crate::pool::SharedSlice;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(ops: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "gather", domain: "", ops, since: 11, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["GatherElements"], |node| Some(Box::new(Elements { axis: node.int("axis").unwrap_or(0) }))),
    entry(&["GatherND"], |node| {
        let batch = usize::try_from(node.int("batch_dims").unwrap_or(0)).ok()?;
        Some(Box::new(Tuples { batch }))
    }),
];

/// Remembers an index that lies outside, while others are still being looked at.
pub(super) struct Outside(AtomicI64);

impl Outside {
    pub(super) fn new() -> Outside {
        Outside(AtomicI64::new(i64::MAX))
    }

    /// Notes the index of a part, if it has one that lies outside.
    pub(super) fn note(&self, index: Option<i64>) {
        if let Some(index) = index {
            // The greatest number there is stands for none.
            self.0.fetch_min(index.min(i64::MAX - 1), Ordering::Relaxed);
        }
    }

    /// The least one.
    pub(super) fn first(self) -> Option<i64> {
        Some(self.0.into_inner()).filter(|&index| index != i64::MAX)
    }

    fn finish(self, what: &[usize]) -> Result<(), KernelError> {
        match self.first() {
            None => Ok(()),
            Some(index) => Err(KernelError::invalid(format!("index {index} is outside of {what:?}"))),
        }
    }
}

/// The place of an index that counts from the end where it is negative. Where it lies outside, it is kept in
/// `outside`, and the place is the first.
#[inline(always)]
pub(super) fn place(index: i64, dim: usize, outside: &mut Option<i64>) -> usize {
    let at = if index < 0 { index.wrapping_add(dim as i64) } else { index } as u64;
    if at < dim as u64 {
        return at as usize;
    }
    *outside = Some(index);
    0
}

/// Distances between neighbours along each axis.
pub(super) fn strides(dims: &[usize]) -> SmallVec<[usize; 6]> {
    let mut strides = SmallVec::from_elem(1, dims.len());
    for i in (0..dims.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * dims[i + 1];
    }
    strides
}

struct Elements {
    axis: i64,
}

impl Kernel for Elements {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let at = if self.axis < 0 { self.axis + x.rank() as i64 } else { self.axis };
        let axis = usize::try_from(at).ok().filter(|&at| at < x.rank());
        let fits = |axis: &usize| {
            indices.rank() == x.rank() && (0..x.rank()).all(|i| i == *axis || indices.dims[i] <= x.dims[i])
        };
        let axis = axis.filter(fits).ok_or_else(|| {
            KernelError::invalid(format!("indices of {:?} along axis {at} of {:?}", indices.dims, x.dims))
        })?;
        by_size!(x.dtype, elements(ctx, x, indices, axis, outputs))
    }
}

fn elements<T: Pod + Send + Sync>(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    indices: TensorView<'_>,
    axis: usize,
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let (source, own, outside) = (words::<T>(x)?, strides(x.dims), Outside::new());
    let out = words_mut::<T>(outputs.bytes(0, x.dtype, indices.dims)?)?;
    if source.is_empty() && !out.is_empty() {
        return Err(KernelError::invalid(format!("indices into {:?}, which is empty", x.dims)));
    }
    let from =
        Lookup { source, step: own[axis], dim: x.dims[axis], along: axis + 1 == x.rank(), outside: &outside };
    let places = Places { dims: indices.dims, own: &own, axis };
    match indices.slice::<i64>() {
        Ok(indices) => places.look_up(ctx.exec, &from, indices, out),
        Err(_) => places.look_up(ctx.exec, &from, indices.slice::<i32>()?, out),
    }
    outside.finish(x.dims)
}

/// Columns that are looked up together from row to row.
const COLUMNS: usize = 128;
/// Bytes of these columns that the second-level cache holds beside indices and output.
const HELD: usize = 512 * 1024;

/// Where indices lie, and distances in the input.
pub(super) struct Places<'a> {
    pub dims: &'a [usize],
    pub own: &'a [usize],
    pub axis: usize,
}

impl Places<'_> {
    /// Where row `row` begins in the input, were its index zero.
    pub(super) fn start(&self, mut row: usize) -> usize {
        let mut start = 0;
        for i in (0..self.dims.len() - 1).rev() {
            start += if i == self.axis { 0 } else { row % self.dims[i] * self.own[i] };
            row /= self.dims[i];
        }
        start
    }

    fn look_up<T: Pod + Send + Sync, I: Copy + Into<i64> + Sync>(
        &self,
        exec: Exec<'_>,
        from: &Lookup<'_, T>,
        indices: &[I],
        out: &mut [T],
    ) {
        let inner = self.dims.last().copied().unwrap_or(1);
        let steps = self.dims[self.axis];
        // Whether an element is wanted often enough, and few enough lie one above the other, to put these together first.
        let together =
            2 * steps >= from.dim && from.dim * COLUMNS * size_of::<T>() <= HELD && inner >= COLUMNS / 4;
        if from.along || !together {
            let (step, along) = (from.step, from.along);
            return loops::rows(exec, out, inner, &|row, out| {
                let source = Source { data: &from.source[self.start(row)..], step, along };
                from.rows(exec.isa, source, std::iter::once((&indices[row * inner..], out)));
            });
        }
        // Rows that differ in their place along the axis only lie `apart` from one another.
        let apart = self.dims[self.axis + 1..].iter().product::<usize>();
        let (blocks, between) = (inner.div_ceil(COLUMNS), apart / inner.max(1));
        let count = out.len() / (steps * inner).max(1) * blocks;
        let (shared, grain) = (SharedSlice::new(out), (loops::GRAIN / (steps * COLUMNS).max(1)).max(1));
        exec.pool.parallel_ranges(count, grain, &|range| {
            for piece in range {
                let (image, column) = (piece / blocks, piece % blocks * COLUMNS);
                let row = image / between * steps * between + image % between;
                let width = COLUMNS.min(inner - column);
                let rows = (0..steps).map(|step| {
                    let at = row * inner + step * apart + column;
                    // SAFETY: these columns of these rows belong to one piece, which is handed out once.
                    (&indices[at..], unsafe { shared.range(at..at + width) })
                });
                let start = self.start(row) + column;
                with_scratch::<T, _>(from.dim * width, |data| {
                    for (i, line) in data.chunks_exact_mut(width).enumerate() {
                        line.copy_from_slice(&from.source[start + i * from.step..][..width]);
                    }
                    from.rows(exec.isa, Source { data, step: width, along: false }, rows);
                });
            }
        });
    }
}

/// Where the elements of rows come from.
struct Lookup<'a, T> {
    source: &'a [T],
    /// From one index to the next.
    step: usize,
    dim: usize,
    /// Indices run along the rows, rather than from row to row.
    along: bool,
    outside: &'a Outside,
}

/// Elements from that of index zero on.
#[derive(Clone, Copy)]
struct Source<'a, T> {
    data: &'a [T],
    /// From one index to the next.
    step: usize,
    /// Indices run along the rows, rather than from row to row.
    along: bool,
}

impl<T: Copy> Lookup<'_, T> {
    /// Rows of indices, each with its output.
    fn rows<'a, I: Copy + Into<i64> + 'a>(
        &self,
        isa: Isa,
        source: Source<'_, T>,
        rows: impl Iterator<Item = (&'a [I], &'a mut [T])>,
    ) where
        T: 'a,
    {
        loops::vectorised(
            isa,
            #[inline(always)]
            || {
                for (indices, out) in rows {
                    self.row(source, &indices[..out.len()], out);
                }
            },
        );
    }

    #[inline(always)]
    fn row<I: Copy + Into<i64>>(&self, source: Source<'_, T>, indices: &[I], out: &mut [T]) {
        let dim = self.dim as i64;
        // Looked at first, by a loop of vectors, so that the second one need not.
        let (mut least, mut most) = (0, 0);
        for &index in indices {
            let index: i64 = index.into();
            (least, most) = (index.min(least), index.max(most));
        }
        if most >= dim || least < -dim {
            let odd = |index: &i64| *index >= dim || *index < -dim;
            return self.outside.note(indices.iter().map(|&index| index.into()).find(odd));
        }
        if least < 0 {
            source.copy(indices, out, |index| (if index < 0 { index + dim } else { index }) as usize);
        } else {
            source.copy(indices, out, |index| index as usize);
        }
    }
}

impl<T: Copy> Source<'_, T> {
    #[inline(always)]
    fn copy<I: Copy + Into<i64>>(&self, indices: &[I], out: &mut [T], place: impl Fn(i64) -> usize) {
        let (Source { data, step, along }, both) = (*self, out.iter_mut().zip(indices));
        if along {
            both.for_each(|(out, &index)| *out = data[place(index.into())]);
        } else {
            both.enumerate().for_each(|(j, (out, &index))| *out = data[place(index.into()) * step + j]);
        }
    }
}

struct Tuples {
    batch: usize,
}

impl Kernel for Tuples {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let wrong = || KernelError::invalid(format!("indices of {:?} into {:?}", indices.dims, x.dims));
        let (&length, lead) = indices.dims.split_last().ok_or_else(wrong)?;
        let alike = length > 0
            && self.batch <= lead.len()
            && self.batch + length <= x.rank()
            && x.dims[..self.batch] == lead[..self.batch];
        if !alike {
            return Err(wrong());
        }
        let mut dims: StaticDims = lead.into();
        dims.extend_from_slice(&x.dims[self.batch + length..]);
        let tuples = indices.slice::<i64>()?;
        let (own, outside) = (strides(x.dims), Outside::new());
        let picked = &x.dims[self.batch..self.batch + length];
        let image: usize = x.dims[self.batch..].iter().product();
        let each: usize = lead[self.batch..].iter().product();
        let unit: usize = x.dims[self.batch + length..].iter().product();
        let out = outputs.bytes(0, x.dtype, &dims)?;
        if out.is_empty() {
            return Ok(());
        }
        if x.is_empty() {
            return Err(wrong());
        }
        let offsets =
            Offsets { tuples, length, picked, steps: &own[self.batch..], each, image, outside: &outside };
        if unit == 1 {
            by_size!(x.dtype, pick(ctx, x, &offsets, out))?;
        } else {
            let bytes = unit * x.dtype.bits() / 8;
            loops::rows(ctx.exec, out, bytes, &|i, out| {
                offsets.each(i..i + 1, |_, at| {
                    out.copy_from_slice(&x.bytes()[at * (bytes / unit)..][..bytes]);
                });
            });
        }
        outside.finish(x.dims)
    }
}

/// Where tuples of indices lead.
struct Offsets<'a> {
    tuples: &'a [i64],
    length: usize,
    /// Sizes of the axes that are picked from, and the distances along them.
    picked: &'a [usize],
    steps: &'a [usize],
    /// Tuples of one image, and its elements.
    each: usize,
    image: usize,
    outside: &'a Outside,
}

impl Offsets<'_> {
    /// Calls `f` with the number of each tuple in a range, from 0, and its offset.
    #[inline(always)]
    fn each(&self, range: Range<usize>, mut f: impl FnMut(usize, usize)) {
        let (mut image, mut left) = (range.start / self.each, self.each - range.start % self.each);
        let mut odd = None;
        let tuples =
            self.tuples[range.start * self.length..range.end * self.length].chunks_exact(self.length);
        for (i, tuple) in tuples.enumerate() {
            if left == 0 {
                (image, left) = (image + 1, self.each);
            }
            left -= 1;
            let parts = tuple.iter().zip(self.picked).zip(self.steps);
            let at: usize = parts.map(|((&t, &dim), step)| place(t, dim, &mut odd) * step).sum();
            f(i, image * self.image + at);
        }
        self.outside.note(odd);
    }
}

/// Single elements.
fn pick<T: Pod + Send + Sync>(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    offsets: &Offsets<'_>,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (source, out) = (words::<T>(x)?, words_mut::<T>(out)?);
    loops::split(ctx.exec, out, &|range, out| offsets.each(range, |i, at| out[i] = source[at]));
    Ok(())
}
