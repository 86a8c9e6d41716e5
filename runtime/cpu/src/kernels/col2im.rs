//! Col2Im of images of two axes: the columns of one channel are added up by one thread.

use byoc_graph::DType;

use super::windows::{Windows, pair, seen};
use crate::kernel::{Ctx, Kernel, KernelError, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "columns",
    domain: "",
    ops: &["Col2Im"],
    since: 18,
    dtypes: &[DType::F32],
    priority: 10,
    prepare: |node| {
        let ints = |i: usize| node.constant(i)?.to_i64s();
        let (image, block) = (ints(1)?, ints(2)?);
        let both = (image.len(), block.len()) == (2, 2);
        let kernel = both.then(|| pair(Some(&block), 2))??;
        let size = pair(Some(&image), 2)?;
        Some(Box::new(Columns { windows: Windows::read(node, 4)?, kernel, size }))
    },
}];

struct Columns {
    windows: Windows,
    kernel: [usize; 2],
    size: [usize; 2],
}

impl Kernel for Columns {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (kernel, [height, width]) = (self.kernel, self.size);
        let wrong = || KernelError::invalid(format!("columns {:?} of {kernel:?} in {:?}", x.dims, self.size));
        let window = self.windows.window(kernel, self.size.map(Some)).ok_or_else(wrong)?;
        let [rows, columns] = window.output(self.size).ok_or_else(wrong)?;
        let (&[batch, depth, places], Some(taps)) = (x.dims, kernel[0].checked_mul(kernel[1])) else {
            return Err(wrong());
        };
        if !depth.is_multiple_of(taps) || Some(places) != rows.checked_mul(columns) {
            return Err(wrong());
        }
        let (source, isa) = (x.slice::<f32>()?, ctx.exec.isa);
        let out = outputs.tensor::<f32>(0, &[batch, depth / taps, height, width])?;
        ctx.exec.pool.parallel_chunks(out, height * width, &|plane, out| {
            out.fill(0.0);
            let source = &source[plane * taps * places..][..taps * places];
            for (tap, source) in source.chunks_exact(places.max(1)).enumerate() {
                let at = [tap / kernel[1] * window.dilations[0], tap % kernel[1] * window.dilations[1]];
                let [ys, xs] = [(0, rows, height), (1, columns, width)].map(|(axis, count, size)| {
                    seen(at[axis], window.pads[axis], window.strides[axis], size, count)
                });
                if xs.is_empty() {
                    continue;
                }
                let first = xs.start * window.strides[1] + at[1] - window.pads[1];
                for y in ys {
                    let line = y * window.strides[0] + at[0] - window.pads[0];
                    let to = &mut out[line * width..][..width][first..];
                    let from = &source[y * columns..][xs.clone()];
                    loops::vectorised(
                        isa,
                        #[inline(always)]
                        || match window.strides[1] {
                            1 => to.iter_mut().zip(from).for_each(|(to, x)| *to += x),
                            step => to.iter_mut().step_by(step).zip(from).for_each(|(to, x)| *to += x),
                        },
                    );
                }
            }
        });
        Ok(())
    }
}
