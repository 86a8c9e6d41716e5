//! Softmax and normalisations in f32, over the last axes.

use byoc_graph::DType;

use crate::fast::columns::{ColumnFunction, map_columns};
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
    entry("", &["Softmax", "LogSoftmax"], prepare_softmax),
    entry("", &["LpNormalization"], prepare_unit),
    entry("", &["LayerNormalization"], prepare_layer_norm),
    entry("", &["RMSNormalization"], prepare_rms_norm),
];

enum Kind {
    Softmax(ColumnFunction),
    Unit { order: u32 },
    LayerNorm { epsilon: f32 },
    RmsNorm { epsilon: f32 },
}

struct Rows {
    kind: Kind,
    /// First axis of a row, from the front or, negative, from behind.
    axis: i64,
    /// Only that axis, and what lies behind it is side by side.
    single: bool,
}

fn prepare_softmax(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let coerced = node.opset() < 13;
    let axis = node.int("axis").unwrap_or(if coerced { 1 } else { -1 });
    let function = match node.op() {
        "LogSoftmax" => ColumnFunction::LogSoftmax,
        _ => ColumnFunction::Softmax,
    };
    // Newer versions normalise along one axis, older ones over all axes from this on.
    Some(Box::new(Rows { kind: Kind::Softmax(function), axis, single: !coerced }))
}

fn prepare_unit(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (axis, order) = (node.int("axis").unwrap_or(-1), node.int("p").unwrap_or(2));
    let last = axis == -1 || node.rank(0).is_some_and(|rank| axis == rank as i64 - 1);
    let order = u32::try_from(order).ok().filter(|p| last && (1..=2).contains(p))?;
    Some(Box::new(Rows { kind: Kind::Unit { order }, axis, single: false }))
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
    let whole = |i: usize| {
        let same = || node.shape(i).is_some_and(|s| s[..] == *row);
        !node.has_input(i) || same() && node.dtype(i) == Some(DType::F32)
    };
    let kind = kind(node.float("epsilon").unwrap_or(1e-5));
    (only_result && single && whole(1) && whole(2))
        .then(|| Box::new(Rows { kind, axis, single: false }) as Box<dyn Kernel>)
}

/// Elements of a row that begins at `axis`.
fn columns(x: TensorView<'_>, axis: i64) -> Result<usize, KernelError> {
    let at = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let row = usize::try_from(at).ok().and_then(|at| x.dims.get(at..));
    let row = row.ok_or_else(|| KernelError::invalid(format!("axis {axis} is outside of {:?}", x.dims)))?;
    Ok(row.iter().product())
}

/// Along one axis, whatever lies behind it.
fn softmax(
    ctx: &Ctx<'_>,
    function: ColumnFunction,
    x: TensorView<'_>,
    axis: i64,
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let at = if axis < 0 { axis + x.rank() as i64 } else { axis } as usize;
    let (n, inner): (usize, usize) = (x.dims[at], x.dims[at + 1..].iter().product());
    let out = outputs.tensor::<f32>(0, x.dims)?;
    if out.is_empty() {
        return Ok(());
    }
    match function {
        _ if inner > 1 => {
            map_columns(ctx.exec, function, x.slice()?, [x.len() / n / inner, n, inner], out);
        }
        ColumnFunction::Softmax => map_rows(ctx.exec, RowFunction::Softmax, x.slice()?, n, out),
        ColumnFunction::LogSoftmax => map_rows(ctx.exec, RowFunction::LogSoftmax, x.slice()?, n, out),
    }
    Ok(())
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
        if let (true, Kind::Softmax(function)) = (self.single, &self.kind) {
            return softmax(ctx, *function, x, self.axis, outputs);
        }
        let parameter = |i: usize| match optional(inputs, i)?.map(|p| p.slice::<f32>()).transpose()? {
            Some(p) if p.len() != columns => {
                let message = format!("a scale or shift of {} elements for rows of {columns}", p.len());
                Err(KernelError::invalid(message))
            }
            parameter => Ok(parameter),
        };
        let function = match self.kind {
            Kind::Softmax(ColumnFunction::Softmax) => RowFunction::Softmax,
            Kind::Softmax(ColumnFunction::LogSoftmax) => RowFunction::LogSoftmax,
            Kind::Unit { order } => RowFunction::Unit { order },
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
