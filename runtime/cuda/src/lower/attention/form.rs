//! Products with a softmax between them that come to an attention.
//!
//! Transpositions of its operands and of its output, parts of a common projection, heads that are repeated for a group and
//! keys that are put behind those of the past are taken in: the kernel reads and writes with strides, from where all of these
//! lie.

use byoc_plugin::{Dim, Node, Region};

use super::super::{ints, number};
use super::{Operand, SWAP_ROWS_AND_HEADS, input};
use crate::kernels::attention::{Lies, Mask, is_mask};
use crate::shape::axis;
use crate::types::{self, Kind};

/// Heads are no longer in a form that is taken.
const LONGEST_HEAD: usize = 256;

/// Nodes that are an attention.
#[derive(Debug)]
pub struct Form {
    /// The node that makes the output.
    pub last: usize,
    pub nodes: Vec<usize>,
    pub operands: [Operand; 3],
    /// Keys and values that come before the others.
    pub past: Option<[Operand; 2]>,
    pub mask: Option<(Mask, usize)>,
    pub scale: f64,
    /// How heads lie in the output.
    pub lies: Lies,
}

/// The forms in a region.
pub fn forms(region: &Region<'_>) -> Vec<Form> {
    region.nodes.iter().filter_map(|node| form(region, node)).collect()
}

/// A matcher's view: what is read once, and where it comes from.
struct Chain<'r, 'a> {
    region: &'r Region<'a>,
    nodes: Vec<usize>,
}

impl<'r, 'a> Chain<'r, 'a> {
    fn maker(&self, value: usize) -> Option<&'r Node<'a>> {
        self.region.producer(self.region.value(value))
    }

    fn is_private(&self, value: usize) -> bool {
        let uses = self.region.nodes.iter().flat_map(|node| &node.inputs);
        uses.filter(|used| **used == Some(value)).count() == 1 && !self.region.is_output(value)
    }

    /// The node that makes a value, if it is one of these operators and only this is done with the value.
    fn inner(&mut self, value: usize, ops: &[&str]) -> Option<&'r Node<'a>> {
        let node = self.maker(value).filter(|node| node.domain.is_empty() && ops.contains(&node.op))?;
        self.is_private(value).then(|| {
            self.nodes.push(node.index);
            node
        })
    }

    fn rank(&self, value: usize) -> Option<usize> {
        self.region.value(value).rank()
    }

    fn dims(&self, value: usize) -> Option<&'r [Dim]> {
        self.region.value(value).dims.as_deref()
    }

    /// The only number of a constant.
    fn scalar(&self, value: usize) -> Option<f64> {
        number(self.region.value(value))
    }
}

/// The attention whose last product this is.
fn form(region: &Region<'_>, product: &Node<'_>) -> Option<Form> {
    let mut chain = Chain { region, nodes: vec![product.index] };
    let output = product.outputs.first().copied().flatten()?;
    let dtype = region.value(output).dtype?;
    let float = types::of(dtype).is_ok_and(|of| of.kind == Kind::Float);
    (product.op == "MatMul" && float && chain.rank(output) == Some(4)).then_some(())?;
    let softmax = chain.inner(input(product, 0)?, &["Softmax"])?;
    match softmax.attr_int("axis") {
        Some(-1 | 3) => {}
        None if softmax.since_version >= 13 => {}
        _ => return None,
    }
    let (mut scores, mut mask) = (input(softmax, 0)?, None);
    if let Some(choice) = chain.inner(scores, &["Where"]) {
        let fill = chain.scalar(input(choice, 2)?)? as f32;
        mask = Some((Mask::Filled(fill), input(choice, 0)?));
        scores = input(choice, 1)?;
    } else if let Some(sum) = chain.inner(scores, &["Add"]) {
        let product = |value: usize| chain.maker(value).is_some_and(|node| node.op == "MatMul");
        let is_score = |value: &usize| {
            let scaled = chain.maker(*value).filter(|node| ["Mul", "Div"].contains(&node.op));
            let of_product =
                scaled.is_some_and(|node| node.inputs.iter().flatten().any(|value| product(*value)));
            chain.is_private(*value) && (product(*value) || of_product)
        };
        let both = [input(sum, 0)?, input(sum, 1)?];
        let own = both.iter().position(is_score)?;
        mask = Some((Mask::Added, both[1 - own]));
        scores = both[own];
    }
    let mut scale = 1.0;
    if let Some(scaled) = chain.inner(scores, &["Mul", "Div"]) {
        let (first, second) = (input(scaled, 0)?, input(scaled, 1)?);
        (scores, scale) = match (chain.scalar(first), chain.scalar(second)) {
            (_, Some(factor)) if scaled.op == "Mul" => (first, factor),
            (_, Some(divisor)) => (first, 1.0 / divisor),
            (Some(factor), _) if scaled.op == "Mul" => (second, factor),
            _ => return None,
        };
    }
    let first = chain.inner(scores, &["MatMul"])?;
    let (q, k, v) = (input(first, 0)?, input(first, 1)?, input(product, 1)?);
    let fits = |value: usize, head: usize| {
        let dims = chain.dims(value)?;
        let head = dims.get(head).filter(|dim| matches!(dim, Dim::Known(1..=LONGEST_HEAD)));
        (dims.len() == 4 && region.value(value).dtype == Some(dtype) && head.is_some()).then_some(&dims[..2])
    };
    let outer = [fits(q, 3)?, fits(k, 2)?, fits(v, 3)?];
    // Nothing is repeated by a product itself, and the scores have no more rows than the queries.
    if outer[0].contains(&Dim::Unknown) || outer[1] != outer[0] || outer[2] != outer[0] {
        return None;
    }
    let operand =
        |value: usize, axes: [usize; 4]| trace(&chain, Operand { value, lies: Lies { axes, ..Lies::HEADS } });
    let operands = [operand(q, [0, 1, 2, 3]), operand(k, [0, 1, 3, 2]), operand(v, [0, 1, 2, 3])];
    // Heads are repeated for keys and values alike.
    let heads = |operand: &Operand| heads(&chain, operand);
    let operands = match heads(&operands[1]) == heads(&operands[2]) {
        true => operands,
        false => [q, k, v].map(|value| Operand {
            value,
            lies: Lies { axes: if value == k { [0, 1, 3, 2] } else { [0, 1, 2, 3] }, ..Lies::HEADS },
        }),
    };
    let (operands, past) = match behind_past(&chain, &operands[1], &operands[2]) {
        Some(([past_k, k], [past_v, v])) => {
            let [q, ..] = operands;
            ([q, k, v], Some([past_k, past_v]))
        }
        None => (operands, None),
    };
    let of_values = chain.dims(v)?[2];
    let alike = past.is_some() || of_values != Dim::Unknown && chain.dims(k)?[3] == of_values;
    if let Some((kind, mask)) = mask
        && !(is_mask(kind, region.value(mask).dtype?)
            && narrow(chain.dims(mask)?, chain.dims(scores)?, alike))
    {
        return None;
    }
    let (mut last, mut lies) = (product.index, Lies::HEADS);
    let mut users = region.consumers(output);
    if let (Some(back), None) = (users.next(), users.next())
        && back.op == "Transpose"
        && ints(back, "perm").as_deref() == Some(SWAP_ROWS_AND_HEADS)
        && !region.is_output(output)
    {
        chain.nodes.push(back.index);
        (last, lies) = (back.index, Lies { axes: [0, 2, 1, 3], ..Lies::HEADS });
    }
    Some(Form { last, nodes: chain.nodes, operands, past, mask, scale, lies })
}

/// Whether a mask repeats over the scores and does not widen them. Where there are as many keys as values, it cannot add keys:
/// these would have no values.
fn narrow(mask: &[Dim], scores: &[Dim], alike: bool) -> bool {
    let missing = scores.len().checked_sub(mask.len());
    let fits = |(axis, dim): (usize, &Dim)| {
        let axis = axis + missing.unwrap_or(0);
        *dim == Dim::Known(1)
            || alike && axis + 1 == scores.len()
            || *dim != Dim::Unknown && Some(dim) == scores.get(axis)
    };
    missing.is_some() && mask.iter().enumerate().all(fits)
}

/// How many batches, heads, rows or items there are.
fn size(chain: &Chain<'_, '_>, operand: &Operand, own: usize) -> Option<Dim> {
    chain.dims(operand.value)?.get(operand.lies.axes[own]).copied()
}

fn heads(chain: &Chain<'_, '_>, operand: &Operand) -> Option<Dim> {
    size(chain, operand, 1)
}

/// Keys and values as those of the past and the others, where they are such.
fn behind_past(chain: &Chain<'_, '_>, k: &Operand, v: &Operand) -> Option<([Operand; 2], [Operand; 2])> {
    let (k, v) = (halves(chain, k)?, halves(chain, v)?);
    let alike = |one: &Operand, other: &Operand, own: usize| {
        let size = size(chain, one, own).filter(|size| *size != Dim::Unknown);
        size.is_some() && size == self::size(chain, other, own)
    };
    let rows = (0..2).all(|half| alike(&k[half], &v[half], 2));
    let outer = [0, 1, 3].into_iter().all(|own| alike(&k[0], &k[1], own) && alike(&v[0], &v[1], own));
    if !rows || !outer {
        return None;
    }
    let traced = [&k, &v].map(|halves| halves.clone().map(|half| trace(chain, half)));
    let heads = traced.iter().flatten().map(|half| heads(chain, half));
    let [first, rest @ ..] = &heads.collect::<Vec<_>>()[..] else { return None };
    let [traced_k, traced_v] = traced;
    Some(if rest.iter().all(|heads| heads == first) { (traced_k, traced_v) } else { (k, v) })
}

/// Rows of heads that two tensors have one behind the other.
fn halves(chain: &Chain<'_, '_>, operand: &Operand) -> Option<[Operand; 2]> {
    let node = chain.maker(operand.value).filter(|node| node.domain.is_empty() && node.op == "Concat")?;
    let &[Some(first), Some(second)] = &node.inputs[..] else { return None };
    let along = axis(node.attr_int("axis")?, chain.rank(operand.value)?).ok()?;
    let dtype = chain.region.value(operand.value).dtype;
    let fits = [first, second].iter().all(|value| {
        chain.rank(*value) == chain.rank(operand.value) && chain.region.value(*value).dtype == dtype
    });
    let lies = &operand.lies;
    (fits && along == lies.axes[2])
        .then(|| [first, second].map(|value| Operand { value, lies: lies.clone() }))
}

/// Where heads come from, as far as strides can tell.
fn trace(chain: &Chain<'_, '_>, mut operand: Operand) -> Operand {
    while let Some(earlier) = step(chain, &operand) {
        operand = earlier;
    }
    operand
}

fn step(chain: &Chain<'_, '_>, operand: &Operand) -> Option<Operand> {
    let node = chain.maker(operand.value).filter(|node| node.domain.is_empty())?;
    let value = input(node, 0)?;
    let rank = chain.rank(value)?;
    let mut lies = operand.lies.clone();
    match node.op {
        "Transpose" => {
            let perm = ints(node, "perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
            let axis = |axis: usize| usize::try_from(*perm.get(axis)?).ok().filter(|axis| *axis < rank);
            for own in &mut lies.axes {
                *own = axis(*own)?;
            }
            if let Some((own, _)) = &mut lies.fixed {
                *own = axis(*own)?;
            }
        }
        // One part of several, that of keys say.
        "Gather" if lies.fixed.is_none() && rank == 5 => {
            let picked = chain.region.value(input(node, 1)?);
            let along = axis(node.attr_int("axis").unwrap_or(0), rank).ok()?;
            let place = number(picked).filter(|_| picked.rank() == Some(0))?;
            let Dim::Known(count) = chain.dims(value)?[along] else { return None };
            let wrapped = if place < 0.0 { place + count as f64 } else { place };
            let place = (wrapped >= 0.0 && wrapped < count as f64).then_some(wrapped as usize)?;
            lies.axes.iter_mut().filter(|own| **own >= along).for_each(|own| *own += 1);
            lies.fixed = Some((along, place));
        }
        // Heads repeated for a group, one after the other.
        "Reshape" if lies.fixed.is_none() && rank == 5 => {
            let expand = chain.maker(value).filter(|node| node.op == "Expand")?;
            let new = chain.maker(input(expand, 0)?).filter(|node| node.op == "Unsqueeze")?;
            let source = input(new, 0)?;
            let (few, between, many) =
                (chain.dims(source)?, chain.dims(input(expand, 0)?)?, chain.dims(operand.value)?);
            let wide = chain.dims(value)?;
            let [b, heads, rows, size] = *few else { return None };
            let [b_too, all, rows_too, size_too] = *many else { return None };
            let (Dim::Known(heads), Dim::Known(all)) = (heads, all) else { return None };
            let same =
                [b, rows, size] == [b_too, rows_too, size_too] && ![b, rows, size].contains(&Dim::Unknown);
            let group = all.checked_div(heads).filter(|group| group * heads == all)?;
            let added = between == [b, Dim::Known(heads), Dim::Known(1), rows, size];
            let repeated = wide == [b, Dim::Known(heads), Dim::Known(group), rows, size];
            (same && added && repeated).then_some(())?;
            return Some(Operand { value: source, lies });
        }
        _ => return None,
    }
    Some(Operand { value, lies })
}
