//! Einsum: every operand is laid over the space of all labels, multiplied there, and summed.

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::numbers::{self, Numbers};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[onnx("Einsum", 12, einsum)];

/// An axis: a letter, or one of those that an ellipsis stands for, counted from the last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Hidden(std::cmp::Reverse<usize>),
    Letter(char),
}

/// The labels of one term, where an ellipsis stands for `hidden` axes.
fn labels(term: &str, hidden: usize) -> Result<Vec<Label>, Fault> {
    let mut found = Vec::new();
    let mut rest = term;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("...") {
            found.extend((0..hidden).rev().map(|i| Label::Hidden(std::cmp::Reverse(i))));
            rest = behind;
        } else {
            ensure!(c.is_ascii_alphabetic(), "`{c}` in the equation is not a label");
            found.push(Label::Letter(c));
            rest = &rest[1..];
        }
    }
    Ok(found)
}

struct Plan {
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
    /// Labels that are summed over.
    summed: Vec<Label>,
    /// The size of each label of `output`, then of `summed`.
    space: Vec<usize>,
}

fn plan(equation: &str, shapes: &[&[usize]]) -> Result<Plan, Fault> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    ensure!(terms.len() == shapes.len(), "{} terms for {} operands", terms.len(), shapes.len());
    let mut operands = Vec::new();
    let mut most_hidden = 0;
    for (term, dims) in terms.iter().zip(shapes) {
        let named = term.replacen("...", "", 1).chars().count();
        let hidden =
            dims.len().checked_sub(named).ok_or_else(|| invalid!("`{term}` for an operand of {dims:?}"))?;
        let found = labels(term, hidden)?;
        ensure!(found.len() == dims.len(), "`{term}` for an operand of {dims:?}");
        most_hidden = most_hidden.max(if term.contains("...") { hidden } else { 0 });
        operands.push(found);
    }
    let mut all: Vec<Label> = operands.concat();
    all.sort_unstable();
    let once = |l: &Label| matches!(l, Label::Hidden(_)) || all.iter().filter(|o| *o == l).count() == 1;
    let mut distinct = all.clone();
    distinct.dedup();
    let output = match right {
        Some(right) => labels(right, most_hidden)?,
        None => distinct.iter().copied().filter(once).collect(),
    };
    ensure!(output.iter().all(|l| distinct.contains(l)), "the output has a label that no operand has");
    let summed: Vec<Label> = distinct.into_iter().filter(|l| !output.contains(l)).collect();
    let size = |label: &Label| {
        let pairs = operands.iter().zip(shapes).flat_map(|(labels, dims)| labels.iter().zip(*dims));
        let sizes = pairs.filter(|(l, _)| *l == label).map(|(_, &d)| d);
        sizes.fold(1, |a, b| if a == 1 { b } else { a })
    };
    let space = output.iter().chain(&summed).map(size).collect();
    Ok(Plan { operands, output, summed, space })
}

/// For each point of the space, the element of an operand that lies there.
fn operand_offsets(plan: &Plan, labels: &[Label], dims: &[usize]) -> Result<Vec<usize>, Fault> {
    let strides = layout::strides(dims);
    let mut steps = vec![0isize; plan.space.len()];
    for (axis, label) in labels.iter().enumerate() {
        let at = plan.output.iter().chain(&plan.summed).position(|l| l == label);
        let at = at.expect("every label of an operand is in the space");
        ensure!(
            dims[axis] == plan.space[at] || dims[axis] == 1,
            "a label stands for {} and {}",
            dims[axis],
            plan.space[at]
        );
        if dims[axis] != 1 {
            steps[at] += strides[axis] as isize;
        }
    }
    layout::offsets(&plan.space, &steps, 0)
}

fn einsum(call: &Call<'_>) -> Outputs {
    let tensors = call.tensors()?;
    let first = tensors.first().ok_or(Fault::Missing(0))?;
    let shapes: Vec<&[usize]> = tensors.iter().map(|t| t.dims()).collect();
    let plan = plan(call.text("equation")?, &shapes)?;
    let dims = &plan.space[..plan.output.len()];
    let depth = layout::count(&plan.space[plan.output.len()..])?;
    let total = layout::count(&plan.space)?;
    let offsets: Vec<Vec<usize>> = plan
        .operands
        .iter()
        .zip(&shapes)
        .map(|(l, d)| operand_offsets(&plan, l, d))
        .collect::<Result<_, _>>()?;
    let integers = first.dtype().is_integer();
    let result = if integers {
        let operands: Vec<Vec<i128>> = tensors.iter().map(|t| numbers::ints(t)).collect::<Result<_, _>>()?;
        let product =
            |i: usize| operands.iter().zip(&offsets).fold(1i128, |p, (v, o)| p.wrapping_mul(v[o[i]]));
        let products: Vec<i128> = (0..total).map(product).collect();
        Numbers::Ints(sums(&products, depth, layout::count(dims)?, 0, i128::wrapping_add))
    } else {
        let operands: Vec<Vec<f64>> = tensors.iter().map(|t| numbers::floats(t)).collect::<Result<_, _>>()?;
        let product = |i: usize| operands.iter().zip(&offsets).map(|(v, o)| v[o[i]]).product();
        let products: Vec<f64> = (0..total).map(product).collect();
        Numbers::Floats(sums(&products, depth, layout::count(dims)?, 0.0, |a, b| a + b))
    };
    Ok(vec![numbers::from_numbers(first.dtype(), dims, &result)?.into()])
}

fn sums<T: Copy>(products: &[T], depth: usize, n: usize, zero: T, add: impl Fn(T, T) -> T) -> Vec<T> {
    (0..n).map(|i| products[i * depth..(i + 1) * depth].iter().fold(zero, |a, &b| add(a, b))).collect()
}
