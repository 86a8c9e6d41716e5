//! Shows a graph to plugins: a region that stands as a graph of its own becomes neutral [`RegionData`].

use std::collections::HashMap;
use std::sync::Arc;

use byoc_graph::{Attr, Attributes, Dim, Graph, Model, NodeId, Opsets, Tensor, Type, ValueId, onnx, schema};
use byoc_plugin::{DType, Dim as PluginDim};

use crate::region::{
    AttributeContent, AttributeData, CompositeData, ConstantData, NodeData, OnnxSource, RegionData,
    SymbolData, ValueData,
};

/// Nodes of a region that one pattern matched.
#[derive(Clone, Debug, Default)]
pub struct CompositeSpec {
    pub pattern: String,
    pub nodes: Vec<NodeId>,
    pub bindings: Vec<(String, ValueId)>,
}

/// A region as a graph of its own: its inputs and outputs are the graph's, its constants are inside.
pub fn region_data(name: &str, graph: &Graph, composites: &[CompositeSpec], opsets: &Opsets) -> RegionData {
    let mut adapter = Adapter { graph, data: RegionData::default(), values: HashMap::new() };
    adapter.data.name = name.to_owned();
    let order = graph.model_order();
    let place: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    adapter.data.inputs = graph.inputs().iter().map(|&v| adapter.value(v)).collect();
    for &id in &order {
        let node = adapter.node(id);
        adapter.data.nodes.push(node);
    }
    for (i, id) in order.iter().enumerate() {
        for (output, value) in graph.node(*id).outputs().iter().enumerate() {
            if let Some(value) = value {
                let value = adapter.value(*value);
                adapter.data.values[value].producer = Some((i, output));
            }
        }
    }
    adapter.data.outputs = graph.outputs().iter().map(|&v| adapter.value(v)).collect();
    for (index, composite) in composites.iter().enumerate() {
        let nodes: Vec<usize> = composite.nodes.iter().filter_map(|id| place.get(id).copied()).collect();
        nodes.iter().for_each(|&n| adapter.data.nodes[n].composite = Some(index));
        let bindings = composite.bindings.iter().map(|(name, v)| (name.clone(), adapter.value(*v)));
        let bindings = bindings.collect();
        adapter.data.composites.push(CompositeData { pattern: composite.pattern.clone(), nodes, bindings });
    }
    adapter.data.onnx = Some(onnx_source(graph, opsets));
    adapter.data
}

/// The region's own operator sets alone: a vendor's reader may refuse a model for a domain that it does not know.
fn onnx_source(graph: &Graph, opsets: &Opsets) -> OnnxSource {
    let mut opsets = opsets.clone();
    opsets.retain(|domain, _| {
        domain.is_empty() || graph.model_order().iter().any(|id| *graph.node(*id).op.domain == **domain)
    });
    let model = Model { graph: graph.clone(), opsets, ir_version: 10, ..Model::default() };
    OnnxSource(Arc::new(move || onnx::to_bytes(&model).map_err(|e| e.to_string())))
}

struct Adapter<'g> {
    graph: &'g Graph,
    data: RegionData,
    values: HashMap<ValueId, usize>,
}

impl Adapter<'_> {
    fn node(&mut self, id: NodeId) -> NodeData {
        let node = self.graph.node(id);
        let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
        NodeData {
            name: node.label.to_string(),
            op: node.op.name.to_string(),
            domain: node.op.domain.to_string(),
            since_version: schema.map_or(node.opset, |s| s.since_version),
            inputs: node.inputs().iter().map(|v| v.map(|v| self.value(v))).collect(),
            outputs: node.outputs().iter().map(|v| v.map(|v| self.value(v))).collect(),
            attributes: attributes(&node.attrs, schema),
            composite: None,
        }
    }

    /// The index of a value, which is added when it is first met.
    fn value(&mut self, id: ValueId) -> usize {
        if let Some(&index) = self.values.get(&id) {
            return index;
        }
        let value = self.graph.value(id);
        let constant = self.graph.constant(id).and_then(|tensor| self.constant(tensor));
        let dims = value.ty.as_ref().and_then(Type::shape);
        let dims = dims.map(|dims| dims.iter().map(|d| self.dim(d)).collect());
        let dtype = value.ty.as_ref().and_then(Type::dtype).map(dtype);
        let index = self.data.values.len();
        let name = value.name.to_string();
        self.data.values.push(ValueData { name, dtype, dims, producer: None, constant });
        self.values.insert(id, index);
        index
    }

    fn constant(&mut self, tensor: &Arc<Tensor>) -> Option<usize> {
        // Strings have no bytes that could be lent; the ONNX form shows them.
        tensor.strings().is_none().then(|| {
            self.data
                .constants
                .push(ConstantData { dtype: dtype(tensor.dtype()), bytes: tensor.bytes().clone() });
            self.data.constants.len() - 1
        })
    }

    fn dim(&mut self, dim: &Dim) -> PluginDim {
        match dim {
            Dim::Static(n) => usize::try_from(*n).map_or(PluginDim::Unknown, PluginDim::Known),
            Dim::Unknown => PluginDim::Unknown,
            Dim::Symbolic(expr) => {
                let name = expr.to_string();
                let symbols = &mut self.data.symbols;
                let index = symbols.iter().position(|s| s.name == name).unwrap_or_else(|| {
                    symbols.push(SymbolData::unbounded(name));
                    symbols.len() - 1
                });
                PluginDim::Symbol(index)
            }
        }
    }
}

/// Both crates name element types as numpy does.
pub fn dtype(dtype: byoc_graph::DType) -> DType {
    DType::from_name(dtype.name()).expect("every element type has a counterpart")
}

/// The node's attributes, then the defaults of those that it leaves out.
fn attributes(given: &Attributes, schema: Option<&'static schema::OpSchema>) -> Vec<AttributeData> {
    let own = given.iter().map(|(name, attr)| AttributeData {
        name: name.to_string(),
        content: content(attr),
        is_default: false,
    });
    let defaults = schema.into_iter().flat_map(|s| s.attributes).filter_map(|attribute| {
        let absent = !given.contains_key(attribute.name);
        let default = attribute.default.as_ref().filter(|_| absent)?;
        let content = content(&default.to_attr());
        Some(AttributeData { name: attribute.name.to_owned(), content, is_default: true })
    });
    own.chain(defaults).collect()
}

fn content(attr: &Attr) -> AttributeContent {
    match attr {
        Attr::Int(i) => AttributeContent::Int(*i),
        Attr::Float(x) => AttributeContent::Float(*x),
        Attr::Str(s) => AttributeContent::String(s.clone()),
        Attr::Ints(v) => AttributeContent::Ints(v.clone()),
        Attr::Floats(v) => AttributeContent::Floats(v.clone()),
        Attr::Strs(v) => AttributeContent::Strings(v.clone()),
        Attr::Tensor(t) if t.strings().is_none() => AttributeContent::Tensor {
            dtype: dtype(t.dtype()),
            dims: t.dims().iter().map(|&d| d as i64).collect(),
            bytes: t.bytes().clone(),
        },
        _ => AttributeContent::Other,
    }
}
