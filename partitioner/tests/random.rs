//! Properties of every partition, on random graphs with random tables.

mod support;

use byoc_graph::{DType, Dim, Graph, Model, NodeSpec, Type, ValueId};
use byoc_partitioner::{NoCheck, Options, partition};
use proptest::prelude::*;
use support::{Ready, check_always, tables};

const UNARY: [&str; 4] = ["Relu", "Abs", "Exp", "Neg"];
const BINARY: [&str; 3] = ["Add", "Sub", "Mul"];

/// One node: its operator and which of the earlier values it takes.
#[derive(Debug, Clone)]
enum Made {
    Unary(usize, prop::sample::Index),
    Binary(usize, prop::sample::Index, prop::sample::Index),
    Split(prop::sample::Index),
    Concat(Vec<prop::sample::Index>),
}

fn made() -> impl Strategy<Value = Made> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0..UNARY.len(), index()).prop_map(|(op, x)| Made::Unary(op, x)),
        4 => (0..BINARY.len(), index(), index()).prop_map(|(op, a, b)| Made::Binary(op, a, b)),
        1 => index().prop_map(Made::Split),
        1 => prop::collection::vec(index(), 1..4).prop_map(Made::Concat),
    ]
}

fn build(made: &[Made], outputs: &[prop::sample::Index]) -> Model {
    let ty = || Some(Type::tensor(DType::F32, [Dim::Unknown]));
    let mut graph = Graph::new("random");
    let mut values: Vec<ValueId> =
        ["x", "y"].iter().map(|n| graph.add_input(*n, ty()).expect("fresh")).collect();
    for (i, node) in made.iter().enumerate() {
        let pick = |index: &prop::sample::Index| Some(*index.get(&values));
        let (op, inputs, count) = match node {
            Made::Unary(op, x) => (UNARY[*op], vec![pick(x)], 1),
            Made::Binary(op, a, b) => (BINARY[*op], vec![pick(a), pick(b)], 1),
            Made::Split(x) => ("Split", vec![pick(x)], 2),
            Made::Concat(all) => ("Concat", all.iter().map(pick).collect(), 1),
        };
        let outputs: Vec<ValueId> =
            (0..count).map(|k| graph.add_value(format!("v{i}_{k}"), ty()).expect("fresh")).collect();
        let axis = ("axis".into(), byoc_graph::Attr::Int(0));
        let spec = NodeSpec {
            op: op.into(),
            opset: 17,
            inputs,
            outputs: outputs.iter().map(|v| Some(*v)).collect(),
            attrs: if op == "Concat" { [axis].into() } else { Default::default() },
            position: i as u32,
            ..NodeSpec::default()
        };
        graph.add_node(spec).expect("fresh");
        values.extend(outputs);
    }
    let mut chosen: Vec<ValueId> = outputs.iter().map(|o| *o.get(&values[2..])).collect();
    chosen.sort_unstable();
    chosen.dedup();
    graph.set_outputs(chosen);
    graph.assign_labels();
    Model { graph, opsets: [("".into(), 17)].into(), ir_version: 8, ..Model::default() }
}

const PATTERNS: [&str; 14] = [
    "y = Relu(x)",
    "y = Abs(x)",
    "y = Add(a, b)",
    "y = Sub(a, b)",
    "y = Mul(a, b)",
    "y = Concat(...)",
    "a, b = Split(x, ...)",
    "s = Add(a, b)\\ny = Relu(s)",
    "s = Add(a, b)\\nt = Sub(a, b)\\nm = Mul(s, t)",
    "s = Relu(x)\\ny = (Abs|Neg|Add)*(s)",
    "s = Relu?(x)\\ny = Mul(s, s)",
    "a, b = Split(x, ...)\\ny = Add(a, b)",
    "a = Relu(x)\\nb = Abs(x)",
    "y = _(Relu(x))",
];

fn table(vendor: usize, patterns: &[(usize, i64, bool)]) -> String {
    let mut text = format!("[vendor]\nname = \"v{vendor}\"\n");
    let mut seen = Vec::new();
    for (pattern, priority, taps) in patterns {
        if !seen.contains(pattern) {
            seen.push(*pattern);
            let body = PATTERNS[*pattern];
            text += &format!(
                "\n[[pattern]]\nname = \"p{pattern}\"\npriority = {priority}\nmatch = \"{body}\"\nallow_taps = {taps}\n"
            );
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn partitions_are_valid(
        nodes in prop::collection::vec(made(), 1..24),
        outputs in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        vendors in prop::collection::vec(
            prop::collection::vec((0..PATTERNS.len(), 0i64..3, any::<bool>()), 1..6), 1..4),
        siblings: bool,
    ) {
        let texts: Vec<String> = vendors.iter().enumerate().map(|(i, p)| table(i, p)).collect();
        let tables = tables(&texts).expect("the tables are valid");
        let ready = Ready::new(build(&nodes, &outputs));
        let options = Options { merge_siblings: siblings, ..Options::default() };
        let result = partition(&ready.model, &tables, &options, &mut NoCheck);
        let result = result.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let report = ready.report(&result);
        let mut wrong = Vec::new();
        check_always(&ready, &tables, &options, &result, &report, &mut wrong);
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
