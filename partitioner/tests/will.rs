//! What users want: options and markers in the model, with their errors.

mod support;

use byoc_partitioner::will::{Cut, Side};
use byoc_partitioner::{Kind, NoCheck, Options, Report, partition};
use support::Ready;

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4] x) => (float[4] d) {
    a = Relu(x)
    b = Tanh(a)
    c = Relu(b)
    d = Tanh(c)
}"#;

const TABLES: [&str; 2] = [
    "[vendor]\nname = \"one\"\n[[pattern]]\nname = \"any\"\nmatch = \"y = Relu|Tanh(x)\"\n",
    "[vendor]\nname = \"two\"\n[[pattern]]\nname = \"any\"\nmatch = \"y = Relu|Tanh(x)\"\n",
];

/// The report of a model with markers: on nodes (`node key value`) and on itself.
fn place(
    options: &Options,
    on_nodes: &[(&str, &str, &str)],
    on_model: &[(&str, &str)],
) -> Result<Report, String> {
    let mut ready = Ready::from_text(MODEL);
    for (node, key, value) in on_nodes {
        let graph = &mut ready.model.graph;
        let id = graph.node_ids().find(|id| *graph.node(*id).label == **node).expect("there is such a node");
        graph.node_mut(id).metadata.push(((*key).into(), (*value).into()));
    }
    let own = on_model.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ready.model.metadata.extend(own);
    let tables = support::tables(&TABLES.map(str::to_owned)).expect("good tables");
    let done = partition(&ready.model, &tables, options, &mut NoCheck).map_err(|e| e.to_string())?;
    let report = ready.report(&done);
    let mut wrong = Vec::new();
    support::always::check_always(&ready, &tables, options, &done, &report, &mut wrong);
    // A cut keeps neighbours apart that could otherwise be merged.
    wrong.retain(|w| !w.contains("could be merged"));
    assert!(wrong.is_empty(), "{wrong:?}");
    Ok(report)
}

fn regions(report: &Report) -> Vec<String> {
    let regions = report.regions.iter().map(|r| format!("{}: {}", r.vendor, r.nodes.join(" ")));
    regions.chain([format!("host: {}", report.host.join(" "))]).collect()
}

#[test]
fn markers_place_nodes_and_draw_borders() {
    let none = Options::default();
    let on_nodes =
        |markers: &[(&str, &str, &str)]| regions(&place(&none, markers, &[]).expect("it can be placed"));
    assert_eq!(on_nodes(&[]), ["one: a b c d", "host: "]);
    assert_eq!(on_nodes(&[("b", "byoc.target", "two")]), ["one: a", "two: b", "one: c d", "host: "]);
    assert_eq!(on_nodes(&[("b", "byoc.target", "host")]), ["one: a", "one: c d", "host: b"]);
    assert_eq!(on_nodes(&[("b", "byoc.target", "absent")]), ["one: a", "one: c d", "host: b"]);
    assert_eq!(on_nodes(&[("b", "byoc.boundary", "before")]), ["one: a", "one: b c d", "host: "]);
    assert_eq!(on_nodes(&[("b", "byoc.boundary", "after")]), ["one: a b", "one: c d", "host: "]);
    assert_eq!(on_nodes(&[("b", "byoc.boundary", "both")]), ["one: a", "one: b", "one: c d", "host: "]);

    let on_model = |markers: &[(&str, &str)]| regions(&place(&none, &[], markers).expect("it can be placed"));
    assert_eq!(on_model(&[("byoc.exclude", "Tanh")]), ["one: a", "one: c", "host: b d"]);
    assert_eq!(on_model(&[("byoc.only_op", "Relu\n")]), ["one: a", "one: c", "host: b d"]);
    assert_eq!(on_model(&[("byoc.target", "a=two\nb = two")]), ["two: a b", "one: c d", "host: "]);
    assert_eq!(
        on_model(&[("byoc.boundary", "before b\nafter c")]),
        ["one: a", "one: b c", "one: d", "host: "]
    );
}

#[test]
fn cuts_hold_for_sibling_merging_and_as_options() {
    let cut = Cut { side: Side::After, node: "b".into(), graph: None };
    let options = Options { cuts: vec![cut], merge_siblings: true, ..Options::default() };
    assert_eq!(regions(&place(&options, &[], &[]).expect("placed")), ["one: a b", "one: c d", "host: "]);
}

#[test]
fn a_wish_is_a_reason_though_no_pattern_comes_near() {
    let options = Options {
        exclude: vec!["b".into()],
        only_ops: vec!["Relu".into(), "Tanh".into()],
        ..Options::default()
    };
    let report = place(&options, &[("c", "byoc.target", "host")], &[]).expect("it can be placed");
    for (name, words) in [("b", "`b` is excluded"), ("c", "`c` is forced to the host")] {
        let node = report.nodes.iter().find(|n| n.name == name).expect("it is on the host");
        let first = |vendor: &str| node.reasons.iter().find(|r| r.vendor == vendor).expect("a reason each");
        for vendor in ["one", "two"] {
            assert_eq!((first(vendor).kind, first(vendor).detail.as_str()), (Kind::User, words), "{name}");
        }
    }
    let only = Options { only_ops: vec!["Add".into()], ..Options::default() };
    let report = place(&only, &[], &[]).expect("an operator that the model lacks is no error");
    assert!(report.regions.is_empty());
    assert!(report.nodes.iter().all(|n| n.reasons[0].detail == "only Add may leave the host"));
}

#[test]
fn errors_name_the_nearest() {
    let pairs = |node: &str, target: &str| vec![(node.to_owned(), target.to_owned())];
    let none = Options::default;
    for (options, message) in [
        (
            Options { exclude: vec!["Rellu".into()], ..none() },
            "named `Rellu`, which is to be excluded; did you mean `Relu`?",
        ),
        (Options { only_ops: vec!["Tnah".into()], ..none() }, "no operator is named `Tnah`"),
        (Options { only_ops: vec!["Tanhh".into()], ..none() }, "did you mean `Tanh`?"),
        (
            Options { force: pairs("a", "onee"), ..none() },
            "the targets are host, one, two; did you mean `one`?",
        ),
        (
            Options { force: pairs("q", "one"), ..none() },
            "no node of the model is named `q`, which is to be forced to `one`",
        ),
        (
            Options { cuts: vec![Cut { side: Side::Before, node: "zz".into(), graph: None }], ..none() },
            "no node of the model is named `zz`, at which there is to be a cut",
        ),
        (
            Options { force: pairs("a", "one"), exclude: vec!["a".into()], ..none() },
            "`a` is forced to `one`, which cannot have it: `a` is excluded",
        ),
    ] {
        let error = place(&options, &[], &[]).expect_err(message);
        assert!(error.contains(message), "{message}: {error}");
    }
    for (key, value, message) in [
        (
            "byoc.boundary",
            "below",
            "`byoc.boundary` of node `b` is `below`, but `before`, `after` or `both` is wanted",
        ),
        ("byoc.target", "", "`byoc.target` of node `b` is ``"),
    ] {
        let error = place(&none(), &[("b", key, value)], &[]).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
    for (key, value, message) in [
        ("byoc.boundary", "b", "lines `before NODE` or `after NODE` are wanted"),
        ("byoc.target", "b", "lines NODE=TARGET are wanted"),
        ("byoc.exclude", "bb", "named `bb`"),
    ] {
        let error = place(&none(), &[], &[(key, value)]).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_an_earlier_partition_has_taken_is_named() {
    let ready = Ready::from_text(MODEL);
    let tables = support::tables(&TABLES.map(str::to_owned)).expect("good tables");
    let done = partition(&ready.model, &tables, &Options::default(), &mut NoCheck).expect("it can be placed");
    let again = Ready::new(done.outline(&ready.model).expect("it can be outlined"));
    let cut = |name: &str| {
        let cuts = Cut::parse(&format!("after:{name}")).expect("a cut");
        let options = Options { cuts, ..Options::default() };
        partition(&again.model, &tables, &options, &mut NoCheck).expect_err("it is not there").to_string()
    };
    assert!(cut("b").contains("in region one_0 of an earlier partition"), "{}", cut("b"));
    assert!(!cut("bb").contains("region"), "{}", cut("bb"));
}
