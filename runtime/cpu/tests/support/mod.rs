//! Runs test folders in the layout of ONNX's backend tests: a model, and sets of inputs and outputs.

use std::path::{Path, PathBuf};

use byoc_cpu::reference::{Interpreter, Values};
use byoc_graph::{Datum, Model, Tensor, onnx};

/// How far results may lie from what is expected: `|got − want| ≤ atol + rtol·|want| + atol_scale·max|want|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
    pub atol_scale: f64,
}

/// Where the test data lies, if it is here. Without it tests are skipped, except in continuous integration.
#[allow(dead_code, reason = "the example takes its folders from the command line")]
pub fn test_data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("BYOC_TEST_DATA").map_or_else(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}", folder.display());
    println!("skipped: no test data at {}", folder.display());
    None
}

/// Runs every data set of a test folder.
pub fn run(folder: &Path, tolerance: &Tolerance) -> Result<(), String> {
    let model = onnx::load(folder.join("model.onnx")).map_err(|e| format!("load: {e}"))?;
    let mut k = 0;
    while folder.join(format!("test_data_set_{k}")).is_dir() {
        run_set(&model, &folder.join(format!("test_data_set_{k}")), tolerance)?;
        k += 1;
    }
    if k == 0 { Err("it has no data".into()) } else { Ok(()) }
}

fn run_set(model: &Model, data: &Path, tolerance: &Tolerance) -> Result<(), String> {
    let graph = &model.graph;
    let mut inputs = Values::new();
    // Files are numbered over the inputs that have to be given, unless there are as many as inputs.
    let file = |i: usize| data.join(format!("input_{i}.pb"));
    let given = (0..).take_while(|&i| file(i).exists()).count();
    let needed =
        graph.inputs().iter().filter(|&&id| given >= graph.inputs().len() || graph.default_of(id).is_none());
    for (i, &id) in needed.enumerate().take(given) {
        let value = graph.value(id);
        let datum = onnx::read_datum(file(i), value.ty.as_ref()).map_err(|e| format!("read: {e}"))?;
        inputs.insert(value.name.clone(), datum);
    }
    let outputs = Interpreter::new(model).run(&inputs).map_err(|e| format!("run: {e}"))?;
    for (i, &id) in graph.outputs().iter().enumerate() {
        let (value, path) = (graph.value(id), data.join(format!("output_{i}.pb")));
        if path.exists() {
            let want = onnx::read_datum(&path, value.ty.as_ref()).map_err(|e| format!("read: {e}"))?;
            let got = outputs.get(&value.name).ok_or_else(|| format!("no output {}", value.name))?;
            compare(got, &want, tolerance).map_err(|e| format!("output {i} `{}`: {e}", value.name))?;
        }
    }
    Ok(())
}

pub fn compare(got: &Datum, want: &Datum, tolerance: &Tolerance) -> Result<(), String> {
    match (got, want) {
        (Datum::Tensor(got), Datum::Tensor(want)) => compare_tensors(got, want, tolerance),
        (Datum::Sequence { items: got, .. }, Datum::Sequence { items: want, .. }) => {
            all(got, want, tolerance)
        }
        (Datum::Optional { value: got, .. }, Datum::Optional { value: want, .. }) => match (got, want) {
            (Some(got), Some(want)) => compare(got, want, tolerance),
            (None, None) => Ok(()),
            _ => Err("one of the optionals is empty".into()),
        },
        (Datum::Map { keys: a, values: got }, Datum::Map { keys: b, values: want }) => match a == b {
            true => all(got, want, tolerance),
            false => Err(format!("keys {a:?}, where {b:?} are expected")),
        },
        _ => Err(format!("a {}, where a {} is expected", got.kind(), want.kind())),
    }
}

fn all(got: &[Datum], want: &[Datum], tolerance: &Tolerance) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} items, where {} are expected", got.len(), want.len()));
    }
    got.iter().zip(want).try_for_each(|(got, want)| compare(got, want, tolerance))
}

fn compare_tensors(got: &Tensor, want: &Tensor, tolerance: &Tolerance) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.dims() != want.dims() {
        return Err(format!("{:?}, where {:?} is expected", got.ty(), want.ty()));
    }
    let (Some(a), Some(b)) = (got.to_f64s(), want.to_f64s()) else {
        return if got == want { Ok(()) } else { Err(format!("{got:?}, where {want:?} is expected")) };
    };
    let greatest = b.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let slack = |want: f64| tolerance.atol + tolerance.rtol * want.abs() + tolerance.atol_scale * greatest;
    let wrong = |&(_, (a, b)): &(usize, (&f64, &f64))| {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= slack(*b);
        !same
    };
    let mut misses = a.iter().zip(&b).enumerate().filter(wrong);
    match misses.next() {
        None => Ok(()),
        Some((i, (a, b))) => {
            Err(format!("element {i} is {a}, where {b} is expected ({} more are off)", misses.count()))
        }
    }
}
