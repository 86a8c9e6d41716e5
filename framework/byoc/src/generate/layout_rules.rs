//! Operators that move elements: what their shapes, axes and constants may be.

use byoc_graph::Attr;
use byoc_graph::schema::REDUCTIONS;

use super::draft::ValueAt;
use super::rules::axis;
use super::shapes::Shaper;
use super::{index_rules, recurrent_rules};

type Rule = fn(&mut Shaper<'_, '_, '_>, usize, Vec<usize>) -> Option<()>;

/// What rank the data have where nothing else has settled it.
enum Data {
    Any,
    /// One of these, or another that clauses speak of.
    Mostly(&'static [usize]),
    Only(&'static [usize]),
}

use Data::{Any, Mostly, Only};

static RULES: &[(&str, Data, Rule)] = &[
    ("ArgMax", Any, along),
    ("ArgMin", Any, along),
    ("CenterCropPad", Any, crop),
    ("Compress", Any, compress),
    ("Concat", Any, concat),
    ("DepthToSpace", Only(&[4]), depth_to_space),
    ("Einsum", Only(&[2]), index_rules::einsum),
    ("Expand", Any, expand),
    ("EyeLike", Only(&[2]), as_it_is),
    ("Flatten", Any, flatten),
    ("GRU", Only(&[3]), recurrent_rules::recurrent),
    ("Gather", Any, gather),
    ("GatherElements", Any, index_rules::gather_elements),
    ("GatherND", Any, index_rules::gather_nd),
    ("GridSample", Only(&[4]), index_rules::grid_sample),
    ("LSTM", Only(&[3]), recurrent_rules::recurrent),
    ("OneHot", Any, index_rules::one_hot),
    ("Pad", Any, pad),
    ("QLinearConcat", Any, quantised_concat),
    ("RNN", Only(&[3]), recurrent_rules::recurrent),
    ("Range", Only(&[0]), index_rules::range),
    ("Reshape", Any, reshape),
    ("Resize", Mostly(&[4, 3]), resize),
    ("ReverseSequence", Mostly(&[3, 2]), index_rules::reverse_sequence),
    ("RoiAlign", Only(&[4]), index_rules::roi_align),
    ("ScatterElements", Any, index_rules::scatter_elements),
    ("ScatterND", Any, index_rules::scatter_nd),
    ("Slice", Any, slice),
    ("SpaceToDepth", Only(&[4]), space_to_depth),
    ("Split", Any, split),
    ("Squeeze", Any, squeeze),
    ("Tile", Any, tile),
    ("Transpose", Any, transpose),
    ("Unsqueeze", Any, unsqueeze),
];

fn rule(operator: &str) -> Option<(&'static Data, Rule)> {
    if REDUCTIONS.contains(&operator) {
        return Some((&Any, reduce));
    }
    let operator = if operator == "Upsample" { "Resize" } else { operator };
    RULES.iter().find(|(name, ..)| *name == operator).map(|(_, data, rule)| (data, *rule))
}

pub fn knows(operator: &str) -> bool {
    rule(operator).is_some()
}

pub fn arrange(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let (data, rule) = rule(s.node(node).schema.name)?;
    let slot = if s.node(node).is(&["QLinearConcat"]) { 2 } else { 0 };
    let value = s.input(node, slot)?;
    let dims = match s.dims(value) {
        Some(dims) => dims,
        None => {
            let name = s.draft.values[value].name.clone();
            let dims = data.shape(s, &name)?;
            s.set(value, dims.clone())?;
            dims
        }
    };
    rule(s, node, dims)
}

impl Data {
    fn shape(&self, s: &mut Shaper<'_, '_, '_>, name: &str) -> Option<Vec<usize>> {
        let rank = match self {
            Any => return Some(s.image(name)),
            Mostly(usual) => s.rank(name, usual, 1)?,
            Only(ranks) => s.pick(&format!("{name}.rank"), ranks)?,
        };
        Some((0..rank).map(|axis| s.size(&format!("{name}.dim{axis}"))).collect())
    }
}

fn as_it_is(_: &mut Shaper<'_, '_, '_>, _: usize, _: Vec<usize>) -> Option<()> {
    Some(())
}

fn along(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    axis(s, node, &[0, 1, -1], dims.len()).map(drop)
}

fn compress(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    s.attr(node, "axis", &[Some(Attr::Int(0))]);
    let axis = s.node(node).attrs.get("axis")?.as_int()?.rem_euclid(dims.len().max(1) as i64);
    s.suggest(s.input(node, 1)?, vec![*dims.get(axis as usize)?])
}

fn crop(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let name = s.node(node).name.clone();
    let sizes: Vec<i64> = (0..dims.len()).map(|axis| s.size(&format!("{name}.to{axis}")) as i64).collect();
    list(s, node, 1, "shape", &sizes)
}

/// How many elements of an axis become one.
fn block(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<usize> {
    s.attr(node, "blocksize", &[2, 1, 3].map(|size| Some(Attr::Int(size))));
    let size = s.node(node).attrs.get("blocksize")?.as_int()?;
    usize::try_from(size).ok().filter(|size| *size > 0)
}

fn depth_to_space(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let size = block(s, node)?;
    dims.get(1)?.is_multiple_of(size * size).then_some(())
}

fn space_to_depth(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let size = block(s, node)?;
    dims.get(2..)?.iter().all(|d| d.is_multiple_of(size)).then_some(())
}

fn tile(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let name = s.node(node).name.clone();
    let times = (0..dims.len()).map(|axis| s.pick(&format!("{name}.times{axis}"), &[1, 2, 3]));
    let times: Vec<i64> = times.collect::<Option<_>>()?;
    list(s, node, 1, "repeats", &times)
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
    // A scalar has no axis to name.
    if dims.is_empty() {
        return list(s, node, 1, "axes", &[]);
    }
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
