//! Operators that copy runs of elements of any whole number of bytes: Concat, Split, Gather.

use byoc_graph::{DType, StaticDims};
use bytemuck::Pod;
use smallvec::SmallVec;

use super::slice;
use crate::fast::Exec;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, Stretch, Stretches, optional, tensor};
use crate::kernels::loops;
use crate::kernels::words::{by_size, words_mut};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(
    ops: &'static [&'static str],
    since: i64,
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "runs", domain: "", ops, since, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Concat"], 4, |node| Some(Box::new(Concat { axis: node.int("axis")? }))),
    entry(&["Split"], 2, |node| {
        let attr = node.ints("split").map(<[i64]>::to_vec);
        let known = match node.has_input(1) {
            true => node.constant(1).and_then(|sizes| sizes.to_i64s()).map(Sizes::Given),
            false => Some(attr.map_or(Sizes::Even, Sizes::Given)),
        };
        let outputs = node.node.outputs().len();
        Some(Box::new(Split { axis: node.int("axis").unwrap_or(0), outputs, known }))
    }),
    entry(&["Slice"], 10, slice::prepare),
    entry(&["Slice"], 1, slice::prepare_attributes),
    entry(&["Gather"], 1, |node| {
        let index = node.constant(1).and_then(|indices| indices.to_i64s());
        let index = index.filter(|all| all.len() == 1).map(|all| all[0]);
        let one = index.zip(node.rank(1)).map(|(index, rank)| One { index, rank });
        Some(Box::new(Gather { axis: node.int("axis").unwrap_or(0), one }))
    }),
];

pub(super) fn wrap(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|&at| at < rank);
    at.ok_or_else(|| KernelError::invalid(format!("axis {axis} is outside of rank {rank}")))
}

/// Elements before, along and behind an axis.
fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

pub(super) fn size(dtype: DType) -> usize {
    dtype.bits() / 8
}

struct Concat {
    axis: i64,
}

impl Kernel for Concat {
    fn joins(&self) -> Option<i64> {
        Some(self.axis)
    }

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let first = tensor(inputs, 0)?;
        let axis = wrap(self.axis, first.rank())?;
        let mut dims = first.static_dims();
        dims[axis] = 0;
        let mut parts: SmallVec<[(&[u8], usize); 8]> = SmallVec::new();
        for i in 0..inputs.len() {
            let part = tensor(inputs, i)?;
            let alike = part.rank() == dims.len()
                && part.dtype == first.dtype
                && (0..dims.len()).all(|d| d == axis || part.dims[d] == dims[d]);
            if !alike {
                let message =
                    format!("{:?} and {:?} cannot be joined along axis {axis}", first.dims, part.dims);
                return Err(KernelError::invalid(message));
            }
            dims[axis] += part.dims[axis];
            let (_, along, behind) = around(part.dims, axis);
            parts.push((part.bytes(), along * behind * size(part.dtype)));
        }
        let (_, along, behind) = around(&dims, axis);
        let row = along * behind * size(first.dtype);
        let out = outputs.bytes(0, first.dtype, &dims)?;
        if row == 0 || out.is_empty() {
            return Ok(());
        }
        if row <= SHORT {
            return by_size!(first.dtype, weave(ctx.exec, &parts, row, out));
        }
        let copy = |index: usize, out: &mut [u8]| {
            let mut at = 0;
            for &(bytes, len) in &parts {
                out[at..at + len].copy_from_slice(&bytes[index * len..][..len]);
                at += len;
            }
        };
        if out.len() == row && row > 4 * loops::GRAIN {
            // One row: its parts are cut up, instead.
            let mut rest = out;
            for &(bytes, len) in &parts {
                let (part, behind) = rest.split_at_mut(len);
                rest = behind;
                loops::split(ctx.exec, part, &|range, out| out.copy_from_slice(&bytes[range]));
            }
            return Ok(());
        }
        loops::rows(ctx.exec, out, row, &copy);
        Ok(())
    }
}

/// Rows of so few bytes are put together word by word.
const SHORT: usize = 64;

/// Joins rows of some bytes of each part, part after part.
fn weave<T: Pod + Send + Sync>(
    exec: Exec<'_>,
    parts: &[(&[u8], usize)],
    row: usize,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (out, width) = (words_mut::<T>(out)?, row / size_of::<T>());
    let mut sources: SmallVec<[(&[T], usize); 8]> = SmallVec::new();
    for &(bytes, len) in parts.iter().filter(|(_, len)| *len > 0) {
        let source = bytemuck::try_cast_slice(bytes).map_err(|_| KernelError::Misaligned)?;
        sources.push((source, len / size_of::<T>()));
    }
    let rows = loops::GRAIN / width;
    exec.pool.parallel_chunks(out, rows * width, &|piece, out| {
        let mut at = 0;
        for &(source, len) in &sources {
            let source = source[piece * rows * len..].chunks_exact(len);
            for (row, source) in out.chunks_exact_mut(width).zip(source) {
                row[at..at + len].iter_mut().zip(source).for_each(|(to, &x)| *to = x);
            }
            at += len;
        }
    });
    Ok(())
}

struct Split {
    axis: i64,
    outputs: usize,
    /// `None` where an input says it.
    known: Option<Sizes>,
}

/// The sizes of parts along an axis.
enum Sizes {
    Given(Vec<i64>),
    /// As many as outputs, all even; the last one may be smaller.
    Even,
}

impl Sizes {
    /// As whole numbers whose sum is `along`, one for each of `count` outputs.
    fn of(&self, along: usize, count: usize) -> Result<SmallVec<[usize; 8]>, KernelError> {
        let sizes: SmallVec<[i64; 8]> = match self {
            Sizes::Given(sizes) => sizes.as_slice().into(),
            Sizes::Even => {
                let part = along.div_ceil(count.max(1));
                (0..count).map(|i| along.saturating_sub(i * part).min(part) as i64).collect()
            }
        };
        let sound = sizes.iter().all(|&s| s >= 0) && sizes.len() >= count;
        if !sound || sizes.iter().try_fold(0i64, |sum, s| sum.checked_add(*s)) != Some(along as i64) {
            return Err(KernelError::invalid(format!("{along} elements cannot be split into {sizes:?}")));
        }
        Ok(sizes.iter().take(count).map(|&s| s as usize).collect())
    }
}

impl Kernel for Split {
    fn stretches(&self, dims: &[usize]) -> Option<Stretches> {
        let axis = wrap(self.axis, dims.len()).ok()?;
        let (before, along, behind) = around(dims, axis);
        let sizes = self.known.as_ref()?.of(along, self.outputs).ok().filter(|_| before == 1)?;
        let mut at = 0;
        let stretch = |size: usize| {
            let mut dims = StaticDims::from_slice(dims);
            dims[axis] = size;
            at += size;
            Stretch { start: (at - size) * behind, dims }
        };
        Some(sizes.into_iter().map(stretch).collect())
    }

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let axis = wrap(self.axis, x.rank())?;
        let (_, along, behind) = around(x.dims, axis);
        let sizes = match (&self.known, optional(inputs, 1)?) {
            (Some(sizes), _) => sizes.of(along, outputs.len())?,
            (None, Some(sizes)) => {
                let sizes = sizes.to_i64s();
                let sizes = sizes.ok_or_else(|| KernelError::invalid("the sizes are not of int64"))?;
                Sizes::Given(sizes.into_vec()).of(along, outputs.len())?
            }
            (None, None) => return Err(KernelError::MissingInput(1)),
        };
        let unit = behind * size(x.dtype);
        let (row, mut at) = (along * unit, 0);
        for (i, &part) in sizes.iter().enumerate() {
            let len = part * unit;
            if outputs.wanted(i) {
                let mut dims = x.static_dims();
                dims[axis] = part;
                let out = outputs.bytes(i, x.dtype, &dims)?;
                loops::rows(ctx.exec, out, len, &|index, out| {
                    out.copy_from_slice(&x.bytes()[index * row + at..][..len]);
                });
            }
            at += len;
        }
        Ok(())
    }
}

struct Gather {
    axis: i64,
    one: Option<One>,
}

/// A constant that is one index, and its rank.
struct One {
    index: i64,
    rank: usize,
}

/// Where the indices of a Gather lead, each checked before anything is copied.
fn places<I: Copy + Into<i64>>(indices: &[I], along: usize) -> Result<(), KernelError> {
    let outside = |&&i: &&I| {
        let i: i64 = i.into();
        !(-(along as i64)..along as i64).contains(&i)
    };
    match indices.iter().find(outside) {
        None => Ok(()),
        Some(&i) => Err(KernelError::invalid(format!("index {} is outside of 0..{along}", i.into()))),
    }
}

/// Copies one run for each index of each row.
fn gather<I: Copy + Into<i64> + Sync>(
    exec: Exec<'_>,
    x: &[u8],
    indices: &[I],
    (along, unit): (usize, usize),
    out: &mut [u8],
) -> Result<(), KernelError> {
    places(indices, along)?;
    if indices.is_empty() || unit == 0 {
        return Ok(());
    }
    let rows = (loops::GRAIN / unit).max(1);
    exec.pool.parallel_chunks(out, rows * unit, &|piece, out| {
        let first = piece * rows;
        let (mut outer, mut i) = (first / indices.len(), first % indices.len());
        for out in out.chunks_exact_mut(unit) {
            let index: i64 = indices[i].into();
            let at = if index < 0 { index + along as i64 } else { index } as usize;
            out.copy_from_slice(&x[(outer * along + at) * unit..][..unit]);
            i += 1;
            if i == indices.len() {
                (outer, i) = (outer + 1, 0);
            }
        }
    });
    Ok(())
}

impl Kernel for Gather {
    fn stretches(&self, dims: &[usize]) -> Option<Stretches> {
        let (one, axis) = (self.one.as_ref()?, wrap(self.axis, dims.len()).ok()?);
        let (before, along, behind) = around(dims, axis);
        let index = if one.index < 0 { one.index.checked_add(along as i64)? } else { one.index };
        let index = usize::try_from(index).ok().filter(|&index| index < along && before == 1)?;
        let ones = std::iter::repeat_n(1, one.rank);
        let dims = dims[..axis].iter().copied().chain(ones).chain(dims[axis + 1..].iter().copied()).collect();
        Some(Stretches::from_iter([Stretch { start: index * behind, dims }]))
    }

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let axis = wrap(self.axis, x.rank())?;
        let (_, along, behind) = around(x.dims, axis);
        let mut dims: StaticDims = x.dims[..axis].into();
        dims.extend_from_slice(indices.dims);
        dims.extend_from_slice(&x.dims[axis + 1..]);
        let out = outputs.bytes(0, x.dtype, &dims)?;
        let sizes = (along, behind * size(x.dtype));
        match indices.dtype {
            DType::I64 => gather(ctx.exec, x.bytes(), indices.slice::<i64>()?, sizes, out),
            _ => gather(ctx.exec, x.bytes(), indices.slice::<i32>()?, sizes, out),
        }
    }
}
