//! Models of older opsets as opset 13 writes them.
//!
//! Most operators only took on more types or attributes meanwhile, and need nothing but another version; a few
//! are written otherwise. Local functions have opsets of their own and stay as they are.

use std::sync::Arc;

use thiserror::Error;

use crate::{Attr, Graph, GraphError, Model, NodeId, Tensor, schema};

/// The version that models are raised to.
pub const VERSION: i64 = 13;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RaiseError {
    #[error("{op} node `{node}` of opset {opset} means something else at opset 13; convert the model first")]
    Changed { node: String, op: String, opset: i64 },
    #[error("{op} node `{node}` cannot be raised to opset 13: {why}")]
    Refused { node: String, op: String, why: String },
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// From which version on an operator means what it means at opset 13. An operator that is not listed does where
/// both versions have the same schema.
const UNCHANGED: &[(&str, i64)] = &[
    ("Abs", 6),
    ("Add", 7),
    ("And", 7),
    ("ArgMax", 1),
    ("ArgMin", 1),
    ("AveragePool", 7),
    ("Cast", 6),
    ("Ceil", 6),
    ("Clip", 11),
    ("Concat", 4),
    ("Constant", 1),
    ("Conv", 1),
    ("ConvTranspose", 1),
    ("CumSum", 11),
    ("DepthToSpace", 1),
    ("DequantizeLinear", 10),
    ("Div", 7),
    ("Equal", 7),
    ("Erf", 9),
    ("Exp", 6),
    ("Expand", 8),
    ("Flatten", 1),
    ("Floor", 6),
    ("Gather", 1),
    ("GatherElements", 11),
    ("GatherND", 11),
    ("Gemm", 7),
    ("Greater", 7),
    ("Identity", 1),
    ("If", 1),
    ("LRN", 1),
    ("Less", 7),
    ("Log", 6),
    ("Loop", 1),
    ("LpPool", 2),
    ("MatMul", 1),
    ("Max", 8),
    ("MaxPool", 1),
    ("Mean", 8),
    ("Min", 8),
    ("Mod", 10),
    ("Mul", 7),
    ("Neg", 6),
    ("NonMaxSuppression", 10),
    ("NonZero", 9),
    ("OneHot", 9),
    ("PRelu", 7),
    ("Pad", 11),
    ("Pow", 7),
    ("QuantizeLinear", 10),
    ("Reciprocal", 6),
    ("ReduceL1", 1),
    ("ReduceL2", 1),
    ("ReduceLogSum", 1),
    ("ReduceLogSumExp", 1),
    ("ReduceMax", 1),
    ("ReduceMean", 1),
    ("ReduceMin", 1),
    ("ReduceProd", 1),
    ("ReduceSumSquare", 1),
    ("Relu", 6),
    ("Reshape", 5),
    ("Resize", 11),
    ("Scan", 9),
    ("ScatterElements", 11),
    ("ScatterND", 11),
    ("Shape", 1),
    ("Sigmoid", 6),
    ("Sign", 9),
    ("Size", 1),
    ("Slice", 10),
    ("SpaceToDepth", 1),
    ("Sqrt", 6),
    ("Sub", 7),
    ("Sum", 8),
    ("Tanh", 6),
    ("Tile", 6),
    ("TopK", 10),
    ("Transpose", 1),
    ("Where", 9),
];

/// How an operator of an older version is written at opset 13.
type Rewrite = fn(&mut Graph, NodeId) -> Result<(), RaiseError>;

const REWRITTEN: &[(&str, Rewrite)] = &[
    ("BatchNormalization", batch_normalization),
    ("Clip", |graph, id| attributes_to_inputs(graph, id, &["min", "max"])),
    ("Dropout", |graph, id| attributes_to_inputs(graph, id, &["ratio"])),
    ("Hardmax", normalised_axis),
    ("LogSoftmax", normalised_axis),
    ("Pad", pad),
    ("ReduceSum", |graph, id| attributes_to_inputs(graph, id, &["axes"])),
    ("Resize", resize),
    ("Slice", |graph, id| attributes_to_inputs(graph, id, &["starts", "ends", "axes"])),
    ("Softmax", normalised_axis),
    ("Split", |graph, id| attributes_to_inputs(graph, id, &["split"])),
    ("Squeeze", |graph, id| attributes_to_inputs(graph, id, &["axes"])),
    ("TopK", |graph, id| attributes_to_inputs(graph, id, &["k"])),
    ("Unsqueeze", |graph, id| attributes_to_inputs(graph, id, &["axes"])),
    ("Upsample", resize),
];

/// Raises a model to opset 13 of the default domain; one of that or a later opset stays as it is.
pub fn raise(model: &mut Model) -> Result<(), RaiseError> {
    let opset = model.opset("").unwrap_or(VERSION);
    if opset < VERSION {
        raise_graph(&mut model.graph)?;
        model.opsets.insert("".into(), VERSION);
        // Files of this version have initializers that are not inputs, and all types of opset 13.
        model.ir_version = model.ir_version.max(7);
    }
    Ok(())
}

fn raise_graph(graph: &mut Graph) -> Result<(), RaiseError> {
    for id in graph.model_order() {
        if schema::canonical_domain(&graph.node(id).op.domain).is_empty() {
            raise_node(graph, id)?;
        }
        for attr in graph.node_mut(id).attrs.values_mut() {
            match attr {
                Attr::Graph(body) => raise_graph(body)?,
                Attr::Graphs(bodies) => bodies.iter_mut().try_for_each(raise_graph)?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn raise_node(graph: &mut Graph, id: NodeId) -> Result<(), RaiseError> {
    let node = graph.node(id);
    let (op, opset) = (node.op.name.clone(), node.opset);
    let version = |opset| schema::lookup("", &op, opset).map(|s| s.since_version);
    let same = version(opset) == version(VERSION)
        || UNCHANGED.iter().any(|(name, since)| *name == &*op && version(opset).is_some_and(|v| v >= *since));
    if !same {
        let Some((_, rewrite)) = REWRITTEN.iter().find(|(name, _)| *name == &*op) else {
            return Err(RaiseError::Changed { node: node.label.to_string(), op: op.to_string(), opset });
        };
        rewrite(graph, id)?;
    }
    graph.node_mut(id).opset = VERSION;
    Ok(())
}

fn refused(graph: &Graph, id: NodeId, why: &str) -> RaiseError {
    let node = graph.node(id);
    RaiseError::Refused { node: node.label.to_string(), op: node.op.name.to_string(), why: why.into() }
}

/// Attributes that became inputs, in this order behind the first; one that is missing leaves a gap.
fn attributes_to_inputs(graph: &mut Graph, id: NodeId, names: &[&str]) -> Result<(), RaiseError> {
    for (slot, name) in names.iter().enumerate() {
        let Some(attr) = graph.node_mut(id).attrs.shift_remove(*name) else { continue };
        let tensor = match attr {
            Attr::Float(value) => Tensor::scalar(value),
            Attr::Floats(values) => list(values),
            // `k` is a list of one.
            Attr::Int(value) => list(vec![value]),
            Attr::Ints(values) => list(values),
            _ => return Err(refused(graph, id, &format!("attribute `{name}` is no number"))),
        };
        input(graph, id, slot + 1, name, tensor)?;
    }
    Ok(())
}

fn list<T: crate::Element>(values: Vec<T>) -> Tensor {
    Tensor::from_vec(&[values.len()], values).expect("as many elements as the shape says")
}

fn input(graph: &mut Graph, id: NodeId, slot: usize, name: &str, tensor: Tensor) -> Result<(), RaiseError> {
    let name = graph.fresh_name(&format!("{}_{name}", graph.node(id).label));
    let value = graph.add_constant(name, Arc::new(tensor))?;
    graph.set_input(id, slot, Some(value));
    Ok(())
}

/// Before opset 13 these worked on everything from `axis` on at once.
fn normalised_axis(graph: &mut Graph, id: NodeId) -> Result<(), RaiseError> {
    let node = graph.node(id);
    let axis = node.attrs.get("axis").and_then(Attr::as_int).unwrap_or(1);
    let shape = node.input(0).and_then(|x| graph.value(x).ty.as_ref()?.shape().cloned());
    let Some(shape) = shape else { return Err(refused(graph, id, "its input has no known rank")) };
    let first = if axis < 0 { axis + shape.len() as i64 } else { axis };
    let behind = shape.iter().skip(usize::try_from(first).unwrap_or(0) + 1);
    if !behind.into_iter().all(|dim| dim.value() == Some(1)) {
        return Err(refused(graph, id, "it works on several axes at once"));
    }
    graph.node_mut(id).attrs.insert("axis".into(), Attr::Int(first));
    Ok(())
}

fn batch_normalization(graph: &mut Graph, id: NodeId) -> Result<(), RaiseError> {
    let node = graph.node(id);
    let flag = |name: &str, default| node.attrs.get(name).and_then(Attr::as_int).unwrap_or(default);
    if node.opset < 7 || flag("spatial", 1) == 0 || node.outputs().iter().skip(1).any(Option::is_some) {
        return Err(refused(graph, id, "it trains, or has parameters for more than channels"));
    }
    graph.node_mut(id).attrs.shift_remove("spatial");
    Ok(())
}

fn pad(graph: &mut Graph, id: NodeId) -> Result<(), RaiseError> {
    attributes_to_inputs(graph, id, &["pads", "value"])
}

/// Upsample, and Resize as it was before it could be told where pixels lie.
fn resize(graph: &mut Graph, id: NodeId) -> Result<(), RaiseError> {
    let node = graph.node(id);
    let nearest = node.attrs.get("mode").and_then(Attr::as_str).is_none_or(|mode| mode == "nearest");
    if &*node.op.name == "Upsample" && node.opset < 9 {
        attributes_to_inputs(graph, id, &["scales"])?;
    }
    let scales = graph.node(id).input(1);
    graph.set_input(id, 1, None);
    graph.set_input(id, 2, scales);
    let node = graph.node_mut(id);
    node.op.name = "Resize".into();
    node.attrs.insert("coordinate_transformation_mode".into(), Attr::str("asymmetric"));
    if nearest {
        node.attrs.insert("nearest_mode".into(), Attr::str("floor"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{infer, onnx};

    fn raised(body: &str, opset: i64) -> Result<String, RaiseError> {
        let text = format!("<ir_version: 4, opset_import: [\"\": {opset}]>\n{body}");
        let mut model = onnx::from_text(&text, None).unwrap();
        infer::infer(&mut model, &infer::InferOptions::default()).unwrap();
        raise(&mut model)?;
        model.graph.check();
        Ok(onnx::to_text(&model).unwrap())
    }

    #[test]
    fn attributes_become_inputs() {
        let text = raised("g (float[2,1,3] x) => (float[2,3] y) { y = Squeeze<axes = [1]>(x) }", 11).unwrap();
        assert!(text.contains("Squeeze (x, y_axes)") && text.contains("\"\" : 13"), "{text}");
        let text = raised("g (float[2] x) => (float[2] y) { y = Clip<max = 6.0>(x) }", 6).unwrap();
        assert!(text.contains("Clip (x, \"\", y_max)"), "{text}");
    }

    #[test]
    fn operators_that_stayed_only_get_another_version() {
        let text = raised("g (float[2,3] x, float[3] b) => (float[2,3] y) { y = Add(x, b) }", 7).unwrap();
        assert!(text.contains("Add (x, b)"), "{text}");
    }

    #[test]
    fn softmax_over_several_axes_is_refused() {
        let error = raised("g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }", 11).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Softmax node `y` cannot be raised to opset 13: it works on several axes at once"
        );
        raised("g (float[2,3,1] x) => (float[2,3,1] y) { y = Softmax(x) }", 11).unwrap();
    }

    #[test]
    fn what_changed_its_meaning_is_named() {
        let error =
            raised("g (float[2,3] x, float[2,3] b) => (float[2,3] y) { y = Add(x, b) }", 6).unwrap_err();
        assert!(error.to_string().contains("Add node `y` of opset 6"), "{error}");
    }

    #[test]
    fn upsample_is_resize() {
        let body = "g (float[1,1,2,2] x) => (float[1,1,4,4] y) { y = Upsample<mode = \"nearest\", scales = [1.0, 1.0, 2.0, 2.0]>(x) }";
        let text = raised(body, 7).unwrap();
        assert!(text.contains("Resize") && text.contains("(x, \"\", y_scales)"), "{text}");
    }
}
