//! `host.RotateHalves`: `x · cos + concat(−x[half:], x[:half]) · sin` over the last axis, what is called rotary embedding.
//!
//! `x` is `[batch, heads, rows, size]`, or with the attribute `rows_first` `[batch, rows, heads, size]`, as is the output.
//! Cosines and sines are `[batch, heads, rows, size]` either way; an axis of 1 but for the last stands for any length.

use byoc_graph::DType;

use crate::fast::rotary::{Angles, rotate};
use crate::kernel::{Ctx, Kernel, KernelError, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "rotary",
    domain: "host",
    ops: &["RotateHalves"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare: |node| Some(Box::new(RotateHalves { rows_first: node.int("rows_first") == Some(1) })),
}];

struct RotateHalves {
    rows_first: bool,
}

impl RotateHalves {
    /// A table for an input of these dimensions.
    fn angles<'a>(&self, table: TensorView<'a>, x: [usize; 4]) -> Result<Angles<'a>, KernelError> {
        let misfit = || KernelError::invalid(format!("angles of {:?} for rows of {x:?}", table.dims));
        let &[batch, heads, rows, size] = table.dims else { return Err(misfit()) };
        let stride = |len: usize, of: usize, stride: usize| match len {
            1 => Ok(0),
            len if len == of => Ok(stride),
            _ => Err(misfit()),
        };
        if size != x[3] {
            return Err(misfit());
        }
        let (of_heads, of_rows) = if self.rows_first { (x[2], x[1]) } else { (x[1], x[2]) };
        let heads_stride = stride(heads, of_heads, rows * size)?;
        let rows_stride = stride(rows, of_rows, size)?;
        let batch_stride = stride(batch, x[0], heads * rows * size)?;
        let strides = match self.rows_first {
            true => [batch_stride, rows_stride, heads_stride],
            false => [batch_stride, heads_stride, rows_stride],
        };
        Ok(Angles { table: table.slice()?, strides })
    }
}

impl Kernel for RotateHalves {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let &[a, b, c, size] = x.dims else {
            return Err(KernelError::invalid(format!("heads of dimensions {:?}", x.dims)));
        };
        if size % 2 != 0 {
            return Err(KernelError::invalid(format!("rows of {size} have no halves")));
        }
        let angles = [1, 2].map(|i| self.angles(tensor(inputs, i)?, [a, b, c, size]));
        let [cos, sin] = angles;
        let out = outputs.tensor::<f32>(0, x.dims)?;
        rotate(ctx.exec, x.slice()?, ([a, b, c], size), [cos?, sin?], out);
        Ok(())
    }
}
