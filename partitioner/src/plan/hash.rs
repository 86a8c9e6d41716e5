//! Content hashes: of a model as it is partitioned, and of a vendor's table.
//!
//! SHA-256 over an unambiguous listing: every text and list is preceded by its length. What does not change
//! what a model computes or how it may be placed (documentation, producer, paths of files) is left out.

use std::fmt::Write;

use byoc_graph::{Attr, Graph, Model, SparseTensor, Tensor, Type, ValueId};
use byoc_plugin::table::PatternTable;
use sha2::{Digest, Sha256};

pub fn model_hash(model: &Model) -> String {
    let mut listing = Listing(Sha256::new());
    listing.opsets(&model.opsets);
    listing.markers(&model.metadata);
    listing.graph(&model.graph);
    listing.count(model.functions.len());
    for (id, function) in &model.functions {
        listing.text(&id.to_string());
        listing.opsets(&function.opsets);
        listing.count(function.attributes.len());
        function.attributes.iter().for_each(|name| listing.text(name));
        listing.attributes(&function.attribute_defaults);
        listing.graph(&function.body);
    }
    listing.finish()
}

/// What `sha256sum` says of the table's file.
pub fn table_hash(table: &PatternTable) -> String {
    let mut listing = Listing(Sha256::new());
    listing.0.update(table.source.text.as_bytes());
    listing.finish()
}

struct Listing(Sha256);

impl Listing {
    fn finish(self) -> String {
        let mut text = "sha256:".to_owned();
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn opsets(&mut self, opsets: &byoc_graph::Opsets) {
        self.count(opsets.len());
        for (domain, version) in opsets {
            self.text(domain);
            self.0.update(version.to_le_bytes());
        }
    }

    /// Only markers: the rest of the metadata decides nothing.
    fn markers(&mut self, metadata: &byoc_graph::Metadata) {
        for (key, value) in metadata.iter().filter(|(key, _)| key.starts_with("byoc.")) {
            self.text(key);
            self.text(value);
        }
    }

    fn ty(&mut self, ty: Option<&Type>) {
        self.text(&ty.map_or(String::new(), |ty| format!("{ty}")));
    }

    fn values(&mut self, graph: &Graph, values: impl ExactSizeIterator<Item = Option<ValueId>>) {
        self.count(values.len());
        for value in values {
            self.text(value.map_or("", |v| &graph.value(v).name));
        }
    }

    fn graph(&mut self, graph: &Graph) {
        for values in [graph.inputs(), graph.outputs()] {
            self.values(graph, values.iter().map(|v| Some(*v)));
        }
        for (id, value) in graph.values() {
            let constant = graph.constant(id).or_else(|| graph.default_of(id));
            let named = graph.inputs().contains(&id) || graph.is_output(id);
            if constant.is_none() && !named {
                continue;
            }
            self.text(&value.name);
            self.ty(value.ty.as_ref());
            if let Some(tensor) = constant {
                self.tensor(tensor);
            }
        }
        let order = graph.model_order();
        self.count(order.len());
        for id in order {
            let node = graph.node(id);
            self.text(&node.label);
            [&node.op.domain, &node.op.name, &node.op.overload].into_iter().for_each(|part| self.text(part));
            self.0.update(node.opset.to_le_bytes());
            self.markers(&node.metadata);
            self.values(graph, node.inputs().iter().copied());
            self.values(graph, node.outputs().iter().copied());
            self.values(graph, node.captures().iter().map(|v| Some(*v)));
            self.attributes(&node.attrs);
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.text(&tensor.ty().to_string());
        match tensor.strings() {
            Some(strings) => strings.iter().for_each(|s| self.bytes(s)),
            None => self.bytes(tensor.bytes()),
        }
    }

    fn sparse(&mut self, sparse: &SparseTensor) {
        self.count(sparse.dims.len());
        sparse.dims.iter().for_each(|dim| self.count(*dim));
        self.tensor(&sparse.values);
        self.tensor(&sparse.indices);
    }

    fn attributes(&mut self, attributes: &byoc_graph::Attributes) {
        self.count(attributes.len());
        for (name, attr) in attributes {
            self.text(name);
            self.attribute(attr);
        }
    }

    fn attribute(&mut self, attr: &Attr) {
        self.count(attr.kind() as usize);
        match attr {
            Attr::Int(int) => self.0.update(int.to_le_bytes()),
            Attr::Float(float) => self.0.update(float.to_bits().to_le_bytes()),
            Attr::Str(text) => self.bytes(text),
            Attr::Tensor(tensor) => self.tensor(tensor),
            Attr::SparseTensor(sparse) => self.sparse(sparse),
            Attr::Graph(graph) => self.graph(graph),
            Attr::Type(ty) => self.ty(Some(ty)),
            Attr::Ints(ints) => self.list(ints, |l, int| l.0.update(int.to_le_bytes())),
            Attr::Floats(floats) => self.list(floats, |l, f| l.0.update(f.to_bits().to_le_bytes())),
            Attr::Strs(texts) => self.list(texts, |l, text| l.bytes(text)),
            Attr::Tensors(tensors) => self.list(tensors, |l, tensor| l.tensor(tensor)),
            Attr::SparseTensors(sparse) => self.list(sparse, |l, sparse| l.sparse(sparse)),
            Attr::Graphs(graphs) => self.list(graphs, Self::graph),
            Attr::Types(types) => self.list(types, |l, ty| l.ty(Some(ty))),
            Attr::Ref { name, .. } => self.text(name),
        }
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        items.iter().for_each(|item| each(self, item));
    }
}
