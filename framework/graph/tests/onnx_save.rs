//! Writing models: nothing that a file may hold is lost, and external data stays external.

mod support;

use std::fs;
use std::path::Path;

use byoc_graph::{Attr, Graph, Origin, onnx};
use bytes::Bytes;
use onnx_protobuf::*;
use protobuf::{Message, MessageField};

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.into()), value: Some(value.into()), ..Default::default() }
}

fn floats(name: &str, values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let dims = vec![values.len() as i64];
    let raw_data = Some(bytes.into());
    TensorProto { name: Some(name.into()), dims, data_type: Some(1), raw_data, ..Default::default() }
}

/// A model that uses every field of every message, as far as they go together.
fn everything() -> ModelProto {
    let text = r#"
        <ir_version: 13, opset_import: ["" : 21, "local" : 1, "vendor" : 3], producer_name: "p", producer_version: "v",
         domain: "d", model_version: 5, doc_string: "doc", metadata_props: ["k": "v"]>
        main (float[N, 2] x, optional(seq(float[N])) o, map(int64, float) m, float[2] c) => (float[N, 2] y, float[N, 2] z)
        <float[N, 2] t> {
            [named] t = Add (x, c)
            [named] y = vendor.Op:over <i = 1, f = 0.5, s = "s", is = [1, 2], fs = [0.5], ss = ["a"], tp = seq(float)> (t, "", o, m)
            z = Relu (t)
        }
        <domain: "local", opset_import: ["" : 21], doc_string: "doc", overload: "o">
        f <a, b: float = 1.0> (v) => (w) { w = Elu <alpha: float = @b> (v) }"#;
    let mut model = byoc_graph::text::parse_model(text).unwrap();
    let mut unknown = ModelProto::new();
    unknown.special_fields.mut_unknown_fields().add_varint(1000, 7);
    model.special_fields = unknown.special_fields.clone();

    let graph = model.graph.mut_or_insert_default();
    graph.doc_string = Some("doc".into());
    graph.metadata_props = vec![entry("gk", "gv")];
    graph.special_fields = unknown.special_fields.clone();
    graph.initializer = vec![floats("c", &[1.0, 2.0]), floats("annotated", &[3.0])];
    graph.initializer[1].doc_string = Some("tensor doc".into());
    graph.initializer[1].metadata_props = vec![entry("tk", "tv")];
    let mut sparse = SparseTensorProto { dims: vec![4], ..Default::default() };
    sparse.values = MessageField::some(floats("sparse", &[9.0]));
    let index = Some(Bytes::copy_from_slice(&2i64.to_le_bytes()));
    let index = TensorProto { dims: vec![1], data_type: Some(7), raw_data: index, ..Default::default() };
    sparse.indices = MessageField::some(index);
    graph.sparse_initializer = vec![sparse.clone()];
    graph.quantization_annotation = vec![TensorAnnotation {
        tensor_name: Some("t".into()),
        quant_parameter_tensor_names: vec![entry("SCALE_TENSOR", "c")],
        ..Default::default()
    }];
    let x = &mut graph.input[0];
    x.doc_string = Some("input doc".into());
    x.metadata_props = vec![entry("vk", "vv")];
    let shape = x.type_.mut_or_insert_default().mut_tensor_type().shape.mut_or_insert_default();
    shape.dim[0].denotation = Some("DATA_BATCH".into());
    graph.output[0].type_.mut_or_insert_default().denotation = Some("TENSOR".into());

    let node = &mut graph.node[1];
    node.doc_string = Some("node doc".into());
    node.metadata_props = vec![entry("nk", "nv")];
    node.device_configurations =
        vec![NodeDeviceConfigurationProto { configuration_id: Some("dev".into()), ..Default::default() }];
    node.attribute[0].doc_string = Some("attribute doc".into());
    let attribute = |name: &str, kind| {
        let mut attribute = AttributeProto { name: Some(name.into()), ..Default::default() };
        attribute.set_type(kind);
        attribute
    };
    let mut tensor = attribute("t", attribute_proto::AttributeType::TENSOR);
    tensor.t = MessageField::some(floats("inner", &[4.0]));
    let mut sparse_attribute = attribute("sp", attribute_proto::AttributeType::SPARSE_TENSOR);
    sparse.values.as_mut().unwrap().name = None;
    sparse_attribute.sparse_tensor = MessageField::some(sparse);
    let mut body = attribute("g", attribute_proto::AttributeType::GRAPHS);
    let captures = byoc_graph::text::parse_model("b () => (float[N, 2] q) { q = Add (t, c) }").unwrap();
    body.graphs = vec![*captures.graph.0.unwrap()];
    node.attribute.extend([tensor, sparse_attribute, body]);

    model.training_info = vec![TrainingInfoProto {
        algorithm: MessageField::some(GraphProto { name: Some("step".into()), ..Default::default() }),
        update_binding: vec![entry("c", "new_c")],
        ..Default::default()
    }];
    model.configuration = vec![DeviceConfigurationProto {
        name: Some("dev".into()),
        num_devices: Some(2),
        ..Default::default()
    }];
    model.functions[0].attribute_proto[0].doc_string = Some("default doc".into());
    model.functions[0].metadata_props = vec![entry("fk", "fv")];
    model.functions[0].special_fields = unknown.special_fields;
    model
}

/// Fields that are there but empty say the same as fields that are not there.
fn without_empty_domains(mut model: ModelProto) -> ModelProto {
    fn strip(nodes: &mut [NodeProto]) {
        for node in nodes {
            node.domain = node.domain.take().filter(|domain| !domain.is_empty());
            for attribute in &mut node.attribute {
                attribute.graphs.iter_mut().for_each(|graph| strip(&mut graph.node));
            }
        }
    }
    strip(&mut model.graph.mut_or_insert_default().node);
    model.functions.iter_mut().for_each(|function| strip(&mut function.node));
    model
}

#[test]
fn everything_survives() {
    let original = without_empty_domains(everything());
    let model = onnx::from_proto(original.clone(), None).unwrap();
    model.graph.check();
    assert_eq!(onnx::to_proto(&model).unwrap(), original);
}

#[test]
fn a_model_that_was_changed_keeps_what_still_holds() {
    let mut model = onnx::from_proto(everything(), None).unwrap();
    let sparse = model.graph.value_by_name("sparse").unwrap();
    let (Origin::Constant(tensor), name) = (model.graph.value(sparse).origin().clone(), "renamed") else {
        panic!()
    };
    assert_eq!(&*tensor.as_slice::<f32>().unwrap(), &[0.0, 0.0, 9.0, 0.0]);
    model.graph.rename(sparse, name).unwrap();
    let proto = onnx::to_proto(&model).unwrap();
    assert!(proto.graph.sparse_initializer.is_empty());
    assert!(proto.graph.initializer.iter().any(|t| t.name() == name && t.dims == [4]));
    assert_eq!(
        proto.graph.initializer.iter().find(|t| t.name() == "annotated").unwrap().doc_string(),
        "tensor doc"
    );
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let text = "<ir_version: 8, opset_import: [\"ai.onnx\" : 17]> g (float x, bool b) => (float y, float z) {
        z = If (b) <then_branch = t () => (float p) { p = Neg (y) }, else_branch = e () => (float q) { q = Neg (x) }>
        y = Relu (a)
        c = Neg (x)
        a = Abs (x)
    }";
    let model = onnx::from_text(text, None).unwrap();
    let labels = |graph: &Graph| {
        graph.model_order().iter().map(|&id| graph.node(id).label.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(labels(&model.graph), ["c", "a", "y", "z"]);
    assert_eq!(model.opset(""), Some(17));
    let again = onnx::from_bytes(onnx::to_bytes(&model).unwrap(), None).unwrap();
    assert_eq!(labels(&again.graph), ["c", "a", "y", "z"]);
    // What the branch uses of the graph around it is a dependency of the If.
    let node = again.graph.node(again.graph.model_order()[3]);
    assert_eq!(node.captures().len(), 2);
    assert!(matches!(&node.attrs["then_branch"], Attr::Graph(body) if body.captured().count() == 1));
}

#[test]
fn initializers_are_constants_unless_callers_may_override_them() {
    let with_ir = |version: u32| {
        let text = format!(
            "<ir_version: {version}, opset_import: [\"\" : 8]>
             g (float[1] w = {{1}}, float[1] x, float[1] b = {{2}}) => (float[1] y) {{ t = Mul (x, w) y = Add (t, b) }}"
        );
        onnx::from_text(&text, None).unwrap()
    };
    let names =
        |graph: &Graph| graph.inputs().iter().map(|&id| graph.value(id).name.to_string()).collect::<Vec<_>>();
    let (old, new) = (with_ir(3).graph, with_ir(4).graph);
    assert_eq!(names(&old), ["x"]);
    assert!(old.is_constant(old.value_by_name("w").unwrap()));
    assert_eq!(names(&new), ["w", "x", "b"]);
    let w = new.value_by_name("w").unwrap();
    assert!(!new.is_constant(w) && new.default_of(w).is_some());
    for version in [3, 4] {
        let proto = onnx::to_proto(&with_ir(version)).unwrap();
        let inputs: Vec<&str> = proto.graph.input.iter().map(|info| info.name()).collect();
        assert_eq!(inputs, ["w", "x", "b"]);
        assert_eq!(proto.graph.initializer.len(), 2);
    }
}

#[test]
fn equal_constants_are_one_tensor() {
    let text = "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2] x) => (float[2] y)
        <float[2] a = {1, 2}, float[2] b = {1, 2}, float[2, 1] c = {1, 2}, float[2] d = {1, 3}> { y = Sum (x, a, b, d) }";
    let graph = onnx::from_text(text, None).unwrap().graph;
    let constant = |name: &str| graph.constant(graph.value_by_name(name).unwrap()).unwrap().clone();
    assert!(std::sync::Arc::ptr_eq(&constant("a"), &constant("b")));
    assert!(!std::sync::Arc::ptr_eq(&constant("a"), &constant("c")));
    assert!(!std::sync::Arc::ptr_eq(&constant("a"), &constant("d")));
}

#[test]
fn weights_of_a_file_are_not_copied() {
    let bytes = Bytes::from(everything().write_to_bytes().unwrap());
    let graph = onnx::from_bytes(bytes.clone(), None).unwrap().graph;
    let constant = graph.constant(graph.value_by_name("annotated").unwrap()).unwrap();
    assert!(bytes.as_ptr_range().contains(&constant.bytes().as_ptr()));
}

/// Half a gigabyte of weights is mapped, and only looked at in places.
#[test]
#[cfg(target_os = "linux")]
fn weights_are_not_read_while_loading() {
    use std::os::unix::fs::FileExt;

    const COUNT: u64 = 64;
    const LEN: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let data = fs::File::create(folder.path().join("w.bin")).unwrap();
    data.set_len(COUNT * LEN).unwrap();
    let mut constants = Vec::new();
    for i in 0..COUNT {
        data.write_all_at(&[i as u8 + 1], i * LEN).unwrap();
        let entries = format!("\"location\": \"w.bin\", \"offset\": \"{}\", \"length\": \"{LEN}\"", i * LEN);
        constants.push(format!("uint8[{LEN}] w{i} = [{entries}]"));
    }
    let text = format!(
        "<ir_version: 8, opset_import: [\"\" : 17]> g () => (uint8[{LEN}] y) <{}> {{ y = Identity (w0) }}",
        constants.join(", ")
    );
    fs::write(folder.path().join("m.onnxtxt"), text).unwrap();
    let resident_pages = || -> u64 {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = resident_pages();
    let model = onnx::load(folder.path().join("m.onnxtxt")).unwrap();
    let grown = resident_pages().saturating_sub(before) * 4096;
    assert_eq!(model.graph.values().count(), COUNT as usize + 1);
    assert!(grown < COUNT * LEN / 4, "{} MiB are resident", grown >> 20);
}

/// Writes a model with one tensor in `weights/w.bin` into `folder`.
fn write_external(folder: &Path) {
    fs::create_dir_all(folder.join("weights")).unwrap();
    let content: Vec<u8> = (0..16u8).collect();
    fs::write(folder.join("weights/w.bin"), content).unwrap();
    let text = "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2] x) => (float[2] y)
        <float[2] w = [\"location\": \"weights/w.bin\", \"offset\": \"4\", \"length\": \"8\"]> { y = Add (x, w) }";
    fs::write(folder.join("m.onnxtxt"), text).unwrap();
}

fn content_of_w(path: &Path) -> Vec<u8> {
    let graph = onnx::load(path).unwrap().graph;
    graph.constant(graph.value_by_name("w").unwrap()).unwrap().bytes().to_vec()
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn external_data_stays_external() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    write_external(&here);
    fs::create_dir(&there).unwrap();
    let model = onnx::load(here.join("m.onnxtxt")).unwrap();

    // Beside the original: the same file goes on being used.
    onnx::save(&model, here.join("out.onnx")).unwrap();
    assert_eq!(files_in(&here), ["m.onnxtxt", "out.onnx", "weights"]);
    let proto: ModelProto = onnx_protobuf::parse(&fs::read(here.join("out.onnx")).unwrap().into()).unwrap();
    let entries: Vec<(&str, &str)> =
        proto.graph.initializer[0].external_data.iter().map(|e| (e.key(), e.value())).collect();
    assert_eq!(entries, [("location", "weights/w.bin"), ("offset", "4"), ("length", "8")]);
    assert_eq!(content_of_w(&here.join("out.onnx")), [4, 5, 6, 7, 8, 9, 10, 11]);

    onnx::save(&model, here.join("out.onnxtxt")).unwrap();
    assert_eq!(content_of_w(&here.join("out.onnxtxt")), [4, 5, 6, 7, 8, 9, 10, 11]);

    // Elsewhere: it is copied, and the result stands alone.
    onnx::save(&model, there.join("out.onnx")).unwrap();
    assert_eq!(files_in(&there), ["out.onnx", "out.onnx.data"]);
    fs::rename(&there, root.path().join("moved")).unwrap();
    let moved = root.path().join("moved/out.onnx");
    assert_eq!(content_of_w(&moved), [4, 5, 6, 7, 8, 9, 10, 11]);

    // Over itself: the data that it maps is not disturbed.
    let again = onnx::load(&moved).unwrap();
    onnx::save(&again, &moved).unwrap();
    assert_eq!(content_of_w(&moved), [4, 5, 6, 7, 8, 9, 10, 11]);
    support::python("import sys, onnx; onnx.checker.check_model(sys.argv[1])", &[&moved]);
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    write_external(root.path());
    let model = onnx::load(root.path().join("m.onnxtxt")).unwrap();
    let folder = root.path().join("folder");
    fs::create_dir_all(folder.join("out.onnx")).unwrap();
    let error = onnx::save(&model, folder.join("out.onnx")).unwrap_err();
    assert!(error.to_string().contains("out.onnx"), "{error}");
    assert_eq!(files_in(&folder), ["out.onnx"]);
    assert!(onnx::save(&model, root.path().join("missing/out.onnx")).is_err());
}
