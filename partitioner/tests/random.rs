//! Properties of every partition, on random graphs with random tables.
//!
//! `BYOC_RANDOM_GRAPHS` says how many graphs, `BYOC_RANDOM_SEED` with which seed to begin.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use byoc_graph::{Model, onnx};
use byoc_partitioner::{NoCheck, Options, Policy, partition};
use byoc_plugin::table::PatternTable;
use support::always::check_always;
use support::random_model::{self, Random};
use support::{Ready, tables, terms};

const GRAPHS: u64 = 400;
const THREADS: usize = 2;
/// Enough for many moves, and little enough for many graphs.
const BUDGET_MS: u64 = 20;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |t| t.parse().unwrap_or_else(|_| panic!("{variable} is `{t}`, not a number")))
}

struct Case {
    ready: Ready,
    tables: Vec<PatternTable>,
    options: Options,
}

impl Case {
    /// With `nodes`, the graph has so many instead of 8 to 200. Every second is placed by cost.
    fn new(seed: u64, nodes: Option<usize>) -> Case {
        let mut random = Random::new(seed);
        let vendors = 1 + random.below(3);
        let by_cost = seed % 2 == 1;
        let texts: Vec<String> = (0..vendors).map(|v| random_model::table(&mut random, v, by_cost)).collect();
        let mut options = Options { merge_siblings: random.one_in(2), ..Options::default() };
        if by_cost {
            options.policy = Policy::Cost;
            options.cost = random_model::costs(&mut random, vendors);
            options.budget_ms = BUDGET_MS;
        }
        let own = 8 + random.below(193);
        let model = random_model::model(&mut random, nodes.unwrap_or(own));
        let tables = tables(&texts).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{texts:#?}"));
        Case { ready: Ready::new(model), tables, options }
    }

    /// Everything that is wrong with the partition.
    fn faults(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let result = match partition(&self.ready.model, &self.tables, &self.options, &mut NoCheck) {
            Ok(result) => result,
            Err(error) => return vec![error.to_string()],
        };
        let report = self.ready.report(&result);
        check_always(&self.ready, &self.tables, &self.options, &result, &report, &mut wrong);
        let outlined = match result.outline(&self.ready.model) {
            Ok(outlined) => outlined,
            Err(error) => return vec![error.to_string()],
        };
        let meaning = terms::outputs(&self.ready.model).expect("the model is acyclic");
        match terms::outputs(&outlined) {
            Ok(partitioned) if partitioned == meaning => {}
            Ok(_) => wrong.push("the partitioned model computes something else".into()),
            Err(error) => wrong.push(format!("the partitioned model: {error}")),
        }
        wrong
    }

    /// The bytes of the partitioned model and of its report.
    fn bytes(&self) -> (Vec<u8>, String) {
        let result = partition(&self.ready.model, &self.tables, &self.options, &mut NoCheck).expect("valid");
        let model: Model = result.outline(&self.ready.model).expect("valid");
        let report = serde_json::to_string(&self.ready.report(&result)).expect("a report is JSON");
        (onnx::to_bytes(&model).expect("the model can be written").to_vec(), report)
    }
}

/// The faults of the smallest graph of this seed that has any.
fn smallest(seed: u64, faults: Vec<String>) -> String {
    for nodes in 1..200 {
        let case = Case::new(seed, Some(nodes));
        let found = case.faults();
        if !found.is_empty() {
            return format!("seed {seed}, {nodes} nodes: {}", found.join("\n"));
        }
    }
    format!("seed {seed}: {}", faults.join("\n"))
}

#[test]
fn partitions_are_valid() {
    let (first, count) = (number("BYOC_RANDOM_SEED", 0), number("BYOC_RANDOM_GRAPHS", GRAPHS));
    let next = AtomicU64::new(first);
    let run = || {
        let mut regions = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return regions;
            }
            let case = Case::new(seed, None);
            let faults = case.faults();
            assert!(faults.is_empty(), "{}", smallest(seed, faults));
            let result = partition(&case.ready.model, &case.tables, &case.options, &mut NoCheck);
            regions += result.expect("valid").regions.len();
        }
    };
    let regions: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        workers.into_iter().map(|w| w.join().expect("no partition is invalid")).sum()
    });
    println!("{count} graphs, {regions} regions, none invalid");
    assert!(regions as u64 > count, "the tables match next to nothing");
}

#[test]
fn threads_do_not_change_a_byte() {
    for seed in 0..number("BYOC_RANDOM_GRAPHS", GRAPHS) / 4 {
        let case = Case::new(seed, None);
        let alone = case.bytes();
        std::thread::scope(|scope| {
            let both = [scope.spawn(|| case.bytes()), scope.spawn(|| case.bytes())];
            for worker in both {
                assert!(worker.join().expect("valid") == alone, "seed {seed} differs from thread to thread");
            }
        });
    }
}
