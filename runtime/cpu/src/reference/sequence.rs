//! Sequences and optionals.

use byoc_graph::{DType, Datum, Tensor, TensorType, Type};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::numbers::from_whole;
use super::registry::{Entry, onnx};
use super::shape::sequence;

pub(super) const OPS: &[Entry] = &[
    onnx("Optional", 15, optional),
    onnx("OptionalGetElement", 15, optional_get),
    onnx("OptionalHasElement", 15, optional_has),
    onnx("SequenceAt", 11, at),
    onnx("SequenceConstruct", 11, construct),
    onnx("SequenceEmpty", 11, empty),
    onnx("SequenceErase", 11, erase),
    onnx("SequenceInsert", 11, insert),
    onnx("SequenceLength", 11, length),
    onnx("SequenceMap", 17, map),
];

fn construct(call: &Call<'_>) -> Outputs {
    let items = (0..call.inputs.len()).map(|i| Ok(call.datum(i)?.clone()));
    Ok(vec![sequence(items.collect::<Result<_, Fault>>()?)])
}

fn empty(call: &Call<'_>) -> Outputs {
    let dtype = call.dtype_opt("dtype")?.unwrap_or(DType::F32);
    let element = Type::Tensor(TensorType { dtype: Some(dtype), shape: None });
    Ok(vec![Datum::Sequence { element: Some(element), items: vec![] }])
}

fn length(call: &Call<'_>) -> Outputs {
    Ok(vec![from_whole(&[], vec![call.sequence(0)?.len() as i64])?])
}

fn at(call: &Call<'_>) -> Outputs {
    let items = call.sequence(0)?;
    Ok(vec![items[layout::index(call.whole_scalar(1)?, items.len())?].clone()])
}

/// The sequence at input 0 with its items changed.
fn changed(call: &Call<'_>, change: impl FnOnce(&mut Vec<Datum>) -> Result<(), Fault>) -> Outputs {
    let mut datum = call.datum(0)?.clone();
    match &mut datum {
        Datum::Sequence { items, .. } => change(items)?,
        other => return Err(Fault::Kind { input: 0, got: other.kind(), expected: "sequence" }),
    }
    Ok(vec![datum])
}

fn erase(call: &Call<'_>) -> Outputs {
    changed(call, |items| {
        let position = if call.datum_opt(1).is_some() { call.whole_scalar(1)? } else { -1 };
        items.remove(layout::index(position, items.len())?);
        Ok(())
    })
}

fn insert(call: &Call<'_>) -> Outputs {
    changed(call, |items| {
        let end = items.len() as i64;
        let position = if call.datum_opt(2).is_some() { call.whole_scalar(2)? } else { end };
        ensure!((-end..=end).contains(&position), "position {position} lies outside a sequence of {end}");
        let position = if position < 0 { position + end } else { position };
        items.insert(position as usize, call.datum(1)?.clone());
        Ok(())
    })
}

/// Runs a body on each item; further inputs that are sequences go along item by item, others as they are.
fn map(call: &Call<'_>) -> Outputs {
    let body = call.body("body")?;
    let rounds = call.sequence(0)?.len();
    let mut results: Vec<Vec<Datum>> = vec![vec![]; body.outputs().len()];
    for round in 0..rounds {
        let input = |i: usize| match call.datum(i)? {
            Datum::Sequence { items, .. } => {
                items.get(round).cloned().ok_or_else(|| invalid!("the sequences differ in length"))
            }
            other => Ok(other.clone()),
        };
        let inputs = (0..call.inputs.len()).map(input).collect::<Result<Vec<_>, Fault>>()?;
        let outputs = call.bodies.run(body, inputs)?;
        results.iter_mut().zip(outputs).for_each(|(items, item)| items.push(item));
    }
    Ok(results.into_iter().map(sequence).collect())
}

fn optional(call: &Call<'_>) -> Outputs {
    let value = call.datum_opt(0).map(|d| Box::new(d.clone()));
    let element = match call.attr("type") {
        Some(byoc_graph::Attr::Type(ty)) => Some(ty.clone()),
        _ => None,
    };
    Ok(vec![Datum::Optional { element, value }])
}

fn optional_has(call: &Call<'_>) -> Outputs {
    let has = match call.datum_opt(0) {
        None => false,
        Some(Datum::Optional { value, .. }) => value.is_some(),
        Some(_) => true,
    };
    Ok(vec![Tensor::from_bools(&[], vec![has])?.into()])
}

fn optional_get(call: &Call<'_>) -> Outputs {
    match call.datum(0)? {
        Datum::Optional { value: Some(value), .. } => Ok(vec![Datum::clone(value)]),
        Datum::Optional { value: None, .. } => Err(invalid!("the optional is empty")),
        other => Ok(vec![other.clone()]),
    }
}
