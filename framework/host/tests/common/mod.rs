//! Regions and libraries for the tests of plugins.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::path::PathBuf;
use std::sync::Arc;

use byoc_host::{
    AttributeContent, AttributeData, CallEnv, Compiled, CompositeData, ConstantData, DType, Dim, Library,
    NodeData, Output, OutputMemory, Plugin, PluginError, RegionData, SymbolData, TensorData, TensorRef,
    ValueData,
};

/// A library that cargo has built beside this test.
pub fn built(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    folder.join(format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

pub fn open(name: &str, options: &[(&str, &str)]) -> Result<Arc<Plugin>, PluginError> {
    let library = Library::load(&built(name)).unwrap();
    let given: Vec<_> = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Plugin::open(&library, library.complete_options(&given).unwrap())
}

pub fn float(name: &str, size: usize) -> ValueData {
    ValueData {
        name: name.into(),
        dtype: Some(DType::F32),
        dims: Some(vec![Dim::Known(size)]),
        ..Default::default()
    }
}

pub fn node(op: &str, inputs: &[usize], output: usize) -> NodeData {
    NodeData {
        name: format!("{op}_{output}"),
        op: op.into(),
        since_version: 14,
        inputs: inputs.iter().map(|input| Some(*input)).collect(),
        outputs: vec![Some(output)],
        ..Default::default()
    }
}

pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// `y = Relu(x * k + x)` for four elements, with `k` a constant.
pub fn scaled_relu() -> RegionData {
    let mut values = vec![float("x", 4), float("k", 4), float("p", 4), float("s", 4), float("y", 4)];
    values[1].constant = Some(0);
    for (value, node) in [(2, 0), (3, 1), (4, 2)] {
        values[value].producer = Some((node, 0));
    }
    let mut nodes = vec![node("Mul", &[0, 1], 2), node("Add", &[2, 0], 3), node("Relu", &[3], 4)];
    for (composite, node) in nodes.iter_mut().enumerate() {
        node.composite = Some(composite);
    }
    nodes[2].attributes = vec![
        AttributeData { name: "axis".into(), content: AttributeContent::Int(-1), is_default: true },
        AttributeData { name: "pads".into(), content: AttributeContent::Ints(vec![1, 2]), is_default: false },
        AttributeData { name: "alpha".into(), content: AttributeContent::Float(0.5), is_default: false },
        AttributeData {
            name: "mode".into(),
            content: AttributeContent::String("same".into()),
            is_default: false,
        },
    ];
    let composite = |pattern: &str, node: usize, bindings: &[(&str, usize)]| CompositeData {
        pattern: pattern.into(),
        nodes: vec![node],
        bindings: bindings.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
    };
    RegionData {
        name: "probe_0".into(),
        nodes,
        values,
        inputs: vec![0],
        outputs: vec![4],
        composites: vec![
            composite("scaled", 0, &[("x", 0), ("k", 1), ("y", 2)]),
            composite("binary", 1, &[("a", 2), ("b", 0), ("y", 3)]),
            composite("relu", 2, &[("x", 3), ("y", 4)]),
        ],
        symbols: vec![SymbolData::unbounded("batch")],
        constants: vec![ConstantData { dtype: DType::F32, bytes: bytes(&[1.0, -2.0, 3.0, 0.5]).into() }],
        onnx: None,
    }
}

pub const INPUT: [f32; 4] = [1.0, 2.0, -3.0, 4.0];
pub const EXPECTED: [f32; 4] = [2.0, 0.0, 0.0, 6.0];

/// Runs [`scaled_relu`] on [`INPUT`].
pub fn execute(compiled: &Compiled, env: CallEnv<'_>) -> Result<Vec<f32>, PluginError> {
    let input = bytes(&INPUT);
    let mut output = byoc_host::AlignedBuffer::new(16, 64).unwrap();
    let mut aligned = byoc_host::AlignedBuffer::new(16, 64).unwrap();
    aligned.as_mut_slice().copy_from_slice(&input);
    let inputs = [TensorRef { dtype: DType::F32, shape: &[4], data: TensorData::Host(aligned.as_slice()) }];
    let memory = OutputMemory::Host(output.as_mut_slice());
    let mut outputs = [Output { dtype: DType::F32, shape: &[4], memory }];
    compiled.execute(None, &inputs, &mut outputs, &mut [], env)?;
    Ok(floats(output.as_slice()))
}
