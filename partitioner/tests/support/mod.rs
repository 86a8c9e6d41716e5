//! What the tests of partitions share: reading a case, and carrying it out.
#![allow(dead_code)]

pub mod random_model;
pub mod terms;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use byoc_graph::infer::{InferOptions, infer, specialise};
use byoc_graph::normalise::{NoEvaluate, Removed, normalise};
use byoc_graph::{Model, onnx, schema};
use byoc_partitioner::will::{BOUNDARY, Cut};
use byoc_partitioner::{NoCheck, Options, Partition, Plan, Policy, Report, partition, replay, where_clause};
use byoc_plugin::table::{OperatorLookup, PatternTable, TableChecks, TableError, WhereError};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub about: String,
    pub model: Option<String>,
    pub model_file: Option<String>,
    pub tables: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub feed: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub skip: Vec<String>,
    #[serde(default)]
    pub big: bool,
    #[serde(default)]
    pub region: Vec<ExpectedRegion>,
    #[serde(default)]
    pub composite: Vec<ExpectedComposite>,
    #[serde(default)]
    pub reason: Vec<ExpectedReason>,
    #[serde(default)]
    pub expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRegion {
    pub vendor: String,
    pub graph: Option<String>,
    pub nodes: Vec<String>,
    pub inputs: Option<Vec<String>>,
    pub outputs: Option<Vec<String>>,
    pub constants: Option<Vec<String>>,
    pub patterns: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedComposite {
    pub pattern: String,
    pub nodes: Vec<String>,
    pub vendor: Option<String>,
    #[serde(default)]
    pub bindings: BTreeMap<String, String>,
    #[serde(default)]
    pub unbound: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedReason {
    pub node: String,
    pub kind: OneOrMore,
    pub vendor: Option<String>,
    pub graph: Option<String>,
    pub pattern: Option<String>,
    #[serde(default)]
    pub detail_contains: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    pub host: Option<Vec<String>>,
    pub host_includes: Vec<String>,
    pub region_count: Option<usize>,
    pub region_count_max: Option<usize>,
    pub region_names_match: Option<String>,
    pub more_regions: bool,
    pub max_model_bytes: Option<usize>,
    pub error_contains: Vec<String>,
    pub error_line: Option<usize>,
}

/// What the schemas know of operators.
pub struct Checks;

impl TableChecks for Checks {
    fn operator(&self, domain: &str, name: &str, opset: Option<i64>) -> OperatorLookup {
        if schema::latest(domain).is_none() {
            return OperatorLookup::UnknownDomain;
        }
        let known: Vec<_> = match opset {
            Some(opset) => schema::lookup(domain, name, opset).into_iter().collect(),
            None => schema::versions(domain, name).iter().collect(),
        };
        if known.is_empty() {
            return OperatorLookup::Unknown { similar: Vec::new() };
        }
        let names = known.iter().flat_map(|s| s.attributes).map(|a| a.name.to_owned());
        OperatorLookup::Known { attributes: names.collect() }
    }

    fn parse_where(&self, text: &str) -> Result<(), WhereError> {
        where_clause::check(text).map_err(|e| WhereError { offset: e.offset, message: e.message })
    }
}

pub fn tables(texts: &[String]) -> Result<Vec<PatternTable>, TableError> {
    let parse = |(i, text): (usize, &String)| {
        let table = PatternTable::parse(&format!("table{i}.toml"), text)?;
        table.check(&Checks)?;
        Ok(table)
    };
    texts.iter().enumerate().map(parse).collect()
}

/// A model made ready for partitioning.
pub struct Ready {
    pub model: Model,
    pub removed: Vec<Removed>,
    /// Values that are one value with another, since a node between only passes it on.
    alias: HashMap<String, String>,
}

impl Ready {
    pub fn new(mut model: Model) -> Ready {
        infer(&mut model, &InferOptions::default()).expect("types can be inferred");
        let mut alias = HashMap::new();
        model.for_each_graph(&mut |_, graph| {
            for id in graph.model_order() {
                let node = graph.node(id);
                let ty = |v: Option<byoc_graph::ValueId>| v.and_then(|v| graph.value(v).ty.clone());
                let same = ty(node.input(0)).is_some() && ty(node.input(0)) == ty(node.output(0));
                let passes = node.is("Identity") || node.is("Dropout") || (node.is("Cast") && same);
                if let (true, Some(from), Some(to)) = (passes, node.input(0), node.output(0)) {
                    alias.insert(graph.value(to).name.to_string(), graph.value(from).name.to_string());
                }
            }
        });
        let removed = normalise(&mut model, &NoEvaluate, &|_| true);
        specialise(&mut model);
        Ready { model, removed, alias }
    }

    pub fn from_text(text: &str) -> Ready {
        Ready::new(onnx::from_text(text, None).expect("the model parses"))
    }

    pub fn value<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(before) = self.alias.get(name) {
            name = before;
        }
        name
    }

    pub fn report(&self, partition: &Partition) -> Report {
        partition.report(&self.model, Path::new("model.onnx"), &self.removed)
    }
}

pub fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} lacks a value"));
        match arg.as_str() {
            "--policy" => {
                options.policy = match value()?.as_str() {
                    "greedy" => Policy::Greedy,
                    "cost" => Policy::Cost,
                    other => return Err(format!("this test does not know the policy `{other}`")),
                }
            }
            "--merge-siblings" => options.merge_siblings = true,
            "--exclude" => options.exclude.push(value()?),
            "--force" => {
                let value = value()?;
                let (node, target) = value.split_once('=').ok_or("--force wants NODE=TARGET")?;
                options.force.push((node.to_owned(), target.to_owned()));
            }
            "--only-op" => options.only_ops.push(value()?),
            "--cut" => options.cuts.extend(Cut::parse(&value()?)?),
            "--disable-pass" => options.disabled_passes.push(value()?),
            other => return Err(format!("this test does not know `{other}`")),
        }
    }
    Ok(options)
}

/// Reads and carries out a case; `Err` lists what does not hold.
pub fn run(case: &Case, folder: &Path) -> Result<(), String> {
    let tables = match tables(&case.tables) {
        Ok(tables) => tables,
        Err(error) => return check_error(case, &error.to_string(), Some(error.line)),
    };
    let model = match (&case.model, &case.model_file) {
        (Some(text), _) => onnx::from_text(text, None),
        (None, Some(file)) => onnx::load(folder.join(file)),
        (None, None) => return Err("the case has no model".into()),
    };
    let model = match model {
        Ok(model) => model,
        Err(error) => return check_error(case, &error.to_string(), None),
    };
    let ready = Ready::new(model);
    let options = options(&case.args)?;
    let result = match partition(&ready.model, &tables, &options, &mut NoCheck) {
        Ok(result) => result,
        Err(error) => return check_error(case, &error.to_string(), None),
    };
    if !case.expect.error_contains.is_empty() {
        return Err("an error was expected".into());
    }
    let report = ready.report(&result);
    let mut wrong = Vec::new();
    check_expected(case, &ready, &report, &mut wrong);
    check_always(&ready, &tables, &options, &result, &report, &mut wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    let report = serde_json::to_string_pretty(&report).expect("a report is JSON");
    Err(format!("{}\n{report}", wrong.join("\n")))
}

fn check_error(case: &Case, message: &str, line: Option<usize>) -> Result<(), String> {
    let expected = &case.expect.error_contains;
    if expected.is_empty() || !expected.iter().all(|text| message.contains(text)) {
        return Err(format!("unexpected error: {message}"));
    }
    match case.expect.error_line {
        Some(wanted) if line != Some(wanted) => Err(format!("line {line:?}, not {wanted}: {message}")),
        _ => Ok(()),
    }
}

const TRANSPARENT: [&str; 4] = ["Identity", "Dropout", "Cast", "Constant"];

fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.into_iter().map(String::as_str).collect()
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn check_expected(case: &Case, ready: &Ready, report: &Report, wrong: &mut Vec<String>) {
    let expect = &case.expect;
    let hidden: BTreeSet<&str> = report
        .nodes
        .iter()
        .filter(|n| TRANSPARENT.contains(&n.op.as_str()) && !case_names(case, &n.name))
        .map(|n| n.name.as_str())
        .collect();
    let host: BTreeSet<&str> = set(&report.host).difference(&hidden).copied().collect();
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
    let mut left: Vec<usize> = (0..report.regions.len()).collect();
    for region in &case.region {
        match left.iter().position(|i| region_fits(region, &report.regions[*i], ready)) {
            Some(at) => drop(left.remove(at)),
            None => wrong.push(format!("no such region: {region:?}")),
        }
    }
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

fn case_names(case: &Case, name: &str) -> bool {
    case.expect.host.iter().flatten().any(|n| n == name)
}

fn region_fits(expected: &ExpectedRegion, region: &byoc_partitioner::RegionReport, ready: &Ready) -> bool {
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
fn outputs_in_order(
    expected: &ExpectedRegion,
    region: &byoc_partitioner::RegionReport,
    ready: &Ready,
) -> bool {
    let Some(outputs) = &expected.outputs else { return true };
    let graph = &ready.model.graph;
    let is_output = |n: &String| graph.value_by_name(n).is_some_and(|v| graph.is_output(v));
    !(region.graph == "main" && outputs.iter().all(is_output)) || *outputs == region.outputs
}

fn has_composite(expected: &ExpectedComposite, report: &Report) -> bool {
    let regions = report.regions.iter().filter(|r| expected.vendor.as_ref().is_none_or(|v| *v == r.vendor));
    regions.flat_map(|r| &r.composites).any(|c| {
        let bound = |(name, value): (&String, &String)| c.bindings.get(name) == Some(value);
        c.pattern == expected.pattern
            && set(&c.nodes) == set(&expected.nodes)
            && expected.bindings.iter().all(bound)
            && expected.unbound.iter().all(|name| !c.bindings.contains_key(name))
    })
}

fn has_reason(expected: &ExpectedReason, report: &Report) -> bool {
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

/// What must hold of every partition, stated or not.
pub fn check_always(
    ready: &Ready,
    tables: &[PatternTable],
    options: &Options,
    result: &Partition,
    report: &Report,
    wrong: &mut Vec<String>,
) {
    check_covered(ready, report, wrong);
    if !has_cuts(ready, options) {
        check_neighbours(ready, tables, result, wrong);
    }
    for node in &report.nodes {
        for vendor in report.vendors.iter().filter(|v| node.reasons.iter().all(|r| r.vendor != **v)) {
            wrong.push(format!("`{}` has no reason for {vendor}", node.name));
        }
    }
    let hosts: Vec<&String> = report.nodes.iter().map(|n| &n.name).collect();
    if hosts != report.host.iter().collect::<Vec<_>>()
        || report.summary.nodes - report.summary.offloaded != report.host.len()
        || report.summary.regions != report.regions.len()
    {
        wrong.push("`host`, `nodes` and `summary` do not agree".into());
    }
    let outlined = match result.outline(&ready.model) {
        Ok(outlined) => outlined,
        Err(error) => return wrong.push(format!("the model cannot be outlined: {error}")),
    };
    outlined.for_each_graph(&mut |_, graph| graph.check());
    let bytes = onnx::to_bytes(&outlined).expect("the partitioned model can be written");
    let again = partition(&ready.model, tables, options, &mut NoCheck).expect("it worked before");
    let same_model = onnx::to_bytes(&again.outline(&ready.model).expect("it worked before")).ok();
    if ready.report(&again) != *report || same_model.as_ref() != Some(&bytes) {
        wrong.push("a second run gives something else".into());
    }
    check_replay(ready, tables, options, result, (report, &bytes), wrong);
    let written = onnx::from_bytes(bytes, None).expect("the partitioned model can be read");
    let names = |values: &[byoc_graph::ValueId], m: &Model| {
        values.iter().map(|v| m.graph.value(*v).name.clone()).collect::<Vec<_>>()
    };
    if names(ready.model.graph.outputs(), &ready.model) != names(written.graph.outputs(), &written) {
        wrong.push("outputs are not what they were".into());
    }
    let written = Ready::new(written);
    // Excluded and forced nodes may be gone, inside regions.
    let given = Options {
        policy: options.policy,
        cost: options.cost.clone(),
        budget_ms: options.budget_ms,
        merge_siblings: options.merge_siblings,
        ..Options::default()
    };
    let second = partition(&written.model, tables, &given, &mut NoCheck).expect("it worked before");
    let ruled = !options.exclude.is_empty() || !options.force.is_empty() || !options.only_ops.is_empty();
    if !second.regions.is_empty() && !ruled {
        wrong.push(format!("partitioning again adds {} regions", second.regions.len()));
    }
}

/// The plan of a partition, written, read and carried out, gives that partition and that plan.
fn check_replay(
    ready: &Ready,
    tables: &[PatternTable],
    options: &Options,
    result: &Partition,
    (report, bytes): (&Report, &[u8]),
    wrong: &mut Vec<String>,
) {
    let plan = Plan::of(result, &ready.model, tables, options, &ready.removed).expect("it can be recorded");
    let read =
        Plan::parse("plan.toml", &plan.to_text()).unwrap_or_else(|e| panic!("{e}\n{}", plan.to_text()));
    let given = Options {
        disabled_passes: options.disabled_passes.clone(),
        cost: options.cost.clone(),
        ..Options::default()
    };
    let again = match replay(&ready.model, tables, &ready.removed, &read, &given, &mut NoCheck) {
        Ok(again) => again,
        Err(error) => return wrong.push(format!("the plan does not fit: {error}\n{}", plan.to_text())),
    };
    let outlined = again.outline(&ready.model).expect("it worked before");
    if ready.report(&again) != *report || onnx::to_bytes(&outlined).ok().as_deref() != Some(bytes) {
        wrong.push(format!("the plan gives something else\n{}", plan.to_text()));
    }
    let options = read.options(&given);
    let same = Plan::of(&again, &ready.model, tables, &options, &ready.removed).expect("it can be recorded");
    if same != plan {
        wrong.push("a replayed plan is not the plan".into());
    }
}

/// Every node of every graph is in exactly one region or on the host.
fn check_covered(ready: &Ready, report: &Report, wrong: &mut Vec<String>) {
    let mut count: HashMap<(String, String), usize> = HashMap::new();
    for region in &report.regions {
        for node in region.nodes.iter().filter(|n| !n.contains('@')) {
            *count.entry((region.graph.clone(), node.clone())).or_default() += 1;
        }
    }
    for node in &report.nodes {
        *count.entry((node.graph.clone(), node.name.clone())).or_default() += 1;
    }
    let mut total = 0;
    ready.model.for_each_graph(&mut |path, graph| {
        if path.starts_with("function:byoc.") {
            return;
        }
        for id in graph.node_ids() {
            total += 1;
            let label = graph.node(id).label.to_string();
            if count.get(&(path.to_owned(), label.clone())) != Some(&1) {
                wrong.push(format!("`{label}` of {path} is not in exactly one place"));
            }
        }
    });
    if count.values().sum::<usize>() != total {
        wrong.push("there are nodes that the model does not have".into());
    }
}

fn has_cuts(ready: &Ready, options: &Options) -> bool {
    !options.cuts.is_empty() || ready.model.metadata.iter().any(|(key, _)| key == BOUNDARY)
}

/// Without limits, merging any two neighbouring regions of one vendor closes a cycle.
fn check_neighbours(ready: &Ready, tables: &[PatternTable], result: &Partition, wrong: &mut Vec<String>) {
    for path in &result.graphs {
        let Some(graph) = path.get(&ready.model) else { continue };
        let regions: Vec<_> = result.regions.iter().filter(|r| r.graph == *path).collect();
        if regions.iter().any(|r| tables[r.vendor].vendor.limits != Default::default()) || regions.len() > 40
        {
            continue;
        }
        for (i, a) in regions.iter().enumerate() {
            for b in &regions[i + 1..] {
                let feeds = |x: &byoc_partitioner::Region, y: &byoc_partitioner::Region| {
                    x.outputs.iter().any(|v| y.inputs.contains(v))
                };
                if a.vendor != b.vendor || !(feeds(a, b) || feeds(b, a)) {
                    continue;
                }
                if !path_around(graph, &regions, a, b) {
                    wrong.push(format!("{} and {} could be merged", a.name, b.name));
                }
            }
        }
    }
}

/// Whether some path leaves the two regions and comes back, other regions being one node each.
fn path_around(
    graph: &byoc_graph::Graph,
    regions: &[&byoc_partitioner::Region],
    a: &byoc_partitioner::Region,
    b: &byoc_partitioner::Region,
) -> bool {
    let inputs: Vec<_> = a.inputs.iter().chain(&b.inputs).copied().collect();
    let made = |r: &byoc_partitioner::Region, v: &byoc_graph::ValueId| r.outputs.contains(v);
    let mut open: Vec<_> = inputs.into_iter().filter(|v| !made(a, v) && !made(b, v)).collect();
    let mut seen = std::collections::HashSet::new();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        if made(a, &value) || made(b, &value) {
            return true;
        }
        if let Some(region) = regions.iter().find(|r| made(r, &value)) {
            open.extend(&region.inputs);
        } else if let Some((node, _)) = graph.value(value).producer() {
            open.extend(graph.node(node).dependencies());
        }
    }
    false
}
