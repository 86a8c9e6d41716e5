//! Files and command lines are untrusted: whatever they hold, the command ends by itself, soon, with status 0
//! and a result, or 1 and one clear message. Address space is limited, so that an allocation on a file's word
//! shows as a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use byoc_tests::{Finished, byoc, run_command};

/// Enough for any model here, too little for what a damaged file may claim.
const ADDRESS_SPACE_KIB: u64 = 6 << 20;
/// Of processor time, so that a busy machine changes nothing.
const CPU_SECONDS: u64 = 10;
/// For what waits and does not compute.
const LIMIT: Duration = Duration::from_secs(120);

fn limited(words: &[&str]) -> Finished {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB}; ulimit -t {CPU_SECONDS}; exec \"$0\" \"$@\"")]);
    command.arg(byoc()).args(words);
    run_command(&mut command, LIMIT)
}

/// Panics where the command was ended by a signal or panicked, or failed without saying why.
#[track_caller]
fn survives(what: &str, done: &Finished) {
    assert!(matches!(done.status, Some(0 | 1)), "{what}: {done:?}");
    assert!(!done.stderr.contains("panicked"), "{what}: {done:?}");
    if done.status == Some(1) {
        assert!(done.stderr.contains("error"), "{what}: no message: {done:?}");
        assert!(done.stderr.len() < 4000, "{what}: a message that nobody reads: {done:?}");
    }
}

#[track_caller]
fn refused(what: &str, done: &Finished, texts: &[&str]) {
    survives(what, done);
    assert_eq!(done.status, Some(1), "{what}: {done:?}");
    for text in texts {
        assert!(done.stderr.contains(text), "{what}: `{text}` is not in\n{}", done.stderr);
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("written");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run_random(path: &Path) -> Finished {
    limited(&["run", text(path), "--random", "1", "--threads", "1", "--quiet"])
}

/// Three models that between them have bodies, functions, strings, quantised weights and external-free data.
fn models() -> Vec<(&'static str, Vec<u8>)> {
    let from_text = |text: &str| {
        let model = byoc_graph::onnx::from_text(text, None).expect("the model is valid");
        byoc_graph::onnx::to_bytes(&model).expect("the model can be written")
    };
    let demo = byoc::demo::network(7).expect("the demo's network can be built");
    vec![
        ("demo", byoc_graph::onnx::to_bytes(&demo).expect("the model can be written")),
        ("control", from_text(CONTROL)),
        ("shapes", from_text(SHAPES)),
    ]
}

const CONTROL: &str = r#"<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[4] x, bool c) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
    t = local.scale(x)
    s = If(c) <
        then_branch = a () => (float[4] p) { p = Add(t, w) },
        else_branch = b () => (float[4] q) { r = Relu(t) q = Mul(r, w) }
    >
    y = Identity(s)
}
<domain: "local", opset_import: ["": 17]>
scale (p) => (q) { two = Constant<value_float = 2.0>() q = Mul(p, two) }"#;

const SHAPES: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[N,6] x) => (float[M] y) <int64[1] zero = {0}, int64[1] minus = {-1}, int64[2] reps = {2, 3}> {
    s = Shape(x)
    n = Gather(s, zero)
    p = Tile(x, reps)
    o = ConstantOfShape(s)
    a = Slice(p, zero, n)
    z = Concat<axis = 0>(n, minus)
    b = Reshape(o, z)
    m = Transpose(b)
    k = MatMul(b, m)
    r = ReduceSum(k)
    q = Flatten(a)
    f = Reshape(q, minus)
    y = Add(f, r)
}"#;

#[test]
fn whole_models_run() {
    let folder = Folder::new();
    for (name, bytes) in models() {
        let path = folder.write(&format!("{name}.onnx"), bytes);
        run_random(&path).expect(0);
    }
}

#[test]
fn truncated_files() {
    let folder = Folder::new();
    refused("empty", &run_random(&folder.write("empty.onnx", [])), &["empty.onnx"]);
    for (name, bytes) in models() {
        for part in 1..64 {
            let path = folder.write("cut.onnx", &bytes[..bytes.len() * part / 64]);
            survives(&format!("{name} cut at {part}/64"), &run_random(&path));
        }
    }
}

#[test]
fn flipped_bits() {
    let folder = Folder::new();
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let models = models();
    for i in 0..2000 {
        let (name, bytes) = &models[i % models.len()];
        let mut bytes = bytes.clone();
        let (at, bit) = (next() % bytes.len(), next() % 8);
        bytes[at] ^= 1 << bit;
        let path = folder.write("flipped.onnx", bytes);
        survives(&format!("{name}: bit {bit} of byte {at} flipped"), &run_random(&path));
    }
}

#[test]
fn deeply_nested_groups() {
    let folder = Folder::new();
    // Field 15, wire type 3: the start of a group that nobody knows.
    let path = folder.write("groups.onnx", vec![0x7b; 1_000_000]);
    refused("groups", &run_random(&path), &["groups.onnx"]);
}

#[test]
fn tensors_that_claim_too_much() {
    let folder = Folder::new();
    let model = |node: &str| {
        format!(
            "<ir_version: 8, opset_import: [\"\": 17]>\ng (float[2] x) => (float[N] y) <int64[1] n = {{1152921504606846976}}> {{ {node} }}"
        )
    };
    for node in ["y = ConstantOfShape(n)", "e = Expand(x, n)\n y = Relu(e)", "y = Tile(x, n)"] {
        let path = folder.write("huge.onnxtxt", model(node));
        survives(node, &run_random(&path));
    }
    // A TensorProto of dims [2^30, 2^30] and one byte of content.
    let dims = [0x08, 0x80, 0x80, 0x80, 0x80, 0x04];
    let mut tensor = [&dims[..], &dims[..], &[0x10, 0x01, 0x42, 0x01, b'w', 0x4a, 0x01, 0x00]].concat();
    let mut graph = vec![0x12, 0x01, b'g', 0x2a, tensor.len() as u8];
    graph.append(&mut tensor);
    let mut bytes = vec![0x08, 0x08, 0x42, 0x02, 0x10, 0x11, 0x3a, graph.len() as u8];
    bytes.append(&mut graph);
    let path = folder.write("claims.onnx", bytes);
    refused("claims", &run_random(&path), &["`w`"]);
}

#[test]
fn broken_graphs() {
    let cases = [
        ("cycle", "a = Add(x, b)\n b = Relu(a)\n y = Neg(b)", &["cycle"][..]),
        ("twice", "y = Relu(x)\n y = Neg(x)", &["`y`"]),
        ("unmade", "y = Add(x, nobody)", &["`nobody`"]),
        ("unknown", "y = Nonsense(x)", &["Nonsense"]),
    ];
    let folder = Folder::new();
    for (name, nodes, texts) in cases {
        let text = format!(
            "<ir_version: 8, opset_import: [\"\": 17]>\ng (float[2] x) => (float[2] y) {{ {nodes} }}"
        );
        refused(name, &run_random(&folder.write(&format!("{name}.onnxtxt"), text)), texts);
    }
}

#[test]
fn an_unknown_operator_can_be_partitioned_around() {
    let folder = Folder::new();
    let model = "<ir_version: 8, opset_import: [\"\": 17, \"custom\": 1]>\ng (float[2] x) => (float[2] y) { a = custom.Odd(x)\n y = Relu(a) }";
    let path = folder.write("custom.onnxtxt", model);
    limited(&["partition", text(&path), "--quiet"]).expect(0);
    refused("custom", &run_random(&path), &["Odd", "custom"]);
}

#[test]
fn wrong_inputs() {
    let folder = Folder::new();
    let model = "<ir_version: 8, opset_import: [\"\": 17]>\ng (float[2,N] x, float[2,N] z) => (float[2,N] y) { y = Add(x, z) }";
    let path = folder.write("add.onnxtxt", model);
    let npy = |name: &str, descr: &str, shape: &str, bytes: usize| {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(vec![0; bytes]);
        text(&folder.write(name, file)).to_owned()
    };
    let good = npy("good.npy", "<f4", "(2, 3)", 24);
    let run = |words: &[&str]| limited(&[&["run", text(&path), "--quiet"], words].concat());
    let x = format!("x={good}");
    run(&["--input", &x, "--input", &format!("z={good}")]).expect(0);
    refused("missing", &run(&["--input", &x]), &["`z`"]);
    refused("unknown", &run(&["--input", &x, "--input", &format!("q={good}")]), &["`q`"]);
    let double = npy("double.npy", "<f8", "(2, 3)", 48);
    refused("dtype", &run(&["--input", &x, "--input", &format!("z={double}")]), &["`z`", "float64"]);
    let rank = npy("rank.npy", "<f4", "(6,)", 24);
    refused("rank", &run(&["--input", &x, "--input", &format!("z={rank}")]), &["`z`"]);
    let other = npy("other.npy", "<f4", "(2, 4)", 32);
    refused("symbol", &run(&["--input", &x, "--input", &format!("z={other}")]), &["N"]);
    let short = npy("short.npy", "<f4", "(2, 3)", 20);
    refused("short", &run(&["--input", &x, "--input", &format!("z={short}")]), &["short.npy"]);
}

#[test]
fn external_data() {
    let folder = Folder::new();
    folder.write("weights.bin", [0; 64]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path("link.bin")).expect("linked");
    let model = |location: &str, offset: u64, length: u64| {
        let field = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let entry = |key: &str, value: &str| {
            field(0x6a, &[field(0x0a, key.as_bytes()), field(0x12, value.as_bytes())].concat())
        };
        let tensor = [
            vec![0x08, 0x04, 0x10, 0x01],
            field(0x42, b"w"),
            entry("location", location),
            entry("offset", &offset.to_string()),
            entry("length", &length.to_string()),
            vec![0x70, 0x01],
        ];
        let node = [field(0x0a, b"w"), field(0x12, b"y"), field(0x22, b"Relu")].concat();
        // ValueInfoProto y: float[4].
        let value =
            [field(0x0a, b"y"), field(0x12, &[0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a, 0x02, 0x08, 0x04])];
        let graph = [
            field(0x0a, &node),
            field(0x12, b"g"),
            field(0x2a, &tensor.concat()),
            field(0x62, &value.concat()),
        ];
        let graph = graph.concat();
        let mut bytes = vec![0x08, 0x08, 0x42, 0x02, 0x10, 0x11, 0x3a];
        assert!(graph.len() < 16384);
        bytes.extend([(graph.len() & 0x7f) as u8 | 0x80, (graph.len() >> 7) as u8]);
        bytes.extend(graph);
        folder.write("external.onnx", bytes)
    };
    run_random(&model("weights.bin", 0, 16)).expect(0);
    for (location, offset, length) in [
        ("/etc/passwd", 0, 16),
        ("../weights.bin", 0, 16),
        ("a/../../x", 0, 16),
        ("link.bin", 0, 16),
        ("nobody.bin", 0, 16),
        ("weights.bin", 60, 16),
        ("weights.bin", u64::MAX, 16),
        ("weights.bin", 0, 8),
        ("weights.bin", 0, u64::MAX),
    ] {
        let what = format!("{location} from {offset} for {length}");
        refused(&what, &run_random(&model(location, offset, length)), &["`w`"]);
    }
}

#[test]
fn tables() {
    let folder = Folder::new();
    let model = folder.write(
        "m.onnxtxt",
        "<ir_version: 8, opset_import: [\"\": 17]>\ng (float[2] x) => (float[2] y) { y = Relu(x) }",
    );
    let partition = |table: &str| {
        let table = folder.write("acme.toml", table);
        limited(&["partition", text(&model), "--quiet", "--table", text(&table)])
    };
    let misspelt =
        "[vendor]\nname = \"a\"\n\n[[pattern]]\nname = \"r\"\nmatch = \"y = Relu(x)\"\nprioritty = 3\n";
    refused("misspelt", &partition(misspelt), &["acme.toml:7:1", "prioritty", "priority"]);
    let clause = "[vendor]\nname = \"a\"\n[[pattern]]\nname = \"r\"\nmatch = \"y = Relu(x)\"\nwhere = [\"x.rank ==\"]\n";
    refused("clause", &partition(clause), &["acme.toml:6:"]);
    refused("no toml", &partition("[vendor"), &["acme.toml:1:"]);
    survives(
        "nested",
        &partition(&format!(
            "[vendor]\nname = \"a\"\n[[pattern]]\nname = \"r\"\nmatch = \"y = {}\"\n",
            "Relu(".repeat(100_000)
        )),
    );
}

#[test]
fn libraries_that_are_no_plugins() {
    let folder = Folder::new();
    let model = folder.write(
        "m.onnxtxt",
        "<ir_version: 8, opset_import: [\"\": 17]>\ng (float[2] x) => (float[2] y) { y = Relu(x) }",
    );
    let partition = |plugin: &str| limited(&["partition", text(&model), "--quiet", "--plugin", plugin]);
    refused("text", &partition(text(&folder.write("text.so", "not a library"))), &["text.so"]);
    refused("empty", &partition(text(&folder.write("empty.so", ""))), &["empty.so"]);
    refused("missing", &partition(text(&folder.path("missing.so"))), &["missing.so"]);
    refused("unknown name", &partition("nobody-has-this"), &["nobody-has-this"]);
    let source = folder.write("plain.c", "int answer(void) { return 42; }\n");
    let library = folder.path("plain.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler").success());
    refused("no entry", &partition(text(&library)), &["plain.so", "byoc_plugin_entry"]);
}

#[test]
fn bad_usage_is_status_2() {
    for words in [
        &["frobnicate"][..],
        &["run"],
        &["run", "m.onnx", "--threads", "0"],
        &["partition", "m", "--policy", "best"],
    ] {
        let done = limited(words);
        assert_eq!(done.status, Some(2), "{words:?}: {done:?}");
    }
}
