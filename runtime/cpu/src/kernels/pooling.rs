//! Pooling in f32 over one or two spatial axes.

use byoc_graph::{DType, StaticDims};

use crate::fast::blocked::{self, BLOCK, Blocked};
use crate::fast::conv::{Images, Window};
use crate::fast::fold::Fold;
use crate::fast::pooling::{Pooling, pool};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::kernels::windows::{Windows, pair};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "pooling",
        domain: "",
        ops: &["MaxPool", "AveragePool"],
        since: 1,
        dtypes: &[DType::F32],
        priority: 10,
        prepare,
    },
    Entry {
        name: "global pooling",
        domain: "",
        ops: &["GlobalAveragePool", "GlobalMaxPool"],
        since: 1,
        dtypes: &[DType::F32],
        priority: 10,
        prepare: |node| Some(Box::new(Global { max: node.op() == "GlobalMaxPool" })),
    },
    Entry {
        name: "blocked pooling",
        domain: "host",
        ops: &["BlockedMaxPool", "BlockedAveragePool"],
        since: 1,
        dtypes: &[DType::F32],
        priority: 10,
        prepare,
    },
];

struct Pool {
    windows: Windows,
    kernel: [usize; 2],
    /// Images come in blocks of channels.
    blocked: bool,
    max: bool,
    count_padding: bool,
    ceil: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    // The indices of the largest elements, and column-major ones, are the reference's.
    if node.outputs.iter().skip(1).any(Option::is_some) || node.int("storage_order").unwrap_or(0) != 0 {
        return None;
    }
    let windows = Windows::read(node, node.ints("kernel_shape")?.len() + 2)?;
    let kernel = pair(node.ints("kernel_shape"), windows.spatial)?;
    Some(Box::new(Pool {
        kernel,
        blocked: node.domain() == "host",
        max: node.op().ends_with("MaxPool"),
        count_padding: node.int("count_include_pad").unwrap_or(0) != 0,
        ceil: node.int("ceil_mode").unwrap_or(0) != 0,
        windows,
    }))
}

impl Pool {
    /// Enlarges the padding behind the image, so that windows which begin in it are not cut off.
    fn round_up(window: &mut Window, size: [usize; 2]) -> Option<()> {
        for (axis, &len) in size.iter().enumerate() {
            let extent = (window.kernel[axis] - 1).checked_mul(window.dilations[axis])?.checked_add(1)?;
            let padded = len.checked_add(window.pads[axis])?.checked_add(window.pads[axis + 2])?;
            let stride = window.strides[axis];
            let mut count = padded.checked_sub(extent)?.div_ceil(stride) + 1;
            // A window has to begin in the image or in the padding before it.
            if (count - 1) * stride >= len + window.pads[axis] {
                count -= 1;
            }
            let needed = (count - 1) * stride + extent;
            window.pads[axis + 2] += needed.saturating_sub(padded);
        }
        Some(())
    }
}

impl Kernel for Pool {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (count, channels, size) = match *x.dims {
            [n, c, w] if self.windows.spatial == 1 => (n, c, [1, w]),
            [n, c, h, w] if self.windows.spatial == 2 && !self.blocked => (n, c, [h, w]),
            [n, b, h, w, BLOCK] if self.blocked => (n, b, [h, w]),
            _ => return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims))),
        };
        let wrong = || KernelError::invalid(format!("the window {:?} does not fit {size:?}", self.kernel));
        let mut window = self.windows.window(self.kernel, size.map(Some)).ok_or_else(wrong)?;
        let counted = if self.count_padding { window.pads } else { [0; 4] };
        if self.ceil {
            Pool::round_up(&mut window, size).ok_or_else(wrong)?;
        }
        let [height, width] = window.output(size).ok_or_else(wrong)?;
        let dims = match self.windows.spatial {
            1 => StaticDims::from_slice(&[count, channels, width]),
            _ if self.blocked => StaticDims::from_slice(&[count, channels, height, width, BLOCK]),
            _ => StaticDims::from_slice(&[count, channels, height, width]),
        };
        let pooling = if self.max { Pooling::Max } else { Pooling::Average { counted } };
        let data = x.slice()?;
        let out = outputs.tensor::<f32>(0, &dims)?;
        match self.blocked {
            _ if out.is_empty() => {}
            true => {
                let images = Blocked { data, count, channels: channels * BLOCK, size };
                blocked::pool(ctx.exec, pooling, images, window, out);
            }
            false => pool(ctx.exec, pooling, Images { data, count, size }, channels, window, out),
        }
        Ok(())
    }
}

/// The mean of each plane, or its largest element.
struct Global {
    max: bool,
}

impl Kernel for Global {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let [count, channels, ref spatial @ ..] = *x.dims else {
            return Err(KernelError::invalid(format!("an image of dimensions {:?}", x.dims)));
        };
        let plane: usize = spatial.iter().product();
        if self.max && plane == 0 {
            return Err(KernelError::invalid(format!("planes of shape {spatial:?} are empty")));
        }
        let mut dims = StaticDims::from_elem(1, x.rank());
        dims[..2].copy_from_slice(&[count, channels]);
        let source = x.slice::<f32>()?;
        let out = outputs.tensor::<f32>(0, &dims)?;
        let isa = ctx.exec.isa;
        let rows = (loops::GRAIN / plane.max(1)).max(1);
        ctx.exec.pool.parallel_chunks(out, rows, &|piece, out| {
            for (i, out) in out.iter_mut().enumerate() {
                let row = &source[(piece * rows + i) * plane..][..plane];
                *out = match self.max {
                    true => Fold::Max.row(isa, row),
                    false => Fold::Sum.row(isa, row) / plane as f32,
                };
            }
        });
        Ok(())
    }
}
