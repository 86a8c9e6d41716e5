//! What programs compute, and what they refuse.

mod common;

use std::sync::{Arc, Mutex};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Observed, Observer, Registry, Work};
use byoc_graph::{DType, Datum, Model, Tensor};
use byoc_runtime::{BuildError, InputError, NoRegions, Options, OutputBuffer, Program, RunError, View};
use common::model;

fn try_build(model: &Model, threads: usize) -> Result<Program, BuildError> {
    let pool = Arc::new(ThreadPool::new(threads));
    let (registry, isa) = (&Registry::default(), Isa::detect());
    Program::build(
        model,
        &Options { registry, regions: &NoRegions, pool, isa, check_types: true, together: true },
    )
}

fn build(text: &str) -> Program {
    try_build(&model(text), 2).expect("the model can be built")
}

fn f32s(dims: &[usize], values: &[f32]) -> Datum {
    Datum::Tensor(Tensor::from_vec(dims, values.to_vec()).expect("sized"))
}

fn i64s(dims: &[usize], values: &[i64]) -> Datum {
    Datum::Tensor(Tensor::from_vec(dims, values.to_vec()).expect("sized"))
}

#[test]
fn a_chain_with_known_shapes_lies_in_the_arena() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[2, 3] x) => (float[2, 3] y)
         <float[2, 3] a, float[2, 3] b, float[2, 3] c, float[3] k = {1, 2, 3}> {
            a = Add(x, k)
            b = Relu(a)
            c = Mul(b, b)
            y = Sub(c, a)
         }",
    );
    let x = f32s(&[2, 3], &[-3., -2., -1., 0., 1., 2.]);
    let views = [Some(View::of(&x))];
    assert!(program.arena_bytes(&views).unwrap() > 0);
    for _ in 0..3 {
        let y = program.run(&views).unwrap();
        assert_eq!(y, [f32s(&[2, 3], &[2., 0., 2., 0., 6., 20.])]);
    }
}

#[test]
fn what_is_joined_is_made_in_its_place() {
    let text = |more: &str, y: &str| {
        format!(
            "<ir_version: 8, opset_import: [\"\": 17]>
             g (float[1, 16] x) => (float[1, 64] y)
             <int64[2] t = {{1, 4}}, float[1, 16] a, float[1, 16] b, float[1, 32] c, float[1, 32] d, float[1, 64] e, float[1, 64] z> {{
                a = Relu(x)
                b = Neg(x)
                c = Concat<axis = 1>(a, b)
                d = Abs(c)
                e = Concat<axis = -1>(c, d)
                {more}
                y = Mul(e, {y})
             }}"
        )
    };
    let x: Vec<f32> = (0..16).map(|i| i as f32 - 7.5).collect();
    let relu: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
    let joined: Vec<f32> = relu.iter().copied().chain(x.iter().map(|x| -x)).collect();
    let joined: Vec<f32> = joined.iter().copied().chain(joined.iter().map(|x| x.abs())).collect();
    let squares: Vec<f32> = joined.iter().map(|x| x * x).collect();
    let x = f32s(&[1, 16], &x);
    let views = [Some(View::of(&x))];
    let program = build(&text("", "e"));
    assert_eq!(program.arena_bytes(&views).unwrap(), 256);
    for _ in 0..3 {
        assert_eq!(program.run(&views).unwrap(), [f32s(&[1, 64], &squares)]);
    }
    // A part that is wanted later has a place of its own, and the whole is put together.
    let program = build(&text("z = Tile(a, t)", "z"));
    assert!(program.arena_bytes(&views).unwrap() > 256);
    let expected: Vec<f32> = joined.iter().zip(relu.iter().cycle()).map(|(a, b)| a * b).collect();
    for _ in 0..3 {
        assert_eq!(program.run(&views).unwrap(), [f32s(&[1, 64], &expected)]);
    }
}

/// What steps tell that they had to do.
#[derive(Default)]
struct Told(Mutex<Vec<(String, Work)>>);

impl Observer for Told {
    fn step(&self, step: &Observed<'_>) {
        self.0.lock().unwrap().push((step.op.to_owned(), step.work));
    }
}

#[test]
fn work_is_counted_from_the_sizes_of_the_run() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N, 4] x) => (float[N, 2] y)
         <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, int64[2] s = {-1, 2}> {
            a = MatMul(x, w)
            b = Relu(a)
            y = Reshape(b, s)
         }",
    );
    for n in [3, 5] {
        let (x, told) = (f32s(&[n, 4], &vec![1.0; 4 * n]), Told::default());
        program.run_observed(&[Some(View::of(&x))], &mut [], Some(&told)).unwrap();
        let n = n as u64;
        let work = |flops: u64, floats: u64| Work { flops: Some(flops), bytes: Some(4 * floats) };
        // The kernel has taken the weights over, and reads as many bytes of its own.
        let expected = [
            ("MatMul", work(16 * n, 4 * n + 8 + 2 * n)),
            ("Relu", work(2 * n, 4 * n)),
            ("Reshape", work(0, 0)),
        ];
        assert_eq!(told.0.into_inner().unwrap(), expected.map(|(op, work)| (op.to_owned(), work)));
    }
}

#[test]
fn unknown_shapes_grow_and_symbolic_ones_are_bound() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N, M] x, float[M] k) => (float[N, M] y)
         <float[N, M] a, float[P, Q] b> {
            a = Add(x, k)
            b = Relu(a)
            y = Mul(b, a)
         }",
    );
    for n in [1usize, 5, 2, 0, 7] {
        let x = f32s(&[n, 2], &vec![1.5; n * 2]);
        let y = program.run_data(&[x, f32s(&[2], &[1., -2.])]).unwrap();
        assert_eq!(y, [f32s(&[n, 2], &[6.25, -0.0].repeat(n))]);
    }
}

#[test]
fn views_move_nothing_and_may_be_outputs() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[2, 6] x) => (float[N, 3] y, float[12] z, float[2, 6] w, float[2, 6] r)
         <int64[2] s = {-1, 3}, int64[1] flat = {-1}> {
            r = Relu(x)
            y = Reshape(r, s)
            z = Reshape(y, flat)
            w = Identity(x)
         }",
    );
    let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let x = f32s(&[2, 6], &values);
    let out = program.run_data(std::slice::from_ref(&x)).unwrap();
    let want = [f32s(&[4, 3], &values), f32s(&[12], &values), x.clone(), x];
    assert_eq!(out, want);
}

#[test]
fn a_view_that_is_still_needed_is_not_overwritten() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[2, 2] x) => (float[2, 2] y)
         <float[2, 2] a, float[4] flat, float[2, 2] n, float[2, 2] back, int64[1] s = {4}, int64[2] t = {2, 2},
          float one = {1}> {
            a = Add(x, one)
            flat = Reshape(a, s)
            n = Sub(one, a)
            back = Reshape(flat, t)
            y = Add(n, back)
         }",
    );
    let y = program.run_data(&[f32s(&[2, 2], &[1., 2., 3., 4.])]).unwrap();
    assert_eq!(y, [f32s(&[2, 2], &[1.; 4])]);
}

#[test]
fn outputs_are_written_where_the_caller_wants_them() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[2] x) => (float[2] y, float[2] z)
         <float[2] a> {
            a = Add(x, x)
            y = Relu(a)
            z = Mul(y, x)
         }",
    );
    let x = f32s(&[2], &[-1., 3.]);
    let mut place = [0f32; 2];
    let bytes = bytemuck::cast_slice_mut(&mut place);
    let mut buffers = [Some(OutputBuffer { dtype: DType::F32, dims: &[2], bytes }), None];
    let out = program.run_observed(&[Some(View::of(&x))], &mut buffers, None).unwrap();
    assert_eq!(out[1], f32s(&[2], &[-0., 18.]));
    assert_eq!(place, [0., 6.]);
}

#[test]
fn inputs_are_checked_before_anything_runs() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N, 2] x, float[N, 2] k) => (float[N, 2] y) { y = Add(x, k) }",
    );
    let good = f32s(&[3, 2], &[0.; 6]);
    let check = |inputs: &[Option<&Datum>]| {
        let views: Vec<_> = inputs.iter().map(|d| d.map(View::of)).collect();
        match program.run(&views) {
            Err(RunError::Input(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(check(&[Some(&good)]), InputError::Count { expected: 2, got: 1 }));
    assert!(matches!(check(&[Some(&good), None]), InputError::Missing(name) if &*name == "k"));
    let ints = i64s(&[3, 2], &[0; 6]);
    assert!(matches!(check(&[Some(&good), Some(&ints)]), InputError::DType { got: DType::I64, .. }));
    let flat = f32s(&[6], &[0.; 6]);
    assert!(matches!(check(&[Some(&good), Some(&flat)]), InputError::Rank { expected: 2, got: 1, .. }));
    let wide = f32s(&[3, 3], &[0.; 9]);
    assert!(matches!(
        check(&[Some(&good), Some(&wide)]),
        InputError::Dim { axis: 1, expected: 2, got: 3, .. }
    ));
    let long = f32s(&[4, 2], &[0.; 8]);
    let error = check(&[Some(&good), Some(&long)]);
    assert!(matches!(error, InputError::Symbol { axis: 0, expected: 3, got: 4, .. }), "{error}");
}

#[test]
fn an_operator_that_nobody_knows_is_named() {
    let text = "<ir_version: 8, opset_import: [\"\": 17, \"my\": 1]>
         g (float[2] x) => (float[2] y) { [n1] y = my.Mystery(x) }";
    match try_build(&model(text), 1) {
        Err(BuildError::NoTarget { node, op, domain, .. }) => {
            assert_eq!((&*node, &*op, &*domain), ("n1", "Mystery", "my"));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn a_failing_step_is_named_and_leaves_the_program_usable() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N] x, float[M] k) => (float[P] y) <float[N] a> {
            [grow] a = Add(x, x)
            [clash] y = Add(a, k)
         }",
    );
    let x = f32s(&[2], &[1., 2.]);
    let error = program.run_data(&[x.clone(), f32s(&[3], &[0.; 3])]).unwrap_err();
    assert!(error.to_string().starts_with("Add node `clash` failed on host: shapes [2] and [3]"), "{error}");
    let y = program.run_data(&[x, f32s(&[1], &[1.])]).unwrap();
    assert_eq!(y, [f32s(&[2], &[3., 5.])]);
}

#[test]
fn functions_are_called_with_their_attributes() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17, \"f\": 1]>
         g (float[2] x) => (float[2] y) { y = f.leak <slope = 0.5> (x) }
         <domain: \"f\", opset_import: [\"\": 17]>
         leak <slope> (v) => (r) {
            t = LeakyRelu <alpha: float = @slope> (v)
            r = Add(t, v)
         }",
    );
    let y = program.run_data(&[f32s(&[2], &[-2., 2.])]).unwrap();
    assert_eq!(y, [f32s(&[2], &[-3., 4.])]);
}

#[test]
fn branches_see_values_around_them() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (bool c, float[2] x) => (float[2] y)
         <float[2] a, float[2] k = {10, 20}> {
            a = Add(x, x)
            y = If (c) <
                then_branch = t () => (float[2] r) { r = Add(a, k) },
                else_branch = e () => (float[2] s) { s = Mul(x, a) }
            >
         }",
    );
    for (condition, want) in [(true, [12., 24.]), (false, [2., 8.])] {
        let c = Datum::Tensor(Tensor::from_bools(&[], vec![condition]).unwrap());
        let y = program.run_data(&[c, f32s(&[2], &[1., 2.])]).unwrap();
        assert_eq!(y, [f32s(&[2], &want)]);
    }
}

#[test]
fn loops_carry_and_collect() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (int64 n, bool c, float[2] x, float[2] step) => (float[2] last, float[N, 2] all) {
            last, all = Loop (n, c, x) <
                body = b (int64 i, bool go, float[2] v) => (bool go2, float[2] w, float[2] seen) {
                    go2 = Identity(go)
                    w = Add(v, step)
                    seen = Mul(w, v)
                }
            >
         }",
    );
    let yes = Datum::Tensor(Tensor::from_bools(&[], vec![true]).unwrap());
    let (x, step) = (f32s(&[2], &[0., 1.]), f32s(&[2], &[1., 2.]));
    let run = |n: i64| program.run_data(&[i64s(&[], &[n]), yes.clone(), x.clone(), step.clone()]).unwrap();
    assert_eq!(run(3), [f32s(&[2], &[3., 7.]), f32s(&[3, 2], &[0., 3., 2., 15., 6., 35.])]);
    assert_eq!(run(0), [x.clone(), f32s(&[0, 2], &[])]);
}

#[test]
fn scans_walk_either_way() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[1] s, float[1, 3] x) => (float[1] t, float[1, 3] y) {
            t, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                         scan_output_axes = [1],
                body = b (float[1] a, float[1] v) => (float[1] b, float[1] o) {
                    b = Add(a, v)
                    o = Identity(b)
                }
            > (s, x)
         }",
    );
    let out = program.run_data(&[f32s(&[1], &[0.]), f32s(&[1, 3], &[1., 2., 3.])]).unwrap();
    assert_eq!(out, [f32s(&[1], &[6.]), f32s(&[1, 3], &[3., 5., 6.])]);
}

#[test]
fn runs_in_parallel_do_not_disturb_each_other() {
    let program = build(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N, 8] x) => (float[N, 8] y)
         <float[N, 8] a, float[8, 8] w = {
            1,0,0,0,0,0,0,1, 0,1,0,0,0,0,0,0, 0,0,1,0,0,0,0,0, 0,0,0,1,0,0,0,0,
            0,0,0,0,1,0,0,0, 0,0,0,0,0,1,0,0, 0,0,0,0,0,0,1,0, 0,0,0,0,0,0,0,1}> {
            a = MatMul(x, w)
            y = Add(a, x)
         }",
    );
    std::thread::scope(|scope| {
        for t in 1..=4usize {
            let program = &program;
            scope.spawn(move || {
                for round in 0..50 {
                    let n = t + round % 3;
                    let x = f32s(&[n, 8], &vec![t as f32; n * 8]);
                    let mut want = vec![2.0 * t as f32; n * 8];
                    want.chunks_mut(8).for_each(|row| row[7] += t as f32);
                    assert_eq!(program.run_data(&[x]).unwrap(), [f32s(&[n, 8], &want)]);
                }
            });
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn packed_constants_leave_their_file() {
    const N: usize = 256;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str| folder.join(format!("packed-{}-{name}", std::process::id()));
    let weights: Vec<u8> = (0..N * N).flat_map(|i| ((i % 7) as f32).to_le_bytes()).collect();
    std::fs::write(file("weights"), &weights).unwrap();
    let location = file("weights").file_name().unwrap().to_str().unwrap().to_owned();
    let text = format!(
        "<ir_version: 8, opset_import: [\"\": 17]>
         g (float[N, {N}] x) => (float[N, {N}] y)
         <float[{N}, {N}] w = [\"location\": \"{location}\"]> {{ y = MatMul(x, w) }}"
    );
    std::fs::write(file("model.onnxtxt"), text).unwrap();
    let model = byoc_graph::onnx::load(file("model.onnxtxt")).unwrap();

    // Of the weights' file, what is in memory.
    let resident = || -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let lines = smaps.lines().skip_while(|line| !line.ends_with(&location));
        let rss = lines.skip(1).find_map(|line| line.strip_prefix("Rss:")).expect("the file is mapped");
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    let constant = model.graph.values().find_map(|(id, _)| model.graph.constant(id)).unwrap();
    assert_eq!(constant.bytes()[..], weights[..]);
    assert_eq!(resident(), weights.len());

    let program = try_build(&model, 1).expect("the model can be built");
    assert_eq!(program.constant_bytes(), 0);
    assert_eq!(resident(), 0);
    let mut x = vec![0.0; N];
    x[1] = 1.0;
    let second_row: Vec<f32> = (N..2 * N).map(|i| (i % 7) as f32).collect();
    assert_eq!(program.run_data(&[f32s(&[1, N], &x)]).unwrap(), [f32s(&[1, N], &second_row)]);
    assert_eq!(resident(), 0);

    std::fs::remove_file(file("weights")).unwrap();
    std::fs::remove_file(file("model.onnxtxt")).unwrap();
}
