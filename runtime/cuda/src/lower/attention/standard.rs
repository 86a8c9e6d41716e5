//! The standard's Attention.

use byoc_plugin::{DType, Error, Node, Result};

use super::super::Lowering;
use super::input;
use crate::kernels::attention::{Attention, First, Lengths, Lies, Mask, is_mask};

impl Lowering<'_, '_> {
    pub(super) fn attention(&mut self, node: &Node<'_>) -> Result<()> {
        let output = self.first_output(node, 3)?;
        let (q_heads, kv_heads) = (node.attr_int("q_num_heads"), node.attr_int("kv_num_heads"));
        let q = self.heads(node, self.input(node, 0)?, q_heads)?;
        let k = self.heads(node, self.input(node, 1)?, kv_heads)?;
        let v = self.heads(node, self.input(node, 2)?, kv_heads)?;
        let past = self.past(node, [4, 5])?;
        let mut inputs = vec![q.value, k.value, v.value];
        inputs.extend(past.iter().flatten());
        self.of_one_float(node, &inputs)?;
        self.present(node, 1, &k, past.map(|past| past[0]))?;
        self.present(node, 2, &v, past.map(|past| past[1]))?;
        let mask = input(node, 3).map(|mask| self.mask(mask)).transpose()?;
        inputs.extend(input(node, 3));
        let lengths = input(node, 6).map(|lengths| self.dtype(lengths)).transpose()?;
        inputs.extend(input(node, 6));
        let window = |name: &str| {
            node.attr_int(name).filter(|side| *side >= 0).map(|side| u32::try_from(side).unwrap_or(u32::MAX))
        };
        let causal = node.attr_int("is_causal") == Some(1);
        let y_lies = if self.rank(q.value)? == 3 { q.lies.clone() } else { Lies::HEADS };
        let attention = Attention {
            past: past.map(|_| [Lies::HEADS; 2]),
            mask,
            lengths: lengths.map(Lengths::Keys),
            first: if past.is_some() { First::BehindPast } else { First::AtStart },
            sight: [window("left_window_size"), if causal { Some(0) } else { window("right_window_size") }],
            scale: node.attr_float("scale").map(f64::from),
            cap: node.attr_float("softcap").unwrap_or(0.0).into(),
            ..Attention::new(self.dtype(q.value)?, [q.lies, k.lies, v.lies, y_lies])
        };
        self.attend(attention, inputs, output)
    }

    fn mask(&self, mask: usize) -> Result<(Mask, DType)> {
        let dtype = self.dtype(mask)?;
        let kind = if dtype == DType::Bool { Mask::Filled(f32::NEG_INFINITY) } else { Mask::Added };
        if !is_mask(kind, dtype) || self.rank(mask)? > 4 {
            return Err(Error::unsupported(format!("a mask of {dtype}")));
        }
        Ok((kind, dtype))
    }
}
