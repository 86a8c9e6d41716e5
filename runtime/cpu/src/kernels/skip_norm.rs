//! The normalisations that ONNX Runtime's optimiser fuses with the sum before them, in f32.

use byoc_graph::DType;

use crate::fast::rows::{RowFunction, map_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::binary;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "sum and rows",
    domain: "com.microsoft",
    ops: &["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct SkipNorm {
    epsilon: f32,
    /// Without a mean and a shift.
    simplified: bool,
}

/// The output that holds the sum.
const SUM: usize = 3;

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let others = node.outputs.iter().enumerate().any(|(i, o)| i != 0 && i != SUM && o.is_some());
    let simplified = node.op() == "SkipSimplifiedLayerNormalization";
    let epsilon = node.float("epsilon").unwrap_or(1e-12);
    (!others).then(|| Box::new(SkipNorm { epsilon, simplified }) as Box<dyn Kernel>)
}

impl Kernel for SkipNorm {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, skip, scale) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        let shift = if self.simplified { None } else { optional(inputs, 3)? };
        let bias = optional(inputs, if self.simplified { 3 } else { 4 })?;
        let columns = x.dims.last().copied().unwrap_or(0);
        let wrong = |p: &TensorView<'_>| p.len() != columns;
        if wrong(&scale) || shift.as_ref().is_some_and(wrong) || bias.as_ref().is_some_and(wrong) {
            return Err(KernelError::invalid(format!(
                "a scale, shift or bias that is no row of {:?}",
                x.dims
            )));
        }
        let parts: Vec<TensorView<'_>> = [x, skip].into_iter().chain(bias).collect();
        let mut scratch = outputs.scratch(x.bytes().len())?;
        let sum: &mut [f32] =
            bytemuck::try_cast_slice_mut(scratch.bytes_mut()).map_err(|_| KernelError::Misaligned)?;
        binary::add_all(ctx, x.dims, &parts, sum)?;
        if outputs.wanted(SUM) {
            outputs.tensor::<f32>(SUM, x.dims)?.copy_from_slice(sum);
        }
        let (scale, shift) = (Some(scale.slice::<f32>()?), shift.map(|s| s.slice::<f32>()).transpose()?);
        let function = match self.simplified {
            true => RowFunction::RmsNorm { scale, epsilon: self.epsilon },
            false => RowFunction::LayerNorm { scale, shift, epsilon: self.epsilon },
        };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        if columns > 0 {
            map_rows(ctx.exec, function, sum, columns, out);
        }
        outputs.recycle(scratch);
        Ok(())
    }
}
