//! Steps that move nothing: their output lies where their inputs do.

use byoc_cpu::{KernelError, View};

use crate::alias::Alias;
use crate::execute::{Io, State, Values};
use crate::frame::{Frame, Held};
use crate::memory::{Pieces, Stays, Storage, ValueIndex};
use crate::program::{Program, Step};

/// Gives a value other dimensions; its bytes stay where they are.
pub(crate) fn alias(
    program: &Program,
    alias: &Alias,
    frame: &mut Frame,
    io: &Io<'_, '_, '_>,
    index: usize,
    step: &Step,
) -> Result<(), KernelError> {
    let (Some(input), Some(output)) = (step.inputs[0], step.outputs[0]) else { return Ok(()) };
    let Frame { plan, arena, held, dims, dtypes, .. } = &mut *frame;
    let cuts = &plan.steps[index];
    let mut pieces = Pieces::new();
    cuts.cuts.cut(arena.bytes_mut(), &mut pieces);
    let values = Values { program, held, dims, dtypes, io, over: None };
    let second = step.inputs.get(1).copied().flatten();
    let second = second.and_then(|v| values.view(v, || cuts.read(&pieces, 1)));
    let result = alias.dims(&dims[input], second.and_then(View::tensor))?;
    drop(pieces);
    frame.dims[output] = result;
    frame.dtypes[output] = frame.dtypes[input];
    Ok(())
}

/// Takes the inputs of a step for its outputs, or the other way round, if all lie where the plan has them.
pub(crate) fn stay(
    program: &Program,
    frame: &mut Frame,
    io: &Io<'_, '_, '_>,
    index: usize,
    step: &Step,
) -> bool {
    let Frame { plan, held, dims, dtypes, .. } = frame;
    let (stays, made) = (&plan.steps[index].stays, |value: ValueIndex| program.values[value].storage);
    let sources = match stays {
        Stays::No => return false,
        Stays::Joined => &step.inputs[..],
        Stays::Viewed | Stays::Lent(_) => &step.inputs[..1],
    };
    let Some(Some(first)) = sources.first() else { return false };
    let dtype = dtypes[*first];
    let lies = |&value: &ValueIndex| {
        let is_there = made(value).is_some_and(|s| match (&program.storages[s], &held[s]) {
            (Storage::Input(i), _) => matches!(io.inputs[*i], Some(View::Tensor(_))),
            (Storage::Constant(_), _) | (_, Held::Lent { .. }) => matches!(stays, Stays::Lent(_)),
            (Storage::Made { .. }, Held::Arena) => !matches!(stays, Stays::Lent(_)),
            (Storage::Made { .. }, _) => false,
        });
        is_there && plan.dims[value].as_ref() == Some(&dims[value]) && dtypes[value] == dtype
    };
    let planned =
        |value: &ValueIndex| program.values[*value].dtype == Some(dtype) && plan.dims[*value].is_some();
    if !(sources.iter().flatten().all(lies) && step.outputs.iter().flatten().all(planned)) {
        return false;
    }
    for (j, output) in step.outputs.iter().enumerate() {
        let Some((output, whole)) = output.and_then(|output| Some((output, plan.dims[output].clone()?)))
        else {
            continue;
        };
        let at = match stays {
            Stays::Lent(places) => Held::Lent { by: places[j].0, start: places[j].1 },
            _ => Held::Arena,
        };
        State { program, held, dims, dtypes }.set(output, dtype, whole, at);
    }
    true
}
