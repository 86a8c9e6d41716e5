//! Operators with bodies: branches, loops, scans and maps over sequences.

use std::sync::Arc;

use super::Family;
use crate::infer::call::{Call, Fact, Outcome, Stop, axis, invalid};
use crate::infer::content::{Content, Scalar};
use crate::infer::merge::either;
use crate::{DType, Dim, Graph, TensorType, Type};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[(&["If"], branch), (&["Loop"], repeat), (&["Scan"], scan), (&["SequenceMap"], sequence_map)],
};

/// Rounds after which a loop's types have to stand still, or what still changes is unknown.
const MAX_ROUNDS: usize = 4;

fn branch(call: &mut Call<'_, '_>) -> Outcome {
    let taken = match call.content(0).and_then(|c| c.elements().first()).map(Scalar::dim) {
        Some(Dim::Static(condition)) => Some(condition != 0),
        _ => None,
    };
    let yes = call.solve_branch("then_branch", taken == Some(true))?;
    let no = call.solve_branch("else_branch", taken == Some(false))?;
    for (i, output) in call.outputs.iter_mut().enumerate() {
        let (Some(yes), Some(no)) = (yes.get(i), no.get(i)) else {
            return invalid(format!("a branch has no output {i}"));
        };
        *output = match taken {
            Some(true) => yes.clone(),
            Some(false) => no.clone(),
            None => one_of(yes, no),
        };
    }
    Ok(())
}

fn one_of(a: &Fact, b: &Fact) -> Fact {
    let ty = a.ty.as_ref().zip(b.ty.as_ref()).and_then(|(a, b)| either(a, b));
    Fact { ty, content: a.content.clone().filter(|content| Some(content) == b.content.as_ref()) }
}

/// What holds of loop-carried values in every round, found by weakening what holds at the start until
/// the body keeps it. Gives back the facts of the body's outputs.
fn settle(
    call: &mut Call<'_, '_>,
    carried: &mut [Fact],
    before: &[Fact],
    after: &[Fact],
    first_output: usize,
) -> Result<Vec<Fact>, Stop> {
    for round in 0.. {
        let inputs: Vec<Fact> = before.iter().chain(&*carried).chain(after).cloned().collect();
        let outputs = call.solve_body("body", &inputs)?;
        let mut stable = true;
        for (i, fact) in carried.iter_mut().enumerate() {
            let Some(next) = outputs.get(first_output + i) else {
                return invalid(format!("the body has no output {}", first_output + i));
            };
            let mut weaker = one_of(fact, next);
            if round + 1 >= MAX_ROUNDS && weaker != *fact {
                weaker = Fact { ty: weaker.ty.as_ref().map(rank_free), content: None };
            }
            stable &= weaker == *fact;
            *fact = weaker;
        }
        if stable || round > MAX_ROUNDS {
            return Ok(outputs);
        }
    }
    Err(Stop::Unknown)
}

fn rank_free(ty: &Type) -> Type {
    match ty {
        Type::Tensor(tensor) => TensorType { dtype: tensor.dtype, shape: None }.into(),
        other => other.clone(),
    }
}

fn given(call: &Call<'_, '_>, range: std::ops::Range<usize>) -> Vec<Fact> {
    range.map(|i| call.fact(i).cloned().unwrap_or_default()).collect()
}

fn repeat(call: &mut Call<'_, '_>) -> Outcome {
    let mut carried = given(call, 2..call.inputs.len().max(2));
    // A dimension that is known at the start may change while the loop runs.
    for fact in &mut carried {
        fact.content = None;
    }
    let body = call.body("body")?;
    // Wherever the body runs, its condition holds.
    let before = [
        round_input(body, 0, DType::I64, Scalar::UNKNOWN),
        round_input(body, 1, DType::Bool, Scalar::int(1)),
    ];
    let outputs = settle(call, &mut carried, &before, &[], 1)?;
    let count = carried.len();
    for (output, fact) in call.outputs.iter_mut().zip(carried) {
        *output = fact;
    }
    let trips = trip_count(call, outputs.first());
    for (output, fact) in (count..call.outputs.len()).zip(outputs.into_iter().skip(1 + count)) {
        stack(call, output, fact, trips.clone(), 0)?;
    }
    Ok(())
}

/// The round or the condition as the body sees it: a scalar, or a vector of one where it asks for that.
fn round_input(body: &Graph, input: usize, dtype: DType, value: Scalar) -> Fact {
    let declared = body.inputs().get(input).and_then(|&id| body.value(id).ty.as_ref()?.shape());
    let dims: &[usize] = if declared.is_some_and(|shape| shape.len() == 1) { &[1] } else { &[] };
    Fact { ty: Some(TensorType::of_static(dtype, dims).into()), content: Content::new(dims, vec![value]) }
}

/// How often the body runs, where nothing but the limit stops it.
fn trip_count(call: &Call<'_, '_>, condition: Option<&Fact>) -> Dim {
    let truth = |fact: Option<&Fact>| {
        let first = fact.and_then(|f| f.content.as_ref()).and_then(|c| c.elements().first());
        first.and_then(|element| element.dim().value())
    };
    let starts = if call.has(1) { truth(call.fact(1)) } else { Some(1) };
    match (starts, truth(condition), call.dim_in(0)) {
        (Some(0), ..) => Dim::Static(0),
        (Some(1), Some(1), Ok(limit)) => limit.larger(&Dim::Static(0)),
        _ => Dim::Unknown,
    }
}

/// An output that collects one value a round along a new axis.
fn stack(call: &mut Call<'_, '_>, output: usize, fact: Fact, count: Dim, given_axis: i64) -> Outcome {
    let Some(tensor) = fact.ty.as_ref().and_then(Type::as_tensor) else { return Ok(()) };
    if let Some(dtype) = tensor.dtype {
        call.set_dtype(output, dtype);
    }
    let Some(mut dims) = tensor.shape.clone() else { return Ok(()) };
    let at = axis(given_axis, dims.len() + 1)?;
    dims.insert(at, count);
    call.set_shape(output, dims)
}

fn scan(call: &mut Call<'_, '_>) -> Outcome {
    let scanned = call.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok());
    // Version 8 has sequence lengths in front and a batch axis everywhere.
    let (first, batched) = if call.since() == 8 { (1, true) } else { (0, false) };
    let states = scanned.and_then(|n| (call.inputs.len()).checked_sub(first)?.checked_sub(n));
    let (Some(scanned), Some(states)) = (scanned, states) else {
        return invalid("`num_scan_inputs` does not fit the inputs");
    };
    let mut carried = given(call, first..first + states);
    let mut elements = given(call, first + states..call.inputs.len());
    let (mut batch, mut length) = (Dim::Unknown, Dim::Unknown);
    for fact in &mut carried {
        fact.content = None;
        if batched {
            take_axis(fact, 0, &mut batch)?;
        }
    }
    let axes = call.ints("scan_input_axes");
    for (i, fact) in elements.iter_mut().enumerate() {
        fact.content = None;
        let at = axes.as_ref().and_then(|list| list.get(i).copied()).unwrap_or(0);
        if batched {
            take_axis(fact, 0, &mut batch)?;
        }
        take_axis(fact, at, &mut length)?;
    }
    debug_assert_eq!(elements.len(), scanned);
    let outputs = settle(call, &mut carried, &[], &elements, 0)?;
    for (i, mut fact) in carried.into_iter().enumerate() {
        if batched {
            add_axis(&mut fact, 0, &batch)?;
        }
        if let Some(output) = call.outputs.get_mut(i) {
            *output = fact;
        }
    }
    let axes = call.ints("scan_output_axes");
    for (i, mut fact) in outputs.into_iter().skip(states).enumerate() {
        let at = axes.as_ref().and_then(|list| list.get(i).copied()).unwrap_or(0);
        add_axis(&mut fact, at, &length)?;
        if batched {
            add_axis(&mut fact, 0, &batch)?;
        }
        if let Some(output) = call.outputs.get_mut(states + i) {
            *output = Fact { ty: fact.ty, content: None };
        }
    }
    Ok(())
}

/// Takes an axis out of a fact's shape and notes how long it was.
fn take_axis(fact: &mut Fact, at: i64, length: &mut Dim) -> Outcome {
    let Some(Type::Tensor(TensorType { shape: Some(dims), .. })) = &mut fact.ty else { return Ok(()) };
    let dim = dims.remove(axis(at, dims.len())?);
    if length.value().is_none() && dim.is_known() {
        *length = dim;
    }
    Ok(())
}

fn add_axis(fact: &mut Fact, at: i64, length: &Dim) -> Outcome {
    let Some(Type::Tensor(TensorType { shape: Some(dims), .. })) = &mut fact.ty else { return Ok(()) };
    dims.insert(axis(at, dims.len() + 1)?, length.clone());
    Ok(())
}

fn sequence_map(call: &mut Call<'_, '_>) -> Outcome {
    let element = |fact: Fact| match fact.ty {
        Some(Type::Sequence(element)) => Fact { ty: element.map(Arc::unwrap_or_clone), content: None },
        _ => Fact { ty: fact.ty, content: None },
    };
    let inputs: Vec<Fact> = given(call, 0..call.inputs.len()).into_iter().map(element).collect();
    let outputs = call.solve_body("body", &inputs)?;
    for (output, fact) in call.outputs.iter_mut().zip(outputs) {
        output.ty = Some(Type::Sequence(fact.ty.map(Arc::new)));
    }
    Ok(())
}
