//! A plugin for tests of the interface: takes each region as an ONNX model and runs it on the reference interpreter.
//! It takes every operator, so that whole models can be sent through a plugin.

use byoc_cpu::reference::{Interpreter, Values};
use byoc_graph::{Datum, Model, Tensor, onnx};
use byoc_plugin::{
    CheckContext, CompileContext, DType, Error, Executable, ExecuteContext, Options, Plugin, Region,
    RegionAnswer, Result, TensorView, TensorViewMut,
};
use bytes::Bytes;

byoc_plugin::export_plugin!(OnnxBytes, table = include_str!("table.toml"));

pub struct OnnxBytes;

impl Plugin for OnnxBytes {
    fn open(_: &Options) -> Result<Self> {
        Ok(OnnxBytes)
    }

    fn check_region(&self, region: &Region<'_>, _: &CheckContext<'_>) -> Result<RegionAnswer> {
        let crosses = |value: usize| !matches!(region.value(value).dtype, None | Some(DType::String));
        let refused = region
            .nodes
            .iter()
            .filter(|node| !node.inputs.iter().chain(&node.outputs).flatten().all(|v| crosses(*v)));
        let refused =
            refused.map(|node| (node.index, "only tensors of a known type, and no strings".to_owned()));
        Ok(RegionAnswer { refused: refused.collect(), ..RegionAnswer::default() })
    }

    fn compile(&self, _: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let bytes = Bytes::copy_from_slice(context.onnx()?);
        let model = onnx::from_bytes(bytes, None).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Box::new(Interpreted { model }))
    }
}

struct Interpreted {
    model: Model,
}

impl Executable for Interpreted {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        _: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let graph = &self.model.graph;
        let mut values = Values::new();
        for (id, input) in graph.inputs().iter().zip(inputs) {
            values.insert(graph.value(*id).name.clone(), Datum::Tensor(tensor(input)?));
        }
        let results =
            Interpreter::new(&self.model).run(&values).map_err(|error| Error::internal(error.to_string()))?;
        results.into_values().zip(outputs).try_for_each(|(result, output)| match result {
            Datum::Tensor(tensor) => write(&tensor, output),
            _ => Err(Error::unsupported("only tensors cross the border")),
        })
    }
}

fn tensor(view: &TensorView<'_>) -> Result<Tensor> {
    let shape: Option<Vec<usize>> = view.info.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
    let dtype = view.info.dtype.and_then(|dtype| byoc_graph::DType::from_name(dtype.name()));
    let (Some(dtype), Some(shape)) = (dtype, shape) else {
        return Err(Error::invalid("an input of no known type or shape"));
    };
    let bytes = Bytes::copy_from_slice(view.bytes()?);
    Tensor::from_bytes(dtype, &shape, bytes).map_err(|error| Error::invalid(error.to_string()))
}

fn write(tensor: &Tensor, output: &mut TensorViewMut<'_>) -> Result<()> {
    if output.is_pending() {
        output.allocate(tensor.dims())?;
    }
    let bytes = output.bytes_mut()?;
    if bytes.len() != tensor.bytes().len() {
        return Err(Error::internal(format!(
            "an output of {} bytes for {}",
            tensor.bytes().len(),
            bytes.len()
        )));
    }
    bytes.copy_from_slice(tensor.bytes());
    Ok(())
}
