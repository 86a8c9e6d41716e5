//! Where a graph is in a model: the main graph, a function's body, or a body of a node in one of them.

use std::sync::Arc;

use byoc_graph::{FunctionId, Graph, Model, NodeId, Opsets};

/// The way from a model to one of its graphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphPath {
    pub function: Option<FunctionId>,
    /// From body to body: the node, the attribute and which of its graphs.
    pub steps: Vec<(NodeId, Arc<str>, usize)>,
    /// As reports name it.
    pub text: String,
}

/// Graphs of the model that are to be partitioned: all but what an earlier partition outlined. A graph comes
/// before the bodies in it.
pub fn graphs(model: &Model) -> Vec<(GraphPath, &Graph)> {
    let mut found = Vec::new();
    let main = GraphPath { function: None, steps: Vec::new(), text: "main".to_owned() };
    let bodies = model.functions.iter().filter(|(id, _)| !id.domain.starts_with("byoc."));
    let bodies = bodies.map(|(id, f)| {
        (GraphPath { function: Some(id.clone()), steps: Vec::new(), text: id.to_string() }, &f.body)
    });
    let mut open: Vec<(GraphPath, &Graph)> = [(main, &model.graph)].into_iter().chain(bodies).collect();
    open.reverse();
    while let Some((path, graph)) = open.pop() {
        let mut inner = Vec::new();
        for id in graph.model_order() {
            let node = graph.node(id);
            for (name, attr) in &node.attrs {
                let bodies = attr.graphs();
                for (i, body) in bodies.iter().enumerate() {
                    let index = if bodies.len() > 1 { format!("[{i}]") } else { String::new() };
                    let mut path = path.clone();
                    path.steps.push((id, name.clone(), i));
                    path.text += &format!("/{}.{name}{index}", node.label);
                    inner.push((path, body));
                }
            }
        }
        found.push((path, graph));
        open.extend(inner.into_iter().rev());
    }
    found
}

impl GraphPath {
    pub fn get<'m>(&self, model: &'m Model) -> Option<&'m Graph> {
        let mut graph = match &self.function {
            None => &model.graph,
            Some(id) => &model.functions.get(id)?.body,
        };
        for (node, attr, index) in &self.steps {
            graph = graph.node(*node).attrs.get(attr)?.graphs().get(*index)?;
        }
        Some(graph)
    }

    pub fn get_mut<'m>(&self, model: &'m mut Model) -> Option<&'m mut Graph> {
        let mut graph = match &self.function {
            None => &mut model.graph,
            Some(id) => &mut model.functions.get_mut(id)?.body,
        };
        for (node, attr, index) in &self.steps {
            graph = graph.node_mut(*node).attrs.get_mut(attr)?.graphs_mut().get_mut(*index)?;
        }
        Some(graph)
    }

    /// Opset versions that hold there.
    pub fn opsets<'m>(&self, model: &'m Model) -> &'m Opsets {
        let function = self.function.as_ref().and_then(|id| model.functions.get(id));
        function.map_or(&model.opsets, |f| &f.opsets)
    }
}
