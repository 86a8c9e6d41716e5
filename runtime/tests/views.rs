//! What a Slice, a Split or a Gather of one index takes lies where it was, and nothing else changes: against programs of
//! reference kernels, which copy.

mod common;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Observed, Observer, Registry};
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{DType, Datum, Tensor};
use byoc_runtime::{NoRegions, Options, OutputBuffer, Program, View};

fn build(text: &str, registry: &Registry) -> Program {
    let mut model = common::model(text);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    let pool = Arc::new(ThreadPool::new(2));
    let options = Options {
        registry,
        regions: &NoRegions,
        pool,
        isa: Isa::detect(),
        together: true,
        check_types: true,
    };
    Program::build(&model, &options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The same in every run.
fn numbers(dims: &[usize], salt: usize) -> Datum {
    let count = dims.iter().product::<usize>();
    let number = |i: usize| ((i * 7919 + salt * 104_729) % 1999) as f32 / 700.0 - 1.4;
    Datum::Tensor(Tensor::from_vec(dims, (0..count).map(number).collect::<Vec<f32>>()).expect("sized"))
}

/// Operators of the steps that had something to do.
#[derive(Default)]
struct Busy(Mutex<Vec<String>>);

impl Observer for Busy {
    fn step(&self, step: &Observed<'_>) {
        if step.work.bytes.is_some_and(|bytes| bytes > 0) {
            self.0.lock().unwrap().push(step.op.to_owned());
        }
    }
}

/// Runs a program that has to agree with its reference, and says which operators moved or computed something.
fn busy(text: &str, inputs: &[Datum]) -> Vec<String> {
    let program = build(text, &Registry::default());
    let want = build(text, &Registry::reference()).run_data(inputs).expect("runs");
    let views: Vec<_> = inputs.iter().map(|x| Some(View::of(x))).collect();
    let busy = Busy::default();
    let got = program.run_observed(&views, &mut [], Some(&busy)).expect("runs");
    assert_eq!(got, want, "{text}");
    assert_eq!(program.run(&views).expect("runs again"), want, "{text}");
    busy.0.into_inner().unwrap()
}

fn graph(head: &str, body: &str) -> String {
    format!("<ir_version: 10, opset_import: [\"\": 21]> g {head} {{ {body} }}")
}

#[test]
fn what_is_cut_along_the_first_axis_is_not_moved() {
    let x = || numbers(&[1, 64, 6, 8], 1);
    // Channels of one image, halves and quarters; whatever lies behind the axis is a multiple of 64 bytes.
    let split = graph(
        "(float[1, 64, 6, 8] x) => (float[] y, float[] z) <int64[3] s = {32, 16, 16}>",
        "r = Relu(x) a, b, c = Split <axis = 1> (r, s) d = Neg(a) e = Add(b, c) y = Neg(d) z = Abs(e)",
    );
    assert_eq!(busy(&split, &[x()]), ["Relu", "Neg", "Add", "Neg", "Abs"]);
    let even = graph(
        "(float[1, 64, 6, 8] x) => (float[] y)",
        "r = Relu(x) a, b = Split <axis = 1, num_outputs = 2> (r) y = Mul(a, b)",
    );
    assert_eq!(busy(&even, &[x()]), ["Relu", "Mul"]);
    // A row of a matrix, by Slice and by Gather, and reshaped.
    let rows = graph(
        "(float[6, 16] x) => (float[] y)
         <int64[1] from = {3}, int64[1] to = {4}, int64[1] ax = {0}, int64 i = {-2}, int64[1] t = {16}>",
        "r = Neg(x) a = Slice(r, from, to, ax) b = Gather(r, i) c = Reshape(a, t) y = Add(c, b)",
    );
    assert_eq!(busy(&rows, &[numbers(&[6, 16], 2)]), ["Neg", "Add"]);
    // A view of a view.
    let nested = graph(
        "(float[48, 16] x) => (float[] y)
         <int64[1] from = {8}, int64[1] to = {32}, int64[1] more = {16}, int64[1] end = {20}>",
        "r = Neg(x) a = Slice(r, from, to) b = Slice(a, more, end) y = Relu(b)",
    );
    assert_eq!(busy(&nested, &[numbers(&[48, 16], 3)]), ["Neg", "Relu"]);
}

#[test]
fn what_the_caller_lends_is_read_where_it_lies() {
    let text = graph(
        "(float[2, 1, 4, 24, 16] past) => (float[] y, float[] z) <int64 zero = {0}, int64 one = {1}>",
        "k = Gather(past, zero) v = Gather(past, one) a = Neg(k) b = Relu(a) c = Sub(v, b) y = Abs(c) z = Neg(v)",
    );
    assert_eq!(busy(&text, &[numbers(&[2, 1, 4, 24, 16], 4)]), ["Neg", "Relu", "Sub", "Abs", "Neg"]);
    // It is not written to.
    let mine = graph(
        "(float[4, 16] x) => (float[] y) <int64 one = {1}>",
        "a = Gather(x, one) b = Neg(a) c = Add(b, a) y = Neg(c)",
    );
    let x = numbers(&[4, 16], 5);
    assert_eq!(busy(&mine, std::slice::from_ref(&x)), ["Neg", "Add", "Neg"]);
    assert_eq!(x, numbers(&[4, 16], 5));
}

#[test]
fn what_is_no_stretch_is_copied() {
    let copies = |head: &str, body: &str, dims: &[usize]| {
        let busy = busy(&graph(head, body), &[numbers(dims, 6)]);
        busy.iter().filter(|op| ["Slice", "Split", "Gather"].contains(&op.as_str())).count()
    };
    let cut = "r = Neg(x) a = Slice(r, s, e, ax, st) y = Neg(a)";
    let head = |dims: &str, s: i64, e: i64, ax: i64, st: i64| {
        format!(
            "(float[{dims}] x) => (float[] y)
             <int64[1] s = {{{s}}}, int64[1] e = {{{e}}}, int64[1] ax = {{{ax}}}, int64[1] st = {{{st}}}>"
        )
    };
    assert_eq!(copies(&head("1, 8, 16", 2, 6, 1, 1), cut, &[1, 8, 16]), 0);
    // Steps, axes behind others, and what begins between two lines of the cache.
    assert_eq!(copies(&head("1, 8, 16", 2, 6, 1, 2), cut, &[1, 8, 16]), 1);
    assert_eq!(copies(&head("1, 8, 16", 6, 2, 1, -1), cut, &[1, 8, 16]), 1);
    assert_eq!(copies(&head("2, 8, 16", 2, 6, 1, 1), cut, &[2, 8, 16]), 1);
    assert_eq!(copies(&head("1, 8, 15", 2, 6, 1, 1), cut, &[1, 8, 15]), 1);
    // Whatever the axis before it has left of one.
    let two = "r = Neg(x) a = Slice(r, s, e) y = Neg(a)";
    let head = "(float[4, 8, 16] x) => (float[] y) <int64[2] s = {2, 1}, int64[2] e = {3, 7}>";
    assert_eq!(copies(head, two, &[4, 8, 16]), 0);
    // An output is handed out.
    let head = "(float[8, 16] x) => (float[] y) <int64[1] s = {1}, int64[1] e = {7}>";
    assert_eq!(copies(head, "r = Neg(x) y = Slice(r, s, e)", &[8, 16]), 1);
    let head = "(float[8, 16] x) => (float[] r, float[] y) <int64[1] s = {1}, int64[1] e = {7}>";
    assert_eq!(copies(head, "r = Neg(x) a = Slice(r, s, e) y = Neg(a)", &[8, 16]), 1);
    // What is a small part, and needed far longer than the rest.
    let head = "(float[64, 16] x) => (float[] y) <int64[1] s = {1}, int64[1] e = {2}>";
    assert_eq!(
        copies(head, "r = Neg(x) a = Slice(r, s, e) b = Neg(a) c = Relu(b) y = Sub(c, a)", &[64, 16]),
        1
    );
}

#[test]
fn nothing_is_written_over_what_others_read() {
    // Each of these steps would compute in the memory of its input.
    let text = graph(
        "(float[1, 32, 16] x) => (float[] y, float[] z) <int64[1] s = {8}, int64[1] e = {24}>",
        "r = Neg(x) a, b = Split <axis = 1, num_outputs = 2> (r) m = Slice(r, s, e, o) n = Abs(a) p = Relu(m)
         q = Add(n, b) t = Mul(q, p) y = Neg(t) u = Abs(r) z = Neg(u)",
    )
    .replace("int64[1] e = {24}", "int64[1] e = {24}, int64[1] o = {1}");
    assert_eq!(
        busy(&text, &[numbers(&[1, 32, 16], 7)]).iter().filter(|op| *op == "Split" || *op == "Slice").count(),
        0
    );
}

#[test]
fn views_that_overlap_are_kept_apart_where_one_is_written_to() {
    let text = graph(
        "(float[1, 32, 16] x) => (float[] y)
         <int64[1] zero = {0}, int64[1] low = {8}, int64[1] high = {24}, int64[1] end = {32}, int64[1] one = {1}>",
        "r = Neg(x) a = Slice(r, zero, high, one) b = Slice(r, low, end, one) c = Abs(a) y = Concat <axis = 1> (c, b)",
    );
    let busy = busy(&text, &[numbers(&[1, 32, 16], 8)]);
    assert_eq!(busy.iter().filter(|op| *op == "Slice").count(), 1);
    // The batch is known only in a run, so that nobody expected views when the program was built.
    let late = graph(
        "(float[N, 32, 16] x) => (float[] y)",
        "r = Neg(x) s = Abs(r) a, b = Split <axis = 1, num_outputs = 2> (r) c = Neg(a) d = Concat <axis = 1> (c, b)
         y = Concat <axis = 0> (d, s)",
    );
    let (program, reference) = (build(&late, &Registry::default()), build(&late, &Registry::reference()));
    for images in [1, 2, 1] {
        let x = [numbers(&[images, 32, 16], 9)];
        assert_eq!(program.run_data(&x).expect("runs"), reference.run_data(&x).expect("runs"));
    }
}

#[test]
fn what_is_cut_up_and_joined_again_is_made_in_its_place() {
    // As a block of a network does it whose second half goes on.
    let text = graph(
        "(float[1, 32, 16] x) => (float[] y) <int64[2] s = {16, 16}>",
        "r = Neg(x) a, b = Split <axis = 1> (r, s) c = Abs(b) d = Relu(c) e = Concat <axis = 1> (a, b, c, d)
         y = Concat <axis = 0> (e, e)",
    );
    // Only what is an output in the end is moved.
    assert_eq!(busy(&text, &[numbers(&[1, 32, 16], 10)]), ["Neg", "Abs", "Relu", "Concat"]);
    let program = build(&text, &Registry::default());
    let x = numbers(&[1, 32, 16], 10);
    assert_eq!(program.arena_bytes(&[Some(View::of(&x))]).unwrap(), 4 * 16 * 16 * 4);
    // What is written to in between is not its own part.
    let text = text.replace("c = Abs(b)", "c = Sub(b, a)").replace("(a, b, c, d)", "(d, a, c, b)");
    busy(&text, &[numbers(&[1, 32, 16], 11)]);
}

#[test]
fn whether_it_is_a_view_depends_on_the_sizes_of_the_run() {
    let text = graph(
        "(float[N, 32, 16] x) => (float[] y)",
        "r = Neg(x) a, b = Split <axis = 1, num_outputs = 2> (r) y = Sub(a, b)",
    );
    let program = build(&text, &Registry::default());
    let reference = build(&text, &Registry::reference());
    for (images, copies) in [(1, 0), (3, 1), (1, 0), (0, 0), (2, 1)] {
        let x = [numbers(&[images, 32, 16], images)];
        let (views, seen) = ([Some(View::of(&x[0]))], Busy::default());
        let got = program.run_observed(&views, &mut [], Some(&seen)).expect("runs");
        assert_eq!(got, reference.run_data(&x).expect("runs"));
        let seen = seen.0.into_inner().unwrap();
        assert_eq!(seen.iter().filter(|op| *op == "Split").count(), copies, "{images}");
    }
}

/// Graphs at random, from a number.
struct Maker {
    state: u64,
    /// Names are their places.
    values: Vec<Vec<usize>>,
    body: String,
    constants: String,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 33) as usize) % bound
    }

    fn value(&mut self) -> usize {
        // Mostly what is new.
        let count = self.values.len();
        if self.below(3) == 0 { self.below(count) } else { count - 1 - self.below(count.min(4)) }
    }

    fn ints(&mut self, ints: &[usize]) -> String {
        let name = format!("c{}", self.constants.len());
        let all: Vec<String> = ints.iter().map(usize::to_string).collect();
        write!(self.constants, ", int64[{}] {name} = {{{}}}", ints.len(), all.join(", ")).unwrap();
        name
    }

    fn add(&mut self, dims: Vec<usize>, node: &str) {
        writeln!(self.body, "v{} = {node}", self.values.len()).unwrap();
        self.values.push(dims);
    }

    fn step(&mut self) {
        let x = self.value();
        let dims = self.values[x].clone();
        let axis = if self.below(4) > 0 {
            dims.iter().position(|&d| d > 1).unwrap_or(0)
        } else {
            self.below(dims.len())
        };
        match self.below(9) {
            0 | 1 => {
                let op = ["Relu", "Neg", "Abs", "Identity"][self.below(4)];
                self.add(dims, &format!("{op}(v{x})"));
            }
            2 => {
                let alike: Vec<usize> = (0..self.values.len()).filter(|&v| self.values[v] == dims).collect();
                let other = alike[self.below(alike.len())];
                let op = ["Add", "Sub"][self.below(2)];
                self.add(dims, &format!("{op}(v{x}, v{other})"));
            }
            3 | 4 => {
                let from = self.below(dims[axis]);
                let to = from + 1 + self.below(dims[axis] - from);
                let [from_name, to_name, axis_name] = [from, to, axis].map(|n| self.ints(&[n]));
                let mut part = dims;
                part[axis] = to - from;
                self.add(part, &format!("Slice(v{x}, {from_name}, {to_name}, {axis_name})"));
            }
            5 if dims[axis] > 1 => {
                let first = if self.below(2) == 0 { dims[axis] / 2 } else { 1 + self.below(dims[axis] - 1) };
                let sizes = self.ints(&[first, dims[axis] - first]);
                let (one, mut two) = (self.values.len(), dims.clone());
                writeln!(self.body, "v{one}, v{} = Split <axis = {axis}> (v{x}, {sizes})", one + 1).unwrap();
                two[axis] -= first;
                let mut first_dims = dims.clone();
                first_dims[axis] = first;
                let mut whole = dims.clone();
                whole[axis] += two[axis];
                let is_small = whole.iter().product::<usize>() <= 16_384;
                self.values.extend([first_dims, two.clone()]);
                if is_small && self.below(2) == 0 {
                    // Joined again with what becomes of the second part.
                    self.add(two, &format!("Neg(v{})", one + 1));
                    self.add(whole, &format!("Concat <axis = {axis}> (v{one}, v{}, v{})", one + 1, one + 2));
                }
            }
            6 => {
                let index = self.below(dims[axis]);
                let name = self.ints(&[index]);
                let mut part = dims;
                part[axis] = 1;
                self.add(part, &format!("Gather <axis = {axis}> (v{x}, {name})"));
            }
            7 => {
                let all = dims.iter().product::<usize>();
                let to = if all.is_multiple_of(16) { vec![1, all / 16, 16] } else { vec![1, all] };
                let name = self.ints(&to);
                self.add(to, &format!("Reshape(v{x}, {name})"));
            }
            _ => {
                let fits = |v: &[usize]| {
                    v.len() == dims.len() && (0..dims.len()).all(|d| d == axis || v[d] == dims[d])
                };
                let alike: Vec<usize> = (0..self.values.len()).filter(|&v| fits(&self.values[v])).collect();
                let mut whole = dims.clone();
                whole[axis] = 0;
                let mut parts = Vec::new();
                for _ in 0..2 + self.below(2) {
                    let at = alike.len() - 1 - self.below(alike.len().min(4));
                    whole[axis] += self.values[alike[at]][axis];
                    parts.push(format!("v{}", alike[at]));
                }
                // Things should not grow for ever.
                if whole.iter().product::<usize>() <= 16_384 {
                    self.add(whole, &format!("Concat <axis = {axis}> ({})", parts.join(", ")));
                }
            }
        }
    }
}

#[test]
fn random_graphs_agree_with_their_reference() {
    let (default, reference) = (Registry::default(), Registry::reference());
    let mut views = 0;
    for seed in 0..400u64 {
        let first =
            [vec![1, 8, 4, 16], vec![32, 16], vec![6, 2, 16], vec![1, 12, 5]][seed as usize % 4].clone();
        let mut maker = Maker {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            values: vec![first.clone()],
            body: String::new(),
            constants: String::new(),
        };
        for _ in 0..8 + seed as usize % 24 {
            maker.step();
        }
        let mut outputs: Vec<usize> = (0..3).map(|_| maker.value()).collect();
        // What nobody uses would not run.
        outputs.push(maker.values.len() - 1);
        outputs.retain(|&v| v > 0);
        outputs.sort_unstable();
        outputs.dedup();
        if seed % 2 == 0 {
            // Nothing before is computed in the memory of an output.
            for v in std::mem::take(&mut outputs) {
                let mut dims = maker.values[v].clone();
                dims[0] *= 2;
                outputs.push(maker.values.len());
                maker.add(dims, &format!("Concat <axis = 0> (v{v}, v{v})"));
            }
        }
        let dims: Vec<String> = first.iter().map(usize::to_string).collect();
        let names: Vec<String> = outputs.iter().map(|v| format!("float[] v{v}")).collect();
        let text = graph(
            &format!(
                "(float[{}] v0) => ({}) <{}>",
                dims.join(", "),
                names.join(", "),
                maker.constants.trim_start_matches(", ")
            ),
            &maker.body,
        );
        let (program, plain) = (build(&text, &default), build(&text, &reference));
        for salt in 0..2 {
            let x = [numbers(&first, salt + seed as usize)];
            let want = plain.run_data(&x).expect("the reference runs");
            let given = [Some(View::of(&x[0]))];
            let seen = Count::default();
            let got = program.run_observed(&given, &mut [], Some(&seen)).expect("runs");
            assert_eq!(got, want, "seed {seed}: {text}");
            views += *seen.0.lock().unwrap();
            // The same with memory of the caller for the outputs.
            let mut memory: Vec<Vec<f32>> =
                outputs.iter().map(|&v| vec![0.0; maker.values[v].iter().product()]).collect();
            let mut buffers: Vec<_> = memory
                .iter_mut()
                .zip(&outputs)
                .map(|(memory, &v)| {
                    let bytes = bytemuck::cast_slice_mut(memory);
                    Some(OutputBuffer { dtype: DType::F32, dims: &maker.values[v], bytes })
                })
                .collect();
            program.run_observed(&given, &mut buffers, None).expect("runs");
            drop(buffers);
            for (got, want) in memory.iter().zip(&want) {
                let Datum::Tensor(want) = want else { panic!("a tensor") };
                assert_eq!(got[..], want.as_slice::<f32>().unwrap()[..], "seed {seed}: {text}");
            }
        }
    }
    assert!(views > 500, "only {views} views");
}

/// Counts the steps that could move something, and do not.
#[derive(Default)]
struct Count(Mutex<usize>);

impl Observer for Count {
    fn step(&self, step: &Observed<'_>) {
        let moves = ["Slice", "Split", "Gather"].contains(&step.op);
        *self.0.lock().unwrap() += usize::from(moves && step.work.bytes.is_none());
    }
}
