//! Random inputs that a model can be run on: seeded, and within the bounds that the operators imply.

use std::collections::HashMap;

use byoc_graph::{DType, Datum, Dim, Expr, Graph, NodeId, Slot, Tensor, TensorType, Type, ValueId};
use bytes::Bytes;

use crate::Error;

/// Elements that one random input may have.
const MAX_ELEMENTS: usize = 1 << 30;

/// SplitMix64. Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", figure 17.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` up to but without `high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = high.saturating_sub(low).max(1) as u64;
        low + (self.next_u64() % span) as i64
    }

    /// Evenly distributed over [−1, 1).
    pub fn unit(&mut self) -> f32 {
        ((self.next_u64() >> 40) as f32) * (2.0 / (1u64 << 24) as f32) - 1.0
    }
}

/// Fills the inputs of a graph that `given` does not have.
pub fn fill(
    graph: &Graph,
    given: &HashMap<String, Datum>,
    symbols: &mut HashMap<String, i64>,
    seed: u64,
) -> Result<HashMap<String, Datum>, Error> {
    let mut made = HashMap::new();
    for &input in graph.inputs() {
        let value = graph.value(input);
        if given.contains_key(&*value.name) || graph.default_of(input).is_some() || graph.is_constant(input) {
            continue;
        }
        // Each input has a stream of its own, so that giving one does not change the others.
        let mut rng = Rng::new(seed ^ fnv(&value.name));
        let datum = match &value.ty {
            Some(Type::Tensor(ty)) => random_tensor(graph, input, ty, symbols, &mut rng)?.into(),
            other => {
                let ty = other.as_ref().map_or("no type".to_owned(), Type::to_string);
                return Err(Error::input(&value.name, format!("cannot be made at random: it has {ty}")));
            }
        };
        made.insert(value.name.to_string(), datum);
    }
    Ok(made)
}

/// FNV-1a.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn random_tensor(
    graph: &Graph,
    input: ValueId,
    ty: &TensorType,
    symbols: &mut HashMap<String, i64>,
    rng: &mut Rng,
) -> Result<Tensor, Error> {
    let name = &graph.value(input).name;
    let shape = ty.shape.as_ref().ok_or_else(|| Error::input(name, "has no known rank; give it a shape"))?;
    let dims: Vec<usize> = shape.iter().map(|dim| bind(dim, symbols)).collect();
    let count = byoc_graph::element_count(&dims).filter(|n| *n <= MAX_ELEMENTS);
    let count =
        count.ok_or_else(|| Error::input(name, format!("{dims:?} is too large to fill at random")))?;
    let dtype = ty.dtype.ok_or_else(|| Error::input(name, "has no known element type"))?;
    let (low, high) = bounds(graph, input).unwrap_or((0, 2));
    let mut ints = || rng.range(low, high);
    let made = match dtype {
        DType::I64 => Tensor::from_vec(&dims, (0..count).map(|_| ints()).collect()),
        DType::I32 => Tensor::from_vec(&dims, (0..count).map(|_| ints() as i32).collect()),
        DType::Bool => Tensor::from_bools(&dims, (0..count).map(|_| rng.next_u64() & 1 == 1).collect()),
        DType::F32 => Tensor::from_vec(&dims, (0..count).map(|_| rng.unit()).collect()),
        DType::F64 => Tensor::from_vec(&dims, (0..count).map(|_| f64::from(rng.unit())).collect()),
        DType::F16 => Tensor::from_vec(&dims, (0..count).map(|_| half::f16::from_f32(rng.unit())).collect()),
        DType::BF16 => {
            Tensor::from_vec(&dims, (0..count).map(|_| half::bf16::from_f32(rng.unit())).collect())
        }
        DType::Str => {
            let text = |_| Bytes::from(format!("s{}", rng.range(0, 100)));
            Tensor::from_strings(&dims, (0..count).map(text).collect())
        }
        // Every pattern of bits is a number of these types.
        other => {
            let len = other.byte_len(count).unwrap_or(0);
            let bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            Tensor::from_bytes(other, &dims, bytes.into())
        }
    };
    made.map_err(|e| Error::input(name, e.to_string()))
}

/// The size of a dimension; a free symbol becomes 1, the same wherever it stands.
fn bind(dim: &Dim, symbols: &mut HashMap<String, i64>) -> usize {
    if let Dim::Symbolic(expr) = dim {
        let mut names = Vec::new();
        expr.symbols(&mut names);
        for name in names {
            symbols.entry(name.to_string()).or_insert(1);
        }
    }
    let bound = dim.substitute(&|name| symbols.get(name).map(|n| Expr::constant(*n)));
    bound.value().and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
}

/// What the operators that use `value` demand of whole numbers in it: from, up to but without.
fn bounds(graph: &Graph, value: ValueId) -> Option<(i64, i64)> {
    let mut found: Option<(i64, i64)> = None;
    let (mut todo, mut seen) = (vec![value], vec![value]);
    while let Some(value) = todo.pop() {
        for use_ in graph.value(value).uses() {
            let Slot::Input(slot) = use_.slot else { continue };
            if let Some((low, high)) = bound_of(graph, use_.node, slot as usize) {
                found = Some(found.map_or((low, high), |(l, h)| (l.max(low), h.min(high))));
            }
            let passed = passes_on(graph, use_.node, slot as usize);
            if let Some(next) = passed.filter(|next| !seen.contains(next)) {
                seen.push(next);
                todo.push(next);
            }
        }
    }
    found.filter(|(low, high)| low < high)
}

/// What one operator demands of the input at `slot`.
fn bound_of(graph: &Graph, node: NodeId, slot: usize) -> Option<(i64, i64)> {
    let node = graph.node(node);
    let dims = |i: usize| graph.value(node.input(i)?).ty.as_ref()?.shape();
    let size = |i: usize, axis: i64| {
        let dims = dims(i)?;
        let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
        dims.get(usize::try_from(axis).ok()?)?.value()
    };
    let axis = |default| node.attrs.get("axis").and_then(|a| a.as_int()).unwrap_or(default);
    let limit = match (&*node.op.name, slot) {
        ("Gather" | "GatherElements" | "Scatter" | "ScatterElements", 1) => size(0, axis(0))?,
        ("GatherND" | "ScatterND", 1) => dims(0)?.iter().filter_map(|d| d.value()).min()?,
        ("OneHot", 0) => graph.constant(node.input(1)?)?.to_i64s()?.first().copied()?,
        ("LSTM" | "GRU" | "RNN", 4) | ("ReverseSequence", 1) => return Some((1, size(0, 0)? + 1)),
        ("EmbedLayerNormalization", 0) => size(2, 0)?,
        ("EmbedLayerNormalization", 1) => size(4, 0)?,
        _ => return None,
    };
    Some((0, limit))
}

/// The output that holds the same numbers as the input at `slot`.
fn passes_on(graph: &Graph, node: NodeId, slot: usize) -> Option<ValueId> {
    const MOVES: [&str; 10] = [
        "Identity",
        "Cast",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Transpose",
        "Slice",
        "Expand",
        "Concat",
    ];
    let node = graph.node(node);
    let moved = slot == 0 || &*node.op.name == "Concat";
    (moved && MOVES.contains(&&*node.op.name)).then(|| node.output(0)).flatten()
}
