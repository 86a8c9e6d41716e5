//! Images in blocks of channels: what the pass makes of networks, and that results stay what they were.

mod common;

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::normalise::normalise;
use byoc_graph::{Datum, Model, Tensor};
use byoc_runtime::{NoRegions, Options, Program, prepare};

fn model(graph: &str) -> Model {
    let mut model = common::model(&format!("<ir_version: 8, opset_import: [\"\": 17]> g {graph}"));
    normalise(&mut model, &ReferenceEvaluator, &|_| true);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    model
}

fn prepared(model: &Model, blocked: bool) -> Model {
    let mut model = model.clone();
    prepare::prepare(&mut model, &|name| blocked || name != "blocked");
    model.graph.check();
    model
}

/// All outputs as one list of numbers, with every value's type checked on the way.
fn run(model: &Model, isa: Isa, inputs: &[Datum]) -> Vec<f64> {
    let (registry, pool) = (&Registry::default(), Arc::new(ThreadPool::new(2)));
    let options = Options { registry, regions: &NoRegions, pool, isa, check_types: true, together: true };
    let outputs = Program::build(model, &options).expect("builds").run_data(inputs).expect("runs");
    let numbers = |datum| match datum {
        Datum::Tensor(tensor) => tensor.to_f64s().expect("numbers"),
        other => panic!("{other:?}"),
    };
    outputs.into_iter().flat_map(numbers).collect()
}

fn count(model: &Model, op: &str) -> usize {
    let order = model.graph.model_order();
    order.iter().filter(|&&id| &*model.graph.node(id).op.name == op).count()
}

/// Weights of some dimensions, the same in every run, as ONNX text has them.
fn weights(name: &str, dims: &[usize]) -> String {
    let count = dims.iter().product::<usize>();
    let number = |i: usize| format!("{:.3}", ((i * 7919 + name.len() * 31 + 13) % 199) as f32 / 1000.0 - 0.1);
    let numbers = (0..count).map(number).collect::<Vec<_>>().join(", ");
    let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    format!("float[{dims}] {name} = {{{numbers}}}")
}

fn waves(dims: &[usize]) -> Datum {
    let count = dims.iter().product::<usize>();
    let elements = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Datum::Tensor(Tensor::from_vec::<f32>(dims, elements).expect("sized"))
}

/// Checks results with the pass against those without, on every instruction set, and counts operators.
fn check(graph: &str, input: &[usize], expected: &[(&str, usize)]) {
    let model = model(graph);
    let (plain, blocked) = (prepared(&model, false), prepared(&model, true));
    for &(op, times) in expected {
        assert_eq!(count(&blocked, op), times, "{op} in {graph:.200}");
    }
    let inputs = [waves(input)];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
        let (want, got) = (run(&plain, isa, &inputs), run(&blocked, isa, &inputs));
        assert_eq!(got.len(), want.len());
        let largest = want.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!((got - want).abs() <= 2e-5 * largest, "{isa:?}: element {i} is {got}, not {want}");
        }
    }
}

#[test]
fn a_chain_stays_in_blocks() {
    let graph = format!(
        "(float[2, 3, 20, 18] x) => (float[] y)
         <{}, {}, {}, {}, {}, {}, {}, {}> {{
            stem = Conv <pads = [1, 1, 1, 1]> (x, a)
            stem_r = Relu(stem)
            wide = Conv <pads = [1, 1, 1, 1]> (stem_r, b, bias)
            wide_r = LeakyRelu <alpha = 0.1> (wide)
            pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (wide_r)
            apart = Conv <group = 48, pads = [1, 1, 1, 1]> (pooled, d)
            back = Conv(apart, e)
            sum = Add(back, pooled)
            mean = GlobalAveragePool(sum)
            gate = Conv(mean, f)
            open = Sigmoid(gate)
            scaled = Mul(sum, open)
            up = ConvTranspose <strides = [2, 2]> (scaled, g)
            both = Concat <axis = 1> (up, wide_r)
            y = Conv(both, h)
         }}",
        weights("a", &[32, 3, 3, 3]),
        weights("b", &[48, 32, 3, 3]),
        weights("bias", &[48]),
        weights("d", &[48, 1, 3, 3]),
        weights("e", &[48, 48, 1, 1]),
        weights("f", &[48, 48, 1, 1]),
        weights("g", &[48, 32, 2, 2]),
        weights("h", &[5, 80, 1, 1]),
    );
    let expected = [
        ("Conv", 0),
        ("BlockedConv", 6),
        ("BlockedMaxPool", 1),
        ("BlockedGlobalAveragePool", 1),
        ("BlockedConvTranspose", 1),
        ("ToBlocked", 0),
        ("FromBlocked", 1),
    ];
    check(&graph, &[2, 3, 20, 18], &expected);
}

#[test]
fn what_others_want_is_given_back_once() {
    let graph = format!(
        "(float[1, 84, 14, 15] x) => (float[] y, float[] middle, float[] flat)
         <{}, {}, float[72] s = {{{scale}}}, float[72] t = {{{shift}}}> {{
            a = Conv <pads = [1, 1, 1, 1]> (x, v)
            middle = Relu(a)
            n = BatchNormalization(middle, s, t, t, s)
            b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (n, w)
            y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (b)
            flat = Flatten(middle)
         }}",
        weights("v", &[72, 84, 3, 3]),
        weights("w", &[40, 72, 3, 3]),
        scale = vec!["1.5"; 72].join(", "),
        shift = vec!["0.25"; 72].join(", "),
    );
    check(&graph, &[1, 84, 14, 15], &[("BlockedConv", 3), ("ToBlocked", 1), ("FromBlocked", 2)]);
}

#[test]
fn for_its_shape_alone_no_image_is_turned() {
    let graph = format!(
        "(float[N, 84, 14, 15] x) => (float[] y, int64[] shape, int64[] part)
         <{}> {{
            a = Conv <pads = [1, 1, 1, 1]> (x, v)
            middle = Relu(a)
            shape = Shape(middle)
            part = Shape <start = -4, end = 2> (middle)
            y = GlobalAveragePool(middle)
         }}",
        weights("v", &[72, 84, 3, 3]),
    );
    let expected = [("BlockedShape", 2), ("Shape", 0), ("ToBlocked", 1), ("FromBlocked", 1)];
    check(&graph, &[3, 84, 14, 15], &expected);
}

#[test]
fn images_are_resized_in_blocks() {
    for (attributes, scale) in [
        (
            "mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"",
            "2, 2",
        ),
        ("mode = \"linear\", coordinate_transformation_mode = \"align_corners\"", "1.5, 2"),
        ("mode = \"cubic\"", "2, 0.5"),
    ] {
        let graph = format!(
            "(float[2, 24, 20, 20] x) => (float[] y)
             <{}, {}, float[4] scales = {{1, 1, {scale}}}> {{
                a = Conv <pads = [1, 1, 1, 1]> (x, v)
                up = Resize <{attributes}> (a, , scales)
                y = Conv <pads = [1, 1, 1, 1]> (up, w)
             }}",
            weights("v", &[40, 24, 3, 3]),
            weights("w", &[16, 40, 3, 3]),
        );
        let expected = [("BlockedConv", 2), ("BlockedResize", 1), ("ToBlocked", 1), ("FromBlocked", 1)];
        check(&graph, &[2, 24, 20, 20], &expected);
    }
}

#[test]
fn what_is_expanded_goes_straight_into_the_depthwise_convolution() {
    let graph = |size: usize, also: &str| {
        format!(
            "(float[2, 24, {size}, {size}] x) => (float[] y{also})
             <{}, {}, {}, {}, {}, float low = {{0}}, float high = {{6}}> {{
                expanded = Conv(x, a, b)
                between = Clip(expanded, low, high)
                apart = Conv <group = 384, pads = [1, 1, 1, 1], strides = [2, 2]> (between, d)
                r = Relu(apart)
                y = Conv(r, e, f)
             }}",
            weights("a", &[384, 24, 1, 1]),
            weights("b", &[384]),
            weights("d", &[384, 1, 3, 3]),
            weights("e", &[24, 384, 1, 1]),
            weights("f", &[24]),
        )
    };
    let joined = [("BlockedExpandDepthwise", 1), ("BlockedConv", 1), ("Clip", 0)];
    check(&graph(40, ""), &[2, 24, 40, 40], &joined);
    // What is small stays in the cache as it is, and what others want must be there.
    let apart = [("BlockedExpandDepthwise", 0), ("BlockedConv", 3)];
    check(&graph(8, ""), &[2, 24, 8, 8], &apart);
    check(&graph(40, ", float[] between"), &[2, 24, 40, 40], &apart[..1]);
}

#[test]
fn what_is_pooled_by_two_is_written_so() {
    let graph = |size: usize, slope: f32, pool: &str, seen: bool| {
        let (output, also) = if seen { (", float[] z", "z = GlobalAveragePool(b)") } else { ("", "") };
        format!(
            "(float[2, 3, {size}, {size}] x) => (float[] y{output})
             <{}, {}, {}> {{
                a = Conv <pads = [1, 1, 1, 1]> (x, u)
                b = LeakyRelu <alpha = {slope}> (a)
                {also}
                between = MaxPool <kernel_shape = [2, 2], {pool}> (b)
                c = Conv <pads = [1, 1, 1, 1]> (between, v)
                d = Relu(c)
                e = MaxPool <kernel_shape = [2, 2], {pool}> (d)
                y = Conv(e, w)
             }}",
            weights("u", &[24, 3, 3, 3]),
            weights("v", &[40, 24, 3, 3]),
            weights("w", &[16, 40, 1, 1]),
        )
    };
    let count = |pools: usize| [("BlockedConv", 3), ("BlockedMaxPool", pools)];
    let halving = "strides = [2, 2]";
    check(&graph(96, 0.125, halving, false), &[2, 3, 96, 96], &count(0));
    check(&graph(95, 0.125, halving, false), &[2, 3, 95, 95], &count(0));
    // What is small stays as it is, and so does what others see before it is pooled, whose largest does not stay the
    // largest, or whose windows overlap.
    check(&graph(20, 0.125, halving, false), &[2, 3, 20, 20], &count(2));
    check(&graph(96, 0.125, halving, true), &[2, 3, 96, 96], &count(1));
    check(&graph(96, -0.5, halving, false), &[2, 3, 96, 96], &count(1));
    check(&graph(96, 0.125, "strides = [1, 1]", false), &[2, 3, 96, 96], &count(2));
    check(&graph(95, 0.125, "strides = [2, 2], ceil_mode = 1", false), &[2, 3, 95, 95], &count(2));
}

#[test]
fn what_does_not_pay_or_fit_stays() {
    // So little arithmetic is not worth turning the image.
    let little = format!(
        "(float[1, 16, 20, 20] x) => (float[] y) <{}> {{ y = Conv(x, w) }}",
        weights("w", &[16, 16, 1, 1])
    );
    check(&little, &[1, 16, 20, 20], &[("BlockedConv", 0), ("ToBlocked", 0)]);
}

#[test]
fn channels_are_dealt_out_anew_in_blocks() {
    // Neither the groups nor the images that are joined end where blocks do.
    let graph = format!(
        "(float[2, 24, 12, 11] x) => (float[] y)
         <{}, {}, {}, {}, int64[5] split = {{0, 4, 17, 12, 11}}, int64[4] join = {{0, 68, 12, 11}}> {{
            a = Conv <group = 4> (x, u)
            r = Relu(a)
            s = Reshape(r, split)
            t = Transpose <perm = [0, 2, 1, 3, 4]> (s)
            dealt = Reshape(t, join)
            b = Conv <group = 68, pads = [1, 1, 1, 1]> (dealt, v)
            c = Conv <group = 4, pads = [1, 1, 1, 1]> (b, w)
            d = Concat <axis = 1> (c, x, a)
            y = Conv <group = 2> (d, z)
         }}",
        weights("u", &[68, 6, 1, 1]),
        weights("v", &[68, 1, 3, 3]),
        weights("w", &[116, 17, 3, 3]),
        weights("z", &[50, 104, 1, 1]),
    );
    let expected = [
        ("BlockedConv", 4),
        ("BlockedPickChannels", 2),
        ("Transpose", 0),
        ("ToBlocked", 1),
        ("FromBlocked", 1),
    ];
    check(&graph, &[2, 24, 12, 11], &expected);
}

#[test]
fn channels_are_dealt_out_anew_elsewhere() {
    let graph =
        "(float[2, 6, 3, 2] x) => (float[] y) <int64[5] a = {2, 2, 3, 3, 2}, int64[4] b = {2, 6, 3, 2}> {
        s = Reshape(x, a)
        t = Transpose <perm = [0, 2, 1, 3, 4]> (s)
        y = Reshape(t, b)
    }";
    let model = model(graph);
    let shuffled = prepared(&model, true);
    assert_eq!((count(&shuffled, "PickChannels"), count(&shuffled, "Reshape")), (1, 0));
    let x = Tensor::from_vec::<f32>(&[2, 6, 3, 2], (0..72).map(|i| i as f32).collect()).expect("sized");
    let y = run(&shuffled, Isa::detect(), &[Datum::Tensor(x)]);
    let planes: Vec<_> = y.chunks_exact(6).map(|plane| plane[0] / 6.0).collect();
    assert_eq!(planes, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
}

/// It has no places behind its channels, nor channels.
#[test]
fn a_normalisation_of_a_vector_is_no_image() {
    let graph = "(float[3] x) => (float[3] y) <float[1] s = {2}, float[1] t = {0.5}> {
        y = BatchNormalization(x, s, t, t, s)
    }";
    prepared(&model(graph), true);
}

#[test]
fn channels_are_cut_by_blocks() {
    let graph = format!(
        "(float[1, 3, 16, 16] x) => (float[] y, float[] z)
         <{}, {}, {}, {}, int64[2] parts = {{32, 24}}, int64[1] one = {{1}}, int64[1] low = {{-24}}, int64[1] high = {{60}}> {{
            a = Conv (x, w1)
            b = Relu (a)
            c, d = Split <axis = 1> (b, parts)
            e = Conv <pads = [1, 1, 1, 1]> (c, w2)
            f = Concat <axis = 1> (c, e, d)
            y = Conv <pads = [1, 1, 1, 1]> (f, w3)
            g = Slice (b, low, high, one)
            z = Conv (g, w4)
        }}",
        weights("w1", &[56, 3, 3, 3]),
        weights("w2", &[32, 32, 3, 3]),
        weights("w3", &[32, 88, 3, 3]),
        weights("w4", &[32, 24, 1, 1]),
    );
    check(&graph, &[1, 3, 16, 16], &[("ToBlocked", 0), ("FromBlocked", 2), ("Split", 1), ("Slice", 1)]);
    // The parts end within a block.
    let graph = format!(
        "(float[1, 3, 16, 16] x) => (float[] y) <{}, {}, {}, int64[2] parts = {{24, 32}}> {{
            a = Conv (x, w1)
            c, d = Split <axis = 1> (a, parts)
            e = Conv <pads = [1, 1, 1, 1]> (d, w2)
            y = Conv <pads = [1, 1, 1, 1]> (e, w3)
        }}",
        weights("w1", &[56, 3, 3, 3]),
        weights("w2", &[64, 32, 3, 3]),
        weights("w3", &[64, 64, 3, 3]),
    );
    check(&graph, &[1, 3, 16, 16], &[("FromBlocked", 1), ("ToBlocked", 1), ("Split", 1)]);
}
