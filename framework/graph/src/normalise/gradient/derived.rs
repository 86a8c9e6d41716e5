//! What rules need of a node beyond its operands: its attributes, and others that follow from them.

use std::sync::Arc;

use super::resized::Resized;
use crate::{Attr, Attributes, Graph, Node, schema};

/// The attributes of a node with those that follow.
pub(super) fn attributes(graph: &Graph, node: &Node) -> Attributes {
    let mut all = Derived(node.attrs.clone());
    all.put("count", Attr::Float(node.inputs().len() as f32));
    all.permutation(node);
    all.axis(node);
    all.choices(node);
    all.sums(node);
    all.windows(graph, node);
    all.absent(node);
    all.resized(graph, node);
    all.0
}

/// What the name of an attribute begins with that stands for an input that is left out.
pub(super) const ABSENT: &str = "without_";

/// The inputs that are left out before others that are there.
pub(super) fn absent(node: &Node) -> impl Iterator<Item = usize> {
    let inputs = node.inputs();
    let last = inputs.iter().rposition(Option::is_some).unwrap_or(0);
    (0..last).filter(|&i| inputs[i].is_none())
}

/// The axes of a reduction, where they are an attribute.
pub(super) fn axes(node: &Node) -> Option<&[i64]> {
    match node.attrs.get("axes")? {
        Attr::Ints(axes) if node.op.name.starts_with("Reduce") => Some(axes),
        _ => None,
    }
}

pub(super) fn ints<'a>(node: &'a Node, name: &str) -> Option<&'a [i64]> {
    match node.attrs.get(name)? {
        Attr::Ints(list) => Some(list),
        _ => None,
    }
}

fn int(node: &Node, name: &str) -> Option<i64> {
    match node.attrs.get(name)? {
        Attr::Int(number) => Some(*number),
        _ => None,
    }
}

/// An attribute, as given or by the schema's default.
pub(super) fn attribute(node: &Node, name: &str) -> Option<Attr> {
    let default = || {
        let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset)?;
        schema.attribute(name)?.default.as_ref().map(schema::AttrDefault::to_attr)
    };
    node.attrs.get(name).cloned().or_else(default)
}

pub(super) fn text(node: &Node, name: &str) -> Option<String> {
    match attribute(node, name)? {
        Attr::Str(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    }
}

struct Derived(Attributes);

impl Derived {
    fn put(&mut self, name: impl Into<Arc<str>>, attr: Attr) {
        self.0.insert(name.into(), attr);
    }

    /// The permutation that is the `inverse` of a transposition.
    fn permutation(&mut self, node: &Node) {
        let Some(perm) = ints(node, "perm") else { return };
        let mut inverse = vec![0; perm.len()];
        for (i, &axis) in perm.iter().enumerate() {
            if let Some(place) = usize::try_from(axis).ok().and_then(|axis| inverse.get_mut(axis)) {
                *place = i as i64;
            }
        }
        self.put("inverse", Attr::Ints(inverse));
    }

    /// What comes `behind` an axis, whether a sum runs `backwards` when passed on, and whether axes from this one on
    /// belong `together`, as those of a softmax once did.
    fn axis(&mut self, node: &Node) {
        if let Some(axis) = int(node, "axis") {
            self.put("behind", Attr::Int(if axis == -1 { i64::MAX } else { axis.saturating_add(1) }));
        }
        self.put("backwards", Attr::Int(i64::from(int(node, "reverse").unwrap_or(0) == 0)));
        if node.opset < 13 && node.op.name.ends_with("Softmax") {
            self.put("together", Attr::Int(1));
        }
    }

    /// Texts that choose between rules, as names: `reduction_mean`.
    fn choices(&mut self, node: &Node) {
        for name in ["approximate", "reduction"] {
            if let Some(choice) = text(node, name) {
                self.put(format!("{name}_{choice}"), Attr::Int(1));
            }
        }
    }

    /// The sums that lead to operands' gradients, `to_a` and `to_b`.
    fn sums(&mut self, node: &Node) {
        let is_set = |name: &str| int(node, name).is_some_and(|flag| flag > 0);
        let equation = match &*node.op.name {
            "Gemm" => {
                let a = if is_set("transA") { "ki" } else { "ik" };
                let b = if is_set("transB") { "jk" } else { "kj" };
                Some(format!("{a},{b}->ij"))
            }
            "Einsum" => text(node, "equation").map(|text| text.replace(' ', "")),
            _ => None,
        };
        let Some((terms, result)) = equation.as_ref().and_then(|text| text.split_once("->")) else { return };
        match terms.split(',').collect::<Vec<_>>()[..] {
            [a] if leads_back(a, &[result]) => self.put("to_a", Attr::str(&format!("{result}->{a}"))),
            [a, b] if leads_back(a, &[b, result]) && leads_back(b, &[a, result]) => {
                self.put("to_a", Attr::str(&format!("{result},{b}->{a}")));
                self.put("to_b", Attr::str(&format!("{a},{result}->{b}")));
            }
            _ => {}
        }
    }

    /// Which inputs are left out, others following: `without_1`.
    fn absent(&mut self, node: &Node) {
        for i in absent(node) {
            self.put(format!("{ABSENT}{i}"), Attr::Int(1));
        }
    }

    /// How images are resized, along their first axis that is, and whether by scales or to a size.
    fn resized(&mut self, graph: &Graph, node: &Node) {
        let Some(Resized { axes, scales, style }) = Resized::of(graph, node) else { return };
        let by = if scales.is_some() || node.attrs.contains_key("scales") { "scaled" } else { "sized" };
        let all = style.into_iter().chain(axes[0].attributes()).chain([(by, Attr::Int(1))]);
        all.for_each(|(name, attr)| self.put(name, attr));
    }

    /// Where windows stand: for each axis of space their distance, and how much padding they begin and end with. It
    /// is the given one, or, where `same`, half of what is missing, an odd pixel of it coming before where `lower`.
    fn windows(&mut self, graph: &Graph, node: &Node) {
        if !matches!(&*node.op.name, "Conv" | "ConvTranspose" | "AveragePool" | "MaxPool") {
            return;
        }
        let rank = |i: usize| graph.value(node.input(i)?).ty.as_ref()?.shape().map(|shape| shape.len());
        let kernel = ints(node, "kernel_shape").map(<[i64]>::len);
        let known = || rank(0).or_else(|| rank(1)).and_then(|rank| rank.checked_sub(2));
        let Some(space) = kernel.or_else(known) else { return };
        let all = |name: &str, default: i64, length: usize| {
            ints(node, name).map_or_else(|| vec![default; length], <[i64]>::to_vec)
        };
        let auto = text(node, "auto_pad").unwrap_or_default();
        let same = auto.starts_with("SAME") || node.attrs.contains_key("output_shape");
        let pads = if same || auto == "VALID" { vec![0; 2 * space] } else { all("pads", 0, 2 * space) };
        let (begin, end) = pads.split_at(space.min(pads.len()));
        self.put("begin", Attr::Ints(begin.to_vec()));
        self.put("end", Attr::Ints(end.to_vec()));
        self.put("same", Attr::Int(i64::from(same)));
        self.put("lower", Attr::Int(i64::from(same && auto != "SAME_UPPER")));
        self.put("strides", Attr::Ints(all("strides", 1, space)));
        self.put("dilations", Attr::Ints(all("dilations", 1, space)));
        self.put("extra", Attr::Ints(all("output_padding", 0, space)));
        self.put("pads", Attr::Ints(pads));
    }
}

/// Whether all subscripts of a term are found in the others, each once in its term.
fn leads_back(term: &str, others: &[&str]) -> bool {
    let letters = || term.chars().filter(|&letter| letter != '.');
    letters()
        .all(|letter| term.matches(letter).count() == 1 && others.iter().any(|other| other.contains(letter)))
        && (!term.contains('.') || others.iter().any(|other| other.contains('.')))
}
