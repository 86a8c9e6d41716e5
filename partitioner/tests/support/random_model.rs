//! Random graphs and pattern tables, each made from a seed.

use byoc_graph::{Attr, Attributes, DType, Dim, Graph, Model, NodeSpec, Tensor, Type, ValueId};
use byoc_partitioner::cost::Estimate;
use byoc_partitioner::{CostModel, Link, Rates, TargetProfile};
use indexmap::IndexMap;

const UNARY: &[&str] = &["Relu", "Abs", "Exp", "Neg", "Sqrt"];
const BINARY: &[&str] = &["Add", "Sub", "Mul", "Max"];

/// All operators that random graphs have.
pub const OPERATORS: [&str; 12] =
    ["Relu", "Abs", "Exp", "Neg", "Sqrt", "Add", "Sub", "Mul", "Max", "Split", "Concat", "DequantizeLinear"];

/// A linear congruential generator, with the constants of Knuth's MMIX; its high bits are used.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.below(1);
        random
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

struct Builder {
    graph: Graph,
    values: Vec<ValueId>,
    /// By index into `values`.
    used: Vec<bool>,
    scale: ValueId,
}

impl Builder {
    fn new() -> Builder {
        let mut graph = Graph::new("random");
        let values: Vec<ValueId> =
            ["x", "y"].iter().map(|n| graph.add_input(*n, ty(DType::F32)).expect("fresh")).collect();
        let scale = graph.add_constant("scale", Tensor::scalar(0.5f32).into()).expect("fresh");
        Builder { graph, used: vec![true; values.len()], values, scale }
    }

    /// Mostly what was made of late, so that branches stay near each other.
    fn take(&mut self, random: &mut Random) -> ValueId {
        let back = if random.one_in(4) { self.values.len() } else { self.values.len().min(8) };
        let at = self.values.len() - 1 - random.below(back);
        self.used[at] = true;
        self.values[at]
    }

    fn add(&mut self, op: &str, inputs: &[ValueId], outputs: usize, dtype: DType) -> Vec<ValueId> {
        let node = self.graph.node_count();
        let made: Vec<ValueId> = (0..outputs)
            .map(|k| self.graph.add_value(format!("v{node}_{k}"), ty(dtype)).expect("fresh"))
            .collect();
        let axis = ("axis".into(), Attr::Int(0));
        let spec = NodeSpec {
            op: op.into(),
            opset: 17,
            inputs: inputs.iter().map(|v| Some(*v)).collect(),
            outputs: made.iter().map(|v| Some(*v)).collect(),
            attrs: if op == "Concat" { [axis].into() } else { Attributes::default() },
            position: node as u32,
            ..NodeSpec::default()
        };
        self.graph.add_node(spec).expect("fresh");
        made
    }

    fn grow(&mut self, random: &mut Random) {
        let x = self.take(random);
        let made = match random.below(20) {
            0..8 => self.add(random.pick(UNARY), &[x], 1, DType::F32),
            8..15 => {
                let inputs = [x, self.take(random)];
                self.add(random.pick(BINARY), &inputs, 1, DType::F32)
            }
            15..17 => self.add("Split", &[x], 2, DType::F32),
            17..19 => {
                let inputs: Vec<ValueId> = (0..1 + random.below(3)).map(|_| self.take(random)).collect();
                self.add("Concat", &inputs, 1, DType::F32)
            }
            _ => {
                let quantised = self.add("QuantizeLinear", &[x, self.scale], 1, DType::U8)[0];
                self.add("DequantizeLinear", &[quantised, self.scale], 1, DType::F32)
            }
        };
        self.used.resize(self.used.len() + made.len(), false);
        self.values.extend(made);
    }
}

fn ty(dtype: DType) -> Option<Type> {
    Some(Type::tensor(dtype, [Dim::Unknown]))
}

/// A graph of about so many nodes, all of which are needed.
pub fn model(random: &mut Random, nodes: usize) -> Model {
    let mut builder = Builder::new();
    while builder.graph.node_count() < nodes {
        builder.grow(random);
    }
    let mut outputs = Vec::new();
    for (value, used) in builder.values.iter().zip(&builder.used) {
        if !used || (builder.graph.value(*value).producer().is_some() && random.one_in(50)) {
            outputs.push(*value);
        }
    }
    let mut graph = builder.graph;
    graph.set_outputs(outputs);
    graph.assign_labels();
    Model { graph, opsets: [("".into(), 17)].into(), ir_version: 8, ..Model::default() }
}

/// The table of one vendor, with patterns of one to four operators; with `costs`, most of them say what they
/// take.
pub fn table(random: &mut Random, vendor: usize, costs: bool) -> String {
    let mut text = format!("[vendor]\nname = \"v{vendor}\"\n");
    if random.one_in(6) {
        text += &format!("max_region_nodes = {}\n", 2 + random.below(8));
    }
    let mut seen: Vec<String> = Vec::new();
    for i in 0..1 + random.below(8) {
        let body = pattern(random);
        if !seen.contains(&body) {
            let (priority, taps) = (random.below(3), random.one_in(3));
            text += &format!("\n[[pattern]]\nname = \"p{i}\"\npriority = {priority}\nallow_taps = {taps}\n");
            text += &format!("match = \"\"\"\n{body}\"\"\"\n");
            if costs && !random.one_in(10) {
                text += &format!("cost = {{ fixed_us = {}.5 }}\n", random.below(30));
            }
            seen.push(body);
        }
    }
    text
}

/// Statements that hang together: each takes what an earlier one has made, or shares a leaf with it.
fn pattern(random: &mut Random) -> String {
    let mut text = String::new();
    let mut made: Vec<String> = Vec::new();
    let mut leaves: Vec<String> = Vec::new();
    for i in 0..1 + random.below(4) {
        let out = format!("s{i}");
        let first = match (made.is_empty(), random.below(8)) {
            (false, 0) if !leaves.is_empty() => random.pick(&leaves),
            (false, 1..3) => random.pick(&made),
            (false, _) => made[made.len() - 1].clone(),
            (true, _) => leaf(&mut leaves),
        };
        text += &match random.below(16) {
            0 => format!("{out}, t{i} = Split({first}, ...)\n"),
            1 => format!("{out} = Concat({first}, ...)\n"),
            2 => format!("{out} = DequantizeLinear({first}, ...)\n"),
            // A pattern needs a node that cannot be absent: its first.
            3 if !made.is_empty() => format!("{out} = {}?({first})\n", random.pick(UNARY)),
            4 if !made.is_empty() => {
                format!("{out} = ({}|{})*({first})\n", random.pick(UNARY), random.pick(BINARY))
            }
            5 => format!("{out} = {}({first}) | {}({first})\n", UNARY[0], random.pick(&UNARY[1..])),
            6..11 => {
                let second = match random.below(3) {
                    0 if !made.is_empty() => random.pick(&made),
                    1 if !leaves.is_empty() => random.pick(&leaves),
                    _ => leaf(&mut leaves),
                };
                format!("{out} = {}({first}, {second})\n", random.pick(BINARY))
            }
            _ => format!("{out} = {}({first})\n", random.pick(UNARY)),
        };
        made.push(out);
    }
    text
}

fn leaf(leaves: &mut Vec<String>) -> String {
    leaves.push(format!("x{}", leaves.len()));
    leaves[leaves.len() - 1].clone()
}

/// What is known of the host and of so many vendors, each in a memory of its own or in the host's.
pub fn costs(random: &mut Random, vendors: usize) -> CostModel {
    let estimate =
        |random: &mut Random| Estimate { us: random.below(9) as f64, error: random.below(3) as f64 / 4.0 };
    let rate =
        |us: usize| Rates { fixed_us: Some(us as f64), error: Some(us as f64 / 40.0), ..Rates::default() };
    let ops = UNARY.iter().chain(BINARY).filter(|_| !random.one_in(3)).copied().collect::<Vec<_>>();
    let mut rates: IndexMap<String, Rates> =
        ops.into_iter().map(|op| (op.to_owned(), rate(1 + random.below(30)))).collect();
    rates.insert("memory".to_owned(), rate(1 + random.below(10)));
    let mut model = CostModel::default();
    model.set(TargetProfile { name: "host".into(), rates, ..TargetProfile::default() });
    for v in 0..vendors {
        let mut link = || Some(Link { fixed_us: random.below(6) as f64, gbps: None });
        let (copy_in, copy_out) = (link(), link());
        model.set(TargetProfile {
            name: format!("v{v}"),
            launch_us: Some(random.below(12) as f64),
            memory: random.one_in(3).then(|| "host".to_owned()),
            copy_in,
            copy_out,
            switch: random.one_in(2).then(|| estimate(random)),
            ..TargetProfile::default()
        });
    }
    model
}
