//! Attention: the operators, and the products with a softmax between them that come to the same.
//!
//! Of such a form, transpositions of its operands and of its output, parts of a common projection, and heads that are
//! repeated for a group are taken in: the kernel reads and writes them with strides.

use byoc_plugin::{DType, Dim, Error, Node, Region, Result};

use super::{Lowering, ints};
use crate::kernels::attention::{Attention, First, Lies, Mask, is_mask};
use crate::kernels::moves::{Move, Rule};
use crate::program::View;
use crate::types::{self, Kind};

/// Heads are no longer in a form that is taken.
const LONGEST_HEAD: usize = 256;
const SWAP_ROWS_AND_HEADS: &[i64] = &[0, 2, 1, 3];

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    match (node.domain, node.op) {
        ("", "Attention") => Some(lowering.attention(node)),
        ("com.microsoft", "MultiHeadAttention") => Some(lowering.multi_head_attention(node)),
        _ => None,
    }
}

/// Queries, keys or values of a form: a tensor, and how heads lie in it.
#[derive(Debug, Clone)]
pub struct Operand {
    pub value: usize,
    pub lies: Lies,
}

/// Nodes that are an attention.
#[derive(Debug)]
pub struct Form {
    /// The node that makes the output.
    pub last: usize,
    pub nodes: Vec<usize>,
    pub operands: [Operand; 3],
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
        super::number(self.region.value(value))
    }
}

fn input(node: &Node<'_>, place: usize) -> Option<usize> {
    node.inputs.get(place).copied().flatten()
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
    if let Some((kind, mask)) = mask
        && !(is_mask(kind, region.value(mask).dtype?) && narrow(chain.dims(mask)?, chain.dims(scores)?))
    {
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
    Some(Form { last, nodes: chain.nodes, operands, mask, scale, lies })
}

/// Whether a mask repeats over the scores and does not widen them.
fn narrow(mask: &[Dim], scores: &[Dim]) -> bool {
    let missing = scores.len().checked_sub(mask.len());
    let fits = |(axis, dim): (usize, &Dim)| {
        *dim == Dim::Known(1) || *dim != Dim::Unknown && Some(dim) == scores.get(axis + missing.unwrap_or(0))
    };
    missing.is_some() && mask.iter().enumerate().all(fits)
}

fn heads(chain: &Chain<'_, '_>, operand: &Operand) -> Option<Dim> {
    chain.dims(operand.value)?.get(operand.lies.axes[1]).copied()
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
            let along = crate::shape::axis(node.attr_int("axis").unwrap_or(0), rank).ok()?;
            let place = super::number(picked).filter(|_| picked.rank() == Some(0))?;
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

impl Lowering<'_, '_> {
    pub(super) fn form(&mut self, form: &Form) -> Result<()> {
        let output = self.output(self.region.node(form.last))?;
        let [q, k, v] = form.operands.clone();
        let attention = Attention {
            dtype: self.dtype(q.value)?,
            lies: [q.lies, k.lies, v.lies, form.lies.clone()],
            mask: form.mask.map(|(kind, mask)| Ok::<_, Error>((kind, self.dtype(mask)?))).transpose()?,
            lengths: None,
            first: First::AtStart,
            sight: [None; 2],
            scale: Some(form.scale),
            cap: 0.0,
        };
        let inputs = [q.value, k.value, v.value].into_iter().chain(form.mask.map(|(_, mask)| mask));
        self.attend(attention, inputs.collect(), output)
    }

    fn attend(&mut self, attention: Attention, inputs: Vec<usize>, output: usize) -> Result<()> {
        for value in &inputs {
            self.stored(*value);
        }
        self.step(Box::new(attention), inputs, output);
        Ok(())
    }

    /// Queries, keys or values as the operators have them.
    fn heads_lie(&self, node: &Node<'_>, value: usize, heads: Option<i64>) -> Result<Lies> {
        let heads = heads.and_then(|heads| usize::try_from(heads).ok()).filter(|heads| *heads > 0);
        match (self.rank(value)?, heads) {
            (4, _) => Ok(Lies::HEADS),
            (3, Some(heads)) => Ok(Lies::flat(heads)),
            (rank, _) => Err(Error::unsupported(format!("{} of {rank} dimensions", node.op))),
        }
    }

    fn attention(&mut self, node: &Node<'_>) -> Result<()> {
        let [q, k, v] = self.triple(node)?;
        let output = self.first_output(node, 3)?;
        let (q_heads, kv_heads) = (node.attr_int("q_num_heads"), node.attr_int("kv_num_heads"));
        let q_lies = self.heads_lie(node, q, q_heads)?;
        let dtype = self.dtype(q)?;
        let optional = |place: usize| input(node, place);
        let past = optional(4).zip(optional(5));
        let (k, k_lies) = self.present(node, k, past.map(|past| past.0), 1, kv_heads)?;
        let (v, v_lies) = self.present(node, v, past.map(|past| past.1), 2, kv_heads)?;
        let mut inputs = vec![q, k, v];
        let mask = match optional(3) {
            Some(mask) => {
                let dtype = self.dtype(mask)?;
                let kind = if dtype == DType::Bool { Mask::Filled(f32::NEG_INFINITY) } else { Mask::Added };
                if !is_mask(kind, dtype) || self.rank(mask)? > 4 {
                    return Err(Error::unsupported(format!("a mask of {dtype}")));
                }
                inputs.push(mask);
                Some((kind, dtype))
            }
            None => None,
        };
        let lengths = optional(6).map(|lengths| self.dtype(lengths)).transpose()?;
        inputs.extend(optional(6));
        inputs.extend(past.map(|past| past.0));
        let window = |name: &str| {
            node.attr_int(name).filter(|side| *side >= 0).map(|side| u32::try_from(side).unwrap_or(u32::MAX))
        };
        let causal = node.attr_int("is_causal") == Some(1);
        let right = if causal { Some(0) } else { window("right_window_size") };
        let y_lies = if self.rank(q)? == 3 { q_lies.clone() } else { Lies::HEADS };
        let attention = Attention {
            dtype,
            lies: [q_lies, k_lies, v_lies, y_lies],
            mask,
            lengths,
            first: if past.is_some() { First::BehindPast } else { First::AtStart },
            sight: [window("left_window_size"), right],
            scale: node.attr_float("scale").map(f64::from),
            cap: node.attr_float("softcap").unwrap_or(0.0).into(),
        };
        self.attend(attention, inputs, output)
    }

    fn multi_head_attention(&mut self, node: &Node<'_>) -> Result<()> {
        let [q, k, v] = self.triple(node)?;
        let output = self.first_output(node, 3)?;
        if let Some(place) = [3, 4, 8, 9].into_iter().find(|place| input(node, *place).is_some()) {
            return Err(Error::unsupported(format!("MultiHeadAttention with its input {place}")));
        }
        let heads = node.attr_int("num_heads");
        let (dtype, q_lies) = (self.dtype(q)?, self.heads_lie(node, q, heads)?);
        if q_lies == Lies::HEADS {
            return Err(Error::unsupported("MultiHeadAttention with queries by heads"));
        }
        let past = input(node, 6).zip(input(node, 7));
        let (k, k_lies) = self.present(node, k, past.map(|past| past.0), 1, heads)?;
        let (v, v_lies) = self.present(node, v, past.map(|past| past.1), 2, heads)?;
        let mut inputs = vec![q, k, v];
        let mask = input(node, 5).map(|bias| self.dtype(bias)).transpose()?;
        inputs.extend(input(node, 5));
        let causal = node.attr_int("unidirectional") == Some(1);
        let attention = Attention {
            dtype,
            lies: [q_lies.clone(), k_lies, v_lies, q_lies],
            mask: mask.map(|dtype| (Mask::Added, dtype)),
            lengths: None,
            first: if causal { First::AtEnd } else { First::AtStart },
            sight: [None, causal.then_some(0)],
            scale: node.attr_float("scale").map(f64::from).filter(|scale| *scale != 0.0),
            cap: 0.0,
        };
        self.attend(attention, inputs, output)
    }

    /// Queries, keys and values, of one float type.
    fn triple(&self, node: &Node<'_>) -> Result<[usize; 3]> {
        let [q, k, v] = [0, 1, 2].map(|place| self.input(node, place));
        let triple = [q?, k?, v?];
        let dtype = self.dtype(triple[0])?;
        let same = triple.iter().all(|value| self.dtype(*value).ok() == Some(dtype));
        if !same || types::of(dtype)?.kind != Kind::Float {
            return Err(Error::unsupported(format!("{} of {dtype} and other types", node.op)));
        }
        Ok(triple)
    }

    /// The first output, where the one at `refused` is not wanted.
    fn first_output(&self, node: &Node<'_>, refused: usize) -> Result<usize> {
        if node.outputs.get(refused).copied().flatten().is_some() {
            return Err(Error::unsupported(format!("{} with its scores", node.op)));
        }
        let missing = || Error::unsupported(format!("{} without its first output", node.op));
        node.outputs.first().copied().flatten().ok_or_else(missing)
    }

    /// Keys or values with the past before them, and how they lie; they are an output of the node, if that is wanted.
    fn present(
        &mut self,
        node: &Node<'_>,
        fresh: usize,
        past: Option<usize>,
        place: usize,
        heads: Option<i64>,
    ) -> Result<(usize, Lies)> {
        let lies = self.heads_lie(node, fresh, heads)?;
        let wanted = node.outputs.get(place).copied().flatten();
        if past.is_none() && wanted.is_none() {
            return Ok((fresh, lies));
        }
        let dtype = self.dtype(fresh)?;
        self.stored(fresh);
        let mut by_heads = fresh;
        if lies != Lies::HEADS {
            let split = self.temporary(dtype);
            let to = vec![0, 0, heads.unwrap_or(1), -1];
            self.view(View::Reshape { to, allow_zero: false }, fresh, split);
            // Without a past, this is what goes out.
            by_heads = wanted.filter(|_| past.is_none()).unwrap_or_else(|| self.temporary(dtype));
            let rule = Rule::Transpose(SWAP_ROWS_AND_HEADS.to_vec());
            self.step(Box::new(Move { rule, dtype }), vec![split], by_heads);
        } else if let (None, Some(wanted)) = (past, wanted) {
            self.view(View::Same, fresh, wanted);
        }
        let Some(past) = past else { return Ok((by_heads, Lies::HEADS)) };
        if self.rank(past)? != 4 || self.dtype(past)? != dtype {
            return Err(Error::unsupported(format!("{} with a past of another type", node.op)));
        }
        self.stored(past);
        let whole = wanted.unwrap_or_else(|| self.temporary(dtype));
        for part in 0..2 {
            let rule = Rule::Concat { axis: 2, part };
            self.step(Box::new(Move { rule, dtype }), vec![past, by_heads], whole);
        }
        Ok((whole, Lies::HEADS))
    }
}
