//! What is drawn of a graph: its nodes, the copies that regions have of some, what comes in and goes out, and the
//! flows between them.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId, Origin, ValueId};
use byoc_partitioner::{Region, RegionComposite};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Node(NodeId),
    /// A region's own copy of a node, for this consumer.
    Copy(NodeId, NodeId),
    /// An input of the graph, or a value of the graph around it.
    Input(ValueId),
    Output(ValueId),
}

#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub what: What,
    pub region: Option<usize>,
}

/// A value on its way from one item to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    pub value: ValueId,
}

#[derive(Debug, Default)]
pub struct Sketch {
    /// The graph's nodes in model order, then copies, inputs and outputs.
    pub items: Vec<Item>,
    /// In the order of the items that they lead to.
    pub flows: Vec<Flow>,
}

impl Sketch {
    pub fn new(graph: &Graph, regions: &[&Region]) -> Sketch {
        let mut items = Items::default();
        for id in graph.model_order() {
            items.push(What::Node(id), None);
        }
        for (r, region) in regions.iter().enumerate() {
            let own = region.members.iter().filter(|m| m.copy_for.is_none());
            own.for_each(|m| items.list[items.nodes[&m.node]].region = Some(r));
            region.composites.iter().for_each(|composite| items.copies(graph, composite, r));
        }
        // Initializers that may be overridden are inputs as well, but nobody gives them.
        let given = graph.inputs().iter().copied();
        let given = given.filter(|v| !graph.is_constant(*v) && graph.default_of(*v).is_none());
        let captured = graph.captured().filter(|v| !graph.is_constant(*v));
        for value in given.chain(captured) {
            items.push(What::Input(value), None);
        }
        for &value in graph.outputs() {
            items.push(What::Output(value), None);
        }
        let flows = items.flows(graph);
        Sketch { items: items.list, flows }
    }
}

#[derive(Default)]
struct Items {
    list: Vec<Item>,
    nodes: HashMap<NodeId, usize>,
    inputs: HashMap<ValueId, usize>,
    /// By user and node: the copy that the user has.
    copies: HashMap<(NodeId, NodeId), usize>,
}

impl Items {
    fn push(&mut self, what: What, region: Option<usize>) -> usize {
        let index = self.list.len();
        match what {
            What::Node(id) => drop(self.nodes.insert(id, index)),
            What::Input(value) => drop(self.inputs.insert(value, index)),
            What::Copy(..) | What::Output(_) => {}
        }
        self.list.push(Item { what, region });
        index
    }

    fn copies(&mut self, graph: &Graph, composite: &RegionComposite, region: usize) {
        for member in &composite.members {
            let Some(consumer) = member.copy_for else { continue };
            let copy = self.push(What::Copy(member.node, consumer), Some(region));
            for user in composite.members.iter().map(|m| m.node) {
                if graph.node(user).dependencies().any(|v| maker(graph, v) == Some(member.node)) {
                    self.copies.insert((user, member.node), copy);
                }
            }
        }
    }

    fn flows(&self, graph: &Graph) -> Vec<Flow> {
        let mut flows: Vec<Flow> = Vec::new();
        for (to, item) in self.list.iter().enumerate() {
            let used: Vec<ValueId> = match item.what {
                What::Node(id) | What::Copy(id, _) => graph.node(id).dependencies().collect(),
                What::Output(value) => vec![value],
                What::Input(_) => Vec::new(),
            };
            let before = flows.len();
            for value in used {
                let from = match (maker(graph, value), item.what) {
                    (None, _) => self.inputs.get(&value).copied(),
                    (Some(maker), What::Node(user)) => {
                        self.copies.get(&(user, maker)).or(self.nodes.get(&maker)).copied()
                    }
                    (Some(maker), _) => self.nodes.get(&maker).copied(),
                };
                let flow = from.map(|from| Flow { from, to, value });
                flows.extend(flow.filter(|f| !flows[before..].contains(f)));
            }
        }
        flows
    }
}

fn maker(graph: &Graph, value: ValueId) -> Option<NodeId> {
    match *graph.value(value).origin() {
        Origin::Node(node, _) => Some(node),
        _ => None,
    }
}
