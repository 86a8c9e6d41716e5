//! A graph as the matcher sees it: its nodes in model order, and virtual ones behind them.
//!
//! A *unit* is what one call of a pattern may match: a node; a decomposed form of a standard operator, which
//! covers all nodes of the form; or, for vendors that fold it, a node together with the BatchNormalization
//! behind it. Nodes are numbered by their place in model order.

use std::borrow::Cow;
use std::collections::HashMap;

use byoc_graph::recognise::Form;
use byoc_graph::schema::{self, OpSchema};
use byoc_graph::{Attr, Attributes, Graph, Model, Node, NodeId, ValueId};
use byoc_plugin::table::Fold;
use smallvec::{SmallVec, smallvec};

use crate::program::{Programs, Symbol};

pub struct View<'g> {
    pub graph: &'g Graph,
    /// Nodes in model order.
    pub order: Vec<NodeId>,
    /// By index of a node: its place in `order`.
    place: Vec<u32>,
    /// The nodes in model order, then virtual units.
    pub units: Vec<Unit<'g>>,
    /// Virtual units by the value that they make, with the output that it is.
    virtual_makers: HashMap<ValueId, SmallVec<[(u32, u32); 2]>>,
    /// Virtual units by the values that they take.
    virtual_users: HashMap<ValueId, SmallVec<[u32; 2]>>,
    /// By index of a value.
    is_output: Vec<bool>,
}

pub struct Unit<'g> {
    pub domain: &'g str,
    pub op: &'g str,
    pub symbol: Option<Symbol>,
    pub opset: i64,
    /// Only of operators that some pattern names.
    pub schema: Option<&'static OpSchema>,
    pub attrs: &'g Attributes,
    pub inputs: &'g [Option<ValueId>],
    pub outputs: Cow<'g, [Option<ValueId>]>,
    /// Places of the nodes that this covers, in model order.
    pub nodes: SmallVec<[u32; 1]>,
    /// Only for vendors that fold.
    pub folds: Option<Fold>,
    /// Has bodies, calls a local function, or was outlined before: never matched by `_`.
    pub closed: bool,
}

impl Unit<'_> {
    /// Whether the first two inputs may change places.
    pub fn is_commutative(&self) -> bool {
        self.inputs.len() == 2 && self.schema.is_some_and(OpSchema::is_commutative)
    }

    /// Input `i`, the first two changed where `swapped`.
    pub fn input(&self, i: usize, swapped: bool) -> Option<ValueId> {
        let i = if swapped && i < 2 { 1 - i } else { i };
        self.inputs.get(i).copied().flatten()
    }

    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.outputs.get(i).copied().flatten()
    }

    /// The attribute, or its default.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, Attr>> {
        if let Some(attr) = self.attrs.get(name) {
            return Some(Cow::Borrowed(attr));
        }
        let default = self.schema?.attribute(name)?.default?;
        Some(Cow::Owned(default.to_attr()))
    }
}

/// Whether the node is a call into a function that an earlier partition made.
pub fn is_outlined(node: &Node) -> bool {
    node.op.domain.starts_with("byoc.")
}

impl<'g> View<'g> {
    pub fn new(model: &Model, graph: &'g Graph, forms: &'g [Form], programs: &Programs) -> View<'g> {
        let order = graph.model_order();
        let mut place = vec![u32::MAX; graph.node_bound()];
        for (i, id) in order.iter().enumerate() {
            place[id.index()] = i as u32;
        }
        let mut is_output = vec![false; graph.value_bound()];
        graph.outputs().iter().for_each(|v| is_output[v.index()] = true);
        let units = order.iter().enumerate();
        let units = units.map(|(i, id)| unit(model, graph.node(*id), i as u32, programs)).collect();
        let mut view = View {
            graph,
            order,
            place,
            units,
            virtual_makers: HashMap::new(),
            virtual_users: HashMap::new(),
            is_output,
        };
        for form in forms {
            view.add_form(form, programs);
        }
        let folding = |v: &crate::program::Vendor| v.limits.fold.contains(&Fold::BatchNorm);
        if programs.vendors.iter().any(folding) {
            view.add_folded(programs);
        }
        view
    }

    fn add_form(&mut self, form: &'g Form, programs: &Programs) {
        let nodes: SmallVec<[u32; 1]> = form.nodes.iter().map(|id| self.place(*id)).collect();
        let symbol = programs.symbol(&form.domain, &form.op);
        if symbol.is_none() {
            return;
        }
        self.add_virtual(Unit {
            domain: &form.domain,
            op: &form.op,
            symbol,
            opset: form.opset,
            schema: schema::lookup(&form.domain, &form.op, form.opset),
            attrs: &form.attrs,
            inputs: &form.inputs,
            outputs: Cow::Owned(form.outputs.iter().map(|v| Some(*v)).collect()),
            nodes,
            folds: None,
            closed: false,
        });
    }

    /// A convolution or product with constant weights and the BatchNormalization behind it, as one node.
    fn add_folded(&mut self, programs: &Programs) {
        for place in 0..self.order.len() {
            let Some(product) = crate::fold::foldable(self.graph, self.order[place]) else { continue };
            let before = self.place(product);
            let unit = &self.units[before as usize];
            let folded = Unit {
                domain: unit.domain,
                op: unit.op,
                symbol: programs.symbol(unit.domain, unit.op),
                opset: unit.opset,
                schema: unit.schema,
                attrs: unit.attrs,
                inputs: unit.inputs,
                outputs: Cow::Owned(vec![self.units[place].output(0)]),
                nodes: smallvec![before, place as u32],
                folds: Some(Fold::BatchNorm),
                closed: false,
            };
            self.add_virtual(folded);
        }
    }

    fn add_virtual(&mut self, unit: Unit<'g>) {
        let id = self.units.len() as u32;
        for (i, value) in unit.outputs.iter().enumerate() {
            if let Some(value) = value {
                self.virtual_makers.entry(*value).or_default().push((id, i as u32));
            }
        }
        for value in unit.inputs.iter().flatten() {
            self.virtual_users.entry(*value).or_default().push(id);
        }
        self.units.push(unit);
    }

    /// Whether the unit stands for several nodes.
    pub fn is_virtual(&self, unit: u32) -> bool {
        unit as usize >= self.order.len()
    }

    pub fn place(&self, id: NodeId) -> u32 {
        self.place[id.index()]
    }

    pub fn node(&self, place: u32) -> &'g Node {
        self.graph.node(self.order[place as usize])
    }

    pub fn label(&self, place: u32) -> &'g str {
        &self.node(place).label
    }

    pub fn value_name(&self, value: ValueId) -> &'g str {
        &self.graph.value(value).name
    }

    pub fn is_output(&self, value: ValueId) -> bool {
        self.is_output[value.index()]
    }

    /// Place of the node that makes the value.
    pub fn producer(&self, value: ValueId) -> Option<u32> {
        self.graph.value(value).producer().map(|(node, _)| self.place(node))
    }

    /// Units that make the value, with the output that it is: the node first.
    pub fn makers(&self, value: ValueId) -> impl Iterator<Item = (u32, u32)> + '_ {
        let node = self.graph.value(value).producer().map(|(node, output)| (self.place(node), output as u32));
        node.into_iter().chain(self.virtual_makers.get(&value).into_iter().flatten().copied())
    }

    /// Nodes that use the value, in the order of their uses.
    pub fn users(&self, value: ValueId) -> impl Iterator<Item = u32> + '_ {
        self.graph.value(value).uses().iter().map(|u| self.place(u.node))
    }

    /// Units that take the value, the nodes first.
    pub fn takers(&self, value: ValueId) -> impl Iterator<Item = u32> + '_ {
        self.users(value).chain(self.virtual_users.get(&value).into_iter().flatten().copied())
    }
}

fn unit<'g>(model: &Model, node: &'g Node, place: u32, programs: &Programs) -> Unit<'g> {
    let symbol = programs.symbol(&node.op.domain, &node.op.name);
    let schema = symbol.and_then(|_| schema::lookup(&node.op.domain, &node.op.name, node.opset));
    let has_bodies = node.attrs.values().any(|a| !a.graphs().is_empty());
    Unit {
        domain: &node.op.domain,
        op: &node.op.name,
        symbol,
        opset: node.opset,
        schema,
        attrs: &node.attrs,
        inputs: node.inputs(),
        outputs: Cow::Borrowed(node.outputs()),
        nodes: smallvec![place],
        folds: None,
        closed: has_bodies || model.function_of(node).is_some() || is_outlined(node),
    }
}
