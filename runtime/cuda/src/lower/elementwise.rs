//! Operators that work element by element, and what they become: an expression of their own, the end of a kernel, or part
//! of a later expression.

use byoc_plugin::{DType, Error, Node, Result};

use super::{Draft, Lowering, State, text};
use crate::pointwise::{Align, Expr, Pointwise, Typed};
use crate::scalar::{self, Scalar};
use crate::types;

/// Operators of any number of operands, which are taken two at a time.
const VARIADIC: &[(&str, &str)] = &[("Sum", "Add"), ("Max", "Max"), ("Min", "Min"), ("Mean", "Add")];

/// Operators whose rows have names of their own for the value of an attribute.
fn row_name(node: &Node<'_>) -> String {
    match node.op {
        "Gelu" if text(node, "approximate", "none") == "tanh" => "Gelu:tanh".into(),
        "Mod" if node.attr_int("fmod") == Some(1) => "Mod:fmod".into(),
        op => op.into(),
    }
}

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    let expression = match node.op {
        "Where" => lowering.select(node),
        "Cast" | "CastLike" => lowering.cast(node),
        "Clip" => lowering.clip(node),
        "DequantizeLinear" => lowering.dequantise(node),
        "QuantizeLinear" => lowering.quantise(node),
        "BatchNormalization" => lowering.batch_normalization(node),
        op if VARIADIC.iter().any(|(name, _)| *name == op) => lowering.variadic(node),
        _ => {
            let kind = types::of(lowering.dtype(lowering.input(node, 0).ok()?).ok()?).ok()?.kind;
            let row = scalar::find(&row_name(node), kind)?;
            lowering.scalar(node, row)
        }
    };
    Some(expression.and_then(|expression| lowering.place(node, expression)))
}

impl Lowering<'_, '_> {
    /// What a node reads: an expression that is pending, a number, or memory.
    pub(super) fn read(&mut self, value: usize) -> Result<Pointwise> {
        if let Some(State::Pending(pointwise)) = &self.states[value] {
            return Ok(pointwise.clone());
        }
        // Open values stay so: whether the end of their step grows is decided later.
        if !matches!(self.states[value], Some(State::Open(_))) {
            self.stored(value);
        }
        Ok(Pointwise::read(self.operand(value, Align::Trailing)?))
    }

    /// A number in the text instead of memory, where it changes no shape.
    fn number_or_read(&mut self, node: &Node<'_>, value: usize) -> Result<Pointwise> {
        let others = node.inputs.iter().flatten().filter(|other| **other != value);
        let rank = self.value(value).rank();
        let hidden = others.clone().any(|other| {
            self.value(*other).constant.is_none() && self.value(*other).rank() >= rank && rank.is_some()
        });
        match self.number(value).filter(|_| hidden) {
            Some(number) => Ok(Pointwise::literal(number, self.dtype(value)?)),
            None => self.read(value),
        }
    }

    fn same_types(&self, node: &Node<'_>, values: &[usize]) -> Result<DType> {
        let dtype = self.dtype(values[0])?;
        let other = values.iter().find(|value| self.dtype(**value).ok() != Some(dtype));
        other.map_or(Ok(dtype), |_| Err(Error::unsupported(format!("{} of several element types", node.op))))
    }

    fn scalar(&mut self, node: &Node<'_>, row: &'static Scalar) -> Result<Pointwise> {
        let inputs = (0..row.arity).map(|place| self.input(node, place)).collect::<Result<Vec<_>>>()?;
        let dtype = self.same_types(node, &inputs)?;
        let attributes = attributes(node, row);
        let parts = inputs.iter().map(|value| self.number_or_read(node, *value));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(apply(row, dtype, attributes, parts))
    }

    fn variadic(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let inputs: Vec<usize> = node.inputs.iter().flatten().copied().collect();
        let dtype = self.same_types(node, &inputs)?;
        let name = VARIADIC.iter().find(|(op, _)| *op == node.op).map_or(node.op, |(_, name)| name);
        let row = self.scalar_row(name, dtype)?;
        let mut whole: Option<Pointwise> = None;
        for value in &inputs {
            let next = self.read(*value)?;
            whole = Some(match whole {
                None => next,
                Some(whole) => apply(row, dtype, Vec::new(), vec![whole, next]),
            });
        }
        let whole = whole.ok_or_else(|| Error::unsupported(format!("{} of nothing", node.op)))?;
        if node.op != "Mean" {
            return Ok(whole);
        }
        let count = Pointwise::literal(inputs.len() as f64, dtype);
        Ok(apply(self.scalar_row("Div", dtype)?, dtype, Vec::new(), vec![whole, count]))
    }

    pub(super) fn scalar_row(&self, name: &str, dtype: DType) -> Result<&'static Scalar> {
        let row = scalar::find(name, types::of(dtype)?.kind);
        row.ok_or_else(|| Error::unsupported(format!("{name} of {dtype}")))
    }

    fn select(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let inputs = (0..3).map(|place| self.input(node, place)).collect::<Result<Vec<_>>>()?;
        let dtype = self.same_types(node, &inputs[1..])?;
        let parts = inputs.iter().map(|value| self.number_or_read(node, *value));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(Pointwise::join(parts, dtype, |roots| match <[Typed; 3]>::try_from(roots) {
            Ok(roots) => Expr::Select(Box::new(roots)),
            Err(_) => unreachable!("there are three"),
        }))
    }

    fn cast(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let (from, to) = (self.input(node, 0)?, self.dtype(self.output(node)?)?);
        let part = self.read(from)?;
        if part.root.dtype == to {
            return Ok(part);
        }
        Ok(Pointwise::join(vec![part], to, |mut roots| Expr::Cast(Box::new(roots.remove(0)))))
    }

    fn clip(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let x = self.input(node, 0)?;
        let dtype = self.dtype(x)?;
        let mut whole = self.read(x)?;
        for (place, name, row) in [(1, "min", "Max"), (2, "max", "Min")] {
            let limit = match (node.inputs.get(place).copied().flatten(), node.attr_float(name)) {
                (Some(limit), _) => self.number_or_read(node, limit)?,
                (None, Some(limit)) => Pointwise::literal(limit.into(), dtype),
                (None, None) => continue,
            };
            whole = apply(self.scalar_row(row, dtype)?, dtype, Vec::new(), vec![whole, limit]);
        }
        Ok(whole)
    }

    fn batch_normalization(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        if node.attr_int("training_mode") == Some(1) || node.since_version < 9 {
            return Err(Error::unsupported("BatchNormalization in training, or before opset 9"));
        }
        let x = self.input(node, 0)?;
        let (dtype, rank) = (self.dtype(x)?, self.rank(x)?);
        let along = rank.checked_sub(1).filter(|rank| *rank > 0);
        let align = Align::FromEnd(along.ok_or_else(|| Error::unsupported("BatchNormalization of rows"))?);
        let inputs = (0..5).map(|place| self.input(node, place)).collect::<Result<Vec<_>>>()?;
        self.same_types(node, &inputs)?;
        let mut parts = vec![self.read(x)?];
        for value in &inputs[1..] {
            self.stored(*value);
            parts.push(Pointwise::read(self.operand(*value, align)?));
        }
        let row = self.scalar_row("BatchNormalization", dtype)?;
        Ok(apply(row, dtype, attributes(node, row), parts))
    }

    /// What becomes of a node's expression.
    fn place(&mut self, node: &Node<'_>, expression: Pointwise) -> Result<()> {
        let output = self.output(node)?;
        if expression.operands.is_empty() {
            return Err(Error::unsupported(format!("{} of numbers alone", node.op)));
        }
        if let Some((step, value)) = self.growing(&expression, output) {
            let grown = match &mut self.drafts[step] {
                Draft::Ended { kernel, output: written, .. } => {
                    let tail = kernel.tail();
                    let grown = expression.clone().behind(value, tail);
                    let fits = grown.is_small();
                    if fits {
                        (*tail, *written) = (grown, output);
                    }
                    fits
                }
                Draft::Done(_) => false,
            };
            if grown {
                let private = self.is_private(output);
                self.states[output] =
                    Some(if private { State::Open(step) } else { State::Stored(Some(step)) });
                return Ok(());
            }
        }
        for operand in &expression.operands {
            self.stored(operand.value);
        }
        let private = self.is_private(output) && expression.is_small();
        match private {
            true => self.states[output] = Some(State::Pending(expression)),
            false if expression.is_small() => drop(self.map(expression, output)),
            false => return self.broken_up(node),
        }
        Ok(())
    }

    /// The step whose end an expression can be: it reads what the step writes, in the same shape, and everything else
    /// that it reads is there before.
    fn growing(&self, expression: &Pointwise, output: usize) -> Option<(usize, usize)> {
        let open = |operand: &crate::pointwise::Operand| match self.states[operand.value] {
            Some(State::Open(step)) if operand.align == Align::Trailing => Some((step, operand.value)),
            _ => None,
        };
        let (step, value) = expression.operands.iter().filter_map(open).max()?;
        let before = |other: usize| other == value || self.written_at(other).is_none_or(|at| at < step);
        let fits = self.same_shape(value, output)
            && expression.operands.iter().all(|operand| before(operand.value))
            && expression.operands.iter().filter(|operand| operand.value == value).count() == 1;
        fits.then_some((step, value))
    }

    /// Too much for one kernel: what was pending is written first.
    fn broken_up(&mut self, node: &Node<'_>) -> Result<()> {
        let pending: Vec<usize> = node.inputs.iter().flatten().copied().collect();
        let was_pending = pending.iter().any(|value| matches!(self.states[*value], Some(State::Pending(_))));
        for value in pending {
            self.stored(value);
        }
        if !was_pending {
            return Err(Error::unsupported(format!("{} of {} operands", node.op, node.inputs.len())));
        }
        rule(self, node).unwrap_or_else(|| Err(Error::internal("an operator has lost its rule")))
    }
}

pub(super) fn apply(
    row: &'static Scalar,
    dtype: DType,
    attributes: Vec<(&'static str, f64)>,
    parts: Vec<Pointwise>,
) -> Pointwise {
    Pointwise::join(parts, row.result(dtype), |arguments| Expr::Apply { row, attributes, arguments })
}

/// The attributes that a row speaks of.
fn attributes(node: &Node<'_>, row: &'static Scalar) -> Vec<(&'static str, f64)> {
    let words = row.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '$' && c != '_');
    let names = words.filter_map(|word| word.strip_prefix('$'));
    names.filter_map(|name| Some((name, node.attr_float(name)?.into()))).collect()
}
