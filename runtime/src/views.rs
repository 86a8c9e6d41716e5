//! Steps that move nothing: their output lies where their inputs do.

use byoc_cpu::{KernelError, View};

use crate::alias::Alias;
use crate::execute::{Io, State, Values};
use crate::frame::{Frame, Held};
use crate::memory::{Pieces, ValueIndex};
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
    let second = second.and_then(|v| values.view(v, || pieces[usize::from(cuts.inputs[1]?)].read()));
    let result = alias.dims(&dims[input], second.and_then(View::tensor))?;
    drop(pieces);
    frame.dims[output] = result;
    frame.dtypes[output] = frame.dtypes[input];
    Ok(())
}

/// Takes the inputs of a step for its output, if they lie where it has them.
pub(crate) fn join(program: &Program, frame: &mut Frame, step: &Step) -> bool {
    let Frame { plan, held, dims, dtypes, .. } = frame;
    let Some(output) = step.outputs[0] else { return false };
    let (Some(dtype), Some(whole)) = (program.values[output].dtype, &plan.dims[output]) else { return false };
    let lies = |&value: &ValueIndex| {
        let storage = program.values[value].storage;
        storage.is_some_and(|s| matches!(held[s], Held::Arena))
            && plan.dims[value].as_ref() == Some(&dims[value])
            && dtypes[value] == dtype
    };
    if !step.inputs.iter().flatten().all(lies) {
        return false;
    }
    let whole = whole.clone();
    State { program, held, dims, dtypes }.set(output, dtype, whole, Held::Arena);
    true
}
