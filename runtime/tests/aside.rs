//! Regions of vendors with processors of their own: they compute while the host goes on, and the order of events,
//! not of time, shows it.

mod common;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Ctx, KernelError, Outputs, Registry, View};
use byoc_graph::{Datum, Node, Tensor};
use byoc_runtime::{Options, Program, Region, RegionExecutable, Regions};
use common::model;

/// What regions have begun and ended, in order.
#[derive(Default)]
struct Events(Mutex<Vec<String>>, Condvar);

impl Events {
    fn tell(&self, event: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.1.notify_all();
    }

    /// Whether it comes in time.
    fn await_event(&self, event: &str) -> bool {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |told: &mut Vec<String>| !told.iter().any(|other| other == event);
        let (told, _) =
            self.1.wait_timeout_while(told, Duration::from_secs(20), missing).expect("not poisoned");
        told.iter().any(|other| other == event)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Negates, once another region has come so far.
struct Negation {
    name: String,
    aside: bool,
    waits: Option<&'static str>,
    fails: bool,
    events: Arc<Events>,
}

impl RegionExecutable for Negation {
    fn target(&self) -> &str {
        "test"
    }

    fn is_aside(&self) -> bool {
        self.aside
    }

    fn run(
        &self,
        _: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        self.events.tell(format!("{} begins", self.name));
        if let Some(event) = self.waits
            && !self.events.await_event(event)
        {
            return Err(KernelError::invalid(format!("{} has not seen that {event}", self.name)));
        }
        if self.fails {
            return Err(KernelError::invalid(format!("{} fails", self.name)));
        }
        let Some(Some(View::Tensor(x))) = inputs.first() else { return Err(KernelError::MissingInput(0)) };
        let values = x.bytes().chunks_exact(4).map(|b| -f32::from_le_bytes(b.try_into().expect("four")));
        outputs.tensor::<f32>(0, x.dims)?.iter_mut().zip(values).for_each(|(y, value)| *y = value);
        self.events.tell(format!("{} ends", self.name));
        Ok(())
    }
}

/// By name: whether it computes aside, what it waits for, and whether it fails.
struct Vendor {
    regions: Vec<(&'static str, bool, Option<&'static str>, bool)>,
    events: Arc<Events>,
}

impl Regions for Vendor {
    fn region(&self, call: &Node) -> Option<Region> {
        let (name, aside, waits, fails) = *self.regions.iter().find(|(name, ..)| *name == &*call.op.name)?;
        let (name, events) = (name.to_owned(), self.events.clone());
        let executable = Arc::new(Negation { name, aside, waits, fails, events });
        Some(Region { executable, takes: vec![true] })
    }
}

fn program(graph: &str, vendor: &Vendor) -> Program {
    let body = |name: &str| {
        format!("<domain: \"byoc.v\", opset_import: [\"\": 17]>\n{name} (x) => (y) {{ y = Neg(x) }}\n")
    };
    let header = "<ir_version: 8, opset_import: [\"\": 17, \"byoc.v\": 1]>";
    let model = model(&format!("{header}\n{graph}\n{}{}{}", body("one"), body("two"), body("three")));
    let (registry, pool) = (&Registry::default(), Arc::new(ThreadPool::new(2)));
    let options =
        Options { registry, regions: vendor, pool, isa: Isa::detect(), check_types: true, together: true };
    Program::build(&model, &options).expect("the model can be built")
}

fn run(program: &Program) -> Result<Vec<Vec<f32>>, String> {
    let x = Datum::Tensor(Tensor::from_vec(&[3], vec![1f32, 2., 3.]).expect("sized"));
    let made = program.run_data(&[x]).map_err(|error| error.to_string())?;
    let floats = |datum: Datum| {
        let Datum::Tensor(tensor) = datum else { panic!("a tensor") };
        tensor.bytes().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect()
    };
    Ok(made.into_iter().map(floats).collect())
}

/// `two` could begin before `one` has ended, and `y` needs both.
const DIAMOND: &str = "g (float[3] x) => (float[3] y) {
    a = byoc.v.one (x)
    b = Abs(a)
    c = byoc.v.two (x)
    y = Sub(b, c)
}";

#[test]
fn a_region_aside_and_one_that_the_host_waits_for_run_at_the_same_time() {
    // Each waits for the other: in turn, neither would end. The second runs on the thread of the host's steps.
    let regions = vec![("one", true, Some("two begins"), false), ("two", false, Some("one begins"), false)];
    let vendor = Vendor { regions, events: Arc::default() };
    let program = program(DIAMOND, &vendor);
    let labels: Vec<String> = program.steps().map(|step| step.op.to_string()).collect();
    assert_eq!(labels, ["one", "two", "Abs", "Sub"], "what needs `one` comes as late as it can");
    for _ in 0..20 {
        assert_eq!(run(&program), Ok(vec![vec![2., 4., 6.]]));
        assert_eq!(vendor.events.take().len(), 4);
    }
}

#[test]
fn several_regions_aside_run_at_the_same_time_and_a_program_may_run_twice_at_once() {
    let regions = vec![
        ("one", true, Some("three begins"), false),
        ("two", true, Some("one begins"), false),
        ("three", true, Some("two begins"), false),
    ];
    let vendor = Vendor { regions, events: Arc::default() };
    let graph = "g (float[3] x) => (float[3] y, float[3] a) {
        a = byoc.v.one (x)
        b = byoc.v.two (x)
        c = byoc.v.three (x)
        d = Add(a, b)
        y = Mul(d, c)
    }";
    let program = program(graph, &vendor);
    let want = Ok(vec![vec![2., 8., 18.], vec![-1., -2., -3.]]);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| run(&program))).collect();
        runs.into_iter().for_each(|run| assert_eq!(run.join().expect("no panic"), want));
    });
}

#[test]
fn the_first_step_that_fails_is_told_of_and_nothing_stays_under_way() {
    let regions = vec![("one", true, Some("two begins"), true), ("two", false, None, true)];
    let vendor = Vendor { regions, events: Arc::default() };
    let program = program(DIAMOND, &vendor);
    for _ in 0..5 {
        let error = run(&program).expect_err("both fail");
        assert!(error.contains("one fails"), "{error}");
        assert_eq!(vendor.events.take().len(), 2);
    }
    // Alone, the other's failure waits for the one aside as well.
    let regions = vec![("one", true, Some("two begins"), false), ("two", false, None, true)];
    let vendor = Vendor { regions, events: Arc::default() };
    let program = self::program(DIAMOND, &vendor);
    assert!(run(&program).expect_err("one fails").contains("two fails"));
    assert_eq!(vendor.events.take().last().map(String::as_str), Some("one ends"));
}
