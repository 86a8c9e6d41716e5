//! Steps that run at once, each on one thread, where one of them does not fill the cores.
//!
//! Which ones is settled when the program is built ([`choose`]). To everything else they are one step, whose inputs and
//! outputs are theirs side by side: a memory plan keeps all of them apart.

mod choose;

use std::time::{Duration, Instant};

use byoc_cpu::{Ctx, KernelError, Made, Outputs, Slot, View};
use smallvec::SmallVec;

pub(crate) use choose::{Sizes, choose};

use crate::execute::{Borrowed, Io, State, Values, planned_slot};
use crate::frame::Frame;
use crate::memory::{Pieces, StorageIndex, ValueIndex};
use crate::program::{Action, Program, Step, ValueInfo};

/// As `--disable-pass` takes it.
pub const TOGETHER: &str = "together";

/// As many steps run at once at most.
const MOST: usize = 8;

/// What each step of several took, where somebody watches.
pub(crate) type Took = SmallVec<[Duration; MOST]>;

/// One step of several.
fn compose(parts: Vec<Step>) -> Step {
    let joined = |part: fn(&Step) -> &str| parts.iter().map(part).collect::<Vec<_>>().join(" + ").into();
    Step {
        label: joined(|part| &part.label),
        op: joined(|part| &part.op),
        by: joined(|part| &part.by),
        target: parts[0].target.clone(),
        inputs: parts.iter().flat_map(|part| part.inputs.iter().copied()).collect(),
        outputs: parts.iter().flat_map(|part| part.outputs.iter().copied()).collect(),
        in_place: None,
        release: Vec::new(),
        queue: None,
        until: None,
        call: None,
        action: Action::Together(parts),
    }
}

/// How many steps run at once at most.
pub(crate) fn most(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.parts().len()).max().unwrap_or(1)
}

/// By storage: the pool that a buffer for it is taken from. Each of several steps has one of its own.
pub(crate) fn pools(steps: &[Step], values: &[ValueInfo], storages: usize) -> Vec<usize> {
    let mut pools = vec![0; storages];
    let place = |value: &ValueIndex| values[*value].storage;
    for (pool, part) in steps.iter().flat_map(|step| step.parts().iter().enumerate()) {
        let made = part.outputs.iter().flatten().filter_map(place);
        if !matches!(part.action, Action::Alias(_)) && part.in_place.is_none() {
            made.for_each(|storage: StorageIndex| pools[storage] = pool);
        }
    }
    pools
}

/// What each of several steps takes of the time of all: as much as its part of what they took one by one.
pub(crate) fn shares(all: Duration, took: &[Duration]) -> impl Iterator<Item = Duration> + '_ {
    let sum = took.iter().sum::<Duration>().as_secs_f64();
    let share = move |one: &Duration| match sum > 0.0 {
        true => all.mul_f64(one.as_secs_f64() / sum),
        false => all / took.len() as u32,
    };
    let alone = took.is_empty().then_some(all);
    alone.into_iter().chain(took.iter().map(share))
}

/// The side of one of the steps that is its own.
struct Lane<'a> {
    outputs: Outputs<'a>,
    done: Result<(), KernelError>,
    took: Duration,
}

/// Runs the parts of a step at once. Should some fail, the first of them is told of.
pub(crate) fn run<'p>(
    program: &Program,
    ctx: &Ctx<'_>,
    frame: &mut Frame,
    io: &mut Io<'_, '_, '_>,
    index: usize,
    (step, parts): (&Step, &'p [Step]),
    took: &mut Took,
) -> Result<(), (&'p Step, KernelError)> {
    let mut borrowed = Borrowed::take(program, frame, io, step);
    let Frame { plan, arena, held, dims, dtypes, pools, .. } = &mut *frame;
    let cuts = &plan.steps[index];
    let mut pieces = Pieces::new();
    cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
    let bound: SmallVec<[(usize, usize); 1]> = borrowed.lent.iter().map(|l| (l.slot, l.output)).collect();
    let mut lent = borrowed.lent.iter_mut().peekable();
    let mut lanes: SmallVec<[Lane<'_>; MOST]> = SmallVec::new();
    let mut slots = 0..;
    for (part, pool) in parts.iter().zip(pools) {
        let mut outputs = Outputs::empty(pool);
        for (value, slot) in part.outputs.iter().zip(&mut slots) {
            let piece = cuts.outputs[slot].and_then(|p| pieces[usize::from(p)].write());
            let lent = lent.next_if(|l| l.slot == slot);
            let memory = lent.map(|l| &mut *l.bytes).or(piece);
            outputs.push(match *value {
                Some(value) => planned_slot(program, plan.dims[value].as_deref(), value, memory),
                None => Slot::unused(),
            });
        }
        lanes.push(Lane { outputs, done: Ok(()), took: Duration::ZERO });
    }
    {
        let values = Values { program, held, dims, dtypes, io, over: None };
        let view =
            |(i, value): (usize, &Option<ValueIndex>)| values.view((*value)?, || cuts.read(&pieces, i));
        let inputs: SmallVec<[Option<View<'_>>; 16]> = step.inputs.iter().enumerate().map(view).collect();
        ctx.exec.pool.parallel_chunks(&mut lanes, 1, &|part, lane| {
            let before = parts[..part].iter().map(|part| part.inputs.len()).sum::<usize>();
            let inputs = &inputs[before..before + parts[part].inputs.len()];
            let start = ctx.observer.map(|_| Instant::now());
            if let (Action::Kernel(kernel), [lane]) = (&parts[part].action, lane) {
                lane.done = kernel.run(ctx, inputs, &mut lane.outputs);
                lane.took = start.map_or(Duration::ZERO, |start| start.elapsed());
            }
        });
    }
    let mut state = State { program, held, dims, dtypes };
    let mut slots = 0..;
    for (part, mut lane) in parts.iter().zip(lanes) {
        lane.done.map_err(|source| (part, source))?;
        took.extend(ctx.observer.map(|_| lane.took));
        for ((j, value), slot) in part.outputs.iter().enumerate().zip(&mut slots) {
            let made = lane.outputs.take(j);
            match (value, made) {
                (Some(value), made) => {
                    let bound = bound.iter().find(|(at, _)| *at == slot).map(|(_, output)| *output);
                    state.store(*value, made, bound).ok_or((part, KernelError::NotMade(j)))?;
                }
                (None, Some(Made::Buffer { buffer, .. })) => lane.outputs.recycle(buffer),
                (None, _) => {}
            }
        }
    }
    borrowed.give_back(io);
    Ok(())
}
