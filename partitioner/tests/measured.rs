//! Which of several figures counts, and the policy that measures the regions it chooses.

mod support;

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId};
use byoc_partitioner::{
    Answer, Check, CostModel, GraphPath, Measure, NoCheck, Options, Partition, Policy, Rates, Region,
    RegionCost, TargetProfile, Times, partition, partition_measured,
};
use byoc_plugin::table::PatternTable;
use support::{Ready, tables};

fn ready(body: &str) -> Ready {
    let text = "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[256] x) => (float[256] y) {";
    Ready::from_text(&format!("{text}\n{body}\n}}"))
}

fn table(vendor: &str, patterns: &[(&str, &str)]) -> String {
    let mut text = format!("[vendor]\nname = \"{vendor}\"\n");
    for (op, more) in patterns {
        text += &format!("[[pattern]]\nname = \"{op}\"\nmatch = \"y = {op}(x)\"\n{more}\n");
    }
    text
}

fn fixed(us: f64) -> Rates {
    Rates { fixed_us: Some(us), ..Rates::default() }
}

/// In host memory, with calls that take a microsecond.
fn target(name: &str, rates: &[(&str, f64)]) -> TargetProfile {
    TargetProfile {
        name: name.into(),
        launch_us: Some(1.0),
        memory: Some("host".into()),
        rates: rates.iter().map(|(of, us)| (of.to_string(), fixed(*us))).collect(),
        ..TargetProfile::default()
    }
}

struct Told(RegionCost);

impl Check for Told {
    fn check_region(&mut self, _: &Region, _: &Graph) -> Answer {
        Answer::Accept(self.0)
    }
}

#[test]
fn what_is_nearer_to_the_region_counts() {
    let ready = ready("y = Relu(x)");
    let tables = tables(&[table("v", &[("Relu", "cost = { fixed_us = 7 }")])]).unwrap();
    let answer = RegionCost { fixed_us: None, compute_us: Some(3.0) };
    let us = |policy, rates: &[(&str, f64)], answer: RegionCost, times: &Times| {
        let mut cost = CostModel::default();
        cost.set(target("v", rates));
        cost.set(target("host", &[("Relu", 100.0)]));
        let options = Options { policy, cost, times: times.clone(), ..Options::default() };
        let result = partition(&ready.model, &tables, &options, &mut Told(answer)).unwrap();
        result.regions[0].predicted_us
    };
    let nothing = Times::default();
    let mut measured = Times::default();
    let region =
        partition(&ready.model, &tables, &Options::default(), &mut NoCheck).unwrap().regions.remove(0);
    measured.put_region(&region, &ready.model.graph, 2.0);
    for policy in [Policy::Greedy, Policy::Cost] {
        assert_eq!(us(policy, &[], RegionCost::default(), &nothing), Some(8.0), "the table");
        assert_eq!(us(policy, &[("Relu", 5.0)], RegionCost::default(), &nothing), Some(6.0), "the profile");
        assert_eq!(us(policy, &[("Relu", 5.0)], answer, &nothing), Some(4.0), "the vendor");
        assert_eq!(us(policy, &[("Relu", 5.0)], answer, &measured), Some(2.0), "the measured region");
    }
}

/// Takes what a composite takes, by vendor and pattern, less for each further one of a region.
struct Bench<'a> {
    composites: &'a [(&'a str, &'a str, f64)],
    saved: f64,
    host: f64,
    asked: HashMap<String, usize>,
}

impl<'a> Bench<'a> {
    fn new(composites: &'a [(&'a str, &'a str, f64)], saved: f64, host: f64) -> Bench<'a> {
        Bench { composites, saved, host, asked: HashMap::new() }
    }

    fn us(&self, region: &Region) -> f64 {
        let us = |pattern: &str| {
            let of = |(v, p, _): &&(&str, &str, f64)| *v == region.vendor_name && *p == pattern;
            self.composites.iter().find(of).expect("a pattern of the table").2
        };
        let all: f64 = region.composites.iter().map(|c| us(&c.pattern)).sum();
        all - self.saved * (region.composites.len() - 1) as f64
    }

    fn total(&self, result: &Partition) -> f64 {
        let regions: f64 = result.regions.iter().map(|r| self.us(r)).sum();
        regions + self.host * result.host.len() as f64
    }
}

impl Measure for Bench<'_> {
    fn region_us(&mut self, region: &Region, _: &Graph) -> Option<f64> {
        *self.asked.entry(format!("{} {:?}", region.vendor_name, region.members)).or_default() += 1;
        Some(self.us(region))
    }

    fn host_us(&mut self, _: &GraphPath, _: NodeId) -> Option<f64> {
        Some(self.host)
    }
}

fn measured(ready: &Ready, tables: &[PatternTable], bench: &mut Bench<'_>) -> Partition {
    let mut options = Options { policy: Policy::Measured, ..Options::default() };
    tables.iter().for_each(|t| options.cost.set(target(&t.vendor.name, &[])));
    partition_measured(&ready.model, tables, &options, &mut NoCheck, bench).unwrap().0
}

#[test]
fn nothing_has_to_be_known_beforehand() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\nc = Relu(b)\ny = Abs(c)");
    let both = [("Relu", ""), ("Abs", "")];
    let truth = [("p", "Relu", 100.0), ("p", "Abs", 3.0), ("q", "Relu", 4.0), ("q", "Abs", 100.0)];
    for vendors in [["p", "q"], ["q", "p"]] {
        let tables = tables(&vendors.map(|v| table(v, &both))).unwrap();
        let mut bench = Bench::new(&truth, 1.0, 50.0);
        let result = measured(&ready, &tables, &mut bench);
        assert_eq!(bench.total(&result), 14.0);
        assert_eq!(result.predicted.map(|t| (t.us, t.partial)), Some((14.0, false)));
        assert_eq!(
            result.greedy_predicted.map(|t| t.us),
            Some(203.0 + f64::from(u8::from(vendors[0] == "q")) * 2.0)
        );
        assert!(bench.asked.values().all(|n| *n == 1), "each region is timed once: {:?}", bench.asked);
    }
}

#[test]
fn a_region_that_is_faster_than_its_parts_is_found() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\ny = Relu(b)");
    let tables = tables(&[table("p", &[("Relu", ""), ("Abs", "")])]).unwrap();
    let mut bench = Bench::new(&[("p", "Relu", 30.0), ("p", "Abs", 30.0)], 25.0, 20.0);
    let result = measured(&ready, &tables, &mut bench);
    assert_eq!((result.regions.len(), bench.total(&result)), (1, 40.0));
}

#[test]
fn what_is_slower_than_the_host_stays_there() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\ny = Relu(b)");
    let tables = tables(&[table("p", &[("Relu", ""), ("Abs", "")])]).unwrap();
    let mut bench = Bench::new(&[("p", "Relu", 30.0), ("p", "Abs", 5.0)], 0.0, 20.0);
    let result = measured(&ready, &tables, &mut bench);
    assert_eq!(bench.total(&result), 45.0);
}

/// As a whole, a placement takes what its regions take, and so much more for each.
struct Whole<'a>(Bench<'a>, f64);

impl Measure for Whole<'_> {
    fn region_us(&mut self, region: &Region, graph: &Graph) -> Option<f64> {
        self.0.region_us(region, graph)
    }

    fn host_us(&mut self, path: &GraphPath, node: NodeId) -> Option<f64> {
        self.0.host_us(path, node)
    }

    fn placements_us(&mut self, placements: &[&Partition]) -> Option<Vec<f64>> {
        let us = |p: &&Partition| self.0.total(p) + self.1 * p.regions.len() as f64;
        Some(placements.iter().map(us).collect())
    }
}

#[test]
fn what_is_faster_as_a_whole_counts() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\nc = Relu(b)\ny = Abs(c)");
    let tables = tables(&["p", "q"].map(|v| table(v, &[("Relu", ""), ("Abs", "")]))).unwrap();
    let truth = [("p", "Relu", 9.0), ("p", "Abs", 3.0), ("q", "Relu", 4.0), ("q", "Abs", 9.0)];
    let mut options = Options { policy: Policy::Measured, ..Options::default() };
    tables.iter().for_each(|t| options.cost.set(target(&t.vendor.name, &[])));
    let regions = |more: f64| {
        let mut whole = Whole(Bench::new(&truth, 0.0, 50.0), more);
        let result = partition_measured(&ready.model, &tables, &options, &mut NoCheck, &mut whole);
        result.unwrap().0.regions.len()
    };
    assert_eq!(regions(0.0), 4, "each on the faster vendor");
    assert_eq!(regions(20.0), 1, "greedily, as one region");
}

/// Nothing can be timed.
struct Blind;

impl Measure for Blind {
    fn region_us(&mut self, _: &Region, _: &Graph) -> Option<f64> {
        None
    }
}

#[test]
fn without_times_it_is_greedy() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\ny = Relu(b)");
    let tables = tables(&[table("p", &[("Relu", "")])]).unwrap();
    let options = Options { policy: Policy::Measured, ..Options::default() };
    let result = partition_measured(&ready.model, &tables, &options, &mut NoCheck, &mut Blind).unwrap().0;
    let greedy = partition(&ready.model, &tables, &Options::default(), &mut NoCheck).unwrap();
    assert_eq!(ready.report(&result), ready.report(&greedy));
}

#[test]
fn what_a_measured_host_has_no_rate_of_stays_where_greedy_has_it() {
    let ready = ready("a = Relu(x)\ny = Abs(a)");
    let slow = "cost = { fixed_us = 1000 }";
    let tables = tables(&[table("v", &[("Relu", slow), ("Abs", slow)])]).unwrap();
    let offloaded = |host: &[(&str, f64)]| {
        let mut options = Options { policy: Policy::Cost, ..Options::default() };
        options.cost.set(target("host", host));
        let result = partition(&ready.model, &tables, &options, &mut NoCheck).unwrap();
        result.regions.iter().flat_map(|r| &r.composites).map(|c| c.pattern.clone()).collect::<Vec<_>>()
    };
    assert!(offloaded(&[("memory", 1.0)]).is_empty(), "all that is known is the class");
    assert_eq!(offloaded(&[("memory", 1.0), ("Relu", 1.0)]), ["Abs"]);
}
