//! Attention over heads, as preparation finds it in decomposed forms.
//!
//! `host.Attention` has the inputs q, k, v and possibly a mask (f32: added to the scores; bool: where false, a score
//! becomes `fill`), and the attributes `scale`, `fill`, `orders` and `parts`. Orders of q, k, v and the output: 0 for
//! `[batch, heads, rows, size]`, 1 for `[batch, rows, heads, size]`. Where a part is not negative, the input is
//! `[batch, rows, parts, heads, size]` and that part is meant.

use byoc_graph::{DType, StaticDims};

use crate::fast::attention::{Attention, Heads, Mask, Order, PerScore, Shape, attention};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

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

/// An operand: how many batches, heads and rows it has, of what size, and where they are.
struct Operand<'a> {
    counts: [usize; 3],
    size: usize,
    heads: Heads<'a>,
}

impl<'a> Operand<'a> {
    fn new(view: TensorView<'a>, order: Order, part: Option<usize>) -> Result<Operand<'a>, KernelError> {
        let data = view.slice::<f32>()?;
        let wrong = || KernelError::invalid(format!("attention over heads of {:?}", view.dims));
        let (batch, heads, rows, size, parts) = match (view.dims, part, order) {
            (&[b, h, r, s], None, Order::HeadsFirst) => (b, h, r, s, 1),
            (&[b, r, h, s], None, Order::RowsFirst) => (b, h, r, s, 1),
            (&[b, r, p, h, s], Some(part), Order::RowsFirst) if part < p => (b, h, r, s, p),
            _ => return Err(wrong()),
        };
        let [b, h, r] = order.strides(heads, rows, size);
        let strides = [b * parts, h, r * parts];
        let start = part.unwrap_or(0) * heads * size;
        Ok(Operand { counts: [batch, heads, rows], size, heads: Heads { data, start, strides } })
    }

    /// With what it has once repeated along `counts`.
    fn repeated(&self, counts: [usize; 3]) -> Heads<'a> {
        let mut heads = self.heads;
        for (axis, &count) in counts.iter().enumerate() {
            if self.counts[axis] == 1 && count > 1 {
                heads.strides[axis] = 0;
            }
        }
        heads
    }
}

/// A mask's elements for scores of these dimensions.
fn per_score<'a, T>(data: &'a [T], dims: &[usize], scores: [usize; 4]) -> Option<PerScore<'a, T>> {
    let mut strides = [0; 4];
    let mut stride = 1;
    for (axis, &len) in dims.iter().enumerate().rev() {
        let at = (axis + 4).checked_sub(dims.len())?;
        if len != 1 {
            (len == scores[at]).then_some(())?;
            strides[at] = stride;
        }
        stride *= len;
    }
    Some(PerScore { data, strides })
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
            let call =
                Attention { shape, q, k: k.repeated(all), v: v.repeated(all), mask, scale: self.scale };
            attention(ctx.exec, &call, self.orders[3], out);
        }
        Ok(())
    }
}
