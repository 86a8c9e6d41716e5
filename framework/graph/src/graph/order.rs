//! Neighbours, model order, and the labels that nodes go by.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::visit::{EdgeRef, IntoEdgeReferences};

use super::{Graph, GraphError, NodeId};

impl Graph {
    /// Nodes that use something `node` makes, each once, in order of output and use.
    pub fn successors(&self, node: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        for output in self.net[node].outputs.iter().flatten() {
            for use_ in &self.value(*output).uses {
                if !found.contains(&use_.node) {
                    found.push(use_.node);
                }
            }
        }
        found
    }

    /// Nodes that make something `node` uses, each once, in order of input.
    pub fn predecessors(&self, node: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        for value in self.net[node].dependencies() {
            if let Some((producer, _)) = self.value(value).producer()
                && !found.contains(&producer)
            {
                found.push(producer);
            }
        }
        found
    }

    /// Nodes in model order: the file's order where that is topological, else the topological order
    /// that takes the earliest node of the file first.
    ///
    /// # Panics
    /// On a cyclic graph; `try_model_order` reports it, and every graph that was loaded has been asked.
    pub fn model_order(&self) -> Vec<NodeId> {
        self.try_model_order().expect("graph is acyclic")
    }

    pub fn try_model_order(&self) -> Result<Vec<NodeId>, GraphError> {
        let mut waiting = vec![0usize; self.node_bound()];
        for edge in self.net.edge_references() {
            waiting[edge.target().index()] += 1;
        }
        let key = |id: NodeId| Reverse((self.net[id].position, id.index()));
        let ready = self.net.node_indices().filter(|id| waiting[id.index()] == 0);
        let mut ready: BinaryHeap<_> = ready.map(key).collect();
        let mut order = Vec::with_capacity(self.net.node_count());
        while let Some(Reverse((_, index))) = ready.pop() {
            let id = NodeId::new(index);
            order.push(id);
            for edge in self.net.edges(id) {
                let left = &mut waiting[edge.target().index()];
                *left -= 1;
                if *left == 0 {
                    ready.push(key(edge.target()));
                }
            }
        }
        if order.len() < self.net.node_count() {
            return Err(GraphError::Cycle(self.find_cycle(&waiting)));
        }
        Ok(order)
    }

    /// Labels along one cycle among the nodes that still wait.
    fn find_cycle(&self, waiting: &[usize]) -> Vec<String> {
        let waits = |id: &NodeId| waiting[id.index()] > 0;
        let mut path: Vec<NodeId> = Vec::new();
        let mut seen = vec![false; self.node_bound()];
        let mut at = self.net.node_indices().find(waits).expect("some node waits");
        // Walking against the edges from a waiting node, some waiting predecessor always exists.
        while !std::mem::replace(&mut seen[at.index()], true) {
            path.push(at);
            at = self.net.neighbors_directed(at, Direction::Incoming).find(waits).expect("waits for one");
        }
        let start = path.iter().position(|&id| id == at).expect("the walk came back");
        let cycle = path[start..].iter().rev().chain([path.last().expect("not empty")]);
        cycle.map(|&id| self.net[id].label.to_string()).collect()
    }

    /// Sets every node's `label` by the rule that it documents. To be called once all nodes are in.
    pub fn assign_labels(&mut self) {
        let mut count: HashMap<Arc<str>, usize> = HashMap::new();
        for node in self.net.node_weights() {
            *count.entry(node.name.clone()).or_default() += 1;
        }
        for id in self.net.node_indices().collect::<Vec<_>>() {
            let node = &self.net[id];
            let unique = !node.name.is_empty() && count[&node.name] == 1;
            let output = node.outputs.iter().flatten().next();
            self.net[id].label = match output {
                Some(&v) if !unique => self.value(v).name.clone(),
                _ => self.net[id].name.clone(),
            };
        }
    }
}
