//! Matrix products and convolutions.
//!
//! A product of two DequantizeLinear is one of their codes: sums of whole numbers, and one multiplier behind them.

use byoc_plugin::{DType, Error, Node, Result};

use super::elementwise::apply;
use super::quantise::cast;
use super::rows::windows;
use super::{Ended, Lowering};
use crate::kernels::product::{Codes, Of, Product};
use crate::pointwise::{Align, Expr, Operand, Pointwise};
use crate::scalar;
use crate::types::{self, Kind};

/// Products that may be of codes.
pub const OPS: &[&str] = &["MatMul", "Gemm", "Conv"];

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    match node.op {
        "MatMul" => Some(lowering.matmul(node)),
        "Gemm" => Some(lowering.gemm(node)),
        "Conv" => Some(lowering.conv(node)),
        "MatMulInteger" | "QLinearMatMul" => Some(lowering.code_matmul(node)),
        "ConvInteger" | "QLinearConv" => Some(lowering.code_conv(node)),
        _ => None,
    }
}

/// An expression of two, one of which may be a number.
fn binary(op: &str, parts: [Pointwise; 2]) -> Result<Pointwise> {
    let row = scalar::find(op, Kind::Float).ok_or_else(|| Error::internal("the table has lost a row"))?;
    let dtype = parts[0].root.dtype;
    Ok(Pointwise::join(parts.into(), dtype, |arguments| Expr::Apply {
        row,
        attributes: Vec::new(),
        arguments,
    }))
}

/// The type of codes that are multiplied as they are.
fn is_code(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8)
}

/// What is multiplied.
struct Factors {
    values: [usize; 2],
    /// Zero points, where the factors are codes.
    zeros: Option<[Option<usize>; 2]>,
    /// What the product comes to, before anything behind it.
    tail: Pointwise,
}

impl Factors {
    fn swapped(self) -> Factors {
        let [left, right] = self.values;
        let zeros = self.zeros.map(|[left, right]| [right, left]);
        Factors { values: [right, left], zeros, ..self }
    }
}

/// Codes with a scale and a zero point.
#[derive(Clone, Copy)]
struct Coded {
    value: usize,
    scale: usize,
    zero: Option<usize>,
    /// The axis along which scales differ, if they do.
    axis: Option<usize>,
}

impl Lowering<'_, '_> {
    /// The two operands of a product, which are of one float type. `columns` is the axis of the right one along which the
    /// output has an axis too, and `from_end` where that is.
    fn factors(&mut self, node: &Node<'_>, columns: usize, from_end: usize) -> Result<Factors> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let dtype = self.dtype(x)?;
        if types::of(dtype)?.kind != Kind::Float || self.dtype(w)? != dtype {
            return Err(Error::unsupported(format!("{} of {dtype}", node.op)));
        }
        self.rank(x)?;
        self.rank(w)?;
        if let (Some(left), Some(right)) = (self.coded(x), self.coded(w))
            && left.axis.is_none()
            && right.axis.is_none_or(|axis| axis == columns)
        {
            return self.code_factors([left, right], from_end);
        }
        let values = [self.stored(x), self.stored(w)];
        Ok(Factors { values, zeros: None, tail: Pointwise::fresh(dtype) })
    }

    /// What a value was made of, if a DequantizeLinear made it of codes of 8 bits.
    fn coded(&self, value: usize) -> Option<Coded> {
        let node = self.region.producer(self.value(value)).filter(|node| node.op == "DequantizeLinear")?;
        let at = |place: usize| node.inputs.get(place).copied().flatten();
        let (codes, scale) = (at(0)?, at(1)?);
        let blocks = node.attr_int("block_size").unwrap_or(0) != 0;
        let known = is_code(self.dtype(codes).ok()?) && self.dtype(scale).ok()? == DType::F32 && !blocks;
        let axis = match (self.value(scale).elements()?, self.value(scale).rank()?) {
            (1, _) => None,
            (_, 1) => {
                let axis = node.attr_int("axis").unwrap_or(1);
                Some(crate::shape::axis(axis, self.value(codes).rank()?).ok()?)
            }
            _ => return None,
        };
        known.then_some(Coded { value: codes, scale, zero: at(2), axis })
    }

    fn code_factors(&mut self, [left, right]: [Coded; 2], from_end: usize) -> Result<Factors> {
        let along = if right.axis.is_some() { from_end } else { 1 };
        let scales = [(left.scale, 1), (right.scale, along)].map(|(value, from_end)| {
            self.stored(value);
            Ok(Pointwise::read(self.operand(value, Align::FromEnd(from_end))?))
        });
        let [one, other] = scales;
        let sums = cast(Pointwise::fresh(DType::I32), DType::F32);
        let tail = binary("Mul", [sums, binary("Mul", [one?, other?])?])?;
        let values = [self.stored(left.value), self.stored(right.value)];
        let zeros = [left.zero, right.zero].map(|zero| zero.map(|zero| self.stored(zero)));
        Ok(Factors { values, zeros: Some(zeros), tail })
    }

    fn product(&mut self, of: Of, factors: Factors, tail: Pointwise, output: usize) -> Result<()> {
        let [left, right] = factors.values;
        let (dtype, right_dtype) = (self.dtype(left)?, self.dtype(right)?);
        let zeros = factors.zeros.map(|zeros| zeros.map(|zero| zero.is_some()));
        let codes = zeros.map(|zeros| Codes { right: right_dtype, zeros });
        let inputs = [left, right].into_iter().chain(factors.zeros.into_iter().flatten().flatten());
        self.open(Ended::Product(Product { of, dtype, codes, tail }), inputs.collect(), output);
        Ok(())
    }

    fn matmul(&mut self, node: &Node<'_>) -> Result<()> {
        let rank = self.rank(self.input(node, 1)?)?;
        // Columns that are the output's last axis.
        let columns = if rank > 1 { rank - 1 } else { usize::MAX };
        let factors = self.factors(node, columns, 1)?;
        let (tail, output) = (factors.tail.clone(), self.output(node)?);
        self.product(Of::Matrices { transposed: [false; 2] }, factors, tail, output)
    }

    fn gemm(&mut self, node: &Node<'_>) -> Result<()> {
        let transposed = ["transA", "transB"].map(|name| node.attr_int(name) == Some(1));
        let factors = self.factors(node, usize::from(!transposed[1]), 1)?;
        let mut tail = factors.tail.clone();
        let dtype = tail.root.dtype;
        let scaled = |part: Pointwise, name: &str| match node.attr_float(name).unwrap_or(1.0) {
            1.0 => Ok(part),
            factor => binary("Mul", [part, Pointwise::literal(factor.into(), dtype)]),
        };
        tail = scaled(tail, "alpha")?;
        if let Some(addend) = node.inputs.get(2).copied().flatten() {
            self.rank(addend)?;
            let value = self.stored(addend);
            let part = Pointwise::read(Operand { value, dtype, align: Align::Trailing });
            tail = binary("Add", [tail, scaled(part, "beta")?])?;
        }
        let output = self.output(node)?;
        self.product(Of::Matrices { transposed }, factors, tail, output)
    }

    /// How images are read, and how many axes the output has from its channels on.
    fn images(&self, node: &Node<'_>, x: usize, w: usize) -> Result<(Of, usize)> {
        let weights = self.value(w).shape();
        let weights = weights.ok_or_else(|| Error::unsupported("weights of a shape that is not known"))?;
        let windows = windows(node, weights.get(2..).unwrap_or_default())?;
        let groups = usize::try_from(node.attr_int("group").unwrap_or(1)).unwrap_or(0);
        if self.rank(x)? != weights.len() || groups == 0 {
            return Err(Error::invalid("weights that do not fit the image"));
        }
        Ok((Of::Images { windows, groups }, weights.len() - 1))
    }

    fn conv(&mut self, node: &Node<'_>) -> Result<()> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let (of, channels) = self.images(node, x, w)?;
        // Zero points of weights are one for all: a group's rows are some of the channels.
        let factors = self.factors(node, 0, channels)?;
        let mut tail = factors.tail.clone();
        if let Some(bias) = node.inputs.get(2).copied().flatten() {
            let dtype = tail.root.dtype;
            let value = self.stored(bias);
            let align = Align::FromEnd(channels);
            tail = binary("Add", [tail, Pointwise::read(Operand { value, dtype, align })])?;
        }
        let output = self.output(node)?;
        // The weights are the rows of the product.
        self.product(of, factors.swapped(), tail, output)
    }

    /// A product of codes; `places` are those of both factors, and of their zero points.
    fn given_codes(&mut self, node: &Node<'_>, places: [usize; 4]) -> Result<Factors> {
        let [x, w] = [self.input(node, places[0])?, self.input(node, places[1])?];
        for value in [x, w] {
            self.rank(value)?;
            if !is_code(self.dtype(value)?) {
                return Err(Error::unsupported(format!("{} of {}", node.op, self.dtype(value)?)));
            }
        }
        let zeros = [places[2], places[3]].map(|place| node.inputs.get(place).copied().flatten());
        for zero in zeros.iter().flatten() {
            if self.rank(*zero)? > 1 {
                return Err(Error::unsupported(format!("{} with zero points in rows", node.op)));
            }
            self.stored(*zero);
        }
        let values = [self.stored(x), self.stored(w)];
        Ok(Factors { values, zeros: Some(zeros), tail: Pointwise::fresh(DType::I32) })
    }

    fn code_matmul(&mut self, node: &Node<'_>) -> Result<()> {
        let quantised = node.op == "QLinearMatMul";
        let factors = self.given_codes(node, if quantised { [0, 3, 2, 5] } else { [0, 1, 2, 3] })?;
        let mut tail = factors.tail.clone();
        if quantised {
            tail = self.requantised(node, tail, [1, 4, 6, 7], [2, 1])?;
        }
        let output = self.output(node)?;
        self.product(Of::Matrices { transposed: [false; 2] }, factors, tail, output)
    }

    fn code_conv(&mut self, node: &Node<'_>) -> Result<()> {
        let quantised = node.op == "QLinearConv";
        let places = if quantised { [0, 3, 2, 5] } else { [0, 1, 2, 3] };
        let factors = self.given_codes(node, places)?;
        let (of, channels) = self.images(node, factors.values[0], factors.values[1])?;
        let one = |zero: usize| self.value(zero).elements() == Some(1);
        if factors.zeros.iter().flatten().flatten().any(|zero| !one(*zero)) {
            return Err(Error::unsupported(format!("{} with several zero points", node.op)));
        }
        let mut tail = factors.tail.clone();
        if quantised {
            if let Some(bias) = node.inputs.get(8).copied().flatten() {
                let value = self.stored(bias);
                let part =
                    Pointwise::read(Operand { value, dtype: DType::I32, align: Align::FromEnd(channels) });
                tail = apply(self.scalar_row("Add", DType::I32)?, DType::I32, Vec::new(), vec![tail, part]);
            }
            tail = self.requantised(node, tail, [1, 4, 6, 7], [1, channels])?;
        }
        let output = self.output(node)?;
        self.product(of, factors.swapped(), tail, output)
    }

    /// Sums as codes of the output: one multiplier of float32, to the nearest (of two, the even one), the zero point.
    /// `places` are those of the scales of both factors and of the output, and of its zero point; `along` says where the
    /// factors' scales lie in the output, from its end.
    fn requantised(
        &mut self,
        node: &Node<'_>,
        sums: Pointwise,
        places: [usize; 4],
        along: [usize; 2],
    ) -> Result<Pointwise> {
        let values = places.map(|place| self.input(node, place));
        let [left, right, scale, zero] = values;
        let values = [left?, right?, scale?, zero?];
        let mut parts = Vec::new();
        for (value, from_end) in values.into_iter().zip([along[0], along[1], 1, 1]) {
            let one = self.value(value).elements() == Some(1);
            let last = parts.len() >= 2;
            if self.rank(value)? > 1 || last && !one {
                return Err(Error::unsupported(format!("{} with scales in rows", node.op)));
            }
            self.stored(value);
            parts.push(Pointwise::read(self.operand(value, Align::FromEnd(from_end))?));
        }
        let to = self.dtype(values[3])?;
        let scales = parts[..3].iter().map(|part| part.root.dtype);
        if scales.into_iter().any(|dtype| dtype != DType::F32) {
            return Err(Error::unsupported(format!("{} with scales that are not float32", node.op)));
        }
        let zero = cast(parts.remove(3), DType::F32);
        let [left, right, scale] =
            <[Pointwise; 3]>::try_from(parts).map_err(|_| Error::internal("scales"))?;
        let multiplier = binary("Div", [binary("Mul", [left, right])?, scale])?;
        let scaled = binary("Mul", [cast(sums, DType::F32), multiplier])?;
        self.codes_of(scaled, Some(zero), to)
    }
}
