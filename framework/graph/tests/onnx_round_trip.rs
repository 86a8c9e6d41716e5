//! What goes in comes out: import, export and import again, over models of many makers.

mod support;

use std::path::{Path, PathBuf};

use byoc_graph::onnx;

/// Prints the exported models that the checker refuses although it accepts what they came from, and those
/// that lack something. Order of nodes and of infos, how a tensor's content is kept and fields that hold nothing are free.
const CHECK: &str = r#"
import sys, onnx
from onnx import numpy_helper, TensorProto, GraphProto, NodeProto, AttributeProto, ModelProto

def accepted(path):
    try:
        onnx.checker.check_model(path)
    except Exception as error:
        return str(error)

def normalise(message, folder):
    if isinstance(message, TensorProto) and message.data_type:
        if message.data_type != TensorProto.STRING:
            raw = numpy_helper.to_array(message, folder).tobytes()
            for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data",
                          "external_data", "data_location"):
                message.ClearField(field)
            message.raw_data = raw
    if isinstance(message, NodeProto) and message.domain == "ai.onnx":
        message.domain = ""
    if isinstance(message, AttributeProto):
        message.ClearField("type")
    for field, value in message.ListFields():
        if field.message_type:
            for inner in (value if field.is_repeated else [value]):
                normalise(inner, folder)
        elif field.type == field.TYPE_STRING and not field.is_repeated and value == "":
            message.ClearField(field.name)
    if isinstance(message, GraphProto):
        nodes = sorted((n.SerializeToString(deterministic=True) for n in message.node))
        message.value_info.sort(key=lambda info: info.name)
        del message.node[:]
        message.node.extend(NodeProto.FromString(n) for n in nodes)

def lost(a, b, place):
    """Whatever `a` has and `b` lacks."""
    constants = {t.name for t in a.initializer}
    typed = {v.name: v for v in (*b.input, *b.output, *b.value_info)}
    for info in a.value_info:
        if info.name not in constants and typed.get(info.name) != info:
            return f"{place}: value {info.name}"
    # Below IR version 4 every initializer has to be an input, whether the original obeys or not.
    extra = [v for v in b.input if v not in a.input]
    if any(v.name not in constants for v in extra) or [v for v in b.input if v not in extra] != list(a.input):
        return f"{place}: input"
    for field in ("node", "output", "sparse_initializer", "quantization_annotation",
                  "metadata_props", "name", "doc_string"):
        if getattr(a, field) != getattr(b, field):
            return f"{place}: {field}"
    by_name = lambda g: {t.name: t.SerializeToString(deterministic=True) for t in g.initializer}
    if by_name(a) != by_name(b):
        return f"{place}: initializers"

for line in open(sys.argv[1]):
    original, exported = line.rstrip("\n").split("\t")
    error = accepted(exported)
    if error and not accepted(original):
        print(f"refused {original}: {error}")
        continue
    a, b = (onnx.load(path, load_external_data=False) for path in (original, exported))
    for model, path in ((a, original), (b, exported)):
        normalise(model, path.rsplit("/", 1)[0])
    what = lost(a.graph, b.graph, "main")
    for field in ("functions", "training_info", "configuration", "metadata_props", "producer_name",
                  "producer_version", "domain", "model_version", "doc_string", "ir_version"):
        if getattr(a, field) != getattr(b, field):
            what = what or field
    if what:
        print(f"refused {original}: lost {what}")
"#;

/// Exports a model and imports it again: the same graph, the same functions, and then the same bytes.
fn round_trip(path: &Path) -> Vec<u8> {
    let at = path.display();
    let model = onnx::load(path).unwrap_or_else(|error| panic!("{error}"));
    model.graph.check();
    let bytes = onnx::to_bytes(&model).unwrap_or_else(|error| panic!("{at}: {error}"));
    let again = onnx::from_bytes(bytes.clone(), None).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(format!("{:?}", model.opsets), format!("{:?}", again.opsets), "{at}");
    assert!(onnx::to_bytes(&again).unwrap() == bytes, "{at}: written differently the second time");
    bytes
}

fn round_trip_all(paths: &[PathBuf]) {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for (i, path) in paths.iter().enumerate() {
        let exported = folder.path().join(format!("{i}.onnx"));
        std::fs::write(&exported, round_trip(path)).unwrap();
        list += &format!("{}\t{}\n", path.display(), exported.display());
    }
    let index = folder.path().join("index");
    std::fs::write(&index, list).unwrap();
    if let Some(refused) = support::python(CHECK, &[&index]) {
        assert!(!refused.contains("refused"), "{refused}");
    }
}

#[test]
fn models() {
    let Some(folder) = support::test_data("models") else { return };
    let paths = support::files_below(&folder, "onnx");
    assert!(paths.len() >= 38);
    round_trip_all(&paths);
}

#[test]
fn corpora() {
    let Some(folder) = support::test_data("corpora") else { return };
    let paths = support::files_below(&folder, "onnx");
    assert!(paths.len() >= 543);
    round_trip_all(&paths);
}

#[test]
fn onnx_backend_suite() {
    let Some(folder) = support::test_data("conformance") else { return };
    let unpacked = tempfile::tempdir().unwrap();
    let archive = folder.join("onnx_suite_1.23.2.tar.gz");
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(unpacked.path()).args(["--wildcards", "*.onnx"]);
    assert!(tar.status().expect("tar runs").success());
    let paths = support::files_below(unpacked.path(), "onnx");
    assert!(paths.len() >= 2033);
    round_trip_all(&paths);
}
