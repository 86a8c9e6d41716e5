//! The standard's Attention in f32: causal or not, masked, windowed, over keys and values of the past.
//!
//! Soft caps, windows to the right and the output of scores are left to the reference.

use byoc_graph::DType;
use smallvec::SmallVec;

use super::heads::{Operand, Scoring, are_floats, attend, fill_cache, per_score, with_results};
use crate::fast::attention::{Mask, Order, Sight};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "attention",
    domain: "",
    ops: &["Attention"],
    since: 23,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

const MASK: usize = 3;
const PAST: [usize; 2] = [4, 5];
const LENGTHS: usize = 6;
const SCORES: usize = 3;

struct Standard {
    q_heads: Option<usize>,
    kv_heads: Option<usize>,
    causal: bool,
    window: Option<usize>,
    scale: Option<f32>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let positive = |name: &str| node.int(name).map(usize::try_from).transpose().ok();
    let unlimited = |name: &str| node.int(name).is_none_or(|n| n < 0);
    let mask = !node.has_input(MASK) || matches!(node.dtype(MASK), Some(DType::F32 | DType::Bool));
    let plain = are_floats(node, &[0, 1, 2, PAST[0], PAST[1]])
        && node.float("softcap").unwrap_or(0.0) <= 0.0
        && unlimited("right_window_size")
        && node.outputs.get(SCORES).copied().flatten().is_none()
        && PAST.map(|i| node.has_input(i)) != [true, false]
        && PAST.map(|i| node.has_input(i)) != [false, true];
    let window = node.int("left_window_size").and_then(|left| usize::try_from(left).ok());
    (plain && mask).then_some(())?;
    Some(Box::new(Standard {
        q_heads: positive("q_num_heads")?,
        kv_heads: positive("kv_num_heads")?,
        causal: node.int("is_causal").unwrap_or(0) != 0,
        window: window.map(|left| left.saturating_add(1)),
        scale: node.float("scale"),
    }))
}

impl Kernel for Standard {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let q = Operand::of(tensor(inputs, 0)?, self.q_heads)?;
        let (k, v) = (
            Operand::of(tensor(inputs, 1)?, self.kv_heads)?,
            Operand::of(tensor(inputs, 2)?, self.kv_heads)?,
        );
        let past = PAST.map(|i| optional(inputs, i)?.map(|x| Operand::of(x, None)).transpose());
        let [past_k, past_v] = past;
        let (past_k, past_v) = (past_k?, past_v?);
        let filled = past_k.as_ref().map_or(0, |past| past.counts[2]);
        let keys = filled.checked_add(k.counts[2]).ok_or_else(|| KernelError::invalid("too many keys"))?;
        let [batch, heads, queries] = q.counts;
        let rows_first = tensor(inputs, 0)?.dims.len() == 3;
        let y_dims: SmallVec<[usize; 4]> = match rows_first {
            true => [batch, queries, heads.saturating_mul(v.size)].into_iter().collect(),
            false => [batch, heads, queries, v.size].into_iter().collect(),
        };
        let order = if rows_first { Order::RowsFirst } else { Order::HeadsFirst };
        let caches = (past_k.is_some() || outputs.wanted(1) || outputs.wanted(2))
            .then(|| [&k, &v].map(|x| [x.counts[0], x.counts[1], keys, x.size]));
        with_results(outputs, &y_dims, caches, |y, room| {
            let Some([k_room, v_room]) = room else {
                return self.attend(ctx, inputs, [q, k, v], 0, order, y);
            };
            for (past, new, room) in [(&past_k, &k, &mut *k_room), (&past_v, &v, &mut *v_room)] {
                let all: SmallVec<[usize; 8]> = SmallVec::from_elem(filled, new.counts[0]);
                fill_cache(ctx, past.as_ref(), new, (keys, &all), room)?;
            }
            let whole = |data, x: &Operand<'_>| Operand::cache(data, x.counts[0], x.counts[1], keys, x.size);
            self.attend(ctx, inputs, [q, whole(k_room, &k), whole(v_room, &v)], filled, order, y)
        })
    }
}

impl Standard {
    fn attend(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        [q, mut k, mut v]: [Operand<'_>; 3],
        past: usize,
        order: Order,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let [batch, heads, queries] = q.counts;
        let mask = optional(inputs, MASK)?;
        // What a mask is too short for is not seen.
        if let Some(&last) = mask.and_then(|mask| mask.dims.last()).filter(|&&last| last > 0) {
            k.counts[2] = k.counts[2].min(last);
            v.counts[2] = v.counts[2].min(last);
        }
        let scores = [batch, heads, queries, k.counts[2]];
        let misfit =
            |dims: &[usize]| KernelError::invalid(format!("a mask of {dims:?} for scores of {scores:?}"));
        let mask = match mask {
            None => Mask::None,
            Some(mask) if mask.dtype == DType::Bool => {
                let each = per_score(mask.bytes(), mask.dims, scores).ok_or_else(|| misfit(mask.dims))?;
                Mask::Keep(each, f32::NEG_INFINITY)
            }
            Some(mask) => {
                Mask::Add(per_score(mask.slice()?, mask.dims, scores).ok_or_else(|| misfit(mask.dims))?)
            }
        };
        let lengths = optional(inputs, LENGTHS)?.map(|lengths| lengths.slice::<i64>()).transpose()?;
        let lengths: Option<SmallVec<[usize; 8]>> =
            lengths.map(|lengths| lengths.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect());
        if lengths.as_ref().is_some_and(|lengths| lengths.len() != batch) {
            return Err(KernelError::invalid("lengths for another batch"));
        }
        let before: SmallVec<[i64; 8]> = match &lengths {
            Some(lengths) if past == 0 => lengths.iter().map(|&n| n as i64 - queries as i64).collect(),
            _ => SmallVec::from_elem(past as i64, batch),
        };
        let sight =
            Sight { past: &before, causal: self.causal, window: self.window, lengths: lengths.as_deref() };
        attend(ctx, [&q, &k, &v], &Scoring { mask, sight, scale: self.scale }, order, out)
    }
}
