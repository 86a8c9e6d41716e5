//! Regions as a host would show them: what each pattern's nodes say in float is what the device computes, to the
//! last step where nothing is summed, else to one step.

use byoc_plugin::{
    Attribute, AttributeValue, Category, Composite, Constant, DType, Dim, Node, Region, Symbol, Value,
};
use byoc_refnpu::codegen::{Options, lower};
use byoc_refnpu::region::{import, refusals};

/// A region under construction. Constants are leaked: a test is short.
struct Builder {
    region: Region<'static>,
    bindings: Vec<(&'static str, usize)>,
}

/// A tensor's scale, zero point and type.
#[derive(Clone, Copy)]
struct Quant(f32, i32, DType);

impl Quant {
    fn real(self, byte: u8) -> f32 {
        let q = if self.2 == DType::U8 { i32::from(byte) } else { i32::from(byte as i8) };
        (q - self.1) as f32 * self.0
    }

    /// The number that stands for a float, in steps above the least.
    fn step(self, real: f32) -> i32 {
        let (low, high) = if self.2 == DType::U8 { (0, 255) } else { (-128, 127) };
        ((real / self.0).round_ties_even() as i32 + self.1).clamp(low, high)
    }

    fn stored(self, byte: u8) -> i32 {
        if self.2 == DType::U8 { i32::from(byte) } else { i32::from(byte as i8) }
    }
}

impl Builder {
    fn new() -> Self {
        let symbols = vec![Symbol { name: "N", min: 1, likely: 1, max: 8 }];
        Builder { region: Region { name: "r", symbols, ..Region::default() }, bindings: Vec::new() }
    }

    fn value(&mut self, name: &'static str, dtype: DType, dims: Vec<Dim>) -> usize {
        let index = self.region.values.len();
        let value =
            Value { index, name, dtype: Some(dtype), dims: Some(dims), producer: None, constant: None };
        self.region.values.push(value);
        if !name.is_empty() {
            self.bindings.push((name, index));
        }
        index
    }

    /// An input whose batch is symbolic.
    fn input(&mut self, name: &'static str, dtype: DType, dims: &[usize]) -> usize {
        let value = self.value(name, dtype, batched(dims));
        self.region.inputs.push(value);
        value
    }

    fn constant(&mut self, name: &'static str, dtype: DType, dims: &[usize], bytes: Vec<u8>) -> usize {
        let value = self.value(name, dtype, dims.iter().map(|&size| Dim::Known(size)).collect());
        let index = self.region.constants.len();
        self.region.constants.push(value);
        self.region.values[value].constant =
            Some(Constant { index, dtype: Some(dtype), bytes: bytes.leak() });
        value
    }

    fn floats(&mut self, name: &'static str, floats: &[f32]) -> usize {
        let dims: &[usize] = if floats.len() == 1 { &[] } else { &[floats.len()] };
        self.constant(name, DType::F32, dims, floats.iter().flat_map(|float| float.to_le_bytes()).collect())
    }

    fn node(
        &mut self,
        op: &'static str,
        inputs: &[usize],
        attributes: &[(&'static str, i64)],
        value: usize,
    ) -> usize {
        let index = self.region.nodes.len();
        let attribute =
            |&(name, value)| Attribute { name, value: AttributeValue::Int(value), is_default: false };
        self.region.nodes.push(Node {
            index,
            name: op,
            op,
            since_version: 13,
            inputs: inputs.iter().map(|&input| Some(input)).collect(),
            outputs: vec![Some(value)],
            attributes: attributes.iter().map(attribute).collect(),
            composite: Some(0),
            ..Node::default()
        });
        self.region.values[value].producer = Some((index, 0));
        value
    }

    fn float_node(
        &mut self,
        op: &'static str,
        inputs: &[usize],
        attributes: &[(&'static str, i64)],
        dims: &[usize],
    ) -> usize {
        let value = self.value("", DType::F32, batched(dims));
        self.node(op, inputs, attributes, value)
    }

    fn ints(&mut self, name: &'static str, values: &'static [i64]) {
        let node = self.region.nodes.last_mut().expect("a node");
        node.attributes.push(Attribute { name, value: AttributeValue::Ints(values), is_default: false });
    }

    /// Scale and zero point as constants of these names.
    fn quant(&mut self, names: [&'static str; 2], quant: Quant) -> [usize; 2] {
        [self.floats(names[0], &[quant.0]), self.constant(names[1], quant.2, &[], vec![quant.1 as u8])]
    }

    /// An input behind its DequantizeLinear.
    fn dequantised(&mut self, names: [&'static str; 3], quant: Quant, dims: &[usize]) -> usize {
        let x = self.input(names[0], quant.2, dims);
        let [scale, zero] = self.quant([names[1], names[2]], quant);
        self.float_node("DequantizeLinear", &[x, scale, zero], &[], dims)
    }

    /// QuantizeLinear as the root, and the region around it.
    fn quantised(
        mut self,
        value: usize,
        quant: Quant,
        dims: &[usize],
        pattern: &'static str,
    ) -> Region<'static> {
        let [scale, zero] = self.quant(["ys", "yz"], quant);
        let y = self.value("y", quant.2, batched(dims));
        self.node("QuantizeLinear", &[value, scale, zero], &[], y);
        self.finish(y, pattern)
    }

    fn finish(mut self, y: usize, pattern: &'static str) -> Region<'static> {
        self.region.outputs.push(y);
        let nodes = (0..self.region.nodes.len()).collect();
        self.region.composites.push(Composite { pattern, nodes, bindings: self.bindings });
        self.region
    }
}

fn batched(dims: &[usize]) -> Vec<Dim> {
    [Dim::Symbol(0)].into_iter().chain(dims.iter().map(|&size| Dim::Known(size))).collect()
}

/// What the device makes of one image.
fn compute(region: &Region<'_>, inputs: &[&[u8]]) -> Vec<u8> {
    assert_eq!(refusals(region), []);
    let program = lower(&import(region).expect("a good region"), Options::default()).expect("it fits");
    let mut output = vec![0; program.outputs[0].dense_bytes()];
    program.run(&mut program.context(), inputs, &mut [&mut output], 1).expect("a good stream");
    output
}

fn compare(got: &[u8], want: impl Iterator<Item = f32>, quant: Quant, steps: i32) {
    let want: Vec<i32> = want.map(|real| quant.step(real)).collect();
    assert_eq!(got.len(), want.len());
    for (index, (&got, want)) in got.iter().zip(want).enumerate() {
        assert!((quant.stored(got) - want).abs() <= steps, "{index}: {} for {want}", quant.stored(got));
    }
}

const X: Quant = Quant(0.05, 120, DType::U8);
const S: Quant = Quant(0.03, -7, DType::I8);
const Y: Quant = Quant(0.11, 4, DType::I8);

fn bytes(count: usize, factor: usize) -> Vec<u8> {
    (0..count).map(|index| (index * factor + 11) as u8).collect()
}

#[test]
fn convolution_with_int32_bias_and_relu() {
    let mut b = Builder::new();
    let p = b.dequantised(["x", "xs", "xz"], X, &[2, 3, 3]);
    let weights: [i8; 6] = [10, -20, 127, -128, 0, 33];
    let (scales, biases) = ([0.01, 0.02, 0.005], [300i32, -200, 50]);
    let w = b.constant("w", DType::I8, &[3, 2, 1, 1], weights.iter().map(|&weight| weight as u8).collect());
    let ws = b.floats("ws", &scales);
    let v = b.float_node("DequantizeLinear", &[w, ws], &[("axis", 0)], &[2, 1, 1]);
    let bias = b.constant("b", DType::I32, &[3], biases.iter().flat_map(|bias| bias.to_le_bytes()).collect());
    let bias_scales = b.floats("bs", &scales.map(|scale| scale * X.0));
    let bias = b.float_node("DequantizeLinear", &[bias, bias_scales], &[("axis", 0)], &[]);
    let s = b.float_node("Conv", &[p, v, bias], &[("group", 1)], &[3, 3, 3]);
    let r = b.float_node("Relu", &[s], &[], &[3, 3, 3]);
    let region = b.quantised(r, Y, &[3, 3, 3], "conv");

    let x = bytes(18, 29);
    let want = (0..27).map(|index| {
        let (channel, pixel) = (index / 9, index % 9);
        let weight = |input: usize| f32::from(weights[channel * 2 + input]) * scales[channel];
        let sum = X.real(x[pixel]) * weight(0) + X.real(x[9 + pixel]) * weight(1);
        (sum + biases[channel] as f32 * scales[channel] * X.0).max(0.0)
    });
    compare(&compute(&region, &[&x]), want, Y, 1);
}

#[test]
fn gemm_with_uint8_weights_and_float_bias() {
    for by_output in [1, 0] {
        let mut b = Builder::new();
        let p = b.dequantised(["x", "xs", "xz"], S, &[5]);
        let weights = bytes(15, 37);
        let quant = Quant(0.02, 140, DType::U8);
        let w = b.constant("w", DType::U8, if by_output == 1 { &[3, 5] } else { &[5, 3] }, weights.clone());
        let [ws, wz] = b.quant(["ws", "wz"], quant);
        let v = b.float_node("DequantizeLinear", &[w, ws, wz], &[], &[5]);
        let bias = b.floats("b", &[0.5, -1.0, 3.0]);
        let s = b.float_node("Gemm", &[p, v, bias], &[("transB", by_output)], &[3]);
        let region = b.quantised(s, Y, &[3], "gemm");

        let x = bytes(5, 53);
        let want = (0..3).map(|output| {
            let at = |input: usize| if by_output == 1 { output * 5 + input } else { input * 3 + output };
            let sum: f32 = (0..5).map(|input| S.real(x[input]) * quant.real(weights[at(input)])).sum();
            sum + [0.5, -1.0, 3.0][output]
        });
        compare(&compute(&region, &[&x]), want, Y, 1);
    }
}

#[test]
fn a_sum_of_uint8_and_int8() {
    let mut b = Builder::new();
    let p = b.dequantised(["a", "as_", "az"], X, &[4, 2, 3]);
    let q = b.dequantised(["b", "bs", "bz"], S, &[4, 2, 3]);
    let s = b.float_node("Add", &[p, q], &[], &[4, 2, 3]);
    let region = b.quantised(s, Y, &[4, 2, 3], "add");
    let (x, z) = (bytes(24, 31), bytes(24, 17));
    let want = x.iter().zip(&z).map(|(&x, &z)| X.real(x) + S.real(z));
    compare(&compute(&region, &[&x, &z]), want, Y, 0);
}

#[test]
fn normalisation_and_relu_as_tables() {
    let mut b = Builder::new();
    let p = b.dequantised(["x", "xs", "xz"], X, &[3, 5]);
    let parameters: [[f32; 3]; 4] = [[1.5, -0.5, 2.0], [0.1, 0.2, -0.3], [1.0, -1.0, 0.5], [1.0, 4.0, 0.25]];
    let inputs: Vec<usize> =
        [p].into_iter().chain(parameters.iter().map(|channel| b.floats("", channel))).collect();
    let n = b.float_node("BatchNormalization", &inputs, &[], &[3, 5]);
    let r = b.float_node("Relu", &[n], &[], &[3, 5]);
    let region = b.quantised(r, Y, &[3, 5], "lookup");
    let x = bytes(15, 59);
    let [scale, bias, mean, variance] = parameters;
    let want = x.iter().enumerate().map(|(index, &x)| {
        let c = index / 5;
        ((X.real(x) - mean[c]) / (variance[c] + 1e-5).sqrt() * scale[c] + bias[c]).max(0.0)
    });
    compare(&compute(&region, &[&x]), want, Y, 1);
}

#[test]
fn a_number_times_its_sigmoid() {
    let mut b = Builder::new();
    let p = b.dequantised(["x", "xs", "xz"], X, &[3, 5]);
    let f = b.float_node("Sigmoid", &[p], &[], &[3, 5]);
    let r = b.float_node("Mul", &[f, p], &[], &[3, 5]);
    let region = b.quantised(r, Y, &[3, 5], "swish");
    let x = bytes(15, 61);
    let want = x.iter().map(|&x| X.real(x) / (1.0 + (-X.real(x)).exp()));
    compare(&compute(&region, &[&x]), want, Y, 1);
}

#[test]
fn pooling_between_scales() {
    let x = bytes(32, 43);
    let at = |channel: usize, row: usize, col: usize| X.real(x[(channel * 4 + row) * 4 + col]);
    let window = |index: usize| {
        let (channel, row, col) = (index / 4, index / 2 % 2 * 2, index % 2 * 2);
        [
            at(channel, row, col),
            at(channel, row, col + 1),
            at(channel, row + 1, col),
            at(channel, row + 1, col + 1),
        ]
    };
    for (op, pattern) in [("MaxPool", "max_pool"), ("AveragePool", "average_pool")] {
        let mut b = Builder::new();
        let p = b.dequantised(["x", "xs", "xz"], X, &[2, 4, 4]);
        let r = if op == "MaxPool" { b.float_node("Relu", &[p], &[], &[2, 4, 4]) } else { p };
        let m = b.float_node(op, &[r], &[], &[2, 2, 2]);
        b.ints("kernel_shape", &[2, 2]);
        b.ints("strides", &[2, 2]);
        let region = b.quantised(m, Y, &[2, 2, 2], pattern);
        let got = compute(&region, &[&x]);
        if op == "MaxPool" {
            compare(&got, (0..8).map(|index| window(index).into_iter().fold(0.0, f32::max)), Y, 0);
        } else {
            compare(&got, (0..8).map(|index| window(index).iter().sum::<f32>() / 4.0), Y, 1);
        }
    }
}

#[test]
fn joining_different_scales() {
    let mut b = Builder::new();
    let p = b.dequantised(["a", "as_", "az"], X, &[3, 2, 2]);
    let q = b.dequantised(["b", "bs", "bz"], S, &[2, 2, 2]);
    let r = b.float_node("Concat", &[p, q], &[("axis", -3)], &[5, 2, 2]);
    let region = b.quantised(r, Y, &[5, 2, 2], "concat_2");
    let (x, z) = (bytes(12, 31), bytes(8, 17));
    let want = x.iter().map(|&x| X.real(x)).chain(z.iter().map(|&z| S.real(z)));
    compare(&compute(&region, &[&x, &z]), want, Y, 0);
}

#[test]
fn resizing_and_reshaping_bytes() {
    let x = bytes(12, 23);
    let mut b = Builder::new();
    let input = b.input("x", DType::U8, &[2, 2, 3]);
    let y = b.value("y", DType::U8, batched(&[2, 4, 6]));
    b.node("Resize", &[input], &[], y);
    let mode = AttributeValue::String(b"nearest");
    b.region.nodes[0].attributes.push(Attribute { name: "mode", value: mode, is_default: false });
    let got = compute(&b.finish(y, "resize_int8"), &[&x]);
    let want: Vec<u8> =
        (0..48).map(|index| x[(index / 24 * 2 + index / 6 % 4 / 2) * 3 + index % 6 / 2]).collect();
    assert_eq!(got, want);

    let mut b = Builder::new();
    let input = b.input("x", DType::I8, &[2, 2, 3]);
    let y = b.value("y", DType::I8, batched(&[12]));
    b.node("Flatten", &[input], &[("axis", 1)], y);
    assert_eq!(compute(&b.finish(y, "reshape_int8"), &[&x]), x);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let mut b = Builder::new();
    let p = b.dequantised(["x", "xs", "xz"], X, &[2, 2, 2]);
    let n = b.float_node("Softsign", &[p], &[], &[2, 2, 2]);
    let region = b.quantised(n, Y, &[2, 2, 2], "lookup");
    let refused = refusals(&region);
    assert_eq!(refused.len(), 1);
    let (composite, error) = &refused[0];
    assert_eq!((*composite, error.category, error.node), (0, Category::Unsupported, Some(1)));
    assert!(error.message.contains("Softsign"), "{error}");
}
