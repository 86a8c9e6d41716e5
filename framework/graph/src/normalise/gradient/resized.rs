//! Resize and Upsample mix elements along one axis after the other; so do rules pass their gradients on.

use super::derived::{attribute, ints, text};
use crate::{Attr, Graph, Node};

/// An axis of the operand, and which of the scales is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Along {
    pub axis: i64,
    pub entry: i64,
}

/// How a node resizes.
pub(super) struct Resized {
    /// The axes whose size may change; one at least.
    pub axes: Vec<Along>,
    /// The input that holds scales, where they count.
    pub scales: Option<usize>,
    /// What a Resize of opset 18 does the same with, by the names that rules use.
    pub style: Vec<(&'static str, Attr)>,
}

impl Along {
    /// As attributes of a rule.
    pub fn attributes(self) -> [(&'static str, Attr); 4] {
        [("axis", self.axis), ("behind", self.axis + 1), ("entry", self.entry), ("following", self.entry + 1)]
            .map(|(name, number)| (name, Attr::Int(number)))
    }
}

impl Resized {
    /// `None` where the rules do not know the way: elements from beyond the border, a common scale of all axes.
    pub fn of(graph: &Graph, node: &Node) -> Option<Resized> {
        let resize = &*node.op.name == "Resize";
        let plain = resize && node.opset == 10 || &*node.op.name == "Upsample" && node.opset >= 7;
        if !(plain || resize && node.opset >= 11) {
            return None;
        }
        let is = |name: &str, wanted: &str| text(node, name).is_none_or(|text| text == wanted);
        let crops = text(node, "coordinate_transformation_mode").is_some_and(|t| t == "tf_crop_and_resize");
        if crops || !is("keep_aspect_ratio_policy", "stretch") {
            return None;
        }
        let constant = |i: usize| graph.constant(node.input(i)?);
        let given = |i: usize| node.input(i).is_some() && constant(i).is_none_or(|t| !t.is_empty());
        let scales = match () {
            () if plain => node.input(1).map(|_| 1),
            () if given(3) => None,
            () => node.input(2).map(|_| 2),
        };
        let rank = graph.value(node.input(0)?).ty.as_ref()?.shape()?.len() as i64;
        let axes = match ints(node, "axes").filter(|_| !plain) {
            Some(axes) => axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect(),
            None => (0..rank).collect::<Vec<i64>>(),
        };
        let known = match (scales, node.attrs.get("scales")) {
            (Some(i), _) => constant(i).and_then(|tensor| tensor.to_f64s()),
            (None, Some(Attr::Floats(list))) => Some(list.iter().map(|&scale| scale.into()).collect()),
            _ => None,
        };
        let all = || axes.iter().zip(0..).map(|(&axis, entry)| Along { axis, entry });
        let changes =
            |along: &Along| known.as_ref().is_none_or(|k| k.get(along.entry as usize) != Some(&1.0));
        let mut changing: Vec<Along> = all().filter(changes).collect();
        if changing.is_empty() {
            changing.extend(all().next());
        }
        (!changing.is_empty()).then(|| Resized { axes: changing, scales, style: style(node, plain) })
    }
}

fn style(node: &Node, plain: bool) -> Vec<(&'static str, Attr)> {
    let mode = text(node, "mode").unwrap_or_else(|| "nearest".into());
    let mode = if mode == "bilinear" { "linear" } else { &mode };
    let of = |name: &str, otherwise: Attr| match plain {
        true => otherwise,
        false => attribute(node, name).unwrap_or(otherwise),
    };
    vec![
        ("filter", Attr::str(mode)),
        ("places", of("coordinate_transformation_mode", Attr::str("asymmetric"))),
        ("nearest", of("nearest_mode", Attr::str("floor"))),
        ("cubic", of("cubic_coeff_a", Attr::Float(-0.75))),
        ("outside", of("exclude_outside", Attr::Int(0))),
        ("smooth", of("antialias", Attr::Int(0))),
    ]
}
