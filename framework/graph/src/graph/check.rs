//! Whether a graph agrees with itself, and with another.

use super::{Graph, Slot, Use};

impl Graph {
    /// Panics where uses, producers and edges disagree. For tests and debug builds.
    pub fn check(&self) {
        let mut edges = 0;
        for (id, value) in self.values() {
            assert_eq!(self.by_name.get(&value.name), Some(&id), "`{}` is not found by name", value.name);
            if let Some((node, output)) = value.producer() {
                assert_eq!(self.net[node].outputs[output], Some(id), "`{}` is not its output", value.name);
            }
            for use_ in &value.uses {
                let node = &self.net[use_.node];
                let at = match use_.slot {
                    Slot::Input(i) => node.input(i as usize),
                    Slot::Capture(i) => node.captures.get(i as usize).copied(),
                };
                assert_eq!(at, Some(id), "a use of `{}` is stale", value.name);
                if let Some((producer, _)) = value.producer() {
                    assert!(self.find_edge(producer, *use_, id).is_some(), "`{}` lacks an edge", value.name);
                    edges += 1;
                }
            }
        }
        assert_eq!(edges, self.net.edge_count(), "edges without a use");
        for id in self.net.node_indices() {
            for (slot, value) in self.slots_of(id) {
                assert!(self.value(value).uses.contains(&Use { node: id, slot }), "a use is not recorded");
            }
        }
    }
}

/// Graphs are equal where they hold the same nodes and values under the same names, in the same order.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let values = |g: &Graph| g.values().map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let nodes = |g: &Graph| g.net.node_weights().cloned().collect::<Vec<_>>();
        self.name == other.name
            && self.inputs == other.inputs
            && self.outputs == other.outputs
            && values(self) == values(other)
            && nodes(self) == nodes(other)
    }
}
