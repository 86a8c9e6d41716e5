//! Tensors of heads, however they lie, and what the operators of attention do with them.

use byoc_graph::{DType, element_count};

use crate::fast::attention::{Attention, Heads, Mask, Order, PerScore, Shape, Sight, attention};
use crate::kernel::{Ctx, KernelError, NodeDesc};
use crate::outputs::Outputs;
use crate::view::TensorView;

/// An operand: how many batches, heads and rows it has, of what size, and where they are.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub counts: [usize; 3],
    pub size: usize,
    pub heads: Heads<'a>,
}

impl<'a> Operand<'a> {
    pub fn new(view: TensorView<'a>, order: Order, part: Option<usize>) -> Result<Operand<'a>, KernelError> {
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
    pub fn repeated(&self, counts: [usize; 3]) -> Heads<'a> {
        let mut heads = self.heads;
        for (axis, &count) in counts.iter().enumerate() {
            if self.counts[axis] == 1 && count > 1 {
                heads.strides[axis] = 0;
            }
        }
        heads
    }

    /// Heads side by side in rows of `width`, from column `start` on: `[batch, rows, width]`.
    pub fn in_rows(
        data: &'a [f32],
        [batch, rows, width]: [usize; 3],
        start: usize,
        [heads, size]: [usize; 2],
    ) -> Operand<'a> {
        let heads = (heads, Heads { data, start, strides: [rows.saturating_mul(width), size, width] });
        Operand { counts: [batch, heads.0, rows], size, heads: heads.1 }
    }

    /// `[batch, heads, rows, size]`.
    pub fn cache(data: &'a [f32], batch: usize, heads: usize, rows: usize, size: usize) -> Operand<'a> {
        let strides = Order::HeadsFirst.strides(heads, rows, size);
        Operand { counts: [batch, heads, rows], size, heads: Heads { data, start: 0, strides } }
    }

    /// `[batch, heads, rows, size]`, or `[batch, rows, heads · size]` of so many heads.
    pub fn of(view: TensorView<'a>, heads: Option<usize>) -> Result<Operand<'a>, KernelError> {
        match (view.dims, heads) {
            (&[_, _, _, _], _) => Operand::new(view, Order::HeadsFirst, None),
            (&[batch, rows, width], Some(heads)) if heads > 0 && width.is_multiple_of(heads) => {
                Ok(Operand::in_rows(view.slice()?, [batch, rows, width], 0, [heads, width / heads]))
            }
            (dims, _) => Err(KernelError::invalid(format!("{dims:?} cannot be cut into heads"))),
        }
    }

    /// Part `i` of `[batch, rows, heads, parts, size]`.
    pub fn packed(view: TensorView<'a>, i: usize, parts: usize) -> Result<Operand<'a>, KernelError> {
        let &[batch, rows, heads, n, size] = view.dims else {
            return Err(KernelError::invalid(format!("packed heads of {:?}", view.dims)));
        };
        if n != parts {
            return Err(KernelError::invalid(format!("{n} packed parts, where there have to be {parts}")));
        }
        let row = heads.saturating_mul(n).saturating_mul(size);
        let strides = [rows.saturating_mul(row), n.saturating_mul(size), row];
        let heads_of = Heads { data: view.slice()?, start: i * size, strides };
        Ok(Operand { counts: [batch, heads, rows], size, heads: heads_of })
    }

    pub fn len(&self) -> Result<usize, KernelError> {
        let [batch, heads, rows] = self.counts;
        element_count(&[batch, heads, rows, self.size])
            .ok_or_else(|| KernelError::invalid(format!("{:?} heads of {}", self.counts, self.size)))
    }

    pub fn row(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
        let [b, h, r] = self.heads.strides;
        &self.heads.data[self.heads.start + batch * b + head * h + row * r..][..self.size]
    }

    /// A copy whose rows `change` makes of its own, `[batch, rows, heads, size]`. It gets a row's batch, head, and
    /// number.
    pub fn copied<'o>(
        &self,
        out: &'o mut [f32],
        change: impl Fn([usize; 3], &[f32], &mut [f32]),
    ) -> Operand<'o> {
        let [batch, heads, rows] = self.counts;
        for (i, out) in out.chunks_exact_mut(self.size.max(1)).enumerate() {
            let (rest, head) = (i / heads, i % heads);
            let (b, row) = (rest / rows, rest % rows);
            change([b, head, row], self.row(b, head, row), out);
        }
        Operand::in_rows(out, [batch, rows, heads * self.size], 0, [heads, self.size])
    }
}

/// A mask's elements for scores of these dimensions.
pub(super) fn per_score<'a, T>(data: &'a [T], dims: &[usize], scores: [usize; 4]) -> Option<PerScore<'a, T>> {
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

/// Whether these inputs, as far as they are there, are float32.
pub(super) fn are_floats(node: &NodeDesc<'_>, inputs: &[usize]) -> bool {
    inputs.iter().all(|&i| !node.has_input(i) || node.dtype(i) == Some(DType::F32))
}

/// Keys or values `[batch, heads, length, size]`: for each batch what it has `filled` of the past, the new ones behind
/// that, and zeros.
pub(super) fn fill_cache(
    ctx: &Ctx<'_>,
    past: Option<&Operand<'_>>,
    new: &Operand<'_>,
    (length, filled): (usize, &[usize]),
    cache: &mut [f32],
) -> Result<(), KernelError> {
    let [batch, heads, rows] = new.counts;
    let room = past.map_or(0, |past| past.counts[2]);
    let same = past.is_none_or(|past| past.counts[..2] == [batch, heads] && past.size == new.size);
    let fits = |&filled: &usize| filled <= room && filled.checked_add(rows).is_some_and(|end| end <= length);
    if !same || filled.len() != batch || !filled.iter().all(fits) {
        let had = past.map(|past| (past.counts, past.size));
        let new = (new.counts, new.size);
        return Err(KernelError::invalid(format!(
            "keys or values {new:?} behind {had:?}, {filled:?} of them"
        )));
    }
    let size = new.size;
    ctx.exec.pool.parallel_chunks(cache, (length * size).max(1), &|i, cache| {
        let (b, head) = (i / heads, i % heads);
        for (row, to) in cache.chunks_exact_mut(size).enumerate() {
            match (past, row.checked_sub(filled[b])) {
                (Some(past), None) => to.copy_from_slice(past.row(b, head, row)),
                (_, Some(row)) if row < rows => to.copy_from_slice(new.row(b, head, row)),
                _ => to.fill(0.0),
            }
        }
    });
    Ok(())
}

/// What an operator computes beside queries, keys and values.
pub(super) struct Scoring<'a> {
    pub mask: Mask<'a>,
    pub sight: Sight<'a>,
    /// By default one over the root of a head's size.
    pub scale: Option<f32>,
}

/// Writes the values weighted for each query, in the given order.
pub(super) fn attend(
    ctx: &Ctx<'_>,
    [q, k, v]: [&Operand<'_>; 3],
    scoring: &Scoring<'_>,
    order: Order,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let [batch, heads, queries] = q.counts;
    let [_, key_heads, keys] = k.counts;
    let fits = k.counts == v.counts && k.counts[0] == batch && q.size == k.size && q.size > 0;
    if !fits || key_heads == 0 || !heads.is_multiple_of(key_heads) {
        let [q, k, v] = [q, k, v].map(|x| (x.counts, x.size));
        return Err(KernelError::invalid(format!("attention of {q:?} over {k:?} and {v:?}")));
    }
    if keys == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let shape = Shape { batch, heads, key_heads, queries, keys, size: q.size, value_size: v.size };
    let scale = scoring.scale.unwrap_or(1.0 / (q.size as f32).sqrt());
    let (mask, sight) = (scoring.mask, Some(scoring.sight));
    let call = Attention { shape, q: q.heads, k: k.heads, v: v.heads, mask, sight, scale };
    attention(ctx.exec, &call, order, out);
    Ok(())
}

/// The result, and where keys and values with those of the past go, where anybody wants these.
pub(super) fn with_results(
    outputs: &mut Outputs<'_>,
    y: &[usize],
    caches: Option<[[usize; 4]; 2]>,
    run: impl FnOnce(&mut [f32], Option<[&mut [f32]; 2]>) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let Some([k, v]) = caches else { return run(outputs.tensor(0, y)?, None) };
    if outputs.len() >= 3 {
        let [y, k, v] = outputs.many::<f32, 3>([y, &k, &v])?;
        return run(y, Some([k, v]));
    }
    let room = |dims: [usize; 4]| {
        let bytes = element_count(&dims).and_then(|n| n.checked_mul(size_of::<f32>()));
        bytes.ok_or_else(|| KernelError::invalid(format!("a cache of {dims:?}")))
    };
    let (mut k, mut v) = (outputs.scratch(room(k)?)?, outputs.scratch(room(v)?)?);
    let cast = |bytes| bytemuck::try_cast_slice_mut(bytes).map_err(|_| KernelError::Misaligned);
    let result = run(outputs.tensor(0, y)?, Some([cast(k.bytes_mut())?, cast(v.bytes_mut())?]));
    outputs.recycle(k);
    outputs.recycle(v);
    result
}
