//! Gemm, MatMul and QLinearMatMul with constant weights: convolutions of one pixel.

use byoc_plugin::{Error, Result};

use super::conv::{Products, fixed};
use super::{Importer, Match, activation, constant, shape};
use crate::layer::{Conv, Op, Window};
use crate::quant::Range;

pub fn qdq(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let products = Products::qdq(found)?;
    let range = activation::range(found, products.output)?;
    let node = found.required_node(&["Gemm", "MatMul"])?;
    let by_output = node.attr_int("transB") == Some(1);
    connected(importer, found, products, range, by_output)
}

pub fn qlinear(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let products = Products::qlinear(found)?;
    let range = Range::full(products.output.zero);
    connected(importer, found, products, range, false)
}

/// `by_output`: the weights are `[output][input]`, not `[input][output]`.
fn connected(
    importer: &mut Importer<'_, '_>,
    found: &Match<'_, '_>,
    products: Products<'_, '_>,
    range: Range,
    by_output: bool,
) -> Result<()> {
    let x = found.required("x")?;
    let (inputs, outputs) = (shape(x)?.channels, shape(found.output()?)?.channels);
    let want = if by_output { [outputs, inputs] } else { [inputs, outputs] };
    if x.rank() != Some(2) || fixed(products.weights)? != want {
        return Err(Error::unsupported("the device multiplies rows of features with one matrix"));
    }
    if let Some(bias) = found.value("b") {
        let dims = fixed(bias)?;
        let (last, rows) = dims.split_last().map_or((1, &[][..]), |(last, rows)| (*last, rows));
        if rows.iter().any(|&rows| rows != 1) || (last != 1 && last != outputs) {
            return Err(Error::unsupported(format!(
                "a bias of shape {dims:?}, which differs from row to row"
            )));
        }
    }
    let mut weights = constant::int8s(products.weights)?;
    if !by_output {
        weights =
            (0..outputs).flat_map(|output| weights.iter().skip(output).step_by(outputs).copied()).collect();
    }
    let (bias, multiplier) = products.channels(outputs)?;
    let conv = Conv {
        window: Window::POINT,
        groups: 1,
        weights,
        weight_zero: products.weight_zero,
        input_zero: products.input.zero,
        bias,
        multiplier,
        range,
    };
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Conv(conv), inputs)
}
