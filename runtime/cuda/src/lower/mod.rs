//! A region's nodes as steps: element-wise chains become one kernel, or the end of the kernel before them.
//!
//! Nodes come in topological order. A value is in one of three states: *stored*, once a step writes it; *pending*, an
//! expression that whoever reads it takes over; *open*, written by a step whose end may still grow. Only values that one
//! node reads, and that stay in the region, are pending or open.

mod attention;
mod elementwise;
mod moves;
mod products;
mod quantise;
mod rows;

use std::collections::HashSet;

use byoc_plugin::{AttributeValue, DType, Dim, Error, Node, Region, Result, Value};

use crate::kernel::Kernel;
use crate::kernels::gather::Gather;
use crate::kernels::map::Map;
use crate::kernels::product::Product;
use crate::kernels::resize::Resize;
use crate::kernels::row::Row;
use crate::kernels::window::Pool;
use crate::pointwise::{Align, Operand, Pointwise};
use crate::program::{Action, Program, Step, View};
use crate::types::{self, size};

/// A kernel that may end in an expression.
enum Ended {
    Row(Row),
    Product(Product),
    Pool(Pool),
    Gather(Gather),
    Resize(Resize),
}

impl Ended {
    fn tail(&mut self) -> &mut Pointwise {
        match self {
            Ended::Row(kernel) => &mut kernel.tail,
            Ended::Product(kernel) => &mut kernel.tail,
            Ended::Pool(kernel) => &mut kernel.tail,
            Ended::Gather(kernel) => &mut kernel.tail,
            Ended::Resize(kernel) => &mut kernel.tail,
        }
    }

    fn finish(self) -> Box<dyn Kernel> {
        match self {
            Ended::Row(kernel) => Box::new(kernel),
            Ended::Product(kernel) => Box::new(kernel),
            Ended::Pool(kernel) => Box::new(kernel),
            Ended::Gather(kernel) => Box::new(kernel),
            Ended::Resize(kernel) => Box::new(kernel),
        }
    }
}

/// A step that is not finished yet.
enum Draft {
    Ended { kernel: Ended, inputs: Vec<usize>, output: usize },
    Done(Step),
}

enum State {
    /// By the step that writes it; `None` for inputs and constants.
    Stored(Option<usize>),
    Pending(Pointwise),
    Open(usize),
}

struct Lowering<'r, 'a> {
    region: &'r Region<'a>,
    drafts: Vec<Draft>,
    states: Vec<Option<State>>,
    /// Values of the lowering's own, behind those of the region.
    own: Vec<DType>,
}

/// Lowers a region; an error names the node that no kernel is there for.
pub fn lower(region: &Region<'_>) -> Result<Program> {
    let states = region.values.iter().map(|value| match value.producer {
        None => Some(State::Stored(None)),
        Some(_) => None,
    });
    let mut lowering = Lowering { region, drafts: Vec::new(), states: states.collect(), own: Vec::new() };
    let forms = attention::forms(region);
    let skipped = |node: usize| forms.iter().any(|form| form.nodes.contains(&node));
    for node in &region.nodes {
        let done = match forms.iter().find(|form| form.last == node.index) {
            Some(form) => lowering.form(form),
            None if skipped(node.index) => Ok(()),
            None => lowering.node(node),
        };
        done.map_err(|error| Error { node: Some(node.index), ..error })?;
    }
    lowering.finish()
}

/// What a family does with a node; `None` where the node is not its own.
type Rule = fn(&mut Lowering<'_, '_>, &Node<'_>) -> Option<Result<()>>;

const RULES: [Rule; 5] = [elementwise::rule, rows::rule, products::rule, moves::rule, attention::rule];
/// Operators of other domains that rules know.
const CONTRIBUTED: &[(&str, &str)] =
    &[("com.microsoft", "MultiHeadAttention"), ("com.microsoft", "GroupQueryAttention")];

impl<'a> Lowering<'_, 'a> {
    fn node(&mut self, node: &Node<'_>) -> Result<()> {
        let unsupported = || Error::unsupported(format!("no kernel is there for {}", node.op));
        if !node.domain.is_empty() && !CONTRIBUTED.contains(&(node.domain, node.op)) {
            return Err(unsupported());
        }
        let wanted = node.outputs.iter().flatten();
        for value in wanted.chain(node.inputs.iter().flatten()) {
            types::of(self.dtype(*value)?)?;
        }
        RULES.iter().find_map(|rule| rule(self, node)).unwrap_or_else(|| Err(unsupported()))
    }

    fn value(&self, value: usize) -> &Value<'a> {
        self.region.value(value)
    }

    fn dtype(&self, value: usize) -> Result<DType> {
        if let Some(dtype) = value.checked_sub(self.region.values.len()).and_then(|own| self.own.get(own)) {
            return Ok(*dtype);
        }
        let value = self.value(value);
        value.dtype.ok_or_else(|| Error::unsupported(format!("`{}` is of no known element type", value.name)))
    }

    fn input(&self, node: &Node<'_>, place: usize) -> Result<usize> {
        let missing = || Error::unsupported(format!("{} without its input {place}", node.op));
        node.inputs.get(place).copied().flatten().ok_or_else(missing)
    }

    /// The only output that is wanted.
    fn output(&self, node: &Node<'_>) -> Result<usize> {
        match node.outputs.as_slice() {
            [Some(output), rest @ ..] if rest.iter().all(Option::is_none) => Ok(*output),
            _ => Err(Error::unsupported(format!("{} with more than its first output", node.op))),
        }
    }

    fn rank(&self, value: usize) -> Result<usize> {
        let value = self.value(value);
        value.rank().ok_or_else(|| Error::unsupported(format!("`{}` is of no known rank", value.name)))
    }

    /// Numbers that shapes are made of: an input that has to be a constant. `None` where it is missing.
    fn whole_numbers(&self, node: &Node<'_>, place: usize) -> Result<Option<Vec<i64>>> {
        let Some(value) = node.inputs.get(place).copied().flatten() else { return Ok(None) };
        let value = self.value(value);
        if let Some(numbers) = value.constant_as::<i64>() {
            return Ok(Some(numbers.to_vec()));
        }
        if let Some(numbers) = value.constant_as::<i32>() {
            return Ok(Some(numbers.iter().map(|number| (*number).into()).collect()));
        }
        Err(Error::unsupported(format!("{} with `{}`, which is no constant", node.op, value.name)))
    }

    /// The only number of a constant.
    fn number(&self, value: usize) -> Option<f64> {
        number(self.value(value))
    }

    /// Whether one node reads a value, once, and nobody else does.
    fn is_private(&self, value: usize) -> bool {
        let uses = self.region.nodes.iter().flat_map(|node| &node.inputs);
        uses.filter(|used| **used == Some(value)).count() == 1 && !self.region.is_output(value)
    }

    /// Whether two values have the same shape, whatever the symbols in it are.
    fn same_shape(&self, one: usize, other: usize) -> bool {
        let (Some(one), Some(other)) = (&self.value(one).dims, &self.value(other).dims) else { return false };
        one == other && !one.contains(&Dim::Unknown)
    }

    /// A value that the region does not have.
    fn temporary(&mut self, dtype: DType) -> usize {
        self.own.push(dtype);
        self.states.push(None);
        self.states.len() - 1
    }

    fn operand(&self, value: usize, align: Align) -> Result<Operand> {
        Ok(Operand { value, dtype: self.dtype(value)?, align })
    }

    /// The step that writes a value; inputs and constants are there before all steps.
    fn written_at(&self, value: usize) -> Option<usize> {
        match &self.states[value] {
            Some(State::Stored(step)) => *step,
            Some(State::Open(step)) => Some(*step),
            Some(State::Pending(_)) | None => None,
        }
    }

    /// Has a value written, if it is not yet, for whoever wants its elements in memory.
    fn stored(&mut self, value: usize) -> usize {
        let known = self.states[value].take();
        self.states[value] = Some(match known {
            Some(State::Pending(pointwise)) => State::Stored(Some(self.map(pointwise, value))),
            Some(State::Open(step)) => State::Stored(Some(step)),
            known => known.unwrap_or(State::Stored(None)),
        });
        value
    }

    fn map(&mut self, pointwise: Pointwise, output: usize) -> usize {
        let inputs = pointwise.operands.iter().map(|operand| operand.value).collect();
        self.step(Box::new(Map(pointwise)), inputs, output)
    }

    fn step(&mut self, kernel: Box<dyn Kernel>, inputs: Vec<usize>, output: usize) -> usize {
        self.drafts.push(Draft::Done(Step { action: Action::Kernel(kernel), inputs, output }));
        self.states[output] = Some(State::Stored(Some(self.drafts.len() - 1)));
        self.drafts.len() - 1
    }

    fn view(&mut self, view: View, input: usize, output: usize) {
        let input = self.stored(input);
        let action = Action::View(view);
        self.drafts.push(Draft::Done(Step { action, inputs: vec![input], output }));
        self.states[output] = Some(State::Stored(Some(self.drafts.len() - 1)));
    }

    /// A step whose end may grow.
    fn open(&mut self, kernel: Ended, inputs: Vec<usize>, output: usize) {
        self.drafts.push(Draft::Ended { kernel, inputs, output });
        let step = self.drafts.len() - 1;
        let private = self.is_private(output);
        self.states[output] = Some(if private { State::Open(step) } else { State::Stored(Some(step)) });
    }

    fn finish(mut self) -> Result<Program> {
        let region = self.region;
        for output in &region.outputs {
            self.stored(*output);
        }
        let step = |draft| match draft {
            Draft::Done(step) => step,
            Draft::Ended { mut kernel, mut inputs, output } => {
                inputs.extend(kernel.tail().operands.iter().map(|operand| operand.value));
                Step { action: Action::Kernel(kernel.finish()), inputs, output }
            }
        };
        let steps: Vec<Step> = self.drafts.into_iter().map(step).collect();
        let steps = wanted(steps, &region.outputs);
        let is_read = |value: &Value<'_>| {
            let used = steps.iter().any(|step| step.reads().contains(&value.index));
            value.constant.is_some() && (used || region.is_output(value.index))
        };
        Ok(Program {
            values: region.values.len() + self.own.len(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            constants: region.values.iter().filter(|v| is_read(v)).map(|v| v.index).collect(),
            widths: region
                .values
                .iter()
                .map(|value| value.dtype.map_or(0, size))
                .chain(self.own.into_iter().map(size))
                .collect(),
            steps,
        })
    }
}

/// The steps that outputs come from: others have been taken over by what reads their inputs.
fn wanted(steps: Vec<Step>, outputs: &[usize]) -> Vec<Step> {
    let mut needed: HashSet<usize> = outputs.iter().copied().collect();
    let mut kept: Vec<Step> = Vec::new();
    for step in steps.into_iter().rev() {
        if needed.contains(&step.output) {
            needed.extend(&step.inputs);
            kept.push(step);
        }
    }
    kept.reverse();
    kept
}

/// The only number of a constant.
fn number(value: &Value<'_>) -> Option<f64> {
    match (value.constant?.bytes, value.dtype?) {
        (bytes, DType::F32) => bytes.try_into().ok().map(|bytes| f32::from_le_bytes(bytes).into()),
        (bytes, DType::F64) => bytes.try_into().ok().map(f64::from_le_bytes),
        (bytes, DType::F16) => bytes.try_into().ok().map(|bytes| types::half(u16::from_le_bytes(bytes))),
        (bytes, DType::BF16) => {
            let bits = u16::from_le_bytes(bytes.try_into().ok()?);
            Some(f32::from_bits(u32::from(bits) << 16).into())
        }
        (&[byte], DType::I8) => Some(f64::from(byte as i8)),
        (&[byte], DType::U8) => Some(byte.into()),
        (bytes, DType::I32) => bytes.try_into().ok().map(|bytes| i32::from_le_bytes(bytes).into()),
        (bytes, DType::I64) => {
            let number = i64::from_le_bytes(bytes.try_into().ok()?);
            (number.unsigned_abs() < 1 << 53).then_some(number as f64)
        }
        _ => None,
    }
}

/// An attribute that is a list of whole numbers, or the standard's default.
fn ints(node: &Node<'_>, name: &str) -> Option<Vec<i64>> {
    node.attr_ints(name).map(<[i64]>::to_vec)
}

fn text<'n>(node: &'n Node<'_>, name: &str, default: &'n str) -> &'n str {
    match node.attr(name) {
        Some(AttributeValue::String(bytes)) => std::str::from_utf8(bytes).unwrap_or(default),
        _ => default,
    }
}

/// A list of sizes, none of them below 0 or beyond what kernels count in.
fn sizes(values: &[i64]) -> Result<Vec<usize>> {
    let size = |value: &i64| {
        let counted = i32::try_from(*value).ok().and_then(|value| usize::try_from(value).ok());
        counted.ok_or_else(|| Error::unsupported(format!("{value} as a size")))
    };
    values.iter().map(size).collect()
}
