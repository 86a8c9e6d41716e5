//! What a case says must come out, beside what did.

use std::collections::BTreeSet;

use byoc_partitioner::{NodeReport, RegionReport, Report};

use super::format::{Case, ExpectedComposite, ExpectedReason, ExpectedRegion, OneOrMore};
use crate::support::Ready;

const TRANSPARENT: [&str; 4] = ["Identity", "Dropout", "Cast", "Constant"];

fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.into_iter().map(String::as_str).collect()
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Adds what is not as the case has it.
pub fn check_expected(case: &Case, ready: &Ready, report: &Report, wrong: &mut Vec<String>) {
    let expect = &case.expect;
    let host = host(case, report);
    if let Some(wanted) = &expect.host
        && set(wanted) != host
    {
        wrong.push(format!("host is {host:?}, not {wanted:?}"));
    }
    for name in expect.host_includes.iter().filter(|n| !host.contains(n.as_str())) {
        wrong.push(format!("`{name}` is not on the host"));
    }
    if expect.region_count.is_some_and(|n| n != report.regions.len()) {
        wrong.push(format!("{} regions, not {:?}", report.regions.len(), expect.region_count));
    }
    if expect.region_count_max.is_some_and(|n| n < report.regions.len()) {
        wrong.push(format!("{} regions, more than {:?}", report.regions.len(), expect.region_count_max));
    }
    if let Some(wanted) = &expect.region_names_match {
        let wanted = regex::Regex::new(wanted).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let others = report.regions.iter().filter(|r| !wanted.is_match(&r.name));
        others.for_each(|r| wrong.push(format!("region {} is not named like `{wanted}`", r.name)));
    }
    let (missing, left) = regions(case, ready, report);
    missing.iter().for_each(|i| wrong.push(format!("no such region: {:?}", case.region[*i])));
    if !case.region.is_empty() && !left.is_empty() && !expect.more_regions {
        wrong.push(format!("{} regions that are not expected", left.len()));
    }
    for composite in &case.composite {
        if !has_composite(composite, report) {
            wrong.push(format!("no such composite: {composite:?}"));
        }
    }
    for reason in &case.reason {
        if !has_reason(reason, report) {
            wrong.push(format!("no such reason: {reason:?}"));
        }
    }
}

/// The nodes on the host that count.
pub fn host<'a>(case: &Case, report: &'a Report) -> BTreeSet<&'a str> {
    let hidden = |n: &&NodeReport| TRANSPARENT.contains(&n.op.as_str()) && !case_names(case, &n.name);
    let hidden: BTreeSet<&str> = report.nodes.iter().filter(hidden).map(|n| n.name.as_str()).collect();
    set(&report.host).difference(&hidden).copied().collect()
}

/// By their numbers: regions that are expected and not there, and those that are there and not expected.
pub fn regions(case: &Case, ready: &Ready, report: &Report) -> (Vec<usize>, Vec<usize>) {
    let mut left: Vec<usize> = (0..report.regions.len()).collect();
    let mut missing = Vec::new();
    for (i, region) in case.region.iter().enumerate() {
        match left.iter().position(|i| region_fits(region, &report.regions[*i], ready)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(i),
        }
    }
    (missing, left)
}

fn case_names(case: &Case, name: &str) -> bool {
    case.expect.host.iter().flatten().any(|n| n == name)
}

fn region_fits(expected: &ExpectedRegion, region: &RegionReport, ready: &Ready) -> bool {
    let values = |names: &[String]| names.iter().map(|n| ready.value(n).to_owned()).collect::<Vec<_>>();
    let patterns: Vec<String> = region.composites.iter().map(|c| c.pattern.clone()).collect();
    region.vendor == expected.vendor
        && expected.graph.as_ref().is_none_or(|g| *g == region.graph)
        && set(&expected.nodes) == set(&region.nodes)
        && expected.inputs.as_ref().is_none_or(|i| values(i) == values(&region.inputs))
        && expected.outputs.as_ref().is_none_or(|o| sorted(&values(o)) == sorted(&values(&region.outputs)))
        && outputs_in_order(expected, region, ready)
        && expected.constants.as_ref().is_none_or(|c| set(c) == set(&region.constants))
        && expected.patterns.as_ref().is_none_or(|p| sorted(p) == sorted(&patterns))
}

/// Where all of them are graph outputs, their order counts.
fn outputs_in_order(expected: &ExpectedRegion, region: &RegionReport, ready: &Ready) -> bool {
    let Some(outputs) = &expected.outputs else { return true };
    let graph = &ready.model.graph;
    let is_output = |n: &String| graph.value_by_name(n).is_some_and(|v| graph.is_output(v));
    !(region.graph == "main" && outputs.iter().all(is_output)) || *outputs == region.outputs
}

pub fn has_composite(expected: &ExpectedComposite, report: &Report) -> bool {
    let regions = report.regions.iter().filter(|r| expected.vendor.as_ref().is_none_or(|v| *v == r.vendor));
    regions.flat_map(|r| &r.composites).any(|c| {
        let bound = |(name, value): (&String, &String)| c.bindings.get(name) == Some(value);
        c.pattern == expected.pattern
            && set(&c.nodes) == set(&expected.nodes)
            && expected.bindings.iter().all(bound)
            && expected.unbound.iter().all(|name| !c.bindings.contains_key(name))
    })
}

pub fn has_reason(expected: &ExpectedReason, report: &Report) -> bool {
    let nodes = report
        .nodes
        .iter()
        .filter(|n| n.name == expected.node && expected.graph.as_ref().is_none_or(|g| *g == n.graph));
    nodes.flat_map(|n| &n.reasons).any(|r| {
        let kind = serde_json::to_value(r.kind).expect("a kind is JSON");
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let kinds = match &expected.kind {
            OneOrMore::One(one) => *one == kind,
            OneOrMore::More(more) => more.contains(&kind),
        };
        kinds
            && expected.vendor.as_ref().is_none_or(|v| *v == r.vendor)
            && expected.pattern.as_ref().is_none_or(|p| r.pattern.as_ref() == Some(p))
            && expected.detail_contains.iter().all(|text| r.detail.contains(text))
    })
}
