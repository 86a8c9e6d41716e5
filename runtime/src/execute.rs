//! One run of a program: every step in turn.

use std::time::{Duration, Instant};

use byoc_cpu::{Buffer, Ctx, Kernel, KernelError, Made, Observed, Outputs, Slot, TensorView, View, Work};
use byoc_graph::{DType, Datum, StaticDims};
use byoc_host::PluginError;
use smallvec::SmallVec;

use crate::check::TypeCheck;
use crate::device::{DeviceMade, copy};
use crate::frame::{Frame, Held, bytes_of, view_of};
use crate::hand_out::hand_out;
use crate::memory::{Pieces, Stays, Storage, StorageIndex, ValueIndex};
use crate::program::{Action, OutputBuffer, Program, RunError, Step, align};
use crate::together::{self, Took, shares};
use crate::{aside, views};

/// The caller's side of a run.
pub(crate) struct Io<'a, 'b, 'c> {
    pub inputs: &'a [Option<View<'a>>],
    pub buffers: &'b mut [Option<OutputBuffer<'c>>],
}

/// Runs all steps; `made` gets the outputs in order.
pub(crate) fn execute(
    program: &Program,
    ctx: &Ctx<'_>,
    frame: &mut Frame,
    inputs: &[Option<View<'_>>],
    buffers: &mut [Option<OutputBuffer<'_>>],
    made: &mut SmallVec<[Made; 4]>,
) -> Result<(), RunError> {
    let defaults = program.signature.inputs.iter().map(|spec| spec.default.as_ref());
    let defaults = defaults.map(|d| d.map(|t| View::Tensor(TensorView::of(t))));
    let inputs: SmallVec<[_; 8]> = inputs.iter().zip(defaults).map(|(given, or)| given.or(or)).collect();
    for (input, &value) in inputs.iter().zip(&program.inputs) {
        if let Some(View::Tensor(tensor)) = input {
            frame.dims[value] = tensor.dims.into();
            frame.dtypes[value] = tensor.dtype;
        }
    }
    let mut io = Io { inputs: &inputs, buffers };
    {
        let draining = Draining { program, frame: &mut *frame };
        run_steps(program, ctx, draining.frame, &mut io)?;
        draining.finish()?;
    }
    hand_out(program, frame, &mut io, made)
}

fn run_steps(
    program: &Program,
    ctx: &Ctx<'_>,
    frame: &mut Frame,
    io: &mut Io<'_, '_, '_>,
) -> Result<(), RunError> {
    let mut check = program.check_types.then(|| TypeCheck::new(program, frame));
    for (index, step) in program.steps.iter().enumerate() {
        aside::finish(program, ctx, frame, io, check.as_mut(), index)?;
        if let (Action::Aside(kernel), Some(_)) = (&step.action, step.until) {
            aside::start(program, frame, io, index, kernel).map_err(|source| failed(step, source))?;
            release(program, frame, step);
            continue;
        }
        let start = ctx.observer.map(|_| Instant::now());
        let mut took = Took::new();
        let mut done = await_others(program, frame, index, step).map_err(|source| (step, source));
        done = done.and_then(|()| match &step.action {
            Action::Together(parts) => {
                together::run(program, ctx, frame, io, index, (step, parts), &mut took)
            }
            _ => run_step(program, ctx, frame, io, index, step)
                .and_then(|()| note_enqueued(program, frame, index, step))
                .map_err(|source| (step, source)),
        });
        if let (Ok(()), Some(check)) = (&done, &mut check) {
            done = step
                .parts()
                .iter()
                .try_for_each(|part| check.step(part, frame, io).map_err(|source| (part, source)));
        }
        if let (Ok(()), Some(queue), Some(_)) = (&done, step.queue, ctx.observer) {
            // Who watches wants to know how long this step takes, not how long it takes to enqueue it.
            done = frame.device.sync(&program.devices, queue).map_err(|error| (step, other(error)));
        }
        if let Err((failing, source)) = done {
            // What began before it is told of before it, whichever was there first.
            aside::finish(program, ctx, frame, io, None, usize::MAX)?;
            return Err(failed(failing, source));
        }
        if let (Some(observer), Some(start)) = (ctx.observer, start)
            && !matches!(step.action, Action::Bodies(_))
        {
            for (part, elapsed) in step.parts().iter().zip(shares(start.elapsed(), &took)) {
                let mut seen = observed(part, frame, elapsed);
                if frame.plan.steps[index].stays != Stays::No {
                    seen.work = Work::default();
                }
                observer.step(&seen);
            }
        }
        release(program, frame, step);
    }
    aside::finish(program, ctx, frame, io, check.as_mut(), program.steps.len())
}

/// Puts away what no later step uses.
fn release(program: &Program, frame: &mut Frame, step: &Step) {
    for &storage in &step.release {
        frame.release(storage, program.from[storage], program.lent[storage]);
    }
}

pub(crate) fn failed(step: &Step, source: KernelError) -> RunError {
    RunError::Step { node: step.label.clone(), op: step.op.clone(), target: step.target.clone(), source }
}

/// A step that ran, for who watches.
pub(crate) fn observed<'s>(step: &'s Step, frame: &Frame, elapsed: Duration) -> Observed<'s> {
    let Step { label, op, by, target, .. } = step;
    let work = step.call.as_ref().map(|call| call.work(step, &frame.dtypes, &frame.dims)).unwrap_or_default();
    Observed { label, op, by, target, elapsed, work }
}

fn other(error: PluginError) -> KernelError {
    KernelError::Other(Box::new(error))
}

/// Lets a step come behind the enqueued ones that it conflicts with.
pub(crate) fn await_others(
    program: &Program,
    frame: &mut Frame,
    index: usize,
    step: &Step,
) -> Result<(), KernelError> {
    let Frame { plan, device, .. } = &mut *frame;
    let waits = plan.order.get(index).map_or(&[][..], |order| &order.waits);
    for &before in waits {
        let queue = program.steps[before].queue.expect("only enqueued steps are waited for");
        device.wait(step.queue, before, queue).map_err(other)?;
    }
    frame.device.mark_busy(step.queue);
    Ok(())
}

/// Records the event of a step that another waits for.
fn note_enqueued(program: &Program, frame: &mut Frame, index: usize, step: &Step) -> Result<(), KernelError> {
    match (step.queue, frame.plan.order.get(index)) {
        (Some(queue), Some(order)) if order.records => {
            frame.device.record(&program.devices, queue, index).map_err(other)
        }
        _ => Ok(()),
    }
}

/// A run with enqueued steps, which may use what the caller has lent: whatever ends it, they end first.
struct Draining<'p, 'f> {
    program: &'p Program,
    frame: &'f mut Frame,
}

impl Draining<'_, '_> {
    fn finish(self) -> Result<(), RunError> {
        let last = self.program.steps.iter().rfind(|step| step.queue.is_some());
        let done = self.frame.device.drain(&self.program.devices);
        self.frame.release_deferred();
        match (done, last) {
            (Err(error), Some(last)) => Err(failed(last, other(error))),
            (Err(error), None) => Err(RunError::Memory(other(error))),
            (Ok(()), _) => Ok(()),
        }
    }
}

impl Drop for Draining<'_, '_> {
    fn drop(&mut self) {
        // Whoever fails has told why already.
        let _ = self.frame.device.drain(&self.program.devices);
    }
}

fn run_step(
    program: &Program,
    ctx: &Ctx<'_>,
    frame: &mut Frame,
    io: &mut Io<'_, '_, '_>,
    index: usize,
    step: &Step,
) -> Result<(), KernelError> {
    match &step.action {
        Action::Kernel(_) | Action::Bodies(_) | Action::Region(_) | Action::Aside(_) => {}
        Action::Together(_) => unreachable!("run by itself"),
        Action::Alias(alias) => return views::alias(program, alias, frame, io, index, step),
        Action::Transfer { from, to } => {
            return copy::run(program, frame, io, index, step, (*from, *to));
        }
    }
    if frame.plan.steps[index].stays != Stays::No && views::stay(program, frame, io, index, step) {
        return Ok(());
    }
    // What is large (views, pieces, outputs) is made where it stays: in small models a step takes less than its moves.
    let mut borrowed = Borrowed::take(program, frame, io, step);
    let Frame { plan, device, arena, held, dims, dtypes, pools, .. } = &mut *frame;
    let cuts = &plan.steps[index];
    let mut pieces = Pieces::new();
    cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
    let over = borrowed.over;
    let over_dims = over.map_or_else(StaticDims::new, |input| dims[input].clone());
    let bound: SmallVec<[(usize, usize); 1]> = borrowed.lent.iter().map(|l| (l.slot, l.output)).collect();
    let mut outputs = Outputs::empty(&mut pools[0]);
    let mut lent = borrowed.lent.iter_mut().peekable();
    for (j, output) in step.outputs.iter().enumerate() {
        let Some(value) = *output else {
            outputs.push(Slot::unused());
            continue;
        };
        let piece = cuts.outputs[j].and_then(|p| pieces[usize::from(p)].write());
        let lent = lent.next_if(|l| l.slot == j);
        let memory = lent.map(|l| &mut *l.bytes).or(piece);
        let over = over.filter(|_| j == 0);
        outputs.push(match (over, borrowed.buffer.take_if(|_| over.is_some()), memory) {
            (Some(input), Some(buffer), _) => Slot::over_buffer(dtypes[input], &over_dims, buffer),
            (Some(input), None, memory) => {
                let len = bytes_of(dtypes[input], &over_dims).unwrap_or(0);
                let memory = memory.unwrap_or_default().get_mut(..len).unwrap_or_default();
                Slot::over_input(dtypes[input], &over_dims, memory)
            }
            (None, _, memory) => planned_slot(program, plan.dims[value].as_deref(), value, memory),
        });
    }
    let mut on_device = DeviceMade::new();
    {
        let values = Values { program, held, dims, dtypes, io, over };
        let mut inputs: SmallVec<[Option<View<'_>>; 8]> = SmallVec::new();
        for (i, input) in step.inputs.iter().enumerate() {
            inputs.push(input.and_then(|value| values.view(value, || cuts.read(&pieces, i))));
        }
        match &step.action {
            Action::Kernel(kernel) | Action::Bodies(kernel) => kernel.run(ctx, &inputs, &mut outputs)?,
            Action::Aside(kernel) => kernel.run(ctx, &inputs, &mut outputs)?,
            Action::Region(region) => {
                let parts = (&**held, &**dims, &**dtypes);
                let (in_flight, made) =
                    region.run(program, ctx, step, plan, device, parts, &inputs, &mut outputs)?;
                device.in_flight.push(in_flight);
                on_device = made;
            }
            Action::Alias(_) | Action::Transfer { .. } | Action::Together(_) => unreachable!("run above"),
        }
    }
    let mut state = State { program, held, dims, dtypes };
    for (j, value) in step.outputs.iter().enumerate() {
        let at = on_device.get_mut(j).map(Option::take);
        match (value, at) {
            (None, Some(Some((.., at)))) => device.deferred.push(Held::Device(at)),
            (Some(value), Some(Some((dtype, dims, at)))) => {
                state.set(*value, dtype, dims, Held::Device(at));
            }
            (None, _) => {
                if let Some(Made::Buffer { buffer, .. }) = outputs.take(j) {
                    outputs.recycle(buffer);
                }
            }
            (Some(value), _) => {
                let bound = bound.iter().find(|(slot, _)| *slot == j).map(|(_, output)| *output);
                state.store(*value, outputs.take(j), bound).ok_or(KernelError::NotMade(j))?;
            }
        }
    }
    drop(outputs);
    borrowed.give_back(io);
    Ok(())
}

/// A slot for a value that is planned to lie in `memory`.
pub(crate) fn planned_slot<'a>(
    program: &Program,
    dims: Option<&'a [usize]>,
    value: ValueIndex,
    memory: Option<&'a mut [u8]>,
) -> Slot<'a> {
    let (Some(dtype), Some(dims)) = (program.values[value].dtype, dims) else { return Slot::unplanned() };
    match (bytes_of(dtype, dims), memory) {
        (Some(len), Some(memory)) if memory.len() == len => Slot::planned(dtype, dims, memory),
        _ => Slot::unplanned(),
    }
}

/// What a step takes out of the frame and the caller's buffers while it runs.
pub(crate) struct Borrowed<'c> {
    pub lent: SmallVec<[Lent<'c>; 1]>,
    /// The input that output 0 overwrites, and its buffer where it lies on the heap.
    over: Option<ValueIndex>,
    buffer: Option<Buffer>,
}

/// The caller's buffer behind an output of a step.
pub(crate) struct Lent<'c> {
    pub slot: usize,
    pub output: usize,
    pub bytes: &'c mut [u8],
}

impl<'c> Borrowed<'c> {
    pub fn take(program: &Program, frame: &mut Frame, io: &mut Io<'_, '_, 'c>, step: &Step) -> Borrowed<'c> {
        let mut borrowed = Borrowed { lent: SmallVec::new(), over: None, buffer: None };
        if let Some(input) = step.in_place.and_then(|i| step.inputs[i])
            && let Some(storage) = program.values[input].storage
        {
            match &mut frame.held[storage] {
                Held::Arena | Held::Bound(_) => borrowed.over = Some(input),
                held @ Held::Buffer(_) => {
                    borrowed.over = Some(input);
                    if let Held::Buffer(buffer) = std::mem::take(held) {
                        borrowed.buffer = Some(buffer);
                    }
                }
                // Shared content is not written to.
                Held::Datum(_) | Held::Lent { .. } | Held::Nothing | Held::Device(_) => {}
            }
        }
        if io.buffers.is_empty() {
            return borrowed;
        }
        for (slot, value) in step.outputs.iter().enumerate() {
            if let Some(storage) = value.and_then(|v| program.values[v].storage)
                && let Storage::Made { output: Some(output), .. } = program.storages[storage]
                && let Some(Some(buffer)) = io.buffers.get_mut(output)
            {
                borrowed.lent.push(Lent { slot, output, bytes: std::mem::take(&mut buffer.bytes) });
            }
        }
        borrowed
    }

    pub fn give_back(self, io: &mut Io<'_, '_, 'c>) {
        for lent in self.lent {
            if let Some(buffer) = &mut io.buffers[lent.output] {
                buffer.bytes = lent.bytes;
            }
        }
    }
}

/// All values as they are between two steps.
pub(crate) struct Values<'s, 'b, 'c> {
    pub program: &'s Program,
    pub held: &'s [Held],
    pub dims: &'s [StaticDims],
    pub dtypes: &'s [DType],
    pub io: &'s Io<'s, 'b, 'c>,
    /// A value that is about to be overwritten: its bytes are out of reach.
    pub over: Option<ValueIndex>,
}

impl<'s> Values<'s, '_, '_> {
    /// The value, where there is one. `piece` is its place in the arena.
    pub fn view(&self, value: ValueIndex, piece: impl FnOnce() -> Option<&'s [u8]>) -> Option<View<'s>> {
        let (dtype, dims) = (self.dtypes[value], &self.dims[value][..]);
        if self.over == Some(value) {
            return Some(View::Tensor(TensorView::new(dtype, dims, &[])));
        }
        let with_dims = |view| match view {
            View::Tensor(tensor) => View::Tensor(tensor.with_dims(dims)),
            other => other,
        };
        let tensor = |bytes: &'s [u8]| {
            let bytes = bytes.get(..bytes_of(dtype, dims)?)?;
            Some(View::Tensor(TensorView::new(dtype, dims, bytes)))
        };
        let storage = self.program.values[value].storage?;
        match self.program.storages[storage] {
            Storage::Input(i) => self.io.inputs[i].map(with_dims),
            Storage::Constant(c) => {
                Some(View::Tensor(TensorView::of(&self.program.constants[c]).with_dims(dims)))
            }
            Storage::Made { .. } => match &self.held[storage] {
                Held::Arena => tensor(piece().unwrap_or_default()),
                Held::Bound(output) => tensor(self.io.buffers[*output].as_ref()?.bytes),
                Held::Lent { by, start } => tensor(self.lent(*by)?.bytes().get(*start..)?),
                held => view_of(held, dtype, dims),
            },
        }
    }

    /// A tensor that is there for the whole run.
    fn lent(&self, storage: StorageIndex) -> Option<TensorView<'s>> {
        match self.program.storages[storage] {
            Storage::Input(i) => self.io.inputs[i]?.tensor(),
            Storage::Constant(c) => Some(TensorView::of(&self.program.constants[c])),
            Storage::Made { .. } => None,
        }
    }
}

/// What steps change of a frame.
pub(crate) struct State<'s> {
    pub program: &'s Program,
    pub held: &'s mut [Held],
    pub dims: &'s mut [StaticDims],
    pub dtypes: &'s mut [DType],
}

impl State<'_> {
    /// Notes what a step made of one output; `None` where it made nothing.
    pub fn store(&mut self, value: ValueIndex, made: Option<Made>, bound: Option<usize>) -> Option<()> {
        match made? {
            Made::InPlace { dtype, dims } => {
                self.set(value, dtype, dims, bound.map_or(Held::Arena, Held::Bound));
            }
            Made::Buffer { dtype, dims, buffer } => self.set(value, dtype, dims, Held::Buffer(buffer)),
            Made::Datum(mut datum) => {
                let (dtype, dims) = match &mut *datum {
                    Datum::Tensor(tensor) => {
                        *tensor = align(tensor);
                        (tensor.dtype(), tensor.dims().into())
                    }
                    _ => (DType::F32, StaticDims::new()),
                };
                self.set(value, dtype, dims, Held::Datum(datum));
            }
        }
        Some(())
    }

    pub fn set(&mut self, value: ValueIndex, dtype: DType, dims: StaticDims, held: Held) {
        let storage = self.program.values[value].storage.expect("outputs of steps have storage");
        self.dims[value] = dims;
        self.dtypes[value] = dtype;
        self.held[storage] = held;
    }
}
