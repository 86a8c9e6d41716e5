//! Softmax and normalisations in f32, over the last axes.

use byoc_graph::DType;

use crate::fast::rows::{RowFunction, map_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    domain: &'static str,
    ops: &'static [&'static str],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "rows", domain, ops, since: 1, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry("", &["Softmax"], prepare_softmax),
    entry("", &["LayerNormalization"], prepare_layer_norm),
    entry("", &["RMSNormalization"], prepare_rms_norm),
];

enum Kind {
    Softmax,
    LayerNorm { epsilon: f32 },
    RmsNorm { epsilon: f32 },
}

struct Rows {
    kind: Kind,
    /// First axis of a row, from the front or, negative, from behind.
    axis: i64,
}

fn prepare_softmax(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let coerced = node.opset() < 13;
    let axis = node.int("axis").unwrap_or(if coerced { 1 } else { -1 });
    // Newer versions normalise along one axis, older ones over all axes from this on.
    let last = axis == -1 || node.rank(0).is_some_and(|rank| axis == rank as i64 - 1);
    (coerced || last).then(|| Box::new(Rows { kind: Kind::Softmax, axis }) as Box<dyn Kernel>)
}

fn prepare_layer_norm(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    prepare_norm(node, |epsilon| Kind::LayerNorm { epsilon })
}

fn prepare_rms_norm(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    prepare_norm(node, |epsilon| Kind::RmsNorm { epsilon })
}

fn prepare_norm(node: &NodeDesc<'_>, kind: fn(f32) -> Kind) -> Option<Box<dyn Kernel>> {
    let only_result = node.outputs.iter().skip(1).all(Option::is_none);
    let single = node.int("stash_type").unwrap_or(1) == 1;
    // Scale and shift have to be whole rows; broadcast ones are left to the reference.
    let axis = node.int("axis").unwrap_or(-1);
    let x = node.shape(0)?;
    let row = usize::try_from(if axis < 0 { axis + x.len() as i64 } else { axis }).ok()?;
    let row = x.get(row..)?;
    let whole = |i: usize| !node.has_input(i) || node.shape(i).is_some_and(|s| s[..] == *row);
    let kind = kind(node.float("epsilon").unwrap_or(1e-5));
    (only_result && single && whole(1) && whole(2)).then(|| Box::new(Rows { kind, axis }) as Box<dyn Kernel>)
}

/// Elements of a row that begins at `axis`.
fn columns(x: TensorView<'_>, axis: i64) -> Result<usize, KernelError> {
    let at = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let row = usize::try_from(at).ok().and_then(|at| x.dims.get(at..));
    let row = row.ok_or_else(|| KernelError::invalid(format!("axis {axis} is outside of {:?}", x.dims)))?;
    Ok(row.iter().product())
}

impl Kernel for Rows {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let columns = columns(x, self.axis)?;
        let parameter = |i: usize| match optional(inputs, i)?.map(|p| p.slice::<f32>()).transpose()? {
            Some(p) if p.len() != columns => {
                let message = format!("a scale or shift of {} elements for rows of {columns}", p.len());
                Err(KernelError::invalid(message))
            }
            parameter => Ok(parameter),
        };
        let function = match self.kind {
            Kind::Softmax => RowFunction::Softmax,
            Kind::LayerNorm { epsilon } => {
                RowFunction::LayerNorm { scale: parameter(1)?, shift: parameter(2)?, epsilon }
            }
            Kind::RmsNorm { epsilon } => RowFunction::RmsNorm { scale: parameter(1)?, epsilon },
        };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        if columns > 0 {
            map_rows(ctx.exec, function, x.slice()?, columns, out);
        }
        Ok(())
    }
}
