//! The story of a node and the road map say what happened, and what would have to change.

mod support;

use byoc_partitioner::{Kind, NoCheck, Options, Partition, Report, Story, UnknownNode, partition};
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
    partition: Partition,
    report: Report,
}

impl Explained {
    fn new() -> Explained {
        let (ready, tables) =
            (Ready::from_text(MODEL), tables(&[TABLE.to_owned()]).expect("the table parses"));
        let options = Options { rivals: true, ..Options::default() };
        let partition = partition(&ready.model, &tables, &options, &mut NoCheck).expect("partitioned");
        let report = ready.report(&partition);
        Explained { ready, tables, partition, report }
    }

    fn stories(&self, name: &str) -> Result<Vec<Story>, UnknownNode> {
        self.partition.stories(&self.ready.model, &self.report, &self.tables, name)
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
