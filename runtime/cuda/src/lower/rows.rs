//! Reductions, softmax, normalisations and poolings.

use byoc_plugin::{Error, Node, Result};

use super::{Ended, Lowering, ints, sizes, text};
use crate::kernels::row::{self, Over, Row, RowOp};
use crate::kernels::window::{Of, Pads, Pool, Windows};
use crate::pointwise::{Align, Expr, Operand, Pointwise};
use crate::scalar;
use crate::types::{self, Kind};

/// Poolings of a whole image, and the reductions that they are.
const GLOBAL: &[(&str, &str)] = &[("GlobalAveragePool", "ReduceMean"), ("GlobalMaxPool", "ReduceMax")];
/// Normalisations of an image's channels: a row for each, or for each group.
const CHANNELS: &[&str] = &["InstanceNormalization", "GroupNormalization"];

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    match node.op {
        "MaxPool" | "AveragePool" => Some(lowering.pool(node)),
        "Softmax" | "LogSoftmax" => Some(lowering.softmax(node)),
        "LayerNormalization" | "RMSNormalization" => Some(lowering.layer_normalization(node)),
        "LpNormalization" => {
            let over = Over::Axes(vec![node.attr_int("axis").unwrap_or(-1)]);
            let name = if node.attr_int("p") == Some(1) { "LpNormalization:1" } else { "LpNormalization:2" };
            Some(lowering.row(node, name, over, true, 0.0))
        }
        "MeanVarianceNormalization" => {
            let over = Over::Axes(ints(node, "axes").unwrap_or(vec![0, 2, 3]));
            Some(lowering.row(node, node.op, over, true, 0.0))
        }
        op if CHANNELS.contains(&op) => Some(lowering.channels(node)),
        op if op.starts_with("Reduce") => Some(lowering.reduce(node)),
        op => {
            let (_, reduction) = GLOBAL.iter().find(|(name, _)| *name == op)?;
            Some(lowering.global(node, reduction))
        }
    }
}

impl Lowering<'_, '_> {
    fn row_op(&self, node: &Node<'_>, name: &str) -> Result<&'static RowOp> {
        let dtype = self.dtype(self.input(node, 0)?)?;
        let row = row::find(name).filter(|row| match types::of(dtype).map(|ty| ty.kind) {
            Ok(Kind::Float) => true,
            Ok(Kind::Int) => row.ints,
            _ => false,
        });
        row.ok_or_else(|| Error::unsupported(format!("no kernel is there for {} of {dtype}", node.op)))
    }

    fn row(&mut self, node: &Node<'_>, name: &str, over: Over, keep: bool, epsilon: f64) -> Result<()> {
        let (x, output, op) = (self.input(node, 0)?, self.output(node)?, self.row_op(node, name)?);
        self.rank(x)?;
        let dtype = self.dtype(x)?;
        let x = self.stored(x);
        let tail = Pointwise::fresh(dtype);
        self.open(Ended::Row(Row { op, over, keep, epsilon, dtype, tail }), vec![x], output);
        Ok(())
    }

    fn reduce(&mut self, node: &Node<'_>) -> Result<()> {
        let axes = self.whole_numbers(node, 1)?.or_else(|| ints(node, "axes")).unwrap_or_default();
        if axes.is_empty() && node.attr_int("noop_with_empty_axes") == Some(1) {
            return Err(Error::unsupported("a reduction of nothing"));
        }
        let keep = node.attr_int("keepdims").unwrap_or(1) != 0;
        self.row(node, node.op, Over::Axes(axes), keep, 0.0)
    }

    fn global(&mut self, node: &Node<'_>, reduction: &str) -> Result<()> {
        let rank = self.rank(self.input(node, 0)?)? as i64;
        if rank < 3 {
            return Err(Error::unsupported(format!("{} of what is no image", node.op)));
        }
        self.row(node, reduction, Over::Axes((2..rank).collect()), true, 0.0)
    }

    /// Until opset 13, all that lies behind the axis is one row.
    fn softmax(&mut self, node: &Node<'_>) -> Result<()> {
        let over = match node.since_version {
            13.. => Over::Axes(vec![node.attr_int("axis").unwrap_or(-1)]),
            _ => Over::From(node.attr_int("axis").unwrap_or(1)),
        };
        if self.rank(self.input(node, 0)?)? == 0 {
            return Err(Error::unsupported("a softmax of a number"));
        }
        self.row(node, node.op, over, true, 0.0)
    }

    fn layer_normalization(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, scale) = (self.input(node, 0)?, self.input(node, 1)?);
        let bias = node.inputs.get(2).copied().flatten();
        let epsilon = node.attr_float("epsilon").unwrap_or(1e-5).into();
        let over = Over::From(node.attr_int("axis").unwrap_or(-1));
        let scaled = [Some((scale, "Mul")), bias.map(|bias| (bias, "Add"))];
        for (value, _) in scaled.iter().flatten() {
            if self.rank(*value)? > self.rank(x)? || self.dtype(*value)? != self.dtype(x)? {
                return Err(Error::unsupported(format!("{} with another type or rank", node.op)));
            }
        }
        self.scaled_row(
            node,
            over,
            epsilon,
            Align::Trailing,
            &scaled.into_iter().flatten().collect::<Vec<_>>(),
        )
    }

    fn channels(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, scale, bias) = (self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?);
        let channels = self.value(x).dims.as_ref().and_then(|dims| dims.get(1).copied());
        let known = |value: usize| self.value(value).dims.as_ref().and_then(|dims| dims.first().copied());
        if channels.is_none() || known(scale) != channels || known(bias) != channels {
            return Err(Error::unsupported(format!("{} with a scale that is not of each channel", node.op)));
        }
        let groups = match (node.op, channels) {
            ("GroupNormalization", _) => node.attr_int("num_groups").unwrap_or(0),
            (_, Some(byoc_plugin::Dim::Known(channels))) => channels as i64,
            _ => return Err(Error::unsupported("a number of channels that is not known")),
        };
        let groups = sizes(&[groups])?[0];
        let epsilon = node.attr_float("epsilon").unwrap_or(1e-5).into();
        let align = Align::FromEnd(self.rank(x)? - 1);
        self.scaled_row(node, Over::Groups(groups), epsilon, align, &[(scale, "Mul"), (bias, "Add")])
    }

    /// A normalisation, with a scale and perhaps a bias at its end.
    fn scaled_row(
        &mut self,
        node: &Node<'_>,
        over: Over,
        epsilon: f64,
        align: Align,
        steps: &[(usize, &str)],
    ) -> Result<()> {
        let name = if super::rows::CHANNELS.contains(&node.op) { "LayerNormalization" } else { node.op };
        let (x, output, op) = (self.input(node, 0)?, self.output(node)?, self.row_op(node, name)?);
        let dtype = self.dtype(x)?;
        let mut tail = Pointwise::fresh(dtype);
        for (value, operator) in steps {
            self.stored(*value);
            let read = Pointwise::read(Operand { value: *value, dtype, align });
            let row = scalar::find(operator, Kind::Float);
            let row = row.ok_or_else(|| Error::internal("the table has lost a row"))?;
            tail = Pointwise::join(vec![tail, read], dtype, |arguments| Expr::Apply {
                row,
                attributes: Vec::new(),
                arguments,
            });
        }
        let x = self.stored(x);
        self.open(Ended::Row(Row { op, over, keep: true, epsilon, dtype, tail }), vec![x], output);
        Ok(())
    }

    fn pool(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        let dtype = self.dtype(x)?;
        let of = match (node.op, types::of(dtype)?.kind) {
            ("MaxPool", Kind::Float | Kind::Int) => Of::Max,
            (_, Kind::Float) => Of::Mean { padding: node.attr_int("count_include_pad") == Some(1) },
            _ => return Err(Error::unsupported(format!("{} of {dtype}", node.op))),
        };
        let kernel = ints(node, "kernel_shape").unwrap_or_default();
        let windows = windows(node, &sizes(&kernel)?)?;
        let x = self.stored(x);
        let tail = Pointwise::fresh(dtype);
        self.open(Ended::Pool(Pool { of, windows, dtype, tail }), vec![x], output);
        Ok(())
    }
}

/// Windows reach no further, so that their places can be counted in 32 bits.
const LARGEST: i64 = 1 << 24;

/// The windows of a node's attributes.
pub fn windows(node: &Node<'_>, kernel: &[usize]) -> Result<Windows> {
    let rank = kernel.len();
    if rank == 0 || rank > crate::kernels::window::SPACE || kernel.contains(&0) {
        return Err(Error::unsupported(format!("{} with windows of {rank} dimensions", node.op)));
    }
    let list = |name: &str, default: i64, len: usize| {
        let given = ints(node, name).filter(|values| !values.is_empty());
        let values = given.unwrap_or_else(|| vec![default; len]);
        match values.len() == len && values.iter().all(|value| *value < LARGEST) {
            true => sizes(&values),
            false => Err(Error::unsupported(format!("{name} of {} is {values:?}", node.op))),
        }
    };
    let pads = match text(node, "auto_pad", "NOTSET") {
        "SAME_UPPER" => Pads::Same { behind: true },
        "SAME_LOWER" => Pads::Same { behind: false },
        "VALID" => Pads::Given(vec![0; 2 * rank]),
        _ => Pads::Given(list("pads", 0, 2 * rank)?),
    };
    Ok(Windows {
        kernel: kernel.to_vec(),
        strides: list("strides", 1, rank)?,
        dilations: list("dilations", 1, rank)?,
        pads,
        ceil: node.attr_int("ceil_mode") == Some(1),
    })
}
