//! Transposed convolutions in f32, one- and two-dimensional, with constant weights.

use byoc_graph::{DType, StaticDims};

use crate::fast::conv::{Channels, ConvEpilogue, Images, PackedConvTranspose, Window, conv_transpose};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::windows::{Windows, pair};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "transposed conv",
    domain: "",
    ops: &["ConvTranspose"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct ConvTranspose {
    packed: PackedConvTranspose,
    channels: Channels,
    window: Window,
    /// Further rows and columns of the output behind its end.
    extra: [usize; 2],
    spatial: usize,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    // Where the output's size is given, the pads follow from it: left to the reference.
    if node.ints("output_shape").is_some() || !matches!(node.str("auto_pad"), None | Some("NOTSET" | "VALID"))
    {
        return None;
    }
    let weights = node.constant(1)?;
    let windows = Windows::read(node, weights.rank())?;
    let (input, outputs, kernel) = match *weights.dims() {
        [i, o, w] => (i, o, [1, w]),
        [i, o, h, w] => (i, o, [h, w]),
        _ => return None,
    };
    let groups = usize::try_from(node.int("group").unwrap_or(1)).ok().filter(|&g| g > 0)?;
    if weights.is_empty() || !input.is_multiple_of(groups) {
        return None;
    }
    let channels = Channels { input, output: outputs.checked_mul(groups)?, groups };
    let window = windows.window(kernel, [None, None])?;
    let extra = match node.ints("output_padding") {
        Some(extra) if extra.iter().any(|&e| e != 0) => pair(Some(extra), windows.spatial)?,
        _ => [0, 0],
    };
    // A one-dimensional image has one row, whatever is added to its columns.
    let extra = if windows.spatial == 1 { [0, extra[1]] } else { extra };
    let packed = PackedConvTranspose::pack(node.isa, channels, window, &weights.as_slice::<f32>().ok()?);
    Some(Box::new(ConvTranspose { packed, channels, window, extra, spatial: windows.spatial }))
}

impl ConvTranspose {
    /// Height and width of the output.
    fn size(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let Window { kernel, strides, dilations, pads } = self.window;
        let along = |axis: usize| {
            let extent = (kernel[axis] - 1).checked_mul(dilations[axis])?.checked_add(1)?;
            let moved = input[axis].checked_sub(1)?.checked_mul(strides[axis])?;
            let whole = moved.checked_add(extent)?.checked_add(self.extra[axis])?;
            whole.checked_sub(pads[axis])?.checked_sub(pads[axis + 2]).filter(|&n| n > 0)
        };
        Some([along(0)?, along(1)?])
    }
}

impl Kernel for ConvTranspose {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (count, input, size) = match *x.dims {
            [n, c, w] if self.spatial == 1 => (n, c, [1, w]),
            [n, c, h, w] if self.spatial == 2 => (n, c, [h, w]),
            _ => return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims))),
        };
        if input != self.channels.input {
            let message = format!("an image of {input} channels for weights of {}", self.channels.input);
            return Err(KernelError::invalid(message));
        }
        let to = self.size(size).ok_or_else(|| {
            KernelError::invalid(format!("the window {:?} leaves nothing of {size:?}", self.window))
        })?;
        let dims = match self.spatial {
            1 => StaticDims::from_slice(&[count, self.channels.output, to[1]]),
            _ => StaticDims::from_slice(&[count, self.channels.output, to[0], to[1]]),
        };
        let bias = optional(inputs, 2)?.map(|b| b.slice::<f32>()).transpose()?;
        if bias.is_some_and(|b| b.len() != self.channels.output) {
            return Err(KernelError::invalid("the bias does not have one element for each output channel"));
        }
        let images = Images { data: x.slice()?, count, size };
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            let epilogue = ConvEpilogue { bias, ..ConvEpilogue::default() };
            conv_transpose(ctx.exec, images, &self.packed, out, to, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}
