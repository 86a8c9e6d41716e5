//! Plans: what an edited one gives, what one says that no longer fits, and what a model's hash depends on.

mod support;

use byoc_graph::Model;
use byoc_partitioner::plan::{Change, Placement, RegionNodes, Step, difference, model_hash};
use byoc_partitioner::{NoCheck, Options, Partition, Plan, PlanError, partition, replay};
use byoc_plugin::table::PatternTable;
use support::Ready;

/// A diamond: `a` feeds `b` and `c`, which meet in `d`; `e` follows.
const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4] x) => (float[4] e) <float[4] w = {1, 2, 3, 4}> {
    a = Mul(x, w)
    b = Relu(a)
    c = Sigmoid(a)
    d = Add(b, c)
    e = Relu(d)
}"#;

const TABLES: [&str; 2] = [
    r#"
[vendor]
name = "one"
version = "1.0"

[[pattern]]
name = "mul"
match = "y = Mul(a, b)"

[[pattern]]
name = "relu"
match = "y = Relu(x)"

[[pattern]]
name = "add_relu"
match = """
s = Add(a, b)
y = Relu(s)
"""

[[pattern]]
name = "add"
match = "y = Add(a, b)"
"#,
    r#"
[vendor]
name = "two"

[[pattern]]
name = "relu"
match = "y = Relu(x)"
where = ["x.rank == 1"]

[[pattern]]
name = "matrix_relu"
priority = -1
match = "y = Relu(x)"
where = ["x.rank == 2"]
"#,
];

struct Setup {
    ready: Ready,
    tables: Vec<PatternTable>,
}

impl Setup {
    fn new() -> Setup {
        Setup::of(MODEL)
    }

    fn of(model: &str) -> Setup {
        let texts: Vec<String> = TABLES.iter().map(|t| (*t).to_owned()).collect();
        Setup {
            ready: Ready::from_text(model),
            tables: support::tables(&texts).expect("the tables are good"),
        }
    }

    fn partition(&self, options: &Options) -> Partition {
        partition(&self.ready.model, &self.tables, options, &mut NoCheck).expect("it can be partitioned")
    }

    fn plan(&self, options: &Options) -> Plan {
        let done = self.partition(options);
        Plan::of(&done, &self.ready.model, &self.tables, options, &self.ready.removed).expect("recorded")
    }

    /// The text of the plan that the partitioner makes.
    fn text(&self) -> String {
        self.plan(&Options::default()).to_text()
    }

    fn replay(&self, text: &str) -> Result<Vec<String>, String> {
        let plan = Plan::parse("plan.toml", text).map_err(|e| e.to_string())?;
        let (model, removed) = (&self.ready.model, &self.ready.removed);
        let done = replay(model, &self.tables, removed, &plan, &Options::default(), &mut NoCheck);
        Ok(regions(&done.map_err(|e| e.to_string())?, model))
    }
}

/// Regions as `vendor: node node`, and the host.
fn regions(partition: &Partition, model: &Model) -> Vec<String> {
    let graph = &model.graph;
    let region = |r: &byoc_partitioner::Region| {
        let names: Vec<String> = r.members.iter().map(|m| m.name(graph)).collect();
        format!("{}: {}", r.vendor_name, names.join(" "))
    };
    let host: Vec<&str> = partition.host.iter().map(|h| h.report.name.as_str()).collect();
    partition.regions.iter().map(region).chain([format!("host: {}", host.join(" "))]).collect()
}

/// Changes one piece of a text that has to be there.
fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    text.replacen(from, to, 1)
}

/// The plan without the lines that hold a word.
fn without(text: &str, word: &str) -> String {
    assert!(text.contains(word), "`{word}` is not in\n{text}");
    text.lines().filter(|line| !line.contains(word)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn edited_plans_are_carried_out() {
    let setup = Setup::new();
    let text = setup.text();
    let merge = r#"{ do = "merge", graph = "main", roots = ["a", "b"] }"#;
    let as_it_is = ["one: a b", "one: d e", "host: c"];
    assert_eq!(setup.replay(&text).expect("it fits"), as_it_is);
    assert!(text.contains(merge), "{text}");

    let apart = without(&text, merge);
    assert_eq!(setup.replay(&apart).expect("a merge less"), ["one: a", "one: b", "one: d e", "host: c"]);

    let host = without(&apart, r#"root = "a""#);
    assert_eq!(setup.replay(&host).expect("a composite less"), ["one: b", "one: d e", "host: a c"]);

    let moved = edit(
        &apart,
        r#"vendor = "one", pattern = "relu", root = "b""#,
        r#"vendor = "two", pattern = "relu", root = "b""#,
    );
    assert_eq!(setup.replay(&moved).expect("another vendor"), ["one: a", "two: b", "one: d e", "host: c"]);

    let split = edit(
        &apart,
        r#"pattern = "add_relu", root = "e", nodes = ["d", "e"]"#,
        r#"pattern = "add", root = "d", nodes = ["d"]"#,
    );
    assert_eq!(setup.replay(&split).expect("another pattern"), ["one: a", "one: b", "one: d", "host: c e"]);
}

#[test]
fn predicted_times_are_part_of_it() {
    let mut setup = Setup::new();
    let rate = "name = \"mul\"\ncost = { fixed_us = 5.5, gflops = 200.0, gbps = 20.0 }";
    let table = edit(TABLES[0], "name = \"mul\"", rate);
    setup.tables = support::tables(&[table, TABLES[1].to_owned()]).expect("good tables");
    let options = Options { only_ops: vec!["Mul".into()], ..Options::default() };
    let (done, plan) = (setup.partition(&options), setup.plan(&options));
    let (model, removed) = (&setup.ready.model, &setup.ready.removed);
    let read = Plan::parse("plan.toml", &plan.to_text()).expect("it is a plan");
    let again =
        replay(model, &setup.tables, removed, &read, &Options::default(), &mut NoCheck).expect("it fits");
    let (report, summary) = (setup.ready.report(&again), setup.ready.report(&done).summary);
    assert_eq!(report.summary, summary);
    assert_eq!(
        (plan.predicted.us, plan.predicted.greedy_us),
        (summary.predicted_us, summary.greedy_predicted_us)
    );
    assert!(report.regions[0].predicted_us >= Some(5.5), "{report:?}");
}

#[test]
fn who_is_moved_to_the_host_has_a_reason_of_the_user() {
    let setup = Setup::new();
    let plan = Plan::parse("plan.toml", &without(&setup.text(), "add_relu")).expect("it is a plan");
    let (model, removed) = (&setup.ready.model, &setup.ready.removed);
    let done =
        replay(model, &setup.tables, removed, &plan, &Options::default(), &mut NoCheck).expect("it fits");
    let report = setup.ready.report(&done);
    for name in ["d", "e"] {
        let node = report.nodes.iter().find(|n| n.name == name).expect("it is on the host");
        let words: Vec<_> = node.reasons.iter().map(|r| (r.vendor.as_str(), r.detail.as_str())).collect();
        let why = "the plan keeps it on the host";
        assert_eq!(words, [("one", why), ("two", why)], "{name}");
    }
    let kept = report.nodes.iter().find(|n| n.name == "c").expect("it is on the host");
    assert!(kept.reasons[0].detail.contains("no pattern"), "{kept:?}");
}

#[test]
fn a_plan_that_does_not_fit_names_the_first_step_and_why() {
    let setup = Setup::new();
    let text = setup.text();
    let merge_all = r#"roots = ["a", "b", "e"]"#;
    let cases = [
        (
            edit(&text, r#"root = "b", nodes = ["b"]"#, r#"root = "z", nodes = ["z"]"#),
            "step 2",
            "no node is named `z`",
        ),
        (
            edit(&text, r#"pattern = "add_relu""#, r#"pattern = "gone""#),
            "step 3",
            "the table of one has no pattern `gone`",
        ),
        (
            edit(&text, r#"vendor = "one", pattern = "relu""#, r#"vendor = "three", pattern = "relu""#),
            "step 2",
            "no vendor is named `three`",
        ),
        (
            edit(&text, r#"root = "b", nodes = ["b"]"#, r#"root = "c", nodes = ["c"]"#),
            "step 2",
            "does not match there: its root is no Sigmoid",
        ),
        (
            edit(&text, r#"nodes = ["d", "e"]"#, r#"nodes = ["e"]"#),
            "step 3",
            "the pattern matches other nodes there: `d`, `e`",
        ),
        (
            edit(
                &text,
                r#"pattern = "add_relu", root = "e", nodes = ["d", "e"]"#,
                r#"pattern = "relu", root = "b", nodes = ["b"]"#,
            ),
            "step 3",
            "`b` is part of a composite `relu` of one",
        ),
        (
            edit(
                &text,
                r#"vendor = "one", pattern = "relu", root = "b""#,
                r#"vendor = "two", pattern = "matrix_relu", root = "b""#,
            ),
            "step 2",
            "x.rank == 2",
        ),
        (
            edit(
                &edit(&text, r#"roots = ["a", "b"] }"#, r#"roots = ["b"] }"#),
                "\n]\n\n# What",
                &format!("\n    {{ do = \"merge\", graph = \"main\", {merge_all} }},\n]\n\n# What"),
            ),
            "step 5",
            "the region would wait for itself through",
        ),
        (
            edit(&text, r#"roots = ["a", "b"]"#, r#"roots = ["a", "c"]"#),
            "step 4",
            "no composite has its root at `c`",
        ),
        (
            edit(&text, r#"graph = "main", vendor"#, r#"graph = "main/if.then_branch", vendor"#),
            "step 1",
            "the model has no graph `main/if.then_branch`",
        ),
        (
            edit(&text, "steps = [\n", "steps = [\n    { do = \"exclude\", what = \"b\" },\n"),
            "step 3",
            "`b` is excluded",
        ),
        (
            edit(&text, "steps = [\n", "steps = [\n    { do = \"cut\", side = \"after\", node = \"a\" },\n"),
            "step 5",
            "there is a cut between `a`, `b`",
        ),
        (
            edit(
                &text,
                "steps = [\n",
                "steps = [\n    { do = \"fold\", graph = \"main\", node = \"i\", op = \"Identity\", why = \"identity\" },\n",
            ),
            "step 1",
            "normalisation did not take `i` of main away",
        ),
    ];
    for (changed, step, why) in cases {
        let error = setup.replay(&changed).expect_err(&changed);
        assert!(error.contains(&format!("{step} (line")) && error.contains(why), "{step}, {why}: {error}");
        assert!(!error.contains("the model is not"), "{error}");
    }
}

#[test]
fn a_changed_model_or_vendor_is_named_beside_the_step() {
    let text = Setup::new().text();
    let other = Setup::of(&edit(MODEL, "b = Relu(a)", "b = Tanh(a)"));
    let error = other.replay(&text).expect_err("b is no Relu");
    assert!(
        error.contains("step 2") && error.contains("the model is not the one that the plan was made for"),
        "{error}"
    );

    let mut newer = Setup::new();
    let table = edit(&edit(TABLES[0], "\"1.0\"", "\"2.0\""), "name = \"add_relu\"", "name = \"sum_relu\"");
    newer.tables = support::tables(&[table, TABLES[1].to_owned()]).expect("good tables");
    let error = newer.replay(&text).expect_err("the pattern is gone");
    for part in [
        "step 3",
        "no pattern `add_relu`",
        "the version of one was 1.0 and is 2.0",
        "the pattern table of one has changed",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn limits_hold_for_plans() {
    for (limit, why) in [
        ("min_region_nodes = 3", "fewer than min_region_nodes = 3"),
        ("max_region_nodes = 1", "more than max_region_nodes = 1"),
        ("max_regions = 1", "one takes 1 regions at most"),
        ("require_compute = true", "no compute-heavy operator"),
    ] {
        let text = Setup::new().text();
        let mut setup = Setup::new();
        let table = edit(TABLES[0], "version = \"1.0\"", &format!("version = \"1.0\"\n{limit}"));
        setup.tables = support::tables(&[table, TABLES[1].to_owned()]).expect("good tables");
        let error = setup.replay(&text).expect_err(limit);
        assert!(error.contains(why), "{limit}: {error}");
    }
}

#[test]
fn a_damaged_file_is_refused_with_its_line() {
    let text = Setup::new().text();
    let line = |word: &str| text.lines().position(|l| l.contains(word)).expect("it is there") + 1;
    for (changed, at, why) in [
        (edit(&text, "root = \"b\", ", ""), line("root = \"b\""), "missing field `root`"),
        (edit(&text, "do = \"merge\"", "do = \"fuse\""), line("do = \"merge\""), "unknown variant `fuse`"),
        (edit(&text, "root = \"b\"", "root = \"b\", hue = 1"), line("root = \"b\""), "unknown field `hue`"),
        (edit(&text, "steps = [", "steps = "), line("steps = [") + 1, "expected key"),
    ] {
        let error = Plan::parse("plan.toml", &changed).expect_err(&changed).to_string();
        assert!(error.starts_with(&format!("plan.toml:{at}:")) && error.contains(why), "{at} {why}: {error}");
    }
    let later = edit(&text, "byoc.plan/1", "byoc.plan/7");
    assert_eq!(Plan::parse("p", &later), Err(PlanError::Schema("byoc.plan/7".into())));
}

#[test]
fn the_users_wishes_are_steps() {
    let setup = Setup::new();
    let options = Options {
        exclude: vec!["Mul".into()],
        force: vec![("b".into(), "two".into())],
        only_ops: vec!["Relu".into(), "Mul".into()],
        ..Options::default()
    };
    let plan = setup.plan(&options);
    let wishes: Vec<String> = plan.steps.iter().map(Step::describe).take(4).collect();
    assert_eq!(wishes, ["exclude `Mul`", "only Relu", "only Mul", "force `b` to two"]);
    assert_eq!(setup.replay(&plan.to_text()).expect("it fits"), ["two: b", "one: e", "host: a c d"]);
}

#[test]
fn the_hash_changes_with_the_content_alone() {
    let hash = |text: &str| model_hash(&Ready::from_text(text).model);
    let own = hash(MODEL);
    for change in [
        "{1, 2, 3, 4}>{1, 2, 3, 5}",
        "b = Relu(a)>b = Tanh(a)",
        "(float[4] x)>(float[1] x)",
        "\"\": 17>\"\": 16",
        "d = Add(b, c)>d = Add(c, b)",
    ] {
        let (from, to) = change.split_once('>').expect("two parts");
        let changed = MODEL.replacen(from, to, 1);
        assert!(changed != MODEL && hash(&changed) != own, "{change}");
    }
    let mut model = Ready::from_text(MODEL).model;
    model.doc = "other words".into();
    model.producer_name = "somebody else".into();
    model.metadata.push(("author".into(), "me".into()));
    assert_eq!(model_hash(&model), own, "what decides nothing is left out");
    model.metadata.push(("byoc.exclude".into(), "b".into()));
    assert_ne!(model_hash(&model), own, "a marker decides");
}

#[test]
fn differences_are_told_by_node_and_region() {
    let setup = Setup::new();
    let before = setup.plan(&Options::default());
    assert!(difference(&before, &before).is_empty());
    let after = setup.plan(&Options { force: vec![("b".into(), "two".into())], ..Options::default() });
    let told = difference(&before, &after);
    assert!(told.same_model && told.vendors.is_empty() && told.will_before.is_empty());
    assert_eq!(told.will_after, ["force `b` to two"]);
    let [change] = &told.changes[..] else { panic!("{told:?}") };
    assert_eq!(moves(change), ["b: one relu to two relu"]);
    assert_eq!(nodes(&change.regions_before), ["a b"]);
    assert_eq!(nodes(&change.regions_after), ["a", "b"]);
}

fn moves(change: &Change) -> Vec<String> {
    let place = |p: &Placement| match &p.pattern {
        Some(pattern) => format!("{} {pattern}", p.target),
        None => p.target.clone(),
    };
    change.moved.iter().map(|m| format!("{}: {} to {}", m.node, place(&m.from), place(&m.to))).collect()
}

fn nodes(list: &[RegionNodes]) -> Vec<String> {
    list.iter().map(|r| r.nodes.join(" ")).collect()
}

/// Two branches with nothing in common but the model.
const BRANCHES: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4096] x, float[64] y) => (float[4096] c, float[64] f) {
    a = Relu(x)
    b = Sigmoid(a)
    c = Relu(b)
    d = Relu(y)
    e = Relu(d)
    f = Sigmoid(e)
}"#;

const PRICED: &str = r#"
[vendor]
name = "one"

[[pattern]]
name = "relu"
match = "y = Relu(x)"
cost = { fixed_us = 1.0, gbps = 1.0 }

[[pattern]]
name = "sigmoid"
match = "y = Sigmoid(x)"
cost = { fixed_us = 3.0, gbps = 1.0 }
"#;

#[test]
fn changes_apart_are_told_apart_with_what_each_costs() {
    let ready = Ready::from_text(BRANCHES);
    let tables = support::tables(&[PRICED.to_owned()]).expect("the table is good");
    let setup = Setup { ready, tables };
    let before = setup.plan(&Options::default());
    let after = setup.plan(&Options { exclude: vec!["b".into(), "f".into()], ..Options::default() });
    let told = difference(&before, &after);
    let [first, second] = &told.changes[..] else { panic!("{told:?}") };
    // The larger tensor first.
    assert_eq!(moves(first), ["b: one sigmoid to host"]);
    assert_eq!(
        (nodes(&first.regions_before), nodes(&first.regions_after)),
        (vec!["a b c".to_owned()], vec!["a".to_owned(), "c".to_owned()])
    );
    assert_eq!(moves(second), ["f: one sigmoid to host"]);
    // `a` goes to the host and comes back from `b`.
    assert_eq!(first.boundary_bytes, Some(2 * 4 * 4096));
    assert_eq!(second.boundary_bytes, Some(4 * 64));
    let bytes = |plan: &Plan| plan.boundary_bytes().expect("known") as i64;
    let all: i64 = told.changes.iter().filter_map(|c| c.boundary_bytes).sum();
    assert_eq!(all, bytes(&after) - bytes(&before));
    // What is left of the difference of the totals is transfers.
    let us: f64 = told.changes.iter().map(|c| c.us.expect("every rate is known")).sum();
    let total = |plan: &Plan| plan.predicted.us.expect("every rate is known");
    assert!(us < total(&after) - total(&before), "{us}");
    assert!(first.us.expect("known") != second.us.expect("known"));
    // The other way round all signs turn.
    let back = difference(&after, &before);
    let turned = |d: &byoc_partitioner::plan::Difference| {
        d.changes.iter().map(|c| c.boundary_bytes.map(|b| -b)).collect::<Vec<_>>()
    };
    assert_eq!(turned(&back), told.changes.iter().map(|c| c.boundary_bytes).collect::<Vec<_>>());
}

#[test]
fn plans_without_figures_are_compared_all_the_same() {
    let setup = Setup::new();
    let mut before = setup.plan(&Options::default());
    before.regions.clear();
    let after = setup.plan(&Options { exclude: vec!["b".into()], ..Options::default() });
    let told = difference(&before, &after);
    assert_eq!(told.changes.len(), 1);
    assert_eq!(
        (told.changes[0].us, told.changes[0].boundary_bytes, told.boundary_before),
        (None, None, None)
    );
    assert!(told.boundary_after.is_some());
}
