//! Operators that only move elements, or only change their shape.

use byoc_plugin::{Dim, Error, Node, Result};

use super::{Ended, Lowering, ints, sizes, text};
use crate::kernels::gather::Gather;
use crate::kernels::moves::{Fill, Move, Rule};
use crate::kernels::resize::{self, Resize, Target};
use crate::pointwise::Pointwise;
use crate::program::View;
use crate::types::{self, Kind};

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    Some(match node.op {
        "Identity" => lowering.reshaped(node, |_| Ok(View::Same)),
        "Reshape" => lowering.reshaped(node, |l| l.reshape(node)),
        "Flatten" => lowering.reshaped(node, |_| Ok(View::Flatten(node.attr_int("axis").unwrap_or(1)))),
        "Squeeze" => lowering.reshaped(node, |l| Ok(View::Squeeze(l.axes(node)?))),
        "Unsqueeze" => lowering.reshaped(node, |l| {
            let axes = l.axes(node)?.ok_or_else(|| Error::unsupported("Unsqueeze without axes"))?;
            Ok(View::Unsqueeze(axes))
        }),
        "Transpose" => lowering.moved(node, |_| Ok(Rule::Transpose(ints(node, "perm").unwrap_or_default()))),
        "Expand" => lowering.moved(node, |l| Ok(Rule::Expand(sizes(&l.required(node, 1)?)?))),
        "Tile" => lowering.moved(node, |l| Ok(Rule::Tile(sizes(&l.required(node, 1)?)?))),
        "Slice" => lowering.moved(node, |l| l.slice(node)),
        "DepthToSpace" if ["DCR", "CRD"].contains(&text(node, "mode", "DCR")) => lowering.moved(node, |_| {
            let block = sizes(&[node.attr_int("blocksize").unwrap_or(0)])?[0];
            Ok(Rule::DepthToSpace { block, columns_first: text(node, "mode", "DCR") == "CRD" })
        }),
        "SpaceToDepth" if text(node, "mode", "DCR") == "DCR" => lowering.moved(node, |_| {
            Ok(Rule::SpaceToDepth { block: sizes(&[node.attr_int("blocksize").unwrap_or(0)])?[0] })
        }),
        "Concat" => lowering.concat(node),
        "Split" => lowering.split(node),
        "Pad" => lowering.pad(node),
        "Gather" => lowering.gather(node),
        "Resize" => lowering.resize(node),
        _ => return None,
    })
}

impl Lowering<'_, '_> {
    fn required(&self, node: &Node<'_>, place: usize) -> Result<Vec<i64>> {
        let missing = || Error::unsupported(format!("{} without its input {place}", node.op));
        self.whole_numbers(node, place)?.ok_or_else(missing)
    }

    /// The axes of an input or, in older opsets, of an attribute.
    fn axes(&self, node: &Node<'_>) -> Result<Option<Vec<i64>>> {
        Ok(self.whole_numbers(node, 1)?.or_else(|| ints(node, "axes")))
    }

    fn reshaped(&mut self, node: &Node<'_>, view: impl FnOnce(&Self) -> Result<View>) -> Result<()> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        self.rank(x)?;
        let view = view(self)?;
        self.view(view, x, output);
        Ok(())
    }

    fn reshape(&self, node: &Node<'_>) -> Result<View> {
        let allow_zero = node.attr_int("allowzero") == Some(1);
        let to = self.whole_numbers(node, 1)?.or_else(|| ints(node, "shape"));
        let to = to.ok_or_else(|| Error::unsupported("Reshape without a shape"))?;
        Ok(View::Reshape { to, allow_zero })
    }

    fn moved(&mut self, node: &Node<'_>, rule: impl FnOnce(&Self) -> Result<Rule>) -> Result<()> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        self.rank(x)?;
        let (rule, dtype) = (rule(self)?, self.dtype(x)?);
        let x = self.stored(x);
        self.step(Box::new(Move { rule, dtype }), vec![x], output);
        Ok(())
    }

    fn slice(&self, node: &Node<'_>) -> Result<Rule> {
        let list =
            |place: usize, name: &str| Ok(self.whole_numbers(node, place)?.or_else(|| ints(node, name)));
        let missing = || Error::unsupported("Slice without starts or ends");
        let (starts, ends) = (list(1, "starts")?.ok_or_else(missing)?, list(2, "ends")?.ok_or_else(missing)?);
        let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.whole_numbers(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
            return Err(Error::invalid("Slice with lists of several lengths, or a step of 0"));
        }
        // Steps beyond the 32 bits of kernels pick one element, whatever their size.
        let step = |step: i64| step.clamp(-(1 << 31), 1 << 31);
        let cuts = axes.into_iter().zip(starts.into_iter().zip(ends).zip(steps));
        Ok(Rule::Slice(cuts.map(|(axis, ((start, end), by))| (axis, [start, end, step(by)])).collect()))
    }

    fn concat(&mut self, node: &Node<'_>) -> Result<()> {
        let output = self.output(node)?;
        let inputs =
            (0..node.inputs.len()).map(|place| self.input(node, place)).collect::<Result<Vec<_>>>()?;
        for value in &inputs {
            self.rank(*value)?;
            self.stored(*value);
        }
        let axis = node.attr_int("axis").ok_or_else(|| Error::unsupported("Concat without an axis"))?;
        let dtype = self.dtype(output)?;
        for part in 0..inputs.len() {
            self.step(Box::new(Move { rule: Rule::Concat { axis, part }, dtype }), inputs.clone(), output);
        }
        Ok(())
    }

    fn split(&mut self, node: &Node<'_>) -> Result<()> {
        let x = self.input(node, 0)?;
        self.rank(x)?;
        let given = self.whole_numbers(node, 1)?.or_else(|| ints(node, "split"));
        let (axis, dtype) = (node.attr_int("axis").unwrap_or(0), self.dtype(x)?);
        let parts = given.as_ref().map_or(node.outputs.len(), Vec::len);
        let sizes = given.map(|given| sizes(&given)).transpose()?;
        if parts == 0 || parts < node.outputs.len() {
            return Err(Error::invalid("Split with more outputs than parts"));
        }
        let x = self.stored(x);
        for (part, output) in node.outputs.iter().enumerate() {
            if let Some(output) = output {
                let rule = Rule::Split { axis, sizes: sizes.clone(), parts, part };
                self.step(Box::new(Move { rule, dtype }), vec![x], *output);
            }
        }
        Ok(())
    }

    fn pad(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        if text(node, "mode", "constant") != "constant" {
            return Err(Error::unsupported(format!("Pad with mode {}", text(node, "mode", "constant"))));
        }
        let (rank, dtype) = (self.rank(x)?, self.dtype(x)?);
        let pads = self.whole_numbers(node, 1)?.or_else(|| ints(node, "pads"));
        let pads = pads.ok_or_else(|| Error::unsupported("Pad without pads"))?;
        let axes = self.whole_numbers(node, 3)?.unwrap_or_else(|| (0..rank as i64).collect());
        if pads.len() != 2 * axes.len() {
            return Err(Error::invalid(format!("Pad of {} axes with {} numbers", axes.len(), pads.len())));
        }
        let mut each = vec![[0; 2]; rank];
        for (place, axis) in axes.iter().enumerate() {
            each[crate::shape::axis(*axis, rank)?] = [pads[place], pads[place + axes.len()]];
        }
        let value = match node.inputs.get(2).copied().flatten() {
            Some(value) => {
                self.number(value).ok_or_else(|| Error::unsupported("Pad with no constant number"))?
            }
            None => node.attr_float("value").unwrap_or(0.0).into(),
        };
        let x = self.stored(x);
        self.step(Box::new(Fill { rule: Rule::Pad(each.clone()), value, dtype }), vec![x], output);
        self.step(Box::new(Move { rule: Rule::Pad(each), dtype }), vec![x], output);
        Ok(())
    }

    fn gather(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, picked, output) = (self.input(node, 0)?, self.input(node, 1)?, self.output(node)?);
        let (dtype, indices) = (self.dtype(x)?, self.dtype(picked)?);
        let axis = node.attr_int("axis").unwrap_or(0);
        let along = crate::shape::axis(axis, self.rank(x)?)?;
        let size = self.value(x).dims.as_ref().and_then(|dims| dims.get(along).copied());
        if let (Some(Dim::Known(size)), Some(numbers)) = (size, self.value(picked).constant_as::<i64>())
            && numbers.iter().any(|index| !(-(size as i64)..size as i64).contains(index))
        {
            return Err(Error::unsupported("Gather of what is not there"));
        }
        let inputs = vec![self.stored(x), self.stored(picked)];
        let tail = Pointwise::fresh(dtype);
        self.open(Ended::Gather(Gather { axis, dtype, indices, tail }), inputs, output);
        Ok(())
    }

    fn resize(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        let (rank, dtype) = (self.rank(x)?, self.dtype(x)?);
        let unusual = ints(node, "axes").is_some()
            || node.attr_int("antialias") == Some(1)
            || node.attr_int("exclude_outside") == Some(1)
            || text(node, "keep_aspect_ratio_policy", "stretch") != "stretch";
        if node.since_version < 11 || unusual {
            return Err(Error::unsupported("Resize before opset 11, or with axes, antialiasing or policies"));
        }
        let target = self.target(node)?;
        let (nearest, linear) =
            (text(node, "mode", "nearest") == "nearest", text(node, "mode", "nearest") == "linear");
        let known = nearest || linear && types::of(dtype)?.kind == Kind::Float;
        if !known || rank == 0 {
            return Err(Error::unsupported(format!(
                "Resize of {dtype} with mode {}",
                text(node, "mode", "nearest")
            )));
        }
        let coordinates = resize::coordinates(text(node, "coordinate_transformation_mode", "half_pixel"))?;
        let rounding = text(node, "nearest_mode", "round_prefer_floor");
        let nearest = nearest.then(|| resize::nearest(rounding)).transpose()?;
        let known = self.value(x).shape();
        if let (Some(known), Target::Scales(scales)) = (&known, &target)
            && known.len() != scales.len()
        {
            return Err(Error::invalid("Resize with a scale for other axes"));
        }
        let x = self.stored(x);
        let tail = Pointwise::fresh(dtype);
        self.open(Ended::Resize(Resize { target, coordinates, nearest, dtype, tail }), vec![x], output);
        Ok(())
    }

    /// Scales or sizes, of which one has to be a constant.
    fn target(&self, node: &Node<'_>) -> Result<Target> {
        let scales = node.inputs.get(2).copied().flatten().map(|value| self.value(value));
        if let Some(given) = self.whole_numbers(node, 3)?.filter(|given| !given.is_empty()) {
            return Ok(Target::Sizes(sizes(&given)?));
        }
        let scales = scales.and_then(|value| value.constant_as::<f32>());
        let scales = scales.filter(|scales| scales.iter().all(|scale| *scale > 0.0 && scale.is_finite()));
        let scales = scales.ok_or_else(|| Error::unsupported("Resize without constant scales or sizes"))?;
        Ok(Target::Scales(scales.iter().map(|scale| (*scale).into()).collect()))
    }
}
