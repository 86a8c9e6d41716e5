//! Codes and the numbers that they stand for: both ways are expressions.

use byoc_plugin::{DType, Error, Node, Result};

use super::Lowering;
use super::elementwise::apply;
use crate::pointwise::{Align, Expr, Pointwise};

/// The element types that codes may have, with the least and the largest.
const CODES: &[(DType, f64, f64)] = &[
    (DType::I8, -128.0, 127.0),
    (DType::U8, 0.0, 255.0),
    (DType::I16, -32768.0, 32767.0),
    (DType::U16, 0.0, 65535.0),
];

impl Lowering<'_, '_> {
    /// `(x - zero) * scale`.
    pub(super) fn dequantise(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let x = self.input(node, 0)?;
        let dtype = self.float32(node, self.output(node)?)?;
        let known = CODES.iter().any(|(code, ..)| self.dtype(x).ok() == Some(*code));
        if !known && self.dtype(x)? != DType::I32 {
            return Err(Error::unsupported(format!("{} of {}", node.op, self.dtype(x)?)));
        }
        // A product reads the codes themselves.
        let output = self.output(node)?;
        if self.region.consumers(output).any(|user| super::products::OPS.contains(&user.op)) {
            self.stored(x);
        }
        let mut numbers = cast(self.read(x)?, dtype);
        if let Some(zero) = self.along(node, 2)? {
            numbers = self.two("Sub", [numbers, cast(zero, dtype)])?;
        }
        let scale = self.scale(node)?;
        self.two("Mul", [numbers, scale])
    }

    /// `x / scale`, as codes.
    pub(super) fn quantise(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        let (x, output) = (self.input(node, 0)?, self.output(node)?);
        let dtype = self.float32(node, x)?;
        let to = self.dtype(output)?;
        let scale = self.scale(node)?;
        let x = self.read(x)?;
        let scaled = self.two("Div", [x, scale])?;
        let zero = self.along(node, 2)?.map(|zero| cast(zero, dtype));
        self.codes_of(scaled, zero, to)
    }

    /// To the nearest (of two, the even one), `+ zero`, and no further than the type goes.
    pub(super) fn codes_of(
        &self,
        scaled: Pointwise,
        zero: Option<Pointwise>,
        to: DType,
    ) -> Result<Pointwise> {
        let dtype = scaled.root.dtype;
        let row = CODES.iter().find(|(code, ..)| *code == to);
        let (_, least, most) = row.ok_or_else(|| Error::unsupported(format!("codes of {to}")))?;
        let mut codes = apply(self.scalar_row("Round", dtype)?, dtype, Vec::new(), vec![scaled]);
        if let Some(zero) = zero {
            codes = self.two("Add", [codes, zero])?;
        }
        for (op, end) in [("Max", least), ("Min", most)] {
            codes = self.two(op, [codes, Pointwise::literal(*end, dtype)])?;
        }
        Ok(cast(codes, to))
    }

    fn two(&self, op: &str, parts: [Pointwise; 2]) -> Result<Pointwise> {
        let dtype = parts[0].root.dtype;
        Ok(apply(self.scalar_row(op, dtype)?, dtype, Vec::new(), parts.into()))
    }

    fn float32(&self, node: &Node<'_>, value: usize) -> Result<DType> {
        match self.dtype(value)? {
            DType::F32 => Ok(DType::F32),
            other => Err(Error::unsupported(format!("{} with {other}", node.op))),
        }
    }

    fn scale(&mut self, node: &Node<'_>) -> Result<Pointwise> {
        self.float32(node, self.input(node, 1)?)?;
        self.along(node, 1)?.ok_or_else(|| Error::unsupported(format!("{} without a scale", node.op)))
    }

    /// A scale or zero point: one for all, or one for each place along the axis.
    fn along(&mut self, node: &Node<'_>, place: usize) -> Result<Option<Pointwise>> {
        let Some(value) = node.inputs.get(place).copied().flatten() else { return Ok(None) };
        if let Some(number) = self.number(value).filter(|_| self.rank(value).ok() == Some(0)) {
            return Ok(Some(Pointwise::literal(number, self.dtype(value)?)));
        }
        let rank = self.rank(self.input(node, 0)?)?;
        let align = match (self.rank(value)?, node.attr_int("block_size").unwrap_or(0)) {
            (0, _) => Align::Trailing,
            // The same for all, whatever the axis.
            (1, _) if self.value(value).elements() == Some(1) => Align::FromEnd(1),
            (1, 0) => Align::FromEnd(rank - crate::shape::axis(node.attr_int("axis").unwrap_or(1), rank)?),
            _ => return Err(Error::unsupported(format!("{} in blocks", node.op))),
        };
        self.stored(value);
        Ok(Some(Pointwise::read(self.operand(value, align)?)))
    }
}

pub(super) fn cast(part: Pointwise, to: DType) -> Pointwise {
    Pointwise::join(vec![part], to, |mut roots| Expr::Cast(Box::new(roots.remove(0))))
}
