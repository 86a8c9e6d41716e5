//! Bytes that a call moves.

use super::count::Count;
use super::{Call, HOST};
use crate::Type;

#[derive(Clone, Copy)]
enum Moves {
    /// Nothing: the result is the input under another shape.
    View,
    /// Only the result, and what says which part of the first input it is.
    Part,
    /// The result alone.
    Result,
}

const FAMILIES: &[(&[&str], Moves)] = &[
    (&["Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"], Moves::View),
    (
        &["Compress", "Crop", "DynamicSlice", "Gather", "GatherElements", "GatherND", "Slice", "Split"],
        Moves::Part,
    ),
    (&["Constant"], Moves::View),
    (
        &["ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike", "Shape", "Size"],
        Moves::Result,
    ),
];

pub fn bytes(call: &Call<'_>) -> Option<u64> {
    let (domain, name) = call.operator();
    // A call of a function, or of an operator that nobody knows, may move anything; so may a body.
    let has_body = || {
        let schema = crate::schema::lookup(domain, name, call.node.opset)?;
        Some(schema.attributes.iter().any(|attr| attr.kind == crate::AttrKind::Graph))
    };
    if domain != HOST && has_body()? {
        return None;
    }
    let moves = FAMILIES.iter().find(|(names, _)| domain.is_empty() && names.contains(&name));
    let written = sum(call.node.outputs().len(), |i| (call.node.output(i).is_some(), call.outputs.get(i)));
    let read = |from: usize| {
        sum(call.node.inputs().len(), |i| (i >= from && call.node.input(i).is_some(), call.inputs.get(i)))
    };
    let total = match moves.map(|(_, moves)| *moves) {
        Some(Moves::View) => Count::number(0),
        Some(Moves::Part) => written.times(Count::number(2)).plus(read(1)),
        Some(Moves::Result) => written,
        None => written.plus(read(0)),
    };
    total.value()
}

/// Bytes of all values that are there.
fn sum<'t>(count: usize, at: impl Fn(usize) -> (bool, Option<&'t Option<&'t Type>>)) -> Count {
    (0..count).fold(Count::number(0), |total, i| match at(i) {
        (false, _) => total,
        (true, ty) => {
            let tensor = ty.copied().flatten().and_then(Type::as_tensor);
            total.plus(Count::of(tensor.and_then(|tensor| tensor.byte_len())))
        }
    })
}
