//! Binds symbolic dimensions and input shapes that the caller gives, before anything else.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{InferError, InferOptions};
use crate::{Dim, Dims, Expr, Graph, Model, TensorType, Type};

type Bindings = IndexMap<String, i64>;

pub fn bind(model: &mut Model, options: &InferOptions) -> Result<(), InferError> {
    let mut bindings = Bindings::new();
    let known = symbols_of_inputs(&model.graph);
    for (name, value) in &options.dims {
        if !known.contains(name) {
            return Err(InferError::UnknownDim { name: name.clone(), known });
        }
        bind_dim(&mut bindings, name, *value)?;
    }
    for (name, shape) in &options.input_shapes {
        bind_input(&mut model.graph, name, shape, &mut bindings)?;
    }
    if !bindings.is_empty() {
        substitute_graph(&mut model.graph, &bindings);
    }
    Ok(())
}

fn bind_dim(bindings: &mut Bindings, name: &str, value: i64) -> Result<(), InferError> {
    if value < 0 {
        return Err(InferError::BadDim { name: name.to_owned(), value });
    }
    let first = *bindings.entry(name.to_owned()).or_insert(value);
    if first != value {
        return Err(InferError::BoundTwice { name: name.to_owned(), first, second: value });
    }
    Ok(())
}

fn symbols_of_inputs(graph: &Graph) -> Vec<String> {
    let mut names = Vec::new();
    for &input in graph.inputs() {
        let shape = graph.value(input).ty.as_ref().and_then(Type::shape);
        for expr in shape.iter().flat_map(|dims| dims.iter()).filter_map(Dim::expr) {
            expr.symbols(&mut names);
        }
    }
    names.iter().map(ToString::to_string).collect()
}

fn bind_input(
    graph: &mut Graph,
    name: &str,
    given: &[i64],
    bindings: &mut Bindings,
) -> Result<(), InferError> {
    let input = graph.inputs().iter().copied().find(|&id| &*graph.value(id).name == name);
    let Some(input) = input else {
        let known = graph.inputs().iter().map(|&id| graph.value(id).name.to_string()).collect();
        return Err(InferError::UnknownInput { name: name.to_owned(), known });
    };
    if let Some(&value) = given.iter().find(|&&value| value < 0) {
        return Err(InferError::BadDim { name: name.to_owned(), value });
    }
    let ty = &mut graph.value_mut(input).ty;
    let misfit = |ty: &Option<Type>| InferError::BadInputShape {
        name: name.to_owned(),
        given: given.to_vec(),
        declared: ty.as_ref().map_or_else(|| "unknown".to_owned(), Type::to_string),
    };
    let declared = match ty.get_or_insert_with(|| TensorType::default().into()) {
        Type::Tensor(tensor) => tensor,
        _ => return Err(misfit(ty)),
    };
    if let Some(dims) = &declared.shape {
        if dims.len() != given.len() {
            return Err(misfit(ty));
        }
        for (dim, &value) in dims.iter().zip(given) {
            match dim {
                Dim::Static(n) if *n != value => return Err(misfit(ty)),
                Dim::Symbolic(expr) => {
                    if let Some(symbol) = expr.as_symbol() {
                        bind_dim(bindings, symbol, value)?;
                    }
                }
                _ => {}
            }
        }
    }
    declared.shape = Some(given.iter().map(|&n| Dim::Static(n)).collect());
    Ok(())
}

fn substitute_graph(graph: &mut Graph, bindings: &Bindings) {
    let ids: Vec<_> = graph.values().map(|(id, _)| id).collect();
    for id in ids {
        if let Some(ty) = &mut graph.value_mut(id).ty {
            substitute_type(ty, bindings);
        }
    }
    let nodes: Vec<_> = graph.node_ids().collect();
    for id in nodes {
        for attr in graph.node_mut(id).attrs.values_mut() {
            for body in attr.graphs_mut() {
                substitute_graph(body, bindings);
            }
        }
    }
}

fn substitute_type(ty: &mut Type, bindings: &Bindings) {
    match ty {
        Type::Tensor(tensor) | Type::SparseTensor(tensor) => {
            if let Some(dims) = &mut tensor.shape {
                substitute_dims(dims, bindings);
            }
        }
        Type::Sequence(Some(inner)) | Type::Optional(Some(inner)) | Type::Map(_, Some(inner)) => {
            substitute_type(Arc::make_mut(inner), bindings);
        }
        _ => {}
    }
}

fn substitute_dims(dims: &mut Dims, bindings: &Bindings) {
    for dim in dims {
        *dim = dim.substitute(&|name| bindings.get(name).map(|&value| Expr::constant(value)));
    }
}
