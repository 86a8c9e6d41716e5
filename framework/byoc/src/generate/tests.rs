use byoc_partitioner::Trial;
use byoc_plugin::table::PatternTable;

use super::{Found, Searcher};
use crate::random::Rng;

/// The tables of plugins here.
const TABLES: [(&str, &str); 6] = [
    ("refnpu", include_str!("../../../../plugins/refnpu/src/table.toml")),
    ("onednn", include_str!("../../../../plugins/onednn/src/table.toml")),
    ("openvino", include_str!("../../../../plugins/openvino/src/table.toml")),
    ("cuda", include_str!("../../../../runtime/cuda/src/table.toml")),
    ("the template", include_str!("../../../../vendor-template/rust/table.toml")),
    ("of all kinds", ALL_KINDS),
];

/// Clauses that hold and fail by few models only, each for a reason of its own.
const ALL_KINDS: &str = r#"
[vendor]
name = "v"
[[pattern]]
name = "equal_types"
match = "y = Cast(x)"
where = ["x.dtype == y.dtype || y.dtype == 'float16'", "x.rank == 3"]
[[pattern]]
name = "equal_sizes"
match = "y = MatMul(a, b: const)"
where = ["a.rank == 2 && b.rank == 2", "a.shape[0] == b.shape[1]", "b.shape[0] % 16 == 0", "a.dtype == 'float32'"]
[[pattern]]
name = "held"
match = "y = Mul(x, c: const)"
where = ["size(c.value) == 1", "c.value[0] == 2.5", "x.dtype == 'float32'"]
[[pattern]]
name = "versions"
match = "y = Softmax(x: input)"
where = ["y.opset < 13", "y.attr.axis == x.rank - 1"]
[[pattern]]
name = "vectors"
match = "y = MatMul(a, b)"
where = ["b.rank == 1", "a.rank == 3"]
[[pattern]]
name = "scalars"
match = "y = Add(a, b)"
where = ["a.rank == 0 && b.rank == 0"]
[[pattern]]
name = "blocks"
match = "y = DequantizeLinear(x: const, s: const, z?: const)"
where = ["has(y.attr.block_size) && y.attr.block_size == 32", "x.dtype == 'int8'"]
[[pattern]]
name = "named_sizes"
match = "y = Relu(x)"
where = ["x.shape[0] == 'batch'", "x.dtype == 'float32'"]
[[pattern]]
name = "unknown_ranks"
match = "y = Split(x: input, s?: const)"
where = ["x.rank >= 1"]
"#;

/// Patterns without a model, and clauses without a near miss.
fn lacking(text: &str) -> Vec<String> {
    let table = PatternTable::parse("table.toml", text).unwrap();
    let trial = Trial::new(&table);
    let mut rng = Rng::new(1);
    let mut left = Vec::new();
    for place in 0..table.patterns.len() {
        let searcher = Searcher::new(&table, &trial, place);
        let name = &table.patterns[place].name;
        let made = match searcher.matching(&mut rng).unwrap() {
            Found::Model(made) => made,
            Found::Nothing(why) => {
                left.push(format!("{name}: {why}"));
                continue;
            }
        };
        made.model.graph.check();
        let again = searcher.generator().repeat(&made.choices).unwrap();
        assert_eq!(again.model.graph, made.model.graph, "{name}");
        for clause in 0..table.patterns[place].where_.len() {
            // A search is left to chance: what three do not find is not there.
            let mut tries = (0..3).map(|_| searcher.missing(clause, &made.choices, &mut rng).unwrap());
            let missed = tries.find_map(|found| match found {
                Found::Model(missed) => Some(missed),
                Found::Nothing(_) => None,
            });
            match missed {
                Some(missed) => assert!(!searcher.matches(&missed.model)),
                None => left.push(format!("{name}, clause {clause}")),
            }
        }
    }
    left
}

#[test]
fn every_pattern_has_models_and_near_misses() {
    for (name, table) in TABLES {
        let lacking = lacking(table);
        assert!(lacking.is_empty(), "{name}: {lacking:#?}");
    }
}

#[test]
fn a_pattern_whose_clauses_contradict_each_other_has_none() {
    let text = r#"
[vendor]
name = "v"
[[pattern]]
name = "p"
match = "y = Relu(x)"
where = ["x.rank == 2", "x.shape[3] == 1"]
"#;
    let table = PatternTable::parse("table.toml", text).unwrap();
    let trial = Trial::new(&table);
    let found = Searcher::new(&table, &trial, 0).matching(&mut Rng::new(1)).unwrap();
    assert!(matches!(found, Found::Nothing(_)));
}

/// Where a table allows it, some models have an open first dimension, and are matched all the same.
#[test]
fn some_models_have_an_open_dimension() {
    let text = "[vendor]\nname = \"v\"\nLIMIT\n[[pattern]]\nname = \"p\"\nmatch = \"y = Add(a, b)\"\n\
                where = [\"a.shape == b.shape\", \"a.dtype == 'float32'\"]";
    for (limit, allowed) in [("", true), ("static_shapes = true", false)] {
        let table = PatternTable::parse("t", &text.replace("LIMIT", limit)).unwrap();
        let trial = Trial::new(&table);
        let searcher = Searcher::new(&table, &trial, 0);
        let mut rng = Rng::new(5);
        let Found::Model(first) = searcher.matching(&mut rng).unwrap() else { panic!("no model") };
        let mut open = 0;
        for _ in 0..40 {
            let made = searcher.varied(&first.choices, true, &mut rng).expect("a model");
            assert!(searcher.matches(&made.model));
            let graph = &made.model.graph;
            let ty = graph.value(graph.inputs()[0]).ty.as_ref().unwrap().as_tensor().unwrap();
            open += usize::from(ty.static_dims().is_none());
            assert_eq!(searcher.generator().repeat(&made.choices).unwrap().model.graph, made.model.graph);
        }
        assert_eq!(open > 5, allowed, "{open} of 40");
    }
}
