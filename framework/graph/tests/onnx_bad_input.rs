//! Bad files are errors that say what is wrong: never a panic, a hang or an allocation on their word.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use byoc_graph::onnx;
use bytes::Bytes;
use onnx_protobuf::{NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto, tensor_proto};
use protobuf::Message;

/// Remembers the largest single allocation of the process.
struct Watch;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static WATCH: Watch = Watch;

/// No bad file is a reason for more than this at once; packed fields reserve eight bytes for each byte.
const LARGE: usize = 96 << 20;

/// A small model that has a bit of everything.
const MODEL: &str = r#"
<ir_version: 10, opset_import: ["" : 21, "local" : 1], metadata_props: ["k": "v"]>
main (float[2, N] x, float[2] c = {0.5, 1}, bool cond) => (float[2, N] y, seq(float[2, N]) s)
<float[2, 1] w = {1, 2}, int64[2] shape = {2, -1}, string[2] t = {"a", "b"}, int4[3] q = {1, -2, 3}, float[2, N] h> {
  h = Add (x, w)
  i = If (cond) <then_branch = a () => (float[2, N] p) { p = Mul (h, w) },
                 else_branch = b () => (float[2, N] p) { p = local.f <alpha = 2.0> (h) }>
  y = Reshape (i, shape)
  s = SequenceConstruct (y)
}
<domain: "local", opset_import: ["" : 21]>
f <alpha: float = 1.0> (v) => (r) { k = Constant <value_float: float = @alpha> ()  r = Mul (v, k) }
"#;

fn model() -> onnx_protobuf::ModelProto {
    byoc_graph::text::parse_model(MODEL).unwrap()
}

fn bytes(change: impl FnOnce(&mut onnx_protobuf::ModelProto)) -> Bytes {
    let mut model = model();
    change(&mut model);
    model.write_to_bytes().unwrap().into()
}

fn graph(change: impl FnOnce(&mut onnx_protobuf::GraphProto)) -> Bytes {
    bytes(|model| change(model.graph.mut_or_insert_default()))
}

/// The message of the error that loading these bytes ends in.
fn error(bytes: Bytes) -> String {
    let error = onnx::from_bytes(bytes, None).expect_err("not a valid model").to_string();
    assert!(LARGEST.load(Ordering::Relaxed) < LARGE, "a large allocation");
    error
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is missing in: {error}");
    }
}

#[test]
fn the_good_model_is_good() {
    onnx::from_bytes(bytes(|_| ()), None).unwrap();
}

#[test]
fn damaged_files_are_refused_or_valid() {
    let mut files = vec![bytes(|_| ())];
    if let Some(folder) = support::test_data("models") {
        for name in ["mnist_cntk", "cifar_cnn_qop_u8u8", "scan_lstm"] {
            files.extend(
                support::files_below(&folder.join(name), "onnx")
                    .iter()
                    .map(|p| std::fs::read(p).unwrap().into()),
            );
        }
    }
    for file in &files {
        for part in 0..64 {
            let _ = onnx::from_bytes(file.slice(..file.len() * part / 64), None);
        }
        // A fixed sequence of flips (the constants are those of Knuth's MMIX generator).
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut damaged = file.to_vec();
        for _ in 0..700 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bit = (state >> 16) as usize % (file.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(model) = onnx::from_bytes(damaged.clone(), None) {
                model.graph.check();
                onnx::to_bytes(&model).unwrap();
            }
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(LARGEST.load(Ordering::Relaxed) < LARGE, "a large allocation");
}

#[test]
fn what_is_no_model_is_refused() {
    error(Bytes::new());
    error(Bytes::from_static(b"This is not a model.\n"));
    error(Bytes::from([0x9b, 0x06].repeat(1_000_000))); // groups in groups
    assert_says(&error(bytes(|m| m.graph = None.into())), &["no graph"]);
    assert_says(&error(bytes(|m| m.set_ir_version(2))), &["IR version 2", "3 to 14"]);
    assert_says(&error(bytes(|m| m.set_ir_version(15))), &["IR version 15"]);
    assert_says(&error(bytes(|m| m.opset_import.clear())), &["node `h`", "opset"]);
    assert_says(&error(bytes(|m| m.functions.push(m.functions[0].clone()))), &["local.f", "twice"]);
}

#[test]
fn deep_bodies_are_refused() {
    let mut inner = model().graph.take().unwrap();
    for _ in 0..50 {
        let mut outer = model().graph.take().unwrap();
        outer.node[1].attribute[0].g = Some(inner).into();
        inner = outer;
    }
    error(bytes(|m| m.graph = Some(inner).into()));
}

#[test]
fn tensors_are_checked_before_they_are_made() {
    let with = |change: fn(&mut TensorProto)| error(graph(|g| change(&mut g.initializer[1])));
    assert_says(&with(|t| t.dims = vec![1 << 60]), &["`w`"]);
    assert_says(&with(|t| t.dims = vec![1 << 40, 1 << 40]), &["`w`", "more elements"]);
    assert_says(&with(|t| t.dims = vec![-1]), &["`w`", "negative"]);
    assert_says(&with(|t| t.dims = vec![3]), &["`w`", "12 bytes"]);
    assert_says(&with(|t| t.set_raw_data(Bytes::from_static(&[0; 7]))), &["`w`", "7"]);
    assert_says(&with(|t| t.set_data_type(99)), &["`w`", "99"]);
    assert_says(&with(|t| t.set_name(String::new())), &["without a name"]);
    let sparse = |dims: Vec<i64>, index: i64| {
        graph(|g| {
            let mut sparse = onnx_protobuf::SparseTensorProto::new();
            let values = sparse.values.mut_or_insert_default();
            values.set_name("sparse".into());
            values.set_data_type(1);
            values.dims = vec![1];
            values.float_data = vec![1.0];
            let indices = sparse.indices.mut_or_insert_default();
            indices.set_data_type(7);
            indices.dims = vec![1];
            indices.int64_data = vec![index];
            sparse.dims = dims;
            g.sparse_initializer.push(sparse);
        })
    };
    onnx::from_bytes(sparse(vec![4], 3), None).unwrap();
    assert_says(&error(sparse(vec![1 << 60], 3)), &["`sparse`", "too large"]);
    assert_says(&error(sparse(vec![4], 4)), &["`sparse`", "indices"]);
}

#[test]
fn graphs_are_checked() {
    let node = |inputs: &[&str], output: &str| {
        let mut node = NodeProto::new();
        node.set_op_type("Add".into());
        node.input = inputs.iter().map(|name| name.to_string()).collect();
        node.output.push(output.to_owned());
        node
    };
    let cycle = error(graph(|g| g.node.extend([node(&["x", "b"], "a"), node(&["a", "x"], "b")])));
    assert_says(&cycle, &["cycle", "a → b"]);
    let through_body =
        error(graph(|g| g.node[1].attribute[0].g.mut_or_insert_default().node[0].input[0] = "y".into()));
    assert_says(&through_body, &["cycle", "i", "y"]);
    assert_says(&error(graph(|g| g.node.push(node(&["x", "x"], "h")))), &["two values", "`h`"]);
    assert_says(&error(graph(|g| g.node.push(node(&["x", "x"], "w")))), &["two values", "`w`"]);
    assert_says(&error(graph(|g| g.input.push(g.input[0].clone()))), &["two values", "`x`"]);
    assert_says(
        &error(graph(|g| g.initializer.push(g.initializer[0].clone()))),
        &["two initializers", "`c`"],
    );
    assert_says(&error(graph(|g| g.node.push(node(&["x", "ghost"], "z")))), &["node `z`", "`ghost`"]);
    assert_says(&error(graph(|g| g.input[0].set_name(String::new()))), &["input without a name"]);
    let mut output = ValueInfoProto::new();
    output.set_name("ghost".into());
    assert_says(&error(graph(|g| g.output.push(output))), &["output `ghost`"]);
    assert_says(&error(graph(|g| g.node[2].op_type = None)), &["node `y`", "no operator"]);
    assert_says(
        &error(graph(|g| g.node[1].attribute[1] = g.node[1].attribute[0].clone())),
        &["two attributes"],
    );
    assert_says(&error(graph(|g| g.node[1].attribute[0].g = None.into())), &["then_branch"]);
    let mut call = node(&["v"], "z");
    call.set_domain("local".into());
    call.set_op_type("f".into());
    assert_says(&error(bytes(|m| m.functions[0].node.push(call))), &["local.f", "calls"]);
}

/// A model whose tensor `w` lies in `location`.
fn external(location: &str, offset: &str, length: Option<&str>) -> Bytes {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    graph(|g| {
        let w = &mut g.initializer[1];
        w.float_data.clear();
        w.set_data_location(tensor_proto::DataLocation::EXTERNAL);
        w.external_data = vec![entry("location", location), entry("offset", offset)];
        w.external_data.extend(length.map(|length| entry("length", length)));
    })
}

#[test]
fn external_data_stays_in_its_folder_and_in_its_file() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, [0; 64]).unwrap();
    let folder = outside.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("weights"), [0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
    std::fs::create_dir(folder.join("sub")).unwrap();
    let load = |location: &str, offset: &str, length: Option<&str>| {
        let path = folder.join("model.onnx");
        std::fs::write(&path, external(location, offset, length)).unwrap();
        onnx::load(&path)
    };
    let refused = |location: &str, offset: &str, length: Option<&str>| {
        let error = load(location, offset, length).expect_err(location).to_string();
        assert_says(&error, &["model.onnx", "`w`"]);
        error
    };
    let model = load("weights", "0", Some("8")).unwrap();
    let w = model.graph.constant(model.graph.value_by_name("w").unwrap()).unwrap();
    assert_eq!(&*w.as_slice::<f32>().unwrap(), &[1.0, 2.0]);
    assert_eq!(w.external().unwrap().path, folder.join("weights").canonicalize().unwrap());
    load("./weights", "0", None).unwrap();

    assert_says(&refused("../secret", "0", Some("8")), &["outside"]);
    assert_says(&refused("sub/../../secret", "0", Some("8")), &["outside"]);
    assert_says(&refused(secret.to_str().unwrap(), "0", Some("8")), &["outside"]);
    assert_says(&refused("", "0", Some("8")), &["outside"]);
    refused("sub", "0", Some("8"));
    refused("missing", "0", Some("8"));
    assert_says(&refused("weights", "4", Some("8")), &["offset 4", "only 8"]);
    assert_says(&refused("weights", "18446744073709551615", Some("8")), &["only 8"]);
    assert_says(&refused("weights", "-1", Some("8")), &["offset", "-1"]);
    assert_says(&refused("weights", "0", Some("7")), &["8 bytes", "7"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, folder.join("link")).unwrap();
        assert_says(&refused("link", "0", Some("8")), &["link"]);
        std::os::unix::fs::symlink(folder.join("weights"), folder.join("inner")).unwrap();
        load("inner", "0", Some("8")).unwrap();
    }
    assert_says(&error(external("weights", "0", Some("8"))), &["not read from a file"]);
}

#[test]
fn paths_that_are_no_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(onnx::load(folder.path()).is_err());
    let missing = onnx::load(folder.path().join("missing.onnx")).unwrap_err();
    assert_says(&missing.to_string(), &["missing.onnx"]);
    let text = folder.path().join("bad.onnxtxt");
    std::fs::write(&text, "g () => () {\n  y = Relu(x\n}").unwrap();
    assert_says(&onnx::load(&text).unwrap_err().to_string(), &["bad.onnxtxt", "line 3, column 1"]);
    std::fs::write(&text, b"\xff\xfe").unwrap();
    assert_says(&onnx::load(&text).unwrap_err().to_string(), &["bad.onnxtxt", "not text"]);
    assert!(onnx::load(Path::new("")).is_err());
}
