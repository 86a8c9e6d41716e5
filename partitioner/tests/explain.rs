//! The story of a node and the road map say what happened, and what would have to change.

mod support;

use byoc_partitioner::will::Cut;
use byoc_partitioner::{
    Kind, NoCheck, Options, Partition, RegionStory, Report, Story, UnknownNode, partition,
};
use byoc_plugin::table::PatternTable;
use support::{Ready, tables};

const MODEL: &str = r#"
<ir_version: 9, opset_import: ["" : 17]>
g (float[1,8,8,8] x) => (float[1,8,8,8] out) <float[8,4,1,1] grouped = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, float[8,8,1,1] plain = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}> {
  [wide] a = Conv<group = 2>(x, grouped)
  [narrow] b = Conv(a, plain)
  [act] c = Relu(b)
  [last] out = Neg(c)
}
"#;

const TABLE: &str = r#"
[vendor]
name = "npu"

[[pattern]]
name = "conv_relu"
match = """
c = Conv(x, w: const)
y = Relu(c)
"""

[[pattern]]
name = "conv"
match = "y = Conv(x, w: const)"
where = ["x.rank == 4", "y.attr.group == 1"]
"#;

struct Explained {
    ready: Ready,
    tables: Vec<PatternTable>,
    options: Options,
    partition: Partition,
    report: Report,
}

impl Explained {
    fn new() -> Explained {
        Explained::of(MODEL, &[TABLE], Options::default())
    }

    fn of(model: &str, texts: &[&str], options: Options) -> Explained {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        let (ready, tables) = (Ready::from_text(model), tables(&texts).expect("the tables parse"));
        let options = Options { rivals: true, ..options };
        let partition = partition(&ready.model, &tables, &options, &mut NoCheck).expect("partitioned");
        let report = ready.report(&partition);
        Explained { ready, tables, options, partition, report }
    }

    fn stories(&self, name: &str) -> Result<Vec<Story>, UnknownNode> {
        self.partition.stories(&self.ready.model, &self.report, &self.tables, name)
    }

    fn region(&self, name: &str) -> RegionStory {
        let story = self.partition.region_story(&self.ready.model, &self.tables, &self.options, name);
        story.expect("there is such a region")
    }

    fn story(&self, name: &str) -> Story {
        self.stories(name).expect("the node is known").remove(0)
    }
}

#[test]
fn a_refused_node_names_the_clause_and_the_way_out() {
    let story = Explained::new().story("wide");
    assert_eq!(story.target, "host");
    let first = &story.reasons[0];
    assert_eq!((first.kind, first.pattern.as_deref()), (Kind::Where, Some("conv")));
    assert!(first.detail.contains("y.attr.group = 2"), "{}", first.detail);
    assert!(first.change.contains("clause `y.attr.group == 1`"), "{}", first.change);
}

#[test]
fn an_offloaded_node_names_its_composite_and_what_lost() {
    let story = Explained::new().story("narrow");
    assert_eq!(story.target, "npu");
    assert_eq!(story.taken[0].pattern, "conv_relu");
    assert_eq!(story.taken[0].nodes, ["narrow", "act"]);
    let lost: Vec<_> = story.reasons.iter().map(|r| (r.kind, r.pattern.as_deref())).collect();
    assert_eq!(lost, [(Kind::Taken, Some("conv"))]);
}

#[test]
fn what_came_too_late_foresees_a_cycle() {
    const LATE: &str = r#"
[vendor]
name = "npu"

[[pattern]]
name = "relu"
priority = 5
match = "y = Relu(x)"

[[pattern]]
name = "relu_add"
allow_taps = true
match = """
r = Relu(x)
y = Add(r, _)
"""
"#;
    let change = |far: &str| {
        let body = format!("  [near] r = Relu(x)\n  [far] h = {far}(x)\n  [sum] y = Add(r, h)\n");
        let body = if far == "Exp" { body.replace("Exp(x)", "Exp(r)") } else { body };
        let model = format!(
            "<ir_version: 9, opset_import: [\"\" : 17]>\ng (float[4] x) => (float[4] y) {{\n{body}}}"
        );
        let story = Explained::of(&model, &[LATE], Options::default()).story("sum");
        story
            .reasons
            .into_iter()
            .find(|r| r.pattern.as_deref() == Some("relu_add"))
            .expect("it matches")
            .change
    };
    assert_eq!(change("Neg"), "a priority of `relu_add` above 5, which `relu` has");
    let cycle = change("Exp");
    assert!(
        cycle.contains("above 5") && cycle.contains("and then npu taking the nodes on that path"),
        "{cycle}"
    );
    assert!(cycle.contains("near → far → sum"), "{cycle}");
}

#[test]
fn without_being_asked_nothing_is_said_of_offloaded_nodes() {
    let ready = Ready::from_text(MODEL);
    let tables = tables(&[TABLE.to_owned()]).expect("the table parses");
    let partition = partition(&ready.model, &tables, &Options::default(), &mut NoCheck).expect("partitioned");
    assert!(partition.offloaded.is_empty());
}

#[test]
fn a_name_that_nobody_has_brings_near_ones() {
    let error = Explained::new().stories("narow").expect_err("nobody is called so");
    assert_eq!(error.near[0], "narrow");
    assert!(error.to_string().contains("near it are `narrow`"), "{error}");
}

#[test]
fn the_road_map_ranks_by_arithmetic() {
    let explained = Explained::new();
    let map = explained.partition.road_map(&explained.ready.model, &explained.tables);
    let rows: Vec<_> = map.obstacles.iter().map(|o| (o.op.as_str(), o.nodes, o.clause.as_deref())).collect();
    assert_eq!(rows, [("Conv", 1, Some("y.attr.group == 1")), ("Neg", 1, None)]);
    let shares: f64 = map.obstacles.iter().filter_map(|o| o.share).sum();
    assert!(shares > 0.3 && shares < 0.5, "{shares}: the refused convolution has half the work of the other");
    assert_eq!(map.obstacles[0].flops, 2 * 8 * 64 * 4);
}

/// What it would take for the first reason of a node that mentions a pattern of a vendor.
fn advice(story: &Story, vendor: &str, pattern: &str) -> String {
    let told = story.reasons.iter().find(|r| r.vendor == vendor && r.pattern.as_deref() == Some(pattern));
    told.unwrap_or_else(|| panic!("{story:?}")).change.clone()
}

fn patterns_of(explained: &Explained, node: &str) -> Vec<String> {
    explained.story(node).taken.iter().map(|t| format!("{} {}", t.vendor, t.pattern)).collect()
}

const OTHER: &str = r#"
[vendor]
name = "dsp"

[[pattern]]
name = "conv"
priority = -3
match = "y = Conv(x, w: const)"

[[pattern]]
name = "tall"
priority = -2
match = "y = Conv(x, w: const)"
where = ["x.rank == 5"]
"#;

#[test]
fn the_way_past_what_has_a_node_leads_there() {
    let explained = Explained::of(MODEL, &[TABLE, OTHER], Options::default());
    assert_eq!(patterns_of(&explained, "narrow"), ["npu conv_relu"]);
    let story = explained.story("narrow");
    assert_eq!(advice(&story, "npu", "conv"), "a priority of `conv` above 0, which `conv_relu` has");
    let raised = TABLE.replace("name = \"conv\"\n", "name = \"conv\"\npriority = 1\n");
    assert_eq!(
        patterns_of(&Explained::of(MODEL, &[&raised, OTHER], Options::default()), "narrow"),
        ["npu conv"]
    );
    let expected = "a priority of `conv` above 0, which `conv_relu` has, or `--force narrow=dsp`";
    assert_eq!(advice(&story, "dsp", "conv"), expected);
    let raised = OTHER.replace("priority = -3", "priority = 1").replace("priority = -2", "priority = 2");
    assert_eq!(
        patterns_of(&Explained::of(MODEL, &[TABLE, &raised], Options::default()), "narrow"),
        ["dsp conv"]
    );
    let forced = Options { force: vec![("narrow".into(), "dsp".into())], ..Options::default() };
    let forced = Explained::of(MODEL, &[TABLE, OTHER], forced);
    assert_eq!(patterns_of(&forced, "narrow"), ["dsp conv"]);
    // No priority helps against what a user has forced.
    let told = forced.story("narrow").reasons;
    assert!(told.iter().any(|r| r.vendor == "npu" && r.kind == Kind::User), "{told:?}");
}

#[test]
fn what_else_stands_against_a_match_that_came_too_late_is_told() {
    let explained = Explained::of(MODEL, &[TABLE, OTHER], Options::default());
    let story = explained.story("narrow");
    let tall = story.reasons.iter().find(|r| r.pattern.as_deref() == Some("tall")).expect("it is told of");
    assert_eq!(tall.kind, Kind::Taken);
    assert!(tall.besides.as_ref().is_some_and(|b| b.contains("x.rank = 4")), "{tall:?}");
    assert!(tall.change.contains("and then `tall`'s clause `x.rank == 5`"), "{tall:?}");
}

const RELU: &str = "[vendor]\nname = \"npu\"\n[[pattern]]\nname = \"relu\"\nmatch = \"y = Relu(x)\"\n[[pattern]]\nname = \"add\"\nmatch = \"y = Add(a, b)\"\n";

/// `a` and `d` are neighbours, and `h` is between them as well.
const AROUND: &str = r#"
<ir_version: 9, opset_import: ["" : 17]>
g (float[4] x) => (float[4] e) {
  a = Relu(x)
  h = Neg(a)
  d = Add(a, h)
  e = Relu(d)
}
"#;

#[test]
fn a_region_says_why_it_is_not_larger() {
    let explained = Explained::of(AROUND, &[RELU], Options::default());
    let region = explained.region("npu_0");
    assert_eq!((region.nodes.join(" "), region.vendor.as_str(), region.apart), ("a".to_owned(), "npu", 0));
    let told: Vec<_> = region.neighbours.iter().map(|n| (n.target.as_str(), n.why.kind)).collect();
    assert_eq!(told, [("npu_1", Kind::Cycle), ("host", Kind::NoPattern)]);
    assert!(region.neighbours[0].why.detail.contains("a → h → d"), "{:?}", region.neighbours[0]);
    assert_eq!(region.neighbours[1].nodes, ["h"]);

    let cuts = Cut::parse("after:d").expect("a cut");
    let cut = Explained::of(AROUND, &[RELU], Options { cuts, ..Options::default() }).region("npu_1");
    let why = &cut.neighbours.iter().find(|n| n.target == "npu_2").expect("it is next to it").why;
    assert_eq!((why.kind, why.detail.as_str()), (Kind::User, "there is a cut between `d` and `e`"));

    let small = RELU.replacen("name = \"npu\"", "name = \"npu\"\nmax_region_nodes = 1", 1);
    let limited = Explained::of(AROUND, &[&small], Options::default()).region("npu_1");
    let why = &limited.neighbours.iter().find(|n| n.target == "npu_2").expect("it is next to it").why;
    assert_eq!(why.kind, Kind::Limit);
    assert_eq!(why.change, "a higher `max_region_nodes` in npu's table");
}

#[test]
fn another_vendors_node_is_a_neighbour_with_a_reason() {
    let dsp = "[vendor]\nname = \"dsp\"\n[[pattern]]\nname = \"neg\"\nmatch = \"y = Neg(x)\"\n";
    let explained = Explained::of(AROUND, &[RELU, dsp], Options::default());
    let region = explained.region("npu_0");
    let other = region.neighbours.iter().find(|n| n.target == "dsp_0").expect("it is next to it");
    assert_eq!((other.why.vendor.as_str(), other.why.kind), ("npu", Kind::NoPattern));
    assert!(explained.stories("npu_9").expect_err("there is none").near.contains(&"npu_0".to_owned()));
}

#[test]
fn nodes_of_bodies_have_stories() {
    let model = r#"
<ir_version: 9, opset_import: ["" : 17]>
g (bool c, float[4] x) => (float[4] y) {
  y = If (c) <then_branch = t () => (float[4] p) { q = Relu(x) p = Neg(q) }, else_branch = f () => (float[4] p) { p = Relu(x) }>
}
"#;
    let explained = Explained::of(model, &[RELU], Options::default());
    let stories = explained.stories("p").expect("both branches have one");
    let told: Vec<_> = stories.iter().map(|s| (s.graph.as_str(), s.op.as_str(), s.target.as_str())).collect();
    assert_eq!(told, [("main/y.then_branch", "Neg", "host"), ("main/y.else_branch", "Relu", "npu")]);
    assert_eq!(explained.region("npu_0").graph, "main/y.then_branch");
}
