//! Regions that compute aside: a vendor with processors of its own works while the host goes on, until somebody
//! wants what it makes.
//!
//! Such a step gets copies of its inputs and makes its outputs in memory of their own, so the plan of the host's
//! memory does not know of it. When it begins and ends is settled when the program is built, never by the clock.

use std::collections::BTreeSet;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use byoc_cpu::fast::Exec;
use byoc_cpu::{Buffer, BufferPool, Ctx, Kernel, KernelError, Made, Outputs, Slot, View};
use byoc_graph::Datum;
use smallvec::SmallVec;

use crate::check::TypeCheck;
use crate::execute::{Io, State, Values, await_others, failed, observed};
use crate::frame::Frame;
use crate::memory::{Pieces, ValueIndex};
use crate::program::{Action, Program, RunError, Step};
use crate::region::RegionKernel;

/// Puts each step that computes aside where its inputs are there, what needs its outputs as late as can be, and
/// the rest in the order that it has. `values` is a bound of values.
pub(crate) fn order(steps: Vec<Step>, values: usize) -> Vec<Step> {
    let is_aside = |step: &Step| matches!(step.action, Action::Aside(_));
    if !steps.iter().any(is_aside) {
        return steps;
    }
    let mut maker = vec![None; values];
    for (i, step) in steps.iter().enumerate() {
        step.outputs.iter().flatten().for_each(|&value| maker[value] = Some(i));
    }
    let makers = |step: &Step| -> BTreeSet<usize> {
        step.inputs.iter().flatten().filter_map(|&value| maker[value]).collect()
    };
    let needs: Vec<BTreeSet<usize>> = steps.iter().map(makers).collect();
    let mut users = vec![Vec::new(); steps.len()];
    let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    needs.iter().enumerate().for_each(|(i, needs)| needs.iter().for_each(|&of| users[of].push(i)));
    let mut ready: BTreeSet<usize> = (0..steps.len()).filter(|&i| missing[i] == 0).collect();
    let mut away = vec![false; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    while let Some(&first) = ready.first() {
        let free = |i: &&usize| !needs[**i].iter().any(|&of| away[of]);
        let aside = ready.iter().filter(free).find(|i| is_aside(&steps[**i]));
        let next = *aside.or(ready.iter().find(free)).unwrap_or(&first);
        ready.remove(&next);
        needs[next].iter().for_each(|&of| away[of] = false);
        away[next] = is_aside(&steps[next]);
        for &user in &users[next] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.insert(user);
            }
        }
        order.push(next);
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| steps[i].take()).collect()
}

/// Notes before which step each one that computes aside has to be done: the first that uses what it makes.
pub(crate) fn note_ends(steps: &mut [Step]) {
    for i in 0..steps.len() {
        let Action::Aside(_) = steps[i].action else { continue };
        let made = steps[i].outputs.clone();
        let uses = |step: &Step| step.inputs.iter().any(|value| value.is_some() && made.contains(value));
        let end = steps[i + 1..].iter().position(uses).map_or(steps.len(), |at| i + 1 + at);
        // Without a step between there is nothing to do beside it.
        steps[i].until = Some(end).filter(|&end| end > i + 1);
    }
}

/// A step that computes aside.
pub(crate) struct Started {
    step: usize,
    done: Receiver<Finished>,
}

struct Finished {
    made: Result<SmallVec<[Option<Made>; 2]>, KernelError>,
    took: Duration,
}

impl Started {
    /// Waits until it is done.
    fn finish(&self) -> Finished {
        self.done.recv().unwrap_or_else(|_| Finished {
            made: Err(KernelError::invalid("the thread that ran the region is gone")),
            took: Duration::ZERO,
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // A run that has failed leaves nothing under way.
        let _ = self.done.recv();
    }
}

/// Begins a step that computes aside.
pub(crate) fn start(
    program: &Program,
    frame: &mut Frame,
    io: &Io<'_, '_, '_>,
    index: usize,
    kernel: &Arc<RegionKernel>,
) -> Result<(), KernelError> {
    await_others(program, frame, index, &program.steps[index])?;
    let Frame { plan, arena, held, dims, dtypes, away, .. } = &mut *frame;
    let cuts = &plan.steps[index];
    let mut pieces = Pieces::new();
    cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
    let values = Values { program, held, dims, dtypes, io, over: None };
    let view = |(i, value): (usize, &Option<ValueIndex>)| values.view((*value)?, || cuts.read(&pieces, i));
    let inputs: SmallVec<[_; 8]> = program.steps[index].inputs.iter().enumerate().map(view).collect();
    away.push(begin(program, kernel, index, &inputs)?);
    Ok(())
}

/// Takes in what steps aside have made that have to be done before step `index`.
pub(crate) fn finish(
    program: &Program,
    ctx: &Ctx<'_>,
    frame: &mut Frame,
    io: &Io<'_, '_, '_>,
    mut check: Option<&mut TypeCheck<'_>>,
    index: usize,
) -> Result<(), RunError> {
    for started in frame.away.due(program, index) {
        let (step, Finished { made, took }) = (&program.steps[started.step], started.finish());
        let made = made.map_err(|source| failed(step, source))?;
        let Frame { held, dims, dtypes, pools, .. } = &mut *frame;
        let mut state = State { program, held, dims, dtypes };
        for (j, (value, made)) in step.outputs.iter().zip(made).enumerate() {
            match (value, made) {
                (Some(value), made) => {
                    let stored = state.store(*value, made, None);
                    stored.ok_or_else(|| failed(step, KernelError::NotMade(j)))?;
                }
                (None, Some(Made::Buffer { buffer, .. })) => pools[0].give(buffer),
                (None, _) => {}
            }
        }
        let checked = check.as_mut().map_or(Ok(()), |check| check.step(step, frame, io));
        checked.map_err(|source| failed(step, source))?;
        if let Some(observer) = ctx.observer {
            observer.step(&observed(step, frame, took));
        }
    }
    Ok(())
}

fn begin(
    program: &Program,
    kernel: &Arc<RegionKernel>,
    index: usize,
    inputs: &[Option<View<'_>>],
) -> Result<Started, KernelError> {
    let owned = |view: &Option<View<'_>>| view.map(owned).transpose();
    let inputs = inputs.iter().map(owned).collect::<Result<Vec<_>, _>>()?;
    let (kernel, pool, isa) = (kernel.clone(), program.pool.clone(), program.isa);
    let wanted: SmallVec<[bool; 2]> = program.steps[index].outputs.iter().map(Option::is_some).collect();
    let (send, done) = channel();
    program.helpers.run(Box::new(move || {
        let start = Instant::now();
        let ctx = Ctx { exec: Exec { pool: &pool, isa }, observer: None };
        let views: SmallVec<[_; 8]> = inputs.iter().map(|datum| datum.as_ref().map(View::of)).collect();
        let slot = |&wanted: &bool| if wanted { Slot::unplanned() } else { Slot::unused() };
        let mut buffers = BufferPool::default();
        let mut outputs = Outputs::empty(&mut buffers);
        wanted.iter().map(slot).for_each(|slot| outputs.push(slot));
        let made = kernel.run(&ctx, &views, &mut outputs);
        let made = made.map(|()| (0..wanted.len()).map(|i| outputs.take(i)).collect());
        // Nobody listens where the run has failed.
        let _ = send.send(Finished { made, took: start.elapsed() });
    }));
    Ok(Started { step: index, done })
}

/// A copy that lies as vendors want it.
fn owned(view: View<'_>) -> Result<Datum, KernelError> {
    match view {
        View::Tensor(tensor) => {
            let mut buffer = Buffer::new(tensor.bytes().len())?;
            buffer.bytes_mut().copy_from_slice(tensor.bytes());
            let tensor = buffer.into_tensor(tensor.dtype, tensor.dims);
            Ok(Datum::Tensor(tensor.map_err(|e| KernelError::Other(Box::new(e)))?))
        }
        other => Ok(other.to_datum()),
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A job for a helper, and how the helper is found for the next one.
struct Errand {
    job: Job,
    back: Sender<Errand>,
}

/// Threads that wait on vendors; they end with the program.
#[derive(Default)]
pub(crate) struct Helpers(Arc<Mutex<Vec<Sender<Errand>>>>);

impl Helpers {
    /// Runs a job on a thread that has nothing else to do; here, where the system gives none.
    fn run(&self, job: Job) {
        let idle = lock(&self.0).pop();
        let helper = idle.or_else(|| self.new_helper());
        match helper {
            Some(helper) => {
                let back = helper.clone();
                if let Err(lost) = helper.send(Errand { job, back }) {
                    (lost.0.job)();
                }
            }
            None => job(),
        }
    }

    fn new_helper(&self) -> Option<Sender<Errand>> {
        let (send, errands) = channel();
        let idle = Arc::downgrade(&self.0);
        let thread = std::thread::Builder::new().name("byoc-aside".into());
        thread.spawn(move || serve(&errands, &idle)).ok().map(|_| send)
    }
}

fn serve(errands: &Receiver<Errand>, idle: &Weak<Mutex<Vec<Sender<Errand>>>>) {
    while let Ok(Errand { job, back }) = errands.recv() {
        job();
        match idle.upgrade() {
            Some(idle) => lock(&idle).push(back),
            None => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Steps that compute aside in one run, in the order in which they began.
#[derive(Default)]
pub(crate) struct Away(Vec<Started>);

impl Away {
    fn push(&mut self, started: Started) {
        self.0.push(started);
    }

    /// Those that have to be done before the step with this index, in order.
    fn due(&mut self, program: &Program, index: usize) -> Vec<Started> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let is_due = |started: &Started| program.steps[started.step].until.is_none_or(|end| end <= index);
        let (due, rest) = mem::take(&mut self.0).into_iter().partition(is_due);
        self.0 = rest;
        due
    }
}
