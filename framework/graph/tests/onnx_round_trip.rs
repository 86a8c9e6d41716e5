//! What goes in comes out: import, export and import again, over models of many makers.

mod support;

use std::path::{Path, PathBuf};

use byoc_graph::onnx;

/// Prints the exported models that the checker refuses although it accepts what they came from.
const CHECK: &str = r#"
import sys, onnx
def accepted(path):
    try:
        onnx.checker.check_model(path)
    except Exception as error:
        return str(error)
for line in open(sys.argv[1]):
    original, exported = line.rstrip("\n").split("\t")
    error = accepted(exported)
    if error and not accepted(original):
        print(f"refused {original}: {error}")
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
