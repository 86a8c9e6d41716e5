//! oneDNN through its plugin: post-ops, broadcasts, shapes that change from run to run, and what it refuses.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc::{Datum, Session, Tensor};
use byoc_graph::{Dim, Type};
use byoc_tests::{on_onednn, partition_report, written};
use regex::Regex;

/// Models that exercise one way through the plugin each; it takes all of their nodes. `RandomNormal` stands for weights.
const MODELS: [(&str, &str); 13] = [
    (
        "parts, and shapes that are computed from sizes",
        r#"g (float[N,4,3,5] x) => (float[N,2,6,5] y, float[N,1,3,5] c, float[N,3,3,5] q, float[N,45] z)
<int64 first = {0}, int64[1] front = {0}, int64[3] rest = {2, 6, 5}, int64[2] sizes = {1, 3}, int64[1] all = {-1}> {
    r = Relu(x)
    s = Shape(r)
    b = Gather(s, first)
    u = Unsqueeze(b, front)
    t = Concat<axis=0>(u, rest)
    p = Sigmoid(r)
    y = Reshape(p, t)
    c, d = Split<axis=1>(x, sizes)
    q = Neg(d)
    w = Unsqueeze(b, front)
    v = Concat<axis=0>(w, all)
    z = Reshape(q, v)
}"#,
    ),
    (
        "residual block",
        r#"g (float[N,8,9,9] x) => (float[N,8,9,9] y) {
    w = RandomNormal<seed=1.0, shape=[8,8,3,3]>()
    v = RandomNormal<seed=2.0, shape=[8,8,1,1]>()
    b = RandomNormal<seed=3.0, shape=[8]>()
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(c)
    d = Conv(r, v)
    s = Add(d, x)
    y = Relu(s)
}"#,
    ),
    (
        "grouped and dilated, one and three dimensions",
        r#"g (float[2,4,11] x, float[1,4,5,6,7] z) => (float[2,6,5] y, float[1,2,4,5,6] u) {
    w = RandomNormal<seed=1.0, shape=[6,2,3]>()
    y = Conv<group=2, dilations=[2], strides=[2], pads=[1,1]>(x, w)
    v = RandomNormal<seed=2.0, shape=[2,4,2,2,2]>()
    u = Conv(z, v)
}"#,
    ),
    (
        "padding to keep the size",
        r#"g (float[1,3,7,7] x) => (float[1,4,4,4] y, float[1,4,4,4] z) {
    w = RandomNormal<seed=1.0, shape=[4,3,2,2]>()
    y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)
    z = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)
}"#,
    ),
    (
        "transposed convolution",
        r#"g (float[1,4,5,5] x) => (float[1,6,11,11] y, float[1,4,10,10] z) {
    w = RandomNormal<seed=1.0, shape=[4,3,3,3]>()
    y = ConvTranspose<group=2, strides=[2,2]>(x, w)
    v = RandomNormal<seed=2.0, shape=[4,4,3,3]>()
    z = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, v)
}"#,
    ),
    (
        "products with bias, activation and residual",
        r#"g (float[N,3,16] x) => (float[N,3,16] y, float[N,3,3] z) {
    w = RandomNormal<seed=1.0, shape=[16,16]>()
    b = RandomNormal<seed=2.0, shape=[16]>()
    p = MatMul(x, w)
    s = Add(p, b)
    g = Gelu(s)
    y = Add(x, g)
    t = Transpose<perm=[0,2,1]>(y)
    z = MatMul(y, t)
}"#,
    ),
    (
        "gemm transposed",
        r#"g (float[5,7] x) => (float[7,3] y) {
    w = RandomNormal<seed=1.0, shape=[3,5]>()
    b = RandomNormal<seed=2.0, shape=[3]>()
    p = Gemm<transA=1, transB=1>(x, w, b)
    y = Sigmoid(p)
}"#,
    ),
    (
        "pooling",
        r#"g (float[1,5,9,9] x) => (float[1,5,5,5] a, float[1,5,5,5] b, float[1,5,5,5] c, float[1,5,1,1] d) {
    a = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)
    b = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)
    c = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1>(x)
    d = GlobalAveragePool(x)
}"#,
    ),
    (
        "normalisation",
        r#"g (float[2,3,8] x) => (float[2,3,8] y, float[2,3,8] z) {
    s = RandomNormal<seed=1.0, shape=[8]>()
    b = RandomNormal<seed=2.0, shape=[8]>()
    n = LayerNormalization(x, s, b)
    y = Softmax<axis=1>(n)
    l = LogSoftmax(x)
    z = Mul(l, s)
}"#,
    ),
    (
        "broadcasts and numbers",
        r#"g (float[2,3,4] x) => (float[2,3,4] y, float[2,3,4] z) <float k = {2.5}> {
    m = ReduceMean<keepdims=1>(x)
    a = Sub(x, m)
    b = Mul(m, a)
    c = Sub(k, b)
    y = Div(c, k)
    d = Max(x, k)
    z = Mul(x, d)
}"#,
    ),
    (
        "reductions",
        r#"g (float[2,3,4] x) => (float[2,4] a, float[1,1,1] b, float[2,3] c, float[3,4] d) <int64[1] axis = {1}, int64[1] last = {-1}, int64[1] first = {0}> {
    a = ReduceProd<keepdims=0>(x, axis)
    b = ReduceSum(x)
    c = ReduceL2<keepdims=0>(x, last)
    d = ReduceL1<keepdims=0>(x, first)
}"#,
    ),
    (
        "resampling, concatenation and views",
        r#"g (float[1,4,3,3] x) => (float[2,216] y) <float[4] k = {1,1,2,2}, int64[2] shape = {2,-1}> {
    a = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , k)
    b = Resize<mode="linear">(x, , k)
    c = Concat<axis=1>(a, b, a)
    t = Transpose<perm=[0,2,3,1]>(c)
    f = Flatten(t)
    y = Reshape(f, shape)
}"#,
    ),
    (
        "an input that is an output, twice the same output",
        r#"g (float[2,6] x) => (float[3,4] y, float[12] z) <int64[2] s = {3,4}, int64[1] f = {-1}> {
    y = Reshape(x, s)
    z = Reshape(y, f)
}"#,
    ),
];

/// Quantised models, of which the codes have to be those of the host. `RandomCodes` stands for weights.
const QUANTISED: [(&str, &str); 4] = [
    (
        "convolutions of all kinds, a residual sum, and what moves codes",
        r#"g (float[N,8,9,9] x) => (uint8[N,16,4,4] y, float[N,8,9,9] z)
<float xs = {0.03}, uint8 xz = {117}, float ys = {0.11}, uint8 yz = {3}, float zs = {0.25}, uint8 zz = {130},
 float[8] ws = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08}, float vs = {0.015625},
 int32[8] b = {100, -200, 300, 7, 0, -7, 12345, -4321}, float[8] f = {0.1, 0.2, -0.3, 0, 0.5, 0.6, 0.7, 0.8},
 float[8] bs = {0.0003, 0.0006, 0.0009, 0.0012, 0.0015, 0.0018, 0.0021, 0.0024}, float six = {6}, float none = {0}> {
    w = RandomCodes<seed=1.0, shape=[8,8,3,3]>()
    v = RandomCodes<seed=2.0, shape=[8,1,3,3]>()
    q = QuantizeLinear(x, xs, xz)
    d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear<axis=0>(w, ws)
    bd = DequantizeLinear<axis=0>(b, bs)
    c = Conv<pads=[1,1,1,1]>(d, wd, bd)
    r = Relu(c)
    rq = QuantizeLinear(r, ys, yz)
    rd = DequantizeLinear(rq, ys, yz)
    vd = DequantizeLinear(v, vs)
    e = Conv<pads=[1,1,1,1], group=8>(rd, vd, f)
    eq = QuantizeLinear(e, zs, zz)
    ed = DequantizeLinear(eq, zs, zz)
    s = Add(ed, d)
    z = Clip(s, none, six)
    sq = QuantizeLinear(z, zs, zz)
    m = MaxPool<kernel_shape=[3,3], strides=[2,2]>(sq)
    y = Concat<axis=1>(m, m)
}"#,
    ),
    (
        "products, of signed codes",
        r#"g (float[N,24] x) => (int8[N,10] y)
<float xs = {0.03}, int8 xz = {-5}, float ys = {0.5}, int8 yz = {9}, float ws = {0.0078125},
 float[10] f = {0.1, 0.2, -0.3, 0, 0.5, 0.6, 0.7, 0.8, 0.9, 1}, float low = {-2}, float high = {9}> {
    w = RandomCodes<seed=1.0, shape=[12,24]>()
    v = RandomCodes<seed=2.0, shape=[12,10]>()
    q = QuantizeLinear(x, xs, xz)
    d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear(w, ws)
    c = Gemm<transB=1>(d, wd)
    k = Clip(c, low, high)
    kq = QuantizeLinear(k, ys, yz)
    kd = DequantizeLinear(kq, ys, yz)
    vd = DequantizeLinear(v, ws)
    p = MatMul(kd, vd)
    a = Add(p, f)
    y = QuantizeLinear(a, ys, yz)
}"#,
    ),
    (
        "operators of codes, with weights about a zero point",
        r#"g (float[2,4,6,6] x) => (float[2,3,6,6] y, uint8[2,3,6,6] z)
<float xs = {0.03}, uint8 xz = {117}, float ys = {0.11}, uint8 yz = {77}, float ws = {0.02}, int8 wz = {0},
 int32[3] b = {100, -200, 300}> {
    w = RandomCodes<seed=1.0, shape=[3,4,1,1]>()
    q = QuantizeLinear(x, xs, xz)
    z = QLinearConv(q, xs, xz, w, ws, wz, ys, yz, b)
    y = DequantizeLinear(z, ys, yz)
}"#,
    ),
    (
        "scales along an axis, and a tie at every other number",
        r#"g (float[3,5] x) => (int8[3,5] q, float[3,5] y) <float[5] s = {1, 2, 0.5, 0.25, 4}, int8[5] z = {3, 3, 3, 3, 3}> {
    q = QuantizeLinear<axis=-1>(x, s, z)
    y = DequantizeLinear<axis=1>(q, s, z)
}"#,
    ),
];

fn model_of(text: &str) -> String {
    let mut state = 7u64;
    let mut numbers = |count: usize, most: f32| -> String {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let whole = |number: f32| if most > 1.0 { (number * most).round() } else { number };
        (0..count).map(|_| whole(next()).to_string()).collect::<Vec<_>>().join(",")
    };
    let mut out = String::from("<ir_version: 10, opset_import: [\"\": 20]>\n");
    for line in text.lines() {
        let floats = line.trim().split_once(" = RandomNormal<").map(|(name, rest)| (name, rest, "float"));
        let codes = || line.trim().split_once(" = RandomCodes<").map(|(name, rest)| (name, rest, "int8"));
        match floats.or_else(codes) {
            None => out.push_str(line),
            Some((name, rest, ty)) => {
                let dims = rest.split_once("shape=").map_or("", |(_, dims)| dims.trim_end_matches(">()"));
                let count =
                    dims.trim_matches(['[', ']']).split(',').map(|d| d.parse::<usize>().unwrap()).product();
                let numbers = if ty == "float" { numbers(count, 1.0) } else { numbers(count, 127.0) };
                let _ = write!(out, "    {name} = Constant<value = {ty}{dims} {{{numbers}}}>()");
            }
        }
        out.push('\n');
    }
    out
}

/// Numbers for an input of this shape.
fn input(dims: &[usize], seed: usize) -> Datum {
    let count: usize = dims.iter().product();
    let values = (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.0 - 2.0).collect();
    Tensor::from_vec::<f32>(dims, values).expect("a tensor").into()
}

fn bytes(datum: &Datum) -> Vec<u8> {
    let Datum::Tensor(tensor) = datum else { panic!("a tensor") };
    tensor.bytes().to_vec()
}

fn floats(datum: &Datum) -> Vec<f32> {
    let Datum::Tensor(tensor) = datum else { panic!("a tensor") };
    tensor.bytes().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect()
}

#[test]
fn results_are_those_of_the_host_in_every_way_through_the_plugin() {
    let Some(library) = on_onednn() else { return };
    for (name, text) in MODELS {
        let (host, vendor) = sessions(&library, name, text);
        // The same network again, then another one where the batch is open.
        for (run, batch) in [2usize, 2, 3, 1].into_iter().enumerate() {
            let inputs = inputs(&vendor, batch, run);
            let (want, got) = (host.run(&inputs).expect(name), vendor.run(&inputs).expect(name));
            for ((output, want), (_, got)) in want.iter().zip(&got) {
                let (want, got) = (floats(want), floats(got));
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 + 1e-4 * a.abs();
                let all = want.len() == got.len() && want.iter().zip(&got).all(close);
                assert!(all, "{name}, {output}, batch {batch}:\n{want:?}\n{got:?}");
            }
        }
    }
}

fn sessions(library: &Path, name: &str, text: &str) -> (Session, Session) {
    let (_folder, path) = written(&model_of(text));
    let host = Session::builder(&path).threads(2).build().unwrap_or_else(|e| panic!("{name}: {e}"));
    let vendor = Session::builder(&path).plugin(library.display().to_string()).threads(2).build();
    let vendor = vendor.unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(vendor.warnings(), [""; 0], "{name}");
    assert_eq!(vendor.report().host, [""; 0], "{name}: {:?}", vendor.report().nodes);
    (host, vendor)
}

/// What a run with this size of an open batch gets.
fn inputs(session: &Session, batch: usize, run: usize) -> Vec<(String, Datum)> {
    let inputs = session.inputs().into_iter().map(|spec| {
        let size = |dim: &Dim| dim.value().map_or(batch, |size| size as usize);
        let dims = spec.ty.as_ref().and_then(Type::shape).expect("a shape");
        (spec.name.to_string(), input(&dims.iter().map(size).collect::<Vec<_>>(), run))
    });
    inputs.collect()
}

/// An image that two convolutions read and two outputs are made of: oneDNN has layouts of its own for all of them.
const SHARED: &str = r#"g (float[1,16,20,20] x) => (float[1,32,18,18] y, float[1,32,18,18] z) {
    w = RandomNormal<seed=1.0, shape=[32,16,3,3]>()
    v = RandomNormal<seed=2.0, shape=[32,16,3,3]>()
    a = Conv(x, w)
    b = Conv(x, v)
    y = Add(a, b)
    z = Sigmoid(b)
}"#;

/// What oneDNN itself says that it runs, primitive by primitive.
fn told(library: &Path, model: &str) -> Vec<Vec<String>> {
    let (_folder, path) = written(&model_of(model));
    let mut command = Command::new(byoc_tests::byoc());
    command.arg("run").arg(&path).args(["--random", "1", "--strict", "--plugin"]).arg(library);
    if model.contains("[N,") {
        command.args(["--dim", "N=2"]);
    }
    let done = byoc_tests::run_command(command.env("ONEDNN_VERBOSE", "1"), Duration::from_secs(60)).expect(0);
    let ran = done.stdout.lines().filter(|line| line.starts_with("onednn_verbose,exec,cpu,"));
    ran.map(|line| line.split(',').skip(3).map(str::to_owned).collect()).collect()
}

#[test]
fn what_crosses_the_border_of_a_region_is_reordered_once() {
    let Some(library) = on_onednn() else { return };
    let told = told(&library, SHARED);
    let reorders = |sizes: &str| told.iter().filter(|of| of[0] == "reorder" && of[6] == sizes).count();
    // On the way in for both, and each output on its way out.
    assert_eq!((reorders("1x16x20x20"), reorders("1x32x18x18")), (1, 2), "{told:?}");
}

/// Regions as what oneDNN runs of them: primitives, post-ops, sizes. Layouts, and so reorders, are the processor's.
#[test]
fn regions_become_few_primitives() {
    let Some(library) = on_onednn() else { return };
    // Behind the mask of a binary one.
    let layout = Regex::new(r":a[a-z0-9]+").expect("a pattern");
    let mut text = String::new();
    for name in ["residual block", "products with bias, activation and residual", "normalisation"] {
        let (_, model) = MODELS.iter().find(|(known, _)| *known == name).expect("a model of that name");
        let _ = writeln!(text, "{name}");
        for of in told(&library, model).iter().filter(|of| of[0] != "reorder") {
            let post = of[4].split_once("attr-post-ops:").map_or("", |(_, post)| post.trim());
            let post = layout.replace_all(post, "");
            let sizes = of[6].split('_').map(str::to_owned).collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "  {} {sizes} {post}", of[0]);
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("onednn_primitives", text);
    });
}

#[test]
fn codes_are_those_of_the_host_to_the_last() {
    let Some(library) = on_onednn() else { return };
    for (name, text) in QUANTISED {
        let (host, vendor) = sessions(&library, name, text);
        for (run, batch) in [2usize, 3, 1].into_iter().enumerate() {
            let inputs = inputs(&vendor, batch, run);
            let (want, got) = (host.run(&inputs).expect(name), vendor.run(&inputs).expect(name));
            for ((output, want), (_, got)) in want.iter().zip(&got) {
                assert_eq!(bytes(want), bytes(got), "{name}, {output}, batch {batch}");
            }
        }
    }
}

#[test]
fn a_bundle_runs_from_artefacts_as_the_model_does() {
    let Some(library) = on_onednn() else { return };
    for (name, text) in MODELS.iter().chain(&QUANTISED) {
        let (folder, path) = written(&model_of(text));
        let (bundle, library) = (folder.path().join("model.byoc"), library.display().to_string());
        let words = |first: &[&str]| -> Vec<String> {
            first.iter().copied().chain(["--plugin", &library]).map(str::to_owned).collect()
        };
        let (model, at) = (path.display().to_string(), bundle.display().to_string());
        byoc_tests::run(words(&["compile", &model, "-o", &at])).expect(0);
        let of_model = Session::builder(&path).plugin(library.clone()).threads(2).build().expect(name);
        let of_bundle = Session::builder(&bundle).plugin(library.clone()).threads(2).build().expect(name);
        assert_eq!(of_bundle.warnings(), [""; 0], "{name}");
        for (run, batch) in [2usize, 1].into_iter().enumerate() {
            let inputs = inputs(&of_model, batch, run);
            let (want, got) = (of_model.run(&inputs).expect(name), of_bundle.run(&inputs).expect(name));
            assert_eq!(want.len(), got.len(), "{name}");
            for ((output, want), (_, got)) in want.iter().zip(&got) {
                assert_eq!(bytes(want), bytes(got), "{name}, {output}, batch {batch}");
            }
        }
    }
}

/// Nodes that oneDNN does not get.
const REFUSED: [(&str, &str, &str); 7] = [
    ("double[4] x) => (double[4] y", "", "y = Relu(x)"),
    (
        "float[1,2,4,4] x) => (float[1,2,8,8] y",
        "float[4] k = {1,1,2,2}",
        r#"y = Resize<mode="cubic">(x, , k)"#,
    ),
    (
        "float[1,2,4,4] x) => (float[1,2,6,6] y",
        "float[4] k = {1,1,1.5,1.5}",
        r#"y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , k)"#,
    ),
    ("float[2,1] x, float[1,3] z) => (float[2,3] y", "", "y = Add(x, z)"),
    ("float[3] x, float[2,3] z) => (float[2,3] y", "", "y = Sub(x, z)"),
    ("float[2,3] x, float[3,4] w, float[2,4] c) => (float[2,4] y", "", "y = Gemm(x, w, c)"),
    ("float[2,6] x, int64[2] s) => (float[n,m] y", "", "y = Reshape(x, s)"),
];

#[test]
fn what_is_refused_is_refused_with_reasons() {
    let Some(library) = on_onednn() else { return };
    let mut table = String::new();
    for (signature, constants, node) in REFUSED {
        let text =
            format!("<ir_version: 10, opset_import: [\"\": 20]>\ng ({signature}) <{constants}> {{ {node} }}");
        let (_folder, model) = written(&text.replace("<>", ""));
        let report = partition_report(&model, vec!["--plugin".into(), library.display().to_string()]);
        let reason = report.nodes.first().and_then(|node| node.reasons.first());
        let reason = reason.map_or("taken".into(), |reason| format!("{:?}: {}", reason.kind, reason.detail));
        let _ = writeln!(table, "{node}\n  {reason}");
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("onednn_refusals", table);
    });
}
