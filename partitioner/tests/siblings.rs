//! Merging regions that do not feed each other, on random graphs of which one vendor takes half.

mod support;

use byoc_partitioner::{NoCheck, Options, partition};
use support::random_model::{self, Random};
use support::{Ready, tables, terms};

const GRAPHS: u64 = 300;
const NODES: usize = 64;

/// A table that takes half of the operators of random graphs, one by one.
fn half(random: &mut Random) -> String {
    let mut ops = random_model::OPERATORS.to_vec();
    let mut text = "[vendor]\nname = \"half\"\n".to_owned();
    for _ in 0..random_model::OPERATORS.len() / 2 {
        let op = ops.swap_remove(random.below(ops.len()));
        text += &format!("\n[[pattern]]\nname = \"{op}\"\nmatch = \"y = {op}(...)\"\n");
    }
    text
}

fn regions(ready: &Ready, table: &str, merge_siblings: bool) -> usize {
    let tables = tables(&[table.to_owned()]).expect("the table is valid");
    let options = Options { merge_siblings, ..Options::default() };
    let result = partition(&ready.model, &tables, &options, &mut NoCheck).expect("no cycle");
    let outlined = result.outline(&ready.model).expect("valid");
    terms::outputs(&outlined).expect("no cycle");
    result.regions.len()
}

#[test]
fn merging_siblings_halves_the_regions() {
    let (mut alone, mut merged) = (0, 0);
    for seed in 0..GRAPHS {
        let mut random = Random::new(seed);
        let table = half(&mut random);
        let ready = Ready::new(random_model::model(&mut random, NODES));
        alone += regions(&ready, &table, false);
        merged += regions(&ready, &table, true);
    }
    let average = |total: usize| total as f64 / GRAPHS as f64;
    println!(
        "{NODES} nodes, {GRAPHS} graphs: {:.2} regions on average by producers, {:.2} with siblings",
        average(alone),
        average(merged)
    );
    assert!(2 * merged <= alone, "{merged} regions with siblings, {alone} by producers");
}
