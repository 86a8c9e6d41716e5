//! What shapes and attributes each operator's operands need: operators in families, one function a family.

use byoc_graph::{Attr, DType};

use super::draft::ValueAt;
use super::layout_rules;
use super::shapes::Shaper;

/// Settles shapes of the inputs that have none, and the attributes that go with them.
pub fn arrange(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    match s.node(node).schema.name {
        "Conv" | "ConvInteger" | "FusedConv" => convolution(s, node, [0, 1, 2], false),
        "ConvTranspose" => convolution(s, node, [0, 1, 2], true),
        "QLinearConv" => convolution(s, node, [0, 3, 8], false),
        "MaxPool" | "AveragePool" | "LpPool" | "QLinearAveragePool" => pool(s, node),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" | "QLinearGlobalAveragePool" => {
            picture(s, node).map(drop)
        }
        "MatMul" | "MatMulInteger" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" | "FusedMatMul" => {
            product(s, node, [0, 1])
        }
        "QLinearMatMul" => product(s, node, [0, 3]),
        "Gemm" | "FusedGemm" => gemm(s, node),
        _ if layout_rules::knows(s.node(node).schema.name) => layout_rules::arrange(s, node),
        _ => broadcast(s, node),
    }?;
    arrange_beside(s, node)
}

/// Settles the inputs that go beside the data: scales, zero points, statistics, limits.
pub fn arrange_beside(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let first = s.input(node, 0);
    let rank = first.and_then(|v| s.dims(v)).map_or(0, |d| d.len());
    if s.node(node).is(&["QuantizeLinear", "DequantizeLinear"]) {
        return scale_by_axis(s, node);
    }
    if s.node(node).is(&["Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "RMSNormalization"]) {
        axis(s, node, &[-1, 1, 0], rank)?;
    }
    // What has a batch alone counts as one channel.
    let channels = first.and_then(|v| s.dims(v)).map(|d| d.get(1).copied().unwrap_or(1));
    for slot in 1..s.node(node).inputs.len() {
        let Some(value) = s.input(node, slot) else { continue };
        let Some(formal) = s.node(node).formal(slot) else { continue };
        let is_weight_scale = s.node(node).is(&["QLinearConv"]) && formal.name.starts_with("w_");
        let dims = match formal.name {
            _ if is_weight_scale => weight_scale(s, node)?,
            name if name.ends_with("_scale") => one_scale(s, value, channels)?,
            // A zero point is as its scale, which stands before it.
            name if name.ends_with("_zero_point") => {
                s.input(node, slot - 1).and_then(|scale| s.dims(scale)).unwrap_or_default()
            }
            "min" | "max" => Vec::new(),
            _ if s.node(node).is(&["LayerNormalization", "RMSNormalization"]) => {
                let from = s.node(node).attrs.get("axis").and_then(Attr::as_int).unwrap_or(-1);
                let from = if from < 0 { from + rank as i64 } else { from };
                s.dims(first?)?.get(usize::try_from(from).ok()?..)?.to_vec()
            }
            _ if s.node(node).is(&["BatchNormalization", "InstanceNormalization", "GroupNormalization"]) => {
                vec![channels?]
            }
            _ if s.node(node).is(&["PRelu"]) => {
                let mut dims = vec![1; rank.saturating_sub(2)];
                dims.insert(0, channels?);
                dims
            }
            _ => Vec::new(),
        };
        s.suggest(value, dims)?;
    }
    Some(())
}

/// Scale and zero point: one for all, one for each index of an axis, or one for each block along it.
fn scale_by_axis(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let dims = s.dims(s.input(node, 0)?)?;
    let name = s.node(node).name.clone();
    let scale = s.input(node, 1)?;
    if s.dims(scale).is_none() {
        let number = |s: &Shaper<'_, '_, '_>, name: &str| s.node(node).attrs.get(name).and_then(Attr::as_int);
        let fixed = number(s, "axis");
        let mut axes: Vec<i64> = (0..dims.len() as i64).collect();
        axes.retain(|axis| fixed.is_none_or(|f| f.rem_euclid(dims.len().max(1) as i64) == *axis));
        let blocks = usize::from(s.node(node).schema.attribute("block_size").is_some() && !axes.is_empty());
        // Some write one scale as a tensor of the data's rank; worth trying where clauses ask it.
        let odd = usize::from(s.words.ask_rank(&s.draft.values[scale].name));
        let choice = match number(s, "block_size").unwrap_or(0) {
            0 => s.chooser.pick(&format!("{name}.scale"), axes.len() + 2 + blocks + odd),
            _ => axes.len() + 2,
        };
        match choice {
            0 => s.set(scale, Vec::new())?,
            n if n <= axes.len() => {
                let axis = axes[n - 1];
                s.node_mut(node).attrs.entry("axis".into()).or_insert(Attr::Int(axis));
                s.set(scale, vec![dims[axis as usize]])?;
            }
            n if n == axes.len() + 1 => s.set(scale, vec![1])?,
            n if n == axes.len() + 2 + blocks => s.set(scale, vec![1; dims.len()])?,
            _ => {
                let axis = *axes.last()?;
                s.node_mut(node).attrs.entry("axis".into()).or_insert(Attr::Int(axis));
                let spoken = s.words.ints.iter().copied().filter(|size| *size > 1);
                let sizes: Vec<_> = [2, 3].into_iter().chain(spoken).map(|n| Some(Attr::Int(n))).collect();
                s.attr(node, "block_size", &sizes);
                let size = usize::try_from(number(s, "block_size")?).ok().filter(|size| *size > 0)?;
                let mut scales = dims.clone();
                scales[axis as usize] = dims[axis as usize].div_ceil(size);
                s.set(scale, scales)?;
            }
        }
    }
    let like = s.dims(scale)?;
    match s.input(node, 2) {
        Some(zero_point) => s.suggest(zero_point, like),
        None => Some(()),
    }
}

/// One scale for all; where clauses speak of it also one for each channel, which few operators allow.
fn one_scale(s: &mut Shaper<'_, '_, '_>, value: ValueAt, channels: Option<usize>) -> Option<Vec<usize>> {
    let name = s.draft.values[value].name.clone();
    let mut shapes = vec![vec![], vec![1]];
    shapes.extend(channels.filter(|_| s.words.speak_of(&name)).map(|c| vec![c]));
    s.pick(&format!("{name}.shape"), &shapes)
}

fn weight_scale(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<Vec<usize>> {
    let filters = s.dims(s.input(node, 3)?)?[0];
    let by_filter = s.chooser.pick(&format!("{}.w_scale", s.node(node).name.clone()), 2) == 1;
    Some(if by_filter { vec![filters] } else { Vec::new() })
}

impl Shaper<'_, '_, '_> {
    pub fn node_mut(&mut self, node: usize) -> &mut super::draft::Node {
        &mut self.draft.nodes[node]
    }

    /// Sets an attribute where the pattern leaves it free and the operator has it.
    pub fn attr(&mut self, node: usize, name: &str, candidates: &[Option<Attr>]) {
        let it = self.node(node);
        if it.attrs.contains_key(name) || it.schema.attribute(name).is_none() {
            return;
        }
        let choice = format!("{}.attr.{name}", it.name);
        if let Some(Some(attr)) = self.pick(&choice, candidates) {
            self.node_mut(node).attrs.insert(name.into(), attr);
        }
    }
}

/// An axis among the candidates that the rank has.
pub fn axis(s: &mut Shaper<'_, '_, '_>, node: usize, candidates: &[i64], rank: usize) -> Option<i64> {
    let fits = |a: &i64| (-(rank as i64)..rank as i64).contains(a);
    let schema = s.node(node).schema.attribute("axis")?;
    let default = schema.default.and_then(|d| d.to_attr().as_int()).filter(fits);
    let mut all: Vec<Option<Attr>> = default.iter().map(|_| None).collect();
    all.extend(candidates.iter().filter(|a| fits(a)).map(|a| Some(Attr::Int(*a))));
    s.attr(node, "axis", &all);
    s.node(node).attrs.get("axis").and_then(Attr::as_int).or(default)
}

/// A batch of pictures of one to three dimensions, for a node's first input.
fn picture(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<Vec<usize>> {
    let value = s.input(node, 0)?;
    if let Some(dims) = s.dims(value) {
        return (dims.len() >= 3).then_some(dims);
    }
    let name = s.draft.values[value].name.clone();
    let rank = s.rank(&name, &[4, 3, 5], 3)?;
    let batch = s.pick(&format!("{name}.dim0"), &[1, 2, 3])?;
    let mut dims = vec![batch, s.size(&format!("{name}.dim1"))];
    for axis in 2..rank {
        dims.push(s.pick(&format!("{name}.dim{axis}"), &[4, 5, 6, 7, 8, 3, 1, 2, 11])?);
    }
    s.set(value, dims.clone())?;
    Some(dims)
}

/// Strides, dilations and padding of a window over `rank` dimensions.
fn window(s: &mut Shaper<'_, '_, '_>, node: usize, rank: usize) {
    let each = |n: i64| Some(Attr::Ints(vec![n; rank]));
    let rising = Some(Attr::Ints((0..rank as i64).map(|i| i % 2 + 1).collect()));
    s.attr(node, "strides", &[None, each(2), rising.clone()]);
    s.attr(node, "dilations", &[None, each(2), rising]);
    let text = |t: &str| Some(Attr::str(t));
    s.attr(node, "auto_pad", &[None, None, None, text("SAME_UPPER"), text("VALID"), text("SAME_LOWER")]);
    let auto = s.node(node).attrs.get("auto_pad").and_then(Attr::as_str).unwrap_or("NOTSET");
    if auto == "NOTSET" {
        let both = |n: i64| Some(Attr::Ints(vec![n; 2 * rank]));
        let uneven = Some(Attr::Ints((0..2 * rank as i64).map(|i| i % 2).collect()));
        s.attr(node, "pads", &[None, both(1), uneven]);
    }
}

fn convolution(
    s: &mut Shaper<'_, '_, '_>,
    node: usize,
    [x, w, b]: [usize; 3],
    transposed: bool,
) -> Option<()> {
    let weights = s.input(node, w)?;
    if let (None, Some(w)) = (s.dims(s.input(node, x)?), s.dims(weights)) {
        let mut dims = vec![1, if transposed { w[0] } else { w[1] }];
        dims.extend(w[2..].iter().map(|k| k + 3));
        s.set(s.input(node, x)?, dims)?;
    }
    let dims = picture(s, node)?;
    let (channels, rank) = (dims[1], dims.len() - 2);
    let name = s.node(node).name.clone();
    let fixed = s.node(node).attrs.get("group").and_then(Attr::as_int);
    let known = s.dims(weights);
    let group = match fixed {
        Some(group) => usize::try_from(group).ok()?,
        None => s.pick(&format!("{name}.group"), &[1, channels, 2])?,
    };
    if group == 0 || channels % group != 0 {
        return None;
    }
    if fixed.is_none() && group != 1 {
        s.node_mut(node).attrs.insert("group".into(), Attr::Int(group as i64));
    }
    let w = match known {
        Some(known) => known,
        None => {
            let per_group = s.size(&format!("{name}.filters"));
            let mut w = if transposed {
                vec![channels, per_group]
            } else {
                vec![per_group * group, channels / group]
            };
            for axis in 0..rank {
                w.push(s.pick(&format!("{name}.kernel{axis}"), &[1, 3, 2, 5, 7])?);
            }
            w
        }
    };
    if !transposed && w.get(1) != Some(&(channels / group)) {
        return None;
    }
    s.suggest(weights, w.clone())?;
    window(s, node, rank);
    let filters = if transposed { w[1] * group } else { w[0] };
    match s.input(node, b).filter(|_| !s.node(node).is(&["ConvInteger"])) {
        Some(bias) => s.suggest(bias, vec![filters]),
        None => Some(()),
    }
}

fn pool(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let rank = picture(s, node)?.len() - 2;
    let square = |n: i64| Some(Attr::Ints(vec![n; rank]));
    s.attr(node, "kernel_shape", &[square(2), square(3), square(1)]);
    let kernel = s.node(node).attrs.get("kernel_shape").and_then(Attr::as_ints).unwrap_or(&[]).to_vec();
    // A window may not lie in the padding alone.
    if kernel.contains(&1) {
        s.node_mut(node).attrs.entry("pads".into()).or_insert(Attr::Ints(vec![0; 2 * rank]));
    }
    window(s, node, rank);
    Some(())
}

/// A product of matrices, the left one perhaps a batch.
fn product(s: &mut Shaper<'_, '_, '_>, node: usize, [a, b]: [usize; 2]) -> Option<()> {
    let (left, right) = (s.input(node, a)?, s.input(node, b)?);
    let name = s.node(node).name.clone();
    let inner = match (s.dims(left), s.dims(right)) {
        (Some(left), _) => *left.last()?,
        (None, Some(right)) => *right.get(right.len().saturating_sub(2))?,
        (None, None) => s.size(&format!("{name}.inner")),
    };
    if s.dims(left).is_none() {
        let rank = s.rank(&name, &[2, 3, 4], 1)?;
        let mut dims: Vec<usize> = (1..rank).map(|i| s.size(&format!("{name}.row{i}"))).collect();
        dims.push(inner);
        s.set(left, dims)?;
    }
    if s.dims(right).is_none() {
        let batch = s.dims(left)?;
        let batch = batch[..batch.len().saturating_sub(2)].to_vec();
        let mut dims = s.pick(&format!("{name}.batch"), &[vec![], batch, vec![2]])?;
        dims.extend([inner, s.size(&format!("{name}.columns"))]);
        if s.words.ranks(&[], 0).contains(&1) && s.pick(&format!("{name}.vector"), &[false, true])? {
            dims = vec![inner];
        }
        s.set(right, dims)?;
    }
    Some(())
}

fn gemm(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let name = s.node(node).name.clone();
    let (a, b) = (s.input(node, 0)?, s.input(node, 1)?);
    let is_set =
        |s: &Shaper<'_, '_, '_>, name: &str| s.node(node).attrs.get(name).and_then(Attr::as_int) == Some(1);
    let (trans_a, trans_b) = (is_set(s, "transA"), is_set(s, "transB"));
    let turned = |dims: Vec<usize>, turn: bool| if turn { dims.into_iter().rev().collect() } else { dims };
    let (left, right) = (s.dims(a).map(|d| turned(d, trans_a)), s.dims(b).map(|d| turned(d, trans_b)));
    let inner = match (&left, &right) {
        (Some(left), _) => *left.get(1)?,
        (None, Some(right)) => *right.first()?,
        _ => s.size(&format!("{name}.inner")),
    };
    let rows = match left {
        Some(left) => left[0],
        None => s.size(&format!("{name}.rows")),
    };
    let columns = match right {
        Some(right) => *right.get(1)?,
        None => s.size(&format!("{name}.columns")),
    };
    s.suggest(a, turned(vec![rows, inner], trans_a))?;
    s.suggest(b, turned(vec![inner, columns], trans_b))?;
    let Some(c) = s.input(node, 2) else { return Some(()) };
    let shapes = [vec![columns], vec![rows, columns], vec![1, columns], vec![rows, 1], vec![]];
    let dims = s.pick(&format!("{name}.c"), &shapes)?;
    s.suggest(c, dims)
}

/// Operands of one shape, or of shapes that broadcast to it.
fn broadcast(s: &mut Shaper<'_, '_, '_>, node: usize) -> Option<()> {
    let operands: Vec<ValueAt> = operands(s, node);
    let Some(&first) = operands.first() else { return Some(()) };
    let known = operands.iter().find_map(|v| s.dims(*v));
    let base = match known {
        Some(dims) => dims,
        None => {
            let name = s.draft.values[first].name.clone();
            let dims = s.image(&name);
            s.set(first, dims.clone())?;
            dims
        }
    };
    let name = s.node(node).name.clone();
    for value in operands {
        if s.dims(value).is_some() {
            continue;
        }
        let mut shapes = vec![base.clone(), vec![], base[base.len().saturating_sub(1)..].to_vec()];
        shapes.extend((0..base.len()).map(|axis| {
            let mut dims = base.clone();
            dims[axis] = 1;
            dims
        }));
        if base.len() > 1 {
            let mut channel = vec![1; base.len() - 1];
            channel[0] = base[1];
            shapes.push(channel);
        }
        let choice = format!("{name}.{}.shape", s.draft.values[value].name.clone());
        let dims = s.pick(&choice, &shapes)?;
        s.set(value, dims)?;
    }
    Some(())
}

/// Inputs that hold data, not scales or zero points.
fn operands(s: &Shaper<'_, '_, '_>, node: usize) -> Vec<ValueAt> {
    let it = s.node(node);
    let is_data = |slot: usize| {
        it.formal(slot).is_some_and(|f| !f.name.ends_with("_scale") && !f.name.ends_with("_zero_point"))
    };
    let slots = it.inputs.iter().enumerate().filter(|(slot, _)| is_data(*slot));
    slots.filter_map(|(_, v)| *v).filter(|v| s.draft.values[*v].dtype != Some(DType::Str)).collect()
}
