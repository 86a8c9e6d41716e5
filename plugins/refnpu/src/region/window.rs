//! The window of a Conv or pooling node.

use byoc_plugin::{Error, Node, Result, shapes};

use crate::layer::{Shape, Window};

/// A window, and its trailing pads.
pub struct NodeWindow {
    pub window: Window,
    pub trailing: [usize; 2],
}

/// Reads strides, dilations and pads, and proves that they give the output its size. One-dimensional nodes have one
/// row.
pub fn of(node: &Node<'_>, kernel: &[i64], input: Shape, output: Shape) -> Result<NodeWindow> {
    let refuse = |what: &str| Error::unsupported(format!("{}: {what}", node.op)).at_node(node.index);
    let axes = kernel.len();
    if axes == 0 || axes > 2 || kernel.iter().any(|&size| !(1..=255).contains(&size)) {
        return Err(refuse("the device has windows of one or two axes, at most 255 long"));
    }
    let given = shapes::Window::of(node, kernel.to_vec())?;
    let (inputs, outputs) = ([input.height, input.width], [output.height, output.width]);
    let placed = given.slide(&inputs[2 - axes..].iter().map(|&size| size as i64).collect::<Vec<_>>());
    let both = |name: &str, values: &[i64], fill: usize| -> Result<[usize; 2]> {
        let mut both = [fill; 2];
        for (size, &value) in both[2 - axes..].iter_mut().zip(values) {
            let value = u16::try_from(value).map_err(|_| refuse(&format!("`{name}` is out of range")))?;
            *size = value.into();
        }
        Ok(both)
    };
    let window = Window {
        kernel: both("kernel_shape", &given.kernel, 1)?,
        stride: both("strides", &given.strides, 1)?,
        dilation: both("dilations", &given.dilations, 1)?,
        pads: both("pads", &placed.begin, 0)?,
    };
    let trailing = both("pads", &placed.end, 0)?;
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
