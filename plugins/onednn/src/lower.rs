//! From the host's region to layers, one function a family of patterns.

use byoc_plugin::{Composite, DType, Error, Node, Region, Result, Value};

use crate::layer::{Algorithm, Function, Layer, Number, Pads, Size, View, What, Window};

/// The layers of a region, in an order in which each finds its operands made.
pub fn layers(region: &Region<'_>) -> Result<Vec<Layer>> {
    let all = region.composites_in_order().into_iter().map(|composite| composite_layers(region, composite));
    Ok(all.collect::<Result<Vec<_>>>()?.concat())
}

/// One composite, as the functions below see it.
struct Match<'a> {
    region: &'a Region<'a>,
    composite: &'a Composite<'a>,
    /// Its last node.
    node: &'a Node<'a>,
}

type Lower = fn(&Match<'_>) -> Result<What>;

/// How each pattern is lowered, and which of its names are operands; without any, all that the node has.
const PATTERNS: [(&str, &[&str], Lower); 23] = [
    ("convolution", &["x", "w", "b"], convolution),
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
    ("view", &["x"], view),
    ("transpose", &["x"], |m| Ok(What::Transpose(m.ints("perm").unwrap_or_default()))),
];

/// None for arithmetic of shapes, several for a Split.
fn composite_layers(region: &Region<'_>, composite: &Composite<'_>) -> Result<Vec<Layer>> {
    let last = composite.nodes.last().ok_or_else(|| Error::internal("a composite without nodes"))?;
    let m = Match { region, composite, node: region.node(*last) };
    match composite.pattern {
        "shape_arithmetic" => Ok(Vec::new()),
        "split" => split(&m),
        _ => Ok(vec![layer(&m)?]),
    }
}

fn layer(m: &Match<'_>) -> Result<Layer> {
    let composite = m.composite;
    let output = composite.binding("y").or(m.node.outputs.first().copied().flatten());
    let output = output.ok_or_else(|| m.refuse("no output"))?;
    let pattern = PATTERNS.iter().find(|(name, ..)| *name == composite.pattern);
    let (_, names, lower) = pattern.ok_or_else(|| m.refuse("no such pattern"))?;
    let all = m.node.inputs.iter().copied().flatten().filter(|_| names.is_empty());
    let inputs = all.chain(names.iter().filter_map(|name| composite.binding(name))).collect();
    let what = lower(m)?;
    let layer = Layer { node: m.node.index, inputs, output, what, post: Vec::new() };
    Ok(with_scalar(m.region, &layer).unwrap_or(layer))
}

impl<'a> Match<'a> {
    fn refuse(&self, why: &str) -> Error {
        Error::unsupported(why).at_node(self.node.index)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attr_int(name).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.node.attr_float(name).unwrap_or(default)
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.node.attr_ints(name)?.to_vec())
    }

    fn bound(&self, name: &str) -> Option<&Value<'a>> {
        self.region.binding(self.composite, name)
    }

    fn rank(&self) -> Result<usize> {
        self.bound("x").and_then(Value::rank).ok_or_else(|| self.refuse("the rank is not known"))
    }

    /// Whole numbers from an attribute, or in later versions from a constant operand.
    fn attribute_or_operand(&self, attribute: &str, operand: &str) -> Option<Vec<i64>> {
        let given = self.bound(operand).and_then(|value| Some(value.constant_as::<i64>()?.to_vec()));
        given.or_else(|| self.ints(attribute))
    }

    fn window(&self, kernel: Vec<i64>) -> Result<Window> {
        let n = kernel.len();
        let pads = match self.node.attr_str("auto_pad") {
            Some("SAME_UPPER") => Pads::Same { behind: true },
            Some("SAME_LOWER") => Pads::Same { behind: false },
            Some("VALID") => Pads::Given(vec![0; n], vec![0; n]),
            _ => {
                let pads = self.ints("pads").filter(|pads| pads.len() == 2 * n).unwrap_or(vec![0; 2 * n]);
                Pads::Given(pads[..n].to_vec(), pads[n..].to_vec())
            }
        };
        let each = |name: &str| self.ints(name).filter(|values| values.len() == n).unwrap_or(vec![1; n]);
        Ok(Window { kernel, strides: each("strides"), dilations: each("dilations"), pads })
    }

    fn weights(&self) -> Result<Vec<i64>> {
        let shape =
            self.bound("w").and_then(Value::shape).ok_or_else(|| self.refuse("weights of no known shape"))?;
        Ok(shape.into_iter().map(|dim| dim as i64).collect())
    }
}

fn scalar(value: &Value<'_>) -> Option<f32> {
    match value.constant_as::<f32>()? {
        [one] => Some(*one),
        _ => None,
    }
}

fn function(algorithm: Algorithm, alpha: f32, beta: f32) -> Result<What> {
    Ok(What::Eltwise(Function { algorithm, alpha, beta }))
}

fn convolution(m: &Match<'_>) -> Result<What> {
    let window = m.window(m.weights()?[2..].to_vec())?;
    Ok(What::Convolution(window, m.int("group", 1)))
}

fn deconvolution(m: &Match<'_>) -> Result<What> {
    let kernel = m.weights()?[2..].to_vec();
    let more = m.ints("output_padding").unwrap_or(vec![0; kernel.len()]);
    let wanted = m.ints("output_shape").filter(|shape| shape.len() == kernel.len());
    Ok(What::Deconvolution(m.window(kernel)?, m.int("group", 1), more, wanted))
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
    Ok(What::Pooling(pooled(m), Some(m.window(kernel)?)))
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
    let bound = |name: &str, attribute: &str, default: f32| {
        m.bound(name).and_then(scalar).unwrap_or(m.float(attribute, default))
    };
    function(Algorithm::Clip, bound("low", "min", f32::MIN), bound("high", "max", f32::MAX))
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
    let what = What::Eltwise(Function { algorithm, alpha, beta });
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
    let axes = m.attribute_or_operand("axes", "axes").unwrap_or_default();
    if axes.is_empty() && m.int("noop_with_empty_axes", 0) != 0 {
        return Err(m.refuse("a reduction of nothing"));
    }
    Ok(What::Reduction(algorithm, axes, m.int("keepdims", 1) != 0))
}

fn resampling(m: &Match<'_>) -> Result<What> {
    let mode =
        (m.node.attr_str("mode").unwrap_or("nearest"), m.node.attr_str("coordinate_transformation_mode"));
    let rounding = m.node.attr_str("nearest_mode");
    let algorithm = match (mode, rounding) {
        (("nearest", None), _) => Algorithm::Nearest,
        (("nearest", Some("asymmetric")), Some("floor")) => Algorithm::Nearest,
        (("nearest", Some("half_pixel")), Some("round_prefer_floor")) => Algorithm::Nearest,
        (("linear", Some("half_pixel" | "pytorch_half_pixel")), _) => Algorithm::Bilinear,
        _ => return Err(m.refuse(&format!("Resize of mode {mode:?} {rounding:?}"))),
    };
    if m.int("antialias", 0) != 0
        || m.node.attr_str("keep_aspect_ratio_policy").is_some_and(|p| p != "stretch")
    {
        return Err(m.refuse("antialias, or a kept aspect ratio"));
    }
    if m.ints("axes").is_some() {
        return Err(m.refuse("Resize of chosen axes"));
    }
    let floats = |i: usize| m.region.input(m.node, i).and_then(|value| value.constant_as::<f32>());
    let scales = [1, 2].into_iter().filter_map(floats).find(|scales| Ok(scales.len()) == m.rank());
    let scales = scales.or_else(|| m.node.attr_floats("scales"));
    let sizes = m.region.input(m.node, 3).and_then(|value| value.constant_as::<i64>());
    match (scales, sizes) {
        (_, Some(sizes)) if !sizes.is_empty() => Ok(What::Resampling(algorithm, Size::Sizes(sizes.to_vec()))),
        (Some(scales), _) => Ok(What::Resampling(algorithm, Size::Scales(scales.to_vec()))),
        _ => Err(m.refuse("sizes that are known only when it runs")),
    }
}

fn view(m: &Match<'_>) -> Result<What> {
    let missing = || m.refuse("a shape that is known only when it runs");
    Ok(What::View(match m.node.op {
        "Reshape" => {
            let given = || Some(m.ints("shape")?.into_iter().map(Number::Known).collect());
            let target =
                m.bound("s").map_or_else(given, |target| numbers(m.region).swap_remove(target.index));
            View::Reshape(target.ok_or_else(missing)?, m.int("allowzero", 0) == 0)
        }
        "Flatten" => View::Flatten(m.int("axis", 1)),
        "Squeeze" => View::Squeeze(m.attribute_or_operand("axes", "s")),
        _ => View::Unsqueeze(m.attribute_or_operand("axes", "s").ok_or_else(missing)?),
    }))
}

fn split(m: &Match<'_>) -> Result<Vec<Layer>> {
    let (sizes, outputs) = (m.attribute_or_operand("split", "s").unwrap_or_default(), &m.node.outputs);
    if !sizes.is_empty() && sizes.len() != outputs.len() {
        return Err(m.refuse("other than one size for each part"));
    }
    let inputs: Vec<usize> = m.composite.binding("x").into_iter().collect();
    let part = |(which, output): (usize, &Option<usize>)| {
        let what = What::Part(m.int("axis", 0), sizes.clone(), which, outputs.len() as i64);
        Some(Layer { node: m.node.index, inputs: inputs.clone(), output: (*output)?, what, post: Vec::new() })
    };
    Ok(outputs.iter().enumerate().filter_map(part).collect())
}

/// Whole numbers by value, where they are constant or sizes of values of the region.
fn numbers(region: &Region<'_>) -> Vec<Option<Vec<Number>>> {
    let of =
        |value: &Value<'_>| Some(value.constant_as::<i64>()?.iter().copied().map(Number::Known).collect());
    let mut known: Vec<Option<Vec<Number>>> = region.values.iter().map(of).collect();
    for node in region.nodes.iter().filter(|node| is_number(region, node.outputs.first().copied().flatten()))
    {
        let made = made_of(region, node, &known).filter(|numbers| numbers.len() <= MOST_NUMBERS);
        node.outputs[0].into_iter().for_each(|value| known[value].clone_from(&made));
    }
    known
}

/// A target has few dimensions; nobody wants long lists.
const MOST_NUMBERS: usize = 64;

fn is_number(region: &Region<'_>, value: Option<usize>) -> bool {
    value.is_some_and(|value| region.value(value).dtype == Some(DType::I64))
}

fn made_of(region: &Region<'_>, node: &Node<'_>, known: &[Option<Vec<Number>>]) -> Option<Vec<Number>> {
    let input = |i: usize| known[node.inputs.get(i).copied().flatten()?].clone();
    match node.op {
        "Shape" if node.attr_int("start").unwrap_or(0) == 0 && node.attr_int("end").is_none() => {
            let of = region.input(node, 0)?;
            Some((0..of.rank()?).map(|axis| Number::Size(of.index, axis)).collect())
        }
        "Unsqueeze" => input(0).filter(|numbers| numbers.len() == 1),
        "Concat" => Some((0..node.inputs.len()).map(input).collect::<Option<Vec<_>>>()?.concat()),
        "Gather" => {
            let all = input(0)?;
            let place = |at: i64| usize::try_from(if at < 0 { at + all.len() as i64 } else { at }).ok();
            let chosen = region.input(node, 1)?.constant_as::<i64>()?;
            chosen.iter().map(|&at| all.get(place(at)?).copied()).collect()
        }
        _ => None,
    }
}

/// Nodes with whole numbers that are not known before it runs, or that somebody else than a Reshape wants.
pub fn loose_numbers(region: &Region<'_>) -> Vec<usize> {
    let known = numbers(region);
    let mut wanted: Vec<bool> = (0..region.values.len()).map(|value| region.is_output(value)).collect();
    let mut loose = Vec::new();
    for node in region.nodes.iter().rev() {
        let number = |value: &&usize| is_number(region, Some(**value));
        let mut made = node.outputs.iter().flatten().filter(number);
        let mut all = node.inputs.iter().chain(&node.outputs).flatten().filter(number);
        if made.any(|&value| wanted[value]) || all.any(|&value| known[value].is_none()) {
            loose.push(node.index);
            node.inputs.iter().flatten().for_each(|&value| wanted[value] = true);
        }
    }
    loose
}
