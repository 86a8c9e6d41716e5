//! The reference accelerator, loaded as a library: check, compile, execute, serialise, load.

mod common;

use std::sync::Arc;

use byoc_host::{
    AlignedBuffer, ArtefactFit, AttributeContent, AttributeData, CallEnv, Category, CompileRequest, Compiled,
    CompositeData, ConstantData, DType, Dim, ExecutionContext, HOST, NodeData, Output, OutputMemory,
    PluginError, RegionData, Signature, SymbolData, TensorData, TensorRef, ValueData,
};
use common::{bytes, open};

const PIXELS: usize = 20;
const WEIGHTS: [i8; 6] = [12, -100, 7, 127, -128, 33];
const BIAS: [i32; 2] = [-700, 90];

/// QLinearConv, 3 to 2 channels, one tap, over images of 4 × 5 and a batch that is not known.
fn region() -> RegionData {
    let mut region = RegionData {
        name: "refnpu_0".into(),
        symbols: vec![SymbolData::unbounded("N")],
        ..Default::default()
    };
    let image = |channels| [Dim::Symbol(0), Dim::Known(channels), Dim::Known(4), Dim::Known(5)].to_vec();
    let mut bindings = Vec::new();
    let scalar = |value: f32| bytes(&[value]);
    let constants: [(&str, DType, Vec<usize>, Vec<u8>); 8] = [
        ("xs", DType::F32, vec![], scalar(0.05)),
        ("xz", DType::U8, vec![], vec![100]),
        ("w", DType::I8, vec![2, 3, 1, 1], WEIGHTS.map(|weight| weight as u8).to_vec()),
        ("ws", DType::F32, vec![2], bytes(&[0.02, 0.03])),
        ("wz", DType::I8, vec![], vec![0]),
        ("ys", DType::F32, vec![], scalar(0.4)),
        ("yz", DType::U8, vec![], vec![7]),
        ("b", DType::I32, vec![2], BIAS.iter().flat_map(|bias| bias.to_le_bytes()).collect()),
    ];
    let mut value = |name: &str, dtype, dims| {
        bindings.push((name.to_owned(), bindings.len()));
        ValueData { name: name.into(), dtype: Some(dtype), dims: Some(dims), ..Default::default() }
    };
    region.values.push(value("x", DType::U8, image(3)));
    for (index, (name, dtype, dims, content)) in constants.into_iter().enumerate() {
        let mut constant = value(name, dtype, dims.into_iter().map(Dim::Known).collect());
        constant.constant = Some(index);
        region.values.push(constant);
        region.constants.push(ConstantData { dtype, bytes: content.into() });
    }
    region.values.push(value("y", DType::U8, image(2)));
    region.values[9].producer = Some((0, 0));
    region.nodes.push(NodeData {
        name: "conv".into(),
        op: "QLinearConv".into(),
        since_version: 10,
        inputs: (0..9).map(Some).collect(),
        outputs: vec![Some(9)],
        attributes: vec![AttributeData {
            name: "group".into(),
            content: AttributeContent::Int(1),
            is_default: true,
        }],
        composite: Some(0),
        ..Default::default()
    });
    region.composites.push(CompositeData { pattern: "qlinear_conv".into(), nodes: vec![0], bindings });
    (region.inputs, region.outputs) = (vec![0], vec![9]);
    region
}

fn images(batch: usize) -> Vec<u8> {
    (0..batch * 3 * PIXELS).map(|index| (index * 37) as u8).collect()
}

/// What the standard says of the region.
fn expected(batch: usize) -> Vec<u8> {
    let x = images(batch);
    let mut y = Vec::new();
    for image in 0..batch {
        for output in 0..2 {
            for pixel in 0..PIXELS {
                let at = |input: usize| i32::from(x[(image * 3 + input) * PIXELS + pixel]) - 100;
                let sum: i32 = (0..3).map(|input| at(input) * i32::from(WEIGHTS[output * 3 + input])).sum();
                let multiplier = 0.05f32 * [0.02f32, 0.03][output] / 0.4f32;
                let scaled = ((sum + BIAS[output]) as f32 * multiplier).round_ties_even() + 7.0;
                y.push(scaled.clamp(0.0, 255.0) as u8);
            }
        }
    }
    y
}

fn execute(
    compiled: &Compiled,
    context: Option<&mut ExecutionContext>,
    batch: usize,
    columns: i64,
) -> Result<Vec<u8>, PluginError> {
    let given = images(batch);
    let mut input = AlignedBuffer::new(given.len(), 64).unwrap();
    input.as_mut_slice().copy_from_slice(&given);
    let mut output = AlignedBuffer::new(batch * 2 * PIXELS, 64).unwrap();
    let shape = [batch as i64, 3, 4, columns];
    let inputs = [TensorRef { dtype: DType::U8, shape: &shape, data: TensorData::Host(input.as_slice()) }];
    if columns == 5 {
        let shapes = compiled.output_shapes(&inputs, CallEnv::default())?;
        assert_eq!(shapes, Some(vec![vec![batch as i64, 2, 4, 5]]));
    }
    let memory = OutputMemory::Host(output.as_mut_slice());
    let mut outputs = [Output { dtype: DType::U8, shape: &[batch as i64, 2, 4, 5], memory }];
    compiled.execute(context, &inputs, &mut outputs, &mut [], CallEnv::default())?;
    Ok(output.as_slice().to_vec())
}

#[test]
fn a_region_is_checked_compiled_and_computed() {
    let plugin = open("byoc_refnpu", &[]).unwrap();
    let region = region();
    plugin.check_match(&region, CallEnv::default()).unwrap();
    let answer = plugin.check_region(&region, HOST, CallEnv::default()).unwrap();
    assert!(answer.refused.is_empty());
    let compiled = Arc::new(plugin.compile(&CompileRequest::new(&region)).unwrap());
    assert_eq!(execute(&compiled, None, 1, 5).unwrap(), expected(1));
    // The cost is the device's time, to the cycle.
    let time = compiled.device_time(None).unwrap().unwrap();
    assert_eq!(answer.compute_us, Some(time.as_nanos() as f64 / 1e3));
    let mut context = compiled.new_context().unwrap().unwrap();
    for batch in [3, 1, 2] {
        assert_eq!(execute(&compiled, Some(&mut context), batch, 5).unwrap(), expected(batch));
    }
    assert_eq!(compiled.device_time(None).unwrap().unwrap(), 2 * time);
    assert_eq!(execute(&compiled, None, 1, 6).unwrap_err().category(), Category::Invalid);
}

#[test]
fn an_artefact_stands_for_its_region() {
    let plugin = open("byoc_refnpu", &[]).unwrap();
    let region = region();
    let artefact = plugin.compile(&CompileRequest::new(&region)).unwrap().serialise().unwrap();
    assert_eq!(plugin.check_artefact(&artefact.compatibility, HOST).unwrap(), ArtefactFit::Best);
    assert_eq!(plugin.check_artefact("refnpu-0", HOST).unwrap(), ArtefactFit::Recompile);
    assert_eq!(plugin.check_artefact("other-1", HOST).unwrap(), ArtefactFit::Foreign);
    let other = open("byoc_refnpu", &[("double_buffer", "false")]).unwrap();
    let load =
        |bytes: &[u8]| other.load(bytes, &region.constants, Signature::of(&region), HOST, CallEnv::default());
    assert_eq!(execute(&load(&artefact.bytes).unwrap(), None, 2, 5).unwrap(), expected(2));
    let mut damaged = artefact.bytes;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let error = load(&damaged).err().unwrap();
    assert!(error.category() == Category::Invalid && error.to_string().contains("checksum"), "{error}");
}

#[test]
fn a_region_that_cannot_be_taken_is_refused_by_node() {
    let plugin = open("byoc_refnpu", &[]).unwrap();
    let mut region = region();
    region.constants[4].bytes = vec![127, -127i8 as u8].into();
    region.values[5].dims = Some(vec![Dim::Known(2)]);
    let error = plugin.check_match(&region, CallEnv::default()).unwrap_err();
    assert_eq!((error.category(), error.error.node), (Category::Unsupported, Some(0)));
    let answer = plugin.check_region(&region, HOST, CallEnv::default()).unwrap();
    assert_eq!(answer.refused.len(), 1);
    assert!(answer.refused[0].1.contains("too far from each other"), "{answer:?}");
    assert_eq!(
        plugin.compile(&CompileRequest::new(&region)).err().unwrap().category(),
        Category::Unsupported
    );
}
