//! Which steps run at once.
//!
//! Two steps that each would keep one thread busy take half the time side by side; two that fill the cores gain
//! nothing, and have their operands in the wrong caches. So a step takes part that its kernel computes on one thread
//! ([`byoc_cpu::Kernel::is_serial`]), or that takes so little time that cutting it up saves none.

use std::collections::BTreeSet;
use std::ops::Range;

use byoc_cpu::Work;
use byoc_graph::{DType, Dim, StaticDims, TensorType};

use super::{MOST, compose};
use crate::frame::bytes_of;
use crate::memory::ValueIndex;
use crate::program::{Action, Step};

/// Nanoseconds up to which cutting a step up saves nothing.
const SHORT: f64 = 10_000.0;
/// Nanoseconds that running steps at once has to save, on two threads: a loop that the other thread joins takes one or
/// two microseconds, and what it makes lies in that thread's cache.
const WORTH: f64 = 5_000.0;
/// Operations and bytes in a nanosecond, of steps that are short because their values are small.
const SPEED: (f64, f64) = (128.0, 32.0);
/// The same of kernels on one thread, most of which are plain loops.
const SERIAL_SPEED: (f64, f64) = (4.0, 2.0);
/// How far behind a short step, and behind another one, those may be that run with it or before it: what somebody wants
/// soon had better stay in the cache. The first that does not take too much memory.
const REACHES: [(usize, usize); 3] = [(8, 1024), (8, 8), (0, 0)];
/// By how much more the values may take that are there at once: a part of what they took, and bytes in any case.
const MORE: (usize, usize) = (16, 64 * 1024);

/// What is known of values when the program is built, by value.
pub(crate) struct Sizes {
    dtypes: Vec<DType>,
    /// One stands for what is not known.
    dims: Vec<StaticDims>,
    exact: Vec<bool>,
}

impl Sizes {
    pub fn new(count: usize) -> Sizes {
        Sizes {
            dtypes: vec![DType::F32; count],
            dims: vec![StaticDims::new(); count],
            exact: vec![false; count],
        }
    }

    pub fn note(&mut self, value: ValueIndex, ty: &TensorType) {
        let (Some(dtype), Some(shape)) = (ty.dtype, &ty.shape) else { return };
        let size = |dim: &Dim| dim.value().and_then(|n| usize::try_from(n).ok());
        self.exact[value] = shape.iter().all(|dim| size(dim).is_some());
        self.dtypes[value] = dtype;
        self.dims[value] = shape.iter().map(|dim| size(dim).unwrap_or(1)).collect();
    }

    fn bytes(&self, value: ValueIndex) -> usize {
        bytes_of(self.dtypes[value], &self.dims[value]).unwrap_or(0)
    }

    /// Nanoseconds that one thread takes for a step, roughly; `None` for those that fill the cores.
    fn time(&self, step: &Step) -> Option<f64> {
        let Action::Kernel(kernel) = &step.action else { return None };
        // What may take no time at all.
        let source = step.inputs.first().copied().flatten();
        let may_be_view = source.is_some_and(|value| kernel.stretches(&self.dims[value]).is_some());
        if kernel.joins().is_some() || may_be_view {
            return None;
        }
        let Work { flops, bytes } = step.call.as_ref()?.work(step, &self.dtypes, &self.dims);
        let time =
            |speed: (f64, f64)| flops.unwrap_or(0) as f64 / speed.0 + bytes.unwrap_or(0) as f64 / speed.1;
        if kernel.is_serial() {
            // Operators whose operations nobody counts are hardly the short ones.
            return Some(time(SERIAL_SPEED) + if flops.is_none() { SHORT } else { 0.0 });
        }
        let exact = step.inputs.iter().chain(&step.outputs).flatten().all(|&value| self.exact[value]);
        let is_known = exact && flops.is_some() && bytes.is_some();
        Some(time(SPEED)).filter(|&time| is_known && time <= SHORT)
    }
}

/// Makes one step of several that may run at once and none of which fills the cores, and puts the others in order around
/// it. `outputs` are the program's.
pub(crate) fn choose(steps: Vec<Step>, sizes: &Sizes, outputs: &[ValueIndex]) -> Vec<Step> {
    let times: Vec<Option<f64>> = steps.iter().map(|step| sizes.time(step)).collect();
    if times.iter().flatten().count() < 2 {
        return steps;
    }
    let choice = Choice { steps: &steps, sizes, times };
    let plain: Vec<Vec<usize>> = (0..steps.len()).map(|i| vec![i]).collect();
    let before = choice.peak(&plain, outputs);
    let most = before.saturating_add((before / MORE.0).max(MORE.1));
    let mut orders = REACHES.iter().map(|&reach| choice.order(reach));
    let order = orders.find(|order| choice.peak(order, outputs) <= most);
    let Some(order) = order.filter(|order| order.len() < steps.len()) else { return steps };
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut parts = |group: Vec<usize>| group.into_iter().filter_map(|i| steps[i].take()).collect::<Vec<_>>();
    let one = |mut parts: Vec<Step>| if parts.len() > 1 { Some(compose(parts)) } else { parts.pop() };
    order.into_iter().filter_map(|group| one(parts(group))).collect()
}

/// Steps by index, those that run at once side by side.
type Order = Vec<Vec<usize>>;

struct Choice<'s> {
    steps: &'s [Step],
    sizes: &'s Sizes,
    times: Vec<Option<f64>>,
}

impl Choice<'_> {
    /// An order in which steps run at once.
    fn order(&self, reach: (usize, usize)) -> Order {
        let mut order = Vec::with_capacity(self.steps.len());
        let mut from = 0;
        while from < self.steps.len() {
            // Nothing moves to the other side of what is enqueued, or a vendor's.
            let is_fixed = |step: &Step| step.queue.is_some() || &*step.target != "host";
            let end = self.steps[from..].iter().position(is_fixed).map_or(self.steps.len(), |at| from + at);
            self.order_range(from..end, reach, &mut order);
            order.extend((end < self.steps.len()).then(|| vec![end]));
            from = end + 1;
        }
        order
    }

    fn order_range(&self, range: Range<usize>, (short, long): (usize, usize), order: &mut Order) {
        let steps = &self.steps[range.clone()];
        let mut maker = vec![None; self.sizes.dims.len()];
        for (i, step) in steps.iter().enumerate() {
            step.outputs.iter().flatten().for_each(|&value| maker[value] = Some(i));
        }
        let makers = |step: &Step| -> BTreeSet<usize> {
            step.inputs.iter().flatten().filter_map(|&value| maker[value]).collect()
        };
        let needs: Vec<BTreeSet<usize>> = steps.iter().map(makers).collect();
        let mut users = vec![Vec::new(); steps.len()];
        needs.iter().enumerate().for_each(|(i, needs)| needs.iter().for_each(|&of| users[of].push(i)));
        let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
        let mut ready: BTreeSet<usize> = (0..steps.len()).filter(|&i| missing[i] == 0).collect();
        while let Some(&first) = ready.first() {
            let is_long = self.times[range.start + first].is_some_and(|time| time > SHORT);
            let reach = if is_long { long } else { short };
            let near = ready.iter().copied().take_while(|&i| i - first <= reach + 1);
            // What fills the cores goes first, and so do aliases: others may become ready by them.
            let group = match near.clone().find(|&i| self.times[range.start + i].is_none()) {
                Some(alone) => vec![alone],
                None => self.group(near.map(|i| range.start + i)).iter().map(|i| i - range.start).collect(),
            };
            for &i in &group {
                ready.remove(&i);
                for &user in &users[i] {
                    missing[user] -= 1;
                    if missing[user] == 0 {
                        ready.insert(user);
                    }
                }
            }
            order.push(group.into_iter().map(|i| range.start + i).collect());
        }
    }

    /// Those of the ready steps that run at once: the longest; the first alone where that is not worth it.
    fn group(&self, ready: impl Iterator<Item = usize> + Clone) -> Vec<usize> {
        let first: Vec<usize> = ready.clone().take(1).collect();
        let mut several: Vec<(usize, f64)> = ready.filter_map(|i| Some((i, self.times[i]?))).collect();
        several.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
        several.truncate(MOST);
        let all: f64 = several.iter().map(|(_, time)| time).sum();
        let longest = several.first().map_or(0.0, |(_, time)| *time);
        if all - longest.max(all / 2.0) < WORTH {
            return first;
        }
        let mut several: Vec<usize> = several.into_iter().map(|(i, _)| i).collect();
        several.sort_unstable();
        several
    }

    /// Bytes of the values that are there at once, at most.
    fn peak(&self, order: &Order, outputs: &[ValueIndex]) -> usize {
        let mut root: Vec<ValueIndex> = (0..self.sizes.dims.len()).collect();
        let mut last = vec![0; root.len()];
        let mut made = vec![Vec::new(); order.len()];
        for (at, i) in order.iter().enumerate().flat_map(|(at, group)| group.iter().map(move |&i| (at, i))) {
            let step = &self.steps[i];
            step.inputs.iter().flatten().for_each(|&value| last[root[value]] = at);
            let of = step.inputs.first().copied().flatten();
            for &value in step.outputs.iter().flatten() {
                match (&step.action, of) {
                    (Action::Alias(_), Some(of)) => root[value] = root[of],
                    _ => {
                        last[value] = at;
                        made[at].push(value);
                    }
                }
            }
        }
        outputs.iter().for_each(|&value| last[root[value]] = order.len());
        let mut gone = vec![0; order.len() + 1];
        let (mut now, mut most) = (0usize, 0usize);
        for (at, made) in made.iter().enumerate() {
            for &value in made {
                let bytes = self.sizes.bytes(value);
                now = now.saturating_add(bytes);
                gone[last[value]] = bytes.saturating_add(gone[last[value]]);
            }
            most = most.max(now);
            now = now.saturating_sub(gone[at]);
        }
        most
    }
}
