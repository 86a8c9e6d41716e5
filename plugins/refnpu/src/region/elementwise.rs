//! Sums, and functions of a single number as look-up tables.

use byoc_plugin::{Error, Node, Result};

use super::{Importer, Match, activation, constant, is_unsigned, shape};
use crate::layer::{Add, Lookup, Op};
use crate::quant::Range;

pub fn qdq_add(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    sum(importer, found, true)
}

pub fn qlinear_add(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    sum(importer, found, false)
}

fn sum(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>, activated: bool) -> Result<()> {
    let (a, b) = (found.required("a")?, found.required("b")?);
    if a.rank() != b.rank()
        || shape(a)? != shape(b)?
        || a.dims.as_ref().map(|dims| &dims[0]) != b.dims.as_ref().map(|dims| &dims[0])
    {
        return Err(Error::unsupported("the device adds tensors of one shape"));
    }
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let add = Add {
        a: constant::quant(found, "as_", "az", is_unsigned(a)?)?,
        b: constant::quant(found, "bs", "bz", is_unsigned(b)?)?,
        scale: output.scale,
        range: if activated { activation::range(found, output)? } else { Range::full(output.zero) },
    };
    let inputs = vec![importer.tensor(a)?, importer.tensor(b)?];
    importer.result(found, Op::Add(add), inputs)
}

/// Functions of one number between DequantizeLinear and QuantizeLinear: all 256 results are worked out here.
pub fn lookup(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let x = found.required("x")?;
    let input = constant::quant(found, "xs", "xz", is_unsigned(x)?)?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let between = found.composite.nodes.iter().map(|&node| found.region.node(node));
    let functions: Vec<Function> = between
        .filter(|node| !matches!(node.op, "DequantizeLinear" | "QuantizeLinear"))
        .map(|node| Function::of(found, node))
        .collect::<Result<_>>()?;
    let per_channel = functions.iter().any(|function| matches!(function, Function::Affine(_)));
    let channels = shape(x)?.channels;
    let count = if per_channel { channels } else { 1 };
    if functions.iter().any(|function| matches!(function, Function::Affine(parts) if parts.len() != channels))
    {
        return Err(Error::unsupported("BatchNormalization with other than one parameter a channel"));
    }
    let table = |channel: usize| {
        Lookup::table(|q| {
            let value = input.dequantise(q);
            output.quantise(functions.iter().fold(value, |value, function| function.at(channel, value)))
        })
    };
    let tables = (0..count).map(table).collect();
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Lookup(Lookup { tables }), inputs)
}

/// A number times a function of it.
pub fn swish(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let x = found.required("x")?;
    let input = constant::quant(found, "xs", "xz", is_unsigned(x)?)?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let gate = Function::of(found, found.required_node(&["Sigmoid", "HardSigmoid"])?)?;
    let table = Lookup::table(|q| {
        let value = input.dequantise(q);
        output.quantise(value * gate.at(0, value))
    });
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Lookup(Lookup { tables: vec![table] }), inputs)
}

/// A function of one number, in float32 as the standard has it.
enum Function {
    Clip(f32, f32),
    LeakyRelu(f32),
    HardSigmoid(f32, f32),
    Sigmoid,
    Tanh,
    /// BatchNormalization: a channel's factor, and mean and bias around it.
    Affine(Vec<[f32; 3]>),
}

impl Function {
    fn of(found: &Match<'_, '_>, node: &Node<'_>) -> Result<Self> {
        Ok(match node.op {
            "Relu" | "Clip" => {
                let (low, high) = activation::bounds(found.region, node)?;
                Function::Clip(low, high)
            }
            "LeakyRelu" => Function::LeakyRelu(node.attr_float("alpha").unwrap_or(0.01)),
            "HardSigmoid" => Function::HardSigmoid(
                node.attr_float("alpha").unwrap_or(0.2),
                node.attr_float("beta").unwrap_or(0.5),
            ),
            "Sigmoid" => Function::Sigmoid,
            "Tanh" => Function::Tanh,
            "BatchNormalization" => Function::Affine(batch_normalization(found, node)?),
            other => return Err(Error::unsupported(format!("no table for {other}")).at_node(node.index)),
        })
    }

    fn at(&self, channel: usize, value: f32) -> f32 {
        match self {
            Function::Clip(low, high) => value.max(*low).min(*high),
            Function::LeakyRelu(alpha) => {
                if value < 0.0 {
                    alpha * value
                } else {
                    value
                }
            }
            Function::HardSigmoid(alpha, beta) => (alpha * value + beta).clamp(0.0, 1.0),
            Function::Sigmoid => (1.0 / (1.0 + (-f64::from(value)).exp())) as f32,
            Function::Tanh => f64::from(value).tanh() as f32,
            Function::Affine(channels) => {
                let [mean, factor, bias] = channels[channel];
                (value - mean) * factor + bias
            }
        }
    }
}

fn batch_normalization(found: &Match<'_, '_>, node: &Node<'_>) -> Result<Vec<[f32; 3]>> {
    if node.attr_int("training_mode") == Some(1) {
        return Err(Error::unsupported("BatchNormalization in training").at_node(node.index));
    }
    let parameter = |input: usize| {
        let value = found.region.input(node, input);
        value.ok_or_else(|| Error::invalid("a missing parameter")).and_then(constant::floats)
    };
    let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let epsilon = node.attr_float("epsilon").unwrap_or(1e-5);
    let factors = scale.iter().zip(&variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt());
    Ok(mean.iter().zip(factors).zip(&bias).map(|((&mean, factor), &bias)| [mean, factor, bias]).collect())
}
