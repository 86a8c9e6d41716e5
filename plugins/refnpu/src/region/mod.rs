//! From the region that the host shows to a [`Network`]: one file a family of patterns of `table.toml`.
//!
//! Everything becomes int8 here: a uint8 tensor or zero point is shifted by 128, which changes no number that it
//! stands for. Dimension 0 is the batch: networks are of one image, and the driver repeats them.

mod activation;
mod concat;
mod constant;
mod conv;
mod elementwise;
mod matmul;
mod pool;
mod reshape;
mod resize;
mod sums;
mod window;

use byoc_plugin::{Composite, DType, Dim, Error, Node, Region, Result, Value};

use crate::layer::{Border, Layer, Lookup, Network, Op, Shape};
use crate::quant::Quant;

/// What a pattern of the table becomes.
type Import = fn(&mut Importer<'_, '_>, &Match<'_, '_>) -> Result<()>;

/// By the pattern's name in `table.toml`.
const IMPORTS: &[(&str, Import)] = &[
    ("conv", conv::conv),
    ("qlinear_conv", conv::conv),
    ("gemm", matmul::product),
    ("matmul", matmul::product),
    ("matmul_bias", matmul::product),
    ("qlinear_matmul", matmul::product),
    ("add", elementwise::qdq_add),
    ("qlinear_add", elementwise::qlinear_add),
    ("max_pool", pool::qdq_max),
    ("max_pool_int8", pool::plain_max),
    ("average_pool", pool::average),
    ("qlinear_average_pool", pool::average),
    ("concat_2", concat::qdq),
    ("concat_3", concat::qdq),
    ("concat_4", concat::qdq),
    ("qlinear_concat", concat::qlinear),
    ("resize", resize::qdq),
    ("resize_int8", resize::plain),
    ("reshape", reshape::qdq),
    ("reshape_int8", reshape::plain),
    ("lookup", elementwise::lookup),
    ("swish", elementwise::swish),
];

/// The patterns that there is code for.
pub fn patterns() -> impl Iterator<Item = &'static str> {
    IMPORTS.iter().map(|(name, _)| *name)
}

/// The network that computes a region.
pub fn import(region: &Region<'_>) -> Result<Network> {
    let mut importer =
        Importer { region, network: Network::default(), tensors: vec![None; region.values.len()] };
    for &input in &region.inputs {
        let border = importer.input(input)?;
        importer.network.inputs.push(border);
    }
    for composite in ordered(region) {
        importer.composite(composite)?;
    }
    for &output in &region.outputs {
        let tensor = importer.tensor(region.value(output))?;
        let border = border(region.value(output), tensor)?;
        importer.network.outputs.push(border);
    }
    Ok(importer.network)
}

/// What the composites of a region cannot be taken for, by their places in `Region::composites`.
pub fn refusals(region: &Region<'_>) -> Vec<(usize, Error)> {
    let mut refusals = Vec::new();
    for (index, composite) in region.composites.iter().enumerate() {
        // By itself: every tensor that it reads comes in from outside.
        let mut importer =
            Importer { region, network: Network::default(), tensors: vec![None; region.values.len()] };
        let inputs = composite.nodes.iter().flat_map(|&node| region.node(node).inputs.iter().flatten());
        let mut tried = Ok(());
        for &value in inputs {
            let outside =
                region.value(value).producer.is_none_or(|(node, _)| !composite.nodes.contains(&node));
            if outside && region.value(value).constant.is_none() && tried.is_ok() {
                tried = importer.input(value).map(|_| ());
            }
        }
        if let Err(error) = tried.and_then(|()| importer.composite(composite)) {
            refusals.push((index, error));
        }
    }
    refusals
}

/// The composites in an order in which each finds its inputs made: that of their last nodes.
fn ordered<'r, 'a>(region: &'r Region<'a>) -> Vec<&'r Composite<'a>> {
    let mut composites: Vec<_> = region.composites.iter().collect();
    composites.sort_by_key(|composite| composite.nodes.iter().max());
    composites
}

/// The network under construction.
struct Importer<'r, 'a> {
    region: &'r Region<'a>,
    network: Network,
    /// By value.
    tensors: Vec<Option<usize>>,
}

/// One composite.
struct Match<'r, 'a> {
    region: &'r Region<'a>,
    composite: &'r Composite<'a>,
    /// The node that makes the composite's result, and its name for layers.
    root: &'r Node<'a>,
}

impl<'r, 'a> Importer<'r, 'a> {
    fn input(&mut self, value: usize) -> Result<Border> {
        let value = self.region.value(value);
        let tensor = match self.tensors[value.index] {
            Some(tensor) => tensor,
            None => self.new_tensor(shape(value)?),
        };
        self.tensors[value.index] = Some(tensor);
        border(value, tensor)
    }

    fn composite(&mut self, composite: &'r Composite<'a>) -> Result<()> {
        let last = composite.nodes.iter().max().ok_or_else(|| Error::invalid("a composite without nodes"))?;
        let found = Match { region: self.region, composite, root: self.region.node(*last) };
        let (_, import) = IMPORTS
            .iter()
            .find(|(name, _)| *name == composite.pattern)
            .ok_or_else(|| Error::unsupported(format!("no code for pattern `{}`", composite.pattern)))?;
        import(self, &found).map_err(|error| if error.node.is_some() { error } else { error.at_node(*last) })
    }

    /// The tensor of a value that has been made.
    fn tensor(&self, value: &Value<'_>) -> Result<usize> {
        self.tensors[value.index]
            .ok_or_else(|| Error::unsupported(format!("`{}` is no int8 tensor here", value.name)))
    }

    fn new_tensor(&mut self, shape: Shape) -> usize {
        self.network.tensors.push(shape);
        self.network.tensors.len() - 1
    }

    fn layer(&mut self, found: &Match<'_, '_>, op: Op, inputs: Vec<usize>, output: usize) {
        self.network.layers.push(Layer { name: found.root.name.to_string(), op, inputs, output });
    }

    /// A layer that makes the composite's result.
    fn result(&mut self, found: &Match<'_, '_>, op: Op, inputs: Vec<usize>) -> Result<()> {
        let value = found.output()?;
        let output = self.new_tensor(shape(value)?);
        self.tensors[value.index] = Some(output);
        self.layer(found, op, inputs, output);
        Ok(())
    }

    /// The tensor with its numbers in another scale; itself where that is the same.
    fn requantised(&mut self, found: &Match<'_, '_>, tensor: usize, from: Quant, to: Quant) -> usize {
        if from == to {
            return tensor;
        }
        let output = self.new_tensor(self.network.tensors[tensor]);
        let tables = vec![Lookup::table(|q| to.quantise(from.dequantise(q)))];
        self.layer(found, Op::Lookup(Lookup { tables }), vec![tensor], output);
        output
    }
}

impl<'r, 'a> Match<'r, 'a> {
    /// The value bound to a name of the pattern.
    fn value(&self, name: &str) -> Option<&'r Value<'a>> {
        self.composite.binding(name).map(|value| self.region.value(value))
    }

    fn required(&self, name: &str) -> Result<&'r Value<'a>> {
        self.value(name).ok_or_else(|| Error::invalid(format!("the match binds no `{name}`")))
    }

    /// The first node of the composite that is one of these operators.
    fn node(&self, ops: &[&str]) -> Option<&'r Node<'a>> {
        self.composite.nodes.iter().map(|&node| self.region.node(node)).find(|node| ops.contains(&node.op))
    }

    fn required_node(&self, ops: &[&str]) -> Result<&'r Node<'a>> {
        self.node(ops).ok_or_else(|| Error::invalid(format!("the match has no {}", ops.join(" or "))))
    }

    fn output(&self) -> Result<&'r Value<'a>> {
        let output = self.root.outputs.first().copied().flatten();
        output.map(|value| self.region.value(value)).ok_or_else(|| Error::invalid("the match has no result"))
    }
}

fn border(value: &Value<'_>, tensor: usize) -> Result<Border> {
    Ok(Border { tensor, unsigned: is_unsigned(value)?, rank: value.rank().unwrap_or(0) })
}

fn is_unsigned(value: &Value<'_>) -> Result<bool> {
    match value.dtype {
        Some(DType::U8) => Ok(true),
        Some(DType::I8) => Ok(false),
        other => {
            let dtype = other.map_or("unknown type", DType::name);
            Err(Error::unsupported(format!("`{}` is {dtype}, not int8 or uint8", value.name)))
        }
    }
}

/// A value's shape without its batch: channels, then rows and columns where it has them.
fn shape(value: &Value<'_>) -> Result<Shape> {
    let refuse = |what: &str| Error::unsupported(format!("`{}` {what}", value.name));
    let dims = value.dims.as_ref().ok_or_else(|| refuse("has an unknown rank"))?;
    let known = |dim: &Dim| match dim {
        Dim::Known(size) if *size > 0 => Ok(*size),
        _ => Err(refuse("has a size beside the batch that is unknown or zero")),
    };
    let sizes: Vec<usize> = dims.iter().skip(1).map(known).collect::<Result<_>>()?;
    let (channels, height, width) = match *sizes {
        [channels] => (channels, 1, 1),
        [channels, width] => (channels, 1, width),
        [channels, height, width] => (channels, height, width),
        _ => return Err(refuse("has a rank other than 2, 3 and 4")),
    };
    let bytes = channels.checked_mul(height).and_then(|pixels| pixels.checked_mul(width));
    if bytes.is_none_or(|bytes| bytes > 1 << 28) {
        return Err(refuse("is too large for the device"));
    }
    Ok(Shape { channels, height, width })
}
