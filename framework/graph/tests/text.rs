//! The textual syntax: against ONNX's own parser over whole models, and for what it refuses.

mod support;

use byoc_graph::onnx;
use byoc_graph::text::parse_model;
use onnx_protobuf::{GraphProto, NodeProto};
use protobuf::Message;

const COMPARE: &str = r#"
import sys, pathlib, onnx, onnx.parser
for text in sorted(pathlib.Path(sys.argv[1]).glob("*.onnxtxt")):
    expected = onnx.parser.parse_model(text.read_text())
    got = onnx.ModelProto.FromString(text.with_suffix(".onnx").read_bytes())
    if expected.SerializeToString(deterministic=True) != got.SerializeToString(deterministic=True):
        sys.exit(f"{text}\n--- expected\n{expected}\n--- got\n{got}")
    print(text.name)
"#;

/// Reads what was printed with ONNX's parser: the same operators, or else it says where it stopped.
const READ: &str = r#"
import sys, pathlib, onnx, onnx.parser
for text in sorted(pathlib.Path(sys.argv[1]).glob("*.onnxtxt")):
    got = onnx.parser.parse_model(text.read_text())
    expected = onnx.load(str(text.with_suffix(".onnx")))
    if [n.op_type for n in got.graph.node] != [n.op_type for n in expected.graph.node]:
        sys.exit(f"{text.read_text()}")
"#;

/// Constructs that the partition cases do not have.
const CONSTRUCTS: &[(&str, &str)] = &[
    (
        "types",
        r#"<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 4], producer_name: "p \"q\"",
            producer_version: "1", model_version: 7, domain: "d", doc_string: "two\
 lines", metadata_props: ["k": "v", "a": "b"]>
           "a graph" (seq(float[]) s, optional(seq(int64[N, ?, 3])) o, map(int64, string) m,
                      sparse_tensor(double[2, "a b"]) sp, opaque(a.b.c, d) op, float x) => (float[] y) {
             y = SequenceAt (s, x) # a comment
           }"#,
    ),
    (
        "attributes",
        r#"<ir_version: 10, opset_import: ["" : 21]>
           g (float[4] x) => (float[4] y) {
             [first] a, , b = some.domain.Op:over <i = 3, j: float = -2, k = 1.5e-3, l = "text", m = [1, -2],
               n = [0.5, 2.0], o = ["p", "q"], q: ints = [], t = int32[2] named {1, 2}, tt = float {1.5},
               u: type_proto = seq(float[3]), v = -inf, w = nan, z = 1., body = inner () => (float[4] r) { r = Neg(x) }
             > (x, "", x)
             [] y = Op (a, , b,) <late = 1>
           }"#,
    ),
    (
        "tensors",
        r#"<ir_version: 10, opset_import: ["" : 21]>
           g (float[2] x = {1, -2.5}, int64 k = {-9223372036854775808}) => (float[2] y)
           < uint64 u = {18446744073709551615}, uint32[2] v = {1, 2}, double d = {1e300}, bool[2] b = {1, 0},
             float16 h = {15360}, string[2] s = {"a", "b\\c"}, complex64[1] c = {1, 2}, int8[0] empty = {},
             float[2, 2] big = ["location": "weights.bin", "offset": "8", "length": "16"],
             float[2, 2] hidden, int4[2] q = {1, -8},
             float6e2m3[5] six = {0, 1, 31, 32, 63}, float6e3m2[3] other = {63, 0, 21} > {
             y = Identity (x)
           }"#,
    ),
    (
        "functions",
        r#"<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
           g (float[2] x) => (float[2] y) { y = local.f <alpha = 2.0> (x) }
           <domain: "local", opset_import: ["" : 21], doc_string: "doc", overload: "o">
           f <alpha, beta: float = 1.0, axes: ints = [1, 2]> (a, float[N] b) => (c, float[N] d) <float[N] t> {
             t = Op <alpha: float = @alpha> (a)
             c = Identity (t)
             d = Identity (b)
           }
           <domain: "local"> g (a) => () { }"#,
    ),
];

#[test]
fn agrees_with_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let mut texts: Vec<(String, String)> =
        CONSTRUCTS.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    if let Some(cases) = support::test_data("partition-cases") {
        for path in support::files_below(&cases, "toml") {
            let case: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
            if let Some(model) = case.get("model").and_then(toml::Value::as_str) {
                texts.push((case["name"].as_str().unwrap().to_owned(), model.to_owned()));
            }
        }
    }
    for (name, text) in &texts {
        let model = parse_model(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        std::fs::write(folder.path().join(format!("{name}.onnxtxt")), text).unwrap();
        std::fs::write(folder.path().join(format!("{name}.onnx")), model.write_to_bytes().unwrap()).unwrap();
    }
    if let Some(compared) = support::python(COMPARE, &[folder.path()]) {
        assert_eq!(compared.lines().count(), texts.len());
    }
}

#[test]
fn errors_name_the_place() {
    let place = |text: &str| {
        let error = parse_model(text).unwrap_err();
        (error.line, error.column, error.message)
    };
    let (line, column, message) = place("<ir_version: 8>\ng (float[2] x) => (float[2] y) {\n  y = Relu(x\n}");
    assert_eq!((line, column), (4, 1), "{message}");
    assert!(message.contains("expected `)`"), "{message}");
    assert_eq!(place("<ir_version: 8, colour: 3>").0, 1);
    let (line, column, message) = place("g () => () <\n  int8 ü = {1}> {}");
    assert_eq!((line, column), (2, 8), "{message}");
    let (_, column, message) = place("g () => () <int32 x = {3000000000}> {}");
    assert_eq!(column, 24, "{message}");
    assert!(message.contains("3000000000"), "{message}");
}

#[test]
fn refuses_what_is_not_a_model() {
    for text in [
        "",
        "g",
        "g (",
        "g () = > () {}",
        "g () => () { = }",
        "g () => () { y = Op(x) <a = []> }",
        "g () => () { y = Op(x) <a = [1, \"b\"]> }",
        "g () => () { y = Op(x) <a: ints = [1.5]> }",
        "g () => () { y = Op(x) <a: int = [1]> }",
        "g () => () <float[N] x = {1}> {}",
        "g () => () <float[] x = {1}> {}",
        "g () => () <seq(float) x = {1}> {}",
        "g () => () <float x = {1e60}> {}",
        "g () => () <float x = {\"1\"}> {}",
        "<doc_string: \"no end> g () => () {}",
        "<doc_string: \"no end\\",
        "g (float[- 1] x) => () {}",
    ] {
        assert!(parse_model(text).is_err(), "{text}");
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let types = format!("g ({}float{} x) => () {{}}", "seq(".repeat(100_000), ")".repeat(100_000));
    assert!(parse_model(&types).unwrap_err().message.contains("nested"));
    let graphs = "g () => () { y = If(c) <then_branch = ".repeat(100_000);
    assert!(parse_model(&graphs).unwrap_err().message.contains("nested"));
}

/// No prefix of a text and no text with a character changed makes the parser panic.
#[test]
fn damaged_text_does_not_panic() {
    for (_, text) in CONSTRUCTS {
        for end in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
            let _ = parse_model(&text[..end]);
            for replacement in ["\"", "é", "<", ")", "-", "9"] {
                let _ = parse_model(&format!("{}{replacement}{}", &text[..end], &text[end..][1..]));
            }
        }
    }
}

/// Removes what the syntax has no place for, and what is there but empty.
fn strip(graph: &mut GraphProto) {
    graph.doc_string = None;
    graph.metadata_props.clear();
    graph.quantization_annotation.clear();
    graph.special_fields = Default::default();
    for tensor in &mut graph.initializer {
        tensor.doc_string = None;
        tensor.metadata_props.clear();
    }
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        info.doc_string = None;
        info.metadata_props.clear();
        info.type_ = info.type_.take().filter(|ty| ty.value.is_some()).into();
        if let Some(ty) = info.type_.as_mut().filter(|ty| ty.has_tensor_type()) {
            let shape = ty.mut_tensor_type().shape.as_mut();
            shape.into_iter().flat_map(|shape| &mut shape.dim).for_each(|dim| dim.denotation = None);
        }
    }
    strip_nodes(&mut graph.node);
}

fn strip_nodes(nodes: &mut [NodeProto]) {
    for node in nodes {
        node.doc_string = None;
        node.metadata_props.clear();
        for attribute in &mut node.attribute {
            attribute.doc_string = None;
            attribute
                .t
                .as_mut()
                .into_iter()
                .chain(&mut attribute.tensors)
                .for_each(|tensor| tensor.name = None);
            for body in attribute.g.as_mut().into_iter().chain(&mut attribute.graphs) {
                body.name = None;
                strip(body);
            }
        }
    }
}

fn stripped(model: &byoc_graph::Model) -> Vec<u8> {
    let mut proto = onnx::to_proto(model).unwrap();
    strip(proto.graph.mut_or_insert_default());
    for function in &mut proto.functions {
        function.metadata_props.clear();
        strip_nodes(&mut function.node);
    }
    proto.write_to_bytes().unwrap()
}

/// A printed model is read as what was printed, and ONNX reads it as well.
#[test]
fn printed_models_read_the_same() {
    let Some(corpora) = support::test_data("corpora") else { return };
    let mut paths = support::files_below(&corpora, "onnx");
    paths.retain(|path| path.metadata().unwrap().len() < 50_000);
    let folder = tempfile::tempdir().unwrap();
    for (i, path) in paths.iter().enumerate() {
        let model = onnx::load(path).unwrap();
        let text = onnx::to_text(&model).unwrap();
        let again = onnx::from_text(&text, None)
            .unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
        // Sparse tensors are written in full.
        let sparse = !onnx::to_proto(&model).unwrap().graph.sparse_initializer.is_empty();
        assert!(sparse || stripped(&again) == stripped(&model), "{} differs from\n{text}", path.display());
        std::fs::write(folder.path().join(format!("{i}.onnxtxt")), text).unwrap();
        std::fs::write(folder.path().join(format!("{i}.onnx")), onnx::to_bytes(&again).unwrap()).unwrap();
    }
    support::python(READ, &[folder.path()]);
}
