//! CumSum in f32.

use byoc_graph::DType;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "cumulation",
    domain: "",
    ops: &["CumSum"],
    since: 11,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct CumSum {
    /// An element is not in its own sum.
    exclusive: bool,
    reverse: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
    Some(Box::new(CumSum { exclusive: flag("exclusive"), reverse: flag("reverse") }))
}

impl CumSum {
    /// The sums of `rows` rows of `width` columns, row by row.
    fn image(&self, x: &[f32], rows: usize, width: usize, out: &mut [f32]) {
        if width == 1 {
            let mut sum = 0.0;
            let one = |(out, x): (&mut f32, &f32)| {
                let before = sum;
                sum += x;
                *out = if self.exclusive { before } else { sum };
            };
            let both = out.iter_mut().zip(x);
            return if self.reverse { both.rev().for_each(one) } else { both.for_each(one) };
        }
        let place = |i: usize| if self.reverse { rows - 1 - i } else { i };
        let mut sums = vec![0.0; width];
        for i in 0..rows {
            let at = place(i) * width..(place(i) + 1) * width;
            let columns = sums.iter_mut().zip(&x[at.clone()]);
            for (out, (sum, x)) in out[at].iter_mut().zip(columns) {
                let before = *sum;
                *sum += x;
                *out = if self.exclusive { before } else { *sum };
            }
        }
    }
}

impl Kernel for CumSum {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let axis = tensor(inputs, 1)?.to_i64s().filter(|axis| axis.len() == 1);
        let at = axis.map(|axis| if axis[0] < 0 { axis[0] + x.rank() as i64 } else { axis[0] });
        let at = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < x.rank());
        let at = at.ok_or_else(|| KernelError::invalid(format!("the axis does not suit {:?}", x.dims)))?;
        let (n, inner): (usize, usize) = (x.dims[at], x.dims[at + 1..].iter().product());
        let source = x.slice::<f32>()?;
        let out = outputs.tensor::<f32>(0, x.dims)?;
        ctx.exec.pool.parallel_chunks(out, n * inner, &|image, out| {
            self.image(&source[image * n * inner..][..out.len()], n, inner, out);
        });
        Ok(())
    }
}
