//! What the device computes. Here it is simulated.

use byoc_plugin::Node;

/// A convolution over two dimensions.
pub struct Conv {
    /// Of what comes in, the weights and the result.
    shapes: [[usize; 4]; 3],
    /// Stride, dilation and padding in front, by axis.
    axes: [[usize; 3]; 2],
}

impl Conv {
    pub fn new([x, w, y]: [Vec<usize>; 3], node: &Node<'_>) -> Option<Self> {
        let attr = |name: &str, axis: usize, default: usize| {
            let value = node.attr_ints(name).and_then(|values| values.get(axis));
            value.map_or(Some(default), |value| usize::try_from(*value).ok())
        };
        let along =
            |axis| Some([attr("strides", axis, 1)?, attr("dilations", axis, 1)?, attr("pads", axis, 0)?]);
        let shapes = [x.try_into().ok()?, w.try_into().ok()?, y.try_into().ok()?];
        Some(Conv { shapes, axes: [along(0)?, along(1)?] })
    }

    /// The convolution, with zero where it is negative.
    pub fn relu(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let [[_, channels, height, width], [_, _, rows, columns], [.., out_height, out_width]] = self.shapes;
        let filters = self.shapes[2][1];
        let from = |axis: usize, at: usize, tap: usize| {
            let [stride, dilation, pad] = self.axes[axis];
            (at * stride + tap * dilation).checked_sub(pad)
        };
        let element = |index: usize| {
            let (plane, row, column) =
                (index / out_width / out_height, index / out_width % out_height, index % out_width);
            let mut sum = bias.map_or(0.0, |bias| bias[plane % filters]);
            for tap in 0..channels * rows * columns {
                let (channel, r, c) = (tap / columns / rows, tap / columns % rows, tap % columns);
                if let (Some(i), Some(j)) = (from(0, row, r), from(1, column, c))
                    && (i < height && j < width)
                {
                    let pixel = ((plane / filters * channels + channel) * height + i) * width + j;
                    sum += w[plane % filters * channels * rows * columns + tap] * x[pixel];
                }
            }
            if sum < 0.0 { 0.0 } else { sum }
        };
        (0..self.shapes[2].iter().product()).map(element).collect()
    }
}

/// a · b + c, where c is a matrix or one row for all.
pub fn matmul_add([rows, inner, columns]: [usize; 3], a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    let element = |index: usize| {
        let products = (0..inner).map(|k| a[index / columns * inner + k] * b[k * columns + index % columns]);
        products.sum::<f32>() + c[index % c.len()]
    };
    (0..rows * columns).map(element).collect()
}
