//! Gemm, MatMul and QLinearMatMul with constant weights: convolutions of one pixel.

use byoc_plugin::{Error, Result};

use super::conv::fixed;
use super::sums::Sums;
use super::{Importer, Match, activation, shape};
use crate::layer::{Conv, Op, Window};

pub fn product(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let node = found.required_node(&["Gemm", "MatMul", "QLinearMatMul"])?;
    // Whether the weights are `[output][input]`, not `[input][output]`.
    let by_output = node.attr_int("transB") == Some(1);
    let x = found.required("x")?;
    let (inputs, outputs) = (shape(x)?.channels, shape(found.output()?)?.channels);
    let want = if by_output { [outputs, inputs] } else { [inputs, outputs] };
    if x.rank() != Some(2) || fixed(found.required("w")?)? != want {
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
    let sums = Sums::of(found, usize::from(!by_output), outputs)?;
    let mut weights = sums.weights;
    if !by_output {
        weights =
            (0..outputs).flat_map(|output| weights.iter().skip(output).step_by(outputs).copied()).collect();
    }
    let conv = Conv {
        window: Window::POINT,
        groups: 1,
        weights,
        weight_zero: sums.weight_zero,
        input_zero: sums.input_zero,
        bias: sums.bias,
        multiplier: sums.multiplier,
        range: activation::range(found, sums.output)?,
    };
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Conv(conv), inputs)
}
