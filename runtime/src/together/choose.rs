//! Which steps run at once.

use std::collections::BTreeSet;
use std::ops::Range;

use byoc_cpu::Work;
use byoc_graph::{DType, StaticDims};

use super::{MOST, compose};
use crate::memory::ValueIndex;
use crate::program::{Action, Step};

fn knob(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// By value: element type and dimensions, where they are known.
pub(crate) type Known = Vec<Option<(DType, StaticDims)>>;

/// Makes one step of several that may run at once and none of which fills the cores; the others keep their order.
pub(crate) fn choose(steps: Vec<Step>, known: &Known) -> Vec<Step> {
    let sizes = Sizes::new(known);
    let times: Vec<Option<f64>> = steps.iter().map(|step| sizes.time(step)).collect();
    let mut groups = Vec::with_capacity(steps.len());
    let mut from = 0;
    while from < steps.len() {
        let end = steps[from..].iter().position(is_fixed).map_or(steps.len(), |at| from + at);
        order(&steps, &times, from..end, known, &mut groups);
        if end < steps.len() {
            groups.push(vec![end]);
        }
        from = end + 1;
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut take = |group: Vec<usize>| group.into_iter().filter_map(|i| steps[i].take()).collect::<Vec<_>>();
    groups
        .into_iter()
        .filter_map(|group| {
            let mut parts = take(group);
            if parts.len() > 1 { Some(compose(parts)) } else { parts.pop() }
        })
        .collect()
}

/// Whether nothing is moved from one side of the step to the other.
fn is_fixed(step: &Step) -> bool {
    step.queue.is_some() || &*step.target != "host"
}

/// Puts the steps of a range in order, those that run at once side by side.
fn order(
    steps: &[Step],
    times: &[Option<f64>],
    range: Range<usize>,
    known: &Known,
    groups: &mut Vec<Vec<usize>>,
) {
    let mut maker = vec![None; known.len()];
    for i in range.clone() {
        steps[i].outputs.iter().flatten().for_each(|&value: &ValueIndex| maker[value] = Some(i));
    }
    let makers = |step: &Step| -> BTreeSet<usize> {
        step.inputs.iter().flatten().filter_map(|&value| maker[value]).collect()
    };
    let needs: Vec<BTreeSet<usize>> = range.clone().map(|i| makers(&steps[i])).collect();
    let mut users = vec![Vec::new(); range.len()];
    for (at, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|&of| users[of - range.start].push(range.start + at));
    }
    let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = range.clone().filter(|&i| missing[i - range.start] == 0).collect();
    while let Some(&first) = ready.first() {
        let alias = ready.iter().find(|&&i| matches!(steps[i].action, Action::Alias(_)));
        let group = match alias {
            Some(&alias) => vec![alias],
            None => group(times, first, &ready),
        };
        for &i in &group {
            ready.remove(&i);
            for &user in &users[i - range.start] {
                missing[user - range.start] -= 1;
                if missing[user - range.start] == 0 {
                    ready.insert(user);
                }
            }
        }
        groups.push(group);
    }
}

/// The step and those of the ready ones that it runs with.
fn group(times: &[Option<f64>], first: usize, ready: &BTreeSet<usize>) -> Vec<usize> {
    let mut group = vec![first];
    let Some(own) = times[first] else { return group };
    let ratio = knob("TG_RATIO", 2.0);
    for &other in ready.iter().filter(|&&i| i != first) {
        let Some(time) = times[other] else { continue };
        if time <= own * ratio && own <= time * ratio && group.len() < MOST {
            group.push(other);
        }
    }
    group
}

/// Sizes of values, and what follows from them.
struct Sizes {
    known: Vec<bool>,
    dtypes: Vec<DType>,
    dims: Vec<StaticDims>,
}

impl Sizes {
    fn new(known: &Known) -> Sizes {
        let of = |value: &Option<(DType, StaticDims)>| value.clone().unwrap_or((DType::F32, StaticDims::new()));
        let (dtypes, dims) = known.iter().map(of).unzip();
        Sizes { known: known.iter().map(Option::is_some).collect(), dtypes, dims }
    }

    /// Nanoseconds that one thread takes for a step that does not fill the cores; `None` for others.
    fn time(&self, step: &Step) -> Option<f64> {
        let Action::Kernel(kernel) = &step.action else { return None };
        let mut values = step.inputs.iter().chain(&step.outputs).flatten();
        if kernel.joins().is_some() || !values.all(|&value| self.known[value]) {
            return None;
        }
        let Work { flops, bytes } = step.call.as_ref()?.work(step, &self.dtypes, &self.dims);
        let time = flops? as f64 / knob("TG_FLOPS", 32.0) + bytes? as f64 / knob("TG_BYTES", 8.0);
        (knob("TG_MIN", 1000.0)..knob("TG_MAX", 100_000.0)).contains(&time).then_some(time)
    }
}
