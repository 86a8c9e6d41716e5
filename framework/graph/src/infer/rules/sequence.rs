//! Sequences and optional values.

use std::sync::Arc;

use super::Family;
use crate::infer::call::{Call, Outcome, Stop, axis, invalid};
use crate::infer::merge::either;
use crate::{Attr, DType, Dim, TensorType, Type};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["SequenceConstruct"], construct),
        (&["SequenceEmpty"], empty),
        (&["SequenceInsert"], insert),
        (&["SequenceErase"], erase),
        (&["SequenceAt"], at),
        (&["SequenceLength"], length),
        (&["SplitToSequence"], split_to_sequence),
        (&["ConcatFromSequence"], concat_from_sequence),
        (&["Optional"], optional),
        (&["OptionalGetElement"], get_element),
        (&["OptionalHasElement"], has_element),
    ],
};

fn sequence_of(element: Type) -> Type {
    Type::Sequence(Some(Arc::new(element)))
}

/// The type of the elements of a sequence at an input.
fn element(call: &Call<'_, '_>, input: usize) -> Result<Type, Stop> {
    match call.ty(input) {
        Some(Type::Sequence(Some(element))) => Ok((**element).clone()),
        Some(Type::Sequence(None)) | None => Err(Stop::Unknown),
        Some(other) => invalid(format!("input {input} is {other}, where a sequence is needed")),
    }
}

fn construct(call: &mut Call<'_, '_>) -> Outcome {
    let mut common: Option<Type> = None;
    for i in 0..call.inputs.len() {
        let ty = call.ty(i).ok_or(Stop::Unknown)?;
        common = Some(match common {
            None => ty.clone(),
            Some(common) => either(&common, ty).ok_or(Stop::Unknown)?,
        });
    }
    call.set_type(0, sequence_of(common.ok_or(Stop::Unknown)?));
    Ok(())
}

fn empty(call: &mut Call<'_, '_>) -> Outcome {
    let dtype = call.dtype_attr("dtype")?.unwrap_or(DType::F32);
    call.set_type(0, sequence_of(TensorType { dtype: Some(dtype), shape: None }.into()));
    Ok(())
}

fn insert(call: &mut Call<'_, '_>) -> Outcome {
    let (element, inserted) = (element(call, 0)?, call.ty(1).ok_or(Stop::Unknown)?);
    // An empty sequence says nothing of the shape of its elements.
    let both = either(&element, inserted).ok_or(Stop::Unknown)?;
    call.set_type(0, sequence_of(both));
    Ok(())
}

fn erase(call: &mut Call<'_, '_>) -> Outcome {
    call.set_type(0, sequence_of(element(call, 0)?));
    Ok(())
}

fn at(call: &mut Call<'_, '_>) -> Outcome {
    call.set_type(0, element(call, 0)?);
    Ok(())
}

fn length(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [])
}

fn split_to_sequence(call: &mut Call<'_, '_>) -> Outcome {
    let dtype = call.dtype(0);
    let mut part = TensorType { dtype, shape: None };
    if let Some(mut dims) = call.shape_of(0).cloned() {
        let at = axis(call.int_or("axis", 0), dims.len())?;
        if call.has(1) {
            dims[at] = part_size(call, &dims[at]);
        } else if call.int_or("keepdims", 1) != 0 {
            dims[at] = Dim::Static(1);
        } else {
            dims.remove(at);
        }
        part.shape = Some(dims);
    }
    call.set_type(0, sequence_of(part.into()));
    Ok(())
}

/// The size that all parts have, if they do.
fn part_size(call: &Call<'_, '_>, whole: &Dim) -> Dim {
    let Ok(sizes) = call.ints_in(1) else { return Dim::Unknown };
    let scalar = call.rank(1) == Ok(0);
    match sizes[..] {
        [size] if scalar && whole.value().is_some_and(|n| n.checked_rem(size) == Some(0)) => {
            Dim::Static(size)
        }
        [first, ref others @ ..] if !scalar && others.iter().all(|&n| n == first) => Dim::Static(first),
        _ => Dim::Unknown,
    }
}

fn concat_from_sequence(call: &mut Call<'_, '_>) -> Outcome {
    let element = element(call, 0)?;
    let tensor = element.as_tensor().ok_or(Stop::Unknown)?;
    if let Some(dtype) = tensor.dtype {
        call.set_dtype(0, dtype);
    }
    let mut dims = tensor.shape.clone().ok_or(Stop::Unknown)?;
    let given = call.int_or("axis", 0);
    if call.flag("new_axis") {
        let at = axis(given, dims.len() + 1)?;
        dims.insert(at, Dim::Unknown);
    } else {
        let at = axis(given, dims.len())?;
        dims[at] = Dim::Unknown;
    }
    call.set_shape(0, dims)
}

fn optional(call: &mut Call<'_, '_>) -> Outcome {
    let element = match (call.ty(0), call.attr("type")) {
        (Some(ty), _) => Some(ty.clone()),
        (None, Some(Attr::Type(ty))) => Some(ty.clone()),
        _ => None,
    };
    call.set_type(0, Type::Optional(element.map(Arc::new)));
    Ok(())
}

fn get_element(call: &mut Call<'_, '_>) -> Outcome {
    match call.fact(0).cloned() {
        Some(fact) => match fact.ty {
            Some(Type::Optional(Some(inner))) => {
                call.set_type(0, (*inner).clone());
                Ok(())
            }
            Some(Type::Optional(None)) | None => Err(Stop::Unknown),
            // Since version 18 anything passes for an optional that is there.
            Some(_) => {
                call.outputs[0] = fact;
                Ok(())
            }
        },
        None => invalid("there is no element"),
    }
}

fn has_element(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [])
}
