//! ONNX Runtime's MultiHeadAttention and Attention in f32. Masked scores get a finite number added there, so a query to
//! which all keys are masked weighs them all alike.

use byoc_graph::{DType, element_count};
use smallvec::SmallVec;

use super::heads::{Operand, Scoring, are_floats, attend, fill_cache, per_score, with_results};
use crate::fast::attention::{Mask, Order, PerScore, Sight};
use crate::fast::gemm::{Epilogue, Matrix, PackedB, Rhs, gemm};
use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(op: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry {
        name: "attention",
        domain: "com.microsoft",
        ops: op,
        since: 1,
        dtypes: &[DType::F32],
        priority: 10,
        prepare,
    }
}

pub(super) const ENTRIES: &[Entry] =
    &[entry(&["MultiHeadAttention"], MultiHead::prepare), entry(&["Attention"], Projected::prepare)];

/// What is added where a mask is 0, unless the node says otherwise.
const MASKED: f32 = -10_000.0;

/// The attributes that both have.
struct Attributes {
    heads: usize,
    causal: bool,
    scale: Option<f32>,
    masked: f32,
}

impl Attributes {
    fn of(node: &NodeDesc<'_>) -> Option<Attributes> {
        Some(Attributes {
            heads: usize::try_from(node.int("num_heads")?).ok().filter(|&n| n > 0)?,
            causal: node.int("unidirectional").unwrap_or(0) != 0,
            scale: node.float("scale").filter(|&scale| scale != 0.0),
            masked: node.float("mask_filter_value").unwrap_or(MASKED),
        })
    }

    /// Attention with a mask of whole numbers and an addend, into `[batch, queries, heads · size]`.
    fn attend(
        &self,
        ctx: &Ctx<'_>,
        [q, k, v]: [&Operand<'_>; 3],
        mask: Option<TensorView<'_>>,
        addend: Option<TensorView<'_>>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let ([batch, heads, queries], keys) = (q.counts, k.counts[2]);
        let scores = [batch, heads, queries, keys];
        let past: SmallVec<[i64; 8]> = SmallVec::from_elem(keys.saturating_sub(queries) as i64, batch);
        let sight = Sight { past: &past, causal: self.causal, window: None, lengths: None };
        let run = |mask: Mask<'_>, out: &mut [f32]| {
            attend(ctx, [q, k, v], &Scoring { mask, sight, scale: self.scale }, Order::RowsFirst, out)
        };
        let misfit =
            |dims: &[usize]| KernelError::invalid(format!("a mask of {dims:?} for scores of {scores:?}"));
        let addend = addend.map(|addend| -> Result<_, KernelError> {
            per_score(addend.slice::<f32>()?, addend.dims, scores).ok_or_else(|| misfit(addend.dims))
        });
        let addend = addend.transpose()?;
        let Some(mask) = mask else { return run(addend.map_or(Mask::None, Mask::Add), out) };
        let seen = Seen::of(mask, [batch, queries, keys]).ok_or_else(|| misfit(mask.dims))?;
        // Heads share the mask; with an addend of their own they do not.
        let own = if addend.is_some_and(|addend| addend.strides[1] != 0) { heads } else { 1 };
        let dims = [batch, own, queries, keys];
        let len = element_count(&dims).ok_or_else(|| misfit(&dims))?;
        with_scratch(len, |sums: &mut [f32]| {
            for (i, row) in sums.chunks_exact_mut(keys.max(1)).enumerate() {
                let (rest, query) = (i / queries, i % queries);
                let (b, head) = (rest / own, rest % own);
                for (key, x) in row.iter_mut().enumerate() {
                    let add = addend.map_or(0.0, |addend| {
                        let [sb, sh, sq, sk] = addend.strides;
                        addend.data[b * sb + head * sh + query * sq + key * sk]
                    });
                    *x = if seen.sees(b, query, key) { add } else { add + self.masked };
                }
            }
            let head = if own == 1 { 0 } else { queries * keys };
            let strides = [own * queries * keys, head, keys, 1];
            run(Mask::Add(PerScore { data: sums, strides }), out)
        })
    }
}

/// Which keys a mask of whole numbers leaves.
struct Seen<'a> {
    mask: &'a [i32],
    sizes: [usize; 3],
    rank: usize,
}

impl<'a> Seen<'a> {
    /// A mask `[batch]` has each sequence's end, `[2 · batch]` the starts behind the ends; `[batch, keys]` and `[batch,
    /// queries, keys]` say it for each.
    fn of(mask: TensorView<'a>, sizes @ [batch, queries, keys]: [usize; 3]) -> Option<Seen<'a>> {
        let fits = match *mask.dims {
            [n] => n == batch || n == 2 * batch,
            [b, k] => (b, k) == (batch, keys),
            [b, q, k] => (b, q, k) == (batch, queries, keys),
            _ => false,
        };
        let mask_data = mask.slice().ok().filter(|_| fits)?;
        Some(Seen { mask: mask_data, sizes, rank: mask.dims.len() })
    }

    fn sees(&self, b: usize, query: usize, key: usize) -> bool {
        let [batch, queries, keys] = self.sizes;
        match self.rank {
            1 => {
                let start = self.mask.get(batch + b).copied().unwrap_or(0);
                (i64::from(start)..i64::from(self.mask[b])).contains(&(key as i64))
            }
            2 => self.mask[b * keys + key] > 0,
            _ => self.mask[(b * queries + query) * keys + key] > 0,
        }
    }
}

/// A mask has an element type that is understood here, if there is one.
fn mask_is_whole(node: &NodeDesc<'_>, input: usize) -> bool {
    !node.has_input(input) || node.dtype(input) == Some(DType::I32)
}

fn wants(node: &NodeDesc<'_>, output: usize) -> bool {
    node.outputs.get(output).copied().flatten().is_some()
}

/// Inputs: query, key, value, bias, mask, addend, past key and value. Without values, keys and values are packed; without
/// keys, all three.
struct MultiHead(Attributes);

impl MultiHead {
    fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
        let refused = node.has_input(8) || node.has_input(9) || wants(node, 3);
        let whole = node.has_input(6) == node.has_input(7) && mask_is_whole(node, 4);
        (!refused && whole && are_floats(node, &[0, 1, 2, 3, 5, 6, 7])).then_some(())?;
        Some(Box::new(MultiHead(Attributes::of(node)?)))
    }

    fn operands<'a>(&self, inputs: &[Option<View<'a>>]) -> Result<[Operand<'a>; 3], KernelError> {
        let (query, heads) = (tensor(inputs, 0)?, Some(self.0.heads));
        Ok(match (optional(inputs, 1)?, optional(inputs, 2)?) {
            (None, _) => {
                let part = |i: usize| Operand::packed(query, i, 3);
                [part(0)?, part(1)?, part(2)?]
            }
            (Some(key), None) => {
                let part = |i: usize| Operand::packed(key, i, 2);
                [Operand::of(query, heads)?, part(0)?, part(1)?]
            }
            (Some(key), Some(value)) => {
                [Operand::of(query, heads)?, Operand::of(key, heads)?, Operand::of(value, heads)?]
            }
        })
    }

    /// Behind the biases: the past, and attention.
    fn behind(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
        [q, k, v]: [Operand<'_>; 3],
    ) -> Result<(), KernelError> {
        let past = |i: usize| optional(inputs, i)?.map(|x| Operand::of(x, None)).transpose();
        let (past_k, past_v): (Option<Operand<'_>>, Option<Operand<'_>>) = (past(6)?, past(7)?);
        let filled = past_k.as_ref().map_or(0, |past| past.counts[2]);
        let keys = filled.checked_add(k.counts[2]).ok_or_else(|| KernelError::invalid("too many keys"))?;
        let [batch, heads, queries] = q.counts;
        let caches = (past_k.is_some() || outputs.wanted(1) || outputs.wanted(2))
            .then(|| [&k, &v].map(|x| [x.counts[0], x.counts[1], keys, x.size]));
        let (mask, addend) = (optional(inputs, 4)?, optional(inputs, 5)?);
        let y_dims = [batch, queries, heads.saturating_mul(v.size)];
        with_results(outputs, &y_dims, caches, |y, room| {
            let Some([k_room, v_room]) = room else {
                return self.0.attend(ctx, [&q, &k, &v], mask, addend, y);
            };
            for (past, new, room) in [(&past_k, &k, &mut *k_room), (&past_v, &v, &mut *v_room)] {
                let all: SmallVec<[usize; 8]> = SmallVec::from_elem(filled, new.counts[0]);
                fill_cache(ctx, past.as_ref(), new, (keys, &all), room)?;
            }
            let whole = |data, x: &Operand<'_>| Operand::cache(data, x.counts[0], x.counts[1], keys, x.size);
            let (k, v) = (whole(k_room, &k), whole(v_room, &v));
            self.0.attend(ctx, [&q, &k, &v], mask, addend, y)
        })
    }
}

impl Kernel for MultiHead {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let parts @ [q, k, v] = self.operands(inputs)?;
        let Some(bias) = optional(inputs, 3)? else { return self.behind(ctx, inputs, outputs, parts) };
        let bias = bias.slice::<f32>()?;
        // Keys that come as heads have had their bias added before.
        let ready = optional(inputs, 1)?.is_some_and(|key| key.dims.len() == 4);
        let widths = parts.map(|part| part.counts[1].saturating_mul(part.size));
        let wanted =
            if ready { widths[0] } else { widths.iter().fold(0, |a: usize, b| a.saturating_add(*b)) };
        if bias.len() < wanted {
            return Err(KernelError::invalid(format!("a bias of {} for {wanted} columns", bias.len())));
        }
        let kv = if ready { 0 } else { 1 };
        let lens = [q.len()?, k.len()? * kv, v.len()? * kv];
        with_scratch(lens.iter().sum(), |scratch: &mut [f32]| {
            let (q_room, rest) = scratch.split_at_mut(lens[0]);
            let (k_room, v_room) = rest.split_at_mut(lens[1]);
            let add = |part: &Operand<'_>, start: usize| {
                let (bias, size) = (&bias[start..], part.size);
                move |[_, head, _]: [usize; 3], from: &[f32], to: &mut [f32]| {
                    let bias = &bias[head * size..][..size];
                    to.iter_mut().zip(from).zip(bias).for_each(|((to, x), b)| *to = x + b);
                }
            };
            let with_bias = q.copied(q_room, add(&q, 0));
            if ready {
                return self.behind(ctx, inputs, outputs, [with_bias, k, v]);
            }
            let k = k.copied(k_room, add(&k, widths[0]));
            let v = v.copied(v_room, add(&v, widths[0] + widths[1]));
            self.behind(ctx, inputs, outputs, [with_bias, k, v])
        })
    }
}

/// Inputs: x, constant weights of all three projections, constant bias, mask, and an addend (5).
struct Projected {
    attributes: Attributes,
    weights: PackedB,
    inputs: usize,
    bias: Vec<f32>,
    /// Columns of queries, keys and values.
    widths: [usize; 3],
}

impl Projected {
    fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
        let flags = ["do_rotary", "past_present_share_buffer"];
        let refused = flags.iter().any(|name| node.int(name).unwrap_or(0) != 0)
            || node.has_input(4)
            || node.has_input(6)
            || wants(node, 1);
        (!refused && mask_is_whole(node, 3) && are_floats(node, &[0, 1, 2, 5])).then_some(())?;
        let attributes = Attributes::of(node)?;
        let weights = node.constant(1)?;
        let &[inputs, width] = weights.dims() else { return None };
        let widths = match node.ints("qkv_hidden_sizes").filter(|sizes| !sizes.is_empty()) {
            None => [width / 3; 3],
            Some(sizes) => {
                let sizes: Vec<usize> =
                    sizes.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
                sizes.try_into().ok()?
            }
        };
        let total = widths.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        let whole = widths.iter().all(|n| n.is_multiple_of(attributes.heads)) && total == Some(width);
        let bias = match node.has_input(2) {
            true => node.constant(2)?.as_slice::<f32>().ok()?.into_owned(),
            false => vec![0.0; width],
        };
        (whole && inputs > 0 && bias.len() == width).then_some(())?;
        let data = weights.as_slice::<f32>().ok()?;
        let weights = PackedB::pack(node.isa, Matrix::row_major(&data, inputs, width));
        Some(Box::new(Projected { attributes, weights, inputs, bias, widths }))
    }
}

impl Kernel for Projected {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let &[batch, rows, size] = x.dims else {
            return Err(KernelError::invalid(format!("an input of rank 3 is needed, not {:?}", x.dims)));
        };
        if size != self.inputs {
            let expected = self.inputs;
            return Err(KernelError::invalid(format!("rows of {size}, with weights for {expected}")));
        }
        let (all, width) = (batch * rows, self.bias.len());
        let (mask, addend) = (optional(inputs, 3)?, optional(inputs, 5)?);
        let out = outputs.tensor::<f32>(0, &[batch, rows, self.widths[2]])?;
        let len = element_count(&[all, width]).ok_or_else(|| KernelError::invalid("too many rows"))?;
        with_scratch(len, |projected: &mut [f32]| {
            let epilogue = Epilogue { column_bias: Some(&self.bias), ..Epilogue::default() };
            let x = Matrix::row_major(x.slice()?, all, size);
            gemm(ctx.exec, x, Rhs::Packed(&self.weights), projected, width, &epilogue);
            let heads = self.attributes.heads;
            let part = |start: usize, own: usize| {
                Operand::in_rows(projected, [batch, rows, width], start, [heads, own / heads])
            };
            let [q, k, v] = self.widths;
            let parts = [&part(0, q), &part(q, k), &part(q + k, v)];
            self.attributes.attend(ctx, parts, mask, addend, out)
        })
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1 || input == 2
    }
}
