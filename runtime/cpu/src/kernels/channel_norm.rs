//! InstanceNormalization and GroupNormalization in f32.

use byoc_graph::DType;

use crate::fast::rows::{RowFunction, map_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "channel normalisation",
        domain: "",
        ops: &["InstanceNormalization"],
        since: 6,
        dtypes: &[DType::F32],
        priority: 10,
        prepare: |node| prepare(node, None),
    },
    Entry {
        name: "channel normalisation",
        domain: "",
        ops: &["GroupNormalization"],
        // Before, there was a scale for each group.
        since: 21,
        dtypes: &[DType::F32],
        priority: 10,
        prepare: |node| prepare(node, Some(usize::try_from(node.int("num_groups")?).ok()?)),
    },
];

struct ChannelNorm {
    /// As many as there are channels where there are none.
    groups: Option<usize>,
    epsilon: f32,
}

fn prepare(node: &NodeDesc<'_>, groups: Option<usize>) -> Option<Box<dyn Kernel>> {
    let single = node.int("stash_type").unwrap_or(1) == 1;
    let epsilon = node.float("epsilon").unwrap_or(1e-5);
    single.then(|| Box::new(ChannelNorm { groups, epsilon }) as Box<dyn Kernel>)
}

impl Kernel for ChannelNorm {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (scale, shift) = (tensor(inputs, 1)?.slice::<f32>()?, tensor(inputs, 2)?.slice::<f32>()?);
        let channels = x.dims.get(1).copied().unwrap_or(0);
        let groups = self.groups.unwrap_or(channels);
        let fits = scale.len() == channels && shift.len() == channels;
        if !fits || groups == 0 && channels > 0 || channels.checked_rem(groups).unwrap_or(0) != 0 {
            return Err(KernelError::invalid(format!(
                "{} scales and {} shifts for {:?} in {groups} groups",
                scale.len(),
                shift.len(),
                x.dims
            )));
        }
        let out = outputs.tensor::<f32>(0, x.dims)?;
        if out.is_empty() {
            return Ok(());
        }
        let columns = out.len() / (x.dims[0] * groups);
        let function =
            RowFunction::ChannelNorm { scale, shift, channels: channels / groups, epsilon: self.epsilon };
        map_rows(ctx.exec, function, x.slice()?, columns, out);
        Ok(())
    }
}
