//! Measures partitioning of large graphs, from matching to regions, against the times that are promised:
//! `cargo run --release -p byoc-partitioner --example speed`. Fails where one is missed.
//!
//! Times are of the processor, by this thread: what else the machine does is left out.

use byoc_graph::{DType, Dim, Graph, Model, NodeSpec, Type, ValueId};
use byoc_partitioner::{NoCheck, Options, Partition, Policy, partition};
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
const BINARY: [&str; 4] = ["Add", "Mul", "Sub", "Max"];
/// No pattern names it.
const HOST: &str = "Selu";

/// Every size is measured this often, and the fastest run counts: the others were disturbed.
const RUNS: usize = 3;
/// How many times its budget the cost policy may take, with all that is around the search.
const MAX_OVER_BUDGET: f64 = 2.0;
/// How much more a node may cost in a graph of 100,000 nodes than in one of 1,000.
const MAX_GROWTH: f64 = 3.0;

/// A linear congruential generator, with the constants of Knuth's MMIX; its high bits are used.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

struct Builder {
    graph: Graph,
    ty: Option<Type>,
    nodes: usize,
}

impl Builder {
    fn new(name: &str) -> (Builder, ValueId) {
        let ty = Some(Type::tensor(DType::F32, [Dim::Static(4), Dim::Static(4)]));
        let mut graph = Graph::new(name);
        let input = graph.add_input("x", ty.clone()).expect("a fresh name");
        (Builder { graph, ty, nodes: 0 }, input)
    }

    fn add(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        let name = format!("v{}", self.nodes);
        let output = self.graph.add_value(name, self.ty.clone()).expect("a fresh name");
        let spec = NodeSpec {
            op: op.into(),
            opset: 17,
            inputs: inputs.iter().map(|v| Some(*v)).collect(),
            outputs: vec![Some(output)],
            position: self.nodes as u32,
            ..NodeSpec::default()
        };
        self.graph.add_node(spec).expect("a fresh value");
        self.nodes += 1;
        output
    }

    fn model(mut self, outputs: &[ValueId]) -> Model {
        self.graph.set_outputs(outputs.to_vec());
        self.graph.assign_labels();
        Model { graph: self.graph, opsets: [("".into(), 17)].into(), ir_version: 8, ..Model::default() }
    }
}

/// Layers of one to twelve nodes that take what the three layers before have made, as in networks with
/// branches and skip connections. One node in eight is on the host.
fn layered(nodes: usize) -> Model {
    let mut random = Random(7);
    let (mut builder, input) = Builder::new("layered");
    let mut layers = vec![vec![input]];
    while builder.nodes < nodes {
        let width = 1 + random.below(12);
        let recent = layers[layers.len().saturating_sub(3)..].concat();
        let last = layers.last().expect("there is the input").clone();
        let mut layer = Vec::new();
        for i in 0..width.min(nodes - builder.nodes) {
            let first = *last.get(i).unwrap_or(&recent[random.below(recent.len())]);
            layer.push(match random.below(8) {
                0 => builder.add(HOST, &[first]),
                1..=2 => {
                    let second = recent[random.below(recent.len())];
                    builder.add(BINARY[random.below(BINARY.len())], &[first, second])
                }
                _ => builder.add(UNARY[random.below(UNARY.len())], &[first]),
            });
        }
        layers.push(layer);
    }
    let outputs = layers.pop().expect("there is a layer");
    builder.model(&outputs)
}

/// One operator after the other, the given ones in turn.
fn chain(nodes: usize, ops: &[&str]) -> Model {
    let (mut builder, mut last) = Builder::new("chain");
    for i in 0..nodes {
        last = builder.add(ops[i % ops.len()], &[last]);
    }
    builder.model(&[last])
}

/// Chains beside each other, of the given operators in turn, one chain after the other.
fn chains(count: usize, length: usize, ops: &[&str]) -> Model {
    let (mut builder, input) = Builder::new("chains");
    let mut ends = Vec::new();
    for _ in 0..count {
        let mut last = input;
        for i in 0..length {
            last = builder.add(ops[i % ops.len()], &[last]);
        }
        ends.push(last);
    }
    builder.model(&ends)
}

const LIMITS: &str = "max_regions = 1000000\nmax_region_nodes = 1000000\n";

/// Patterns of one to four nodes, some with optional nodes, chains and alternatives.
fn table(patterns: usize) -> PatternTable {
    let mut text = format!("[vendor]\nname = \"speed\"\n{LIMITS}");
    for i in 0..patterns {
        let op = |k: usize| UNARY[(i * 3 + k * 7) % UNARY.len()];
        let two = BINARY[i / 6 % BINARY.len()];
        let body = match i % 6 {
            0 => format!("y = {}(x)", op(0)),
            1 => format!("a = {}(x)\ny = {}(a)", op(0), op(1)),
            2 => format!("a = {}(x)\nb = {}(a)\ny = {two}(b, c)", op(0), op(1)),
            3 => format!("a = {}(x)\nb = {}?(a)\nc = {}*(b)\ny = {}(c)", op(0), op(1), op(2), op(3)),
            4 => format!("s = {two}(a, b)\ny = {}(s) | {}(s)", op(0), op(1)),
            _ => format!("a = {}(x)\nb = {}(a)\nc = {}(b)\ny = {}(c)", op(0), op(1), op(2), op(3)),
        };
        text += &format!(
            "\n[[pattern]]\nname = \"p{i}\"\npriority = {}\nmatch = \"\"\"\n{body}\n\"\"\"\ncost = {{ fixed_us = 0.2 }}\n",
            i % 6 + 10 * (i / 6)
        );
    }
    parse(&text)
}

fn relu() -> PatternTable {
    parse(&format!(
        "[vendor]\nname = \"speed\"\n{LIMITS}[[pattern]]\nname = \"relu\"\nmatch = \"y = Relu(x)\""
    ))
}

/// Half of the operators of one input, one by one.
fn half() -> PatternTable {
    let pattern = |op: &&str| format!("[[pattern]]\nname = \"{op}\"\nmatch = \"y = {op}(x)\"\n");
    let patterns: String = UNARY.iter().step_by(2).map(pattern).collect();
    parse(&format!("[vendor]\nname = \"speed\"\n{LIMITS}{patterns}"))
}

fn parse(text: &str) -> PatternTable {
    PatternTable::parse("speed.toml", text).expect("the table parses")
}

struct Bars {
    missed: bool,
}

impl Bars {
    /// Prints whether a figure is at most what it may be.
    fn check(&mut self, what: &str, figure: f64, limit: f64, unit: &str, about: &str) {
        let mark = if figure <= limit { "pass" } else { "MISS" };
        self.missed |= figure > limit;
        println!("{mark}  {what:<46} {figure:>9.1} {unit:<3} of {limit:>6.0} {unit:<3} {about}");
    }

    /// Milliseconds that partitioning takes.
    fn measure(&mut self, what: &str, model: &Model, table: &PatternTable, limit_ms: f64) -> f64 {
        self.measure_with(&Options::default(), what, (model, table), limit_ms)
    }

    /// The same where sibling regions are merged, too.
    fn siblings(&mut self, what: &str, model: &Model, table: &PatternTable, limit_ms: f64) -> f64 {
        let options = Options { merge_siblings: true, ..Options::default() };
        self.measure_with(&options, &format!("siblings, {what}"), (model, table), limit_ms)
    }

    fn measure_with(
        &mut self,
        options: &Options,
        what: &str,
        (model, table): (&Model, &PatternTable),
        limit_ms: f64,
    ) -> f64 {
        let (ms, result) = fastest(model, table, options);
        let (regions, host) = (result.regions.len(), result.host.len());
        self.check(what, ms, limit_ms, "ms", &format!("({regions} regions, {host} nodes on the host)"));
        ms
    }

    /// How long the cost policy takes beyond what the greedy one does, against its budget.
    fn budget(&mut self, what: &str, model: &Model, table: &PatternTable) {
        let greedy = fastest(model, table, &Options::default()).0;
        let options = Options { policy: Policy::Cost, ..Options::default() };
        let (ms, result) = fastest(model, table, &options);
        let us = |total: Option<byoc_partitioner::Total>| total.map_or(f64::NAN, |total| total.us);
        let about = format!(
            "(predicted {:.0} µs, greedy {:.0} µs)",
            us(result.predicted),
            us(result.greedy_predicted)
        );
        self.check(what, ms - greedy, MAX_OVER_BUDGET * options.budget_ms as f64, "ms", &about);
    }
}

fn thread_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn fastest(model: &Model, table: &PatternTable, options: &Options) -> (f64, Partition) {
    let run = || {
        let start = thread_ms();
        let tables = std::slice::from_ref(table);
        let result = partition(model, tables, options, &mut NoCheck).expect("a valid partition");
        (thread_ms() - start, result)
    };
    let mut best = run();
    for _ in 1..RUNS {
        let next = run();
        if next.0 < best.0 {
            best = next;
        }
    }
    best
}

fn main() {
    let mut bars = Bars { missed: false };
    let table = table(100);
    bars.measure("layered, 4,000 nodes x 100 patterns", &layered(4_000), &table, 50.0);
    let alternating = chain(4_000, &["Relu", HOST]);
    bars.measure("chain, vendor and host in turn, 4,000 nodes", &alternating, &relu(), 20.0);
    let small = fastest(&layered(1_000), &table, &Options::default()).0;
    let large = bars.measure("layered, 100,000 nodes x 100 patterns", &layered(100_000), &table, 2_000.0);
    let about = format!("({:.2} µs a node at 1,000, {:.2} at 100,000)", small, large / 100.0);
    bars.check("growth of the time a node", large / 100.0 / small, MAX_GROWTH, "x", &about);
    let small = bars.siblings("layered, 4,000 nodes", &layered(4_000), &half(), 50.0);
    let large = bars.siblings("layered, 100,000 nodes", &layered(100_000), &half(), 2_000.0);
    bars.check("growth of the time a node, with siblings", large / 25.0 / small, MAX_GROWTH, "x", "");
    bars.siblings("chain in turn, 4,000 nodes", &alternating, &relu(), 20.0);
    bars.siblings("64 chains in turn, 64,000 nodes", &chains(64, 1_000, &["Relu", HOST]), &relu(), 2_000.0);
    bars.measure("chain, 1,000,000 nodes", &chain(1_000_000, &["Relu"]), &relu(), 20_000.0);
    bars.budget("cost policy, layered, 4,000 nodes", &layered(4_000), &table);
    bars.budget("cost policy, layered, 100,000 nodes", &layered(100_000), &table);
    if bars.missed {
        std::process::exit(1);
    }
}
