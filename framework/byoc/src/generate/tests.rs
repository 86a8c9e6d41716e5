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
