//! Times a model on the host alone, and shows where the time goes:
//! `cargo run --release -p byoc-runtime --example profile -- MODEL DATA_SET_DIR [THREADS [steps]]`. With `steps`,
//! the shortest time of each step, otherwise the sums by operator.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_cpu::{Observed, Observer, Registry};
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::normalise::normalise;
use byoc_graph::{Datum, onnx};
use byoc_runtime::{NoRegions, Options, Program, View, align_datum, prepare};

/// Observed runs.
const RUNS: u32 = 10;

/// Time and number of calls, by operator and kernel or by step.
struct Times {
    by: Mutex<BTreeMap<String, (Duration, u32)>>,
    steps: bool,
}

impl Observer for Times {
    fn step(&self, &Observed { label, op, by, elapsed, .. }: &Observed<'_>) {
        let mut times = self.by.lock().expect("no step panics while it holds the lock");
        let key = format!("{op} ({by}) {}", if self.steps { label } else { "" });
        let (time, calls) = times.entry(key).or_default();
        *time = match (self.steps, *calls) {
            (true, 0) => elapsed,
            (true, _) => elapsed.min(*time),
            (false, _) => *time + elapsed / RUNS,
        };
        *calls += 1;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(path), Some(data)) = (arguments.first(), arguments.get(1)) else {
        return Err("usage: profile MODEL DATA_SET_DIR [THREADS]".into());
    };
    let threads = arguments.get(2).map_or(Ok(2), |n| n.parse())?;
    let start = Instant::now();
    let mut model = onnx::load(path)?;
    normalise(&mut model, &ReferenceEvaluator, &|_| true);
    infer(&mut model, &InferOptions::default())?;
    prepare::prepare(&mut model, &|_| true);
    let pool = Arc::new(ThreadPool::new(threads));
    let registry = &Registry::default();
    let options = Options {
        registry,
        regions: &NoRegions,
        pool,
        isa: Isa::detect(),
        check_types: false,
        together: true,
    };
    let program = Program::build(&model, &options)?;
    drop(model);
    let loaded = start.elapsed();

    let files = (0..).map(|i| Path::new(data).join(format!("input_{i}.pb"))).take_while(|p| p.exists());
    let inputs: Vec<Datum> =
        files.map(|p| onnx::read_datum(&p, None).map(|d| align_datum(&d))).collect::<Result<_, _>>()?;
    let mut given = inputs.iter();
    let mut next = |default: bool| if default { None } else { given.next().map(View::of) };
    let views: Vec<_> = program.inputs().iter().map(|spec| next(spec.default.is_some())).collect();

    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed() < Duration::from_secs(3) && times.len() < 20_000 {
        let start = Instant::now();
        program.run(&views)?;
        times.push(start.elapsed());
    }
    let first = times[0];
    times.sort();
    println!(
        "median {:?}, least {:?}, first {first:?}, loaded in {loaded:?}, {} runs, arena {} KiB",
        times[times.len() / 2],
        times[0],
        times.len(),
        program.arena_bytes(&views)? / 1024,
    );
    let steps = arguments.get(3).is_some_and(|a| a == "steps");
    let observer = Times { by: Mutex::default(), steps };
    for _ in 0..RUNS {
        program.run_observed(&views, &mut [], Some(&observer))?;
    }
    let mut times: Vec<_> = observer.by.into_inner()?.into_iter().collect();
    times.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    for (what, (time, calls)) in times.iter().take(if steps { 60 } else { 12 }) {
        println!("{time:>12?} {:>5} {what}", calls / RUNS);
    }
    Ok(())
}
