//! Measures partitioning of large graphs: `cargo run --release -p byoc-partitioner --example speed`.

use std::time::Instant;

use byoc_graph::{DType, Dim, Graph, Model, NodeSpec, Type};
use byoc_partitioner::{NoCheck, Options, partition};
use byoc_plugin::table::PatternTable;

/// Operators of one input that the made-up networks use.
const UNARY: [&str; 20] = [
    "Relu",
    "Abs",
    "Neg",
    "Exp",
    "Log",
    "Sqrt",
    "Sigmoid",
    "Tanh",
    "Floor",
    "Ceil",
    "Erf",
    "Sin",
    "Cos",
    "Tan",
    "Sign",
    "Round",
    "Softplus",
    "Softsign",
    "Reciprocal",
    "Elu",
];

/// A network of blocks with a skip connection each; every fourth operator is on the host.
fn network(nodes: usize) -> Model {
    let ty = || Some(Type::tensor(DType::F32, [Dim::Static(4), Dim::Static(4)]));
    let mut graph = Graph::new("network");
    let mut last = graph.add_input("x", ty()).expect("a fresh name");
    let mut skip = last;
    for i in 0..nodes {
        let output = graph.add_value(format!("v{i}"), ty()).expect("a fresh name");
        let (op, inputs) = match i % 10 {
            9 => ("Add", vec![Some(last), Some(skip)]),
            4 => ("Selu", vec![Some(last)]),
            _ => (UNARY[i * 7 % UNARY.len()], vec![Some(last)]),
        };
        let (op, outputs) = (op.into(), vec![Some(output)]);
        let spec = NodeSpec { op, opset: 17, inputs, outputs, position: i as u32, ..NodeSpec::default() };
        graph.add_node(spec).expect("a fresh value");
        last = output;
        if i % 10 == 9 {
            skip = last;
        }
    }
    graph.add_output(last);
    model(graph)
}

fn chain(nodes: usize) -> Model {
    let mut graph = Graph::new("chain");
    let mut last = graph.add_input("x", None).expect("a fresh name");
    for i in 0..nodes {
        let output = graph.add_value(format!("v{i}"), None).expect("a fresh name");
        let spec = NodeSpec {
            op: "Relu".into(),
            opset: 17,
            inputs: vec![Some(last)],
            outputs: vec![Some(output)],
            position: i as u32,
            ..NodeSpec::default()
        };
        graph.add_node(spec).expect("a fresh value");
        last = output;
    }
    graph.add_output(last);
    model(graph)
}

fn model(mut graph: Graph) -> Model {
    graph.assign_labels();
    Model { graph, opsets: [("".into(), 17)].into(), ir_version: 8, ..Model::default() }
}

/// Patterns of one to three nodes.
fn table(patterns: usize) -> PatternTable {
    let mut text =
        "[vendor]\nname = \"speed\"\nmax_regions = 1000000\nmax_region_nodes = 1000000\n".to_owned();
    for i in 0..patterns {
        let op = |k: usize| UNARY[(i * 3 + k * 7) % UNARY.len()];
        let body = match i % 4 {
            0 => format!("y = {}(x)", op(0)),
            1 => format!("a = {}(x)\ny = {}(a)", op(0), op(1)),
            2 => format!("a = {}(x)\nb = {}(a)\ny = Add(b, c)", op(0), op(1)),
            _ => format!("a = {}(x)\nb = {}?(a)\ny = {}(b)", op(0), op(1), op(2)),
        };
        text += &format!("\n[[pattern]]\nname = \"p{i}\"\npriority = {i}\nmatch = \"\"\"\n{body}\n\"\"\"\n");
    }
    PatternTable::parse("speed.toml", &text).expect("the table parses")
}

fn measure(what: &str, model: &Model, table: PatternTable, limit_ms: f64) {
    let start = Instant::now();
    let result = partition(model, &[table], &Options::default(), &mut NoCheck).expect("a valid partition");
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let (regions, host) = (result.regions.len(), result.host.len());
    println!("{what}: {ms:.1} ms of {limit_ms:.0} ms ({regions} regions, {host} host nodes)");
}

fn main() {
    measure("4,000 nodes x 100 patterns", &network(4_000), table(100), 50.0);
    measure("100,000 nodes x 100 patterns", &network(100_000), table(100), 2_000.0);
    let relu = "[vendor]\nname = \"speed\"\nmax_region_nodes = 1000000\n[[pattern]]\nname = \"relu\"\nmatch = \"y = Relu(x)\"";
    let relu = PatternTable::parse("relu.toml", relu).expect("the table parses");
    measure("a chain of 1,000,000 nodes", &chain(1_000_000), relu, 20_000.0);
}
