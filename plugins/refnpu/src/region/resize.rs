//! Resize that takes the nearest pixel.

use byoc_plugin::{DType, Error, Node, Result};

use super::{Importer, Match, constant, is_unsigned, shape};
use crate::layer::{Op, Resize};

pub fn qdq(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let (x, y) = (found.required("x")?, found.output()?);
    let input = constant::quant(found, "xs", "xz", is_unsigned(x)?)?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(y)?)?;
    let tensor = importer.tensor(x)?;
    let tensor = importer.requantised(found, tensor, input, output);
    nearest(importer, found, tensor)
}

/// Of 8-bit numbers themselves.
pub fn plain(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let tensor = importer.tensor(found.required("x")?)?;
    nearest(importer, found, tensor)
}

fn nearest(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>, tensor: usize) -> Result<()> {
    let node = found.required_node(&["Resize"])?;
    let (x, y) = (found.required("x")?, found.output()?);
    let (input, output) = (shape(x)?, shape(y)?);
    let refuse = |what: &str| Error::unsupported(format!("Resize {what}")).at_node(node.index);
    let stretched = matches!(node.attr_str("keep_aspect_ratio_policy"), None | Some("stretch"));
    if node.attr_str("mode") != Some("nearest") || node.attr_ints("axes").is_some() || !stretched {
        return Err(refuse("other than to the nearest pixel, of all axes"));
    }
    if input.channels != output.channels
        || x.rank() != Some(4)
        || x.dims.as_ref().map(|dims| dims[0]) != y.dims.as_ref().map(|dims| dims[0])
    {
        return Err(refuse("of channels or batch"));
    }
    let scales = scales(found, node)?;
    let axis = |index: usize, input: usize, output: usize| -> Result<Vec<usize>> {
        let scale = scales.as_ref().and_then(|scales| scales.get(index).copied());
        let axis = Axis { input, output, scale: scale.unwrap_or(output as f32 / input as f32) };
        (0..output).map(|at| axis.pick(node, at).ok_or_else(|| refuse("with an unknown mode"))).collect()
    };
    let resize =
        Resize { rows: axis(2, input.height, output.height)?, cols: axis(3, input.width, output.width)? };
    importer.result(found, Op::Resize(resize), vec![tensor])
}

/// The scales, where the node has them and not sizes.
fn scales(found: &Match<'_, '_>, node: &Node<'_>) -> Result<Option<Vec<f32>>> {
    let position = if node.since_version < 11 { 1 } else { 2 };
    let given = found.region.input(node, position).filter(|value| value.dtype == Some(DType::F32));
    let scales = given.map(constant::floats).transpose()?;
    Ok(scales.filter(|scales| !scales.is_empty()))
}

struct Axis {
    input: usize,
    output: usize,
    scale: f32,
}

impl Axis {
    /// The input nearest to an output, by the node's two modes; `None` for modes that are not known here.
    fn pick(&self, node: &Node<'_>, at: usize) -> Option<usize> {
        let old = node.since_version < 11;
        let x = at as f32;
        let place = match node.attr_str("coordinate_transformation_mode") {
            _ if old => x / self.scale,
            None | Some("half_pixel") => (x + 0.5) / self.scale - 0.5,
            Some("pytorch_half_pixel") if self.output == 1 => 0.0,
            Some("pytorch_half_pixel") => (x + 0.5) / self.scale - 0.5,
            Some("align_corners") if self.output == 1 => 0.0,
            Some("align_corners") => x * (self.input - 1) as f32 / (self.output - 1) as f32,
            Some("asymmetric") => x / self.scale,
            Some("tf_half_pixel_for_nn") => (x + 0.5) / self.scale,
            Some(_) => return None,
        };
        let near = match node.attr_str("nearest_mode") {
            _ if old => place.floor(),
            None | Some("round_prefer_floor") => (place - 0.5).ceil(),
            Some("round_prefer_ceil") => (place + 0.5).floor(),
            Some("floor") => place.floor(),
            Some("ceil") => place.ceil(),
            Some(_) => return None,
        };
        Some((near.max(0.0) as usize).min(self.input - 1))
    }
}
