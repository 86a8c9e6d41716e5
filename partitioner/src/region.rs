//! Regions as they are handed on: what is in one, what goes in and out, and the region as a graph of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use byoc_graph::{Graph, GraphError, Node, NodeId, NodeSpec, ValueId};

use crate::choose::{Chosen, Composite};
use crate::cost::RegionCost;
use crate::fold::{Constant, Fold, Folded, Folds};
use crate::merge::Group;
use crate::place::GraphPath;
use crate::program::Programs;
use crate::view::View;

/// A node of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    pub node: NodeId,
    /// The region has a copy of the node, for this consumer; the node itself may be elsewhere.
    pub copy_for: Option<NodeId>,
}

/// Nodes of a region that one pattern matched.
#[derive(Debug, Clone)]
pub struct RegionComposite {
    pub pattern: String,
    /// Place of the pattern in the vendor's table.
    pub pattern_index: usize,
    /// The node that the pattern's last statement matched, the last of them in model order.
    pub root: NodeId,
    /// In model order.
    pub members: Vec<Member>,
    /// Names of the pattern that are bound. A value made by a copy goes by the original value.
    pub bindings: Vec<(String, ValueId)>,
    /// Normalisations that are folded into products.
    pub folded: Vec<Folded>,
}

/// What one vendor gets in one piece.
#[derive(Debug, Clone)]
pub struct Region {
    pub name: String,
    /// Index of the vendor among the tables.
    pub vendor: usize,
    pub vendor_name: String,
    /// The vendor, or `vendor:device` where a device was chosen.
    pub target: String,
    pub graph: GraphPath,
    /// In model order.
    pub members: Vec<Member>,
    pub composites: Vec<RegionComposite>,
    /// Values that are not constant, in the order of first use.
    pub inputs: Vec<ValueId>,
    /// Graph outputs first, in the graph's order.
    pub outputs: Vec<ValueId>,
    /// In the order of first use.
    pub constants: Vec<ValueId>,
    /// What the vendor has said that it takes.
    pub answer: RegionCost,
    /// Its call and its work, transfers apart.
    pub predicted_us: Option<f64>,
}

/// A region as a graph of its own; its constants are inside.
#[derive(Debug, Clone)]
pub struct Subgraph {
    pub graph: Graph,
    /// By member of the region: its node in `graph`. A folded normalisation has that of its product.
    pub nodes: Vec<NodeId>,
    /// By composite of the region: bindings as values of `graph`.
    pub bindings: Vec<Vec<(String, ValueId)>>,
}

impl Member {
    /// The name of the node, or `node@consumer` for a copy.
    pub fn name(&self, graph: &Graph) -> String {
        let label = &graph.node(self.node).label;
        match self.copy_for {
            None => label.to_string(),
            Some(consumer) => format!("{label}@{}", graph.node(consumer).label),
        }
    }
}

/// Turns one group of composites into a region.
pub(crate) fn build(
    view: &View<'_>,
    programs: &Programs,
    chosen: &Chosen,
    group: &Group,
    name: String,
    path: &GraphPath,
) -> Region {
    let composites: Vec<&Composite> =
        group.composites.iter().map(|c| &chosen.composites[*c as usize]).collect();
    let mut region = Region {
        name,
        vendor: group.vendor,
        vendor_name: programs.vendors[group.vendor].name.clone(),
        target: programs.vendors[group.vendor].target.clone(),
        graph: path.clone(),
        members: Vec::new(),
        composites: composites.iter().map(|c| region_composite(view, programs, c)).collect(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        answer: RegionCost::default(),
        predicted_us: None,
    };
    region.members = region.composites.iter().flat_map(|c| c.members.iter().copied()).collect();
    let place = |id: NodeId| view.place(id);
    region.members.sort_by_key(|m| (place(m.node), m.copy_for.map(place)));
    let boundary = Boundary { view, chosen, inside: group.composites.iter().copied().collect() };
    boundary.find_inputs(&mut region);
    boundary.find_outputs(&mut region);
    region
}

fn region_composite(view: &View<'_>, programs: &Programs, composite: &Composite) -> RegionComposite {
    let program = &programs.all[composite.program];
    let id = |place: &u32| view.order[*place as usize];
    let copy = |place: &u32| {
        let uses = |n: &&u32| view.node(**n).dependencies().any(|v| view.producer(v) == Some(*place));
        let consumer = composite.nodes.iter().find(uses).or(composite.nodes.last());
        Member { node: id(place), copy_for: consumer.map(id) }
    };
    let own = composite.nodes.iter().map(|n| Member { node: id(n), copy_for: None });
    let mut members: Vec<Member> = own.chain(composite.copies.iter().map(copy)).collect();
    members.sort_by_key(|m| view.place(m.node));
    RegionComposite {
        pattern: program.name.clone(),
        pattern_index: program.place,
        root: id(&composite.root),
        members,
        bindings: composite.bindings.clone(),
        folded: composite.folded.clone(),
    }
}

struct Boundary<'a, 'g> {
    view: &'a View<'g>,
    chosen: &'a Chosen,
    /// The region's composites.
    inside: HashSet<u32>,
}

impl Boundary<'_, '_> {
    fn owner(&self, place: u32) -> Option<u32> {
        self.chosen.owner[place as usize]
    }

    /// Whether the composite is part of this region.
    fn has(&self, composite: u32) -> bool {
        self.inside.contains(&composite)
    }

    fn find_inputs(&self, region: &mut Region) {
        let (mut inputs, mut constants) = (HashSet::new(), HashSet::new());
        for member in &region.members {
            let consumer = member.copy_for.unwrap_or(member.node);
            let owner = self.owner(self.view.place(consumer));
            let copies = owner.map_or(&[][..], |o| &self.chosen.composites[o as usize].copies);
            for value in self.view.graph.node(member.node).dependencies() {
                if self.view.graph.is_constant(value) {
                    if constants.insert(value) {
                        region.constants.push(value);
                    }
                    continue;
                }
                let producer = self.view.producer(value);
                let inside = producer
                    .is_some_and(|p| copies.contains(&p) || self.owner(p).is_some_and(|o| self.has(o)));
                if !inside && inputs.insert(value) {
                    region.inputs.push(value);
                }
            }
        }
    }

    fn find_outputs(&self, region: &mut Region) {
        let graph = self.view.graph;
        let is_inside = |v: ValueId| {
            let owner = self.view.producer(v).and_then(|p| self.owner(p));
            owner.is_some_and(|o| self.has(o))
        };
        let mut seen = HashSet::new();
        for &value in graph.outputs() {
            if is_inside(value) && seen.insert(value) {
                region.outputs.push(value);
            }
        }
        for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
            for &value in graph.node(member.node).outputs().iter().flatten() {
                if self.is_used_outside(value, member.node) && seen.insert(value) {
                    region.outputs.push(value);
                }
            }
        }
    }

    fn is_used_outside(&self, value: ValueId, maker: NodeId) -> bool {
        let maker = self.view.place(maker);
        self.view.users(value).any(|user| {
            let owner = self.owner(user);
            // A user with a copy of the maker does not use the maker's value.
            let has_copy = |o: u32| self.chosen.composites[o as usize].copies.contains(&maker);
            let itself = match owner {
                Some(owner) => !self.has(owner) && !has_copy(owner),
                None => true,
            };
            let copiers = self.chosen.copiers.get(&user);
            itself || copiers.is_some_and(|c| c.iter().any(|c| !self.has(*c)))
        })
    }
}

impl Region {
    /// The region as a graph of its own, with the names that its values have outside.
    pub fn subgraph(&self, outer: &Graph) -> Result<Subgraph, GraphError> {
        self.extract(outer, &Folds::of(outer, &[self]), false)
    }

    /// The region as the body of a function: its constants come in behind its inputs, and nothing has a type.
    pub(crate) fn body(&self, outer: &Graph, folds: &Folds) -> Result<Graph, GraphError> {
        Ok(self.extract(outer, folds, true)?.graph)
    }

    fn extract(&self, outer: &Graph, folds: &Folds, as_body: bool) -> Result<Subgraph, GraphError> {
        let mut graph = Graph::new(self.name.as_str());
        let mut values: HashMap<ValueId, ValueId> = HashMap::new();
        let ty = |v: ValueId| if as_body { None } else { outer.value(v).ty.clone() };
        for &value in &self.inputs {
            values.insert(value, graph.add_input(outer.value(value).name.clone(), ty(value))?);
        }
        for constant in folds.constants(outer, self) {
            let (name, tensor) = match &constant {
                Constant::Original(value) => {
                    (outer.value(*value).name.clone(), outer.constant(*value).cloned())
                }
                Constant::New(new) => (new.name.clone(), Some(new.tensor.clone())),
            };
            let inner = match tensor {
                Some(tensor) if !as_body => graph.add_constant(name, tensor)?,
                _ => graph.add_input(name, None)?,
            };
            if let Constant::Original(value) = constant {
                values.insert(value, inner);
            }
        }
        // What a product makes before it is normalised is gone with the normalisation.
        let owned = self.members.iter().filter(|m| m.copy_for.is_none() && folds.at(m.node).is_none());
        for value in owned.flat_map(|m| outer.node(m.node).outputs().iter().flatten()) {
            values.insert(*value, graph.add_value(outer.value(*value).name.clone(), ty(*value))?);
        }
        // What a composite's copies make, known to that composite only.
        let mut copies: HashMap<(usize, ValueId), ValueId> = HashMap::new();
        let mut composite_of: HashMap<Member, usize> = HashMap::new();
        for (index, composite) in self.composites.iter().enumerate() {
            for member in &composite.members {
                composite_of.insert(*member, index);
                let Some(consumer) = member.copy_for else { continue };
                for value in outer.node(member.node).outputs().iter().flatten() {
                    let name = format!("{}@{}", outer.value(*value).name, outer.node(consumer).label);
                    let name = graph.fresh_name(&name);
                    copies.insert((index, *value), graph.add_value(name, ty(*value))?);
                }
            }
        }
        let find = |index: usize, value: ValueId| {
            copies.get(&(index, value)).or_else(|| values.get(&value)).copied()
        };
        let mut nodes = Vec::new();
        for member in &self.members {
            let index = composite_of[member];
            let output = |v: ValueId| match member.copy_for {
                Some(_) => copies.get(&(index, v)).copied(),
                None => values.get(&v).copied(),
            };
            if let Some(product) = folds.product_of(member.node) {
                let at = self.members.iter().position(|m| m.node == product && m.copy_for.is_none());
                nodes.extend(at.and_then(|at| nodes.get(at)).copied());
                continue;
            }
            let mut spec = spec_of(outer.node(member.node), |v| find(index, v), output);
            if let Some(fold) = folds.at(member.node) {
                let made = outer.node(fold.norm).output(0).and_then(output);
                take_in(&mut spec, fold, made, |name| graph.value_by_name(name));
            }
            spec.name = member.name(outer).into();
            nodes.push(graph.add_node(spec)?);
        }
        graph.set_outputs(self.outputs.iter().filter_map(|v| values.get(v).copied()).collect());
        graph.assign_labels();
        let bindings = self.composites.iter().enumerate().map(|(index, composite)| {
            let folded = composite.folded.iter().filter_map(|f| Some((f, folds.at(f.product)?)));
            let new = |v: ValueId| {
                let replaced = folded.clone().find_map(|(f, fold)| match outer.node(f.product).inputs() {
                    [_, Some(w), ..] if *w == v => Some(&fold.weights.name),
                    [_, _, Some(b), ..] if *b == v => Some(&fold.bias.name),
                    _ => None,
                });
                replaced.and_then(|name| graph.value_by_name(name))
            };
            let inner =
                |(name, v): &(String, ValueId)| Some((name.clone(), new(*v).or_else(|| find(index, *v))?));
            let biases = folded
                .clone()
                .filter_map(|(f, fold)| Some((f.bias.clone()?, graph.value_by_name(&fold.bias.name)?)));
            composite.bindings.iter().filter_map(inner).chain(biases).collect()
        });
        let bindings = bindings.collect();
        Ok(Subgraph { graph, nodes, bindings })
    }
}

/// Makes of a product's node one that gives what the normalisation behind it gave.
fn take_in(
    spec: &mut NodeSpec,
    fold: &Fold,
    made: Option<ValueId>,
    constant: impl Fn(&str) -> Option<ValueId>,
) {
    spec.inputs.truncate(1);
    spec.inputs.extend([constant(&fold.weights.name), constant(&fold.bias.name)]);
    spec.outputs = vec![made];
    match &*spec.op {
        // It has no bias of its own.
        "MatMul" => spec.op = "Gemm".into(),
        // The factor of the bias is part of the new one.
        "Gemm" => drop(spec.attrs.shift_remove("beta")),
        _ => {}
    }
}

fn spec_of(
    node: &Node,
    input: impl Fn(ValueId) -> Option<ValueId>,
    output: impl Fn(ValueId) -> Option<ValueId>,
) -> NodeSpec {
    NodeSpec {
        name: Arc::clone(&node.name),
        domain: node.op.domain.clone(),
        op: node.op.name.clone(),
        overload: node.op.overload.clone(),
        opset: node.opset,
        inputs: node.inputs().iter().map(|v| v.and_then(&input)).collect(),
        outputs: node.outputs().iter().map(|v| v.and_then(&output)).collect(),
        captures: node.captures().iter().filter_map(|v| input(*v)).collect(),
        attrs: node.attrs.clone(),
        doc: node.doc.clone(),
        metadata: node.metadata.clone(),
        position: node.position,
        opaque: node.opaque.clone(),
    }
}
