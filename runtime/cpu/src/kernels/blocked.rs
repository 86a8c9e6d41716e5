//! Images in blocks of channels: (images, blocks, height, width, 16). The attribute `channels` says how many there are.

use byoc_graph::{DType, StaticDims};

use crate::fast::Activation;
use crate::fast::blocked::{
    BLOCK, Blocked, BlockedConv, BlockedConvTranspose, ExpandDepthwise, blocks, conv, conv_halved, conv_thin,
    conv_thin_halved, conv_transpose, expand_depthwise, from_blocked, mean, to_blocked,
};
use crate::fast::conv::{Channels, ConvEpilogue, Images, Window};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::epilogue;
use crate::kernels::windows::{Windows, input_size};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

type Prepare = fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>;

const fn entry(ops: &'static [&'static str], prepare: Prepare) -> Entry {
    Entry { name: "blocked", domain: "host", ops, since: 1, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["BlockedConv"], |node| Some(Box::new(Conv::new(node)?))),
    entry(&["BlockedExpandDepthwise"], |node| Some(Box::new(Expand::new(node)?))),
    entry(&["BlockedConvTranspose"], |node| Some(Box::new(ConvTranspose::new(node)?))),
    entry(&["BlockedGlobalAveragePool"], |_| Some(Box::new(Mean))),
    entry(&["ToBlocked"], |_| Some(Box::new(To))),
    entry(&["FromBlocked"], |node| Some(Box::new(From { channels: channels(node)? }))),
];

fn channels(node: &NodeDesc<'_>) -> Option<usize> {
    usize::try_from(node.int("channels")?).ok()
}

/// Blocked images of so many channels.
pub(super) fn images<'a>(x: TensorView<'a>, channels: usize) -> Result<Blocked<'a>, KernelError> {
    match *x.dims {
        [count, b, height, width, BLOCK] if b == blocks(channels) => {
            Ok(Blocked { data: x.slice()?, count, channels, size: [height, width] })
        }
        _ => Err(KernelError::invalid(format!("{:?} are not blocked images of {channels} channels", x.dims))),
    }
}

fn dims(count: usize, channels: usize, [height, width]: [usize; 2]) -> StaticDims {
    StaticDims::from_slice(&[count, blocks(channels), height, width, BLOCK])
}

/// The bias at input 2, of a known size.
fn bias<'a>(inputs: &[Option<View<'a>>], channels: usize) -> Result<Option<&'a [f32]>, KernelError> {
    bias_at(inputs, 2, channels)
}

fn bias_at<'a>(
    inputs: &[Option<View<'a>>],
    input: usize,
    channels: usize,
) -> Result<Option<&'a [f32]>, KernelError> {
    let bias = optional(inputs, input)?.map(|b| b.slice::<f32>()).transpose()?;
    match bias {
        Some(bias) if bias.len() != channels => {
            Err(KernelError::invalid("the bias does not have one element for each output channel"))
        }
        bias => Ok(bias),
    }
}

fn misfit(window: Window, size: [usize; 2]) -> KernelError {
    KernelError::invalid(format!("the window {window:?} does not fit an image of {size:?}"))
}

/// Inputs: x, constant weights, bias, and an addend of the output's shape. Images of few channels are not blocked.
struct Conv {
    packed: BlockedConv,
    activation: Activation,
    /// Whether of each 2 × 2 pixels the largest is wanted.
    halved: bool,
}

impl Conv {
    fn new(node: &NodeDesc<'_>) -> Option<Conv> {
        let weights = node.constant(1)?;
        let &[output, inputs, height, width] = weights.dims() else { return None };
        let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&g| g > 0)?;
        let channels = Channels { input: inputs.checked_mul(groups)?, output, groups };
        let [Some(rows), Some(cols)] = input_size(node, 2) else { return None };
        let window = Windows::read(node, 4)?.window([height, width], [Some(rows), Some(cols)])?;
        let data = weights.as_slice::<f32>().ok()?;
        let packed = match node.rank(0)? {
            4 => BlockedConv::pack_thin(node.isa, channels, window, &data),
            _ => BlockedConv::pack(node.isa, channels, window, &data, [rows, cols]),
        };
        let (activation, halved) = (epilogue::activation(node)?, node.int("halved") == Some(1));
        let possible = !halved || activation.is_increasing() && node.inputs.len() < 4;
        possible.then_some(Conv { packed, activation, halved })
    }
}

impl Kernel for Conv {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (channels, window) = (self.packed.channels(), self.packed.window());
        let x = tensor(inputs, 0)?;
        let (count, in_size) = match *x.dims {
            [count, c, height, width] if self.packed.is_thin() && c == channels.input => {
                (count, [height, width])
            }
            _ => {
                let images = images(x, channels.input)?;
                (images.count, images.size)
            }
        };
        let size = window.output(in_size).ok_or_else(|| misfit(window, in_size))?;
        let dims = dims(count, channels.output, if self.halved { size.map(|len| len / 2) } else { size });
        let addend = optional(inputs, 3)?;
        if addend.is_some_and(|z| z.dims != &dims[..]) {
            return Err(KernelError::invalid("the addend does not have the output's shape"));
        }
        let addend = addend.map(|z| z.slice::<f32>()).transpose()?;
        let epilogue =
            ConvEpilogue { bias: bias(inputs, channels.output)?, addend, activation: self.activation };
        let (data, out) = (x.slice()?, outputs.tensor::<f32>(0, &dims)?);
        if self.packed.is_thin() {
            let run = if self.halved { conv_thin_halved } else { conv_thin };
            run(ctx.exec, Images { data, count, size: in_size }, &self.packed, out, &epilogue);
        } else {
            let images = Blocked { data, count, channels: channels.input, size: in_size };
            let run = if self.halved { conv_halved } else { conv };
            run(ctx.exec, images, &self.packed, out, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}

/// Inputs: x, constant weights and bias of the convolution of single pixels, constant weights and bias of the depthwise
/// one. The attributes are those of the latter; of the former there are `expand_activation` and its parameters.
struct Expand {
    packed: ExpandDepthwise,
    activation: Activation,
}

impl Expand {
    fn new(node: &NodeDesc<'_>) -> Option<Expand> {
        let (expand, depthwise) = (node.constant(1)?, node.constant(3)?);
        let (&[expanded, input, 1, 1], &[outputs, 1, height, width]) = (expand.dims(), depthwise.dims())
        else {
            return None;
        };
        let bias = node.constant(2).map(|bias| bias.as_slice::<f32>()).transpose().ok()?;
        if outputs != expanded || bias.is_some() != node.has_input(2) {
            return None;
        }
        if bias.as_ref().is_some_and(|bias| bias.len() != expanded) {
            return None;
        }
        let window = Windows::read(node, 4)?.window([height, width], input_size(node, 2))?;
        let between = epilogue::activation_of(node, "expand_activation")?;
        let (weights, taps) = (expand.as_slice::<f32>().ok()?, depthwise.as_slice::<f32>().ok()?);
        let first = (&*weights, bias.as_deref(), between);
        let packed = ExpandDepthwise::pack(node.isa, [input, expanded], first, window, &taps)?;
        Some(Expand { packed, activation: epilogue::activation(node)? })
    }
}

impl Kernel for Expand {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (expanded, window) = (self.packed.expanded(), self.packed.window());
        let x = images(tensor(inputs, 0)?, self.packed.input())?;
        let size = window.output(x.size).ok_or_else(|| misfit(window, x.size))?;
        let bias = bias_at(inputs, 4, expanded)?;
        let epilogue = ConvEpilogue { bias, addend: None, activation: self.activation };
        let out = outputs.tensor::<f32>(0, &dims(x.count, expanded, size))?;
        expand_depthwise(ctx.exec, x, &self.packed, out, &epilogue);
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        (1..=3).contains(&input)
    }
}

/// Inputs: x, constant weights, bias. The strides are the kernel's size.
struct ConvTranspose {
    packed: BlockedConvTranspose,
}

impl ConvTranspose {
    fn new(node: &NodeDesc<'_>) -> Option<ConvTranspose> {
        let weights = node.constant(1)?;
        let &[input, output, height, width] = weights.dims() else { return None };
        let channels = Channels { input, output, groups: 1 };
        let data = weights.as_slice::<f32>().ok()?;
        Some(ConvTranspose { packed: BlockedConvTranspose::pack(node.isa, channels, [height, width], &data) })
    }
}

impl Kernel for ConvTranspose {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let channels = self.packed.channels();
        let x = images(tensor(inputs, 0)?, channels.input)?;
        let size =
            self.packed.output(x.size).ok_or_else(|| KernelError::invalid("the output is too large"))?;
        let dims = dims(x.count, channels.output, size);
        let bias = bias(inputs, channels.output)?;
        conv_transpose(ctx.exec, x, &self.packed, outputs.tensor::<f32>(0, &dims)?, bias);
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}

/// The mean of each channel.
struct Mean;

impl Kernel for Mean {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let x = images(x, x.dims.get(1).copied().unwrap_or(0).saturating_mul(BLOCK))?;
        let dims = dims(x.count, x.channels, [1, 1]);
        mean(ctx.exec, x, outputs.tensor::<f32>(0, &dims)?);
        Ok(())
    }
}

struct To;

impl Kernel for To {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let &[count, channels, height, width] = x.dims else {
            return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims)));
        };
        let out = outputs.tensor::<f32>(0, &dims(count, channels, [height, width]))?;
        to_blocked(ctx.exec, x.slice()?, [count, channels, height * width], out);
        Ok(())
    }
}

struct From {
    channels: usize,
}

impl Kernel for From {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = images(tensor(inputs, 0)?, self.channels)?;
        let [height, width] = x.size;
        let out = outputs.tensor::<f32>(0, &[x.count, self.channels, height, width])?;
        from_blocked(ctx.exec, x.data, [x.count, self.channels, height * width], out);
        Ok(())
    }
}
