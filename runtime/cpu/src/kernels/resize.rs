//! Resize and Upsample of images in f32 whose sizes are known beforehand; the others are the reference's.

use byoc_graph::{DType, Datum, Node, StaticDims, Tensor};
use smallvec::SmallVec;

use crate::fast::blocked::BLOCK;
use crate::fast::resize::{Taps, resize};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::reference::resize::{plan_resize, plan_upsample};
use crate::reference::{Call, NoBodies};
use crate::registry::Entry;
use crate::view::View;

const fn entry(domain: &'static str, ops: &'static [&'static str]) -> Entry {
    Entry { name: "resize", domain, ops, since: 7, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] =
    &[entry("", &["Resize", "Upsample"]), entry("host", &["BlockedResize", "BlockedUpsample"])];

struct Resize {
    /// Images come in blocks of channels.
    blocked: bool,
    /// Height and width of the input.
    size: [usize; 2],
    rows: Taps,
    cols: Taps,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let shape = node.shape(0)?;
    let blocked = node.domain() == "host";
    let dims: SmallVec<[_; 4]> = shape.iter().map(|d| usize::try_from(d.value()?).ok()).collect();
    let dims = &dims[..dims.len().checked_sub(usize::from(blocked))?];
    let [.., Some(height), Some(width)] = *dims else { return None };
    let mut original = node.node.clone();
    if let Some(name) = node.op().strip_prefix("Blocked") {
        (original.op.domain, original.op.name) = ("".into(), name.into());
    }
    let [rows, cols] = taps(&original, dims, &|i| node.constant(i).map(|x| &**x))?;
    Some(Box::new(Resize { blocked, size: [height, width], rows, cols }))
}

/// What Resize or Upsample mixes along the last two axes of an image, if that can be known from its dimensions and its
/// constant inputs, and it changes nothing else.
pub fn taps<'a>(
    node: &Node,
    dims: &[Option<usize>],
    constant: &dyn Fn(usize) -> Option<&'a Tensor>,
) -> Option<[Taps; 2]> {
    let spatial = dims.len().checked_sub(2)?;
    // Where scales are given, how large the outer dimensions are does not matter, since they are scaled by one.
    let outer = if node.input(3).is_none() { Some(1) } else { None };
    let known = dims.iter().enumerate().map(|(i, d)| d.or(outer.filter(|_| i < spatial)));
    let dims = known.collect::<Option<Vec<usize>>>()?;
    let count = node.inputs().len();
    if (1..count).any(|i| node.input(i).is_some() && constant(i).is_none()) {
        return None;
    }
    let constants: SmallVec<[Option<Datum>; 4]> =
        (0..count).map(|i| Some(Datum::Tensor(constant(i).filter(|_| i > 0)?.clone()))).collect();
    let inputs: SmallVec<[Option<&Datum>; 4]> = constants.iter().map(Option::as_ref).collect();
    let call = Call { node, inputs: &inputs, bodies: &NoBodies };
    let plan = match &*node.op.name {
        "Upsample" => plan_upsample(&call, &dims),
        _ => plan_resize(&call, &dims),
    };
    let [rows, cols] = plan.ok()?.of_planes()?;
    Some([Taps::new(&rows), Taps::new(&cols)])
}

impl Kernel for Resize {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let spatial = x.dims.len().saturating_sub(if self.blocked { 3 } else { 2 });
        let inner = x.dims.get(spatial..).unwrap_or_default();
        if inner.get(..2) != Some(&self.size[..]) || (self.blocked && inner.get(2) != Some(&BLOCK)) {
            let (dims, size) = (x.dims, self.size);
            return Err(KernelError::invalid(format!("an image of {dims:?} where {size:?} was announced")));
        }
        let mut dims = StaticDims::from_slice(x.dims);
        (dims[spatial], dims[spatial + 1]) = (self.rows.len(), self.cols.len());
        let (data, out) = (x.slice()?, outputs.tensor::<f32>(0, &dims)?);
        let taps = [&self.rows, &self.cols];
        match self.blocked {
            true => resize::<BLOCK>(ctx.exec, data, self.size, taps, out),
            false => resize::<1>(ctx.exec, data, self.size, taps, out),
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0
    }
}
