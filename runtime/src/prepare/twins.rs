//! Values in another layout beside their own.
//!
//! Each value that a turned node reads or makes gets a *twin* in the other layout: made from it where something else
//! makes the value, and the value from it where something else wants it.

use std::sync::Arc;

use byoc_graph::{Graph, Node, NodeId, NodeSpec, Type, ValueId};
use indexmap::IndexMap;

/// A layout, and how to get there and back.
pub(super) trait Layout {
    /// What the names of twins end in.
    const NAME: &'static str;

    /// The type of a value's twin, where it can have one.
    fn twin(graph: &Graph, value: ValueId) -> Option<Type>;

    /// The node that makes a twin from its value.
    fn enter(graph: &Graph, value: ValueId, twin: ValueId) -> NodeSpec;

    /// The node that makes a value from its twin.
    fn leave(graph: &Graph, value: ValueId, twin: ValueId) -> NodeSpec;

    /// Lets users of a value that can do so read its twin instead.
    fn redirect(_graph: &mut Graph, _value: ValueId, _twin: ValueId) {}
}

/// The twins of one layout.
pub(super) struct Twins<L> {
    of: IndexMap<ValueId, ValueId>,
    /// Values that turned nodes have made, with their twins.
    made: Vec<(ValueId, ValueId)>,
    layout: std::marker::PhantomData<L>,
}

impl<L: Layout> Twins<L> {
    pub fn new() -> Self {
        Self { of: IndexMap::new(), made: Vec::new(), layout: std::marker::PhantomData }
    }

    pub fn contains(&self, value: ValueId) -> bool {
        self.of.contains_key(&value)
    }

    /// Has a node read twins as its inputs `images`, and make those of its outputs; `change` says what else becomes of
    /// the node. Nothing happens where a value can have no twin.
    pub fn turn(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        images: &[usize],
        change: impl FnOnce(&mut Graph, &Node, &mut NodeSpec),
    ) {
        let node = graph.node(id);
        let outputs: Option<Vec<ValueId>> = node.outputs().iter().copied().collect();
        let Some(outputs) = outputs else { return };
        let inputs: Option<Vec<ValueId>> = images.iter().map(|&i| node.input(i)).collect();
        let Some(inputs) = inputs
            .filter(|inputs| inputs.iter().chain(&outputs).all(|&value| L::twin(graph, value).is_some()))
        else {
            return;
        };
        let position = node.position;
        for (&i, value) in images.iter().zip(inputs) {
            let twin = self.twin_of(graph, value, position);
            graph.set_input(id, i, Some(twin));
        }
        let node = graph.remove_node(id);
        let made: Vec<_> = outputs.into_iter().map(|output| (output, add_twin::<L>(graph, output))).collect();
        let mut spec = NodeSpec {
            name: node.name.clone(),
            domain: node.op.domain.clone(),
            op: node.op.name.clone(),
            opset: node.opset,
            inputs: node.inputs().to_vec(),
            outputs: made.iter().map(|&(_, twin)| Some(twin)).collect(),
            attrs: node.attrs.clone(),
            position,
            ..NodeSpec::default()
        };
        change(graph, &node, &mut spec);
        add(graph, spec, node.label);
        self.of.extend(made.iter().copied());
        self.made.extend(made);
    }

    fn twin_of(&mut self, graph: &mut Graph, value: ValueId, position: u32) -> ValueId {
        if let Some(&twin) = self.of.get(&value) {
            return twin;
        }
        let twin = add_twin::<L>(graph, value);
        let spec = NodeSpec { position, ..L::enter(graph, value, twin) };
        let label = graph.value(twin).name.clone();
        add(graph, spec, label);
        self.of.insert(value, twin);
        twin
    }

    /// Makes values that nothing makes any more for those who want them as they were.
    pub fn give_back(self, graph: &mut Graph) {
        for (value, twin) in self.made {
            L::redirect(graph, value, twin);
            if graph.value(value).uses().is_empty() && !graph.is_output(value) {
                graph.remove_value(value);
                continue;
            }
            let position = graph.value(twin).producer().map(|(id, _)| graph.node(id).position);
            let spec = NodeSpec { position: position.unwrap_or_default(), ..L::leave(graph, value, twin) };
            let label = graph.value(value).name.clone();
            add(graph, spec, label);
        }
    }
}

fn add(graph: &mut Graph, spec: NodeSpec, label: Arc<str>) {
    let id = graph.add_node(spec).expect("nothing makes its output");
    graph.node_mut(id).label = label;
}

fn add_twin<L: Layout>(graph: &mut Graph, value: ValueId) -> ValueId {
    let ty = L::twin(graph, value);
    let name = graph.fresh_name(&format!("{}_{}", graph.value(value).name, L::NAME));
    graph.add_value(name, ty).expect("the name is fresh")
}
