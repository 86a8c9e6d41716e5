//! The end of a run: its outputs go to the caller.

use byoc_cpu::{Made, View};
use byoc_graph::Datum;
use smallvec::SmallVec;

use crate::execute::{Io, Values};
use crate::frame::{Frame, Held, bytes_of};
use crate::memory::{Storage, ValueIndex};
use crate::program::{Program, RunError};

/// Hands out the outputs and empties the frame.
pub(crate) fn hand_out(
    program: &Program,
    frame: &mut Frame,
    io: &mut Io<'_, '_, '_>,
    made: &mut SmallVec<[Made; 4]>,
) -> Result<(), RunError> {
    let not_made = |o: usize| RunError::NotMade(program.signature.outputs[o].name.clone());
    // Before anything is taken away that they are copies of.
    let mut copies: SmallVec<[(usize, Made); 1]> = SmallVec::new();
    for (o, &value) in program.outputs.iter().enumerate() {
        let copy = hand_out_copy(program, frame, io, o, value).ok_or_else(|| not_made(o))?;
        copies.extend(copy.map(|copy| (o, copy)));
    }
    for (o, &value) in program.outputs.iter().enumerate() {
        made.push(match copies.iter().position(|(i, _)| *i == o) {
            Some(at) => copies.swap_remove(at).1,
            None => {
                let (dtype, dims) = (frame.dtypes[value], frame.dims[value].clone());
                let storage = program.values[value].storage.ok_or_else(|| not_made(o))?;
                match std::mem::take(&mut frame.held[storage]) {
                    Held::Buffer(mut buffer) => {
                        let len = bytes_of(dtype, &dims).ok_or_else(|| not_made(o))?;
                        buffer.resize(len).map_err(RunError::Memory)?;
                        Made::Buffer { dtype, dims, buffer }
                    }
                    Held::Datum(mut datum) => {
                        if let Datum::Tensor(tensor) = &mut *datum
                            && tensor.dims() != &dims[..]
                        {
                            *tensor = tensor.reshaped(&dims).map_err(|_| not_made(o))?;
                        }
                        Made::Datum(datum)
                    }
                    Held::Nothing | Held::Arena | Held::Bound(_) | Held::Lent { .. } | Held::Device(_) => {
                        return Err(not_made(o));
                    }
                }
            }
        });
    }
    for (storage, info) in program.storages.iter().enumerate() {
        if matches!(info, Storage::Made { output: Some(_), .. }) {
            frame.release(storage, program.from[storage], false);
        }
    }
    Ok(())
}

/// An output that cannot just be taken: it goes into the caller's buffer, or its content is used elsewhere too.
/// The inner `None` stands for one that can be taken, the outer for one that is not there.
fn hand_out_copy(
    program: &Program,
    frame: &Frame,
    io: &mut Io<'_, '_, '_>,
    o: usize,
    value: ValueIndex,
) -> Option<Option<Made>> {
    let storage = program.values[value].storage?;
    let owner = matches!(program.storages[storage], Storage::Made { output: Some(owner), .. } if owner == o);
    let (dtype, dims) = (frame.dtypes[value], frame.dims[value].clone());
    if let Held::Bound(bound) = frame.held[storage]
        && bound == o
    {
        return Some(Some(Made::InPlace { dtype, dims }));
    }
    let buffer = io.buffers.get_mut(o).and_then(Option::take);
    if owner && buffer.is_none() {
        return Some(None);
    }
    let values =
        Values { program, held: &frame.held, dims: &frame.dims, dtypes: &frame.dtypes, io, over: None };
    let view = values.view(value, || None)?;
    match (view, buffer) {
        (View::Tensor(tensor), Some(buffer)) if dtype == buffer.dtype && dims[..] == *buffer.dims => {
            buffer.bytes.copy_from_slice(tensor.bytes());
            Some(Some(Made::InPlace { dtype, dims }))
        }
        (_, Some(_)) if owner => Some(None),
        (view, _) => Some(Some(Made::Datum(Box::new(view.to_datum())))),
    }
}
