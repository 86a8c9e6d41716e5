//! The window of a Conv or pooling node.

use byoc_plugin::{Error, Node, Result};

use crate::layer::{Shape, Window};

/// A window, and its trailing pads.
pub struct NodeWindow {
    pub window: Window,
    pub trailing: [usize; 2],
}

/// Reads strides, dilations and pads, and proves that they give the output its size. One-dimensional nodes have one
/// row.
pub fn of(node: &Node<'_>, kernel: &[usize], input: Shape, output: Shape) -> Result<NodeWindow> {
    let refuse = |what: &str| Error::unsupported(format!("{}: {what}", node.op)).at_node(node.index);
    let axes = kernel.len();
    if axes == 0 || axes > 2 || kernel.iter().any(|&size| size == 0 || size > 255) {
        return Err(refuse("the device has windows of one or two axes, at most 255 long"));
    }
    let sizes = |name: &str, count: usize, default: usize| -> Result<Vec<usize>> {
        let Some(values) = node.attr_ints(name).filter(|values| !values.is_empty()) else {
            return Ok(vec![default; count]);
        };
        let values: Vec<usize> =
            values.iter().filter_map(|&value| u16::try_from(value).ok()).map(usize::from).collect();
        if values.len() == count { Ok(values) } else { Err(refuse(&format!("`{name}` is out of range"))) }
    };
    let (stride, dilation) = (sizes("strides", axes, 1)?, sizes("dilations", axes, 1)?);
    if stride.iter().chain(&dilation).any(|&step| step == 0) {
        return Err(refuse("strides and dilations must be above zero"));
    }
    let both =
        |values: &[usize], fill: usize| if axes == 1 { [fill, values[0]] } else { [values[0], values[1]] };
    let mut window = Window {
        kernel: both(kernel, 1),
        stride: both(&stride, 1),
        dilation: both(&dilation, 1),
        pads: [0, 0],
    };
    let mut trailing = [0, 0];
    let (inputs, outputs) = ([input.height, input.width], [output.height, output.width]);
    match node.attr_str("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => {
            let pads = sizes("pads", 2 * axes, 0)?;
            window.pads = both(&pads[..axes], 0);
            trailing = both(&pads[axes..], 0);
        }
        "VALID" => {}
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in 0..2 {
                let pad = window.extent(axis, outputs[axis]).saturating_sub(inputs[axis]);
                let lesser = pad / 2;
                let front = if mode == "SAME_LOWER" { pad - lesser } else { lesser };
                (window.pads[axis], trailing[axis]) = (front, pad - front);
            }
        }
        _ => return Err(refuse("unknown auto_pad")),
    }
    let ceil = node.attr_int("ceil_mode") == Some(1);
    for axis in 0..2 {
        let room = inputs[axis] + window.pads[axis] + trailing[axis];
        let steps =
            room.checked_sub(window.extent(axis, 1)).ok_or_else(|| refuse("the window exceeds its input"))?;
        let whole = steps / window.stride[axis] + 1;
        let most = if ceil { steps.div_ceil(window.stride[axis]) + 1 } else { whole };
        if !(whole..=most).contains(&outputs[axis]) {
            return Err(refuse("the output's size does not follow from the window"));
        }
    }
    Ok(NodeWindow { window, trailing })
}
