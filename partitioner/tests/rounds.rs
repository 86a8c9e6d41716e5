//! Vendors that never have enough: after the last round what is left has been accepted as it is.

mod support;

use std::collections::HashSet;
use std::fmt::Write;

use byoc_graph::{Graph, NodeId};
use byoc_partitioner::{
    Answer, Check, Denied, Dropped, Kind, NoCheck, Options, Partition, Region, drop_regions, partition,
};
use byoc_plugin::table::PatternTable;
use support::Ready;

/// Chains of `length` Relu each, side by side.
fn chains(count: usize, length: usize) -> Ready {
    let mut body = String::new();
    let outputs: Vec<String> = (0..count).map(|c| format!("float[4] n{c}_{}", length - 1)).collect();
    for chain in 0..count {
        for i in 0..length {
            let input = if i == 0 { "x".to_owned() } else { format!("n{chain}_{}", i - 1) };
            let _ = writeln!(body, "n{chain}_{i} = Relu({input})");
        }
    }
    let head = "<ir_version: 8, opset_import: [\"\": 17]>";
    Ready::from_text(&format!("{head} g (float[4] x) => ({}) {{ {body} }}", outputs.join(", ")))
}

fn tables(names: &[&str]) -> Vec<PatternTable> {
    let table = |name: &&str| {
        format!("[vendor]\nname = \"{name}\"\n[[pattern]]\nname = \"relu\"\nmatch = \"y = Relu(x)\"\n")
    };
    support::tables(&names.iter().map(table).collect::<Vec<_>>()).expect("good tables")
}

/// A vendor with an opinion on its region; remembers what it has accepted.
struct Vendor<F> {
    answer: F,
    asked: usize,
    accepted: HashSet<(String, Vec<NodeId>)>,
}

impl<F: FnMut(usize, &Region, &Graph) -> Answer> Vendor<F> {
    fn new(answer: F) -> Self {
        Vendor { answer, asked: 0, accepted: HashSet::new() }
    }
}

fn what(region: &Region) -> (String, Vec<NodeId>) {
    (region.vendor_name.clone(), region.members.iter().map(|m| m.node).collect())
}

impl<F: FnMut(usize, &Region, &Graph) -> Answer> Check for Vendor<F> {
    fn check_region(&mut self, region: &Region, graph: &Graph) -> Answer {
        self.asked += 1;
        assert!(self.asked < 10_000, "asked without end");
        let answer = (self.answer)(self.asked, region, graph);
        let objects = match &answer {
            Answer::Accept(_) => false,
            Answer::Refuse(_) => true,
            Answer::Exclude(nodes) => {
                nodes.iter().any(|(id, _)| region.members.iter().any(|m| m.node == *id))
            }
        };
        match objects {
            false => self.accepted.insert(what(region)),
            true => self.accepted.remove(&what(region)),
        };
        answer
    }
}

/// Partitions; every region of the result is one that the vendor accepted when it was asked last.
fn settle(
    ready: &Ready,
    tables: &[PatternTable],
    answer: impl FnMut(usize, &Region, &Graph) -> Answer,
) -> (Partition, usize) {
    let mut vendor = Vendor::new(answer);
    let done = partition(&ready.model, tables, &Options::default(), &mut vendor).expect("it can be placed");
    for region in &done.regions {
        assert!(vendor.accepted.contains(&what(region)), "{} was refused, or never shown", region.name);
    }
    let report = ready.report(&done);
    for node in &report.nodes {
        for vendor in &report.vendors {
            assert!(node.reasons.iter().any(|r| r.vendor == *vendor), "{}: {vendor} says nothing", node.name);
        }
    }
    (done, vendor.asked)
}

fn accept() -> Answer {
    Answer::Accept(Default::default())
}

fn exclude(region: &Region, pick: impl Fn(usize) -> bool) -> Answer {
    let picked = region.members.iter().enumerate().filter(|(i, _)| pick(*i));
    Answer::Exclude(picked.map(|(_, m)| (m.node, "not this one".to_owned())).collect())
}

#[test]
fn a_vendor_that_refuses_every_region_has_none() {
    let ready = chains(3, 4);
    let (done, _) = settle(&ready, &tables(&["one"]), |_, _, _| Answer::Refuse("never".into()));
    assert!(done.regions.is_empty());
    assert!(done.host.iter().all(|h| h.report.reasons[0].kind == Kind::Vendor));
    // Another vendor gets what the first will not have.
    let two = tables(&["one", "two"]);
    let (done, _) = settle(&ready, &two, |_, region, _| match region.vendor_name.as_str() {
        "one" => Answer::Refuse("never".into()),
        _ => accept(),
    });
    assert!(done.host.is_empty() && done.regions.iter().all(|r| r.vendor_name == "two"));
}

#[test]
fn only_the_refused_region_is_lost() {
    let ready = chains(2, 3);
    let (done, _) = settle(&ready, &tables(&["one"]), |_, region, graph| {
        let bad = region.members.iter().any(|m| graph.node(m.node).label.starts_with("n1_"));
        if bad { Answer::Refuse("not the second".into()) } else { accept() }
    });
    let host: Vec<&str> = done.host.iter().map(|h| h.report.name.as_str()).collect();
    assert_eq!(host, ["n1_0", "n1_1", "n1_2"]);
    assert_eq!(done.regions.len(), 1);
}

#[test]
fn a_vendor_that_always_wants_one_node_less_ends_with_what_it_accepts() {
    // More nodes than rounds, so that it is still not content after the last.
    let (done, _) = settle(&chains(1, 30), &tables(&["one"]), |_, region, _| exclude(region, |i| i == 0));
    assert!(done.regions.is_empty());
    let words: HashSet<&str> = done.host.iter().map(|h| h.report.reasons[0].detail.as_str()).collect();
    assert_eq!(words, HashSet::from(["not this one"]));
    // Content below some size, which it reaches in time.
    let small = |_: usize, region: &Region, _: &Graph| match region.members.len() {
        0..=5 => accept(),
        _ => exclude(region, |i| i == 5),
    };
    let (done, _) = settle(&chains(1, 30), &tables(&["one"]), small);
    assert_eq!(done.regions.iter().map(|r| r.members.len()).collect::<Vec<_>>(), [5, 5, 5, 5, 5]);
}

#[test]
fn a_vendor_that_changes_its_mind_is_asked_finitely_often() {
    // Even nodes on even calls, odd nodes on odd ones.
    let (_, asked) =
        settle(&chains(4, 20), &tables(&["one"]), |call, region, _| exclude(region, |i| i % 2 == call % 2));
    assert!(asked < 1000, "asked {asked} times");
    // Refuses now and then, in rounds and after them.
    let moody = |call: usize, region: &Region, _: &Graph| match call % 3 {
        0 => Answer::Refuse("a bad day".into()),
        1 => exclude(region, |i| i == region.members.len() / 2),
        _ => accept(),
    };
    settle(&chains(5, 40), &tables(&["one", "two"]), moody);
}

#[test]
fn a_claim_about_nodes_outside_the_region_says_nothing() {
    let ready = chains(2, 2);
    let all: Vec<NodeId> = ready.model.graph.node_ids().collect();
    let (done, _) = settle(&ready, &tables(&["one"]), |_, region, _| {
        let outside = all.iter().filter(|id| !region.members.iter().any(|m| m.node == **id));
        Answer::Exclude(outside.map(|id| (*id, "not mine".to_owned())).collect())
    });
    assert_eq!((done.regions.len(), done.host.len()), (2, 0));
}

#[test]
fn dropping_a_region_leaves_the_others_as_they_are() {
    let ready = chains(3, 3);
    let (model, tables, options) = (&ready.model, tables(&["one"]), Options::default());
    let whole = partition(model, &tables, &options, &mut NoCheck).expect("it can be placed");
    assert_eq!(whole.regions.len(), 3);
    let gone = Dropped { region: 1, kind: Kind::Compile, detail: "it broke".into() };
    let left = drop_regions(model, &tables, &options, &whole, &[gone]).expect("it can be dropped");
    let nodes = |p: &Partition| p.regions.iter().map(|r| what(r).1).collect::<Vec<_>>();
    assert_eq!(nodes(&left), [what(&whole.regions[0]).1, what(&whole.regions[2]).1]);
    for host in &left.host {
        let reason = &host.report.reasons[0];
        assert_eq!((reason.kind, reason.detail.as_str()), (Kind::Compile, "it broke"));
    }
    // What was denied in between stays in the plan that is made of it.
    let denied = Denied {
        graph: "main".into(),
        node: "n0_0".into(),
        vendor: "one".into(),
        kind: Kind::Compile,
        detail: "it broke".into(),
    };
    let options = Options { denied: vec![denied], ..options };
    let done = partition(model, &tables, &options, &mut NoCheck).expect("it can be placed");
    let plan = byoc_partitioner::Plan::of(&done, model, &tables, &options, &[]).expect("recorded");
    assert_eq!(plan.steps[0].describe(), "deny `n0_0` to one");
}
