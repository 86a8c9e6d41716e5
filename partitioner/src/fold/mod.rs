//! BatchNormalization behind a product, for vendors that fold it into the product's weights.
//!
//! With s = scale / √(variance + ε), normalising W·x + b gives (s·W)·x + s·(b − mean) + shift. `foldable` says
//! where that can be done; the matcher then sees the product and the normalisation as one node. `Folds` has the
//! new weights and biases, each once, for the graphs that vendors and functions get.

mod weights;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use byoc_graph::{Attr, Graph, Node, NodeId, Tensor, ValueId};

use crate::matcher::Match;
use crate::program::{ArgKind, Program};
use crate::region::Region;
use crate::view::View;

/// The first version of BatchNormalization that normalises with what it is given unless told otherwise.
const INFERENCE_SINCE: i64 = 7;

/// A product with the normalisation that is folded into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    pub product: NodeId,
    pub norm: NodeId,
    /// The pattern's name for a bias that the product gets by folding.
    pub bias: Option<String>,
}

/// The node whose weights could take in the BatchNormalization `id`: a product with constant weights that
/// nothing but this inference-mode normalisation, with constant parameters, uses.
pub fn foldable(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let norm = graph.node(id);
    if !norm.is("BatchNormalization") || norm.opset < INFERENCE_SINCE || norm.inputs().len() != 5 {
        return None;
    }
    let flag = |name: &str, default| norm.attrs.get(name).and_then(Attr::as_int).unwrap_or(default);
    let trains = flag("training_mode", 0) != 0 || flag("spatial", 1) == 0;
    let further = norm.outputs().iter().skip(1).any(Option::is_some);
    let between = norm.input(0)?;
    let alone = graph.value(between).uses().len() == 1 && !graph.is_output(between);
    let (product, output) = graph.value(between).producer()?;
    let fits = !trains && !further && alone && output == 0;
    (fits && weights::Layout::of(graph, graph.node(product), norm).is_some()).then_some(product)
}

/// Folds the BatchNormalization `id` into the product in front of it, for good, where that can be done and the
/// product has a place for a bias. The result keeps its name.
pub fn fold_into_product(graph: &mut Graph, id: NodeId) -> bool {
    let Some(product) = foldable(graph, id).filter(|p| !graph.node(*p).is("MatMul")) else { return false };
    let folded = weights::Layout::of(graph, graph.node(product), graph.node(id)).and_then(|l| l.fold());
    let parts = (folded, graph.node(id).input(0), graph.node(id).output(0), graph.node(product).input(1));
    let (Some((weights, bias)), Some(between), Some(result), Some(old)) = parts else { return false };
    let base = format!("{}@{}", graph.value(old).name, graph.node(id).label);
    let mut constant = |name: String, tensor: Tensor| {
        let name = graph.fresh_name(&name);
        graph.add_constant(name, Arc::new(tensor)).expect("the name is new")
    };
    let (weights, bias) = (constant(base.clone(), weights), constant(format!("{base}.bias"), bias));
    graph.set_input(product, 1, Some(weights));
    graph.set_input(product, 2, Some(bias));
    // The bias counts as it is from now on.
    if graph.node(product).is("Gemm") {
        graph.node_mut(product).attrs.insert("beta".into(), Attr::Float(1.0));
    }
    graph.remove_node(id);
    graph.replace_uses(result, between);
    let name = graph.value(result).name.clone();
    graph.remove_value(result);
    graph.rename(between, name).expect("the name is free");
    true
}

/// What a match folds.
pub fn folded(view: &View<'_>, program: &Program, found: &Match) -> Vec<Folded> {
    let units = found.units.iter().map(|u| &view.units[*u as usize]).filter(|u| u.folds.is_some());
    let folded = units.map(|unit| {
        let (product, norm) = (view.order[unit.nodes[0] as usize], view.order[unit.nodes[1] as usize]);
        let is_its = |call: &&crate::program::Call| {
            let weights = call.args.get(1).map(|a| a.kind);
            let named = match weights {
                Some(ArgKind::Name(name)) => found.names[name] == unit.input(1, false),
                _ => true,
            };
            named && call.ops.as_ref().zip(unit.symbol).is_some_and(|(ops, symbol)| ops.contains(&symbol))
        };
        let bias = program.calls.iter().find(is_its).and_then(|call| match call.args.get(2)?.kind {
            ArgKind::Name(name) if found.names[name].is_none() => Some(program.names[name].clone()),
            _ => None,
        });
        Folded { product, norm, bias }
    });
    folded.collect()
}

/// A constant that folding has made.
#[derive(Debug, Clone)]
pub struct NewConstant {
    pub name: Arc<str>,
    pub tensor: Arc<Tensor>,
}

/// What a product becomes.
#[derive(Debug, Clone)]
pub struct Fold {
    pub norm: NodeId,
    pub weights: NewConstant,
    pub bias: NewConstant,
}

/// A constant of a region, as its graph has it.
#[derive(Debug, Clone)]
pub enum Constant {
    Original(ValueId),
    New(NewConstant),
}

/// All that is folded in some regions of one graph.
#[derive(Debug, Default)]
pub struct Folds {
    by_product: HashMap<NodeId, Fold>,
    norms: HashMap<NodeId, NodeId>,
}

/// Products that are the same but for their inputs get the same weights.
type Key = (Arc<str>, [i64; 2], [u32; 2], Vec<ValueId>);

impl Folds {
    /// A product whose new weights its type cannot hold keeps its normalisation.
    pub fn of(graph: &Graph, regions: &[&Region]) -> Folds {
        let mut folds = Folds::default();
        let mut made: HashMap<Key, Option<(NewConstant, NewConstant)>> = HashMap::new();
        let mut names: HashSet<String> = HashSet::new();
        for folded in regions.iter().flat_map(|r| &r.composites).flat_map(|c| &c.folded) {
            let (product, norm) = (graph.node(folded.product), graph.node(folded.norm));
            let pair = made.entry(key(product, norm)).or_insert_with(|| {
                let (weights, bias) = weights::Layout::of(graph, product, norm)?.fold()?;
                let base = &graph.value(product.input(1)?).name;
                let mut constant = |base: String, tensor: Tensor| {
                    let mut name = graph.fresh_name(&base);
                    while !names.insert(name.clone()) {
                        name.push('_');
                    }
                    NewConstant { name: name.into(), tensor: Arc::new(tensor) }
                };
                let weights = constant(format!("{base}@{}", norm.label), weights);
                Some((weights, constant(format!("{base}@{}.bias", norm.label), bias)))
            });
            if let Some((weights, bias)) = pair.clone() {
                folds.norms.insert(folded.norm, folded.product);
                folds.by_product.insert(folded.product, Fold { norm: folded.norm, weights, bias });
            }
        }
        folds
    }

    pub fn at(&self, product: NodeId) -> Option<&Fold> {
        self.by_product.get(&product)
    }

    /// The product that a normalisation has become part of.
    pub fn product_of(&self, norm: NodeId) -> Option<NodeId> {
        self.norms.get(&norm).copied()
    }

    /// The constants of a region: those that it still uses, then the new ones.
    pub fn constants(&self, graph: &Graph, region: &Region) -> Vec<Constant> {
        let kept = |value: &ValueId| {
            region.members.iter().any(|member| {
                let node = graph.node(member.node);
                let folded = self.by_product.contains_key(&member.node);
                let gone = |i: usize| self.norms.contains_key(&member.node) || (folded && i > 0);
                let is_input = node.inputs().iter().enumerate().any(|(i, v)| *v == Some(*value) && !gone(i));
                is_input || node.captures().contains(value)
            })
        };
        let has_folds = region.members.iter().any(|m| self.by_product.contains_key(&m.node));
        let original = region.constants.iter().copied().filter(|v| !has_folds || kept(v));
        let mut constants: Vec<Constant> = original.map(Constant::Original).collect();
        let mut seen = HashSet::new();
        for fold in region.members.iter().filter_map(|m| self.by_product.get(&m.node)) {
            for new in [&fold.weights, &fold.bias] {
                if seen.insert(&new.name) {
                    constants.push(Constant::New(new.clone()));
                }
            }
        }
        constants
    }
}

fn key(product: &Node, norm: &Node) -> Key {
    let int = |name: &str| product.attrs.get(name).and_then(Attr::as_int).unwrap_or_default();
    let bits = |node: &Node, name: &str| {
        node.attrs.get(name).and_then(Attr::as_float).map_or(u32::MAX, f32::to_bits)
    };
    let constants = product.inputs().iter().skip(1).chain(&norm.inputs()[1..]);
    (
        product.op.name.clone(),
        [int("group"), int("transB")],
        [bits(product, "beta"), bits(norm, "epsilon")],
        constants.flatten().copied().collect(),
    )
}
