//! MultiHeadAttention of ONNX Runtime.

use byoc_plugin::{Error, Node, Result};

use super::super::Lowering;
use super::input;
use crate::kernels::attention::{Attention, First, Lies, Mask};

impl Lowering<'_, '_> {
    pub(super) fn multi_head_attention(&mut self, node: &Node<'_>) -> Result<()> {
        let output = self.first_output(node, 3)?;
        if let Some(place) = [3, 4, 8, 9].into_iter().find(|place| input(node, *place).is_some()) {
            return Err(Error::unsupported(format!("MultiHeadAttention with its input {place}")));
        }
        let heads = node.attr_int("num_heads");
        let q = self.heads(node, self.input(node, 0)?, heads)?;
        let k = self.heads(node, self.input(node, 1)?, heads)?;
        let v = self.heads(node, self.input(node, 2)?, heads)?;
        if q.lies == Lies::HEADS {
            return Err(Error::unsupported("MultiHeadAttention with queries by heads"));
        }
        let past = self.past(node, [6, 7])?;
        let mut inputs = vec![q.value, k.value, v.value];
        inputs.extend(past.iter().flatten());
        self.of_one_float(node, &inputs)?;
        self.present(node, 1, &k, past.map(|past| past[0]))?;
        self.present(node, 2, &v, past.map(|past| past[1]))?;
        let mask = input(node, 5).map(|bias| self.dtype(bias)).transpose()?;
        inputs.extend(input(node, 5));
        let causal = node.attr_int("unidirectional") == Some(1);
        let attention = Attention {
            past: past.map(|_| [Lies::HEADS; 2]),
            mask: mask.map(|dtype| (Mask::Added, dtype)),
            first: if causal { First::AtEnd } else { First::AtStart },
            sight: [None, causal.then_some(0)],
            scale: node.attr_float("scale").map(f64::from).filter(|scale| *scale != 0.0),
            ..Attention::new(self.dtype(q.value)?, [q.lies.clone(), k.lies, v.lies, q.lies])
        };
        self.attend(attention, inputs, output)
    }
}
