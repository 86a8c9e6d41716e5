//! Real models, against their reference outputs: with and without preparation, on one thread and on two.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::normalise::normalise;
use byoc_graph::{Datum, Model, onnx};
use byoc_runtime::{NoRegions, Options, Program, View, align_datum, prepare};

/// The folder of test data; without it the test is skipped, except in CI.
fn data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = std::env::var_os("BYOC_TEST_DATA").map_or(PathBuf::from(default), PathBuf::from);
    if folder.join("models").is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}", folder.display());
    println!("skipped: no test data at {}", folder.display());
    None
}

fn load(path: &Path, prepared: bool) -> Model {
    let mut model = onnx::load(path).expect("loads");
    normalise(&mut model, &ReferenceEvaluator, &|_| true);
    infer(&mut model, &InferOptions::default()).expect("types follow");
    if prepared {
        prepare::prepare(&mut model, &|_| true);
    }
    model
}

fn build(model: &Model, threads: usize) -> Program {
    let options = Options {
        registry: &Registry::default(),
        regions: &NoRegions,
        pool: Arc::new(ThreadPool::new(threads)),
        isa: Isa::detect(),
        check_types: true,
        together: true,
    };
    Program::build(model, &options).expect("builds")
}

fn numbered(folder: &Path, kind: &str) -> Vec<Datum> {
    let files = (0..).map(|i| folder.join(format!("{kind}_{i}.pb"))).take_while(|p| p.exists());
    files.map(|p| onnx::read_datum(&p, None).expect("reads")).collect()
}

/// What a model computes in.
#[derive(Clone, Copy)]
enum Precision {
    Single,
    Half,
    Quantised,
}

/// The largest excess of an error over its tolerance, as a share of the tolerance.
fn worst(got: &Datum, want: &Datum, precision: Precision) -> f64 {
    let (Datum::Tensor(got), Datum::Tensor(want)) = (got, want) else {
        return if got == want { 0.0 } else { f64::INFINITY };
    };
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        return f64::INFINITY;
    }
    let (Some(a), Some(b)) = (got.to_f64s(), want.to_f64s()) else {
        return if got == want { 0.0 } else { f64::INFINITY };
    };
    let max = b.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    // A quantised model may differ by a few steps of 1/256 of its range where a rounding falls the other way.
    let (rtol, atol) = match precision {
        Precision::Quantised => (1e-2, 3e-2),
        Precision::Half => (2e-2, 2e-3),
        Precision::Single => (1e-3, 1e-4),
    };
    let share = |(a, b): (&f64, &f64)| {
        if a == b || (a.is_nan() && b.is_nan()) {
            0.0
        } else {
            (a - b).abs() / (1e-6 + atol * max + rtol * b.abs())
        }
    };
    a.iter().zip(&b).map(share).fold(0.0, |m, x| if x.is_nan() { f64::INFINITY } else { m.max(x) })
}

#[test]
fn all_models_give_their_reference_outputs() {
    let Some(data) = data() else { return };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(data.join("models"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|p| p.join("model.onnx").exists())
        .collect();
    folders.sort();
    let only = std::env::var("BYOC_TEST_MODEL").unwrap_or_default();
    let mut failed = Vec::new();
    for folder in folders.iter().filter(|f| f.to_string_lossy().contains(&only)) {
        let name = folder.file_name().expect("named").to_string_lossy().into_owned();
        let result = std::panic::catch_unwind(|| check(folder, &name));
        let problem = match result {
            Ok(problem) => problem,
            Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        };
        if let Some(problem) = problem {
            println!("{name}: {problem}");
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// What is wrong with a model, if anything.
fn check(folder: &Path, name: &str) -> Option<String> {
    let quantised = ["int8", "u8", "s8", "qdq"].iter().any(|part| name.contains(part));
    let precision = match name.contains("fp16") {
        true => Precision::Half,
        false if quantised => Precision::Quantised,
        false => Precision::Single,
    };
    let set = folder.join("test_data_set_0");
    let inputs: Vec<Datum> = numbered(&set, "input").iter().map(align_datum).collect();
    let want = numbered(&set, "output");
    let mut first: Option<Vec<Datum>> = None;
    for prepared in [true, false] {
        // Preparation makes half precision single.
        let precision = match precision {
            Precision::Half if prepared => Precision::Single,
            other => other,
        };
        let model = load(&folder.join("model.onnx"), prepared);
        for threads in [2, 1] {
            let program = build(&model, threads);
            for _ in 0..2 {
                // Files are there for the inputs that have no default.
                let mut given = inputs.iter();
                let mut next = |default: bool| if default { None } else { given.next().map(View::of) };
                let views: Vec<_> =
                    program.inputs().iter().map(|spec| next(spec.default.is_some())).collect();
                let got = match program.run(&views) {
                    Ok(got) => got,
                    Err(error) => return Some(error.to_string()),
                };
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let share = worst(got, want, precision);
                    if share > 1.0 {
                        return Some(format!("output {i} is off by {share} (prepared: {prepared})"));
                    }
                }
                if prepared {
                    let first = first.get_or_insert_with(|| got.clone());
                    if *first != got {
                        return Some(format!("{threads} threads give other results"));
                    }
                }
            }
        }
    }
    None
}
