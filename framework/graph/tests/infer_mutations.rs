//! Inference survives models that make no sense: attributes, dimensions and constants changed at random.

mod support;

use std::sync::Arc;

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Attr, Dim, Graph, Model, Tensor, Type, ValueId, cost, onnx};

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Numbers at the edges of what a size, an axis or a code may be.
    fn number(&mut self) -> i64 {
        const EDGES: [i64; 18] = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            5,
            7,
            28,
            300,
            -300,
            1 << 31,
            -(1 << 31),
            1 << 40,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ];
        EDGES[self.below(EDGES.len())]
    }

    fn dim(&mut self) -> Dim {
        match self.below(6) {
            0 => Dim::Unknown,
            1 => Dim::symbol("n"),
            2 => Dim::symbol("m"),
            _ => Dim::Static(self.number()),
        }
    }
}

fn mutate(graph: &mut Graph, random: &mut Random) {
    let nodes: Vec<_> = graph.node_ids().collect();
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for _ in 0..=random.below(3) {
        match random.below(4) {
            0 | 1 if !nodes.is_empty() => {
                let node = nodes[random.below(nodes.len())];
                mutate_attributes(graph, node, random);
            }
            2 if !nodes.is_empty() => {
                // Another version of the operator, or an input that is not there.
                let node = nodes[random.below(nodes.len())];
                match random.below(2) {
                    0 => graph.node_mut(node).opset = random.below(30) as i64,
                    _ => {
                        let inputs = graph.node(node).inputs().len();
                        if inputs > 0 {
                            let value = values.get(random.below(values.len() * 2)).copied();
                            graph.set_input(node, random.below(inputs), value);
                        }
                    }
                }
            }
            _ => mutate_value(graph, values[random.below(values.len())], random),
        }
    }
}

fn mutate_attributes(graph: &mut Graph, node: byoc_graph::NodeId, random: &mut Random) {
    let attrs = &mut graph.node_mut(node).attrs;
    if attrs.is_empty() {
        return;
    }
    let at = random.below(attrs.len());
    if random.below(5) == 0 {
        attrs.shift_remove_index(at);
        return;
    }
    match attrs.get_index_mut(at).map(|(_, attr)| attr) {
        Some(Attr::Int(n)) => *n = random.number(),
        Some(Attr::Ints(list)) => {
            match random.below(3) {
                0 => list.push(random.number()),
                1 => drop(list.pop()),
                _ => {}
            }
            if !list.is_empty() {
                let i = random.below(list.len());
                list[i] = random.number();
            }
        }
        Some(Attr::Float(x)) => *x = [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30][random.below(5)],
        Some(Attr::Floats(list)) => list.push(f32::NAN),
        Some(Attr::Str(text)) => *text = "...->,".into(),
        Some(Attr::Graph(body)) => mutate(body, random),
        Some(attr) => *attr = Attr::Int(random.number()),
        None => {}
    }
}

fn mutate_value(graph: &mut Graph, id: ValueId, random: &mut Random) {
    if random.below(3) == 0 {
        let content: Vec<i64> = (0..random.below(6)).map(|_| random.number()).collect();
        let dims: &[usize] = if content.len() == 1 { &[] } else { &[content.len()] };
        graph.set_constant(id, Arc::new(Tensor::from_vec(dims, content).expect("a vector")));
        return;
    }
    if let Some(Type::Tensor(tensor)) = &mut graph.value_mut(id).ty {
        let rank = random.below(6);
        tensor.shape = (random.below(8) != 0).then(|| (0..rank).map(|_| random.dim()).collect());
    }
}

/// Infers a model, and asks what it costs.
fn exercise(mut model: Model) {
    let options = InferOptions::default();
    // Whether it is refused or not is all the same here.
    let _ = infer(&mut model, &options);
    for id in model.graph.node_ids() {
        let cost = cost::of(&model.graph, id);
        assert!(cost.macs <= cost.flops || cost.flops.is_none());
    }
    // The result is a fixed point, or at least one that can be worked with again.
    let _ = infer(&mut model, &options);
}

/// Every operator with inputs of one symbolic type.
fn one_of_each() -> Vec<Model> {
    let mut models = Vec::new();
    for schema in byoc_graph::schema::all() {
        let inputs: Vec<String> = (0..schema.inputs.len()).map(|i| format!("float[n,4,h] x{i}")).collect();
        let names: Vec<String> = (0..schema.inputs.len()).map(|i| format!("x{i}")).collect();
        let outputs: Vec<String> = (0..schema.outputs.len()).map(|i| format!("y{i}")).collect();
        let domain = if schema.domain.is_empty() { String::new() } else { format!("{}.", schema.domain) };
        let text = format!(
            "<ir_version: 10, opset_import: [\"{}\" : {}]>\ng ({}) => () {{ {} = {domain}{}({}) }}",
            schema.domain,
            schema.since_version,
            inputs.join(", "),
            outputs.join(", "),
            schema.name,
            names.join(", "),
        );
        if let Ok(model) = onnx::from_text(&text, None) {
            models.push(model);
        }
    }
    models
}

/// Gives a node an attribute of each kind that its schema names, at random.
fn add_attributes(model: &mut Model, random: &mut Random) {
    let nodes: Vec<_> = model.graph.node_ids().collect();
    for id in nodes {
        let node = model.graph.node_mut(id);
        let schema = byoc_graph::schema::lookup(&node.op.domain, &node.op.name, node.opset);
        for attribute in schema.map_or(&[][..], |schema| schema.attributes) {
            let attr = match attribute.kind {
                byoc_graph::AttrKind::Int => Attr::Int(random.number()),
                byoc_graph::AttrKind::Ints => {
                    Attr::Ints((0..random.below(5)).map(|_| random.number()).collect())
                }
                byoc_graph::AttrKind::Float => Attr::Float(random.number() as f32),
                byoc_graph::AttrKind::Floats => Attr::Floats(vec![2.5; random.below(4)]),
                byoc_graph::AttrKind::Str => Attr::str("ij,jk"),
                _ => continue,
            };
            if random.below(3) != 0 {
                node.attrs.insert(attribute.name.into(), attr);
            }
        }
    }
}

#[test]
fn every_operator_survives_random_attributes_and_shapes() {
    let models = one_of_each();
    assert!(models.len() > 600, "only {} operators could be written", models.len());
    let mut random = Random(0x5EED);
    for model in &models {
        for _ in 0..30 {
            let mut model = model.clone();
            add_attributes(&mut model, &mut random);
            mutate(&mut model.graph, &mut random);
            exercise(model);
        }
    }
}

#[test]
fn models_survive_mutations() {
    let Some(folder) = support::test_data("corpora") else { return };
    let mut random = Random(0xB10C);
    for path in support::files_below(&folder, "onnx") {
        let Ok(model) = onnx::load(&path) else { continue };
        if model.graph.node_count() > 200 {
            continue;
        }
        for _ in 0..12 {
            let mut model = model.clone();
            mutate(&mut model.graph, &mut random);
            exercise(model);
        }
    }
}
