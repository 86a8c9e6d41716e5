//! Attention over heads, as preparation finds it in decomposed forms.
//!
//! `host.Attention` has the inputs q, k, v and possibly a mask (f32: added to the scores; bool: where false, a score
//! becomes `fill`), and the attributes `scale`, `fill`, `orders` and `parts`. Orders of q, k, v and the output: 0 for
//! `[batch, heads, rows, size]`, 1 for `[batch, rows, heads, size]`. Where a part is not negative, the input is
//! `[batch, rows, parts, heads, size]` and that part is meant.

use byoc_graph::{DType, StaticDims};

use super::heads::{Operand, per_score};
use crate::fast::attention::{Attention, Mask, Order, Shape, attention};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "attention",
    domain: "host",
    ops: &["Attention"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct HostAttention {
    scale: f32,
    fill: f32,
    orders: [Order; 4],
    parts: [Option<usize>; 3],
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let (orders, parts) = (node.ints("orders")?, node.ints("parts")?);
    let order = |i: usize| Some(if *orders.get(i)? == 0 { Order::HeadsFirst } else { Order::RowsFirst });
    let part = |i: usize| parts.get(i).and_then(|&p| usize::try_from(p).ok());
    Some(Box::new(HostAttention {
        scale: node.float("scale").unwrap_or(1.0),
        fill: node.float("fill").unwrap_or(f32::MIN),
        orders: [order(0)?, order(1)?, order(2)?, order(3)?],
        parts: [part(0), part(1), part(2)],
    }))
}

impl Kernel for HostAttention {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let operand = |i: usize| Operand::new(tensor(inputs, i)?, self.orders[i], self.parts[i]);
        let (q, k, v) = (operand(0)?, operand(1)?, operand(2)?);
        let mask = optional(inputs, 3)?;
        let mask_dims = mask.map_or(&[][..], |m| m.dims);
        let wrong = || {
            let (q, k, v) = ((q.counts, q.size), (k.counts, k.size), (v.counts, v.size));
            KernelError::invalid(format!("attention of {q:?} over {k:?} and {v:?} with a mask {mask_dims:?}"))
        };
        // A mask may give scores more batches, heads or rows than queries and keys have.
        let wider = |axis: usize, len: usize| {
            let own = (axis + mask_dims.len()).checked_sub(4).map_or(1, |i| mask_dims[i]);
            if len == 1 { own } else { len }
        };
        let [batch, heads, queries] = q.counts;
        let batch = wider(0, if batch == 1 { k.counts[0] } else { batch });
        let (heads, queries) = (wider(1, heads), wider(2, queries));
        let keys = wider(3, k.counts[2]);
        let key_heads = if k.counts[1] == 1 { v.counts[1] } else { k.counts[1] };
        let fits = |operand: &Operand<'_>, counts: [usize; 3]| {
            operand.counts.iter().zip(counts).all(|(&own, count)| own == count || own == 1)
        };
        let all = [batch, key_heads, keys];
        let sound = mask_dims.len() <= 4 && q.size == k.size && q.size > 0 && v.counts[2] == keys;
        let sound = sound && fits(&q, [batch, heads, queries]) && fits(&k, all) && fits(&v, all);
        if !sound || keys == 0 || key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return Err(wrong());
        }
        let shape = Shape { batch, heads, key_heads, queries, keys, size: q.size, value_size: v.size };
        let dims = match self.orders[3] {
            Order::HeadsFirst => StaticDims::from_slice(&[batch, heads, queries, v.size]),
            Order::RowsFirst => StaticDims::from_slice(&[batch, queries, heads, v.size]),
        };
        let scores = [batch, heads, queries, keys];
        let mask = match mask {
            None => Mask::None,
            Some(mask) if mask.dtype == DType::F32 => {
                Mask::Add(per_score(mask.slice()?, mask.dims, scores).ok_or_else(wrong)?)
            }
            Some(mask) if mask.dtype == DType::Bool => {
                Mask::Keep(per_score(mask.bytes(), mask.dims, scores).ok_or_else(wrong)?, self.fill)
            }
            Some(_) => return Err(wrong()),
        };
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            let q = q.repeated([batch, heads, queries]);
            let call = Attention {
                shape,
                q,
                k: k.repeated(all),
                v: v.repeated(all),
                mask,
                sight: None,
                scale: self.scale,
            };
            attention(ctx.exec, &call, self.orders[3], out);
        }
        Ok(())
    }
}
