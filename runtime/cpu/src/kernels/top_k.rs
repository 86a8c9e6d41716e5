//! TopK: one pass over each lane with a bound that every element so far had to beat.
//!
//! As long as few candidates are held, each element is one. When there are too many, the best `k` stay (by selection,
//! Hoare, "Algorithm 65: Find", 1961) and the last of them is the bound.

use byoc_graph::{DType, Element};

use crate::fast::Isa;
use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::pool::SharedSlice;
use crate::registry::Entry;
use crate::view::{TensorView, View};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "top-k",
    domain: "",
    ops: &["TopK"],
    since: 1,
    dtypes: &[DType::F32, DType::I64, DType::I32],
    priority: 10,
    prepare,
}];

/// Elements that are compared with the bound together.
const BLOCK: usize = 32;
/// As many candidates are held at least before the best are selected.
const HELD: usize = 128;

struct TopK {
    /// From an attribute; later versions have an input.
    k: Option<i64>,
    axis: i64,
    largest: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let k = if node.opset() < 10 { Some(node.int("k")?) } else { None };
    let (axis, largest) = (node.int("axis").unwrap_or(-1), node.int("largest").unwrap_or(1) != 0);
    Some(Box::new(TopK { k, axis, largest }))
}

/// Elements in an order that has a place for each of them.
trait Ranked: Element + Send + Sync {
    type Rank: Copy + Ord;
    /// Less for what comes first.
    fn rank(self, largest: bool) -> Self::Rank;
}

impl Ranked for f32 {
    type Rank = i32;

    /// As [`f32::total_cmp`].
    #[inline(always)]
    fn rank(self, largest: bool) -> i32 {
        let bits = self.to_bits() as i32;
        (bits ^ ((bits >> 31) as u32 >> 1) as i32).rank(largest)
    }
}

impl Ranked for i32 {
    type Rank = i32;

    #[inline(always)]
    fn rank(self, largest: bool) -> i32 {
        if largest { !self } else { self }
    }
}

impl Ranked for i64 {
    type Rank = i64;

    #[inline(always)]
    fn rank(self, largest: bool) -> i64 {
        if largest { !self } else { self }
    }
}

impl Kernel for TopK {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let k = match self.k {
            Some(k) => k,
            None => {
                let k = tensor(inputs, 1)?.to_i64s().filter(|k| k.len() == 1);
                k.ok_or_else(|| KernelError::invalid("how many elements are wanted is not one number"))?[0]
            }
        };
        let at = if self.axis < 0 { self.axis.saturating_add(x.rank() as i64) } else { self.axis };
        let axis = usize::try_from(at).ok().filter(|&axis| axis < x.rank());
        let axis = axis.ok_or_else(|| KernelError::invalid(format!("no axis {at} in {:?}", x.dims)))?;
        let len = x.dims[axis];
        let k = usize::try_from(k).ok().filter(|&k| k <= len);
        let k = k.ok_or_else(|| KernelError::invalid(format!("too many of {len} elements are wanted")))?;
        match x.dtype {
            DType::F32 => self.find::<f32>(ctx, x, axis, k, outputs),
            DType::I32 => self.find::<i32>(ctx, x, axis, k, outputs),
            _ => self.find::<i64>(ctx, x, axis, k, outputs),
        }
    }
}

impl TopK {
    fn find<T: Ranked>(
        &self,
        ctx: &Ctx<'_>,
        x: TensorView<'_>,
        axis: usize,
        k: usize,
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (source, mut dims) = (x.slice::<T>()?, x.static_dims());
        let (len, inner) = (x.dims[axis], x.dims[axis + 1..].iter().product::<usize>());
        dims[axis] = k;
        let lanes = if len == 0 || k == 0 { 0 } else { source.len() / len };
        with_scratch::<u64, _>(lanes * k, |found| {
            let shared = SharedSlice::new(found);
            ctx.exec.pool.parallel_ranges(lanes, loops::GRAIN / len.max(1), &|range| {
                let mut candidates = Vec::new();
                for lane in range {
                    let start = lane / inner * len * inner + lane % inner;
                    // SAFETY: each lane has places of its own, and is handed out once.
                    let best = unsafe { shared.range(lane * k..(lane + 1) * k) };
                    let lane = Lane { source: &source[start..], step: inner, len };
                    lane.best(ctx.exec.isa, self.largest, &mut candidates, best);
                }
            });
            let places = found.iter().enumerate().map(|(at, &i)| {
                let (lane, place) = (at / k, at % k);
                let (image, column) = (lane / inner, lane % inner);
                let from = (image * len + i as usize) * inner + column;
                ((image * k + place) * inner + column, from, i as i64)
            });
            if outputs.wanted(0) {
                let values = outputs.tensor::<T>(0, &dims)?;
                places.clone().for_each(|(to, from, _)| values[to] = source[from]);
            }
            if outputs.wanted(1) {
                let indices = outputs.tensor::<i64>(1, &dims)?;
                places.for_each(|(to, _, i)| indices[to] = i);
            }
            Ok(())
        })
    }
}

/// Elements along the axis.
struct Lane<'a, T> {
    source: &'a [T],
    step: usize,
    len: usize,
}

impl<T: Ranked> Lane<'_, T> {
    /// Writes the places of the best elements, the best first, and the first of equals.
    fn best(&self, isa: Isa, largest: bool, candidates: &mut Vec<(T::Rank, u64)>, best: &mut [u64]) {
        candidates.clear();
        let (k, held) = (best.len(), (2 * best.len()).max(HELD));
        candidates.reserve(held + BLOCK);
        loops::vectorised(
            isa,
            #[inline(always)]
            || match self.step {
                1 => self.gather(self.source[..self.len].chunks(BLOCK), largest, k, held, candidates),
                step => {
                    let mut block = [T::zeroed(); BLOCK];
                    let mut bound = None;
                    for at in (0..self.len).step_by(BLOCK) {
                        let n = BLOCK.min(self.len - at);
                        for (i, x) in block[..n].iter_mut().enumerate() {
                            *x = self.source[(at + i) * step];
                        }
                        Self::block(&block[..n], at, largest, (k, held), &mut bound, candidates);
                    }
                }
            },
        );
        if candidates.len() > k {
            candidates.select_nth_unstable(k - 1);
            candidates.truncate(k);
        }
        candidates.sort_unstable();
        best.iter_mut().zip(candidates).for_each(|(best, (_, i))| *best = *i);
    }

    #[inline(always)]
    fn gather<'a>(
        &self,
        blocks: impl Iterator<Item = &'a [T]>,
        largest: bool,
        k: usize,
        held: usize,
        candidates: &mut Vec<(T::Rank, u64)>,
    ) where
        T: 'a,
    {
        let mut bound = None;
        for (i, block) in blocks.enumerate() {
            Self::block(block, i * BLOCK, largest, (k, held), &mut bound, candidates);
        }
    }

    /// Takes the elements of a block, from place `at` on, that are better than the bound.
    #[inline(always)]
    fn block(
        block: &[T],
        at: usize,
        largest: bool,
        (k, held): (usize, usize),
        bound: &mut Option<T::Rank>,
        candidates: &mut Vec<(T::Rank, u64)>,
    ) {
        if let Some(bound) = *bound {
            // All of them first, by vectors: most blocks have none.
            let mut any = false;
            for &x in block {
                any |= x.rank(largest) < bound;
            }
            if !any {
                return;
            }
        }
        for (i, &x) in block.iter().enumerate() {
            let rank = x.rank(largest);
            // Of equals those that came first stay.
            if bound.is_none_or(|bound| rank < bound) {
                candidates.push((rank, (at + i) as u64));
            }
        }
        if candidates.len() >= held {
            *bound = Some(candidates.select_nth_unstable(k - 1).1.0);
            candidates.truncate(k);
        }
    }
}
