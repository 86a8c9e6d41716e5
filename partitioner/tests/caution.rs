//! How sure the cost policy has to be before it leaves what greedy has: errors of measured rates, and what a region
//! costs the host.

mod support;

use byoc_partitioner::cost::Estimate;
use byoc_partitioner::{NoCheck, Options, Policy, Rates, Report, TargetProfile, partition};
use support::{Ready, tables};

const TABLE: &str = r#"
[vendor]
name = "v"
[[pattern]]
name = "relu"
match = "y = Relu(x)"
[[pattern]]
name = "tanh"
match = "y = Tanh(x)"
"#;

/// A target in host memory whose work takes so long, and may be off by this much.
fn target(name: &str, of: &str, us: f64, error: f64) -> TargetProfile {
    let rates = Rates { fixed_us: Some(us), error: (error > 0.0).then_some(error), ..Rates::default() };
    TargetProfile {
        name: name.into(),
        launch_us: Some(0.0),
        memory: Some("host".into()),
        rates: [(of.to_owned(), rates)].into_iter().collect(),
        ..TargetProfile::default()
    }
}

fn ready(nodes: &str) -> Ready {
    let text = "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[256] x) => (float[256] y) {";
    Ready::from_text(&format!("{text}\n{nodes}\n}}"))
}

fn by_cost(ready: &Ready, targets: Vec<TargetProfile>) -> Report {
    let mut options = Options { policy: Policy::Cost, ..Options::default() };
    targets.into_iter().for_each(|target| options.cost.set(target));
    let tables = tables(&[TABLE.to_owned()]).expect("the table is valid");
    ready.report(&partition(&ready.model, &tables, &options, &mut NoCheck).expect("it is valid"))
}

#[test]
fn what_is_predicted_to_pay_within_the_error_stays_with_greedy() {
    let ready = ready("y = Relu(x)");
    // The vendor takes 10 µs, the host 6: better by a factor of 1.67, whose logarithm is 0.51.
    let offloaded = |vendor: f64, host: f64| {
        let targets = vec![target("v", "relu", 10.0, vendor), target("host", "Relu", 6.0, host)];
        let report = by_cost(&ready, targets);
        let summary = report.summary;
        assert!(summary.predicted_us <= summary.greedy_predicted_us);
        summary.offloaded
    };
    assert_eq!(offloaded(0.0, 0.0), 0);
    assert_eq!(offloaded(0.25, 0.25), 0);
    assert_eq!(offloaded(0.3, 0.3), 1);
    assert_eq!(offloaded(0.6, 0.0), 1);
}

#[test]
fn every_region_costs_the_host_a_switch() {
    let ready = ready("a = Relu(x)\nb = Abs(a)\nc = Relu(b)\nd = Abs(c)\ny = Relu(d)");
    let regions = |switch: f64| {
        let vendor = TargetProfile {
            switch: Some(Estimate { us: switch, error: 0.0 }),
            ..target("v", "relu", 1.0, 0.0)
        };
        let mut host = target("host", "Relu", 4.0, 0.0);
        host.rates.insert("Abs".into(), Rates { fixed_us: Some(1.0), ..Rates::default() });
        let report = by_cost(&ready, vec![vendor, host]);
        let of_regions: f64 = report.regions.iter().filter_map(|r| r.predicted_us).sum();
        assert_eq!(of_regions, report.regions.len() as f64 * (1.0 + switch));
        report.regions.len()
    };
    assert_eq!(regions(2.0), 3);
    assert_eq!(regions(5.0), 0);
}

#[test]
fn an_unsure_switch_speaks_against_more_regions_and_not_for_the_host() {
    let ready = ready("a = Relu(x)\nb = Relu(a)\ny = Relu(b)");
    let regions = |us: f64, error: f64, relu: f64| {
        let vendor = TargetProfile { switch: Some(Estimate { us, error }), ..target("v", "relu", 2.0, 0.0) };
        by_cost(&ready, vec![vendor, target("host", "Relu", relu, 0.0)]).regions.len()
    };
    // Greedy has one region of 6 µs and its switch; the host would take 9 µs.
    assert_eq!(regions(4.0, 0.0, 3.0), 0);
    assert_eq!(regions(4.0, 0.5, 3.0), 1);
    assert_eq!(regions(8.0, 0.5, 3.0), 0);
}

#[test]
fn what_is_given_back_beside_a_region_costs_a_switch() {
    let ready = ready("a = Relu(x)\ny = Tanh(a)");
    let offloaded = |us: f64, error: f64| {
        let mut vendor = target("v", "relu", 10.0, 0.0);
        vendor.switch = Some(Estimate { us, error });
        vendor.rates.insert("tanh".into(), Rates { fixed_us: Some(1.0), ..Rates::default() });
        let mut host = target("host", "Relu", 5.0, 0.0);
        host.rates.insert("Tanh".into(), Rates { fixed_us: Some(50.0), ..Rates::default() });
        by_cost(&ready, vec![vendor, host]).summary.offloaded
    };
    assert_eq!(offloaded(2.0, 0.0), 1);
    assert_eq!(offloaded(2.0, 0.1), 1);
    assert_eq!(offloaded(8.0, 0.1), 2);
}
