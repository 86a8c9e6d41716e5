//! What must hold of every partition, stated or not.

use std::collections::HashMap;

use byoc_graph::{Model, onnx};
use byoc_partitioner::will::BOUNDARY;
use byoc_partitioner::{NoCheck, Options, Partition, Plan, Report, partition, replay};
use byoc_plugin::table::PatternTable;

use super::Ready;

/// Adds what is wrong with a partition.
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
