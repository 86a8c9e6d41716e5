//! Matrix products and convolutions.

use byoc_plugin::{Error, Node, Result};

use super::rows::windows;
use super::{Ended, Lowering};
use crate::kernels::product::{Of, Product};
use crate::pointwise::{Align, Expr, Operand, Pointwise};
use crate::scalar;
use crate::types::{self, Kind};

pub fn rule(lowering: &mut Lowering<'_, '_>, node: &Node<'_>) -> Option<Result<()>> {
    match node.op {
        "MatMul" => Some(lowering.matmul(node)),
        "Gemm" => Some(lowering.gemm(node)),
        "Conv" => Some(lowering.conv(node)),
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

impl Lowering<'_, '_> {
    /// The two operands of a product, which are of one float type.
    fn factors(&mut self, node: &Node<'_>) -> Result<[usize; 2]> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let dtype = self.dtype(x)?;
        if types::of(dtype)?.kind != Kind::Float || self.dtype(w)? != dtype {
            return Err(Error::unsupported(format!("{} of {dtype}", node.op)));
        }
        self.rank(x)?;
        self.rank(w)?;
        Ok([self.stored(x), self.stored(w)])
    }

    fn matmul(&mut self, node: &Node<'_>) -> Result<()> {
        let factors = self.factors(node)?;
        let dtype = self.dtype(factors[0])?;
        let of = Of::Matrices { transposed: [false; 2] };
        let output = self.output(node)?;
        self.open(
            Ended::Product(Product { of, dtype, tail: Pointwise::fresh(dtype) }),
            factors.into(),
            output,
        );
        Ok(())
    }

    fn gemm(&mut self, node: &Node<'_>) -> Result<()> {
        let factors = self.factors(node)?;
        let dtype = self.dtype(factors[0])?;
        let transposed = ["transA", "transB"].map(|name| node.attr_int(name) == Some(1));
        let mut tail = Pointwise::fresh(dtype);
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
        self.open(
            Ended::Product(Product { of: Of::Matrices { transposed }, dtype, tail }),
            factors.into(),
            output,
        );
        Ok(())
    }

    fn conv(&mut self, node: &Node<'_>) -> Result<()> {
        let [x, w] = self.factors(node)?;
        let dtype = self.dtype(x)?;
        let weights = self.value(w).shape();
        let weights = weights.ok_or_else(|| Error::unsupported("weights of a shape that is not known"))?;
        let windows = windows(node, weights.get(2..).unwrap_or_default())?;
        let groups = usize::try_from(node.attr_int("group").unwrap_or(1)).unwrap_or(0);
        if self.rank(x)? != weights.len() || groups == 0 {
            return Err(Error::invalid("weights that do not fit the image"));
        }
        let mut tail = Pointwise::fresh(dtype);
        if let Some(bias) = node.inputs.get(2).copied().flatten() {
            let value = self.stored(bias);
            let align = Align::FromEnd(weights.len() - 1);
            tail = binary("Add", [tail, Pointwise::read(Operand { value, dtype, align })])?;
        }
        let output = self.output(node)?;
        let of = Of::Images { windows, groups };
        // The weights are the rows of the product.
        self.open(Ended::Product(Product { of, dtype, tail }), vec![w, x], output);
        Ok(())
    }
}
