//! The model of `byoc demo`: a small quantised convolutional network with seeded weights, written in
//! QuantizeLinear and DequantizeLinear the way exporters do.
//!
//! Weights are drawn so that activations keep a root mean square of about one (He et al., "Delving Deep into
//! Rectifiers", section 2.2), so scales can be chosen without calibration.

use std::sync::Arc;

use byoc_graph::{Attr, DType, Dim, Graph, GraphError, Model, NodeSpec, Tensor, TensorError, Type, ValueId};

use crate::random::Rng;

const OPSET: i64 = 17;
/// Activations behind Relu lie in 0..8, others in −4..4.
const RELU: Quantisation = Quantisation { scale: 8.0 / 255.0, zero_point: 0 };
const LINEAR: Quantisation = Quantisation { scale: 8.0 / 255.0, zero_point: 128 };

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

type Result<T> = std::result::Result<T, BuildError>;

/// How an activation is stored: `real = (stored − zero_point) · scale`, stored as `uint8`.
#[derive(Clone, Copy)]
struct Quantisation {
    scale: f32,
    zero_point: u8,
}

/// A convolution's shape.
#[derive(Clone, Copy)]
struct Conv {
    name: &'static str,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    group: usize,
    relu: bool,
}

/// The demo's network: float image of 32 × 32 pixels in, ten probabilities out.
pub fn network(seed: u64) -> Result<Model> {
    network_on(32, seed)
}

/// The same on images of `size` × `size` pixels.
pub fn network_on(size: i64, seed: u64) -> Result<Model> {
    let mut b = Builder { graph: Graph::new("demo"), rng: Rng::new(seed), position: 0 };
    let image = Type::tensor(DType::F32, [1, 3, size, size].map(Dim::Static));
    let input = b.graph.add_input("image", Some(image))?;
    let x = b.quantised("image", input, Quantisation { scale: 1.0 / 128.0, zero_point: 128 })?;

    let conv = Conv { name: "stem", inputs: 3, outputs: 32, kernel: 3, stride: 1, group: 1, relu: true };
    let x = b.conv(x, conv)?;
    let x = b.conv(x, Conv { name: "depthwise", inputs: 32, group: 32, ..conv })?;
    let x = b.conv(x, Conv { name: "pointwise", inputs: 32, outputs: 64, kernel: 1, ..conv })?;
    let x = b.pool(x, "pool", "MaxPool")?;

    let wide = Conv { inputs: 64, outputs: 64, ..conv };
    let y = b.conv(x, Conv { name: "block_a", ..wide })?;
    let y = b.conv(y, Conv { name: "block_b", relu: false, ..wide })?;
    let x = b.add(x, y, "residual")?;
    let x = b.conv(x, Conv { name: "down", outputs: 128, stride: 2, ..wide })?;

    let x = b.pool(x, "average", "GlobalAveragePool")?;
    let logits = b.classifier(x, 128, 10)?;
    let output = b.node("Softmax", "probabilities", &[logits], &[("axis", Attr::Int(-1))])?;
    b.graph.value_mut(output).ty = Some(Type::tensor(DType::F32, [1, 10].map(Dim::Static)));
    b.graph.add_output(output);
    b.graph.assign_labels();
    Ok(Model {
        graph: b.graph,
        opsets: [("".into(), OPSET)].into(),
        ir_version: 8,
        producer_name: "byoc demo".into(),
        ..Model::default()
    })
}

struct Builder {
    graph: Graph,
    rng: Rng,
    position: u32,
}

impl Builder {
    /// A node with one output, both called `name`.
    fn node(&mut self, op: &str, name: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> Result<ValueId> {
        let output = self.graph.add_value(name, None)?;
        self.position += 1;
        self.graph.add_node(NodeSpec {
            name: name.into(),
            op: op.into(),
            opset: OPSET,
            inputs: inputs.iter().map(|v| Some(*v)).collect(),
            outputs: vec![Some(output)],
            attrs: attrs.iter().map(|(k, v)| ((*k).into(), v.clone())).collect(),
            position: self.position,
            ..NodeSpec::default()
        })?;
        Ok(output)
    }

    fn constant(&mut self, name: String, tensor: Tensor) -> Result<ValueId> {
        Ok(self.graph.add_constant(name, Arc::new(tensor))?)
    }

    fn quantisation(&mut self, name: &str, q: Quantisation) -> Result<[ValueId; 2]> {
        let scale = self.constant(format!("{name}.scale"), Tensor::scalar(q.scale))?;
        let zero_point = self.constant(format!("{name}.zero_point"), Tensor::scalar(q.zero_point))?;
        Ok([scale, zero_point])
    }

    /// Stores a value as `uint8` and reads it back, as one sees between layers of a quantised model.
    fn quantised(&mut self, name: &str, value: ValueId, q: Quantisation) -> Result<ValueId> {
        let [scale, zero_point] = self.quantisation(name, q)?;
        let stored = self.node("QuantizeLinear", &format!("{name}.q"), &[value, scale, zero_point], &[])?;
        self.node("DequantizeLinear", &format!("{name}.dq"), &[stored, scale, zero_point], &[])
    }

    fn conv(&mut self, x: ValueId, c: Conv) -> Result<ValueId> {
        let dims = [c.outputs, c.inputs / c.group, c.kernel, c.kernel];
        let (weight, bias) = self.weights(c.name, &dims, c.relu)?;
        let k = c.kernel as i64;
        let attrs = [
            ("kernel_shape", Attr::Ints(vec![k, k])),
            ("strides", Attr::Ints(vec![c.stride as i64; 2])),
            ("pads", Attr::Ints(vec![k / 2; 4])),
            ("group", Attr::Int(c.group as i64)),
        ];
        let y = self.node("Conv", c.name, &[x, weight, bias], &attrs)?;
        if !c.relu {
            return self.quantised(&format!("{}.out", c.name), y, LINEAR);
        }
        let y = self.node("Relu", &format!("{}.relu", c.name), &[y], &[])?;
        self.quantised(&format!("{}.out", c.name), y, RELU)
    }

    /// Weights in `int8` with a scale for each output channel, a bias in `int32`, both read back as floats.
    fn weights(&mut self, name: &str, dims: &[usize], relu: bool) -> Result<(ValueId, ValueId)> {
        let (outputs, fan_in) = (dims[0], dims[1..].iter().product::<usize>());
        let count = outputs * fan_in;
        let stored: Vec<i8> = (0..count).map(|_| self.rng.range(-127, 128) as i8).collect();
        // Evenly distributed weights over ±127 have a deviation of 73.6.
        let gain = if relu { 2f32 } else { 0.5 };
        let spread = (gain / fan_in as f32).sqrt() / 73.6;
        let scales: Vec<f32> = (0..outputs).map(|_| spread * (1.0 + 0.25 * self.rng.unit())).collect();
        let bias: Vec<i32> = (0..outputs).map(|_| self.rng.range(-2000, 2000) as i32).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|s| s * RELU.scale).collect();
        let axis = [("axis", Attr::Int(0))];

        let w = self.constant(format!("{name}.weight"), Tensor::from_vec(dims, stored)?)?;
        let ws = self.constant(format!("{name}.weight.scale"), Tensor::from_vec(&[outputs], scales)?)?;
        let wz = Tensor::from_vec(&[outputs], vec![0i8; outputs])?;
        let wz = self.constant(format!("{name}.weight.zero_point"), wz)?;
        let w = self.node("DequantizeLinear", &format!("{name}.weight.dq"), &[w, ws, wz], &axis)?;
        let b = self.constant(format!("{name}.bias"), Tensor::from_vec(&[outputs], bias)?)?;
        let bs = self.constant(format!("{name}.bias.scale"), Tensor::from_vec(&[outputs], bias_scales)?)?;
        let b = self.node("DequantizeLinear", &format!("{name}.bias.dq"), &[b, bs], &axis)?;
        Ok((w, b))
    }

    fn pool(&mut self, x: ValueId, name: &str, op: &str) -> Result<ValueId> {
        let window = [("kernel_shape", Attr::Ints(vec![2, 2])), ("strides", Attr::Ints(vec![2, 2]))];
        let attrs = if op == "MaxPool" { &window[..] } else { &[] };
        let y = self.node(op, name, &[x], attrs)?;
        self.quantised(&format!("{name}.out"), y, RELU)
    }

    fn add(&mut self, a: ValueId, b: ValueId, name: &str) -> Result<ValueId> {
        let y = self.node("Add", name, &[a, b], &[])?;
        let y = self.node("Relu", &format!("{name}.relu"), &[y], &[])?;
        self.quantised(&format!("{name}.out"), y, RELU)
    }

    fn classifier(&mut self, x: ValueId, inputs: usize, outputs: usize) -> Result<ValueId> {
        let x = self.node("Flatten", "flatten", &[x], &[("axis", Attr::Int(1))])?;
        let x = self.quantised("flatten.out", x, RELU)?;
        let (weight, bias) = self.weights("classifier", &[outputs, inputs], false)?;
        let y = self.node("Gemm", "classifier", &[x, weight, bias], &[("transB", Attr::Int(1))])?;
        self.quantised("classifier.out", y, LINEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_the_same_every_time() {
        let (a, b) = (network(7).unwrap(), network(7).unwrap());
        a.graph.check();
        assert_eq!(a.graph, b.graph);
        assert!(network(8).unwrap().graph != a.graph);
    }
}
