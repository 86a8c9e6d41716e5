//! Quantised operators: 8-bit codes, sums in int32, one float32 multiplier, half to even, saturated.
//!
//! What follows a sum are post-ops: the multiplier, rounding, what an activation leaves, the zero point. oneDNN takes
//! zero points of the first operand only; those of weights are subtracted beforehand.

use std::iter;

use byoc_plugin::quantised::{Products, Quantity, codes};
use byoc_plugin::shapes::from_front;
use byoc_plugin::{Error, Node, Region, Result, Value};

use crate::bridge::ffi;
use crate::layer::{Algorithm, Layer, Post, Type, What};
use crate::lower::{self, Match, type_of};

/// Constants that are made for layers: their shapes and contents. Values with numbers behind the region's own.
pub struct Made {
    pub first: usize,
    pub all: Vec<(Vec<i64>, Vec<f32>)>,
}

impl Made {
    pub fn behind(region: &Region<'_>) -> Made {
        Made { first: region.values.len(), all: Vec::new() }
    }

    fn add(&mut self, dims: Vec<i64>, content: Vec<f32>) -> usize {
        self.all.push((dims, content));
        self.first + self.all.len() - 1
    }

    /// A vector with so many dimensions of one behind it.
    fn vector(&mut self, content: Vec<f32>, behind: usize) -> usize {
        self.add(iter::once(content.len() as i64).chain(vec![1; behind]).collect(), content)
    }

    fn zero(&mut self, zero: i32) -> Option<usize> {
        (zero != 0).then(|| self.vector(vec![zero as f32], 0))
    }
}

impl Match<'_> {
    fn operand(&self, name: &str) -> Result<&Value<'_>> {
        self.bound(name).ok_or_else(|| self.refuse("an operand is missing"))
    }

    fn node_of(&self, op: &str) -> Option<&Node<'_>> {
        self.composite.nodes.iter().map(|&node| self.region.node(node)).find(|node| node.op == op)
    }

    /// The operand `x`, its rank, and the axis that scales are along.
    fn coded(&self) -> Result<(usize, usize, usize)> {
        let x = self.operand("x")?;
        let rank = x.rank().ok_or_else(|| self.refuse("the rank is not known"))?;
        let axis = usize::try_from(from_front(self.int("axis", 1), rank)).unwrap_or(0);
        Ok((x.index, rank, axis.min(rank.saturating_sub(1))))
    }
}

/// QuantizeLinear: a division, rounding, and the zero point.
pub fn quantise(m: &Match<'_>, made: &mut Made) -> Result<Layer> {
    let ((x, rank, axis), of) = (m.coded()?, Quantity::of(m.operand("ys")?, m.bound("yz"))?);
    let zero = of.zero()?;
    let scale = match of.scales.len() {
        1 => m.operand("ys")?.index,
        _ => made.vector(of.scales, rank - 1 - axis),
    };
    let mut layer = m.layer(What::Binary(Algorithm::Div), vec![x, scale])?;
    layer.post = to_codes(zero, None).collect();
    Ok(layer)
}

/// From numbers, divided by the scale already, to codes.
fn to_codes(zero: i32, clip: Option<(f32, f32)>) -> impl Iterator<Item = Post> {
    let clip = clip.map(|(low, high)| Post::function(Algorithm::Clip, low, high));
    let zero = (zero != 0).then(|| Post::function(Algorithm::Linear, 1.0, zero as f32));
    iter::once(Post::function(Algorithm::Round, 0.0, 0.0)).chain(clip).chain(zero)
}

/// DequantizeLinear.
pub fn dequantise(m: &Match<'_>, made: &mut Made) -> Result<Layer> {
    let ((x, _, axis), of) = (m.coded()?, Quantity::of(m.operand("xs")?, m.bound("xz"))?);
    let zero = of.zero()?;
    let scales = made.vector(of.scales, 0);
    let mut layer = m.layer(What::Dequantise(axis as i64), vec![x, scales])?;
    layer.zero = made.zero(zero);
    Ok(layer)
}

pub fn convolution(m: &Match<'_>, made: &mut Made) -> Result<Layer> {
    let what = lower::convolution(m, m.node_of("Conv").unwrap_or(m.node))?;
    sums(m, made, what, 0)
}

pub fn product(m: &Match<'_>, made: &mut Made) -> Result<Layer> {
    let turned = m.node_of("Gemm").is_some_and(|gemm| gemm.attr_int("transB") == Some(1));
    sums(m, made, What::Product(i64::from(turned) << 1), usize::from(!turned))
}

/// Sums of products of codes, with what follows; `axis` of the weights is that of the output's channels.
fn sums(m: &Match<'_>, made: &mut Made, what: What, axis: usize) -> Result<Layer> {
    if !ffi::sums_are_exact() {
        return Err(Error::unsupported("without VNNI oneDNN saturates sums of pairs"));
    }
    let products = Products::of(m.region, m.composite, axis)?;
    let (x, w) = (m.operand("x")?, m.operand("w")?);
    let given = type_of(w) == Some(Type::S8) && codes(w).as_ref() == Some(&products.weights);
    let dims: Vec<i64> = w.shape().unwrap_or_default().into_iter().map(|dim| dim as i64).collect();
    if products.weights.iter().any(|&weight| i8::try_from(weight).is_err()) {
        return Err(m.refuse("weights that less their zero point are no int8"));
    }
    // Of a convolution the channels are in front of the places, of a product behind all.
    let places = dims.len().saturating_sub(2);
    let weights = match given {
        true => w.index,
        false => made.add(dims, products.weights.iter().map(|&weight| weight as f32).collect()),
    };
    let mut inputs = vec![x.index, weights];
    if !products.bias.is_empty() {
        inputs.push(made.vector(products.bias.iter().map(|&steps| steps as f32).collect(), 0));
    }
    let mut layer = m.layer(what, inputs)?;
    layer.zero = made.zero(products.input_zero);
    layer.post.push(match products.multipliers[..] {
        [one] => Post::function(Algorithm::Linear, one, 0.0),
        _ => Post::binary(Algorithm::Mul, made.vector(products.multipliers.clone(), places)),
    });
    let clip = m.node_of("Clip").map(|node| m.bounds(node)).or(m.node_of("Relu").map(|_| (0.0, f32::MAX)));
    let clip = clip.map(|(low, high)| products.clipped(low, high));
    layer.post.extend(to_codes(products.output_zero, clip));
    Ok(layer)
}
