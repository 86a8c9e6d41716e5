//! Pooling.

use byoc_plugin::{Error, Node, Result};

use super::window::NodeWindow;
use super::{Importer, Match, activation, constant, is_unsigned, shape, window};
use crate::layer::{AveragePool, Lookup, Op, Window};
use crate::quant::Range;

/// A maximum may be taken before Relu and a new scale instead of behind them: neither changes an order.
pub fn qdq_max(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let (x, y) = (found.required("x")?, found.output()?);
    let input = constant::quant(found, "xs", "xz", is_unsigned(x)?)?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(y)?)?;
    let range = activation::range(found, output)?;
    let window = max_window(found)?;
    let inputs = vec![importer.tensor(x)?];
    if input == output && range == Range::full(output.zero) {
        return importer.result(found, Op::MaxPool(window), inputs);
    }
    let pooled = importer.new_tensor(shape(y)?);
    importer.layer(found, Op::MaxPool(window), inputs, pooled);
    let table = Lookup::table(|q| output.quantise(input.dequantise(q)).max(range.low).min(range.high));
    importer.result(found, Op::Lookup(Lookup { tables: vec![table] }), vec![pooled])
}

/// MaxPool of 8-bit numbers themselves.
pub fn plain_max(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let window = max_window(found)?;
    let inputs = vec![importer.tensor(found.required("x")?)?];
    importer.result(found, Op::MaxPool(window), inputs)
}

fn max_window(found: &Match<'_, '_>) -> Result<Window> {
    let node = found.required_node(&["MaxPool"])?;
    let window = node_window(found, node)?.window;
    let (input, output) = (shape(found.required("x")?)?, shape(found.output()?)?);
    let sizes = [(input.height, output.height), (input.width, output.width)];
    for (axis, (input, output)) in sizes.into_iter().enumerate() {
        // The last window begins before the input ends, and the first does not end before it begins.
        let inside = (output - 1) * window.stride[axis] < input + window.pads[axis];
        if !inside
            || window.pads[axis] >= window.extent(axis, 1)
            || window.dilation[axis] > 1 && window.pads[axis] > 0
        {
            return Err(
                Error::unsupported("MaxPool with a window that may lie in the padding").at_node(node.index)
            );
        }
    }
    Ok(window)
}

/// AveragePool and GlobalAveragePool, in either form.
pub fn average(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let (x, y) = (found.required("x")?, found.output()?);
    let node = found.required_node(&[
        "AveragePool",
        "GlobalAveragePool",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
    ])?;
    if node.attr_int("channels_last") == Some(1) {
        return Err(Error::unsupported("channels must come before rows").at_node(node.index));
    }
    let input = shape(x)?;
    let NodeWindow { window, trailing } = if node.op.contains("Global") {
        let window = Window { kernel: [input.height, input.width], ..Window::POINT };
        NodeWindow { window, trailing: [0, 0] }
    } else {
        node_window(found, node)?
    };
    let output = constant::quant(found, "ys", "yz", is_unsigned(y)?)?;
    let pool = AveragePool {
        window,
        input: constant::quant(found, "xs", "xz", is_unsigned(x)?)?,
        scale: output.scale,
        range: Range::full(output.zero),
        count_padding: (node.attr_int("count_include_pad") == Some(1)).then_some(trailing),
    };
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::AveragePool(pool), inputs)
}

fn node_window(found: &Match<'_, '_>, node: &Node<'_>) -> Result<NodeWindow> {
    let kernel = node.attr_ints("kernel_shape").unwrap_or_default();
    window::of(node, kernel, shape(found.required("x")?)?, shape(found.output()?)?)
}
