//! Operators that move elements: what their shapes, axes and constants may be.

use byoc_graph::Attr;

use super::draft::ValueAt;
use super::rules::axis;
use super::shapes::Shaper;

type Rule = fn(&mut Shaper<'_, '_, '_>, usize, Vec<usize>) -> Option<()>;

const RULES: [(&str, Rule); 16] = [
    ("Concat", concat),
    ("QLinearConcat", quantised_concat),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Gather", gather),
    ("Pad", pad),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceSum", reduce),
    ("Reshape", reshape),
    ("Resize", resize),
    ("Slice", slice),
    ("Split", split),
    ("Squeeze", squeeze),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

pub fn knows(operator: &str) -> bool {
    RULES.iter().any(|(name, _)| *name == operator)
}

pub fn arrange(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let (_, rule) = RULES.iter().find(|(name, _)| *name == s.node(node).schema.name)?;
    let data = if s.node(node).is(&["QLinearConcat"]) { 2 } else { 0 };
    let value = s.input(node, data)?;
    let dims = match s.dims(value) {
        Some(dims) => dims,
        None => {
            let name = s.draft.values[value].name.clone();
            let dims = if s.node(node).is(&["Resize"]) { picture(s, &name)? } else { s.image(&name) };
            s.set(value, dims.clone())?;
            dims
        }
    };
    rule(s, node, dims)
}

fn picture(s: &mut Shaper<'_, '_, '_>, name: &str) -> Option<Vec<usize>> {
    let rank = s.pick(&format!("{name}.rank"), &[4, 3])?;
    Some((0..rank).map(|axis| s.size(&format!("{name}.dim{axis}"))).collect())
}

/// Settles the input `slot` as a list of whole numbers, or the attribute of older versions.
fn list(s: &mut Shaper<'_, '_, '_>, node: usize, slot: usize, name: &str, content: &[i64]) -> Option<()> {
    if s.node(node).schema.attribute(name).is_some() {
        s.node_mut(node).attrs.entry(name.into()).or_insert_with(|| Attr::Ints(content.to_vec()));
        return Some(());
    }
    match s.input(node, slot) {
        Some(value) => s.numbers(value, vec![content.len()], content),
        None => Some(()),
    }
}

fn join(s: &mut Shaper<'_, '_, '_>, node: usize, dims: &[usize], others: &[ValueAt]) -> Option<()> {
    let axis = axis(s, node, &[1, 0, -1, 2, -2, -3], dims.len())?.rem_euclid(dims.len() as i64) as usize;
    for &value in others {
        let mut own = dims.to_vec();
        own[axis] = s.size(&format!("{}.joined", s.draft.values[value].name.clone()));
        s.suggest(value, own)?;
    }
    Some(())
}

fn concat(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let others: Vec<ValueAt> = s.node(node).inputs.iter().skip(1).flatten().copied().collect();
    join(s, node, &dims, &others)
}

/// Scale and zero point of the result, then triples of tensor, scale and zero point.
fn quantised_concat(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let inputs: Vec<ValueAt> = s.node(node).inputs.iter().flatten().copied().collect();
    if inputs.len() % 3 != 2 {
        return None;
    }
    let (tensors, beside): (Vec<usize>, Vec<usize>) = (0..inputs.len()).partition(|i| i % 3 == 2);
    for slot in beside {
        s.suggest(inputs[slot], Vec::new())?;
    }
    let others: Vec<ValueAt> = tensors.iter().skip(1).map(|i| inputs[*i]).collect();
    join(s, node, &dims, &others)
}

fn expand(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let mut wide: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    wide.insert(0, s.size(&format!("{}.times", s.node(node).name.clone())) as i64);
    list(s, node, 1, "shape", &wide)
}

fn flatten(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    axis(s, node, &[1, 0, 2, -1], dims.len()).map(drop)
}

fn gather(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let axis = axis(s, node, &[0, 1, -1], dims.len())?.rem_euclid(dims.len() as i64) as usize;
    let count = s.size(&format!("{}.count", s.node(node).name.clone()));
    let last = dims[axis] as i64 - 1;
    let content: Vec<i64> = (0..count as i64).map(|i| (i * 7 + 1) % (last + 1)).collect();
    list(s, node, 1, "indices", &content)
}

fn pad(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let name = s.node(node).name.clone();
    let content: Option<Vec<i64>> =
        (0..2 * dims.len()).map(|i| s.pick(&format!("{name}.pad{i}"), &[0, 1, 2])).collect();
    list(s, node, 1, "pads", &content?)?;
    match s.input(node, 2) {
        Some(value) => s.suggest(value, Vec::new()),
        None => Some(()),
    }
}

fn some_axis(s: &mut Shaper<'_, '_, '_>, node: usize, rank: usize) -> Option<i64> {
    let candidates: Vec<i64> = [-1, 1, 0, 2].into_iter().filter(|a| *a < rank as i64).collect();
    s.pick(&format!("{}.along", s.node(node).name.clone()), &candidates)
}

fn reduce(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let axis = some_axis(s, node, dims.len())?;
    list(s, node, 1, "axes", &[axis])
}

fn reshape(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let whole: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    let first = whole.first().copied().unwrap_or(1);
    let mut reversed = whole.clone();
    reversed.reverse();
    let mut longer = whole;
    longer.push(1);
    let shapes = [vec![first, -1], vec![-1], reversed, longer, vec![0, -1], vec![1, -1, 1]];
    let content = s.pick(&format!("{}.to", s.node(node).name.clone()), &shapes)?;
    list(s, node, 1, "shape", &content)
}

/// By scales where there are some, else to sizes; mostly of the dimensions behind batch and channels.
fn resize(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let times: i64 = s.pick(&format!("{}.times", s.node(node).name.clone()), &[2, 3, 1])?;
    let name = s.node(node).name.clone();
    let resized: Vec<usize> =
        s.pick(&format!("{name}.resized"), &[(2..dims.len()).collect(), vec![1], vec![0]])?;
    let factor = |axis: usize| if resized.contains(&axis) { times } else { 1 };
    let factors: Vec<i64> = (0..dims.len()).map(factor).collect();
    let sizes: Vec<i64> = factors.iter().zip(&dims).map(|(f, d)| f * *d as i64).collect();
    let old = s.node(node).schema.since_version < 11;
    let (scales, wanted) = if old { (s.input(node, 1), None) } else { (s.input(node, 2), s.input(node, 3)) };
    if let Some(roi) = s.input(node, 1).filter(|_| !old) {
        let whole: Vec<i64> = (0..2 * dims.len()).map(|i| i64::from(i >= dims.len())).collect();
        s.numbers(roi, vec![whole.len()], &whole)?;
    }
    match (scales, wanted) {
        // Only one of the two may be given.
        (Some(scales), None) => s.numbers(scales, vec![dims.len()], &factors),
        (None, Some(wanted)) => s.numbers(wanted, vec![dims.len()], &sizes),
        _ => None,
    }
}

fn slice(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let axis = some_axis(s, node, dims.len())?;
    let length = dims[axis.rem_euclid(dims.len() as i64) as usize] as i64;
    let from: i64 = s.pick(&format!("{}.from", s.node(node).name.clone()), &[0, 1, -1])?;
    let parts = [("starts", vec![from]), ("ends", vec![length]), ("axes", vec![axis]), ("steps", vec![1])];
    if s.node(node).schema.attribute("starts").is_none() && s.input(node, 3).is_none() {
        return None;
    }
    for (slot, (name, content)) in parts.iter().enumerate() {
        list(s, node, slot + 1, name, content)?;
    }
    Some(())
}

fn split(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let axis = axis(s, node, &[0, 1, -1], dims.len())?.rem_euclid(dims.len() as i64) as usize;
    let parts = s.node(node).outputs.len();
    if dims[axis] < parts {
        return None;
    }
    let mut sizes = vec![(dims[axis] / parts) as i64; parts];
    sizes[0] += (dims[axis] % parts) as i64;
    if s.node(node).schema.attribute("num_outputs").is_some() && s.input(node, 1).is_none() {
        s.attr(node, "num_outputs", &[Some(Attr::Int(parts as i64))]);
        return Some(());
    }
    list(s, node, 1, "split", &sizes)
}

fn squeeze(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let axis = dims.iter().position(|d| *d == 1)?;
    list(s, node, 1, "axes", &[axis as i64])
}

fn transpose(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let rank = dims.len() as i64;
    let mut swapped: Vec<i64> = (0..rank).collect();
    if rank > 1 {
        swapped.swap(rank as usize - 1, rank as usize - 2);
    }
    let mut last: Vec<i64> = (0..rank).collect();
    if rank > 2 {
        last[1..].rotate_left(1);
    }
    s.attr(node, "perm", &[None, Some(Attr::Ints(swapped)), Some(Attr::Ints(last))]);
    Some(())
}

fn unsqueeze(s: &mut Shaper<'_, '_, '_>, node: usize, _: Vec<usize>) -> Option<()> {
    let axis = s.pick(&format!("{}.along", s.node(node).name.clone()), &[0, 1, -1])?;
    list(s, node, 1, "axes", &[axis])
}
