//! Evaluates a model over terms: a value is the expression that makes it, as a hash. Two models with equal
//! outputs here compute the same whatever the operators mean.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use byoc_graph::{FunctionId, Graph, Model, ValueId};

/// The terms of the graph's outputs. `Err` where its nodes wait for each other.
pub fn outputs(model: &Model) -> Result<Vec<u64>, String> {
    let inputs = model.graph.inputs().iter().map(|v| hash(&model.graph.value(*v).name)).collect();
    evaluate(model, &model.graph, inputs)
}

fn evaluate(model: &Model, graph: &Graph, inputs: Vec<u64>) -> Result<Vec<u64>, String> {
    let mut terms: HashMap<ValueId, u64> = graph.inputs().iter().copied().zip(inputs).collect();
    for (id, value) in graph.values() {
        if let Some(tensor) = graph.constant(id) {
            terms.insert(id, hash(&(&value.name, tensor.bytes().as_ref())));
        }
    }
    for id in graph.try_model_order().map_err(|e| e.to_string())? {
        let node = graph.node(id);
        let inputs: Vec<Option<u64>> = node.inputs().iter().map(|v| v.map(|v| terms[&v])).collect();
        let (domain, name) = (node.op.domain.clone(), node.op.name.clone());
        let function = FunctionId { domain, name, overload: node.op.overload.clone() };
        let made = match model.functions.get(&function) {
            Some(function) => {
                let inputs = inputs.into_iter().map(|v| v.expect("a region's inputs are all given"));
                evaluate(model, &function.body, inputs.collect())?
            }
            None => {
                let call = (&node.op.domain, &node.op.name, format!("{:?}", node.attrs), inputs);
                (0..node.outputs().len()).map(|i| hash(&(&call, i))).collect()
            }
        };
        terms.extend(node.outputs().iter().zip(made).filter_map(|(v, term)| Some(((*v)?, term))));
    }
    Ok(graph.outputs().iter().map(|v| terms[v]).collect())
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
