//! GroupQueryAttention of ONNX Runtime: causal attention over a cache that each sequence fills to its own length.

use byoc_plugin::{DType, Dim, Error, Node, Result};

use super::super::Lowering;
use super::{Operand, count, input};
use crate::kernels::attention::{Attention, Lengths, Lies, Sink};
use crate::kernels::cache::{Cache, Filled};
use crate::kernels::heads::{At, Change, Turn};
use crate::types::{self, Kind};

/// Inputs that change the result in ways that no kernel is there for.
const UNSUPPORTED: &[(usize, &str)] =
    &[(12, "k_scale"), (13, "v_scale"), (14, "q_norm_weight"), (15, "k_norm_weight"), (16, "query_seqlens")];

/// What an operator says of its cache.
#[derive(Clone, Copy)]
struct Fill {
    past: Option<[usize; 2]>,
    /// The places of last keys, and how many keys there are at most.
    values: [usize; 2],
    lengths: [DType; 2],
}

impl Lowering<'_, '_> {
    pub(super) fn group_query_attention(&mut self, node: &Node<'_>) -> Result<()> {
        let output = self.first_output(node, 3)?;
        self.without(node, UNSUPPORTED)?;
        if node.attr_int("sliding_window_cache").unwrap_or(0) != 0 {
            return Err(Error::unsupported("GroupQueryAttention with a sliding_window_cache"));
        }
        let ([q, k, v], y_lies) = self.grouped(node)?;
        let fill = self.fill(node)?;
        let values: Vec<usize> =
            [q.value, k.value, v.value].into_iter().chain(fill.past.into_iter().flatten()).collect();
        self.of_one_float(node, &values)?;
        let [q, k] = self.turned(node, [q, k], &fill)?;
        self.filled(node, 1, &k, &fill)?;
        self.filled(node, 2, &v, &fill)?;
        let mut inputs = vec![q.value, k.value, v.value];
        inputs.extend(fill.past.into_iter().flatten());
        let mask = self.added(node, 10)?;
        inputs.extend(input(node, 10));
        inputs.extend(fill.values);
        let sink = match input(node, 11) {
            Some(sinks) => Some(Sink::ByHead(self.float(node, sinks)?)),
            None => (node.attr_int("smooth_softmax") == Some(1)).then_some(Sink::Zero),
        };
        inputs.extend(input(node, 11));
        let attention = Attention {
            past: fill.past.map(|_| [Lies::HEADS; 2]),
            mask,
            lengths: Some(Lengths::Filled(fill.lengths)),
            sight: sight(node)?,
            scale: node.attr_float("scale").map(f64::from).filter(|scale| *scale != 0.0),
            cap: node.attr_float("softcap").unwrap_or(0.0).into(),
            sink,
            ..Attention::new(self.dtype(q.value)?, [q.lies, k.lies, v.lies, y_lies])
        };
        self.attend(attention, inputs, output)
    }

    /// Queries, keys and values, which may lie in one input; and how heads lie in the output.
    fn grouped(&self, node: &Node<'_>) -> Result<([Operand; 3], Lies)> {
        let missing = || Error::unsupported("GroupQueryAttention without its numbers of heads");
        let few = |name: &str| count(node.attr_int(name)).filter(|count| *count <= u16::MAX.into());
        let (n, groups) = (few("num_heads").ok_or_else(missing)?, few("kv_num_heads").ok_or_else(missing)?);
        let query = self.input(node, 0)?;
        if self.rank(query)? != 3 {
            return Err(Error::unsupported("GroupQueryAttention with queries by heads"));
        }
        let heads = match (input(node, 1), input(node, 2)) {
            (Some(k), Some(v)) => [
                Operand { value: query, lies: Lies::flat(n) },
                self.heads(node, k, Some(groups as i64))?,
                self.heads(node, v, Some(groups as i64))?,
            ],
            _ => [(0, n), (n, groups), (n + groups, groups)].map(|some| Operand {
                value: query,
                lies: Lies { some: Some(some), ..Lies::flat(n + 2 * groups) },
            }),
        };
        Ok((heads, Lies::flat(n)))
    }

    fn fill(&self, node: &Node<'_>) -> Result<Fill> {
        let past = self.past(node, [3, 4])?;
        if past.is_none() && (input(node, 3).is_some() || input(node, 4).is_some()) {
            return Err(Error::unsupported("GroupQueryAttention with half a past"));
        }
        let values = [self.input(node, 5)?, self.input(node, 6)?];
        let lengths = [self.dtype(values[0])?, self.dtype(values[1])?];
        for dtype in lengths {
            if types::of(dtype)?.kind != Kind::Int {
                return Err(Error::unsupported(format!("lengths of {dtype}")));
            }
        }
        Ok(Fill { past, values, lengths })
    }

    fn float(&self, node: &Node<'_>, value: usize) -> Result<DType> {
        let dtype = self.dtype(value)?;
        match types::of(dtype)?.kind {
            Kind::Float => Ok(dtype),
            _ => Err(Error::unsupported(format!("{} with an input of {dtype}", node.op))),
        }
    }

    /// Queries and keys, turned where the node says so.
    fn turned(&mut self, node: &Node<'_>, heads: [Operand; 2], fill: &Fill) -> Result<[Operand; 2]> {
        if node.attr_int("do_rotary").unwrap_or(0) == 0 {
            return Ok(heads);
        }
        let (cosines, sines) = (self.input(node, 7)?, self.input(node, 8)?);
        let angles = self.float(node, cosines)?;
        if self.dtype(sines)? != angles {
            return Err(Error::unsupported("cosines and sines of several types"));
        }
        let mut others = vec![cosines, sines];
        let at = match input(node, 9) {
            Some(positions) => {
                others.push(positions);
                At::Positions(self.dtype(positions)?)
            }
            None => {
                others.extend(fill.values);
                At::Filled(fill.lengths)
            }
        };
        // For its shape alone.
        others.extend(fill.past.map(|past| past[0]));
        let interleaved = node.attr_int("rotary_interleaved").unwrap_or(0) != 0;
        let turn = Turn { angles, interleaved, at, past: fill.past.is_some() };
        let [q, k] = heads;
        let mut change = |heads| self.changed(&heads, Change::Turn(turn.clone()), others.clone());
        Ok([change(q)?, change(k)?])
    }

    /// Makes an output of a node, where it is wanted: a cache with new keys or values in it.
    fn filled(&mut self, node: &Node<'_>, place: usize, new: &Operand, fill: &Fill) -> Result<()> {
        let Some(wanted) = node.outputs.get(place).copied().flatten() else { return Ok(()) };
        let past = fill.past.map(|past| past[place - 1]);
        let filled = Some(Filled { lengths: fill.lengths, least: self.least(fill.values[1], wanted, past)? });
        let inputs: Vec<usize> = [new.value].into_iter().chain(past).chain(fill.values).collect();
        for value in &inputs {
            self.stored(*value);
        }
        let dtype = self.dtype(new.value)?;
        let cache = Cache { dtype, lies: new.lies.clone(), past: past.is_some(), filled };
        self.step(Box::new(cache), inputs, wanted);
        Ok(())
    }

    /// How long a cache becomes at least. Shapes of outputs come from shapes alone, and here from constants.
    fn least(&self, total: usize, cache: usize, past: Option<usize>) -> Result<usize> {
        if let Some(total) = self.number(total) {
            let total = Some(total).filter(|total| (0.0..=f64::from(i32::MAX)).contains(total));
            return total.map(|total| total as usize).ok_or_else(|| Error::invalid("a total length below 0"));
        }
        let length = |value: usize| self.value(value).dims.as_ref().and_then(|dims| dims.get(2).copied());
        match (length(cache), past.and_then(length)) {
            (Some(Dim::Known(length)), _) => Ok(length),
            (Some(own @ Dim::Symbol(_)), Some(past)) if own == past => Ok(0),
            _ => Err(Error::unsupported(
                "GroupQueryAttention whose cache grows to what only total_sequence_length says",
            )),
        }
    }
}

/// How far rows see to the left and to the right.
fn sight(node: &Node<'_>) -> Result<[Option<u32>; 2]> {
    let causal = node.attr_int("causal").unwrap_or(1) != 0;
    let window = node.attr_int("local_window_size").and_then(|window| u32::try_from(window).ok());
    match (causal, window) {
        (true, None) => Ok([None, Some(0)]),
        (true, Some(window @ 1..)) => Ok([Some(window - 1), Some(0)]),
        (false, None) => Ok([None; 2]),
        (true, Some(_)) => Err(Error::unsupported("GroupQueryAttention with a window of nothing")),
        (false, Some(_)) => Err(Error::unsupported("GroupQueryAttention with a window and nothing causal")),
    }
}
