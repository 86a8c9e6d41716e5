//! Steps that run at once: which do, that they compute what they compute one after the other, and how they fail.

mod common;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Observed, Observer, Registry};
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Datum, Model, Tensor};
use byoc_runtime::{NoRegions, Options, Program, View};
use common::model;
use proptest::prelude::*;

const SIDE: usize = 64;

/// A graph of square matrices.
fn square(inputs: &str, outputs: &[String], nodes: &str) -> Model {
    let typed = |names: &[String]| {
        names.iter().map(|name| format!("float[{SIDE}, {SIDE}] {name}")).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "<ir_version: 8, opset_import: [\"\": 17]> g ({}{inputs}) => ({})
         <int64[2] flat = {{1, -1}}, int64[2] square = {{{SIDE}, {SIDE}}}, int64[1] from = {{{SIDE}}}, int64[1] to = {{{}}}> {{
         {nodes} }}",
        typed(&["x".into()]),
        typed(outputs),
        2 * SIDE,
    );
    let mut model = model(&text);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    model
}

fn build(model: &Model, registry: &Registry, threads: usize, together: bool) -> Program {
    let (pool, isa) = (Arc::new(ThreadPool::new(threads)), Isa::detect());
    Program::build(model, &Options { registry, regions: &NoRegions, pool, isa, check_types: true, together })
        .expect("builds")
}

fn x() -> Datum {
    let values = (0..SIDE * SIDE).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<f32>>();
    Datum::Tensor(Tensor::from_vec(&[SIDE, SIDE], values).expect("sized"))
}

fn i64s(values: &[i64]) -> Datum {
    Datum::Tensor(Tensor::from_vec(&[values.len()], values.to_vec()).expect("sized"))
}

/// Bits of all elements.
fn bits_of(data: Vec<Datum>) -> Vec<Vec<u32>> {
    let bits = |datum: Datum| {
        let tensor = View::of(&datum).tensor().expect("a tensor");
        tensor.bytes().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four"))).collect()
    };
    data.into_iter().map(bits).collect()
}

/// The same with one NaN for all: which of two an operation passes on is up to the compiler, in place or not.
fn with_one_nan(all: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let one = |&bits: &u32| if f32::from_bits(bits).is_nan() { f32::NAN.to_bits() } else { bits };
    all.iter().map(|bits| bits.iter().map(one).collect()).collect()
}

fn ops(program: &Program) -> Vec<String> {
    program.steps().map(|step| step.op.to_string()).collect()
}

#[test]
fn steps_on_one_thread_that_do_not_need_each_other_are_one_step() {
    let nodes = "a = Softmax(x)  b = Neg(a)  c = Softmax <axis = 0> (x)  d = Abs(c)  y = Add(b, d)";
    let model = square("", &["y".into()], nodes);
    let program = build(&model, &Registry::reference(), 2, true);
    assert_eq!(ops(&program), ["Softmax + Softmax", "Neg + Abs", "Add"]);
    let alone = ["Softmax", "Neg", "Softmax", "Abs", "Add"];
    assert_eq!(ops(&build(&model, &Registry::reference(), 1, true)), ops(&program));
    assert_eq!(ops(&build(&model, &Registry::reference(), 2, false)), alone);
}

#[test]
fn what_fills_the_cores_or_takes_no_time_is_a_step_of_its_own() {
    let wide = "<ir_version: 8, opset_import: [\"\": 17]>
        g (float[512, 512] x) => (float[512, 512] a, float[512, 512] b) { a = MatMul(x, x)  b = Add(x, x) }";
    assert_eq!(ops(&build(&model(wide), &Registry::default(), 2, true)), ["MatMul", "Add"]);
    let tiny = wide.replace("512", "4");
    assert_eq!(ops(&build(&model(&tiny), &Registry::reference(), 2, true)), ["MatMul", "Add"]);
    let small = wide.replace("512", "64");
    assert_eq!(ops(&build(&model(&small), &Registry::default(), 2, true)), ["MatMul", "Add"]);
    let products = small.replace("Add", "MatMul");
    assert_eq!(ops(&build(&model(&products), &Registry::default(), 2, true)), ["MatMul + MatMul"]);
}

/// What is told of steps.
#[derive(Default)]
struct Told(Mutex<Vec<(String, Duration, Option<u64>)>>);

impl Observer for Told {
    fn step(&self, step: &Observed<'_>) {
        self.0.lock().unwrap().push((step.op.to_owned(), step.elapsed, step.work.bytes));
    }
}

#[test]
fn each_is_observed_with_its_share_of_the_time() {
    let nodes = "a = Softmax(x)  b = MatMul(x, x)  y = Add(a, b)";
    let program = build(&square("", &["y".into()], nodes), &Registry::reference(), 2, true);
    assert_eq!(ops(&program), ["Softmax + MatMul", "Add"]);
    let (x, told) = (x(), Told::default());
    let start = Instant::now();
    program.run_observed(&[Some(View::of(&x))], &mut [], Some(&told)).unwrap();
    let took = start.elapsed();
    let told = told.0.into_inner().unwrap();
    let matrix = (4 * SIDE * SIDE) as u64;
    let seen: Vec<_> = told.iter().map(|(op, _, bytes)| (op.as_str(), *bytes)).collect();
    assert_eq!(
        seen,
        [("Softmax", Some(2 * matrix)), ("MatMul", Some(3 * matrix)), ("Add", Some(3 * matrix))]
    );
    assert!(told.iter().map(|(_, time, _)| *time).sum::<Duration>() <= took);
}

#[test]
fn the_first_that_fails_is_told_of_and_the_program_stays_usable() {
    let nodes = "a = Gather(x, i)  b = Gather <axis = 1> (x, j)  y = MatMul(b, a)";
    let model = square(&format!(", int64[{SIDE}] i, int64[{SIDE}] j"), &["y".into()], nodes);
    for threads in [1, 2] {
        let program = build(&model, &Registry::reference(), threads, true);
        let good = i64s(&(0..SIDE as i64).collect::<Vec<_>>());
        let bad = i64s(&[1000; SIDE]);
        let run = |i: &Datum, j: &Datum| {
            let x = x();
            let made = program.run(&[Some(View::of(&x)), Some(View::of(i)), Some(View::of(j))]);
            made.map(bits_of).map_err(|error| error.to_string())
        };
        let expected = run(&good, &good).unwrap();
        let (first, second) = (run(&bad, &good).unwrap_err(), run(&good, &bad).unwrap_err());
        assert_ne!(first, second);
        assert!(
            first.starts_with("Gather node `a`") && second.starts_with("Gather node `b`"),
            "{first}, {second}"
        );
        assert_eq!(run(&bad, &bad).unwrap_err(), first);
        assert_eq!(run(&good, &good).unwrap(), expected);
    }
}

#[test]
fn what_waits_for_its_use_does_not_pile_up() {
    let mut nodes = String::from("y0 = Abs(x) ");
    for i in 0..100 {
        write!(nodes, "a{i} = Softmax(x)  b{i} = Neg(a{i})  y{} = Add(y{i}, b{i}) ", i + 1).unwrap();
    }
    let model = square("", &["y100".into()], &nodes);
    let (one, several) =
        (build(&model, &Registry::reference(), 2, false), build(&model, &Registry::reference(), 2, true));
    assert!(several.steps().count() < one.steps().count());
    let x = x();
    let arena = |program: &Program| program.arena_bytes(&[Some(View::of(&x))]).unwrap();
    let (before, after) = (arena(&one), arena(&several));
    assert!(after <= before + before / 4 + 256 * 1024, "{before} bytes have become {after}");
    assert_eq!(
        bits_of(one.run(&[Some(View::of(&x))]).unwrap()),
        bits_of(several.run(&[Some(View::of(&x))]).unwrap())
    );
}

/// An operator and which earlier values it takes.
fn node() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..FORMS.len(), 0usize..6, 0usize..6)
}

/// `A` and `B` stand for inputs, `Y` for what is made.
const FORMS: [&str; 12] = [
    "Y = Neg(A)",
    "Y = Tanh(A)",
    "Y = Softmax(A)",
    "Y = Sigmoid(A)",
    "Y = Add(A, B)",
    "Y = Mul(A, B)",
    "Y = MatMul(A, B)",
    "Y = Transpose <perm = [1, 0]> (A)",
    "Y = Tanh(B)",
    "Y_f = Reshape(A, flat)  Y_n = Neg(Y_f)  Y = Reshape(Y_n, square)",
    "Y_c = Concat <axis = 0> (A, B)  Y = Slice(Y_c, from, to)",
    // How many there are is known when it has run.
    "Y_o = Greater(A, B)  Y_z = NonZero(Y_o)  Y_t = Cast <to = 1> (Y_z)  Y_s = ReduceMean <keepdims = 0> (Y_t)  Y = Add(A, Y_s)",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn results_are_those_of_one_after_the_other(all in proptest::collection::vec(node(), 2..40), fast: bool) {
        let (mut nodes, mut values, mut used) = (String::new(), vec!["x".to_owned()], vec!["x".to_owned()]);
        for (i, (form, a, b)) in all.into_iter().enumerate() {
            let pick = |back: usize| values[values.len().saturating_sub(1 + back)].clone();
            let (a, b, y) = (pick(a), pick(b), format!("v{i}"));
            let form = FORMS[form];
            used.extend([("A", &a), ("B", &b)].into_iter().filter(|(of, _)| form.contains(of)).map(|(_, v)| v.clone()));
            writeln!(nodes, "{}", form.replace('Y', &y).replace("(A", &format!("({a}")).replace("B)", &format!("{b})")).replace(", A", &format!(", {a}"))).unwrap();
            values.push(y);
        }
        let outputs: Vec<String> = values.into_iter().filter(|value| !used.contains(value)).collect();
        let model = square("", &outputs, &nodes);
        let registry = if fast { Registry::default() } else { Registry::reference() };
        let x = x();
        let mut expected: [Option<Vec<Vec<u32>>>; 2] = [None, None];
        for (threads, together) in [(1, true), (2, false), (2, true), (4, true)] {
            let program = build(&model, &registry, threads, together);
            for _ in 0..3 {
                let made = bits_of(program.run(&[Some(View::of(&x))]).unwrap());
                let first = expected[usize::from(together)].get_or_insert_with(|| made.clone());
                prop_assert!(*first == made, "{} threads, together: {}\n{}", threads, together, nodes);
            }
        }
        let [alone, together] = expected.map(|made| with_one_nan(&made.unwrap()));
        prop_assert!(alone == together, "{}", nodes);
    }
}
