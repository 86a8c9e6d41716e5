//! What nodes on 8-bit images say of their codes and of their layout.

use byoc_graph::{DType, StaticDims};

use crate::fast::bytes::{Coding, bytes_first, bytes_last};
use crate::kernel::{Ctx, KernelError, NodeDesc};
use crate::outputs::Outputs;
use crate::view::TensorView;

/// A coding by 8-bit integers of this type.
pub(super) fn coding(dtype: DType, zero: i32, scale: f32) -> Option<Coding> {
    matches!(dtype, DType::U8 | DType::I8).then_some(Coding { signed: dtype == DType::I8, zero, scale })
}

/// The element type of output 0.
pub(super) fn output_dtype(node: &NodeDesc<'_>) -> Option<DType> {
    node.outputs.first()?.as_ref()?.ty?.dtype()
}

/// The coding whose scale and zero point are constants of one element.
pub(super) fn constant_coding(node: &NodeDesc<'_>, scale: usize, zero: usize) -> Option<Coding> {
    let zero = node.constant(zero).filter(|zero| zero.len() == 1)?;
    let value = *zero.to_i64s()?.first()?;
    coding(zero.dtype(), i32::try_from(value).ok()?, node.scalar_f32(scale)?)
}

/// The codings of some inputs and the output, as the attributes `scales` and `zeros` list them.
pub(super) fn listed(node: &NodeDesc<'_>, dtypes: &[DType]) -> Option<Vec<Coding>> {
    let (scales, zeros) = (node.floats("scales")?, node.ints("zeros")?);
    let one = |((&dtype, &scale), &zero): ((&DType, &f32), &i64)| coding(dtype, zero.try_into().ok()?, scale);
    let fits = scales.len() == dtypes.len() && zeros.len() == dtypes.len();
    fits.then(|| dtypes.iter().zip(scales).zip(zeros).map(one).collect())?
}

/// Whether images have their channels last.
pub(super) fn channels_last(node: &NodeDesc<'_>) -> bool {
    node.int("channels_last") == Some(1)
}

/// The dimensions of a batch of images.
#[derive(Clone, Copy)]
pub(super) struct ImageDims {
    pub count: usize,
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
    rank: usize,
    last: bool,
}

impl ImageDims {
    /// Two dimensions are pixels of a single image and their channels.
    pub fn read(dims: &[usize], last: bool) -> Result<ImageDims, KernelError> {
        let (count, channels, size) = match *dims {
            [pixels, c] => (1, c, [1, pixels]),
            [n, w, c] if last => (n, c, [1, w]),
            [n, c, w] => (n, c, [1, w]),
            [n, h, w, c] if last => (n, c, [h, w]),
            [n, c, h, w] => (n, c, [h, w]),
            _ => return Err(KernelError::invalid(format!("an image of dimensions {dims:?}"))),
        };
        Ok(ImageDims { count, channels, size, rank: dims.len(), last: last || dims.len() == 2 })
    }

    /// The same layout with other channels and another size.
    pub fn with(self, channels: usize, size: [usize; 2]) -> ImageDims {
        ImageDims { channels, size, ..self }
    }

    /// The same images with their channels at the other end.
    pub fn turned(self) -> ImageDims {
        ImageDims { last: !self.last, ..self }
    }

    pub fn dims(&self) -> StaticDims {
        let ImageDims { count: n, channels: c, size: [h, w], .. } = *self;
        match (self.rank, self.last) {
            (2, _) => StaticDims::from_slice(&[w, c]),
            (3, true) => StaticDims::from_slice(&[n, w, c]),
            (3, false) => StaticDims::from_slice(&[n, c, w]),
            (_, true) => StaticDims::from_slice(&[n, h, w, c]),
            (_, false) => StaticDims::from_slice(&[n, c, h, w]),
        }
    }

    /// Channels and pixels of one image.
    pub fn planes(&self) -> [usize; 2] {
        [self.channels, self.size[0] * self.size[1]]
    }

    fn bytes(&self) -> usize {
        self.dims().iter().product()
    }
}

/// Makes output 0 by `compute`, which takes and gives images with their channels last.
pub(super) fn compute_last(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    (from, to, dtype): (ImageDims, ImageDims, DType),
    outputs: &mut Outputs<'_>,
    compute: impl FnOnce(&[u8], &mut [u8]),
) -> Result<(), KernelError> {
    if from.last {
        compute(x.bytes(), outputs.bytes(0, dtype, &to.dims())?);
        return Ok(());
    }
    let (mut turned, mut made) = (outputs.scratch(from.bytes())?, outputs.scratch(to.bytes())?);
    let turned_bytes = &mut turned.bytes_mut()[..from.bytes()];
    bytes_last(ctx.exec, x.bytes(), from.planes(), turned_bytes);
    let made_bytes = &mut made.bytes_mut()[..to.bytes()];
    compute(turned_bytes, made_bytes);
    bytes_first(ctx.exec, made_bytes, to.planes(), outputs.bytes(0, dtype, &to.dims())?);
    outputs.recycle(turned);
    outputs.recycle(made);
    Ok(())
}
