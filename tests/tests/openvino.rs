//! OpenVINO through its plugin: what it refuses and in which words, what happens without it, its artefacts.

use std::fmt::Write;
use std::sync::Arc;

use byoc_graph::onnx;
use byoc_host::{
    AlignedBuffer, ArtefactFit, CallEnv, CompileRequest, Compiled, DType, HOST, Library, Output,
    OutputMemory, Plugin, Signature, TensorData, TensorRef, adapt,
};
use byoc_tests::{on_openvino, openvino_folder, partition_report, plugin, run, written};

/// Nodes that OpenVINO does not get, and one that it does: signature, constants, the node.
const NODES: [(&str, &str, &str); 11] = [
    ("float[4] x) => (float[4] y", "", "y = Relu(x)"),
    ("double[4] x) => (double[4] y", "", "y = Relu(x)"),
    ("uint32[4] x) => (uint32[4] y", "", "y = Add(x, x)"),
    ("int64[1] x) => (int64[1] y", "int64[1] k = {5000000000}", "y = Add(x, k)"),
    (
        "float[1,2,4,4] x) => (float[1,2,8,8] y",
        "float[4] k = {1,1,2,2}",
        r#"y = Resize<mode="cubic">(x, , k)"#,
    ),
    ("float[2,4] x) => (float[2,2] y, int64[2,2] i", "int64[1] k = {2}", "y, i = TopK(x, k)"),
    ("int32[4] x) => (int32[4] y", "int32[4] k = {1,2,3,4}", r#"y = BitShift<direction="LEFT">(x, k)"#),
    ("float[2] x, int64[1] r) => (float[n] y", "", "y = Tile(x, r)"),
    ("float[2] x) => (float[2] y", "", "y = com.acme.Unheard(x)"),
    (
        "float[1,1,2,2] x) => (float[1,1,1,1] y",
        "",
        "y = MaxPool<ceil_mode=1, kernel_shape=[1,1], strides=[2,2]>(x)",
    ),
    ("float[3,3] x) => (float y", "", "y = Det(x)"),
];

#[test]
fn what_is_refused_is_refused_with_reasons() {
    let Some(words) = on_openvino() else { return };
    let mut table = String::new();
    for (signature, constants, node) in NODES {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 21, \"com.acme\": 1]>\ng ({signature}) <{constants}> {{ {node} }}"
        );
        let (_folder, model) = written(&text.replace("<>", ""));
        let report = partition_report(&model, words.clone());
        let reason = match report.nodes.first().and_then(|node| node.reasons.first()) {
            Some(reason) => format!("{:?}: {}", reason.kind, reason.detail),
            None => "taken".into(),
        };
        let _ = writeln!(table, "{node}\n  {reason}");
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("openvino_refusals", table);
    });
}

const MODEL: &str = r#"<ir_version: 10, opset_import: ["": 21]>
g (float[N,3] x) => (float[N,2] y, float[N,3] copy, int64[2,M] at)
<float[3,2] w = {1, -2, 0.5, 4, 0, 3}> {
    p = MatMul(x, w)
    y = Relu(p)
    c = Transpose<perm=[1,0]>(x)
    copy = Transpose<perm=[1,0]>(c)
    at = NonZero(y)
}"#;

const X: [f32; 6] = [1.0, -1.0, 2.0, 0.0, 3.0, -2.0];
const Y: [f32; 4] = [0.5, 0.0, 1.5, 6.0];

fn execute(compiled: &Arc<Compiled>) {
    let bytes: Vec<u8> = X.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut input = AlignedBuffer::new(bytes.len(), 64).unwrap();
    input.as_mut_slice().copy_from_slice(&bytes);
    let inputs = [TensorRef { dtype: DType::F32, shape: &[2, 3], data: TensorData::Host(input.as_slice()) }];
    let mut context = compiled.new_context().unwrap();
    for _ in 0..2 {
        let (mut y, mut copy) = (AlignedBuffer::new(16, 64).unwrap(), AlignedBuffer::new(24, 64).unwrap());
        let mut outputs = [
            Output { dtype: DType::F32, shape: &[2, 2], memory: OutputMemory::Host(y.as_mut_slice()) },
            Output { dtype: DType::F32, shape: &[2, 3], memory: OutputMemory::Host(copy.as_mut_slice()) },
            Output { dtype: DType::I64, shape: &[], memory: OutputMemory::Pending },
        ];
        let done =
            compiled.execute(context.as_mut(), &inputs, &mut outputs, &mut [], CallEnv::default()).unwrap();
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        assert_eq!(floats(y.as_slice()), Y);
        assert_eq!(floats(copy.as_slice()), X);
        let (shape, at) = done.allocated[2].as_ref().unwrap();
        let at: Vec<i64> =
            at.as_slice().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!((shape.as_slice(), at.as_slice()), (&[2, 3][..], &[0, 1, 1, 0, 0, 1][..]));
    }
}

/// A region as OpenVINO gets it: nothing is lowered here.
#[test]
fn regions_go_as_onnx() {
    let model = onnx::from_text(MODEL, None).unwrap();
    let region = adapt::region_data("r", &model.graph, &[], &model.opsets);
    let bytes = (region.onnx.expect("a region has an ONNX form").0)().unwrap();
    let text = onnx::to_text(&onnx::from_bytes(bytes, None).unwrap()).unwrap();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("openvino_region", text);
    });
}

#[test]
fn an_artefact_stands_for_its_region() {
    let Some(folder) = openvino_folder() else { return };
    let library = Library::load(&plugin("byoc-openvino")).unwrap();
    let given = [("library".to_owned(), folder.display().to_string())];
    let openvino = Plugin::open(&library, library.complete_options(&given).unwrap()).unwrap();
    assert_eq!(openvino.devices()[0].name, "CPU");
    let model = onnx::from_text(MODEL, None).unwrap();
    let region = adapt::region_data("r", &model.graph, &[], &model.opsets);
    let compiled = Arc::new(openvino.compile(&CompileRequest::new(&region)).unwrap());
    execute(&compiled);

    let artefact = compiled.serialise().unwrap();
    let fit = |text: &str| openvino.check_artefact(text, HOST).unwrap();
    assert_eq!(fit(&artefact.compatibility), ArtefactFit::Best);
    assert_eq!(fit("openvino 2020.1 CPU"), ArtefactFit::Recompile);
    assert_eq!(fit("refnpu-2"), ArtefactFit::Foreign);
    let load = |bytes: &[u8]| {
        openvino.load(bytes, &region.constants, Signature::of(&region), HOST, CallEnv::default())
    };
    execute(&Arc::new(load(&artefact.bytes).unwrap()));
    assert!(load(&artefact.bytes[..artefact.bytes.len() / 2]).is_err());
}

#[test]
fn without_openvino_the_host_runs_everything_and_says_why() {
    let (_folder, model) = written(MODEL);
    let model = model.to_str().expect("UTF-8");
    let path = plugin("byoc-openvino").display().to_string();
    let words = ["run", model, "--random", "1", "--dim", "N=2", "--plugin", &path];
    let missing = ["--plugin-option", "openvino.library=/no/such/library.so"];
    let done = run(words.iter().chain(&missing)).expect(0);
    assert!(
        done.stderr.contains("0 of 5 nodes") && done.stderr.contains("OpenVINO is not here"),
        "{}",
        done.stderr
    );
    let done = run(words.iter().chain(&missing).chain(&["--strict"])).expect(1);
    assert!(done.stderr.contains("OpenVINO is not here"), "{}", done.stderr);
}

#[test]
fn an_unknown_device_is_an_error_that_lists_the_known() {
    let Some(words) = on_openvino() else { return };
    let (_folder, model) = written(MODEL);
    let call = ["run", model.to_str().expect("UTF-8"), "--plugin-option", "openvino.device=TPU"];
    let done = run(call.iter().map(|w| (*w).to_owned()).chain(words)).expect(1);
    assert!(done.stderr.contains("no device `TPU`; it has CPU"), "{}", done.stderr);
}
