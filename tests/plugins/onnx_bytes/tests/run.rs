//! Regions go through the plugin as ONNX models and give what the interpreter gives without it.

use std::sync::Arc;

use byoc_cpu::reference::{Interpreter, Values};
use byoc_graph::{Datum, Model, Tensor, onnx};
use byoc_host::{
    AlignedBuffer, CallEnv, CompileRequest, DType, HOST, Library, Output, OutputMemory, Plugin, TensorData,
    TensorRef, adapt,
};

const MODEL: &str = r#"
<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,2] y, int64[2,m] where) <float[2,2] p, float[3,2] w = {1.0, -2.0, 0.5, 4.0, 0.0, 3.0}> {
  p = MatMul(x, w)
  y = Relu(p)
  where = NonZero(y)
}
"#;

fn open() -> Arc<Plugin> {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let library = Library::load(&folder.join("libbyoc_onnx_bytes.so")).unwrap();
    Plugin::open(&library, Vec::new()).unwrap()
}

fn expected(model: &Model, input: &Tensor) -> Vec<Tensor> {
    let values = Values::from([("x".into(), Datum::Tensor(input.clone()))]);
    let results = Interpreter::new(model).run(&values).unwrap();
    results
        .into_values()
        .map(|datum| if let Datum::Tensor(tensor) = datum { tensor } else { panic!() })
        .collect()
}

#[test]
fn a_region_is_taken_as_onnx_and_interpreted() {
    let model = onnx::from_text(MODEL, None).unwrap();
    let region = adapt::region_data("r", &model.graph, &[], &model.opsets);
    let plugin = open();
    let answer = plugin.check_region(&region, HOST, CallEnv::default()).unwrap();
    assert!(answer.refused.is_empty(), "{answer:?}");
    let compiled = plugin.compile(&CompileRequest::new(&region)).unwrap();

    let input = Tensor::from_vec(&[2, 3], vec![1.0f32, -1.0, 2.0, 0.0, 3.0, -2.0]).unwrap();
    let inputs = [TensorRef { dtype: DType::F32, shape: &[2, 3], data: TensorData::Host(input.bytes()) }];
    let mut y = AlignedBuffer::new(16, 64).unwrap();
    let mut outputs = [
        Output { dtype: DType::F32, shape: &[2, 2], memory: OutputMemory::Host(y.as_mut_slice()) },
        Output { dtype: DType::I64, shape: &[], memory: OutputMemory::Pending },
    ];
    let executed = compiled.execute(None, &inputs, &mut outputs, &mut [], CallEnv::default()).unwrap();
    let (shape, positions) = executed.allocated[1].as_ref().unwrap();

    let expected = expected(&model, &input);
    assert_eq!(y.as_slice(), &expected[0].bytes()[..]);
    assert_eq!(positions.as_slice(), &expected[1].bytes()[..]);
    assert_eq!(*shape, expected[1].dims().iter().map(|size| *size as i64).collect::<Vec<_>>());
}

#[test]
fn what_is_no_tensor_is_refused_by_node() {
    const STRINGS: &str = r#"
<ir_version: 8, opset_import: ["" : 20]>
g (string[2] a, string[2] b, float[2] x) => (string[2] s, float[2] y) {
  s = StringConcat(a, b)
  y = Relu(x)
}
"#;
    let model = onnx::from_text(STRINGS, None).unwrap();
    let region = adapt::region_data("r", &model.graph, &[], &model.opsets);
    let answer = open().check_region(&region, HOST, CallEnv::default()).unwrap();
    assert_eq!(answer.refused.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [0]);
}
