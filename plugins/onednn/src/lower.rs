//! From the host's region to layers, one function a family of patterns.

use byoc_plugin::shapes::{Scaling, View, Window};
use byoc_plugin::{Composite, DType, Error, Node, Region, Result, Value};

use crate::layer::{Algorithm, Layer, Post, Type, What};
use crate::quantised::{self, Made};

/// The layers of a region, in an order in which each finds its operands made, and the constants made for them.
pub fn layers(region: &Region<'_>) -> Result<(Vec<Layer>, Made)> {
    let (mut layers, mut made) = (Vec::new(), Made::behind(region));
    for composite in region.composites_in_order() {
        layers.extend(composite_layers(region, composite, &mut made)?);
    }
    Ok((layers, made))
}

/// One composite, as the functions that lower it see it.
pub struct Match<'a> {
    pub region: &'a Region<'a>,
    pub composite: &'a Composite<'a>,
    /// Its last node.
    pub node: &'a Node<'a>,
}

type Lower = fn(&Match<'_>) -> Result<What>;

/// How each pattern is lowered, and which of its names are operands; without any, all that the node has.
const PATTERNS: [(&str, &[&str], Lower); 23] = [
    ("convolution", &["x", "w", "b"], |m| convolution(m, m.node)),
    ("deconvolution", &["x", "w", "b"], deconvolution),
    ("gemm", &["a", "b", "c"], gemm),
    ("matmul", &["a", "b"], |_| Ok(What::Product(0))),
    ("pooling", &["x"], pooling),
    ("global_pooling", &["x"], |m| Ok(What::Pooling(pooled(m), None))),
    ("softmax", &["x"], softmax),
    ("layer_norm", &["x", "s", "b"], layer_norm),
    ("batch_norm", &["x", "s", "b", "m", "v"], |m| Ok(What::BatchNorm(m.float("epsilon", 1e-5)))),
    ("lrn", &["x"], lrn),
    ("swish", &["x"], |_| function(Algorithm::Swish, 1.0, 0.0)),
    ("gelu", &["x"], gelu),
    ("hard_swish", &["x"], |_| function(Algorithm::HardSwish, 1.0 / 6.0, 0.5)),
    ("mish", &["x"], |_| function(Algorithm::Mish, 0.0, 0.0)),
    ("clip", &["x"], clip),
    ("eltwise", &["x"], eltwise),
    ("prelu", &["x", "s"], |_| Ok(What::Prelu)),
    ("binary", &["a", "b"], binary),
    ("reduction", &["x"], reduction),
    ("concat", &[], |m| Ok(What::Concat(m.int("axis", 0)))),
    ("resampling", &["x"], resampling),
    ("view", &["x"], |m| Ok(What::View(View::of(m.region, m.node)?))),
    ("transpose", &["x"], |m| Ok(What::Transpose(m.ints("perm").unwrap_or_default()))),
];

/// None for arithmetic of shapes, several for a Split.
fn composite_layers(region: &Region<'_>, composite: &Composite<'_>, made: &mut Made) -> Result<Vec<Layer>> {
    let last = composite.nodes.last().ok_or_else(|| Error::internal("a composite without nodes"))?;
    let m = Match { region, composite, node: region.node(*last) };
    match composite.pattern {
        "shape_arithmetic" => Ok(Vec::new()),
        "split" => split(&m),
        "quantise" => Ok(vec![quantised::quantise(&m, made)?]),
        "dequantise" => Ok(vec![quantised::dequantise(&m, made)?]),
        "qdq_conv" | "qlinear_conv" => Ok(vec![quantised::convolution(&m, made)?]),
        name if name.starts_with('q') => Ok(vec![quantised::product(&m, made)?]),
        _ => Ok(vec![layer(&m)?]),
    }
}

fn layer(m: &Match<'_>) -> Result<Layer> {
    let composite = m.composite;
    let pattern = PATTERNS.iter().find(|(name, ..)| *name == composite.pattern);
    let (_, names, lower) = pattern.ok_or_else(|| m.refuse("no such pattern"))?;
    let all = m.node.inputs.iter().copied().flatten().filter(|_| names.is_empty());
    let inputs = all.chain(names.iter().filter_map(|name| composite.binding(name))).collect();
    let what = lower(m)?;
    let layer = m.layer(what, inputs)?;
    Ok(with_scalar(m.region, &layer).unwrap_or(layer))
}

impl<'a> Match<'a> {
    /// A layer for the match, which makes its output.
    pub fn layer(&self, what: What, inputs: Vec<usize>) -> Result<Layer> {
        let output = self.composite.binding("y").or(self.node.outputs.first().copied().flatten());
        let output = output.ok_or_else(|| self.refuse("no output"))?;
        let dtype = type_of(self.region.value(output)).ok_or_else(|| self.refuse("no such element type"))?;
        Ok(Layer { node: self.node.index, inputs, output, dtype, zero: None, what, post: Vec::new() })
    }

    pub fn refuse(&self, why: &str) -> Error {
        Error::unsupported(why).at_node(self.node.index)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attr_int(name).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.node.attr_float(name).unwrap_or(default)
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.node.attr_ints(name)?.to_vec())
    }

    pub fn bound(&self, name: &str) -> Option<&Value<'a>> {
        self.region.binding(self.composite, name)
    }

    /// What a Clip cuts off at.
    pub fn bounds(&self, clip: &Node<'_>) -> (f32, f32) {
        let bound = |i: usize, attribute: &str, default: f32| {
            let given = self.region.input(clip, i).and_then(scalar);
            given.or(clip.attr_float(attribute)).unwrap_or(default)
        };
        (bound(1, "min", f32::MIN), bound(2, "max", f32::MAX))
    }

    fn kernel(&self) -> Result<Vec<i64>> {
        let shape = self.bound("w").and_then(Value::shape).filter(|shape| shape.len() > 2);
        let shape = shape.ok_or_else(|| self.refuse("weights of no known shape"))?;
        Ok(shape[2..].iter().map(|&dim| dim as i64).collect())
    }
}

pub fn type_of(value: &Value<'_>) -> Option<Type> {
    match value.dtype? {
        DType::F32 => Some(Type::F32),
        DType::I8 => Some(Type::S8),
        DType::U8 => Some(Type::U8),
        _ => None,
    }
}

pub fn scalar(value: &Value<'_>) -> Option<f32> {
    value.constant_as::<f32>().filter(|all| all.len() == 1).map(|all| all[0])
}

fn function(algorithm: Algorithm, alpha: f32, beta: f32) -> Result<What> {
    Ok(What::Eltwise(Post::function(algorithm, alpha, beta)))
}

pub fn convolution(m: &Match<'_>, node: &Node<'_>) -> Result<What> {
    Ok(What::Convolution(Window::of(node, m.kernel()?)?, node.attr_int("group").unwrap_or(1)))
}

fn deconvolution(m: &Match<'_>) -> Result<What> {
    let kernel = m.kernel()?;
    let more = m.ints("output_padding").unwrap_or(vec![0; kernel.len()]);
    let wanted = m.ints("output_shape").filter(|shape| shape.len() == kernel.len());
    Ok(What::Deconvolution(Window::of(m.node, kernel)?, m.int("group", 1), more, wanted))
}

fn gemm(m: &Match<'_>) -> Result<What> {
    // The addend is the bias of every row, or nothing.
    if let Some(shape) = m.bound("c").and_then(Value::shape) {
        let is_row = shape.iter().rev().skip(1).all(|&dim| dim == 1);
        let columns = m.bound("y").and_then(Value::shape).and_then(|y| y.last().copied());
        if !is_row || columns.is_some_and(|columns| shape.last() != Some(&columns)) {
            return Err(m.refuse("an addend that is no row"));
        }
    }
    Ok(What::Product(m.int("transA", 0) | m.int("transB", 0) << 1))
}

fn pooling(m: &Match<'_>) -> Result<What> {
    if m.node.outputs.len() > 1 && m.node.outputs[1].is_some() {
        return Err(m.refuse("the indices of MaxPool"));
    }
    let kernel = m.ints("kernel_shape").ok_or_else(|| m.refuse("no kernel_shape"))?;
    Ok(What::Pooling(pooled(m), Some(Window::of(m.node, kernel)?)))
}

fn pooled(m: &Match<'_>) -> Algorithm {
    match (m.node.op, m.int("count_include_pad", 0)) {
        ("MaxPool" | "GlobalMaxPool", _) => Algorithm::PoolMax,
        (_, 0) => Algorithm::PoolMean,
        _ => Algorithm::PoolMeanOfAll,
    }
}

fn softmax(m: &Match<'_>) -> Result<What> {
    let algorithm = if m.node.op == "LogSoftmax" { Algorithm::Log } else { Algorithm::None };
    Ok(What::Softmax(m.int("axis", -1), algorithm))
}

/// The epsilon of a decomposed form is what is added under the root.
fn layer_norm(m: &Match<'_>) -> Result<What> {
    let under_root = || {
        let nodes = m.composite.nodes.iter().map(|&node| m.region.node(node));
        let root = nodes.clone().find(|node| node.op == "Sqrt")?;
        let sum = m.region.producer(m.region.input(root, 0)?)?;
        (0..2).find_map(|i| m.region.input(sum, i).and_then(scalar))
    };
    let epsilon = m.node.attr_float("epsilon").or_else(under_root);
    Ok(What::LayerNorm(epsilon.ok_or_else(|| m.refuse("no epsilon"))?))
}

fn lrn(m: &Match<'_>) -> Result<What> {
    Ok(What::Lrn(m.int("size", 1), m.float("alpha", 1e-4), m.float("beta", 0.75)))
}

fn gelu(m: &Match<'_>) -> Result<What> {
    let tanh = m.node.attr_str("approximate") == Some("tanh")
        || m.composite.nodes.iter().any(|&node| m.region.node(node).op == "Tanh");
    function(if tanh { Algorithm::GeluTanh } else { Algorithm::GeluErf }, 0.0, 0.0)
}

fn clip(m: &Match<'_>) -> Result<What> {
    let (low, high) = m.bounds(m.node);
    function(Algorithm::Clip, low, high)
}

fn eltwise(m: &Match<'_>) -> Result<What> {
    match m.node.op {
        "Relu" => function(Algorithm::Relu, 0.0, 0.0),
        "LeakyRelu" => function(Algorithm::Relu, m.float("alpha", 0.01), 0.0),
        "Elu" => function(Algorithm::Elu, m.float("alpha", 1.0), 0.0),
        "Sigmoid" => function(Algorithm::Logistic, 0.0, 0.0),
        "Tanh" => function(Algorithm::Tanh, 0.0, 0.0),
        "HardSigmoid" => function(Algorithm::HardSigmoid, m.float("alpha", 0.2), m.float("beta", 0.5)),
        "Softplus" => function(Algorithm::SoftRelu, 1.0, 0.0),
        "Abs" => function(Algorithm::Abs, 0.0, 0.0),
        "Sqrt" => function(Algorithm::Sqrt, 0.0, 0.0),
        "Exp" => function(Algorithm::Exp, 0.0, 0.0),
        "Log" => function(Algorithm::Log, 0.0, 0.0),
        "Neg" => function(Algorithm::Linear, -1.0, 0.0),
        "Reciprocal" => function(Algorithm::Pow, 1.0, -1.0),
        "Round" => function(Algorithm::Round, 0.0, 0.0),
        _ => Err(m.refuse("no such function")),
    }
}

fn binary(m: &Match<'_>) -> Result<What> {
    let algorithm = match m.node.op {
        "Add" => Algorithm::Add,
        "Sub" => Algorithm::Sub,
        "Mul" => Algorithm::Mul,
        "Div" => Algorithm::Div,
        "Max" => Algorithm::Max,
        _ => Algorithm::Min,
    };
    Ok(What::Binary(algorithm))
}

/// A layer with a number for one operand is a function of the other.
fn with_scalar(region: &Region<'_>, layer: &Layer) -> Option<Layer> {
    let What::Binary(algorithm) = layer.what else { return None };
    let [a, b] = [0, 1].map(|i| region.value(layer.inputs[i]));
    let (x, number, first) = match (scalar(a), scalar(b)) {
        (_, Some(number)) => (a, number, true),
        (Some(number), None) => (b, number, false),
        _ => return None,
    };
    let rank_stays = x.rank() >= region.value(layer.output).rank();
    let (algorithm, alpha, beta) = match (algorithm, first) {
        (Algorithm::Add, _) => (Algorithm::Linear, 1.0, number),
        (Algorithm::Sub, true) => (Algorithm::Linear, 1.0, -number),
        (Algorithm::Sub, false) => (Algorithm::Linear, -1.0, number),
        (Algorithm::Mul, _) => (Algorithm::Linear, number, 0.0),
        (Algorithm::Div, true) => (Algorithm::Linear, 1.0 / number, 0.0),
        (Algorithm::Div, false) => (Algorithm::Pow, number, -1.0),
        (Algorithm::Max, _) => (Algorithm::Clip, number, f32::MAX),
        (Algorithm::Min, _) => (Algorithm::Clip, f32::MIN, number),
        _ => return None,
    };
    let what = What::Eltwise(Post::function(algorithm, alpha, beta));
    rank_stays.then(|| Layer { inputs: vec![x.index], what, ..layer.clone() })
}

fn reduction(m: &Match<'_>) -> Result<What> {
    let algorithm = match m.node.op {
        "ReduceMean" => Algorithm::Mean,
        "ReduceSum" => Algorithm::Sum,
        "ReduceProd" => Algorithm::Product,
        "ReduceL1" => Algorithm::NormL1,
        _ => Algorithm::NormL2,
    };
    let axes = m.region.ints(m.node, "axes", 1).unwrap_or_default();
    if axes.is_empty() && m.int("noop_with_empty_axes", 0) != 0 {
        return Err(m.refuse("a reduction of nothing"));
    }
    Ok(What::Reduction(algorithm, axes, m.int("keepdims", 1) != 0))
}

fn resampling(m: &Match<'_>) -> Result<What> {
    let text = |name| m.node.attr_str(name);
    let mode = (text("mode").unwrap_or("nearest"), text("coordinate_transformation_mode"));
    let (rounding, x) = (text("nearest_mode"), m.bound("x"));
    let is_float = x.and_then(type_of) == Some(Type::F32);
    let algorithm = match (mode, rounding) {
        (("nearest", None), _) => Algorithm::Nearest,
        (("nearest", Some("asymmetric")), Some("floor")) => Algorithm::Nearest,
        (("nearest", Some("half_pixel")), Some("round_prefer_floor")) => Algorithm::Nearest,
        (("linear", Some("half_pixel" | "pytorch_half_pixel")), _) if is_float => Algorithm::Bilinear,
        _ => return Err(m.refuse(&format!("Resize of mode {mode:?} {rounding:?}"))),
    };
    if m.int("antialias", 0) != 0 || text("keep_aspect_ratio_policy").is_some_and(|p| p != "stretch") {
        return Err(m.refuse("antialias, or a kept aspect ratio"));
    }
    // Of sizes that only running tells nothing else is sure to fit.
    let whole = |scales: &[f32]| scales[..2] == [1.0; 2] && scales.iter().all(|scale| scale.fract() == 0.0);
    let is_sure = |scaling: &Scaling| matches!(scaling, Scaling::By(scales) if whole(scales));
    let is_known = x.and_then(Value::shape).is_some();
    let scaling = Scaling::of(m.region, m.node).filter(|scaling| is_known || is_sure(scaling));
    let scaling = scaling.ok_or_else(|| m.refuse("sizes that are known only when it runs"))?;
    Ok(What::Resampling(algorithm, scaling))
}

fn split(m: &Match<'_>) -> Result<Vec<Layer>> {
    let (sizes, outputs) = (m.region.ints(m.node, "split", 1).unwrap_or_default(), &m.node.outputs);
    if !sizes.is_empty() && sizes.len() != outputs.len() {
        return Err(m.refuse("other than one size for each part"));
    }
    let inputs: Vec<usize> = m.composite.binding("x").into_iter().collect();
    let part = |(which, output): (usize, &Option<usize>)| {
        let what = What::Part(m.int("axis", 0), sizes.clone(), which, outputs.len() as i64);
        let output = (*output)?;
        Some(m.layer(what, inputs.clone()).map(|layer| Layer { output, ..layer }))
    };
    outputs.iter().enumerate().filter_map(part).collect()
}
