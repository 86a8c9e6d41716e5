//! Convolutions in f32, one- and two-dimensional, with what was fused into them.

use byoc_graph::{DType, StaticDims};

use crate::fast::conv::{Channels, ConvEpilogue, Images, PackedBySize, PackedConv, Window, conv};
use crate::fast::{Activation, Isa};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::epilogue;
use crate::kernels::windows::{Windows, input_size};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(domain: &'static str, ops: &'static [&'static str]) -> Entry {
    Entry { name: "conv", domain, ops, since: 1, dtypes: &[DType::F32], priority: 10, prepare }
}

/// Inputs: x, w, bias, and for fused ones an addend of the output's shape.
pub(super) const ENTRIES: &[Entry] =
    &[entry("", &["Conv"]), entry("com.microsoft", &["FusedConv"]), entry("host", &["Conv"])];

struct Conv {
    window: Windows,
    groups: usize,
    activation: Activation,
    packed: Packed,
    isa: Isa,
}

/// What is done about weights before the first run.
enum Packed {
    /// They are inputs.
    No,
    /// They are constants, and the images' size is known.
    Once(PackedConv),
    /// They are constants.
    BySize(Channels, Window, Box<PackedBySize>),
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let windows = Windows::read(node, node.rank(1).or(node.rank(0))?)?;
    let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&g| g > 0)?;
    let mut kernel = Conv {
        window: windows,
        groups,
        activation: epilogue::activation(node)?,
        packed: Packed::No,
        isa: node.isa,
    };
    if let Some(weights) = node.constant(1) {
        let input = input_size(node, kernel.window.spatial);
        if let Some((channels, window)) = kernel.shape(weights.dims(), input) {
            let data = weights.as_slice::<f32>().ok()?;
            kernel.packed = match input {
                [Some(height), Some(width)] => {
                    let size = [height, width];
                    Packed::Once(PackedConv::pack_for(node.isa, channels, window, &data, size))
                }
                _ => Packed::BySize(channels, window, Box::default()),
            };
        }
    }
    Some(Box::new(kernel))
}

impl Conv {
    /// Channels and window for weights of these dimensions; `None` where they make no sense.
    fn shape(&self, weights: &[usize], input: [Option<usize>; 2]) -> Option<(Channels, Window)> {
        let (output, inputs, kernel) = match *weights {
            [o, i, w] if self.window.spatial == 1 => (o, i, [1, w]),
            [o, i, h, w] if self.window.spatial == 2 => (o, i, [h, w]),
            _ => return None,
        };
        let channels = Channels { input: inputs.checked_mul(self.groups)?, output, groups: self.groups };
        let sound = output > 0 && inputs > 0 && kernel[0] > 0 && kernel[1] > 0;
        (sound && output.is_multiple_of(self.groups))
            .then(|| Some((channels, self.window.window(kernel, input)?)))?
    }
}

impl Kernel for Conv {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (count, input, size) = match *x.dims {
            [n, c, w] if self.window.spatial == 1 => (n, c, [1, w]),
            [n, c, h, w] if self.window.spatial == 2 => (n, c, [h, w]),
            _ => return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims))),
        };
        let packed_here;
        let packed = match &self.packed {
            Packed::Once(packed) => packed,
            Packed::BySize(channels, window, packed) => {
                packed.get(self.isa, *channels, *window, tensor(inputs, 1)?.slice()?, size)
            }
            Packed::No => {
                let w = tensor(inputs, 1)?;
                let shape = self.shape(w.dims, size.map(Some));
                let (channels, window) = shape
                    .ok_or_else(|| KernelError::invalid(format!("weights of dimensions {:?}", w.dims)))?;
                packed_here = PackedConv::pack(self.isa, channels, window, w.slice()?);
                &packed_here
            }
        };
        let (channels, window) = (packed.channels(), packed.window());
        if self.window.window(window.kernel, size.map(Some)) != Some(window) || !packed.takes(size) {
            return Err(KernelError::invalid("the input is not of the size that the model declares"));
        }
        if channels.input != input {
            return Err(KernelError::invalid(format!(
                "the image has {input} channels, but the weights are for {}",
                channels.input
            )));
        }
        let out_size = window.output(size).ok_or_else(|| {
            KernelError::invalid(format!("the window {window:?} does not fit an image of {size:?}"))
        })?;
        let dims = match self.window.spatial {
            1 => StaticDims::from_slice(&[count, channels.output, out_size[1]]),
            _ => StaticDims::from_slice(&[count, channels.output, out_size[0], out_size[1]]),
        };
        let bias = optional(inputs, 2)?.map(|b| b.slice::<f32>()).transpose()?;
        if bias.is_some_and(|b| b.len() != channels.output) {
            return Err(KernelError::invalid("the bias does not have one element for each output channel"));
        }
        let addend = optional(inputs, 3)?;
        if addend.is_some_and(|z| z.dims != &dims[..]) {
            return Err(KernelError::invalid("the addend does not have the output's shape"));
        }
        let addend = addend.map(|z| z.slice::<f32>()).transpose()?;
        let images = Images { data: x.slice()?, count, size };
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            let epilogue = ConvEpilogue { bias, addend, activation: self.activation };
            conv(ctx.exec, images, packed, out, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1 && matches!(self.packed, Packed::Once(_))
    }
}
