//! Reductions in f32 along any axes, and ArgMax and ArgMin.

use byoc_graph::{DType, StaticDims, schema};
use smallvec::SmallVec;

use crate::fast::Activation;
use crate::fast::fold::Fold;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(ops: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "reduction", domain: "", ops, since: 1, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] =
    &[entry(schema::REDUCTIONS, prepare), entry(&["ArgMax", "ArgMin"], prepare_arg)];

/// What becomes of the folded elements.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Mean,
    Root,
    Ln,
}

#[derive(Clone, Copy)]
enum Kind {
    Fold(Fold, Last),
    LogSumExp,
}

struct Reduce {
    kind: Kind,
    keep: bool,
    /// Where no axes are given, nothing is reduced, instead of everything.
    none: bool,
    axes: Option<Vec<i64>>,
}

fn kind_of(op: &str) -> Option<Kind> {
    Some(match op {
        "ReduceL1" => Kind::Fold(Fold::Magnitudes, Last::Nothing),
        "ReduceL2" => Kind::Fold(Fold::Squares, Last::Root),
        "ReduceLogSum" => Kind::Fold(Fold::Sum, Last::Ln),
        "ReduceLogSumExp" => Kind::LogSumExp,
        "ReduceMax" => Kind::Fold(Fold::Max, Last::Nothing),
        "ReduceMean" => Kind::Fold(Fold::Sum, Last::Mean),
        "ReduceMin" => Kind::Fold(Fold::Min, Last::Nothing),
        "ReduceProd" => Kind::Fold(Fold::Product, Last::Nothing),
        "ReduceSum" => Kind::Fold(Fold::Sum, Last::Nothing),
        "ReduceSumSquare" => Kind::Fold(Fold::Squares, Last::Nothing),
        _ => return None,
    })
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let axes = match (node.ints("axes"), node.constant(1)) {
        (Some(axes), _) => Some(axes.to_vec()),
        (None, Some(axes)) => Some(axes.to_i64s()?),
        (None, None) if node.has_input(1) => return None,
        (None, None) => None,
    };
    let none = node.int("noop_with_empty_axes").unwrap_or(0) != 0;
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    Some(Box::new(Reduce { kind: kind_of(node.op())?, keep, none, axes }))
}

/// Which axes are reduced.
fn mark(axes: &[i64], rank: usize) -> Option<SmallVec<[bool; 6]>> {
    let mut marked = SmallVec::from_elem(false, rank);
    for &axis in axes {
        let at = if axis < 0 { axis + rank as i64 } else { axis };
        *marked.get_mut(usize::try_from(at).ok()?)? = true;
    }
    Some(marked)
}

/// A shape whose neighbouring axes are merged where both or neither are reduced: sizes, and whether reduced.
fn merged(dims: &[usize], marked: &[bool]) -> SmallVec<[(usize, bool); 6]> {
    let mut axes: SmallVec<[(usize, bool); 6]> = SmallVec::new();
    for (&dim, &reduced) in dims.iter().zip(marked) {
        match axes.last_mut() {
            Some((size, last)) if *last == reduced => *size *= dim,
            _ if dim == 1 => {}
            _ => axes.push((dim, reduced)),
        }
    }
    axes
}

/// The sizes before, of, and behind axis `at`.
fn around(axes: &[(usize, bool)], at: usize) -> [usize; 3] {
    let size = |axes: &[(usize, bool)]| axes.iter().map(|(n, _)| n).product();
    [size(&axes[..at]), axes[at].0, size(&axes[at + 1..])]
}

impl Kernel for Reduce {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let wrong = || KernelError::invalid(format!("axes {:?} of {:?}", self.axes, x.dims));
        let marked = match &self.axes {
            Some(axes) if !axes.is_empty() => mark(axes, x.rank()).ok_or_else(wrong)?,
            _ => SmallVec::from_elem(!self.none, x.rank()),
        };
        let kept = x.dims.iter().zip(&marked).map(|(&n, &reduced)| match (reduced, self.keep) {
            (false, _) => Some(n),
            (true, keep) => keep.then_some(1),
        });
        let dims: StaticDims = kept.flatten().collect();
        let axes = merged(x.dims, &marked);
        let source = x.slice::<f32>()?;
        let Kind::Fold(fold, last) = self.kind else {
            let mut scratch = outputs.scratch(size_of_val(source))?;
            let powers =
                bytemuck::try_cast_slice_mut(scratch.bytes_mut()).map_err(|_| KernelError::Misaligned)?;
            log_sum_exp(ctx, source, &axes, powers, outputs.tensor::<f32>(0, &dims)?);
            outputs.recycle(scratch);
            return Ok(());
        };
        let out = outputs.tensor::<f32>(0, &dims)?;
        fold_axes(ctx, fold, source, &axes, out);
        let count: usize = x.dims.iter().zip(&marked).filter(|(_, m)| **m).map(|(n, _)| n).product();
        match last {
            Last::Nothing => {}
            Last::Mean => each(ctx, out, |x| x / count as f32),
            Last::Root => each(ctx, out, f32::sqrt),
            Last::Ln => out.iter_mut().for_each(|x| *x = x.ln()),
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}

/// Replaces every element.
fn each(ctx: &Ctx<'_>, out: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    loops::split(ctx.exec, out, &|_, part| {
        loops::vectorised(
            ctx.exec.isa,
            #[inline(always)]
            || part.iter_mut().for_each(|x| *x = f(*x)),
        );
    });
}

/// Folds all reduced axes, the last ones first.
fn fold_axes(ctx: &Ctx<'_>, fold: Fold, x: &[f32], axes: &[(usize, bool)], out: &mut [f32]) {
    let reduced: SmallVec<[usize; 4]> = (0..axes.len()).filter(|&i| axes[i].1).collect();
    match reduced[..] {
        // Each element is reduced by itself.
        [] => fold.middle(ctx.exec, x, [x.len(), 1, 1], out),
        [at] => fold.middle(ctx.exec, x, around(axes, at), out),
        [.., at] => {
            let [outer, n, inner] = around(axes, at);
            let mut part = vec![0.0; outer * inner];
            fold.middle(ctx.exec, x, [outer, n, inner], &mut part);
            let mut left: SmallVec<[(usize, bool); 6]> = axes.into();
            left[at] = (1, false);
            fold_axes(ctx, fold.joining(), &part, &left, out);
        }
    }
}

/// The logarithm of the sum of exponentials, each less the greatest, which is added again.
fn log_sum_exp(ctx: &Ctx<'_>, x: &[f32], axes: &[(usize, bool)], powers: &mut [f32], out: &mut [f32]) {
    fold_axes(ctx, Fold::Max, x, axes, out);
    // A lane whose greatest is infinite, or that is empty, needs no shift.
    let shift: Vec<f32> = out.iter().map(|&m| if m.is_infinite() { 0.0 } else { m }).collect();
    let inner = axes.last().map_or(1, |(n, _)| *n);
    let along = axes.last().is_some_and(|(_, reduced)| !reduced);
    // Where the lanes of a row of the last axis begin.
    let place = |mut row: usize| {
        let (mut place, mut step) = (0, if along { inner } else { 1 });
        for &(n, reduced) in axes.iter().rev().skip(1) {
            if !reduced {
                place += row % n * step;
                step *= n;
            }
            row /= n;
        }
        place
    };
    loops::rows(ctx.exec, powers, inner, &|row, out| {
        let (x, shift) = (&x[row * inner..][..inner], &shift[place(row)..]);
        if along {
            out.iter_mut().zip(x).zip(shift).for_each(|((out, x), m)| *out = x - m);
        } else {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x - shift[0]);
        }
        Activation::Exp.apply(ctx.exec.isa, out);
    });
    fold_axes(ctx, Fold::Sum, powers, axes, out);
    out.iter_mut().zip(&shift).for_each(|(out, m)| *out = out.ln() + m);
}

struct Arg {
    greatest: bool,
    last: bool,
    keep: bool,
    axis: i64,
}

fn prepare_arg(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let flag = |name: &str, default: i64| node.int(name).unwrap_or(default) != 0;
    Some(Box::new(Arg {
        greatest: node.op() == "ArgMax",
        last: flag("select_last_index", 0),
        keep: flag("keepdims", 1),
        axis: node.int("axis").unwrap_or(0),
    }))
}

impl Arg {
    /// Whether `x` takes the place of `best`, which stands before it.
    #[inline(always)]
    fn better(&self, x: f32, best: f32) -> bool {
        let better = if self.greatest { x > best } else { x < best };
        better || (self.last && x == best)
    }

    /// The place of the extreme of a row; what is not a number is passed over unless it is the first.
    fn row(&self, ctx: &Ctx<'_>, x: &[f32]) -> i64 {
        let first = x[0];
        if first.is_nan() {
            return 0;
        }
        let best = loops::vectorised(
            ctx.exec.isa,
            #[inline(always)]
            || {
                let mut lanes = [first; 64];
                let mut take = |chunk: &[f32]| {
                    lanes.iter_mut().zip(chunk).for_each(|(best, &x)| {
                        let better = if self.greatest { x > *best } else { x < *best };
                        *best = if better { x } else { *best };
                    });
                };
                x.chunks(64).for_each(&mut take);
                lanes.into_iter().fold(first, |a, b| if self.greatest { a.max(b) } else { a.min(b) })
            },
        );
        let at =
            if self.last { x.iter().rposition(|&x| x == best) } else { x.iter().position(|&x| x == best) };
        at.unwrap_or(0) as i64
    }

    /// The places of the extremes of columns that lie `stride` apart from row to row.
    fn columns(&self, ctx: &Ctx<'_>, x: &[f32], (rows, stride): (usize, usize), out: &mut [i64]) {
        let mut best: Vec<f32> = x[..out.len()].to_vec();
        let mut place = vec![0i32; out.len()];
        loops::vectorised(
            ctx.exec.isa,
            #[inline(always)]
            || {
                for r in 1..rows {
                    let places = best.iter_mut().zip(&mut place);
                    for ((best, place), &x) in places.zip(&x[r * stride..]) {
                        let better = self.better(x, *best);
                        *best = if better { x } else { *best };
                        *place = if better { r as i32 } else { *place };
                    }
                }
            },
        );
        out.iter_mut().zip(place).for_each(|(out, place)| *out = place.into());
    }
}

impl Kernel for Arg {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let marked = mark(&[self.axis], x.rank());
        let marked = marked
            .ok_or_else(|| KernelError::invalid(format!("axis {} is outside of {:?}", self.axis, x.dims)))?;
        let at = marked.iter().position(|&m| m).unwrap_or(0);
        let (n, inner): (usize, usize) = (x.dims[at], x.dims[at + 1..].iter().product());
        if n == 0 || i32::try_from(n).is_err() {
            return Err(KernelError::invalid(format!("an axis of {n} elements has no extreme")));
        }
        let mut dims: StaticDims = x.dims.into();
        match self.keep {
            true => dims[at] = 1,
            false => drop(dims.remove(at)),
        }
        let source = x.slice::<f32>()?;
        let out = outputs.tensor::<i64>(0, &dims)?;
        if inner == 1 {
            let rows = (loops::GRAIN / n).max(1);
            ctx.exec.pool.parallel_chunks(out, rows, &|piece, out| {
                let rows = source[piece * rows * n..].chunks_exact(n);
                out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.row(ctx, row));
            });
            return Ok(());
        }
        // Columns of one image, some at a time.
        let width = (loops::GRAIN / n).clamp(64, 512);
        ctx.exec.pool.parallel_chunks(out, width, &|piece, out| {
            let mut at = piece * width;
            let mut rest = out;
            while !rest.is_empty() {
                let (image, column) = (at / inner, at % inner);
                let (now, behind) = rest.split_at_mut((inner - column).min(rest.len()));
                self.columns(ctx, &source[image * n * inner + column..], (n, inner), now);
                at += now.len();
                rest = behind;
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_axes_merge() {
        let axes = merged(&[2, 3, 1, 4, 5], &[true, true, false, false, true]);
        assert_eq!(&axes[..], [(6, true), (4, false), (5, true)]);
        assert_eq!(around(&axes, 1), [6, 4, 5]);
    }
}
