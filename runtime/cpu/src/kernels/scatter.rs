//! ScatterElements and ScatterND: the data, of which elements or runs are replaced, or combined with others.

use byoc_graph::{DType, element_count};
use bytemuck::Pod;

use crate::fast::Exec;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::gather::{Outside, Places, place, strides};
use crate::kernels::loops;
use crate::kernels::words::{by_size, words, words_mut};
use crate::outputs::Outputs;
use crate::pool::SharedSlice;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    ops: &'static [&'static str],
    since: i64,
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "scatter", domain: "", ops, since, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Scatter"], 9, prepare_elements),
    entry(&["ScatterElements"], 11, prepare_elements),
    entry(&["ScatterND"], 11, |node| Some(Box::new(Tuples { how: How::of(node)? }))),
];

fn prepare_elements(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Elements { how: How::of(node)?, axis: node.int("axis").unwrap_or(0) }))
}

/// What becomes of an element and an update.
#[derive(Clone, Copy)]
enum How {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

impl How {
    fn of(node: &NodeDesc<'_>) -> Option<How> {
        let how = match node.str("reduction").unwrap_or("none") {
            "none" => return Some(How::Replace),
            "add" => How::Add,
            "mul" => How::Mul,
            "max" => How::Max,
            "min" => How::Min,
            _ => return None,
        };
        (node.dtype(0) == Some(DType::F32)).then_some(how)
    }
}

impl How {
    /// Scatters `updates` over `out`, as words of their size or as numbers.
    fn apply(
        self,
        places: &impl Scattering,
        updates: TensorView<'_>,
        out: &mut [u8],
    ) -> Result<(), KernelError> {
        fn replace<T: Pod + Send + Sync>(
            places: &impl Scattering,
            updates: TensorView<'_>,
            out: &mut [u8],
        ) -> Result<(), KernelError> {
            places.scatter(words::<T>(updates)?, words_mut::<T>(out)?, |_, x| x)
        }
        if matches!(self, How::Replace) {
            return by_size!(updates.dtype, replace(places, updates, out));
        }
        let (updates, out) = (updates.slice::<f32>()?, words_mut::<f32>(out)?);
        match self {
            How::Replace => Ok(()),
            How::Add => places.scatter(updates, out, |a, b| a + b),
            How::Mul => places.scatter(updates, out, |a, b| a * b),
            // Not a number where either is.
            How::Max => places.scatter(updates, out, |a, b| if a.is_nan() || a > b { a } else { b }),
            How::Min => places.scatter(updates, out, |a, b| if a.is_nan() || a < b { a } else { b }),
        }
    }
}

/// Where updates go.
trait Scattering {
    /// Those for one place come in their order.
    fn scatter<T: Pod + Send + Sync>(
        &self,
        updates: &[T],
        out: &mut [T],
        combine: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Result<(), KernelError>;
}

/// The output, which holds the data.
fn data_copied<'o>(
    exec: Exec<'_>,
    data: TensorView<'_>,
    outputs: &'o mut Outputs<'_>,
) -> Result<&'o mut [u8], KernelError> {
    let held = outputs.holds_input(0);
    let out = outputs.bytes(0, data.dtype, data.dims)?;
    if !held {
        loops::split(exec, out, &|range, part| part.copy_from_slice(&data.bytes()[range]));
    }
    Ok(out)
}

/// The updates, which have the type of the data.
fn updates<'a>(inputs: &[Option<View<'a>>], dtype: DType) -> Result<TensorView<'a>, KernelError> {
    let updates = tensor(inputs, 2)?;
    match updates.dtype == dtype {
        true => Ok(updates),
        false => Err(KernelError::DType { expected: dtype, got: updates.dtype }),
    }
}

struct Tuples {
    how: How,
}

impl Kernel for Tuples {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (data, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let updates = updates(inputs, data.dtype)?;
        let depth = indices.dims.last().copied().filter(|&depth| depth <= data.rank());
        let depth = depth.ok_or_else(|| {
            KernelError::invalid(format!("indices of {:?} into {:?}", indices.dims, data.dims))
        })?;
        let (picked, unit) = data.dims.split_at(depth);
        let (rows, unit) = (element_count(&indices.dims[..indices.rank() - 1]), element_count(unit));
        let fits = rows.zip(unit).filter(|(rows, unit)| rows.checked_mul(*unit) == Some(updates.len()));
        let (rows, unit) = fits.ok_or_else(|| {
            let (places, updates) = (indices.dims, updates.dims);
            KernelError::invalid(format!(
                "updates of {updates:?} for indices of {places:?} into {:?}",
                data.dims
            ))
        })?;
        let tuples = indices.slice::<i64>()?;
        let places = Runs { tuples, depth, picked, steps: &strides(data.dims)[..depth], rows, unit };
        self.how.apply(&places, updates, data_copied(ctx.exec, data, outputs)?)
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

/// Runs of `unit` elements, each named by a tuple.
struct Runs<'a> {
    tuples: &'a [i64],
    depth: usize,
    /// Sizes of the axes that are picked from, and the distances along them.
    picked: &'a [usize],
    steps: &'a [usize],
    rows: usize,
    unit: usize,
}

impl Scattering for Runs<'_> {
    fn scatter<T: Pod + Send + Sync>(
        &self,
        updates: &[T],
        out: &mut [T],
        combine: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Result<(), KernelError> {
        for row in 0..self.rows {
            let tuple = &self.tuples[row * self.depth..(row + 1) * self.depth];
            let (mut at, mut odd) = (0, None);
            for ((&index, &dim), step) in tuple.iter().zip(self.picked).zip(self.steps) {
                at += place(index, dim, &mut odd) * step;
                if odd.is_some() {
                    return Err(outside(index, dim));
                }
            }
            let updates = &updates[row * self.unit..(row + 1) * self.unit];
            out[at..at + self.unit].iter_mut().zip(updates).for_each(|(out, &x)| *out = combine(*out, x));
        }
        Ok(())
    }
}

fn outside(index: i64, dim: usize) -> KernelError {
    KernelError::invalid(format!("index {index} lies outside a dimension of {dim}"))
}

struct Elements {
    how: How,
    axis: i64,
}

impl Kernel for Elements {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (data, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let updates = updates(inputs, data.dtype)?;
        let at = if self.axis < 0 { self.axis.saturating_add(data.rank() as i64) } else { self.axis };
        let axis = usize::try_from(at).ok().filter(|&at| at < data.rank());
        let fits = |axis: &usize| {
            indices.rank() == data.rank()
                && indices.dims == updates.dims
                && (0..data.rank()).all(|i| i == *axis || indices.dims[i] <= data.dims[i])
        };
        let axis = axis.filter(fits).ok_or_else(|| {
            let (indices, updates) = (indices.dims, updates.dims);
            let what = format!(
                "indices of {indices:?} and updates of {updates:?} along axis {at} of {:?}",
                data.dims
            );
            KernelError::invalid(what)
        })?;
        let own = strides(data.dims);
        let (places, dim) = (Places { dims: indices.dims, own: &own, axis }, data.dims[axis]);
        let out = data_copied(ctx.exec, data, outputs)?;
        match indices.slice::<i64>() {
            Ok(indices) => self.how.apply(&Lanes { exec: ctx.exec, places, indices, dim }, updates, out),
            Err(_) => {
                let indices = indices.slice::<i32>()?;
                self.how.apply(&Lanes { exec: ctx.exec, places, indices, dim }, updates, out)
            }
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

/// Columns that one thread takes from row to row.
const COLUMNS: usize = 128;

/// Elements, each with its own place but along one axis.
struct Lanes<'a, I> {
    exec: Exec<'a>,
    places: Places<'a>,
    indices: &'a [I],
    /// The data's size along the axis.
    dim: usize,
}

impl<I: Copy + Into<i64> + Sync> Scattering for Lanes<'_, I> {
    fn scatter<T: Pod + Send + Sync>(
        &self,
        updates: &[T],
        out: &mut [T],
        combine: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Result<(), KernelError> {
        let (dims, axis) = (self.places.dims, self.places.axis);
        let (step, inner) = (self.places.own[axis], dims[dims.len() - 1]);
        if updates.is_empty() {
            return Ok(());
        }
        let along = axis + 1 == dims.len();
        // Rows of one image may meet in a place: a thread takes all of them, or some columns of all.
        let (rows, wide) = match along {
            true => (1, inner),
            false => (dims[axis..dims.len() - 1].iter().product(), COLUMNS.min(inner)),
        };
        let blocks = inner.div_ceil(wide);
        let pieces = updates.len() / (rows * inner) * blocks;
        let (shared, odd) = (SharedSlice::new(out), Outside::new());
        let grain = (loops::GRAIN / (rows * wide)).max(1);
        self.exec.pool.parallel_ranges(pieces, grain, &|range| {
            for piece in range {
                let (image, column) = (piece / blocks, piece % blocks * wide);
                let width = wide.min(inner - column);
                for row in image * rows..(image + 1) * rows {
                    let (start, from) = (self.places.start(row) + column, row * inner + column);
                    let both = self.indices[from..from + width].iter().zip(&updates[from..from + width]);
                    let mut beyond = None;
                    for (j, (&index, &update)) in both.enumerate() {
                        let index = place(index.into(), self.dim, &mut beyond);
                        if beyond.is_some() {
                            break;
                        }
                        let at = if along { start + index } else { start + index * step + j };
                        // SAFETY: only this piece comes to these columns of this image, and it is handed out once.
                        let slot = unsafe { shared.range(at..at + 1) };
                        slot[0] = combine(slot[0], update);
                    }
                    odd.note(beyond);
                }
            }
        });
        odd.first().map_or(Ok(()), |index| Err(outside(index, self.dim)))
    }
}
