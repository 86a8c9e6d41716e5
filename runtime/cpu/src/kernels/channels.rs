//! Images put together from channels of others: `host.PickChannels`, and `host.BlockedPickChannels` in blocks.
//!
//! The attribute `channels` says how many each input has; `from` gives for each channel of the output its place among
//! those of all inputs.

use byoc_graph::{DType, StaticDims};
use smallvec::SmallVec;

use crate::fast::blocked::{BLOCK, Source, blocks, pick};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::blocked::images;
use crate::outputs::Outputs;
use crate::pool::SharedSlice;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(ops: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "channels", domain: "host", ops, since: 1, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["PickChannels"], |node| Some(Box::new(Planes(Choice::read(node)?)))),
    entry(&["BlockedPickChannels"], |node| Some(Box::new(InBlocks(Choice::read(node)?)))),
];

/// Elements of one piece of work.
const PIECE: usize = 8192;

struct Choice {
    /// How many each input has.
    channels: Vec<usize>,
    from: Vec<Source>,
}

impl Choice {
    fn read(node: &NodeDesc<'_>) -> Option<Choice> {
        let sizes = |name: &str| -> Option<Vec<usize>> {
            node.ints(name)?.iter().map(|&n| usize::try_from(n).ok()).collect()
        };
        let channels = sizes("channels")?;
        let source = |mut channel: usize| {
            for (image, &count) in channels.iter().enumerate() {
                if channel < count {
                    return Some(Source { image, channel });
                }
                channel -= count;
            }
            None
        };
        let from = sizes("from")?.into_iter().map(source).collect::<Option<_>>()?;
        Some(Choice { channels, from })
    }

    /// All inputs as `read` sees them, whose count and size must be the same.
    fn inputs<'a, T>(
        &self,
        inputs: &[Option<View<'a>>],
        read: impl Fn(TensorView<'a>, usize) -> Result<(T, [usize; 3]), KernelError>,
    ) -> Result<(SmallVec<[T; 4]>, [usize; 3]), KernelError> {
        let (mut images, mut common) = (SmallVec::new(), None);
        for (i, &channels) in self.channels.iter().enumerate() {
            let (image, size) = read(tensor(inputs, i)?, channels)?;
            if *common.get_or_insert(size) != size {
                return Err(KernelError::invalid("the images differ in size"));
            }
            images.push(image);
        }
        Ok((images, common.ok_or_else(|| KernelError::invalid("there is no image"))?))
    }
}

/// Channels first.
struct Planes(Choice);

impl Kernel for Planes {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let Choice { channels, from } = &self.0;
        let (images, [count, height, width]) = self.0.inputs(inputs, |x, channels| match *x.dims {
            [count, c, height, width] if c == channels => Ok((x.slice::<f32>()?, [count, height, width])),
            _ => Err(KernelError::invalid(format!("{:?} is no image of {channels} channels", x.dims))),
        })?;
        let plane = height * width;
        let dims = StaticDims::from_slice(&[count, from.len(), height, width]);
        let out = outputs.tensor::<f32>(0, &dims)?;
        if out.is_empty() {
            return Ok(());
        }
        let (at_a_time, planes, out) = ((PIECE / plane).max(1), count * from.len(), SharedSlice::new(out));
        ctx.exec.pool.parallel_for(planes.div_ceil(at_a_time), &|piece| {
            for to in piece * at_a_time..planes.min((piece + 1) * at_a_time) {
                let (image, Source { image: input, channel }) = (to / from.len(), from[to % from.len()]);
                let start = (image * channels[input] + channel) * plane;
                // SAFETY: each plane belongs to one piece.
                let out = unsafe { out.range(to * plane..(to + 1) * plane) };
                out.copy_from_slice(&images[input][start..start + plane]);
            }
        });
        Ok(())
    }
}

struct InBlocks(Choice);

impl Kernel for InBlocks {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (images, [count, height, width]) = self.0.inputs(inputs, |x, channels| {
            let image = images(x, channels)?;
            Ok((image, [image.count, image.size[0], image.size[1]]))
        })?;
        let dims = StaticDims::from_slice(&[count, blocks(self.0.from.len()), height, width, BLOCK]);
        pick(ctx.exec, &images, &self.0.from, outputs.tensor::<f32>(0, &dims)?);
        Ok(())
    }
}
