//! ONNX Runtime's GroupQueryAttention in f32: causal attention over caches that each sequence of the batch fills to its
//! own length, with or without a rotary embedding.
//!
//! Soft caps, sinks, addends and quantised caches are left to the reference.

use byoc_graph::DType;
use smallvec::SmallVec;

use super::heads::{Operand, Scoring, are_floats, attend, fill_cache, with_results};
use crate::fast::attention::{Mask, Order, Sight};
use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "attention",
    domain: "com.microsoft",
    ops: &["GroupQueryAttention"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

const PAST: [usize; 2] = [3, 4];
const LAST: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const POSITIONS: usize = 9;
/// Inputs that only the reference understands, from here on.
const RARE: usize = 10;
const SCORES: usize = 3;

struct GroupQuery {
    heads: usize,
    key_heads: usize,
    scale: Option<f32>,
    window: Option<usize>,
    rotary: bool,
    interleaved: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let positive = |name: &str| usize::try_from(node.int(name)?).ok().filter(|&n| n > 0);
    let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
    let plain = are_floats(node, &[0, 1, 2, PAST[0], PAST[1], COS, SIN])
        && node.float("softcap").unwrap_or(0.0) <= 0.0
        && node.int("smooth_softmax").unwrap_or(0) != 1
        && node.int("causal").unwrap_or(1) != 0
        && !flag("sliding_window_cache")
        && (RARE..node.inputs.len()).all(|i| !node.has_input(i))
        && node.has_input(PAST[0]) == node.has_input(PAST[1])
        && node.has_input(1) == node.has_input(2)
        && node.outputs.get(SCORES).copied().flatten().is_none();
    plain.then_some(())?;
    Some(Box::new(GroupQuery {
        heads: positive("num_heads")?,
        key_heads: positive("kv_num_heads")?,
        scale: node.float("scale").filter(|&scale| scale != 0.0),
        window: node.int("local_window_size").and_then(|n| usize::try_from(n).ok()),
        rotary: flag("do_rotary"),
        interleaved: flag("rotary_interleaved"),
    }))
}

impl GroupQuery {
    /// Queries, keys and values; without keys, all three lie in the queries.
    fn operands<'a>(&self, inputs: &[Option<View<'a>>]) -> Result<[Operand<'a>; 3], KernelError> {
        let (query, heads, groups) = (tensor(inputs, 0)?, self.heads, self.key_heads);
        if let (Some(k), Some(v)) = (optional(inputs, 1)?, optional(inputs, 2)?) {
            let of = |view, heads| Operand::of(view, Some(heads));
            return Ok([of(query, heads)?, of(k, groups)?, of(v, groups)?]);
        }
        let whole = Operand::of(query, heads.checked_add(groups.saturating_mul(2)))?;
        let part = |start: usize, count: usize| {
            let mut part = whole;
            part.counts[1] = count;
            part.heads.start += start * whole.heads.strides[1];
            part
        };
        Ok([part(0, heads), part(heads, groups), part(heads + groups, groups)])
    }

    /// How much of the cache each sequence has filled before: nothing, where this is its beginning.
    fn filled(
        inputs: &[Option<View<'_>>],
        batch: usize,
        rows: usize,
    ) -> Result<(SmallVec<[usize; 8]>, usize), KernelError> {
        let whole = |i: usize| tensor(inputs, i)?.slice::<i32>();
        let [total] = whole(TOTAL)? else {
            return Err(KernelError::invalid("the total length is one number"));
        };
        let total = usize::try_from(*total)
            .map_err(|_| KernelError::invalid(format!("a total length of {total}")))?;
        let ends = whole(LAST)?;
        if ends.len() != batch {
            return Err(KernelError::invalid(format!("{} lengths for {batch} sequences", ends.len())));
        }
        let before = |&end: &i32| match rows == total {
            true => Ok(0),
            false => usize::try_from(i64::from(end) + 1)
                .ok()
                .and_then(|end| end.checked_sub(rows))
                .ok_or_else(|| {
                    KernelError::invalid(format!(
                        "a sequence of {} keys with {rows} new ones",
                        i64::from(end) + 1
                    ))
                }),
        };
        Ok((ends.iter().map(before).collect::<Result<_, _>>()?, total))
    }

    /// Behind the rotary embedding: the caches, and attention.
    fn behind(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
        [q, k, v]: [Operand<'_>; 3],
        (filled, total): (&[usize], usize),
    ) -> Result<(), KernelError> {
        let past = |i: usize| optional(inputs, i)?.map(|x| Operand::of(x, None)).transpose();
        let (past_k, past_v): (Option<Operand<'_>>, Option<Operand<'_>>) = (past(PAST[0])?, past(PAST[1])?);
        let length = past_k.as_ref().map_or(0, |past| past.counts[2]).max(total);
        let [batch, heads, rows] = q.counts;
        let caches = [&k, &v].map(|x| [x.counts[0], x.counts[1], length, x.size]);
        let y_dims = [batch, rows, heads.saturating_mul(v.size)];
        with_results(outputs, &y_dims, Some(caches), |y, room| {
            let [k_room, v_room] = room.expect("caches were asked for");
            fill_cache(ctx, past_k.as_ref(), &k, (length, filled), k_room)?;
            fill_cache(ctx, past_v.as_ref(), &v, (length, filled), v_room)?;
            let whole =
                |data, x: &Operand<'_>| Operand::cache(data, x.counts[0], x.counts[1], length, x.size);
            let past: SmallVec<[i64; 8]> = filled.iter().map(|&filled| filled as i64).collect();
            let sight = Sight { past: &past, causal: true, window: self.window, lengths: None };
            let scoring = Scoring { mask: Mask::None, sight, scale: self.scale };
            attend(ctx, [&q, &whole(k_room, &k), &whole(v_room, &v)], &scoring, Order::RowsFirst, y)
        })
    }
}

impl Kernel for GroupQuery {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let [q, k, v] = self.operands(inputs)?;
        let [batch, _, rows] = q.counts;
        let (filled, total) = Self::filled(inputs, batch, rows)?;
        if !self.rotary {
            return self.behind(ctx, inputs, outputs, [q, k, v], (&filled, total));
        }
        let table = Angles::of(inputs, self.interleaved, [batch, rows, q.size.min(k.size)], &filled)?;
        if k.counts[0] != batch || k.counts[2] != rows {
            return Err(KernelError::invalid("queries and keys of different lengths"));
        }
        let lens = [q.len()?, k.len()?];
        with_scratch(lens[0] + lens[1], |scratch: &mut [f32]| {
            let (q_room, k_room) = scratch.split_at_mut(lens[0]);
            let turn = |at: [usize; 3], from: &[f32], to: &mut [f32]| table.turn(at, from, to);
            let (q, k) = (q.copied(q_room, turn), k.copied(k_room, turn));
            self.behind(ctx, inputs, outputs, [q, k, v], (&filled, total))
        })
    }
}

/// Cosines and sines, and which of them belong to which row.
struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    positions: SmallVec<[usize; 16]>,
    rows: usize,
    interleaved: bool,
}

impl<'a> Angles<'a> {
    fn of(
        inputs: &[Option<View<'a>>],
        interleaved: bool,
        [batch, rows, size]: [usize; 3],
        filled: &[usize],
    ) -> Result<Angles<'a>, KernelError> {
        let (cos, sin) = (tensor(inputs, COS)?, tensor(inputs, SIN)?);
        let &[count, half] = cos.dims else {
            return Err(KernelError::invalid(format!("angles of shape {:?}", cos.dims)));
        };
        if cos.dims != sin.dims || half.saturating_mul(2) > size {
            return Err(KernelError::invalid(format!("{half} pairs in {size} features")));
        }
        let positions: SmallVec<[usize; 16]> = match optional(inputs, POSITIONS)? {
            Some(given) => {
                let given = given.slice::<i64>()?;
                given.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect()
            }
            None => filled.iter().flat_map(|&past| (0..rows).map(move |row| past + row)).collect(),
        };
        if positions.len() != batch * rows {
            return Err(KernelError::invalid(format!("{} positions for {rows} rows", positions.len())));
        }
        if let Some(beyond) = positions.iter().find(|&&p| p >= count) {
            return Err(KernelError::invalid(format!(
                "position {beyond} is outside of {count} rows of angles"
            )));
        }
        Ok(Angles { cos: cos.slice()?, sin: sin.slice()?, half, positions, rows, interleaved })
    }

    /// Turns each pair of features; what is beyond the pairs stays.
    fn turn(&self, [batch, _, row]: [usize; 3], from: &[f32], to: &mut [f32]) {
        let at = self.positions[batch * self.rows + row] * self.half;
        let (cos, sin) = (&self.cos[at..][..self.half], &self.sin[at..][..self.half]);
        let (turned, rest) = to.split_at_mut(2 * self.half);
        rest.copy_from_slice(&from[2 * self.half..]);
        if self.interleaved {
            let pairs = turned.as_chunks_mut::<2>().0.iter_mut().zip(from.as_chunks::<2>().0);
            for (([a, b], &[x, y]), (c, s)) in pairs.zip(cos.iter().zip(sin)) {
                (*a, *b) = (x * c - y * s, x * s + y * c);
            }
            return;
        }
        let ((a, b), (x, y)) = (turned.split_at_mut(self.half), from.split_at(self.half));
        let to = a.iter_mut().zip(b);
        for ((((a, b), x), y), (c, s)) in to.zip(x).zip(y).zip(cos.iter().zip(sin)) {
            (*a, *b) = (x * c - y * s, x * s + y * c);
        }
    }
}
