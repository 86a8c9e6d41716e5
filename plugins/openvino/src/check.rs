//! What is taken: OpenVINO's own reading of a match decides, after what is known to come out differently.

use byoc_plugin::{Category, Dim, Error, Node, Region, Result, Value};

use crate::runtime::{Model, Runtime};

/// The element types that OpenVINO computes as they are.
const TYPES: &str = "float32 float16 bfloat16 int8 uint8 int16 int32 int64 bool";

/// Operators that clamp: what lies outside 32 bits means "to the end" there.
const CLAMPING: &str = "Slice Clip";

fn lists(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

/// Why a match is not for OpenVINO, as far as types and constants tell.
pub fn types(region: &Region<'_>) -> Result<()> {
    for node in &region.nodes {
        let mut values = node.inputs.iter().chain(&node.outputs).flatten().map(|&value| region.value(value));
        values.try_for_each(|value| value_type(value, node))?;
    }
    Ok(())
}

fn value_type(value: &Value<'_>, node: &Node<'_>) -> Result<()> {
    let wide = |v: &&i64| i32::try_from(**v).is_err() && !lists(CLAMPING, node.op);
    let wide = value.constant_as::<i64>().unwrap_or_default().iter().find(wide);
    let why = match (value.dtype, wide) {
        (None, _) => "is of no known element type".to_owned(),
        (Some(dtype), _) if !lists(TYPES, dtype.name()) => {
            format!("is {dtype}, which it computes as another type")
        }
        _ if value.dims.is_none() && value.producer.is_none() => "is of no known rank".to_owned(),
        (_, Some(wide)) => format!("holds {wide}, and it computes int64 in 32 bits"),
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("OpenVINO: `{}` {why}", value.name)).at_node(node.index))
}

/// Operators whose results OpenVINO may size otherwise than the standard: their matches are told apart by shape.
const SIZED: &str = "AveragePool MaxPool LpPool Resize Upsample ConvTranspose";

/// What OpenVINO's answer depends on, known sizes apart: matches that agree in it are asked about once.
pub fn key(region: &Region<'_>) -> String {
    let value = |value: usize, sized: bool| {
        let value = region.value(value);
        let dim = |dim: &Dim| if sized || !matches!(dim, Dim::Known(_)) { *dim } else { Dim::Known(0) };
        let dims = value.dims.as_ref().map(|dims| dims.iter().map(dim).collect::<Vec<_>>());
        (value.constant.is_some(), value.dtype, dims)
    };
    let node = |node: &Node<'_>| {
        let values = node.inputs.iter().chain(&node.outputs);
        let values: Vec<_> = values.map(|v| v.map(|v| value(v, lists(SIZED, node.op)))).collect();
        let attributes: Vec<_> = node.attributes.iter().map(|a| (a.name, &a.value)).collect();
        format!("{}.{}.{} {attributes:?} {values:?}\n", node.domain, node.op, node.since_version)
    };
    region.nodes.iter().map(node).collect()
}

/// Reads a match or region, and compares the shapes of its outputs with those that the host has inferred.
pub fn read(runtime: &Runtime, region: &Region<'_>, onnx: &[u8]) -> Result<Model> {
    let model = runtime.read(onnx).map_err(unsupported)?;
    for (port, &output) in model.outputs()?.iter().zip(&region.outputs) {
        let value = region.value(output);
        let (Some(own), Some(theirs)) = (&value.dims, &port.shape) else { continue };
        // A size that is open here is not one number there.
        let fits = |(own, &size): (&Dim, &usize)| matches!(own, Dim::Unknown) || *own == Dim::Known(size);
        if own.len() != theirs.len() || !own.iter().zip(theirs).all(fits) {
            let error = format!("`{}` would have the shape {theirs:?}, which is another here", value.name);
            return Err(Error { node: value.producer.map(|(node, _)| node), ..Error::unsupported(error) });
        }
    }
    Ok(model)
}

pub fn unsupported(error: Error) -> Error {
    Error { category: Category::Unsupported, ..error }
}

/// Operators that OpenVINO may find to do nothing. Where nothing else lies between an input and an output, it does
/// not write to the memory that it was given for that output.
const NOTHING: &str = "Identity Reshape Transpose Flatten Squeeze Unsqueeze Concat Split Slice Expand Pad Tile Cast \
                       CastLike Max Min Mean Sum Resize Gather";

/// Whether an output may be an input as it is.
pub fn may_be_an_input(region: &Region<'_>, output: usize) -> bool {
    let mut value = region.value(output);
    while let Some(node) = region.producer(value) {
        if !lists(NOTHING, node.op) {
            return false;
        }
        let Some(input) = node.inputs.first().copied().flatten() else { break };
        value = region.value(input);
    }
    true
}
