//! Decomposed forms of operators for which the host has a kernel become those operators.

use byoc_graph::{Graph, NodeSpec, recognise};

use super::Pass;

pub(super) const PASS: Pass = Pass {
    name: "forms",
    about: "replaces decomposed forms (Gelu, LayerNormalization, …) by the operators that they amount to",
    run,
};

/// Operators whose kernels are faster than their parts.
const OPERATORS: &[&str] = &["Gelu", "HardSwish", "LayerNormalization", "Mish", "RMSNormalization", "Swish"];

fn run(graph: &mut Graph) {
    for form in recognise::recognise(graph, &|_| true) {
        if !OPERATORS.contains(&&*form.op) {
            continue;
        }
        let last = *form.nodes.last().expect("a form has nodes");
        let (name, label) = (graph.node(last).name.clone(), graph.node(last).label.clone());
        let position = graph.node(last).position;
        for &id in form.nodes.iter().rev() {
            graph.remove_node(id);
        }
        let spec = NodeSpec {
            name,
            domain: form.domain,
            op: form.op,
            opset: form.opset,
            inputs: form.inputs,
            outputs: form.outputs.into_iter().map(Some).collect(),
            attrs: form.attrs,
            position,
            ..NodeSpec::default()
        };
        let id = graph.add_node(spec).expect("the form's outputs were just given up");
        graph.node_mut(id).label = label;
    }
}
