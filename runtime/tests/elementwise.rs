//! What is computed element by element on integers, and functions with polynomials, against the reference kernels on
//! every instruction set of this machine.

mod common;

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{DType, Datum, Tensor};
use byoc_runtime::{NoRegions, Options, Program};

/// The names of integer types in ONNX text, and what they are.
const INTEGERS: [(&str, DType); 8] = [
    ("int8", DType::I8),
    ("int16", DType::I16),
    ("int32", DType::I32),
    ("int64", DType::I64),
    ("uint8", DType::U8),
    ("uint16", DType::U16),
    ("uint32", DType::U32),
    ("uint64", DType::U64),
];

/// Dimensions of two operands: alike, spread either way, none, and more than one block.
const SHAPES: [[&[usize]; 2]; 9] = [
    [&[], &[]],
    [&[7], &[7]],
    [&[5, 7], &[]],
    [&[], &[5, 7]],
    [&[3, 1, 17], &[5, 1]],
    [&[0, 3], &[3]],
    [&[1], &[1000]],
    [&[3, 129], &[3, 1]],
    [&[50, 700], &[50, 700]],
];

/// All bits at random, with the ends of the range and small numbers among them.
fn integers(dtype: DType, dims: &[usize], salt: u64) -> Tensor {
    let (width, count) = (dtype.bits() / 8, dims.iter().product::<usize>());
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(width * count);
    for i in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number: u64 = match i % 5 {
            0 => [0, 1, u64::MAX, 1 << (dtype.bits() - 1), (1 << (dtype.bits() - 1)) - 1, 3][i / 5 % 6],
            1 => state >> 58,
            _ => state >> (64 - dtype.bits()).min(7),
        };
        bytes.extend_from_slice(&number.to_le_bytes()[..width]);
    }
    Tensor::from_bytes(dtype, dims, bytes.into()).expect("sized")
}

/// The same without zeros.
fn divisors(dtype: DType, dims: &[usize], salt: u64) -> Tensor {
    let tensor = integers(dtype, dims, salt);
    let width = dtype.bits() / 8;
    let mut bytes = tensor.bytes().to_vec();
    for element in bytes.chunks_mut(width) {
        if element.iter().all(|&byte| byte == 0) {
            element[0] = 7;
        }
    }
    Tensor::from_bytes(dtype, dims, bytes.into()).expect("sized")
}

fn program(text: &str, registry: &Registry, isa: Isa) -> Program {
    let mut model = common::model(text);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    let pool = Arc::new(ThreadPool::new(2));
    let options = Options { registry, regions: &NoRegions, pool, isa, together: true, check_types: true };
    let program = Program::build(&model, &options).unwrap_or_else(|error| panic!("{error}: {text}"));
    let is_fast = program.steps().all(|step| &*step.by != "reference");
    assert_eq!(is_fast, !registry.entries("", "Add").is_empty(), "{text}");
    program
}

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_supported())
}

/// Runs one node on these tensors.
fn check(
    types: &[&str],
    result: &str,
    node: &str,
    inputs: &[Tensor],
    agree: impl Fn(&Tensor, &Tensor, &str),
) {
    let shape = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let names = ["a", "b", "c"];
    let given: Vec<String> = (0..inputs.len())
        .map(|i| match inputs[i].dims() {
            [] => format!("{} {}", types[i], names[i]),
            dims => format!("{}[{}] {}", types[i], shape(dims), names[i]),
        })
        .collect();
    let text = format!(
        "<ir_version: 10, opset_import: [\"\": 22]> g ({}) => ({result}[] y) {{ y = {node} }}",
        given.join(", ")
    );
    let data: Vec<Datum> = inputs.iter().cloned().map(Datum::Tensor).collect();
    let reference = program(&text, &Registry::reference(), Isa::Portable);
    let want = reference.run_data(&data).unwrap_or_else(|error| panic!("{error}: {text}"));
    for isa in isas() {
        let got = program(&text, &Registry::default(), isa).run_data(&data);
        let got = got.unwrap_or_else(|error| panic!("{error}: {text}"));
        let (Datum::Tensor(got), Datum::Tensor(want)) = (&got[0], &want[0]) else { panic!("tensors") };
        assert_eq!((got.dtype(), got.dims()), (want.dtype(), want.dims()), "{isa:?}: {text}");
        agree(got, want, &format!("{isa:?}: {text}"));
    }
}

fn same(got: &Tensor, want: &Tensor, what: &str) {
    assert!(got == want, "{what}");
}

#[test]
fn integers_of_any_width_are_computed_as_the_reference_does() {
    for (i, (name, dtype)) in INTEGERS.into_iter().enumerate() {
        for (s, shapes) in SHAPES.into_iter().enumerate() {
            let salt = (i * 100 + s) as u64;
            let both = [integers(dtype, shapes[0], salt), integers(dtype, shapes[1], salt + 50)];
            for op in ["Add", "Sub", "Mul", "Min", "Max", "BitwiseAnd", "BitwiseOr", "BitwiseXor"] {
                check(&[name, name], name, &format!("{op}(a, b)"), &both, same);
            }
            for op in ["Less", "Equal", "GreaterOrEqual"] {
                check(&[name, name], "bool", &format!("{op}(a, b)"), &both, same);
            }
            if !dtype.is_signed() {
                for direction in ["LEFT", "RIGHT"] {
                    check(
                        &[name, name],
                        name,
                        &format!("BitShift <direction = \"{direction}\"> (a, b)"),
                        &both,
                        same,
                    );
                }
            }
            let apart = [both[0].clone(), divisors(dtype, shapes[1], salt + 50)];
            for op in ["Div(a, b)", "Mod(a, b)", "Mod <fmod = 1> (a, b)"] {
                check(&[name, name], name, op, &apart, same);
            }
            let ops =
                if dtype.is_signed() { &["Abs", "Neg", "Sign", "BitwiseNot"][..] } else { &["BitwiseNot"] };
            for op in ops {
                check(&[name], name, &format!("{op}(a)"), &both[..1], same);
            }
        }
    }
}

#[test]
fn a_division_by_zero_is_an_error_and_none_is_none() {
    for node in ["Div(a, b)", "Mod(a, b)"] {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 22]> g (int32[N] a, int32[N] b) => (int32[] y) {{ y = {node} }}"
        );
        let program = program(&text, &Registry::default(), Isa::detect());
        let of = |values: &[i32]| {
            Datum::Tensor(Tensor::from_vec(&[values.len()], values.to_vec()).expect("sized"))
        };
        assert!(program.run_data(&[of(&[1, 2]), of(&[1, 0])]).is_err());
        assert_eq!(program.run_data(&[of(&[]), of(&[])]).expect("nothing to divide"), [of(&[])]);
    }
}

fn floats(dims: &[usize], low: f32, high: f32) -> Tensor {
    let count = dims.iter().product::<usize>();
    let at = |i: usize| low + (high - low) * i as f32 / count.max(2) as f32;
    Tensor::from_vec(dims, (0..count).map(at).collect::<Vec<f32>>()).expect("sized")
}

/// Within a few units of the last place, or of numbers near one.
fn close(got: &Tensor, want: &Tensor, what: &str) {
    for (a, b) in got.to_f64s().expect("numbers").iter().zip(want.to_f64s().expect("numbers")) {
        let fits = (a - b).abs() <= 1.2e-6 * b.abs() + 1e-37 || *a == b || a.is_nan() && b.is_nan();
        assert!(fits, "{what}: {a} and {b}");
    }
}

#[test]
fn functions_are_exact_over_their_whole_range() {
    const ALL: &[[f32; 2]] = &[[-1e-3, 1e-3], [-3.0, 3.0], [-90.0, 90.0]];
    let cases: &[(&str, &[[f32; 2]])] = &[
        ("Acos", &[[-1.0, 0.98]]),
        ("Asin", &[[-1.0, 1.0], [-1e-3, 1e-3]]),
        ("Atan", &[[-1e-3, 1e-3], [-3.0, 3.0], [-1e6, 1e6]]),
        ("Sinh", ALL),
        ("Cosh", ALL),
        ("Asinh", &[[-1e-3, 1e-3], [-3.0, 3.0], [-1e30, 1e30]]),
        ("Acosh", &[[1.0, 1.1], [1.0, 100.0], [1.0, 1e30]]),
        ("Atanh", &[[-1e-3, 1e-3], [-0.999, 0.999]]),
        ("Tan", &[[-1e-3, 1e-3], [-1.5, 1.5]]),
    ];
    let odd =
        [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3e38, -3e38];
    let odd = Tensor::from_vec(&[odd.len()], odd.to_vec()).expect("sized");
    for (op, ranges) in cases {
        for [low, high] in *ranges {
            for dims in [&[][..], &[0], &[1], &[7], &[3, 4001], &[40_000]] {
                check(&["float"], "float", &format!("{op}(a)"), &[floats(dims, *low, *high)], close);
            }
        }
        check(&["float"], "float", &format!("{op}(a)"), std::slice::from_ref(&odd), close);
    }
    // Near its poles what a tangent is hangs on the last bits of the angle.
    let near = |got: &Tensor, want: &Tensor, what: &str| {
        for (a, b) in got.to_f64s().expect("numbers").iter().zip(want.to_f64s().expect("numbers")) {
            assert!((a - b).abs() <= 2e-6 * (1.0 + b * b), "{what}: {a} and {b}");
        }
    };
    check(&["float"], "float", "Tan(a)", &[floats(&[10_007], -1000.0, 1000.0)], near);
    check(&["float"], "float", "Tan(a)", &[floats(&[10_007], -1e5, 1e5)], near);
    for op in ["IsNaN(a)", "IsInf(a)", "IsInf <detect_negative = 0> (a)", "IsInf <detect_positive = 0> (a)"] {
        check(&["float"], "bool", op, std::slice::from_ref(&odd), same);
    }
    check(
        &["float", "float"],
        "float",
        "Mod <fmod = 1> (a, b)",
        &[floats(&[5, 70], -9.0, 9.0), floats(&[70], 1.0, 3.0)],
        same,
    );
}

#[test]
fn means_and_largest_elements() {
    let three = [floats(&[5, 1, 70], -3.0, 5.0), floats(&[3, 1], -1.0, 1.0), floats(&[], 2.0, 3.0)];
    let near = |got: &Tensor, want: &Tensor, what: &str| {
        for (a, b) in got.to_f64s().expect("numbers").iter().zip(want.to_f64s().expect("numbers")) {
            assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{what}: {a} and {b}");
        }
    };
    check(&["float"; 3], "float", "Mean(a, b, c)", &three, near);
    check(&["float"], "float", "Mean(a)", &three[..1], near);
    let mut x: Vec<f32> = (0..5 * 131).map(|i| ((i * 7919 + 3) % 61) as f32).collect();
    x[7] = f32::NAN;
    x[131] = f32::NAN;
    x[2 * 131..3 * 131].fill(f32::NEG_INFINITY);
    let x = Tensor::from_vec(&[5, 131], x).expect("sized");
    check(&["float"], "float", "Hardmax(a)", &[x], same);
    for dims in [&[3][..], &[4, 1], &[0, 5], &[2, 3, 64]] {
        check(&["float"], "float", "Hardmax(a)", &[floats(dims, -1.0, 1.0)], same);
    }
}

#[test]
fn transforms_agree_with_their_definition() {
    // Sums of that many terms, in f32.
    let near = |got: &Tensor, want: &Tensor, what: &str| {
        let want = want.to_f64s().expect("numbers");
        let most = want.iter().fold(1.0f64, |most, x| most.max(x.abs()));
        for (a, b) in got.to_f64s().expect("numbers").iter().zip(want) {
            assert!((a - b).abs() <= 2e-6 * most, "{what}: {a} and {b}");
        }
    };
    for dims in [&[3, 64, 1][..], &[2, 37, 2], &[1, 1, 1], &[2, 12, 5, 2], &[0, 8, 1]] {
        for attrs in ["", "<onesided = 1>", "<inverse = 1>"] {
            check(&["float"], "float", &format!("DFT {attrs} (a)"), &[floats(dims, -1.0, 2.0)], near);
        }
    }
    let axis = Tensor::from_vec(&[], vec![1i64]).expect("one");
    let length = Tensor::from_vec(&[], vec![20i64]).expect("one");
    let x = floats(&[2, 12, 5, 2], -1.0, 2.0);
    check(&["float", "int64", "int64"], "float", "DFT(a, b, c)", &[x, length, axis], near);
    let step = Tensor::from_vec(&[], vec![7i64]).expect("one");
    for window in [16, 15] {
        let inputs = [floats(&[2, 100, 1], -1.0, 2.0), step.clone(), floats(&[window], 0.1, 1.0)];
        check(&["float", "int64", "float"], "float", "STFT(a, b, c)", &inputs, near);
    }
    let frame = Tensor::from_vec(&[], vec![18i64]).expect("one");
    let inputs = [floats(&[2, 100], -1.0, 2.0), step, frame];
    check(&["float", "int64", "int64"], "float", "STFT <onesided = 0> (a, b, , c)", &inputs, near);
}

#[test]
fn columns_and_integer_convolutions() {
    let near = |got: &Tensor, want: &Tensor, what: &str| {
        for (a, b) in got.to_f64s().expect("numbers").iter().zip(want.to_f64s().expect("numbers")) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{what}: {a} and {b}");
        }
    };
    for (attrs, places) in
        [("", 12), ("pads = [1, 0, 2, 1], strides = [2, 1]", 15), ("dilations = [2, 2]", 2)]
    {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\": 22]> g (float[2, 18, {places}] a) => (float[] y)
             <int64[2] i = {{5, 6}}, int64[2] b = {{3, 3}}> {{ y = Col2Im <{attrs}> (a, i, b) }}"
        );
        let data = [Datum::Tensor(floats(&[2, 18, places], -1.0, 1.0))];
        let want = program(&text, &Registry::reference(), Isa::Portable).run_data(&data).expect(&text);
        for isa in isas() {
            let got = program(&text, &Registry::default(), isa).run_data(&data).expect(&text);
            let (Datum::Tensor(got), Datum::Tensor(want)) = (&got[0], &want[0]) else { panic!("tensors") };
            assert_eq!(got.dims(), want.dims());
            near(got, want, &text);
        }
    }
    let names = [("uint8", DType::U8), ("int8", DType::I8)];
    for (x_name, x) in names {
        for (w_name, w) in names {
            for (attrs, x_dims, w_dims) in [
                ("", &[1, 4, 9, 7][..], &[5, 4, 1, 1][..]),
                ("<pads = [1, 2, 0, 1], strides = [2, 1]>", &[2, 4, 9, 17], &[5, 4, 3, 3]),
                (
                    "<group = 2, dilations = [1, 2], strides = [1, 3], auto_pad = \"SAME_UPPER\">",
                    &[2, 6, 5, 19],
                    &[8, 3, 2, 3],
                ),
                ("<group = 3, pads = [2, 2]>", &[1, 3, 11], &[3, 1, 3]),
                ("<pads = [1, 1, 1, 1]>", &[1, 64, 40, 40], &[3, 64, 3, 3]),
                ("", &[0, 4, 9, 7], &[5, 4, 2, 2]),
            ] {
                let inputs = [integers(x, x_dims, 1), integers(w, w_dims, 2), integers(x, &[], 13)];
                let node = format!("ConvInteger {attrs} (a, b, c)");
                check(&[x_name, w_name, x_name], "int32", &node, &inputs, same);
                check(&[x_name, w_name], "int32", &format!("ConvInteger {attrs} (a, b)"), &inputs[..2], same);
            }
        }
    }
}
