use byoc_partitioner::Trial;
use byoc_plugin::table::PatternTable;

use super::{Found, Searcher};
use crate::random::Rng;

const REFNPU: &str = include_str!("../../../../plugins/refnpu/src/table.toml");
const TEMPLATE: &str = include_str!("../../../../vendor-template/rust/table.toml");

fn check(text: &str) {
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
            match searcher.missing(clause, &made.choices, &mut rng).unwrap() {
                Found::Model(missed) => assert!(!searcher.matches(&missed.model)),
                Found::Nothing(why) => left.push(format!("{name}, clause {clause}: {why}")),
            }
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn every_pattern_of_the_reference_accelerator_has_models_and_near_misses() {
    check(REFNPU);
}

#[test]
fn every_pattern_of_the_template_has_models_and_near_misses() {
    check(TEMPLATE);
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
