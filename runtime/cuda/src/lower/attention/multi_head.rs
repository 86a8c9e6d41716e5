//! MultiHeadAttention of ONNX Runtime.

use byoc_plugin::{DType, Dim, Error, Node, Result};

use super::super::Lowering;
use super::{Operand, input};
use crate::kernels::attention::{Attention, First, Lies, Mask, Padding, is_mask};
use crate::kernels::heads::{Change, Heads};

/// Inputs that change the result in ways that no kernel is there for.
const UNSUPPORTED: &[(usize, &str)] = &[(8, "past_sequence_length"), (9, "cache_indirection")];
/// What is added where a mask of the keys says no, unless the node says otherwise.
const MASKED: f32 = -10_000.0;
/// A filter below this one is as far down as what causality hides, and the two would be told apart by rounding alone.
const LOWEST: f32 = -1e30;

impl Lowering<'_, '_> {
    pub(super) fn multi_head_attention(&mut self, node: &Node<'_>) -> Result<()> {
        let output = self.first_output(node, 3)?;
        self.without(node, UNSUPPORTED)?;
        let ([q, k, v], y_lies) = self.projections(node)?;
        let past = self.past(node, [6, 7])?;
        let values: Vec<usize> =
            [q.value, k.value, v.value].into_iter().chain(past.into_iter().flatten()).collect();
        self.of_one_float(node, &values)?;
        let [q, k, v] = self.biased(node, [q, k, v])?;
        self.present(node, 1, &k, past.map(|past| past[0]))?;
        self.present(node, 2, &v, past.map(|past| past[1]))?;
        let mut inputs = vec![q.value, k.value, v.value];
        inputs.extend(past.into_iter().flatten());
        let mask = self.added(node, 5)?;
        inputs.extend(input(node, 5));
        let padding = input(node, 4).map(|mask| self.padding(mask)).transpose()?;
        inputs.extend(input(node, 4));
        let masked = node.attr_float("mask_filter_value").unwrap_or(MASKED);
        let causal = node.attr_int("unidirectional") == Some(1);
        if causal && padding.is_some() && masked < LOWEST {
            return Err(Error::unsupported("a causal MultiHeadAttention with as low a mask_filter_value"));
        }
        let attention = Attention {
            past: past.map(|_| [Lies::HEADS; 2]),
            mask,
            padding,
            masked,
            first: if causal { First::AtEnd } else { First::AtStart },
            sight: [None, causal.then_some(0)],
            scale: node.attr_float("scale").map(f64::from).filter(|scale| *scale != 0.0),
            ..Attention::new(self.dtype(q.value)?, [q.lies, k.lies, v.lies, y_lies])
        };
        self.attend(attention, inputs, output)
    }

    /// Queries, keys and values, which may be parts of one input or two; and how heads lie in the output.
    fn projections(&self, node: &Node<'_>) -> Result<([Operand; 3], Lies)> {
        let heads = node.attr_int("num_heads");
        let query = self.input(node, 0)?;
        let Some(key) = input(node, 1) else {
            let count = self.packed(query, 3)?;
            let part = |part| Operand { value: query, lies: Lies::packed(part) };
            return Ok(([part(0), part(1), part(2)], Lies::flat(count)));
        };
        let q = self.heads(node, query, heads)?;
        if q.lies == Lies::HEADS {
            return Err(Error::unsupported("MultiHeadAttention with queries by heads"));
        }
        let y_lies = q.lies.clone();
        let Some(value) = input(node, 2) else {
            self.packed(key, 2)?;
            let part = |part| Operand { value: key, lies: Lies::packed(part) };
            return Ok(([q, part(0), part(1)], y_lies));
        };
        Ok(([q, self.heads(node, key, heads)?, self.heads(node, value, heads)?], y_lies))
    }

    /// How many heads there are in `[batch, row, head, part, item]` of so many parts.
    fn packed(&self, value: usize, parts: usize) -> Result<usize> {
        match self.value(value).dims.as_deref() {
            Some([_, _, Dim::Known(heads @ 1..), Dim::Known(count), _]) if *count == parts => Ok(*heads),
            _ => {
                Err(Error::unsupported(format!("MultiHeadAttention without a key, nor {parts} packed parts")))
            }
        }
    }

    /// Queries, keys and values with their parts of the bias; keys that come as heads have had it added before.
    fn biased(&mut self, node: &Node<'_>, heads: [Operand; 3]) -> Result<[Operand; 3]> {
        let Some(bias) = input(node, 3) else { return Ok(heads) };
        let dtype = self.dtype(heads[0].value)?;
        if self.dtype(bias)? != dtype {
            return Err(Error::unsupported(format!("a bias of {}", self.dtype(bias)?)));
        }
        let ready = input(node, 1).is_some_and(|key| self.rank(key) == Ok(4));
        let mut biased = heads.clone();
        for (place, own) in biased.iter_mut().enumerate().take(if ready { 1 } else { 3 }) {
            let before = &heads[..place];
            let change = Change::Bias { before: before.iter().map(|before| before.lies.clone()).collect() };
            let others = [bias].into_iter().chain(before.iter().map(|before| before.value));
            *own = self.changed(own, change, others.collect())?;
        }
        Ok(biased)
    }

    /// Heads with a change, by heads.
    pub(super) fn changed(&mut self, own: &Operand, change: Change, others: Vec<usize>) -> Result<Operand> {
        let dtype = self.dtype(own.value)?;
        let inputs: Vec<usize> = [own.value].into_iter().chain(others).collect();
        for value in &inputs {
            self.stored(*value);
        }
        let value = self.temporary(dtype);
        self.step(Box::new(Heads { dtype, lies: own.lies.clone(), change }), inputs, value);
        Ok(Operand { value, lies: Lies::HEADS })
    }

    /// An input that is added to the scores.
    pub(super) fn added(&self, node: &Node<'_>, place: usize) -> Result<Option<(Mask, DType)>> {
        let Some(bias) = input(node, place) else { return Ok(None) };
        let dtype = self.dtype(bias)?;
        if !is_mask(Mask::Added, dtype) || self.rank(bias)? > 4 {
            return Err(Error::unsupported(format!("{} with a bias of {dtype}", node.op)));
        }
        Ok(Some((Mask::Added, dtype)))
    }

    fn padding(&self, mask: usize) -> Result<Padding> {
        match (self.dtype(mask)?, self.rank(mask)?) {
            (DType::I32, 1) => Ok(Padding::Ends),
            (DType::I32, 2 | 3) => Ok(Padding::Keys),
            (dtype, rank) => {
                Err(Error::unsupported(format!("a mask of the keys of {dtype} and rank {rank}")))
            }
        }
    }
}
