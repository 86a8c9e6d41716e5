//! What constants and inputs hold.

use std::sync::Arc;

use byoc_graph::{DType, Tensor};
use half::{bf16, f16};

use super::choices::Chooser;
use super::draft::{Draft, Node, Source, Unmade};
use super::words::Words;
use crate::random::{Rng, fnv};

/// How numbers are drawn, from simple to intricate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Whole numbers from −4 to 4.
    Small,
    /// Evenly over −1 to 1.
    Unit,
    /// Halves from −8 to 8: where rounding has to choose.
    Halves,
    /// Evenly over −100 to 100.
    Wide,
}

pub const NUMBERS: [Numbers; 4] = [Numbers::Small, Numbers::Unit, Numbers::Halves, Numbers::Wide];

/// What a constant is for, by the formal name of the input that takes it.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Data,
    Scale,
    ResultScale,
    ZeroPoint,
    Positive,
    Least,
    Most,
}

/// Fills every constant that has no content yet.
pub fn settle(draft: &mut Draft, words: &Words, chooser: &mut Chooser<'_>) -> Result<(), Unmade> {
    let seed = chooser.pick("data.seed", 1 << 16) as u64;
    for value in 0..draft.values.len() {
        let it = &draft.values[value];
        if it.source != Source::Constant || it.content.is_some() {
            continue;
        }
        let (Some(dtype), Some(dims)) = (it.dtype, it.dims.clone()) else { return Err(Unmade::Clash) };
        let part = part(draft, value);
        let name = it.name.clone();
        let mut rng = Rng::new(seed ^ fnv(&name));
        let count = dims.iter().product();
        let mut drawn: Vec<f64> = match part {
            Part::Data => {
                let numbers = *chooser.of(&format!("{name}.content"), &NUMBERS[..3]).unwrap_or(&NUMBERS[0]);
                (0..count).map(|_| draw(numbers, dtype, &mut rng)).collect()
            }
            Part::Scale | Part::ResultScale => {
                let scales = scales(draft, part);
                let base = *chooser.of(&format!("{name}.content"), &scales).unwrap_or(&scales[0]);
                (0..count).map(|i| base * (1.0 + 0.25 * (i % 4) as f64)).collect()
            }
            Part::ZeroPoint => {
                let middle = if dtype == DType::U8 { 128.0 } else { 0.0 };
                let points = [0.0, middle, 3.0];
                let point = *chooser.of(&format!("{name}.content"), &points).unwrap_or(&0.0);
                vec![if dtype == DType::I32 { 0.0 } else { point }; count]
            }
            Part::Positive => (0..count).map(|_| f64::from(rng.unit().abs()) + 0.5).collect(),
            Part::Least => vec![*chooser.of(&format!("{name}.content"), &[0.0, -1.0]).unwrap_or(&0.0); count],
            Part::Most => vec![*chooser.of(&format!("{name}.content"), &[6.0, 1.0]).unwrap_or(&6.0); count],
        };
        let fillings = words.fillings(&name);
        if !fillings.is_empty()
            && let Some(filling) = chooser.pick(&format!("{name}.filling"), fillings.len() + 1).checked_sub(1)
        {
            drawn.fill(fillings[filling]);
        }
        let tensor = tensor(dtype, &dims, &drawn).ok_or(Unmade::Clash)?;
        draft.values[value].content = Some(Arc::new(tensor));
    }
    tie_bias_scales(draft);
    Ok(())
}

/// Where numbers are quantised that were so before, no quotient of scales is a simple one: else many results lie
/// half-way between two steps, and the last bit of a sum decides.
fn scales(draft: &Draft, part: Part) -> [f64; 3] {
    let requantises =
        draft.nodes.iter().any(|n| n.is(&["DequantizeLinear"]) || n.schema.name.starts_with("QLinear"));
    match (requantises, part) {
        (false, _) => [0.25, 0.1, 0.5],
        (true, Part::ResultScale) => [0.0933, 0.171, 0.0317],
        (true, _) => [0.0713, 0.1337, 0.0271],
    }
}

fn part(draft: &Draft, value: usize) -> Part {
    let uses = draft.nodes.iter().filter_map(|node| {
        let slot = node.inputs.iter().position(|v| *v == Some(value))?;
        Some((node, slot, node.formal(slot)?.name))
    });
    let mut parts = uses.map(|(node, slot, formal)| match formal {
        _ if node.is(&["QLinearConcat"]) => match slot % 3 {
            0 => Part::Scale,
            1 => Part::ZeroPoint,
            _ => Part::Data,
        },
        name if name.eq_ignore_ascii_case("y_scale") || name.eq_ignore_ascii_case("c_scale") => {
            Part::ResultScale
        }
        name if name.ends_with("_scale") => Part::Scale,
        name if name.ends_with("_zero_point") => Part::ZeroPoint,
        "var" | "input_var" => Part::Positive,
        "min" if node.is(&["Clip"]) => Part::Least,
        "max" if node.is(&["Clip"]) => Part::Most,
        _ => Part::Data,
    });
    parts.find(|p| *p != Part::Data).unwrap_or(Part::Data)
}

/// One number that the type can hold.
pub fn draw(numbers: Numbers, dtype: DType, rng: &mut Rng) -> f64 {
    if dtype == DType::Bool {
        return (rng.next_u64() & 1) as f64;
    }
    if dtype.is_integer() {
        let (least, most) = match (numbers, dtype.bits()) {
            (Numbers::Small, _) => (-4, 5),
            (_, ..=8) => (-(1 << (dtype.bits() - 1)), 1 << dtype.bits()),
            _ => (-100, 101),
        };
        let drawn = rng.range(least, most);
        let most = if dtype.is_signed() { (1 << (dtype.bits().min(62) - 1)) - 1 } else { i64::MAX };
        let least = if dtype.is_signed() { least } else { 0 };
        return drawn.clamp(least, most) as f64;
    }
    match numbers {
        Numbers::Small => rng.range(-4, 5) as f64,
        Numbers::Unit => f64::from(rng.unit()),
        Numbers::Halves => rng.range(-16, 17) as f64 / 2.0,
        Numbers::Wide => f64::from(rng.unit()) * 100.0,
    }
}

/// A tensor of numbers of a type that generated models use.
pub fn tensor(dtype: DType, dims: &[usize], numbers: &[f64]) -> Option<Tensor> {
    macro_rules! of {
        ($convert:expr) => {
            Tensor::from_vec(dims, numbers.iter().map(|x| $convert(*x)).collect())
        };
    }
    let made = match dtype {
        DType::F32 => of!(|x| x as f32),
        DType::F64 => of!(|x: f64| x),
        DType::F16 => of!(f16::from_f64),
        DType::BF16 => of!(bf16::from_f64),
        DType::U8 => of!(|x| x as u8),
        DType::I8 => of!(|x| x as i8),
        DType::U16 => of!(|x| x as u16),
        DType::I16 => of!(|x| x as i16),
        DType::U32 => of!(|x| x as u32),
        DType::I32 => of!(|x| x as i32),
        DType::U64 => of!(|x| x as u64),
        DType::I64 => of!(|x| x as i64),
        DType::Bool => Tensor::from_bools(dims, numbers.iter().map(|x| *x != 0.0).collect()),
        _ => return None,
    };
    made.ok()
}

/// A bias that is stored in int32 has the product of the scales of its operands, as exporters write it.
fn tie_bias_scales(draft: &mut Draft) {
    let maker = |value: usize| draft.nodes.iter().find(|n| n.outputs.contains(&value));
    let scale_of = |value: Option<usize>| {
        let node = maker(value?)?;
        node.is(&["DequantizeLinear"]).then(|| node.inputs.get(1).copied().flatten()).flatten()
    };
    let mut tied = Vec::new();
    for (bias, x, w) in draft.nodes.iter().filter_map(|n| bias_of(n, &maker)) {
        let Some(scale) = scale_of(Some(bias)) else { continue };
        if let (Some(x), Some(w)) = (scale_of(Some(x)), scale_of(Some(w))) {
            tied.push((bias, scale, x, w));
        }
    }
    for (_, scale, x, w) in tied {
        let numbers = |v: usize| draft.values[v].content.as_ref().and_then(|t| t.to_f64s());
        let (Some(x), Some(w), Some(dims)) = (numbers(x), numbers(w), draft.values[scale].dims.clone())
        else {
            continue;
        };
        let count: usize = dims.iter().product();
        let product = (0..count).map(|i| x[0] * w[i % w.len()]).collect::<Vec<_>>();
        if let Some(made) = draft.values[scale].dtype.and_then(|t| tensor(t, &dims, &product)) {
            draft.values[scale].content = Some(Arc::new(made));
        }
    }
}

/// The bias of a sum of products, with the operands of the products.
fn bias_of<'n>(node: &Node, maker: &impl Fn(usize) -> Option<&'n Node>) -> Option<(usize, usize, usize)> {
    let at = |node: &Node, slot: usize| node.inputs.get(slot).copied().flatten();
    if node.is(&["Conv", "Gemm"]) {
        return Some((at(node, 2)?, at(node, 0)?, at(node, 1)?));
    }
    if node.is(&["Add"]) {
        let product = maker(at(node, 0)?).filter(|n| n.is(&["MatMul"]))?;
        return Some((at(node, 1)?, at(product, 0)?, at(product, 1)?));
    }
    None
}
