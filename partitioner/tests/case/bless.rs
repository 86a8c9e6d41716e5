//! Writes what comes out of a case into its file, in the place of what does not hold; all else stays as it is
//! written.

use byoc_partitioner::{CompositeReport, Reason, RegionReport, Report};
use serde_json::{Map, Value, json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, value};

use super::Outcome;
use super::expected::{has_composite, has_reason, host, regions};
use super::format::{Case, ExpectedComposite, ExpectedReason, OneOrMore};
use crate::support::Ready;

/// The text of a case, as its outcome has it. What must hold of every partition is not blessed.
pub fn bless(text: &str, case: &Case, outcome: &Outcome) -> String {
    let mut file: DocumentMut = text.parse().expect("the case has been read");
    match outcome {
        Outcome::Error { message, line } => bless_error(&mut file, message, *line),
        Outcome::Partition { ready, report, .. } => {
            bless_regions(&mut file, case, ready, report);
            bless_expect(&mut file, case, report);
            bless_composites(&mut file, &case.composite, report);
            bless_reasons(&mut file, &case.reason, report);
        }
    }
    file.to_string()
}

fn bless_error(file: &mut DocumentMut, message: &str, line: Option<usize>) {
    ["region", "composite", "reason", "expect"].iter().for_each(|key| drop(file.remove(key)));
    let mut expect = Map::new();
    expect.insert("error_contains".into(), json!([message]));
    expect.extend(line.map(|line| ("error_line".into(), json!(line))));
    file.insert("expect", Item::Table(table(&expect)));
}

fn bless_expect(file: &mut DocumentMut, case: &Case, report: &Report) {
    let (host, regions) = (host(case, report), report.regions.len());
    let expect = &case.expect;
    if let Some(table) = file.get_mut("expect").and_then(Item::as_table_like_mut) {
        ["error_contains", "error_line"].iter().for_each(|key| drop(table.remove(key)));
        if expect.host_includes.iter().any(|n| !host.contains(n.as_str())) {
            let left = expect.host_includes.iter().filter(|n| host.contains(n.as_str()));
            set(table, "host_includes", &json!(left.collect::<Vec<_>>()));
        }
        if expect.region_count.is_some_and(|n| n != regions) {
            set(table, "region_count", &json!(regions));
        }
        if expect.region_count_max.is_some_and(|n| n < regions) {
            set(table, "region_count_max", &json!(regions));
        }
    }
    let is_off = |wanted: &Vec<String>| {
        wanted.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>() != host
    };
    if expect.host.as_ref().is_some_and(is_off) || is_open(case) {
        let in_order: Vec<&String> = report.host.iter().filter(|n| host.contains(n.as_str())).collect();
        let entry = file.entry("expect").or_insert(Item::Table(Table::new()));
        set(entry.as_table_like_mut().expect("it is a table"), "host", &json!(in_order));
    }
}

/// Whether it says nothing, or nothing beyond an error, of what must come out.
fn is_open(case: &Case) -> bool {
    case.states_nothing() || !case.expect.error_contains.is_empty()
}

fn bless_regions(file: &mut DocumentMut, case: &Case, ready: &Ready, report: &Report) {
    let (missing, mut left) = regions(case, ready, report);
    let like: Vec<&str> =
        match file.get("region").and_then(Item::as_array_of_tables).and_then(|list| list.get(0)) {
            Some(first) => KEYS.into_iter().filter(|key| first.contains_key(key)).collect(),
            None => vec!["vendor", "nodes", "inputs", "outputs", "patterns"],
        };
    let list = list(file, "region");
    let mut gone = Vec::new();
    for i in missing {
        let common = |at: &usize| {
            let region = &report.regions[left[*at]];
            let nodes = case.region[i].nodes.iter().filter(|n| region.nodes.contains(n)).count();
            (region.vendor == case.region[i].vendor, nodes)
        };
        match (0..left.len()).max_by_key(|at| (common(at), std::cmp::Reverse(*at))) {
            Some(at) => {
                let region = of_region(&report.regions[left.remove(at)]);
                let entry = list.get_mut(i).expect("it has been read");
                let keys: Vec<&str> = KEYS.into_iter().filter(|key| entry.contains_key(key)).collect();
                keys.iter().for_each(|key| set(entry, key, &region[*key]));
            }
            None => gone.push(i),
        }
    }
    gone.into_iter().rev().for_each(|i| drop(list.remove(i)));
    if is_open(case) || !(case.region.is_empty() || case.expect.more_regions) {
        for region in left.into_iter().map(|i| of_region(&report.regions[i])) {
            let keys = |(key, value): (&String, &Value)| {
                let is_odd = key == "graph" && *value != "main" || key == "constants" && *value != json!([]);
                like.contains(&key.as_str()) || is_odd
            };
            list.push(table(
                &region.iter().filter(|entry| keys(*entry)).map(|(k, v)| (k.clone(), v.clone())).collect(),
            ));
        }
    }
    if list.is_empty() {
        file.remove("region");
        if !case.region.is_empty() {
            let entry = file.entry("expect").or_insert(Item::Table(Table::new()));
            set(entry.as_table_like_mut().expect("it is a table"), "region_count", &json!(0));
        }
    }
}

const KEYS: [&str; 7] = ["vendor", "graph", "nodes", "inputs", "outputs", "constants", "patterns"];

fn of_region(region: &RegionReport) -> Map<String, Value> {
    let patterns: Vec<&String> = region.composites.iter().map(|c| &c.pattern).collect();
    let values = [
        json!(region.vendor),
        json!(region.graph),
        json!(region.nodes),
        json!(region.inputs),
        json!(region.outputs),
        json!(region.constants),
        json!(patterns),
    ];
    KEYS.iter().map(|key| (*key).to_owned()).zip(values).collect()
}

/// Entries without a counterpart go.
fn bless_composites(file: &mut DocumentMut, expected: &[ExpectedComposite], report: &Report) {
    bless_entries(file, "composite", expected, &|e| has_composite(e, report), &|expected, entry| {
        let of_vendor = |r: &&RegionReport| expected.vendor.as_ref().is_none_or(|v| *v == r.vendor);
        let composites = report.regions.iter().filter(of_vendor).flat_map(|r| &r.composites);
        let common = |c: &&CompositeReport| {
            let nodes = expected.nodes.iter().filter(|n| c.nodes.contains(n)).count();
            (nodes, c.pattern == expected.pattern)
        };
        let Some(found) = composites.max_by_key(common).filter(|c| common(c).0 > 0) else { return false };
        set(entry, "pattern", &json!(found.pattern));
        set(entry, "nodes", &json!(found.nodes));
        if let Some(bindings) = entry.get_mut("bindings").and_then(Item::as_table_like_mut) {
            for name in expected.bindings.keys() {
                match found.bindings.get(name) {
                    Some(value) => set(bindings, name, &json!(value)),
                    None => drop(bindings.remove(name)),
                }
            }
            bindings.fmt();
        }
        let unbound = expected.unbound.iter().filter(|name| !found.bindings.contains_key(*name));
        let unbound: Vec<&String> = unbound.collect();
        if unbound.len() < expected.unbound.len() {
            set(entry, "unbound", &json!(unbound));
        }
        true
    });
}

fn bless_reasons(file: &mut DocumentMut, expected: &[ExpectedReason], report: &Report) {
    bless_entries(file, "reason", expected, &|e| has_reason(e, report), &|expected, entry| {
        let is_node = |n: &&byoc_partitioner::NodeReport| {
            n.name == expected.node && expected.graph.as_ref().is_none_or(|g| *g == n.graph)
        };
        let Some(node) = report.nodes.iter().find(is_node) else { return false };
        let kind = |r: &Reason| serde_json::to_value(r.kind).expect("a kind is JSON");
        let alike = |r: &&Reason| {
            let is_kind = matches!(&expected.kind, OneOrMore::One(one) if kind(r) == *one.as_str());
            (r.pattern == expected.pattern, is_kind)
        };
        let of_vendor = |r: &&Reason| expected.vendor.as_ref().is_none_or(|v| *v == r.vendor);
        // Of those that are as good, the first.
        let Some(found) = node.reasons.iter().rev().filter(of_vendor).max_by_key(alike) else { return false };
        set(entry, "kind", &kind(found));
        if expected.pattern.is_some() {
            match &found.pattern {
                Some(pattern) => set(entry, "pattern", &json!(pattern)),
                None => drop(entry.remove("pattern")),
            }
        }
        if !expected.detail_contains.iter().all(|text| found.detail.contains(text)) {
            set(entry, "detail_contains", &json!([found.detail]));
        }
        true
    });
}

/// Mends the entries of a list that do not hold; those that cannot be mended go.
fn bless_entries<E>(
    file: &mut DocumentMut,
    key: &str,
    expected: &[E],
    holds: &dyn Fn(&E) -> bool,
    mend: &dyn Fn(&E, &mut Table) -> bool,
) {
    let list = list(file, key);
    for (i, entry) in expected.iter().enumerate().rev() {
        if !holds(entry) && !mend(entry, list.get_mut(i).expect("it has been read")) {
            list.remove(i);
        }
    }
    if list.is_empty() {
        file.remove(key);
    }
}

fn list<'f>(file: &'f mut DocumentMut, key: &str) -> &'f mut ArrayOfTables {
    let entry = file.entry(key).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    entry.as_array_of_tables_mut().expect("a list in a case is written as tables")
}

/// Sets a value that is another, and leaves what is written around it.
fn set(table: &mut dyn TableLike, key: &str, to: &Value) {
    let mut item = item(to);
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        let old_text = old.clone().decorated("", "").to_string();
        let new = item.as_value_mut().expect("it is a value");
        if old_text.trim() == new.clone().decorated("", "").to_string().trim() {
            return;
        }
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, item);
}

fn table(entries: &Map<String, Value>) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    entries.iter().for_each(|(key, value)| drop(table.insert(key, item(value))));
    table
}

fn item(from: &Value) -> Item {
    match from {
        Value::Array(items) => value(items.iter().filter_map(Value::as_str).collect::<Array>()),
        Value::Number(number) => value(number.as_i64().expect("counts are small")),
        other => value(other.as_str().expect("all else is text")),
    }
}
