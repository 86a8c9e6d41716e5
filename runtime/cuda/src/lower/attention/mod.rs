//! Attention: the operators, and the products with a softmax between them that come to the same.

mod form;
mod group_query;
mod multi_head;
mod standard;

use byoc_plugin::{Error, Node, Result};

use super::Lowering;
use crate::kernels::attention::{Attention, Lies};
use crate::kernels::cache::Cache;
use crate::program::View;
use crate::types::{self, Kind};
pub use form::{Form, forms};

const SWAP_ROWS_AND_HEADS: &[i64] = &[0, 2, 1, 3];

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    match (node.domain, node.op) {
        ("", "Attention") => Some(lowering.attention(node)),
        ("com.microsoft", "MultiHeadAttention") => Some(lowering.multi_head_attention(node)),
        ("com.microsoft", "GroupQueryAttention") => Some(lowering.group_query_attention(node)),
        _ => None,
    }
}

fn input(node: &Node<'_>, place: usize) -> Option<usize> {
    node.inputs.get(place).copied().flatten()
}

/// A number of heads, which has to be one.
fn count(heads: Option<i64>) -> Option<usize> {
    heads.and_then(|heads| usize::try_from(heads).ok()).filter(|heads| *heads > 0)
}

/// Queries, keys or values: a tensor, and how heads lie in it.
#[derive(Debug, Clone)]
pub struct Operand {
    pub value: usize,
    pub lies: Lies,
}

impl Lowering<'_, '_> {
    pub(super) fn form(&mut self, form: &Form) -> Result<()> {
        let output = self.output(self.region.node(form.last))?;
        let [q, k, v] = &form.operands;
        let lies = [&q.lies, &k.lies, &v.lies, &form.lies].map(Lies::clone);
        let past = form.past.as_ref();
        let attention = Attention {
            past: past.map(|past| past.each_ref().map(|past| past.lies.clone())),
            mask: form.mask.map(|(kind, mask)| Ok::<_, Error>((kind, self.dtype(mask)?))).transpose()?,
            scale: Some(form.scale),
            ..Attention::new(self.dtype(q.value)?, lies)
        };
        let past = past.into_iter().flatten().map(|past| past.value);
        let inputs = form.operands.iter().map(|operand| operand.value).chain(past);
        self.attend(attention, inputs.chain(form.mask.map(|(_, mask)| mask)).collect(), output)
    }

    fn attend(&mut self, attention: Attention, inputs: Vec<usize>, output: usize) -> Result<()> {
        for value in &inputs {
            self.stored(*value);
        }
        self.step(Box::new(attention), inputs, output);
        Ok(())
    }

    /// Queries, keys or values as the operators have them.
    fn heads(&self, node: &Node<'_>, value: usize, heads: Option<i64>) -> Result<Operand> {
        let lies = match (self.rank(value)?, count(heads)) {
            (4, _) => Lies::HEADS,
            (3, Some(heads)) => Lies::flat(heads),
            (rank, _) => return Err(Error::unsupported(format!("{} of {rank} dimensions", node.op))),
        };
        Ok(Operand { value, lies })
    }

    /// Refuses inputs that change the result in ways that no kernel is there for.
    fn without(&self, node: &Node<'_>, refused: &[(usize, &str)]) -> Result<()> {
        match refused.iter().find(|(place, _)| input(node, *place).is_some()) {
            Some((_, name)) => Err(Error::unsupported(format!("{} with its input `{name}`", node.op))),
            None => Ok(()),
        }
    }

    /// Refuses queries, keys and values that are not of one float type.
    fn of_one_float(&self, node: &Node<'_>, values: &[usize]) -> Result<()> {
        let dtype = self.dtype(values[0])?;
        let same = values.iter().all(|value| self.dtype(*value).ok() == Some(dtype));
        if !same || types::of(dtype)?.kind != Kind::Float {
            return Err(Error::unsupported(format!("{} of {dtype} and other types", node.op)));
        }
        Ok(())
    }

    /// The first output, where the one at `refused` is not wanted.
    fn first_output(&self, node: &Node<'_>, refused: usize) -> Result<usize> {
        if node.outputs.get(refused).copied().flatten().is_some() {
            return Err(Error::unsupported(format!("{} with its scores", node.op)));
        }
        let missing = || Error::unsupported(format!("{} without its first output", node.op));
        node.outputs.first().copied().flatten().ok_or_else(missing)
    }

    /// Keys and values of the past, by heads, where a node has both.
    fn past(&self, node: &Node<'_>, places: [usize; 2]) -> Result<Option<[usize; 2]>> {
        let [Some(k), Some(v)] = places.map(|place| input(node, place)) else { return Ok(None) };
        for value in [k, v] {
            if self.rank(value)? != 4 {
                return Err(Error::unsupported(format!("{} with a past that is not by heads", node.op)));
            }
        }
        Ok(Some([k, v]))
    }

    /// Makes an output of a node, where it is wanted: keys or values with those of the past before them.
    fn present(&mut self, node: &Node<'_>, place: usize, new: &Operand, past: Option<usize>) -> Result<()> {
        let Some(wanted) = node.outputs.get(place).copied().flatten() else { return Ok(()) };
        let inputs: Vec<usize> = [new.value].into_iter().chain(past).collect();
        for value in &inputs {
            self.stored(*value);
        }
        if past.is_none() && new.lies == Lies::HEADS {
            self.view(View::Same, new.value, wanted);
            return Ok(());
        }
        let dtype = self.dtype(new.value)?;
        let cache = Cache { dtype, lies: new.lies.clone(), past: past.is_some(), filled: None };
        self.step(Box::new(cache), inputs, wanted);
        Ok(())
    }
}
